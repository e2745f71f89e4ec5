//! Objections: noted through the intake, held until somebody has decided, and, where the person is right, the end of one purpose.

use safelight_jobs::{
    check_image::CheckImage,
    db::{self, Role},
    gate::{Ask, Compare, Host, Nsfw},
    id::{self, Id},
    intake::{self, CaseObjection, Decided, IntakeError, NewCase},
    policy::{DataClass, Processor, Purpose},
    run::Tx,
};
use safelight_sandbox::fal::{self, Hold};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::app::{App, Person};

impl App {
    /// Whoever decides, in the intake's role: what it may not do fails here.
    async fn decides(&self, person: &Person, purpose: Purpose, upheld: bool) -> Result<Decided, IntakeError> {
        let pool = db::connect(&self.database_url, Role::Api, 1).await.unwrap();
        let mut tx = Tx::begin(&pool, &self.bell()).await.unwrap();
        let told = Some(self.told_now().await);
        let decided =
            intake::decide_objection(&mut tx, person.id, purpose, upheld, "ops_1", "security_of_all", told).await?;
        tx.commit().await.unwrap();
        Ok(decided)
    }

    /// What Fal was asked to label.
    fn labellings(&self) -> Vec<fal::Request> {
        self.sandbox.fal.requests().into_iter().filter(|request| request.endpoint == fal::NSFW).collect()
    }

    async fn stands_as(&self, person: &Person) -> String {
        self.of("select state from safelight.subjects where id = $1", person.id.uuid()).await
    }

    /// What the case about this person's objection shows.
    async fn shown(&self, case: Id<id::Case>) -> Vec<CaseObjection> {
        let cases = intake::cases(&self.db, Some("koselfie"), false).await.unwrap();
        cases.into_iter().find(|row| row.case == case).expect("an open case").objections
    }
}

/// An objection is noted with what it is to, holds everything until somebody has decided, and says who and why.
#[tokio::test(flavor = "multi_thread")]
async fn k41_an_objection_restricts_until_it_is_decided_and_only_what_rests_on_an_interest_is_objected_to() {
    let app = App::spawn().await;
    let token = app.token("koselfie").await;
    let (ann, order) = app.basic_order(false).await;
    app.pays(order).await;
    app.sandbox.stripe.idle().await;
    let path = format!("/v1/subjects/{}/objections", ann.id);
    let (status, answer) = app.post(&token, &path, json!({ "purpose": "generate" })).await;
    assert_eq!((status, &answer["code"]), (409, &json!("no_objection")), "a contract: {answer}");
    let (status, answer) = app.post(&token, &path, json!({ "purpose": "observe" })).await;
    assert_eq!((status, &answer["already"], &answer["jobs_held"]), (201, &json!(false), &json!(1)), "{answer}");
    let by_mail = Command::new(env!("CARGO_BIN_EXE_safelight"))
        .args(["objection", "note", &ann.id.to_string(), "nsfw", "--by", "ops_1"])
        .env("DATABASE_URL", &app.database_url)
        .env("SAFELIGHT_LOG", "error")
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    assert!(by_mail.status.success(), "a second one, by mail: {by_mail:?}");
    assert_eq!(app.post(&token, &path, json!({ "purpose": "observe" })).await.1["already"], true);
    assert_eq!(app.run_due_jobs().await, Vec::<String>::new());
    assert!(!app.decides(&ann, Purpose::Observe, false).await.unwrap().released);
    assert_eq!(app.run_due_jobs().await, Vec::<String>::new(), "the other one is open");
    assert!(app.decides(&ann, Purpose::Observe, false).await.is_err(), "it is decided");
    assert!(app.decides(&ann, Purpose::Nsfw, false).await.unwrap().released);
    app.run_due_jobs().await;
    assert_eq!(app.order_state(order).await, ("delivered".to_owned(), None));
    assert!(!app.labellings().is_empty(), "overridden: it goes on as before");
    assert_eq!(intake::objections(&app.db, None, false).await.unwrap().len(), 0);
    let decided = intake::objections(&app.db, Some("koselfie"), true).await.unwrap();
    assert!(decided.len() == 2 && decided.iter().all(|one| one.why.as_deref() == Some("security_of_all")));
}

