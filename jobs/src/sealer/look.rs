//! Looking at the log from inside the database: how far the sealer is, and whether the raw tables are still what was sealed.

use futures::TryStreamExt;
use safelight_evidence::{Checker, Finding, Hash, Report, Sealed, Verifier};
use sqlx::{PgConnection, PgPool, types::Json};

use super::{SealError, row::Row};
use crate::db;

/// The most entries that a look counts: behind this the answer is "at least so many".
const MOST_COUNTED: i64 = 100_000;

/// A certificate is late so long after its deletion's end, in minutes: it waits for a checkpoint behind the end, which comes within two
/// of the usual minutes, and for its way outside, which is tried again within five.
const LATE_MINUTES: i32 = 15;

/// How far the sealer is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Lag {
    /// Entries in the log.
    pub size: i64,
    /// Entries that are committed and not in it; at most 100,000 are counted.
    pub unsealed: i64,
    /// How long the oldest of them has been waiting, in seconds.
    pub oldest_seconds: f64,
    /// Entries that no checkpoint covers yet.
    pub unsigned: i64,
    /// Deletions that are complete and whose certificate is not issued yet.
    pub certificates_due: i64,
    /// Those that have been due for longer than a checkpoint takes: the rows say something else than the log, or no checkpoint comes.
    pub certificates_late: i64,
    /// Checkpoints that are not outside yet, by place; and how often the last one was tried.
    pub destinations: Vec<(String, i64, i32)>,
}

/// How far the sealer is.
///
/// # Errors
/// The database did not answer.
pub async fn lag(pool: &PgPool) -> Result<Lag, sqlx::Error> {
    lag_within(&mut *pool.acquire().await?).await
}

pub(super) async fn lag_within(tx: &mut PgConnection) -> Result<Lag, sqlx::Error> {
    let row = sqlx::query!(
        r#"select l.size, l.size - l.signed_size as "unsigned!", u.entries as "unsealed!",
            coalesce(extract(epoch from safelight.now() - u.oldest), 0)::float8 as "oldest!",
            (select count(*) from (select from safelight.deletion_certificates where document is null limit $1) c) as "due!",
            (select count(*) from (select from safelight.deletion_certificates c join safelight.deletions d on d.id = c.deletion_id
                where c.document is null and d.completed_at < safelight.now() - make_interval(mins => $2) limit $1) c) as "late!"
        from safelight.audit_log l, safelight.audit_unsealed($1) u"#,
        MOST_COUNTED,
        LATE_MINUTES
    )
    .fetch_one(&mut *tx)
    .await?;
    let destinations = sqlx::query!(
        r#"select name, tries, (select count(*) from safelight.audit_checkpoints where size > delivered) as "undelivered!"
        from safelight.audit_destinations order by name"#
    )
    .fetch_all(&mut *tx)
    .await?;
    Ok(Lag {
        size: row.size,
        unsealed: row.unsealed,
        oldest_seconds: row.oldest,
        unsigned: row.unsigned,
        certificates_due: row.due,
        certificates_late: row.late,
        destinations: destinations.into_iter().map(|row| (row.name, row.undelivered, row.tries)).collect(),
    })
}

/// Hold the raw tables against checkpoints that were kept outside the database, by the same checker that an outsider runs.
///
/// # Errors
/// The database did not answer, or holds what cannot be read as an entry at all.
pub async fn check_database(pool: &PgPool, outside: &[String], keys: &[Verifier]) -> Result<Report, SealError> {
    let mut tx = db::begin(pool).await?;
    sqlx::query("set transaction isolation level repeatable read, read only").execute(&mut *tx).await?;
    let inside =
        sqlx::query_scalar!("select note from safelight.audit_checkpoints order by size").fetch_all(&mut *tx).await?;
    let mut checker = Checker::new(outside, &inside, keys);
    let mut rows = sqlx::query!(
        r#"select l.seq as place, l.leaf, e.seq as "row?", e.at as "at?", e.tenant, e.actor as "actor?", e.action as "action?", e.job_kind,
            e.job_id, e.order_id, e.alias, e.purpose, e.grants as "grants?", e.outcome as "outcome?",
            e.counts as "counts?: Json<serde_json::Value>", e.codes as "codes?: Json<serde_json::Value>", e.policy_version, e.commitment, e.class, e.processor, e.deletion_id
        from safelight.audit_leaves l left join safelight.audit_entries e on e.seq = l.entry order by l.seq, l.entry"#
    )
    .fetch(&mut *tx);
    while let Some(r) = rows.try_next().await? {
        // A leaf without its entry leaves a gap, which the checker names.
        let (Some(row), Some(at)) = (r.row, r.at) else { continue };
        let row = Row {
            row,
            at,
            tenant: r.tenant,
            actor: r.actor.unwrap_or_default(),
            action: r.action.unwrap_or_default(),
            job_kind: r.job_kind,
            job_id: r.job_id,
            order_id: r.order_id,
            alias: r.alias,
            purpose: r.purpose,
            grants: r.grants.unwrap_or_default(),
            outcome: r.outcome.unwrap_or_default(),
            counts: r.counts.unwrap_or(Json(serde_json::Value::Null)),
            codes: r.codes.unwrap_or(Json(serde_json::Value::Null)),
            policy_version: r.policy_version,
            commitment: r.commitment,
            class: r.class,
            processor: r.processor,
            deletion_id: r.deletion_id,
        };
        let leaf = Hash::try_from(r.leaf.as_slice()).map_err(|_| SealError::Head)?;
        checker.take(&Sealed { entry: row.entry(u64::try_from(r.place).unwrap_or(u64::MAX)), leaf });
    }
    drop(rows);
    // A row that was there when everything was sealed would have a leaf.
    let passed_by = sqlx::query_scalar!(
        r#"select e.seq from safelight.audit_entries e, safelight.audit_log l
        where pg_visible_in_snapshot(e.xid, l.done) and not exists (select from safelight.audit_leaves s where s.entry = e.seq)
        order by e.seq limit 1000"#
    )
    .fetch_all(&mut *tx)
    .await?;
    for row in passed_by {
        checker.note(Finding::NeverSealed { row });
    }
    tx.commit().await?;
    Ok(checker.finish())
}
