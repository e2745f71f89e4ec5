//! A change of the policy that is told by mail counts when it has reached everybody, and not by having been sent.

use chrono::Duration;
use safelight_jobs::{
    policy::Policy,
    policy_rows::{self, InstallError},
    tell_policies::TellPolicies,
};
use safelight_sandbox::Fault;

use crate::app::{App, Person};

const NEXT: &str = "2026-07-31";

impl App {
    /// The next version of KoSelfie's policy, installed and told to nobody.
    async fn next_policy(&self) {
        let text = include_str!("../../policies/koselfie.toml").replacen(
            "version = \"2026-05-25\"",
            &format!("version = \"{NEXT}\""),
            1,
        );
        policy_rows::install(&self.db, &Policy::parse(&text).unwrap()).await.unwrap();
    }

    async fn looks_after_mails(&self) {
        self.wants(&TellPolicies { because: uuid::Uuid::new_v4().simple().to_string() }).await;
        self.run_due_jobs().await;
    }

    /// Resend reports of every mail to this person.
    fn mail_fares(&self, person: &Person, event: &str) {
        let mails = self.sandbox.resend.mails();
        let mut sent = mails.iter().filter(|mail| mail.to == [person.email.clone()]).peekable();
        assert!(sent.peek().is_some(), "a mail was sent");
        for mail in sent {
            self.sandbox.resend.report(&mail.id, event).unwrap();
        }
    }

    async fn counts(&self) -> String {
        sqlx::query_scalar("select safelight.policy_in_force('koselfie')").fetch_one(&self.db).await.unwrap()
    }

