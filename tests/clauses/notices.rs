//! Mail: who gets one, what stands in it, and that an erased person gets none.

use safelight_jobs::{
    id::{Id, Notice},
    job::Queue,
    send_notice::SendNotice,
};
use sqlx::Executor;

use crate::app::{App, Person};

/// A mail that is enqueued and not sent yet.
async fn mail_to_send(app: &App) -> (Person, Id<Notice>) {
    let (ann, order) = app.basic_order(false).await;
    let notice = Id::<Notice>::new();
    sqlx::query("insert into safelight.notices (id, tenant, subject_id, order_id, template, channel) values ($1, 'koselfie', $2, $3, 'order_delivered', 'mail')")
        .bind(notice.uuid())
        .bind(ann.id.uuid())
        .bind(order.uuid())
        .execute(&app.db)
        .await
        .unwrap();
    app.wants(&SendNotice { notice }).await;
    (ann, notice)
}

#[tokio::test(flavor = "multi_thread")]
async fn k33_a_mail_holds_no_photo_no_link_and_no_word_of_the_person() {
    let app = App::spawn().await;
    let (ann, order) = app.basic_order(false).await;
    app.fulfils(order).await;
    let mails = app.sandbox.resend.mails();
    assert_eq!(mails.len(), 1);
    assert_eq!(mails[0].to, std::slice::from_ref(&ann.email));
    assert!(mails[0].html.is_none());
    let text = format!("{} {}", mails[0].subject, mails[0].text.as_deref().unwrap());
    for word in ["http", "<img", "data:", "/image/", "X-Amz", "Ann", "garden", ann.email.as_str(), &order.to_string()] {
        assert!(!text.contains(word), "the mail holds `{word}`: {text}");
    }
    let sent = app.sandbox.resend.calls();
    let sent = sent.iter().find(|call| call.method == "POST").unwrap();
    assert!(sent.body.get("attachments").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn k33_a_person_who_is_erased_between_enqueue_and_send_gets_no_mail() {
    let app = App::spawn().await;
    let (ann, _) = mail_to_send(&app).await;
    app.erases(&ann).await;
    app.run_due_jobs().await;
    let mails = app.sandbox.resend.mails();
    let subjects: Vec<&str> = mails.iter().map(|mail| mail.subject.as_str()).collect();
    assert_eq!(subjects, ["Your data is deleted"], "the one confirmation, and not what was enqueued before");
}

/// And when a worker holds the job already.
#[tokio::test(flavor = "multi_thread")]
async fn k33_a_worker_that_holds_the_mail_when_the_erasure_comes_sends_none() {
    let app = App::spawn().await;
    let (ann, _) = mail_to_send(&app).await;
    let claimed = app.dequeues(Queue::Notices).await;
    app.erases(&ann).await;
    assert!(app.performs(&claimed).await.is_err());
    assert_eq!(app.sandbox.resend.calls().len(), 0);
}

/// The address is read when the mail is sent, not when it is enqueued.
#[tokio::test(flavor = "multi_thread")]
async fn k33_k39_a_mail_goes_to_the_address_that_holds_when_it_is_sent() {
    let app = App::spawn().await;
    let (ann, _) = mail_to_send(&app).await;
    let mut connection = app.db.acquire().await.unwrap();
    let key = app.services.vault.key(&mut connection, ann.id).await.unwrap();
    let sealed = key.seal("email", b"new@mail.example").unwrap();
    let update = sqlx::query("update safelight.accounts set email_sealed = $2 where subject_id = $1")
        .bind(ann.id.uuid())
        .bind(sealed);
    connection.execute(update).await.unwrap();
    app.run_due_jobs().await;
    assert_eq!(app.sandbox.resend.mails()[0].to, ["new@mail.example"]);
    let payload: String =
        sqlx::query_scalar("select payload::text from safelight.jobs_archive where kind = 'send_notice'")
            .fetch_one(&app.db)
            .await
            .unwrap();
    assert!(!payload.contains('@'), "the job held an id only: {payload}");
}
