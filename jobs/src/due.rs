//! What is due now and in the next days, by tenant and class: the question that the retention sweep asks, for people.
//!
//! Counts only, no one's ids. What a deletion has taken on is not counted: it is being deleted.

use serde::Serialize;
use sqlx::PgPool;

/// How many days ahead are shown.
pub const DAYS: usize = 7;

/// Where many are as good as all of them: one class of one tenant on one day is counted up to here.
pub const COUNTED: i32 = 2_000;

/// One class of one tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Due {
    /// The tenant.
    pub tenant: String,
    /// `upload`, `bundle`, `model`, `image` or `export`.
    pub class: String,
    /// Due, and taken on by no deletion yet.
    pub now: i64,
    /// Due within the next 24 hours, the 24 hours after that, and so on.
    pub days: [i64; DAYS],
}

/// All of them, or those of one tenant. One class of one tenant on one day is counted up to `most`.
///
/// # Errors
/// Those of the database.
pub async fn due(pool: &PgPool, tenant: Option<&str>, most: i32) -> Result<Vec<Due>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select tenant as "tenant!", class as "class!", day as "day!", due as "count!" from safelight.due_numbers($1, $2, $3)"#,
        tenant,
        i32::try_from(DAYS).unwrap_or(i32::MAX),
        most
    )
    .fetch_all(pool)
    .await?;
    let mut all: Vec<Due> = Vec::new();
    for row in rows {
        if all.last().is_none_or(|last| (&last.tenant, &last.class) != (&row.tenant, &row.class)) {
            all.push(Due { tenant: row.tenant, class: row.class, now: 0, days: [0; DAYS] });
        }
        let Some(last) = all.last_mut() else { continue };
        match usize::try_from(row.day) {
            Ok(0) | Err(_) => last.now += row.count,
            Ok(day) => last.days[day.min(DAYS) - 1] += row.count,
        }
    }
    Ok(all)
}
