//! `safelight demo`: a paid KoSelfie Pro order and a HaloProfile order through their whole life, on embedded defaults.
//!
//! Everything is real but the providers: a private Postgres (or the one in DATABASE_URL), the intake and the worker as
//! processes of this binary, HTTP, signatures, face models, photographs. The providers are stand-ins on their real wire
//! contracts. The demo itself plays the web backend, and turns the clock.

mod backend;
mod house;
mod story;
mod summary;
mod timeline;

use clap::Args;

use crate::process::stop_on_signal;

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// End by itself, with exit code 0 or 1
    #[arg(long)]
    once: bool,
    /// Print one JSON document instead of the timeline
    #[arg(long)]
    json: bool,
    /// Kill the worker with SIGKILL in the middle of the first order, and start another
    #[arg(long)]
    kill_worker: bool,
    /// Use this Postgres instead of a private one; the demo makes and drops a database of its own in it
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
}

impl Demo {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let stop = stop_on_signal();
        let house = house::House::open(self.database_url.as_deref()).await?;
        let told = tokio::select! {
            told = story::tell(&house, self.json, self.kill_worker) => told,
            () = stop.cancelled() => Err(anyhow::anyhow!("stopped before the end")),
        };
        let good = match told {
            Ok(summary) => {
                if self.json {
                    crate::process::say(serde_json::to_string_pretty(&summary)?);
                } else {
                    summary.print();
                }
                if !self.once && summary.good && !self.json {
                    house.leave_open(&stop).await;
                }
                summary.good
            }
            Err(error) => {
                house.close().await;
                return Err(error);
            }
        };
        house.close().await;
        anyhow::ensure!(good, "the demo did not end as it should; the lines above say where");
        Ok(())
    }
}
