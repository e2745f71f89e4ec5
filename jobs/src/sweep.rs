//! What every sweep is: a job of the house that asks the rows what is to be done, does it, counts what is left, and leaves one
//! row that says who asked, what was found, what was done, and what is still there.
//!
//! No gate: a sweep takes away, looks, or starts work that asks its own gates. Overlapping runs are harmless, since one key is
//! one run and rows that another run holds are skipped. Never: promises anything; what must happen by a time stands on rows.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    id::{self, Id},
    job::{Effect, Job, JobKey, Queue, Retry, Scope},
    policy::Processor,
    run::{Run, Tx},
    stop::{Done, Stop},
};

/// The sweeps that keep promises about people's data: the console and the metrics show when each last ran.
pub const KINDS: [&str; 4] = ["retention", "deletions", "orphans", "fiscal"];

/// For how long runs are kept, in hours.
const KEPT_HOURS: i32 = 2160;

/// One kind of sweep.
pub trait Sweep: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// As [`Job::NAME`]: a contract.
    const NAME: &'static str;
    /// The word of its rows in `safelight.sweeps`.
    const KIND: &'static str;
    /// As [`Job::RETRY`].
    const RETRY: Retry;
    /// As [`Job::EFFECT`].
    const EFFECT: Effect = Effect::Repeatable;
    /// As [`Job::TIMEOUT`].
    const TIMEOUT: Duration = Duration::from_secs(600);
    /// As [`Job::PROVIDER`].
    const PROVIDER: Option<Processor> = None;

    /// Which tick of the schedule, or who asks.
    fn because(&self) -> &str;
    /// Do it. Answers the last transaction, not committed yet, and what is to be written down with it.
    fn sweep(&self, run: &Run) -> impl Future<Output = Result<(Tx, Swept), Stop>> + Send;
}

impl<S: Sweep> Job for S {
    const NAME: &'static str = <S as Sweep>::NAME;
    const QUEUE: Queue = Queue::Sweeps;
    const RETRY: Retry = <S as Sweep>::RETRY;
    const EFFECT: Effect = <S as Sweep>::EFFECT;
    const TIMEOUT: Duration = <S as Sweep>::TIMEOUT;
    const PROVIDER: Option<Processor> = <S as Sweep>::PROVIDER;
    type Pass = ();

    fn key(&self) -> JobKey {
        JobKey::new(<S as Sweep>::NAME, &[&self.because()])
    }

    fn scope(&self) -> Scope {
        Scope::System
    }

    async fn gate(&self, _run: &Run) -> Result<(), Stop> {
        Ok(())
    }

    async fn run(&self, (): (), run: &Run) -> Result<Done, Stop> {
        let (mut tx, swept) = self.sweep(run).await?;
        record(&mut tx, S::KIND, self.because(), &swept).await?;
        run.finish(tx).await
    }
}

/// One run of one sweep.
#[derive(Debug, Clone, Default)]
pub struct Swept {
    /// What was to be done.
    pub found: i64,
    /// What was done.
    pub acted: i64,
    /// What was still there when it was counted after the run; none: it could not be counted, which is never zero.
    pub residue: Option<i64>,
    /// When it began to look, where that is not the end of the run.
    pub began: Option<DateTime<Utc>>,
}

/// Write the row in the commit of the sweep's end.
async fn record(tx: &mut Tx, kind: &str, because: &str, swept: &Swept) -> Result<(), sqlx::Error> {
    let number = |count: i64| i32::try_from(count).unwrap_or(i32::MAX);
    sqlx::query!(
        r#"insert into safelight.sweeps (id, kind, asked_by, started_at, finished_at, found, acted, residue)
        values ($1, $2, $3, coalesce($4, safelight.now()), safelight.now(), $5, $6, $7)"#,
        Id::<id::Sweep>::new().uuid(),
        kind,
        because,
        swept.began,
        number(swept.found),
        number(swept.acted),
        swept.residue.map(number)
    )
    .execute(&mut **tx)
    .await?;
    sqlx::query!(
        r#"delete from safelight.sweeps where id in (select id from safelight.sweeps
            where kind = $1 and finished_at < safelight.now() - make_interval(hours => $2) order by finished_at limit 20 for update skip locked)"#,
        kind,
        KEPT_HOURS
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}
