//! `safelight policy`: what the tenants' policies say.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use safelight_jobs::policy::{DataClass, Policy};

use crate::{config, process::say};

#[derive(Debug, Args)]
pub(crate) struct PolicyCommand {
    /// A folder of policies, one `<tenant>.toml` each; without it the ones in the binary
    #[arg(long, env = "SAFELIGHT_POLICIES", global = true)]
    policies: Option<PathBuf>,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Read and check all policies; fails with everything that is wrong
    Check,
    /// Print purposes, rules, accepted gaps and terms of one tenant
    Show {
        /// The tenant's id
        tenant: String,
    },
}

impl PolicyCommand {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let policies = config::policies(self.policies.as_deref())?;
        match self.what {
            What::Check => {
                for policy in policies.iter() {
                    say(format_args!(
                        "{} {}: fit for use, {} accepted gaps",
                        policy.tenant(),
                        policy.version(),
                        policy.accepted_gaps().len()
                    ));
                }
            }
            What::Show { tenant } => {
                let Some(policy) = policies.iter().find(|policy| policy.tenant() == tenant) else {
                    anyhow::bail!("there is no tenant `{tenant}`");
                };
                show(policy);
            }
        }
        Ok(())
    }
}

fn show(policy: &Policy) {
    say(format_args!("{}, policy {} in force from {}", policy.controller(), policy.version(), policy.effective_at()));
    say(format_args!("text sha256 {}", policy.text_sha256()));
    say("\nPurposes");
    for (purpose, entry) in policy.purposes() {
        let points: Vec<_> = entry.capture_points.iter().map(|point| point.as_str()).collect();
        let basis = entry.basis.map_or("", |basis| basis.as_str());
        say(format_args!(
            "  {:<10} {basis}{}{}",
            purpose.as_str(),
            if points.is_empty() { "" } else { " at " },
            points.join(", ")
        ));
    }
    say("\nWho may process what");
    for rule in policy.rules() {
        let gap = rule.accepted_gap.map(|gap| format!("   accepted gap: {gap}")).unwrap_or_default();
        say(format_args!(
            "  {:<10} {:<9} {:<15}{gap}",
            rule.purpose.as_str(),
            rule.processor.as_str(),
            rule.class.as_str()
        ));
    }
    say("\nHow long it stays");
    for class in DataClass::ALL {
        if let Some(retention) = policy.retention(*class) {
            let term =
                retention.term().map(|(hours, from)| format!(" {hours} h from {}", from.as_str())).unwrap_or_default();
            say(format_args!("  {:<15} {}{term}", class.as_str(), retention.as_str()));
        }
    }
}
