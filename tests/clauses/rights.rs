//! Rights: restriction and its release, correction, export, and cases with their deadlines.

use chrono::{DateTime, Duration, Utc};
use safelight_jobs::{
    db::{self, Role},
    id::{Case, Id},
    intake::{self, Correction, Ground, IntakeError, NewCase, Told, Way},
    job::Queue,
    measure_selfies::MeasureSelfies,
    queue,
    run::Tx,
    stop::Stop,
    train_model::TrainModel,
};
use safelight_sandbox::fal::Hold;
use serde_json::{Value, json};

use crate::app::{App, Person, term};

impl App {
    /// A transaction of the intake's role: what it may not do fails here.
    async fn intake(&self) -> Tx {
        let pool = db::connect(&self.database_url, Role::Api, 1).await.unwrap();
        Tx::begin(&pool, &self.bell()).await.unwrap()
    }

    pub(super) async fn restricts(&self, person: &Person, ground: Ground) -> Result<i32, IntakeError> {
        let mut tx = self.intake().await;
        let held = intake::restrict(&mut tx, person.tenant, person.id, ground, None).await?;
        tx.commit().await.unwrap();
        Ok(held)
    }

    pub(super) async fn releases(&self, person: &Person) -> i32 {
        self.releases_whom_it_told(person, Some(self.told_now().await)).await.unwrap()
    }

    /// That somebody was told a moment ago.
    pub(super) async fn told_now(&self) -> Told {
        Told { by: Way::Mail, at: self.now().await }
    }

    async fn releases_whom_it_told(&self, person: &Person, told: Option<Told>) -> Result<i32, IntakeError> {
        let mut tx = self.intake().await;
        let released = intake::release(&mut tx, person.tenant, person.id, told, None).await?;
        tx.commit().await.unwrap();
        Ok(released)
    }
}

/// Art. 18(3): told first, then released; and that stays.
#[tokio::test(flavor = "multi_thread")]
async fn k41_nobody_is_released_who_was_not_told_during_the_restriction_and_how_and_when_stays_as_evidence() {
    let app = App::spawn().await;
    let ann = app.person("koselfie").await;
    let before = app.now().await - Duration::minutes(1);
    app.restricts(&ann, Ground::Accuracy).await.unwrap();
    let later = app.now().await + Duration::minutes(5);
    for told in [None, Some(Told { by: Way::Mail, at: before }), Some(Told { by: Way::Letter, at: later })] {
        let refused = app.releases_whom_it_told(&ann, told).await;
        assert!(matches!(refused, Err(IntakeError::Conflict { code: "not_told", .. })), "{told:?}: {refused:?}");
    }
    let state = "select state from safelight.subjects where id = $1";
    assert_eq!(app.of::<String>(state, ann.id.uuid()).await, "restricted");
    let token = app.token("koselfie").await;
    let path = format!("/v1/subjects/{}/release", ann.id);
    for body in [json!({}), json!({ "told": "product" }), json!({ "told_at": before })] {
        let (status, problem) = app.post(&token, &path, body).await;
        assert_eq!((status, problem["code"].as_str()), (409, Some("not_told")), "{problem}");
    }
    assert_eq!(app.post(&token, &path, json!({ "told": "replayed", "told_at": later })).await.0, 422);
    let told_at = app.now().await;
    app.turn_clock(Duration::hours(2)).await;
    let (status, _) = app.post(&token, &path, json!({ "told": "product", "told_at": told_at })).await;
    assert_eq!(status, 200);
    assert_eq!(app.of::<String>(state, ann.id.uuid()).await, "active");
    let evidence = "select jsonb_build_array(told, told_at = $2, lifted_at - told_at >= interval '2 hours')
        from safelight.restrictions where subject_id = $1";
    let stands: Value =
        sqlx::query_scalar(evidence).bind(ann.id.uuid()).bind(told_at).fetch_one(&app.db).await.unwrap();
    assert_eq!(stands, json!(["product", true, true]));
    let entry: Value = sqlx::query_scalar(
        "select jsonb_build_array(codes, counts -> 'told_at') from safelight.audit_entries where action = 'subject.released'",
    )
    .fetch_one(&app.db)
    .await
    .unwrap();
    assert_eq!(entry, json!([{ "told": "product" }, told_at.timestamp()]));
    // What the version before asks is answered, and releases nobody.
    app.restricts(&ann, Ground::Accuracy).await.unwrap();
    let code: String = app.of("select code from safelight.release_subject($1)", ann.id.uuid()).await;
    assert_eq!(code, "not_told");
    assert_eq!(app.of::<String>(state, ann.id.uuid()).await, "restricted");
}

