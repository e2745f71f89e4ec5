//! `safelight register`: the register of processing activities, drawn from policies and data map.

use std::path::PathBuf;

use clap::Args;
use safelight_jobs::{data_map::DataMap, policy::Policy, register::Register as Drawn};

use crate::{config, operator::no_tenant, process::say};

#[derive(Debug, Args)]
pub(crate) struct Register {
    /// Of this tenant only
    #[arg(long)]
    tenant: Option<String>,
    /// A folder of policies, one `<tenant>.toml` each; without it the ones in the binary
    #[arg(long, env = "SAFELIGHT_POLICIES")]
    policies: Option<PathBuf>,
    /// One JSON document; this is what is printed anyway
    #[arg(long)]
    json: bool,
    /// A page to read and to print
    #[arg(long, conflicts_with = "json")]
    html: bool,
}

impl Register {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let policies = config::policies(self.policies.as_deref())?;
        let map = DataMap::bundled()?;
        let registers: Vec<Drawn> = policies
            .iter()
            .filter(|policy| self.tenant.as_deref().is_none_or(|tenant| tenant == policy.tenant()))
            .map(|policy| Drawn::draw(policy, &map))
            .collect();
        if let Some(tenant) = self.tenant.filter(|_| registers.is_empty()) {
            return Err(no_tenant(&tenant, policies.iter().map(Policy::tenant)).into());
        }
        if self.html {
            say(safelight_api::register_page(&registers));
        } else {
            say(serde_json::to_string_pretty(&registers)?);
        }
        Ok(())
    }
}
