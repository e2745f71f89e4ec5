//! Corrections: whoever has a copy of a corrected address is told of it, the newest one and nobody erased (K39, Art. 19).

use safelight_jobs::{correct_sign_in::CorrectSignIn, job::Queue};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::app::{App, Person, polled};

impl App {
    /// Correct the address as the tenant's backend does. Answers who is told.
    async fn corrects(&self, person: &Person, email: &str) -> Value {
        let token = self.token(person.tenant).await;
        let path = format!("/v1/subjects/{}/rectify", person.id);
        let (status, answer) = self.post(&token, &path, json!({ "email": email })).await;
        assert_eq!(status, 200, "{answer}");
        answer["told"].clone()
    }

    /// The address of a sign-in user at Supabase; none: there is no such user.
    fn signs_in_with(&self, user: Uuid) -> Option<String> {
        self.sandbox.supabase.users().into_iter().find(|known| known.id == user).map(|known| known.email)
    }

    /// How often Supabase Auth was told an address.
    fn times_told(&self) -> usize {
        self.sandbox.supabase.calls().iter().filter(|call| call.method == "PUT" && call.path.contains("/auth/")).count()
    }

    /// The codes of all dead letters.
    async fn died_of(&self) -> Vec<String> {
        sqlx::query_scalar("select code from safelight.dead_letters order by id").fetch_all(&self.db).await.unwrap()
    }

