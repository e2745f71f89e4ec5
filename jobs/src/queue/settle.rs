//! Settle: write what became of attempts. Verdict and fence are one statement: no row is settled whose lease is not
//! ours any more.

use std::time::Duration;

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::queue::Lease;

/// How long the key of a finished job still answers `already`.
pub const KEY_LIFETIME_HOURS: i32 = 24 * 30;

/// What became of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The job is done.
    Done,
    /// Spend an attempt and come back after the delay; a dead letter if it was the last one.
    Retry {
        /// The stored delay.
        delay: Duration,
        /// Stable code.
        code: String,
    },
    /// Come back after the delay; nothing is spent.
    Wait {
        /// The stored delay.
        delay: Duration,
        /// What is waited for.
        why: String,
    },
    /// A dead letter.
    GiveUp {
        /// Stable code.
        code: String,
    },
    /// Not readable by this version: held with its reason until somebody releases it.
    Park {
        /// Stable code.
        code: String,
    },
}

/// A verdict and the lease that it was reached under.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Whose attempt.
    pub lease: Lease,
    /// What became of it.
    pub verdict: Verdict,
}

/// Write many outcomes in one transaction. Outcomes of leases that are ours no more change nothing. Answers how many
/// were written.
pub async fn settle(pool: &PgPool, outcomes: &[Outcome]) -> Result<u64, sqlx::Error> {
    let mut tx = crate::db::begin(pool).await?;
    let mut written = 0;
    let (mut ids, mut tokens) = (Vec::new(), Vec::new());
    for outcome in outcomes.iter().filter(|outcome| outcome.verdict == Verdict::Done) {
        ids.push(outcome.lease.job.uuid());
        tokens.push(outcome.lease.token);
    }
    if !ids.is_empty() {
        written += archive(&mut tx, &ids, &tokens).await?;
    }
    written += come_back(&mut tx, outcomes).await?;
    for outcome in outcomes {
        if let Verdict::GiveUp { code } = &outcome.verdict {
            written += give_up(&mut tx, outcome.lease, code).await?;
        }
    }
    tx.commit().await?;
    Ok(written)
}

/// The job's end inside the transaction of its last effects. False: the lease is lost, roll everything back.
pub async fn settle_within(tx: &mut PgConnection, lease: Lease) -> Result<bool, sqlx::Error> {
    Ok(archive(tx, &[lease.job.uuid()], &[lease.token]).await? == 1)
}

async fn archive(tx: &mut PgConnection, ids: &[Uuid], tokens: &[Uuid]) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!(
        r#"with u as materialized (select * from unnest($1::uuid[], $2::uuid[]) as u(id, token)),
        gone as (
            delete from safelight.jobs j using u where j.id = u.id and j.lease_token = u.token returning j.*
        ), freed as (
            update safelight.job_keys k set expires_at = safelight.now() + make_interval(hours => $3)
            from gone where gone.key is not null and k.key = gone.key
        )
        insert into safelight.jobs_archive (id, queue, kind, version, payload, tenant, subject_id, order_id, key, attempt, waits,
            outcome, run_at, created_at, started_at, finished_at)
        select id, queue, kind, version, payload, tenant, subject_id, order_id, key, attempt, waits,
            'done', run_at, created_at, started_at, clock_timestamp() from gone"#,
        ids,
        tokens,
        KEY_LIFETIME_HOURS,
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected())
}

/// Retries, waits and parkings. A retry that spent the last attempt becomes a dead letter in the same transaction.
async fn come_back(tx: &mut PgConnection, outcomes: &[Outcome]) -> Result<u64, sqlx::Error> {
    let (mut ids, mut tokens, mut delays, mut verdicts, mut codes) = (vec![], vec![], vec![], vec![], vec![]);
    for outcome in outcomes {
        let (delay, verdict, code) = match &outcome.verdict {
            Verdict::Retry { delay, code } => (*delay, "retry", code),
            Verdict::Wait { delay, why } => (*delay, "wait", why),
            Verdict::Park { code } => (Duration::ZERO, "park", code),
            Verdict::Done | Verdict::GiveUp { .. } => continue,
        };
        ids.push(outcome.lease.job.uuid());
        tokens.push(outcome.lease.token);
        delays.push(delay.as_secs_f64());
        verdicts.push(verdict.to_owned());
        codes.push(code.clone());
    }
    if ids.is_empty() {
        return Ok(0);
    }
    let rows = sqlx::query!(
        r#"with u as materialized (
            select * from unnest($1::uuid[], $2::uuid[], $3::float8[], $4::text[], $5::text[]) as u(id, token, delay, verdict, code)
        ), back as (
            update safelight.jobs j set
                state = case when u.verdict = 'park' then 2 else 0 end,
                lease_token = null, lease_until = null,
                attempt = j.attempt + case when u.verdict = 'retry' then 1 else 0 end,
                waits = j.waits + case when u.verdict = 'wait' then 1 else 0 end,
                run_at = (select safelight.now()) + make_interval(secs => u.delay),
                why = u.code, crashes = 0
            from u where j.id = u.id and j.lease_token = u.token
            returning j.id, j.subject_id, j.attempt, j.max_attempts, j.worker, u.verdict, u.code
        ), noted as (
            insert into safelight.job_attempts (job_id, subject_id, attempt, verdict, code, worker)
            select id, subject_id, attempt, case verdict when 'park' then 'gave_up' else verdict end, code, worker from back
        )
        select id as "id!", code as "code!", verdict = 'retry' and attempt >= max_attempts as "spent!" from back"#,
        &ids,
        &tokens,
        &delays,
        &verdicts,
        &codes,
    )
    .fetch_all(&mut *tx)
    .await?;
    for row in rows.iter().filter(|row| row.spent) {
        bury(tx, &[row.id], &row.code).await?;
    }
    Ok(rows.len() as u64)
}

async fn give_up(tx: &mut PgConnection, lease: Lease, code: &str) -> Result<u64, sqlx::Error> {
    let ours = sqlx::query!(
        r#"with mine as (
            select id, subject_id, attempt, worker from safelight.jobs where id = $1 and lease_token = $2 for update
        )
        insert into safelight.job_attempts (job_id, subject_id, attempt, verdict, code, worker)
        select id, subject_id, attempt + 1, 'gave_up', $3, worker from mine"#,
        lease.job.uuid(),
        lease.token,
        code,
    )
    .execute(&mut *tx)
    .await?
    .rows_affected();
    if ours == 1 {
        bury(tx, &[lease.job.uuid()], code).await?;
    }
    Ok(ours)
}

/// Move jobs to the dead letters. The caller holds their rows. Keys stay taken: the wish is not granted twice, it is
/// redriven.
pub(super) async fn bury(tx: &mut PgConnection, ids: &[Uuid], code: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"with gone as (delete from safelight.jobs where id = any ($1) returning *),
        dead as (
            insert into safelight.dead_letters (id, queue, kind, version, payload, tenant, subject_id, order_id, key, priority, attempt,
                max_attempts, crashes, waits, code, traceparent, created_at)
            select id, queue, kind, version, payload, tenant, subject_id, order_id, key, priority, attempt,
                max_attempts, crashes, waits, $2, traceparent, created_at from gone
        )
        insert into safelight.audit_entries (tenant, actor, action, job_kind, job_id, order_id, outcome, counts)
        select tenant, 'queue', 'job.dead_letter', kind, id, order_id, 'dead', jsonb_build_object('attempts', attempt, 'crashes', crashes)
        from gone"#,
        ids,
        code,
    )
    .execute(tx)
    .await?;
    Ok(())
}
