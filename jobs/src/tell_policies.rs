//! Tell people by mail that the privacy policy changes, and see whether it reached them.
//!
//! Life: enqueued by `safelight policy announce --by-mail`, then every hour by cron -> each version that is told by mail and
//! does not count yet -> a notice and `SendNotice` for each person who has none -> Resend is asked what became of the mails
//! that were sent -> nobody left untold: the version's time begins -> done.
//! Input: none.  Output: notices; the instant from which a version counts. What is left untold is the sweep's residue.
//! A mail that came back told nobody: the version then counts for nobody, until its notice was on display in the product.
//! Source: policy row K48; <https://resend.com/docs/api-reference/emails/retrieve-email> (read 2026-11).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    id::{Id, Notice},
    job::Retry,
    policy::Processor,
    providers::mail::{MailError, MailFate},
    run::{Run, Tx},
    send_notice::SendNotice,
    stop::Stop,
    sweep::{Sweep, Swept},
};

/// Notices that one commit makes.
const A_PAGE: i64 = 200;
/// Mails that one run asks after.
const LOOKS: i64 = 1000;

/// One look over all versions that are told by mail.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TellPolicies {
    /// Which tick of the schedule, or who asks.
    pub because: String,
}

impl Sweep for TellPolicies {
    const NAME: &'static str = "tell_policies";
    const KIND: &'static str = "notices";
    const RETRY: Retry = Retry { attempts: 10, first: Duration::from_secs(10), most: Duration::from_secs(600) };
    const PROVIDER: Option<Processor> = Some(Processor::Resend);

    fn because(&self) -> &str {
        &self.because
    }

    /// Each mail has a gate of its own, when it is sent.
    async fn sweep(&self, run: &Run) -> Result<(Tx, Swept), Stop> {
        let versions = sqlx::query!(
            "select tenant, version from safelight.policy_versions
            where mailed_from is not null and (in_force_from is null or in_force_from > safelight.now())"
        )
        .fetch_all(&mut *run.reads().await?)
        .await?;
        let (mut found, mut acted, mut residue) = (0, 0, 0);
        for row in &versions {
            acted += write_to(run, &row.tenant, &row.version).await?;
            acted += look_after(run, &row.tenant, &row.version).await?;
            found += 1;
            let mut tx = run.begin().await?;
            let from = sqlx::query_scalar!("select safelight.policy_is_told($1, $2)", row.tenant, row.version)
                .fetch_one(&mut *tx)
                .await?;
            if from.is_none() {
                residue += sqlx::query_scalar!(
                    r#"select count(*) as "n!" from safelight.policy_untold where tenant = $1 and version = $2"#,
                    row.tenant,
                    row.version
                )
                .fetch_one(&mut *tx)
                .await?;
            }
            tx.commit().await?;
        }
        let mut tx = run.begin().await?;
        if found > 0 {
            run.note("policy.mailed", "looked").count("acted", acted).count("untold", residue).write(&mut tx).await?;
        }
        Ok((tx, Swept { found, acted, residue: Some(residue), began: None }))
    }
}

/// A notice and its mail for everybody who has none, page by page. Who is erased meanwhile gets no mail: its gate is asked
/// when it is sent.
async fn write_to(run: &Run, tenant: &str, version: &str) -> Result<i64, Stop> {
    let mut written = 0;
    loop {
        let mut tx = run.begin().await?;
        let notices = sqlx::query_scalar!(
            "insert into safelight.notices (id, tenant, subject_id, template, channel, policy_version)
            select gen_random_uuid(), tenant, subject_id, 'policy_changes', 'mail', version from safelight.policy_untold
            where tenant = $1 and version = $2 and state = 'active' and notice_id is null order by subject_id limit $3
            on conflict do nothing returning id",
            tenant,
            version,
            A_PAGE
        )
        .fetch_all(&mut *tx)
        .await?;
        for notice in &notices {
            tx.enqueue(&SendNotice { notice: Id::<Notice>::from(*notice) }).await?;
        }
        tx.commit().await?;
        if notices.is_empty() {
            return Ok(written);
        }
        written += i64::try_from(notices.len()).unwrap_or(i64::MAX);
    }
}

/// What became of the mails that were sent. In no order: what stays under way must not keep the others from being looked at.
async fn look_after(run: &Run, tenant: &str, version: &str) -> Result<i64, Stop> {
    let sent = sqlx::query!(
        r#"select id, message_id as "message!" from safelight.notices
        where tenant = $1 and policy_version = $2 and sent_at is not null and message_id is not null
            and delivered_at is null and bounced_at is null order by random() limit $3"#,
        tenant,
        version,
        LOOKS
    )
    .fetch_all(&mut *run.reads().await?)
    .await?;
    let mut seen = 0;
    for row in sent {
        let fate = match run.services.mail.fate(&row.message).await {
            Ok(fate) => fate,
            // Of this mail nothing can be known; the others are asked about all the same.
            Err(error @ (MailError::Refused { .. } | MailError::BadInput { .. })) => {
                tracing::warn!(notice.id = %Id::<Notice>::from(row.id), %error, "Resend says nothing of a mail");
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if fate == MailFate::UnderWay {
            continue;
        }
        let mut tx = run.begin().await?;
        sqlx::query!(
            "update safelight.notices set delivered_at = case when $2 then safelight.now() end,
                bounced_at = case when not $2 then safelight.now() end where id = $1",
            row.id,
            fate == MailFate::Delivered
        )
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        seen += 1;
    }
    Ok(seen)
}
