//! The one mail that an erased person gets: after everything else, once, from an address that is kept sealed until then.

use safelight_jobs::id::{Deletion, Id};
use safelight_sandbox::{Fault, Rule};

use super::erasure::{later, nothing_of};
use crate::app::{App, Person};

/// An account without anything else, and its erasure.
async fn erased(app: &App) -> (Person, Id<Deletion>) {
    let ann = app.person("koselfie").await;
    let deletion = app.erases(&ann).await;
    (ann, deletion)
}

/// State and evidence of the step that tells.
async fn told(app: &App, deletion: Id<Deletion>) -> (String, Option<String>) {
    sqlx::query_as(
        "select state, evidence from safelight.deletion_steps where deletion_id = $1 and class = 'account' and processor = 'resend'",
    )
    .bind(deletion.uuid())
    .fetch_one(&app.db)
    .await
    .unwrap()
}

/// Addresses that are kept for a mail.
async fn kept(app: &App) -> i64 {
    app.count("select count(*) from safelight.deletion_steps where targets ->> 'to' is not null").await
}

#[tokio::test(flavor = "multi_thread")]
async fn k33_an_erased_person_is_told_once_when_all_else_is_gone_and_nothing_of_the_address_stays() {
    let app = App::spawn().await;
    let (ann, order) = app.basic_order(true).await;
    app.fulfils(order).await;
    let before = app.sandbox.resend.mails().len();
    // Something does not go at first: she is not told that it had.
    for on in ["DELETE /storage/", "POST /storage/"] {
        app.sandbox.supabase.faults().add(Rule {
            fault: Fault::ServerError { status: 503 },
            times: None,
            on: Some(on.to_owned()),
        });
    }
    let deletion = app.erases(&ann).await;
    app.run_due_jobs().await;
    assert_eq!(app.sandbox.resend.mails().len(), before, "her photos are not gone");
    assert_eq!(kept(&app).await, 1);
    assert!(app.lines_with(&ann.email).await.is_empty(), "the address is kept sealed only");
    app.sandbox.supabase.faults().clear();
    app.turn_clock(chrono::Duration::hours(1)).await;
    app.run_due_jobs().await;

    let mails = app.sandbox.resend.mails();
    assert_eq!(mails.len(), before + 1);
    let mail = mails.last().unwrap();
    assert_eq!(mail.to, std::slice::from_ref(&ann.email));
    assert_eq!(mail.subject, "Your data is deleted");
    let text = mail.text.as_deref().unwrap();
    for word in ["http", "Ann", "garden", &order.to_string(), &deletion.to_string(), &ann.id.to_string()] {
        assert!(!text.contains(word), "the mail holds `{word}`: {text}");
    }
    assert_eq!(kept(&app).await, 0, "wiped with the step's end");
    assert_eq!(
        app.of::<i64>("select count(*) from safelight.subject_keys where subject_id = $1", ann.id.uuid()).await,
        0
    );
    assert_ne!(app.deletion_state(deletion).await, "complete", "the second look is still to come");

    app.waits_out_late_writers().await;
    later(&app, 1).await;
    assert_eq!(app.deletion_state(deletion).await, "complete");
    assert_eq!(app.sandbox.resend.mails().len(), before + 1, "once");
    let (state, evidence) = told(&app, deletion).await;
    assert_eq!(
        (state.as_str(), evidence.as_deref()),
        ("verified", Some("told: Resend took one mail; the address that was kept for it is wiped"))
    );
    nothing_of(&app, &ann).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn k33_a_lost_answer_of_the_mail_provider_makes_no_second_mail() {
    let app = App::spawn().await;
    app.sandbox.resend.faults().once(Fault::LostAnswer);
    let (_, deletion) = erased(&app).await;
    app.run_due_jobs().await;
    assert_eq!(told(&app, deletion).await.0, "doing");
    later(&app, 3).await;
    assert_eq!(app.sandbox.resend.mails().len(), 1, "taken at the first try, and asked for again under the same key");
    assert_eq!(app.deletion_state(deletion).await, "complete");
    assert!(told(&app, deletion).await.1.unwrap().starts_with("told: "));
}

#[tokio::test(flavor = "multi_thread")]
async fn k33_while_the_mail_provider_is_down_the_address_is_kept_for_less_than_a_day() {
    let app = App::spawn().await;
    app.sandbox.resend.take_down().await;
    let (ann, deletion) = erased(&app).await;
    app.run_due_jobs().await;
    for _ in 0..22 {
        app.turn_clock(chrono::Duration::hours(1)).await;
        app.run_due_jobs().await;
    }
    assert_eq!(kept(&app).await, 1, "tried until Resend would no longer know our key");
    assert_eq!(app.of::<i64>("select count(*) from safelight.accounts where subject_id = $1", ann.id.uuid()).await, 0);
    app.turn_clock(chrono::Duration::hours(2)).await;
    app.run_due_jobs().await;
    assert_eq!(kept(&app).await, 0);
    later(&app, 2).await;
    assert_eq!(app.deletion_state(deletion).await, "complete");
    assert!(told(&app, deletion).await.1.unwrap().starts_with("not known whether a mail was sent"));
    app.sandbox.resend.bring_up().await.unwrap();
    later(&app, 2).await;
    assert_eq!(app.sandbox.resend.mails().len(), 0, "no try comes after the last one");
    nothing_of(&app, &ann).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn k33_a_mail_that_is_refused_keeps_no_erasure_open() {
    let app = App::spawn().await;
    app.sandbox.resend.faults().add(Rule {
        fault: Fault::ServerError { status: 422 },
        times: None,
        on: Some("POST /emails".to_owned()),
    });
    let (_, deletion) = erased(&app).await;
    app.waits_out_late_writers().await;
    assert_eq!(app.deletion_state(deletion).await, "complete");
    assert!(told(&app, deletion).await.1.unwrap().starts_with("no mail was sent: Resend refused the mail"));
    assert_eq!(kept(&app).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn h29_a_tenant_whose_policy_names_no_mail_keeps_no_address_for_one() {
    let app = App::spawn().await;
    let bob = app.person("haloprofile").await;
    let deletion = app.erases(&bob).await;
    app.run_due_jobs().await;
    // Not even for the moment until the door is found closed.
    assert_eq!(app.count("select count(*) from safelight.deletion_steps where processor = 'resend'").await, 0);
    app.waits_out_late_writers().await;
    assert_eq!(app.deletion_state(deletion).await, "complete");
    assert!(app.sandbox.resend.calls().is_empty());
}