/// N22: queued work is held, not failed, and goes on as if nothing had been.
#[tokio::test(flavor = "multi_thread")]
async fn n22_k41_queued_work_of_a_restricted_person_is_held_and_goes_on_after_the_release() {
    let app = App::spawn().await;
    let (bob, order) = app.small_halo_order().await;
    app.pays(order).await;
    app.sandbox.stripe.idle().await;
    assert_eq!(app.restricts(&bob, Ground::Objection).await.unwrap(), 1);
    assert_eq!(app.run_due_jobs().await, Vec::<String>::new());
    let row: (i16, i32, Option<String>) =
        sqlx::query_as("select state, attempt, why from safelight.jobs where order_id = $1")
            .bind(order.uuid())
            .fetch_one(&app.db)
            .await
            .unwrap();
    assert_eq!(row, (2, 0, Some("subject_restricted".to_owned())));
    assert!(
        matches!(app.restricts(&bob, Ground::Accuracy).await, Err(IntakeError::Refused(refusal)) if refusal.code == "subject_restricted")
    );
    assert_eq!(app.releases(&bob).await, 1);
    app.run_due_jobs().await;
    assert_eq!(app.order_state(order).await, ("delivered".to_owned(), None));
    let set = "select count(*) from safelight.restrictions where lifted_at is not null";
    assert_eq!(app.count(set).await, 1);
}

/// N22: what runs stops at its next gate.
#[tokio::test(flavor = "multi_thread")]
async fn k41_a_job_for_a_later_day_keeps_its_day_through_a_restriction() {
    let app = App::spawn().await;
    let (bob, order) = app.small_halo_order().await;
    let day = app.now().await + Duration::days(30);
    let mut tx = app.tx().await;
    let later = queue::enqueue_later(&mut tx, &TrainModel { order }, day).await.unwrap().id;
    let now = tx.enqueue(&MeasureSelfies { order }).await.unwrap().id;
    tx.commit().await.unwrap();
    app.restricts(&bob, Ground::Accuracy).await.unwrap();
    app.turn_clock(Duration::days(1)).await;
    app.releases(&bob).await;
    let stands = "select state::text || ' ' || run_at::date from safelight.jobs where id = $1";
    let (later, now): (String, String) = (app.of(stands, later.uuid()).await, app.of(stands, now.uuid()).await);
    assert_eq!(later, format!("3 {}", day.date_naive()), "scheduled as it was");
    assert!(now.starts_with("0 "), "due: {now}");
}

#[tokio::test(flavor = "multi_thread")]
async fn n22_k41_a_job_that_runs_when_the_restriction_comes_asks_nobody() {
    let app = App::spawn().await;
    let (bob, order) = app.small_halo_order().await;
    sqlx::query("update safelight.orders set state = 'training', paid_at = safelight.now() where id = $1")
        .bind(order.uuid())
        .execute(&app.db)
        .await
        .unwrap();
    app.wants(&TrainModel { order }).await;
    let claimed = app.dequeues(Queue::Training).await;
    app.restricts(&bob, Ground::Accuracy).await.unwrap();
    let ended = app.performs(&claimed).await;
    assert!(matches!(&ended, Err(Stop::Wait { why, .. }) if why.starts_with("subject_restricted")), "{ended:?}");
    assert_eq!(app.sandbox.fal.requests().len(), 0);
}

/// N22: what is in flight is not taken home before the release.
#[tokio::test(flavor = "multi_thread")]
async fn n22_k41_a_result_that_comes_during_a_restriction_is_not_stored_before_the_release() {
    let app = App::spawn().await;
    app.sandbox.fal.hold(Hold::InProgress);
    let (bob, order) = app.small_halo_order().await;
    app.begins(order).await;
    assert_eq!(app.sandbox.fal.trainings(), 1);
    app.restricts(&bob, Ground::Accuracy).await.unwrap();
    app.sandbox.fal.hold(Hold::Nowhere);
    app.run_due_jobs().await;
    assert!(!app.stored_keys().iter().any(|key| key.contains("/model/")));
    app.releases(&bob).await;
    app.run_due_jobs().await;
    assert_eq!(app.order_state(order).await, ("delivered".to_owned(), None));
}