    async fn untold(&self) -> (i64, i64) {
        let all = policy_rows::standings(&self.db).await.unwrap();
        let next = all.into_iter().find(|standing| standing.version == NEXT).unwrap();
        (next.untold, next.bounced)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn k48_a_version_that_is_told_by_mail_counts_when_every_living_person_was_reached_long_enough_ago() {
    let app = App::spawn().await;
    let (ann, eve, bob) = (app.person("koselfie").await, app.person("koselfie").await, app.person("koselfie").await);
    app.person("haloprofile").await;
    app.next_policy().await;
    assert_eq!(policy_rows::announce_by_mail(&app.db, "koselfie", NEXT, crate::app::OPS).await.unwrap(), 3);
    app.run_due_jobs().await;
    assert_eq!(app.sandbox.resend.mails().len(), 3, "one mail a person, and none to another tenant's");
    for mail in app.sandbox.resend.mails() {
        let text = format!("{} {}", mail.subject, mail.text.unwrap());
        assert!(text.contains("privacy policy changes") && !text.contains("http") && !text.contains('@'), "{text}");
    }
    // Sent is not delivered, and one who is missing is enough.
    app.mail_fares(&ann, "email.delivered");
    app.mail_fares(&eve, "email.opened");
    app.looks_after_mails().await;
    app.turn_clock(Duration::days(30)).await;
    app.looks_after_mails().await;
    assert_eq!((app.counts().await.as_str(), app.untold().await), ("2026-05-25", (1, 0)));

    app.mail_fares(&bob, "email.delivered");
    app.looks_after_mails().await;
    // Whoever signs up in between is told, too.
    app.person("koselfie").await;
    app.turn_clock(Duration::hours(335)).await;
    app.looks_after_mails().await;
    assert_eq!(app.counts().await, "2026-05-25", "an hour early");
    app.turn_clock(Duration::hours(1)).await;
    assert_eq!(app.counts().await, NEXT);
    app.looks_after_mails().await;
    assert_eq!(app.sandbox.resend.mails().len(), 4, "nobody is mailed twice");
    let kept = "select count(*) from safelight.audit_entries where action = 'policy.announced' and outcome = 'by_mail'";
    assert_eq!(app.count(kept).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn k48_a_mail_of_which_the_provider_says_nothing_keeps_no_other_from_being_looked_at() {
    let app = App::spawn().await;
    for _ in 0..3 {
        app.person("koselfie").await;
    }
    app.next_policy().await;
    policy_rows::announce_by_mail(&app.db, "koselfie", NEXT, crate::app::OPS).await.unwrap();
    app.run_due_jobs().await;
    let mails = app.sandbox.resend.mails();
    assert_eq!(mails.len(), 3);
    for mail in &mails[1..] {
        app.sandbox.resend.report(&mail.id, "email.delivered").unwrap();
    }
    app.sandbox.resend.faults().add(safelight_sandbox::Rule {
        fault: Fault::ServerError { status: 422 },
        times: None,
        on: Some(format!("GET /emails/{}", mails[0].id)),
    });
    app.looks_after_mails().await;
    assert_eq!(app.untold().await.0, 1, "two of three are told");
}

#[tokio::test(flavor = "multi_thread")]
async fn k48_a_mail_that_bounced_told_nobody_and_the_product_can_tell_instead() {
    let app = App::spawn().await;
    let (ann, eve) = (app.person("koselfie").await, app.person("koselfie").await);
    app.next_policy().await;
    app.sandbox.resend.faults().add(safelight_sandbox::Rule {
        fault: Fault::MailBounces,
        times: None,
        on: Some(ann.email.clone()),
    });
    policy_rows::announce_by_mail(&app.db, "koselfie", NEXT, crate::app::OPS).await.unwrap();
    app.run_due_jobs().await;
    app.mail_fares(&eve, "email.delivered");
    for _ in 0..3 {
        app.looks_after_mails().await;
        app.turn_clock(Duration::days(20)).await;
    }
    assert_eq!((app.counts().await.as_str(), app.untold().await), ("2026-05-25", (1, 1)));
    // A worker cannot say otherwise: the rows are asked.
    let said: Option<chrono::DateTime<chrono::Utc>> =
        sqlx::query_scalar("select safelight.policy_is_told('koselfie', $1)")
            .bind(NEXT)
            .fetch_one(&app.worker)
            .await
            .unwrap();
    assert_eq!(said, None);
    let residue = "select residue from safelight.sweeps where kind = 'notices' order by finished_at desc limit 1";
    assert_eq!(sqlx::query_scalar::<_, i32>(residue).fetch_one(&app.db).await.unwrap(), 1);

    policy_rows::announce(&app.db, "koselfie", NEXT, crate::app::OPS).await.unwrap();
    app.turn_clock(Duration::hours(336)).await;
    assert_eq!(app.counts().await, NEXT);
}

#[tokio::test(flavor = "multi_thread")]
async fn k48_who_is_erased_holds_nothing_up_who_is_restricted_does_and_a_version_that_is_not_mailed_is_not_told() {
    let app = App::spawn().await;
    let (ann, eve) = (app.person("koselfie").await, app.person("koselfie").await);
    app.next_policy().await;
    let by_nobody: Option<chrono::DateTime<chrono::Utc>> =
        sqlx::query_scalar("select safelight.policy_is_told('koselfie', $1)")
            .bind(NEXT)
            .fetch_one(&app.worker)
            .await
            .unwrap();
    assert_eq!(by_nobody, None, "nobody decided to mail it");
    app.sandbox.resend.take_down().await;
    policy_rows::announce_by_mail(&app.db, "koselfie", NEXT, crate::app::OPS).await.unwrap();
    app.run_due_jobs().await;
    app.erases(&ann).await;
    app.sandbox.resend.bring_up().await.unwrap();
    app.lives_on(3, Duration::hours(1)).await;
    let to_ann: Vec<String> = app
        .sandbox
        .resend
        .mails()
        .iter()
        .filter(|mail| mail.to[0] == ann.email)
        .map(|mail| mail.subject.clone())
        .collect();
    assert_eq!(to_ann, ["Your data is deleted"], "no other to her who is erased");
    assert_eq!(app.sandbox.resend.mails().len(), 2);
    assert_eq!(app.untold().await, (1, 0));
    app.mail_fares(&eve, "email.delivered");
    sqlx::query("update safelight.subjects set state = 'restricted' where id = $1")
        .bind(eve.id.uuid())
        .execute(&app.db)
        .await
        .unwrap();
    assert_eq!(app.untold().await, (1, 0), "a restricted person is a living one");
    app.looks_after_mails().await;
    app.turn_clock(Duration::hours(336)).await;
    assert_eq!(app.counts().await, NEXT);
}

#[tokio::test(flavor = "multi_thread")]
async fn k48_h29_a_tenant_that_names_no_mail_processor_mails_nobody_and_neither_working_role_decides_to_mail() {
    let app = App::spawn().await;
    app.person("haloprofile").await;
    let refused = policy_rows::announce_by_mail(&app.db, "haloprofile", "2026-05-13", crate::app::OPS).await;
    assert!(matches!(refused, Err(InstallError::NoMail { .. })), "{refused:?}");
    let unknown = policy_rows::announce_by_mail(&app.db, "koselfie", "2099-01-01", crate::app::OPS).await;
    assert!(matches!(unknown, Err(InstallError::NotInstalled { .. })), "{unknown:?}");
    app.run_due_jobs().await;
    assert_eq!(app.sandbox.resend.calls().len(), 0);
    let intake = safelight_jobs::db::connect(&app.database_url, safelight_jobs::db::Role::Api, 1).await.unwrap();
    for pool in [&app.worker, &intake] {
        let refused = sqlx::query("select safelight.mail_policy('koselfie', '2026-05-25')").execute(pool).await;
        assert!(refused.unwrap_err().to_string().contains("permission denied"));
    }
    let refused = sqlx::query("select safelight.policy_is_told('koselfie', '2026-05-25')").execute(&intake).await;
    assert!(refused.unwrap_err().to_string().contains("permission denied"));
}
