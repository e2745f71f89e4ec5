//! `safelight bench due`: how fast photos that are past their term go, and what that costs everybody else.
//!
//! n photos of n / per persons lie in the store, one hour past their term. One real worker process finds them by the retention
//! sweep, deletes object after object, looks that each is gone, and certifiably completes one deletion a person. Meanwhile a cheap
//! job of another queue is enqueued ten times a second: how long it waits is said for the time before, and for the time of the
//! drain. The store is the stand-in: a real one answers more slowly, so what is measured is the engine, not the store.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use clap::Args;
use safelight_jobs::{
    book_money::BookMoney,
    db::{self, Role},
    policy::Policy,
    policy_rows,
    queue::Bell,
    run::Tx,
    sweep_retention::SweepRetention,
};
use safelight_sandbox::{Options, Sandbox};
use serde_json::json;
use sqlx::PgPool;
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::{Place, machine::Server};
use crate::{
    process::{STOP_WITH_STDIN, say},
    sandbox::environment,
};

/// Opens nothing else.
const MASTER_KEY: &str = "5afe11947000000000000000000000000000000000000000000000000000be9c";
/// Nobody waits longer for one size.
const PATIENCE: Duration = Duration::from_secs(3600);
/// The time between two jobs of the other queue.
const BESIDE: Duration = Duration::from_millis(100);
/// For how long that queue is watched alone.
const ALONE: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(crate) struct Due {
    /// Photos that are due, one line each size
    #[arg(long, value_delimiter = ',', default_value = "2000,4000,8000")]
    n: Vec<u32>,
    /// Photos of one person
    #[arg(long, default_value_t = 10)]
    per: u32,
    #[command(flatten)]
    place: Place,
}

impl Due {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let server = Server::at(self.place.database_url.clone()).await?;
        let owner = db::connect(server.url(), Role::Owner, 4).await?;
        db::migrate(&owner).await?;
        for policy in Policy::bundled()? {
            policy_rows::install(&owner, &policy).await?;
        }
        let folder = std::env::temp_dir().join(format!("safelight-due-{}", std::process::id()));
        let sandbox = Sandbox::start(Options::new(&folder)).await?;
        let mut worker = worker(server.url(), &sandbox)?;
        let mut measured = Ok(());
        for &n in &self.n {
            measured = self.measure(&owner, &sandbox, n).await;
            if measured.is_err() {
                break;
            }
        }
        let _ = worker.kill().await;
        sandbox.stop().await;
        let _ = std::fs::remove_dir_all(folder);
        measured
    }

    async fn measure(&self, owner: &PgPool, sandbox: &Sandbox, n: u32) -> anyhow::Result<()> {
        let before: i64 = sqlx::query_scalar("select count(*) from safelight.deletions").fetch_one(owner).await?;
        let keys = photos(owner, n, self.per.max(1)).await?;
        let bucket = sandbox.description().supabase.buckets.first().cloned().unwrap_or_default();
        for key in &keys {
            sandbox.supabase.put(&bucket, key, "image/jpeg", b"photo".to_vec().into()).await?;
        }
        sqlx::query("vacuum analyze safelight.artifacts").execute(owner).await?;
        let bell = Bell::start(owner.clone());
        let alone = beside(owner, &bell, &format!("alone{n}"), tokio::time::sleep(ALONE)).await?;

        let began = Instant::now();
        let mut tx = Tx::begin(owner, &bell).await?;
        tx.enqueue(&SweepRetention { because: format!("bench:{n}:{}", std::process::id()) }).await?;
        tx.commit().await?;
        let gone = CancellationToken::new();
        let (looking, told) = (owner.clone(), gone.clone());
        let look = tokio::spawn(async move {
            let ended = until_gone(&looking, before).await;
            told.cancel();
            ended
        });
        let during = beside(owner, &bell, &format!("during{n}"), gone.cancelled()).await?;
        let deletions = look.await??;
        let took = began.elapsed().as_secs_f64();
        let left = sandbox.supabase.objects(&bucket).len();
        say(
            json!({ "test": "due", "n": keys.len(), "per": self.per, "deletions": deletions, "left": left, "secs": took,
            "per_s": keys.len() as f64 / took, "others_p50_ms": { "alone": alone.0, "during": during.0 },
            "others_p95_ms": { "alone": alone.1, "during": during.1 } }),
        );
        Ok(())
    }
}

