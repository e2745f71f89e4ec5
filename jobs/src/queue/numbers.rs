//! What stands in the queues, counted up to a bound: nobody reads ten million rows to say that they are many.

use sqlx::PgPool;

use crate::job::Queue;

/// Jobs of one state in one queue are counted up to here, and so is whatever else a number of the house counts.
pub const COUNTED: i32 = 10_000;

/// The state of one queue.
#[derive(Debug, Clone)]
pub struct QueueNumbers {
    /// Which.
    pub name: &'static str,
    /// Due now.
    pub ready: i64,
    /// Due later.
    pub waiting: i64,
    /// Due, and set aside until there is room: a pause, a limit, a rate, a breaker, a lane.
    pub aside: i64,
    /// Under a lease.
    pub running: i64,
    /// By a person.
    pub held: i64,
    /// Does nothing of it start?
    pub paused: bool,
    /// How long the first of the ready jobs has been due, in seconds.
    pub oldest_seconds: Option<i64>,
}

/// Of all queues, in the order in which they are shown; of one tenant, or of the house.
pub async fn numbers(pool: &PgPool, tenant: Option<&str>) -> Result<Vec<QueueNumbers>, sqlx::Error> {
    let names = Queue::ALL.map(|queue| queue.as_str().to_owned());
    let rows = sqlx::query!(
        r#"select queue as "queue!", due as "due!", come as "come!", later as "later!", aside as "aside!", running as "running!",
            held as "held!", paused as "paused!", oldest_seconds from safelight.queue_numbers($1, $2, $3)"#,
        &names,
        tenant,
        COUNTED
    )
    .fetch_all(pool)
    .await?;
    let of = |queue: Queue| {
        let row = rows.iter().find(|row| row.queue == queue.as_str());
        QueueNumbers {
            name: queue.as_str(),
            ready: row.map_or(0, |row| row.due + row.come),
            waiting: row.map_or(0, |row| row.later),
            aside: row.map_or(0, |row| row.aside),
            running: row.map_or(0, |row| row.running),
            held: row.map_or(0, |row| row.held),
            paused: row.is_some_and(|row| row.paused),
            oldest_seconds: row.and_then(|row| row.oldest_seconds),
        }
    };
    Ok(Queue::ALL.into_iter().map(of).collect())
}

/// How much of one provider's work runs and waits.
#[derive(Debug, Clone)]
pub struct ProviderLoad {
    /// Whose.
    pub provider: String,
    /// Under a lease.
    pub running: i64,
    /// Set aside until there is room, up to [`COUNTED`].
    pub aside: i64,
    /// Since when the first of them is due.
    pub oldest: Option<chrono::DateTime<chrono::Utc>>,
}

/// Of all providers that jobs ask.
pub async fn provider_loads(pool: &PgPool) -> Result<Vec<ProviderLoad>, sqlx::Error> {
    let mut providers: Vec<String> =
        crate::registry::ALL.iter().filter_map(|known| known.provider).map(|name| name.as_str().to_owned()).collect();
    providers.sort_unstable();
    providers.dedup();
    let queues = Queue::ALL.map(|queue| queue.as_str().to_owned());
    sqlx::query_as!(
        ProviderLoad,
        r#"select provider as "provider!", running as "running!", aside as "aside!", oldest from safelight.provider_numbers($1, $2, $3)"#,
        &providers,
        &queues,
        COUNTED
    )
    .fetch_all(pool)
    .await
}

/// Codes, before the words behind them, of jobs that wait because a provider refuses the house itself: a key, a balance, or a place that is not set. They go on by
/// themselves a quarter of an hour after a person mended it.
pub const REFUSED_US: [&str; 8] = [
    "fal_without_money",
    "fal_key_refused",
    "fal_admin_key_missing",
    "stripe_key_refused",
    "store_key_refused",
    "resend_key_refused",
    "auth_key_refused",
    "no_ledger",
];

/// How many jobs wait with each code of [`REFUSED_US`], of one tenant or of the house; looked for among those that are due within a
/// wait's length, [`COUNTED`] of each queue.
pub async fn refused_us(pool: &PgPool, tenant: Option<&str>) -> Result<Vec<(String, i64)>, sqlx::Error> {
    let codes = REFUSED_US.map(str::to_owned);
    let names = Queue::ALL.map(|queue| queue.as_str().to_owned());
    let rows = sqlx::query!(
        r#"select split_part(j.why, ':', 1) as "code!", count(*) as "jobs!" from unnest($3::text[]) q(name) cross join lateral (
            select why, tenant from safelight.jobs where state = 3 and queue = q.name and run_at < safelight.now() + interval '20 minutes'
            order by run_at limit $4) j
        where split_part(j.why, ':', 1) = any ($1) and ($2::text is null or j.tenant = $2) group by 1 order by 1"#,
        &codes,
        tenant,
        &names,
        i64::from(COUNTED)
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|row| (row.code, row.jobs)).collect())
}
