//! `safelight migrate`: the schema, then the policies. Runs as the owner of the schema, before new processes start.

use clap::Args;
use safelight_jobs::{
    db::{self, Role},
    policy_rows,
};

use crate::{config, process::say};

#[derive(Debug, Args)]
pub(crate) struct Migrate {
    #[command(flatten)]
    database: config::Database,
    /// A folder of policies, one `<tenant>.toml` each; without it the ones in the binary
    #[arg(long, env = "SAFELIGHT_POLICIES")]
    policies: Option<std::path::PathBuf>,
}

impl Migrate {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let policies = config::policies(self.policies.as_deref())?;
        let pool = db::connect(self.database.address(), Role::Owner, 2).await?;
        db::migrate(&pool).await?;
        for policy in policies.iter() {
            policy_rows::install(&pool, policy).await?;
            say(format_args!("{}: policy {} installed", policy.tenant(), policy.version()));
        }
        say("the schema is up to date");
        Ok(())
    }
}
