//! Rows that say where the books and a provider differ.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::Look;
use crate::stop::Stop;

/// One difference as it was seen.
pub(super) struct Seen<'a> {
    /// Stable code.
    pub(super) code: &'static str,
    /// The object that it is about.
    pub(super) object: &'a str,
    pub(super) provider: &'static str,
    pub(super) tenant: Option<&'a str>,
    pub(super) amount_cents: Option<i64>,
    /// When the object came to be.
    pub(super) about_at: DateTime<Utc>,
}

impl Look<'_> {
    /// Note a difference: one row, however often it is seen.
    pub(super) async fn differs(&mut self, seen: Seen<'_>) -> Result<(), Stop> {
        let mut tx = self.run.begin().await?;
        sqlx::query!(
            r#"insert into safelight.differences (code, object, provider, tenant, amount_cents, about_at)
            values ($1, $2, $3, $4, $5, $6)
            on conflict (code, object) do update set last_seen_at = safelight.now(), resolved_at = null, amount_cents = excluded.amount_cents"#,
            seen.code,
            seen.object,
            seen.provider,
            seen.tenant,
            seen.amount_cents,
            seen.about_at
        )
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        self.found += 1;
        Ok(())
    }
}

/// What this run looked for and did not see again differs no more. What waits is looked for at any age; the rest in the span.
pub(super) async fn resolve(look: &Look<'_>, provider: &str) -> Result<(), Stop> {
    let mut tx = look.run.begin().await?;
    sqlx::query!(
        r#"update safelight.differences set resolved_at = safelight.now()
        where resolved_at is null and provider = $1 and last_seen_at < $2
            and (about_at >= $3 or code in ('bank_too_slow', 'call_never_ended', 'refund_not_made'))"#,
        provider,
        look.until,
        look.from
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(())
}

/// How many are open.
pub(super) async fn open(tx: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(r#"select count(*) as "n!" from safelight.differences where resolved_at is null"#)
        .fetch_one(tx)
        .await
}
