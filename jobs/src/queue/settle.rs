//! Settle: write what became of attempts. Verdict and fence are one statement: no row is settled whose lease is not
//! ours any more.

use std::time::Duration;

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::{db, queue::Lease};

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
    /// A provider is in trouble. Spends an attempt as a retry does, unless the provider is left alone by now: then the job
    /// waits until it is well again.
    Trouble {
        /// Who.
        provider: &'static str,
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
    let (mut ids, mut tokens) = (Vec::new(), Vec::new());
    for outcome in outcomes.iter().filter(|outcome| outcome.verdict == Verdict::Done) {
        ids.push(outcome.lease.job.uuid());
        tokens.push(outcome.lease.token);
    }
    // The usual batch is one statement: nothing to begin and to commit around it.
    if ids.len() == outcomes.len() {
        let mut write = db::write(pool).await?;
        let written = archive(&mut write, &ids, &tokens).await?;
        write.commit().await?;
        return Ok(written);
    }
    let mut tx = db::begin(pool).await?;
    let mut written = 0;
    let trouble: Vec<String> = outcomes
        .iter()
        .filter_map(|outcome| match &outcome.verdict {
            Verdict::Trouble { provider, .. } => Some((*provider).to_owned()),
            _ => None,
        })
        .collect();
    if !trouble.is_empty() {
        sqlx::query!("select safelight.provider_news('{}', $1)", &trouble).fetch_one(&mut *tx).await?;
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

/// Attempts that asked these providers ended well: their breakers close. Costs one look when they are closed already.
pub async fn provider_is_well(pool: &PgPool, providers: &[&'static str]) -> Result<(), sqlx::Error> {
    let providers: Vec<String> = providers.iter().map(|provider| (*provider).to_owned()).collect();
    let mut write = db::write(pool).await?;
    sqlx::query!("select safelight.provider_news($1, '{}')", &providers).fetch_one(&mut *write).await?;
    write.commit().await
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
        ), forgotten as (
            delete from safelight.job_steps s using gone where s.job_id = gone.id
        )
        insert into safelight.jobs_archive (id, queue, kind, version, payload, tenant, subject_id, order_id, key, attempt, waits,
            outcome, run_at, created_at, started_at, finished_at, prune_on)
        select id, queue, kind, version, payload, tenant, subject_id, order_id, key, attempt, waits,
            'done', run_at, created_at, started_at, clock_timestamp(), (select safelight.now()::date) + keep_days from gone"#,
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
    let (mut ids, mut tokens, mut delays, mut verdicts, mut codes, mut providers) =
        (vec![], vec![], vec![], vec![], vec![], vec![]);
    for outcome in outcomes {
        let (delay, verdict, code, provider) = match &outcome.verdict {
            Verdict::Retry { delay, code } => (*delay, "retry", code, None),
            Verdict::Trouble { provider, delay, code } => (*delay, "retry", code, Some((*provider).to_owned())),
            Verdict::Wait { delay, why } => (*delay, "wait", why, None),
            Verdict::Park { code } => (Duration::ZERO, "park", code, None),
            Verdict::Done | Verdict::GiveUp { .. } => continue,
        };
        ids.push(outcome.lease.job.uuid());
        tokens.push(outcome.lease.token);
        delays.push(delay.as_secs_f64());
        verdicts.push(verdict.to_owned());
        codes.push(code.clone());
        providers.push(provider);
    }
    if ids.is_empty() {
        return Ok(0);
    }
    let rows = sqlx::query!(
        r#"with u as materialized (
            select u.id, u.token, u.delay, u.code, now, case
                -- Left alone: not its fault, nothing is spent.
                when exists (select from safelight.breakers b where b.provider = u.provider and b.state <> 'closed') then 'wait'
                else u.verdict end as verdict
            from unnest($1::uuid[], $2::uuid[], $3::float8[], $4::text[], $5::text[], $6::text[]) as u(id, token, delay, verdict, code, provider),
                (select safelight.now() as now offset 0) clock
        ), back as (
            update safelight.jobs j set
                state = case when u.verdict = 'park' then 2 when u.delay > 0 then 3 else 0 end,
                lease_token = null, lease_until = null,
                attempt = j.attempt + case when u.verdict = 'retry' then 1 else 0 end,
                waits = j.waits + case when u.verdict = 'wait' then 1 else 0 end,
                run_at = u.now + make_interval(secs => u.delay),
                rank = u.now + make_interval(secs => u.delay) + j.priority * interval '1 minute',
                why = u.code, crashes = 0
            from u where j.id = u.id and j.lease_token = u.token
            returning j.id, j.subject_id, j.attempt, j.max_attempts, j.worker, u.verdict, u.code, j.run_at > j.deadline_at as late
        ), noted as (
            insert into safelight.job_attempts (job_id, subject_id, attempt, verdict, code, worker)
            select id, subject_id, attempt, case verdict when 'park' then 'gave_up' else verdict end, code, worker from back
        )
        select id as "id!", case when late then 'deadline_over' else code end as "code!",
            verdict = 'retry' and attempt >= max_attempts or verdict <> 'park' and coalesce(late, false) as "spent!" from back"#,
        &ids,
        &tokens,
        &delays,
        &verdicts,
        &codes,
        &providers as &[Option<String>],
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
        forgotten as (delete from safelight.job_steps s using gone where s.job_id = gone.id),
        dead as (
            insert into safelight.dead_letters (id, queue, kind, version, payload, tenant, subject_id, order_id, key, lane, priority, attempt,
                max_attempts, crashes, waits, code, traceparent, created_at, keep_days)
            select id, queue, kind, version, payload, tenant, subject_id, order_id, key, lane, priority, attempt,
                max_attempts, crashes, waits, $2, traceparent, created_at, keep_days from gone
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
