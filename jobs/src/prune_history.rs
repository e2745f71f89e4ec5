//! Let history go when its days are over.
//!
//! Life: enqueued by the schedule every night -> partitions of the archive made and dropped -> attempts, keys and steps that
//! are too old deleted in bounded bites -> done.
//! Input: none.  Output: a row in `sweeps` with what went. Running it again deletes nothing more.
//! No gate: taking data away needs no permission.
//! Source: policy row K50: finished jobs are pruned, never later than the data that they name.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    job::Retry,
    queue,
    run::{Run, Tx},
    stop::Stop,
    sweep::{Sweep, Swept},
};

/// The most bites of one night; the next night goes on.
const BITES: usize = 2000;

/// One night's work.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PruneHistory {
    /// Which tick of the schedule, or who asks.
    pub because: String,
}

impl Sweep for PruneHistory {
    const NAME: &'static str = "prune_history";
    const KIND: &'static str = "history";
    const RETRY: Retry = Retry { attempts: 5, first: Duration::from_secs(60), most: Duration::from_secs(1800) };
    const TIMEOUT: Duration = Duration::from_secs(3600);

    fn because(&self) -> &str {
        &self.because
    }

    async fn sweep(&self, run: &Run) -> Result<(Tx, Swept), Stop> {
        let (made, dropped) = queue::turn_archive(run.pool()).await?;
        tracing::info!(made, dropped, "partitions of the archive");
        let (mut gone, mut bites) = (0, 0);
        loop {
            let bite = queue::prune_history(run.pool()).await? + queue::prune_answers(run.pool()).await?;
            gone += bite;
            bites += 1;
            if bite == 0 || bites == BITES {
                break;
            }
        }
        let mut tx = run.begin().await?;
        run.note("history.pruned", "done").count("rows", gone).count("partitions", dropped).write(&mut tx).await?;
        let gone = i64::from(gone);
        Ok((tx, Swept { found: gone, acted: gone, residue: Some(i64::from(bites == BITES)), began: None }))
    }
}