/// Upheld: the gates close for this one purpose. Its job is refused, everything else of the person goes on.
#[tokio::test(flavor = "multi_thread")]
async fn k41_an_upheld_objection_closes_the_gates_for_its_purpose_and_everything_else_goes_on() {
    let app = App::spawn().await;
    let token = app.token("koselfie").await;
    let (ann, order) = app.basic_order(true).await;
    let (bob, of_bob) = app.basic_order(false).await;
    for order in [order, of_bob] {
        app.pays(order).await;
    }
    app.sandbox.stripe.idle().await;
    let mut tx = app.tx().await;
    let new = NewCase {
        tenant: "koselfie",
        subject: Some(ann.id),
        kind: "objection",
        channel: "mail",
        received_at: None,
        by: "ops_1",
    };
    let (case, _) = intake::open_case(&mut tx, &new).await.unwrap();
    tx.commit().await.unwrap();

    let path = format!("/v1/subjects/{}/objections", ann.id);
    let (status, answer) = app.post(&token, &path, json!({ "purpose": "nsfw" })).await;
    assert_eq!((status, &answer["state"], &answer["jobs_held"]), (201, &json!("open"), &json!(1)), "{answer}");
    let held: uuid::Uuid = app.of("select id from safelight.jobs where order_id = $1", order.uuid()).await;
    let (_, view) = app.get(&token, &format!("/v1/jobs/{}", Id::<id::Job>::from(held))).await;
    assert_eq!(view["explanation"], "until somebody decides about the objection to nsfw", "{view}");
    let nsfw = |state: &str| vec![CaseObjection { purpose: "nsfw".to_owned(), state: state.to_owned() }];
    assert_eq!(app.shown(case).await, nsfw("open"));

    let decided = app.decides(&ann, Purpose::Nsfw, true).await.unwrap();
    assert!(decided.released, "no other one is open");
    assert_eq!((app.stands_as(&ann).await, app.shown(case).await), ("active".to_owned(), nsfw("upheld")));
    app.run_due_jobs().await;
    for order in [order, of_bob] {
        assert_eq!(app.order_state(order).await, ("delivered".to_owned(), None));
    }
    assert_eq!(app.labellings().len(), 4, "Bob's images and none of Ann's");
    let labels = "select count(*) from safelight.image_checks c join safelight.artifacts a on a.id = c.image_id where a.subject_id = $1";
    assert_eq!(app.of::<i64>(labels, ann.id.uuid()).await, 0);
    let scores = "select count(*) from safelight.similarities where order_id = $1";
    assert!(app.of::<i64>(scores, order.uuid()).await > 0, "what she agreed to is done");
    for request in app.sandbox.fal.requests().iter().filter(|request| request.endpoint == fal::IMAGE_TO_IMAGE) {
        let whose: uuid::Uuid =
            app.of("select subject_id from safelight.provider_calls where request_id = $1::text", request.id).await;
        let labels = request.input["enable_safety_checker"] == json!(true);
        assert_eq!(labels, whose == bob.id.uuid(), "the model labels nothing of hers by itself");
    }

    // The gate itself, and a wish for such a job from outside.
    let image = app.artifacts("image", order.uuid()).await[0];
    let ask = || Ask::of(ann.id, Processor::Fal, &[DataClass::Image]);
    assert_eq!(app.gate::<Nsfw>(ask()).await.err(), Some("purpose_objected"));
    assert!(
        app.gate::<Nsfw>(Ask::of(bob.id, Processor::Fal, &[DataClass::Image])).await.is_ok(),
        "her objection, not his"
    );
    assert!(app.gate::<Host>(Ask::of(ann.id, Processor::Supabase, &[DataClass::Image])).await.is_ok());
    let compare = Ask::of(ann.id, Processor::SelfHosted, &[DataClass::Image]).order(order);
    assert!(app.gate::<Compare>(compare).await.is_ok());
    let wish = json!({ "kind": "check_image", "payload": { "image": image } });
    assert_eq!(app.post(&token, "/v1/jobs", wish).await.0, 202);
    app.run_due_jobs().await;
    assert_eq!(app.labellings().len(), 4, "nobody is asked");
    let refused = "select count(*) from safelight.audit_entries where action = 'image.not_checked' and outcome = 'purpose_objected'";
    assert_eq!(app.count(refused).await, 1);

    let (_, again) = app.post(&token, &path, json!({ "purpose": "nsfw" })).await;
    assert_eq!((&again["already"], &again["state"], &again["jobs_held"]), (&json!(true), &json!("upheld"), &json!(0)));
    assert_eq!(app.stands_as(&ann).await, "active", "nothing is to be decided any more");
}

/// What is at Fal for the purpose, and what came of it before, goes with the decision.
#[tokio::test(flavor = "multi_thread")]
async fn k41_what_was_done_for_the_purpose_before_goes_when_the_objection_is_upheld() {
    let app = App::spawn().await;
    let token = app.token("koselfie").await;
    let (ann, order) = app.basic_order(false).await;
    app.pays(order).await;
    app.sandbox.stripe.idle().await;
    app.run_up_to::<CheckImage>().await;
    let labels = "select count(*) from safelight.image_checks";
    while app.count(labels).await == 0 {
        app.performs_one::<CheckImage>().await;
    }
    app.sandbox.fal.hold(Hold::InProgress);
    safelight_worker::drain(&app.worker, &app.services, "test").await.unwrap();
    assert!(app.labellings().len() > 1, "one is labelled, others are at Fal");
    let path = format!("/v1/subjects/{}/objections", ann.id);
    app.post(&token, &path, json!({ "purpose": "nsfw" })).await;
    let decided = app.decides(&ann, Purpose::Nsfw, true).await.unwrap();
    app.sandbox.fal.hold(Hold::Nowhere);
    app.run_due_jobs().await;
    app.turn_clock(chrono::Duration::minutes(2)).await;
    app.run_due_jobs().await;
    assert_eq!(app.deletion_state(decided.deletion.unwrap()).await, "complete");
    assert_eq!(app.count(labels).await, 0);
    for request in app.labellings() {
        assert!(request.purged, "{} is still at Fal", request.id);
    }
    assert_eq!(app.order_state(order).await, ("delivered".to_owned(), None));
    assert_eq!(app.count("select count(*) from safelight.dead_letters").await, 0);
    let said: Value =
        app.of("select to_jsonb(d) from safelight.deletions d where id = $1", decided.deletion.unwrap().uuid()).await;
    assert_eq!((&said["trigger"], &said["purpose"]), (&json!("objection"), &json!("nsfw")));
}