/// D14: the ground decides about the clocks; a held clock has an end, and nothing is read meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn k41_k23_a_claim_holds_the_clock_until_its_day_and_an_objection_does_not() {
    let app = App::spawn().await;
    let (ann, eve) = (app.person("koselfie").await, app.person("koselfie").await);
    let (_, of_ann) = app.uploads(&ann, 1).await;
    let (_, of_eve) = app.uploads(&eve, 1).await;
    let until = app.now().await + Duration::days(40);
    let yesterday = Ground::Claims(app.now().await - Duration::days(1));
    assert!(matches!(app.restricts(&ann, yesterday).await, Err(IntakeError::Invalid { code: "hold_is_over", .. })));
    app.restricts(&ann, Ground::Claims(until)).await.unwrap();
    app.restricts(&eve, Ground::Objection).await.unwrap();
    app.turn_clock(term() + Duration::minutes(1)).await;
    app.sweeps().await;
    assert!(app.has_row(of_ann[0]).await && !app.readable(of_ann[0]).await, "kept, and read by nobody");
    let planned: i64 = app.of("select count(*) from safelight.deletions where subject_id = $1", ann.id.uuid()).await;
    assert_eq!(planned, 0, "nothing of hers is due");
    assert!(!app.has_row(of_eve[0]).await);
    app.turn_clock_to(until).await;
    app.sweeps().await;
    assert!(!app.has_row(of_ann[0]).await, "a held clock has an end");
}

#[tokio::test(flavor = "multi_thread")]
async fn k39_a_corrected_address_is_sealed_and_the_mail_that_waits_goes_there() {
    let app = App::spawn().await;
    let (ann, order) = app.basic_order(false).await;
    app.pays(order).await;
    let mail = app.runs_up_to("send_notice").await;
    let mut tx = app.intake().await;
    let correction = Correction { email: Some("new-address@mail.example".to_owned()), name: None };
    intake::rectify(&mut tx, &app.services.vault, ann.tenant, ann.id, &correction).await.unwrap();
    tx.commit().await.unwrap();
    assert!(app.performs(&mail).await.is_ok());
    assert_eq!(app.sandbox.resend.mails()[0].to, ["new-address@mail.example"]);
    assert!(app.lines_with("new-address").await.is_empty(), "sealed");
    app.erases(&ann).await;
    let mut tx = app.intake().await;
    let late = intake::rectify(&mut tx, &app.services.vault, ann.tenant, ann.id, &correction).await;
    assert!(matches!(late, Err(IntakeError::Refused(refusal)) if refusal.code == "subject_erased"));
}

/// K39: the verdict is contested; it is measured anew, of the photos that are there, and replaced.
#[tokio::test(flavor = "multi_thread")]
async fn k39_a_contested_score_is_measured_anew_and_replaced() {
    let app = App::spawn().await;
    let token = app.token("koselfie").await;
    let (ann, order) = app.basic_order(true).await;
    app.fulfils(order).await;
    let image = app.artifacts("image", order.uuid()).await[0];
    let score =
        "select jsonb_build_array(verdict, mean_best3, compared) from safelight.similarities where image_id = $1";
    let right: Value = app.of(score, image.uuid()).await;
    sqlx::query(
        "update safelight.similarities set verdict = 'not_alike', mean_best3 = -0.9, compared = 1 where image_id = $1",
    )
    .bind(image.uuid())
    .execute(&app.db)
    .await
    .unwrap();
    let path = format!("/v1/subjects/{}/images/{image}/compare", ann.id);
    for round in 0..2 {
        let (status, asked) = app.post(&token, &path, json!({})).await;
        assert_eq!((status, &asked["already"]), (202, &json!(false)), "round {round}: {asked}");
        assert_eq!(app.post(&token, &path, json!({})).await.1["already"], true, "while it waits");
        app.run_due_jobs().await;
        assert_eq!(app.of::<Value>(score, image.uuid()).await, right, "round {round}");
    }
    let selfie = app.artifacts("upload", ann.id.uuid()).await[0];
    assert_eq!(app.post(&token, &format!("/v1/subjects/{}/images/{selfie}/compare", ann.id), json!({})).await.0, 404);
    app.turn_clock(Duration::hours(720)).await;
    app.sweeps().await;
    let later = app.post(&token, &path, json!({})).await;
    assert!(matches!(later.0, 404 | 409), "{later:?}");
}

async fn opens(
    app: &App,
    kind: &str,
    received_at: Option<DateTime<Utc>>,
) -> Result<(Id<Case>, DateTime<Utc>), IntakeError> {
    let mut tx = app.intake().await;
    let new = NewCase { tenant: "koselfie", subject: None, kind, channel: "mail", received_at, by: "ops_1" };
    let opened = intake::open_case(&mut tx, &new).await?;
    tx.commit().await.unwrap();
    Ok(opened)
}

