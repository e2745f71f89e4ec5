//! `safelight certificate`: the certificate of a finished deletion.

use anyhow::bail;
use clap::Args;
use safelight_jobs::{
    db::{self, Role},
    id::{Deletion, Id},
    sealer,
};

use crate::{config, process::say};

#[derive(Debug, Args)]
pub(crate) struct Certificate {
    /// deletion_…
    deletion: Id<Deletion>,
    /// The signed JSON, which is checked by `safelight audit verify --certificate`; this is what is printed anyway
    #[arg(long)]
    json: bool,
    /// A page to read and to print
    #[arg(long, conflicts_with = "json")]
    html: bool,
    #[command(flatten)]
    database: config::Database,
}

impl Certificate {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let pool = db::connect(self.database.address(), Role::Auditor, 1).await?;
        let Some(signed) = sealer::certificate(&pool, self.deletion, None).await? else {
            bail!(
                "{} has no certificate: the deletion is not complete, or no checkpoint covers it yet (`safelight audit seal`)",
                self.deletion
            );
        };
        if self.html {
            say(safelight_api::certificate_page(&signed));
        } else {
            say(serde_json::to_string_pretty(&signed)?);
        }
        Ok(())
    }
}