/// One process, as in production. It ends with this one, also when this one is killed: its standard input ends with it.
fn worker(database: &str, sandbox: &Sandbox) -> anyhow::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--log", "error", "worker"]).envs(environment(&sandbox.description()));
    command.env("DATABASE_URL", database).env("SAFELIGHT_MASTER_KEY", MASTER_KEY);
    command.env("SAFELIGHT_PUBLIC_URL", "http://127.0.0.1:9").env(STOP_WITH_STDIN, "1");
    command.stdin(Stdio::piped()).stdout(Stdio::null()).kill_on_drop(true);
    command.spawn().context("`safelight worker` could not be started")
}

/// Rows of photos whose term ended an hour ago. Answers their keys.
async fn photos(owner: &PgPool, n: u32, per: u32) -> anyhow::Result<Vec<String>> {
    let acts: Vec<String> = sqlx::query_scalar(
        r#"with people as (
            insert into safelight.subjects (id, tenant) select safelight.uuid_v7(), 'koselfie' from generate_series(1, $1::bigint) returning id
        ), acts as (
            insert into safelight.upload_batches (id, tenant, subject_id) select safelight.uuid_v7(), 'koselfie', id from people
            returning id, subject_id
        )
        select id || ' ' || subject_id from acts"#,
    )
    .bind(i64::from(n.div_ceil(per)))
    .fetch_all(owner)
    .await?;
    Ok(sqlx::query_scalar(
        r#"insert into safelight.artifacts (id, tenant, subject_id, generation, class, batch_id, storage_key, state, content_type, bytes,
            sha256, uploaded_at)
        select id, 'koselfie', subject_id, 1, 'upload', batch_id, 'koselfie/' || replace(subject_id::text, '-', '') || '/upload/' ||
            replace(id::text, '-', ''), 'stored', 'image/jpeg', 5, repeat('0', 64), safelight.now() - interval '721 hours'
        from (select safelight.uuid_v7() as id, split_part(act, ' ', 1)::uuid as batch_id, split_part(act, ' ', 2)::uuid as subject_id
            from unnest($1::text[]) act, generate_series(1, $2::integer) offset 0) photo
        returning storage_key"#,
    )
    .bind(&acts)
    .bind(i32::try_from(per)?)
    .fetch_all(owner)
    .await?)
}

/// Answers how many deletions completed.
async fn until_gone(owner: &PgPool, before: i64) -> anyhow::Result<i64> {
    let began = Instant::now();
    loop {
        let (left, open, all): (bool, bool, i64) = sqlx::query_as(
            "select exists (select from safelight.artifacts), exists (select from safelight.deletions where state <> 'complete'),
                (select count(*) from safelight.deletions)",
        )
        .fetch_one(owner)
        .await?;
        if !left && !open {
            return Ok(all - before);
        }
        if began.elapsed() > PATIENCE {
            bail!("not all of it went within {PATIENCE:?}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Enqueue cheap jobs of another queue until `end`, and answer how long they waited: p50 and p95 in milliseconds.
async fn beside(
    owner: &PgPool,
    bell: &Bell,
    mark: &str,
    end: impl Future<Output = ()>,
) -> anyhow::Result<(Option<f64>, Option<f64>)> {
    let mark = format!("{mark}:{}", std::process::id());
    let mut tick = tokio::time::interval(BESIDE);
    let mut number = 0_u32;
    tokio::pin!(end);
    loop {
        tokio::select! {
            () = &mut end => break,
            _ = tick.tick() => {
                // A session that nobody knows: it is looked up, and that is all.
                let session = Some(format!("cs_bench_{number}"));
                let mut tx = Tx::begin(owner, bell).await?;
                tx.enqueue(&BookMoney { session, payment: None, event: mark.clone() }).await?;
                tx.commit().await?;
                number += 1;
            }
        }
    }
    // The last ones have begun by then.
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok(sqlx::query_as(
        r#"select percentile_disc(0.5) within group (order by ms), percentile_disc(0.95) within group (order by ms) from (
            select extract(epoch from started_at - greatest(run_at, created_at))::float8 * 1000 as ms
            from safelight.jobs_archive where kind = 'book_money' and payload ->> 'event' = $1) waited"#,
    )
    .bind(&mark)
    .fetch_one(owner)
    .await?)
}
