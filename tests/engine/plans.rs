//! Every statement of the queue finds its rows by an index, however many there are: seen in the server's own counters, on a
//! connection with the planner's usual settings, so that no switched-off scan hides a missing index.

use std::{collections::BTreeMap, time::Duration};

use safelight_jobs::{
    db::{self, Role},
    id::Id,
    job::Queue,
    queue::{self, Outcome, Verdict},
};
use sqlx::PgPool;

use crate::app::App;

const MILLION: &str = "
    insert into safelight.jobs (id, queue, kind, payload, tenant, subject_id, state, run_at, rank, max_attempts, created_at, why)
    select safelight.uuid_v7(), (array['training', 'generation', 'sweeps'])[1 + n % 3], 'expire_consents', '{\"because\": \"x\"}',
        (array['koselfie', 'haloprofile', null])[1 + n / 3 % 3], gen_random_uuid(), s,
        now() + case s when 3 then n * interval '1 second' + interval '1 hour' else -interval '1 hour' end, now() - n * interval '1 millisecond', 5, now(),
        case s when 4 then 'provider:fal' end
    from generate_series(1, 1000000) n, lateral (select case when n % 10 < 6 then 0 when n % 10 < 9 then 3 else 4 end as s) x";

const HISTORY: &str = "
    insert into safelight.jobs_archive (id, queue, kind, version, payload, subject_id, order_id, attempt, waits, outcome, run_at, created_at,
        finished_at, prune_on)
    select safelight.uuid_v7(), 'sweeps', 'expire_consents', 1, '{}', gen_random_uuid(), gen_random_uuid(), 1, 0, 'done', now(), now(), now(),
        now()::date + 21 from generate_series(1, 200000)";

const KEYS: &str = "
    insert into safelight.job_keys (key, job_id, payload_sha256, expires_at)
    select 'key ' || n, gen_random_uuid(), '\\x00', now() + interval '10 days' from generate_series(1, 100000) n";

/// How often each large table was read whole.
async fn scans(pool: &PgPool) -> BTreeMap<String, i64> {
    sqlx::query("select pg_stat_force_next_flush()").execute(pool).await.unwrap();
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "select relname::text, seq_scan from pg_stat_user_tables where schemaname = 'safelight' and n_live_tup > 50000",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    rows.into_iter().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_statement_of_the_queue_finds_its_rows_by_an_index_among_a_million() {
    let app = App::spawn().await;
    for fill in [MILLION, HISTORY, KEYS, "analyze"] {
        sqlx::query(fill).execute(&app.db).await.unwrap();
    }
    let pool = db::connect(&app.database_url, Role::Worker, 1).await.unwrap();
    let before = scans(&pool).await;
    assert!(before.len() >= 3 && before.contains_key("jobs"), "the large tables are seen: {before:?}");

    let claimed = queue::claim(&pool, Queue::Training, "w", 50, 60.0).await.unwrap();
    assert_eq!(claimed.len(), 50);
    let leases: Vec<_> = claimed.iter().map(|job| job.lease).collect();
    queue::keep(&pool, &leases, 60.0).await.unwrap();
    let verdicts = [
        Verdict::Done,
        Verdict::Retry { delay: Duration::from_secs(60), code: "x".to_owned() },
        Verdict::Trouble { provider: "fal", delay: Duration::from_secs(60), code: "x".to_owned() },
        Verdict::Wait { delay: Duration::from_secs(60), why: "x".to_owned() },
        Verdict::GiveUp { code: "x".to_owned() },
        Verdict::Park { code: "x".to_owned() },
    ];
    let outcomes: Vec<_> =
        leases.iter().zip(&verdicts).map(|(&lease, verdict)| Outcome { lease, verdict: verdict.clone() }).collect();
    assert_eq!(queue::settle(&pool, &outcomes).await.unwrap(), 6);
    queue::give_back(&pool, &leases[6..10]).await.unwrap();
    let lost = queue::claim(&pool, Queue::Training, "w", 5, 60.0).await.unwrap();
    assert_eq!(queue::disown(&pool, &[lost[0].lease.token]).await.unwrap(), 5);
    queue::rescue(&pool, 3).await.unwrap();
    queue::open_lanes(&pool).await.unwrap();
    let mut tx = db::begin(&pool).await.unwrap();
    let [one, two, three] = [leases[20].job, leases[21].job, leases[22].job];
    assert!(queue::cancel(&mut tx, one, "x").await.unwrap());
    assert!(queue::hold(&mut tx, two, "x").await.unwrap());
    assert!(queue::release(&mut tx, two).await.unwrap());
    queue::wake_order(&mut tx, Id::new()).await.unwrap();
    assert!(queue::redrive(&mut tx, leases[4].job.uuid()).await.unwrap());
    sqlx::query("select safelight.enqueue('expire_consents', '{}', p_key => 'key 77')")
        .execute(&mut *tx)
        .await
        .unwrap();
    sqlx::query(
        "select safelight.enqueue_many('expire_consents', array['{}', '{}']::jsonb[], p_keys => array['key 1', 'new'])",
    )
    .execute(&mut *tx)
    .await
    .unwrap();
    sqlx::query("select safelight.cancel_jobs($1, null, 'x')").bind(uuid::Uuid::new_v4()).execute(&mut *tx).await.ok();
    tx.rollback().await.unwrap();
    queue::explain(&pool, three, None).await.unwrap().expect("a running job");
    // Slow paths: scheduled jobs that are due, several tenants, something limited, something let in.
    app.turn_clock(chrono::Duration::hours(2)).await;
    assert_eq!(queue::claim(&pool, Queue::Generation, "w", 20, 60.0).await.unwrap().len(), 20);
    sqlx::query("insert into safelight.controls (scope, name, most) values ('provider', 'fal', 5)")
        .execute(&app.db)
        .await
        .unwrap();
    assert_eq!(queue::claim(&pool, Queue::Sweeps, "w", 20, 60.0).await.unwrap().len(), 20);
    assert!(queue::prune_history(&pool).await.unwrap() == 0);

    let after = scans(&pool).await;
    assert_eq!(after, before, "a large table was read whole");
}