/// N28, N14: from somebody whom nobody has verified: the clock runs, nothing is deleted.
#[tokio::test(flavor = "multi_thread")]
async fn n28_k44_h26_a_mail_from_somebody_unverified_deletes_nothing_while_its_clock_runs() {
    let app = App::spawn().await;
    let ann = app.person("koselfie").await;
    app.uploads(&ann, 1).await;
    let received = app.now().await - Duration::days(3);
    let (case, due) = opens(&app, "erasure", Some(received)).await.unwrap();
    assert_eq!(due, received + chrono::Months::new(1), "a calendar month after the mail, not after the typing");
    app.run_due_jobs().await;
    assert_eq!(app.count("select count(*) from safelight.deletions").await, 0);
    let mut tx = app.intake().await;
    let answered = intake::close_case(&mut tx, case, None).await;
    assert!(matches!(answered, Err(IntakeError::Conflict { code: "identity_unverified", .. })));
    drop(tx);
    let mut tx = app.intake().await;
    let deletion = intake::verify_case(&mut tx, case, ann.id, "ops_1").await.unwrap().expect("an erasure begins");
    tx.commit().await.unwrap();
    let answer_due: DateTime<Utc> =
        app.of("select answer_due from safelight.deletions where id = $1", deletion.uuid()).await;
    assert_eq!(answer_due, due, "the deadline counts from the mail");
    app.waits_out_late_writers().await;
    assert_eq!(app.deletion_state(deletion).await, "complete");
    let mut tx = app.intake().await;
    intake::close_case(&mut tx, case, None).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(intake::cases(&app.db, None, false).await.unwrap(), []);
}

/// A case is of one person: whoever it was opened or verified about, nobody else is erased by it.
#[tokio::test(flavor = "multi_thread")]
async fn n28_h26_a_case_erases_nobody_but_the_one_that_it_is_about_and_only_once() {
    let app = App::spawn().await;
    let (ann, eve) = (app.person("koselfie").await, app.person("koselfie").await);
    let verify = async |case, of: &Person| {
        let mut tx = app.intake().await;
        let deletion = intake::verify_case(&mut tx, case, of.id, "ops_1").await?;
        tx.commit().await.unwrap();
        Ok::<_, IntakeError>(deletion)
    };
    let of_another =
        |said: Result<_, IntakeError>| matches!(said, Err(IntakeError::Conflict { code: "case_of_another", .. }));
    let mut tx = app.intake().await;
    let new = NewCase {
        tenant: "koselfie",
        subject: Some(ann.id),
        kind: "erasure",
        channel: "mail",
        received_at: None,
        by: "ops_1",
    };
    let (named, _) = intake::open_case(&mut tx, &new).await.unwrap();
    tx.commit().await.unwrap();
    let (nameless, _) = opens(&app, "erasure", None).await.unwrap();
    assert!(of_another(verify(named, &eve).await), "the mail said to be of Ann");
    let begun = verify(nameless, &ann).await.unwrap();
    assert!(begun.is_some());
    assert!(of_another(verify(nameless, &eve).await), "it is Ann's since it was verified");
    assert_eq!(verify(nameless, &ann).await.unwrap(), begun, "said twice");
    assert_eq!(app.count("select count(*) from safelight.audit_entries where action = 'case.verified'").await, 1);
    assert_eq!(app.count("select count(*) from safelight.subjects where state <> 'active'").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn n14_n28_a_case_is_late_after_one_calendar_month_and_extended_only_before_that_with_a_reason() {
    let app = App::spawn().await;
    let (case, due) = opens(&app, "access", None).await.unwrap();
    let (other, _) = opens(&app, "access", None).await.unwrap();
    let extend = |case| {
        let app = &app;
        async move {
            let mut tx = app.intake().await;
            let extended = intake::extend_case(&mut tx, case, "many_requests").await?;
            tx.commit().await.unwrap();
            Ok::<_, IntakeError>(extended)
        }
    };
    app.turn_clock_to(due - Duration::minutes(1)).await;
    assert!(!intake::cases(&app.db, None, false).await.unwrap()[0].late);
    assert!(extend(case).await.unwrap() > due + Duration::days(58));
    assert!(extend(case).await.is_err(), "once");
    app.turn_clock_to(due + Duration::minutes(1)).await;
    assert!(extend(other).await.is_err(), "too late");
    let late: Vec<_> =
        intake::cases(&app.db, None, false).await.unwrap().into_iter().filter(|case| case.late).collect();
    assert_eq!(late.iter().map(|case| case.case).collect::<Vec<_>>(), [other]);
    let metrics = app.http.get(format!("{}/metrics", app.url)).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("safelight_cases_open 2") && metrics.contains("safelight_cases_late 1"), "{metrics}");
    assert!(matches!(opens(&app, "marketing", None).await, Err(IntakeError::Invalid { code: "unknown_word", .. })));
    assert!(matches!(
        opens(&app, "access", Some(app.now().await + Duration::hours(1))).await,
        Err(IntakeError::Invalid { .. })
    ));
}
