//! The numbers that the console and the metrics show: counts and ages, no one's data.

use safelight_jobs::{
    queue::{self, COUNTED, QueueNumbers},
    sweep,
};
use sqlx::PgPool;

/// The state of the house, or of one tenant in it. What may become many is counted up to [`COUNTED`].
#[derive(Debug, Clone, Default)]
pub(crate) struct Numbers {
    pub(crate) queues: Vec<QueueNumbers>,
    /// Seen within a minute.
    pub(crate) workers: i64,
    pub(crate) unknown_calls: i64,
    /// How long nobody has known of the oldest of them, in seconds.
    pub(crate) oldest_unknown_seconds: i64,
    /// Orders and sales that wait for a decision about their money.
    pub(crate) refund_reviews: i64,
    /// Where the books and a provider differ.
    pub(crate) differences: i64,
    /// Sales of a country for which no policy names a fiscal rule: nobody knows how long they may be kept.
    pub(crate) sales_without_rule: i64,
    pub(crate) dead_letters: i64,
    pub(crate) deletions_open: i64,
    pub(crate) deletions_stuck: i64,
    pub(crate) deletions_late: i64,
    /// Past their term and still there.
    pub(crate) due_artifacts: i64,
    /// The same for more than an hour: no sweep comes.
    pub(crate) overdue_artifacts: i64,
    /// Rows whose object the store does not have.
    pub(crate) missing_objects: i64,
    /// 1: this database was restored or moved and is not compared with the erasure ledger yet; nothing is worked on.
    pub(crate) claims_refused: i64,
    /// What people ask for and nobody has answered.
    pub(crate) cases_open: i64,
    /// The same past the legal deadline.
    pub(crate) cases_late: i64,
    /// People whose data are restricted.
    pub(crate) restricted: i64,
    pub(crate) objections_open: i64,
    pub(crate) objections_upheld: i64,
    /// Within a week: results that were taken home under a request id which a report contradicted.
    pub(crate) taken_home: i64,
    /// Pauses, paused schedules and breakers that are not closed; for the house only.
    pub(crate) controls_set: i64,
    /// Not seen for a minute, and not gone in peace.
    pub(crate) workers_silent: i64,
    /// Paid more than two hours ago and not at an end, although nothing of their person is restricted.
    pub(crate) orders_late: i64,
    /// The same of people whose data are restricted: they wait for the release, and that is right (Art. 18).
    pub(crate) orders_restricted: i64,
}

/// The last run of one sweep.
#[derive(Debug, Clone)]
pub(crate) struct SweepNumbers {
    pub(crate) name: String,
    /// How long ago it ended, in seconds; none: it never ran.
    pub(crate) age_seconds: Option<i64>,
    /// What it left; none: it could not check.
    pub(crate) residue: Option<i64>,
}

/// The sweeps that keep promises about people's data.
pub(crate) async fn sweeps(pool: &PgPool) -> Result<Vec<SweepNumbers>, sqlx::Error> {
    let kinds: Vec<String> = sweep::KINDS.iter().map(|&kind| kind.to_owned()).collect();
    let rows = sqlx::query!(
        r#"select k.kind as "kind!", floor(extract(epoch from safelight.now() - s.finished_at))::bigint as age, s.residue
        from unnest($1::text[]) with ordinality k(kind, place)
        left join lateral (select finished_at, residue from safelight.sweeps
            where kind = k.kind and finished_at is not null order by finished_at desc limit 1) s on true
        order by k.place"#,
        &kinds
    )
    .fetch_all(pool)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| SweepNumbers { name: row.kind, age_seconds: row.age, residue: row.residue.map(i64::from) })
        .collect())
}

/// How long jobs of one queue that ended within ten minutes had been due when they started, in milliseconds.
#[derive(Debug, Clone)]
pub(crate) struct Pickup {
    pub(crate) queue: String,
    /// Half of them started sooner.
    pub(crate) p50: i64,
    /// Nineteen of twenty did.
    pub(crate) p95: i64,
}