    async fn entries(&self, action: &str) -> Vec<Value> {
        sqlx::query_scalar(
            "select jsonb_build_array(outcome, class, processor, purpose) from safelight.audit_entries where action = $1",
        )
        .bind(action)
        .fetch_all(&self.db)
        .await
        .unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn k39_supabase_auth_is_told_a_corrected_address_and_the_answer_and_the_log_say_so() {
    let app = App::spawn().await;
    for tenant in ["koselfie", "haloprofile"] {
        let ann = app.person(tenant).await;
        let new = format!("new-{tenant}@mail.example");
        let told = app.corrects(&ann, &new).await;
        assert_eq!((told[0]["processor"].as_str(), told.as_array().unwrap().len()), (Some("supabase"), 1), "{told}");
        assert_eq!(app.signs_in_with(ann.auth_user), Some(ann.email.clone()), "the intake asks nobody");
        let payload: String =
            sqlx::query_scalar("select payload::text from safelight.jobs where kind = 'correct_sign_in'")
                .fetch_one(&app.db)
                .await
                .unwrap();
        assert!(!payload.contains("mail") && !payload.contains('@'), "the job holds no address: {payload}");
        app.run_due_jobs().await;
        assert_eq!(app.signs_in_with(ann.auth_user), Some(new));
    }
    let entry = json!(["corrected", "account", "supabase", "host"]);
    assert_eq!(app.entries("recipient.told").await, [entry.clone(), entry]);
    assert!(app.lines_with("new-").await.is_empty(), "sealed");
    assert_eq!(app.times_told(), 2);
    let confirmed = app.sandbox.supabase.users().iter().filter(|user| user.email_confirmed_at.is_some()).count();
    assert_eq!(confirmed, 2, "no mail asks the person to confirm what she corrected");
}

/// A name is nobody else's copy, and a person without a sign-in user has none there.
#[tokio::test(flavor = "multi_thread")]
async fn k39_nobody_is_told_what_nobody_has() {
    let app = App::spawn().await;
    let token = app.token("koselfie").await;
    let ann = app.person("koselfie").await;
    let (_, answer) = app.post(&token, &format!("/v1/subjects/{}/rectify", ann.id), json!({ "name": "Anne" })).await;
    assert_eq!(answer["told"], json!([]));
    let (_, bo) = app.post(&token, "/v1/subjects", json!({ "email": "bo@mail.example" })).await;
    let path = format!("/v1/subjects/{}/rectify", bo["subject"].as_str().unwrap());
    let (_, answer) = app.post(&token, &path, json!({ "email": "bob@mail.example" })).await;
    assert_eq!(answer["told"], json!([]));
    app.run_due_jobs().await;
    assert_eq!(app.times_told(), 0);
}

/// The address is opened when the call is made, and a job that comes late with an old one looks again.
#[tokio::test(flavor = "multi_thread")]
async fn k39_of_two_corrections_the_newer_one_stays_wherever_the_first_ones_job_was_cut_by_the_second() {
    let app = App::spawn().await;
    let ann = app.person("koselfie").await;
    let mut told_late = 0;
    for polls in 1..30 {
        let newest = format!("second-{polls}@mail.example");
        app.corrects(&ann, &format!("first-{polls}@mail.example")).await;
        let first = app.dequeues(Queue::Notices).await;
        let mut sleeper = Box::pin(safelight_worker::perform(&app.worker, &app.services, &first));
        if polled(&mut sleeper, polls).await.is_some() {
            break;
        }
        app.corrects(&ann, &newest).await;
        app.performs_one::<CorrectSignIn>().await;
        assert_eq!(app.signs_in_with(ann.auth_user), Some(newest.clone()), "after {polls} polls");
        let before = app.times_told();
        sleeper.await.unwrap();
        app.run_due_jobs().await;
        told_late += app.times_told() - before;
        assert_eq!(app.signs_in_with(ann.auth_user), Some(newest), "asleep after {polls} polls");
    }
    assert!(told_late > 0, "no old address came late: nothing was seen");
    assert_eq!(app.died_of().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn k39_a_person_who_is_erased_between_correction_and_call_is_told_to_nobody_and_does_not_come_back() {
    let app = App::spawn().await;
    let ann = app.person("koselfie").await;
    app.corrects(&ann, "new@mail.example").await;
    let deletion = app.erases(&ann).await;
    app.run_due_jobs().await;
    // And when a worker holds the job already.
    let eve = app.person("koselfie").await;
    app.corrects(&eve, "eve@mail.example").await;
    let claimed = app.dequeues(Queue::Notices).await;
    app.erases(&eve).await;
    assert!(app.performs(&claimed).await.is_err());
    app.waits_out_late_writers().await;
    assert_eq!(app.deletion_state(deletion).await, "complete");
    assert_eq!((app.times_told(), app.sandbox.supabase.users().len()), (0, 0));
    assert_eq!(app.entries("recipient.told").await, Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn k39_k41_a_recipient_of_a_restricted_person_is_told_after_the_release() {
    let app = App::spawn().await;
    let token = app.token("koselfie").await;
    let ann = app.person("koselfie").await;
    let path = |what: &str| format!("/v1/subjects/{}/{what}", ann.id);
    assert_eq!(app.post(&token, &path("restrict"), json!({ "ground": "accuracy" })).await.0, 200);
    app.corrects(&ann, "right@mail.example").await;
    app.run_due_jobs().await;
    assert_eq!(app.times_told(), 0, "restricted is storage only");
    let told = json!({ "told": "mail", "told_at": app.now().await });
    assert_eq!(app.post(&token, &path("release"), told).await.0, 200);
    app.run_due_jobs().await;
    assert_eq!(app.signs_in_with(ann.auth_user).as_deref(), Some("right@mail.example"));
}

/// What Supabase does not take is seen: a dead letter with its code, or an entry that there was nobody.
#[tokio::test(flavor = "multi_thread")]
async fn k39_an_address_that_supabase_does_not_take_is_not_said_to_be_told() {
    let app = App::spawn().await;
    let cy = app.person("koselfie").await;
    app.corrects(&cy, "jörg@example.org").await;
    app.performs_one::<CorrectSignIn>().await;
    assert_eq!(app.died_of().await, ["auth_address_refused"]);
    let bo = app.person("koselfie").await;
    app.services.auth.delete_user(bo.auth_user).await.unwrap();
    app.corrects(&bo, "bo@mail.example").await;
    app.performs_one::<CorrectSignIn>().await;
    assert_eq!(app.entries("recipient.not_told").await[0][0], "no_such_user");
    assert_eq!(app.signs_in_with(bo.auth_user), None, "nobody is made");
    // Last, because it is tried again.
    let (ann, eve) = (app.person("koselfie").await, app.person("koselfie").await);
    app.corrects(&ann, &eve.email).await;
    app.performs_one::<CorrectSignIn>().await;
    assert_eq!(app.signs_in_with(ann.auth_user), Some(ann.email.clone()), "another user has it");
    assert_eq!(
        app.count("select count(*) from safelight.jobs where kind = 'correct_sign_in' and attempt = 1").await,
        1
    );
    assert_eq!(app.entries("recipient.told").await, Vec::<Value>::new());
}
