//! Mail one notice to one person through Resend.
//!
//! Life: enqueued with the fact that it tells -> gate: notify by this provider -> address opened now, not when it was
//! enqueued -> mail, with an idempotency key of ours -> message id recorded -> done.
//! Input: a notice.  Output: one mail without photos, links to photos or words of the person.
//! Gives up: `purpose_not_allowed` (a tenant without mail), `subject_erased`, `mail_refused`.
//! Source: <https://resend.com/docs/api-reference/emails/send-email> (read 2026-11); the key lives 24 hours there.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    gate::{Allowed, Ask, Notify},
    id::{Id, Notice, Subject},
    job::{Effect, Job, JobKey, Queue, Retry, Scope},
    policy::{DataClass, Processor},
    providers::{Secret, mail::Mail},
    run::Run,
    stop::{Done, Stop},
};

/// One mail.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SendNotice {
    /// Which notice.
    pub notice: Id<Notice>,
}

/// A notice as this job reads it.
#[derive(Debug)]
pub struct Row {
    subject: Id<Subject>,
    tenant: String,
    template: String,
    sent: bool,
}

impl Job for SendNotice {
    const NAME: &'static str = "send_notice";
    const QUEUE: Queue = Queue::Notices;
    const RETRY: Retry = Retry { attempts: 12, first: Duration::from_secs(5), most: Duration::from_secs(3600) };
    const EFFECT: Effect = Effect::Repeatable;
    const PROVIDER: Option<Processor> = Some(Processor::Resend);
    type Pass = (Row, Allowed<Notify>);

    fn key(&self) -> JobKey {
        JobKey::new(Self::NAME, &[&self.notice])
    }

    fn scope(&self) -> Scope {
        Scope::Notice(self.notice)
    }

    async fn gate(&self, run: &Run) -> Result<Self::Pass, Stop> {
        let row = sqlx::query!(
            "select subject_id, tenant, template, sent_at from safelight.notices where id = $1",
            self.notice.uuid()
        )
        .fetch_optional(&mut *run.reads().await?)
        .await?
        .ok_or_else(|| Stop::give_up("subject_erased", format!("{} does not exist any more", self.notice)))?;
        let subject = row.subject_id.into();
        let ask = Ask::of(subject, Processor::Resend, &[DataClass::Account]);
        let allowed = run.pass::<Notify>(ask).await?;
        Ok((Row { subject, tenant: row.tenant, template: row.template, sent: row.sent_at.is_some() }, allowed))
    }

    async fn run(&self, (row, notify): Self::Pass, run: &Run) -> Result<Done, Stop> {
        if row.sent {
            return Ok(Done::nothing_more());
        }
        let mut connection = run.reads().await?;
        let key = run.services.vault.key(&mut connection, row.subject).await?;
        let sealed = sqlx::query_scalar!(
            "select email_sealed from safelight.accounts where subject_id = $1",
            row.subject.uuid()
        )
        .fetch_optional(&mut *connection)
        .await?
        .ok_or_else(|| Stop::give_up("subject_erased", format!("{} has no account any more", row.subject)))?;
        drop(connection);
        let policy = run.services.policies.of(&row.tenant)?;
        let (subject, text) = words(&row.template, policy.controller())?;
        let mail = Mail {
            to: Secret::new(key.open_text("email", &sealed)?),
            from: run.services.mail_from.clone(),
            subject,
            text,
        };
        let message = run.services.mail.send(&notify, &mail, &run.key("mail")).await?;

        let mut tx = run.begin().await?;
        sqlx::query!(
            "update safelight.notices set sent_at = safelight.now(), message_id = $2 where id = $1",
            self.notice.uuid(),
            message
        )
        .execute(&mut *tx)
        .await?;
        run.note("notice.sent", "mail").allowed(&notify).write(&mut tx).await?;
        run.finish(tx).await
    }
}

/// The whole text of a notice. Only the service's own name stands in it.
fn words(template: &str, controller: &str) -> Result<(String, String), Stop> {
    let (subject, text) = match template {
        "order_delivered" => (
            "Your portraits are ready",
            "Your portraits are ready. Sign in to see and download them. They stay available for the time that our privacy policy names and are then deleted.",
        ),
        "order_refused" => (
            "About your order",
            "We could not go on with your order. Sign in to see why and what happens with your payment.",
        ),
        "policy_changes" => (
            "Our privacy policy changes",
            "Our privacy policy changes. Sign in to read the new version, what it changes and from when on it counts. Until then the version that you know counts. You can withdraw a consent or delete your account at any time.",
        ),
        other => return Err(Stop::give_up("no_such_template", format!("no notice is named `{other}`"))),
    };
    Ok((subject.to_owned(), format!("{text}\n\n{controller}\n")))
}