/// By queue; first attempts among the newest jobs.
pub(crate) async fn pickup(pool: &PgPool, tenant: Option<&str>) -> Result<Vec<Pickup>, sqlx::Error> {
    sqlx::query_as!(
        Pickup,
        r#"select queue, percentile_disc(0.5) within group (order by waited) as "p50!", percentile_disc(0.95) within group (order by waited) as "p95!"
        from (select queue, greatest(0, extract(epoch from started_at - greatest(run_at, created_at)) * 1000)::bigint as waited
            from (select * from safelight.jobs_archive order by id desc limit 5000) newest
            where started_at is not null and attempt <= 1 and waits = 0 and finished_at > clock_timestamp() - interval '10 minutes'
                and ($1::text is null or tenant = $1)) w
        group by queue"#,
        tenant
    )
    .fetch_all(pool)
    .await
}

impl Numbers {
    /// Of one tenant, or of the house.
    pub(crate) async fn read(pool: &PgPool, tenant: Option<&str>) -> Result<Self, sqlx::Error> {
        let states = sqlx::query!(
            r#"select (select count(*) from safelight.workers where seen_at > clock_timestamp() - interval '1 minute') as "workers!",
                (select count(*) from safelight.workers where seen_at <= clock_timestamp() - interval '1 minute' and $1::text is null) as "silent!",
                (not safelight.may_claim())::integer::bigint as "refused!",
                (select count(*) from safelight.controls where paused and $1::text is null)
                    + (select count(*) from safelight.schedules where paused and $1::text is null)
                    + (select count(*) from safelight.breakers where state <> 'closed' and $1::text is null) as "controls!",
                n.unknown as "unknown!", n.oldest_unknown as "oldest_unknown!", n.reviews as "reviews!", n.differences as "differences!",
                n.unruled as "unruled!", n.dead as "dead!", n.deletions_open as "open!", n.deletions_stuck as "stuck!",
                n.deletions_late as "late!", n.due as "due!", n.overdue as "overdue!", n.missing as "missing!", n.cases as "cases!",
                n.cases_late as "cases_late!", n.objections_open as "objections_open!", n.objections_upheld as "objections_upheld!",
                n.taken_home as "taken_home!", n.restricted as "restricted!", n.orders_late as "orders_late!",
                n.orders_restricted as "orders_restricted!"
            from safelight.state_numbers($1, $2) n"#,
            tenant,
            COUNTED
        )
        .fetch_one(pool);
        let (queues, row) = tokio::try_join!(queue::numbers(pool, tenant), states)?;
        Ok(Self {
            queues,
            workers: row.workers,
            unknown_calls: row.unknown,
            oldest_unknown_seconds: row.oldest_unknown,
            refund_reviews: row.reviews,
            differences: row.differences,
            sales_without_rule: row.unruled,
            dead_letters: row.dead,
            deletions_open: row.open,
            deletions_stuck: row.stuck,
            deletions_late: row.late,
            due_artifacts: row.due,
            overdue_artifacts: row.overdue,
            missing_objects: row.missing,
            claims_refused: row.refused,
            cases_open: row.cases,
            cases_late: row.cases_late,
            restricted: row.restricted,
            objections_open: row.objections_open,
            objections_upheld: row.objections_upheld,
            taken_home: row.taken_home,
            controls_set: row.controls,
            workers_silent: row.silent,
            orders_late: row.orders_late,
            orders_restricted: row.orders_restricted,
        })
    }
}

/// How many persons' data are restricted, of one tenant or of all, up to [`COUNTED`].
pub(crate) async fn restricted(pool: &PgPool, tenant: Option<&str>) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select count(*) as "n!" from (select from safelight.restrictions
            where lifted_at is null and ($1::text is null or tenant = $1) limit $2) r"#,
        tenant,
        i64::from(COUNTED)
    )
    .fetch_one(pool)
    .await
}
