//! Telling the person that it is done: one mail, from an address that is kept, sealed, in this step only and wiped with its end (K33).
//!
//! It is sent when everything but the key and the second look is done: the key that opens the address must not live through the hours
//! until the second look. Tried under one key of ours for as long as Resend keeps it; after that a repeat could be a second mail, and
//! the step ends without. What became of it is the step's evidence, never the address, nor Resend's id of the mail, which would lead
//! to the copy there.
//! Source: <https://resend.com/docs/dashboard/emails/idempotency-keys> (read November 2026): keys live for 24 hours.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::{DeletionRow, Step, carry_out::Carried};
use crate::{
    gate,
    providers::{
        Secret,
        mail::{Mail, MailError},
    },
    run::Run,
    stop::Stop,
};

/// From the first try on, in hours: an hour less than Resend knows our key.
const TRIED_FOR_HOURS: i32 = 23;

/// The sealed address that a plan keeps for it, in hex; none: the policy names no such mail, there is no address, or they were told
/// in a life of the database that a restore has undone.
pub(super) async fn address(tx: &mut PgConnection, deletion: &DeletionRow) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select encode(a.email_sealed, 'hex') as "to!" from safelight.deletions d join safelight.accounts a on a.subject_id = d.subject_id
        where d.id = $1 and not d.told_before and exists (select from safelight.policy_rules r
            where r.tenant = d.tenant and r.version = safelight.policy_in_force(d.tenant)
                and r.purpose = 'dsr' and r.processor = 'resend' and r.class = 'account')"#,
        deletion.id.uuid()
    )
    .fetch_optional(tx)
    .await
}

pub(super) async fn confirm(
    run: &Run,
    deletion: &DeletionRow,
    step: &Step,
    to: Option<&str>,
    began: Option<DateTime<Utc>>,
) -> Result<Carried, Stop> {
    let Some(to) = to else {
        return Ok(Carried::verified(0, "the address that was kept for it is wiped"));
    };
    let mut tx = run.begin().await?;
    let may = match gate::pass_confirmation(&mut tx, deletion.id).await? {
        Ok(may) => may,
        Err(code) => {
            tx.commit().await?;
            return end(run, deletion, step, format!("no mail was sent: {code}")).await;
        }
    };
    // Said before the first try, so that whoever comes after a crash knows for how long it was tried.
    let over = sqlx::query_scalar!(
        r#"update safelight.deletion_steps
        set targets = jsonb_set(targets, '{began}', to_jsonb(coalesce($3::timestamptz, safelight.now())))
        where deletion_id = $1 and seq = $2
        returning coalesce($3::timestamptz + make_interval(hours => $4) <= safelight.now(), false) as "over!""#,
        deletion.id.uuid(),
        step.seq,
        began,
        TRIED_FOR_HOURS
    )
    .fetch_one(&mut *tx)
    .await?;
    tx.commit().await?;
    if over {
        let said = format!(
            "not known whether a mail was sent: no try of {TRIED_FOR_HOURS} hours came to a clear end, and a later one could be a second mail"
        );
        return end(run, deletion, step, said).await;
    }
    let key = run.services.vault.key(&mut *run.reads().await?, deletion.subject).await?;
    let sealed = hex::decode(to).map_err(|error| Stop::retry("address_unreadable", error))?;
    let policy = run.services.policies.of(&deletion.tenant)?;
    let mail = Mail {
        to: Secret::new(key.open_text("email", &sealed)?),
        from: run.services.mail_from.clone(),
        subject: "Your data is deleted".to_owned(),
        text: words(policy.controller()),
    };
    let sent = run.services.mail.confirm_erasure(&may, &mail, &format!("erasure_complete:{}", deletion.id)).await;
    match sent {
        Ok(_) => end(run, deletion, step, "told: Resend took one mail".to_owned()).await,
        Err(error @ (MailError::Refused { .. } | MailError::BadInput { .. } | MailError::KeyReused)) => {
            end(run, deletion, step, format!("no mail was sent: {error}")).await
        }
        Err(error) => Err(error.into()),
    }
}

/// The address goes in the commit that says what became of the mail.
async fn end(run: &Run, deletion: &DeletionRow, step: &Step, said: String) -> Result<Carried, Stop> {
    let mut tx = run.begin().await?;
    let wiped = sqlx::query!(
        r#"update safelight.deletion_steps set targets = jsonb_set(targets, '{to}', 'null')
        where deletion_id = $1 and seq = $2 and targets ->> 'to' is not null"#,
        deletion.id.uuid(),
        step.seq
    )
    .execute(&mut *tx)
    .await?;
    Ok(Carried::counted(tx, wiped.rows_affected(), format!("{said}; the address that was kept for it is wiped")))
}

fn words(controller: &str) -> String {
    format!(
        "Your data is deleted: we have looked, and it is gone. Within a day we look again for what may have been on its way. Sign in is no longer \
        possible. What tax law asks us to keep does not name you.\n\nThis is the only mail about it, and your address is deleted with it.\n\n{controller}\n"
    )
}
