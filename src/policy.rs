//! `safelight policy`: what the tenants' policies say, what a new version changes, and from when on it counts.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use safelight_jobs::{
    db::{self, Role},
    policy::{
        DataClass, Policy,
        diff::{Change, diff},
    },
    policy_rows::{self, Standing},
};
use serde_json::{Value, json};

use crate::{
    config,
    operator::{Who, confirm, no_tenant},
    process::say,
};

#[derive(Debug, Args)]
pub(crate) struct PolicyCommand {
    #[command(subcommand)]
    what: What,
    /// One JSON document
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Args)]
struct Folder {
    /// A folder of policies, one `<tenant>.toml` each; without it the ones in the binary
    #[arg(long, env = "SAFELIGHT_POLICIES")]
    policies: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Read and check all policies; fails with everything that is wrong
    Check {
        #[command(flatten)]
        folder: Folder,
    },
    /// Print purposes, rules, accepted gaps and terms of one tenant
    Show {
        /// The tenant's id
        tenant: String,
        #[command(flatten)]
        folder: Folder,
    },
    /// Print what a newer policy file says otherwise than an older one
    Diff {
        /// The older file
        older: PathBuf,
        /// The newer file
        newer: PathBuf,
    },
    /// Print every installed version, when it was announced and from when on it counts
    Status {
        #[command(flatten)]
        database: config::Database,
    },
    /// Say that the notice of an installed version is on display in the product from now on, or mail it to everybody: it
    /// counts when people had as long to read it as the policy says, and not before its own date (K48)
    Announce {
        /// The tenant's id
        tenant: String,
        /// The version
        #[arg(id = "announced", value_name = "VERSION")]
        version: String,
        /// Mail it to each person instead. The time begins when no mail is missing; one that bounced is
        #[arg(long)]
        by_mail: bool,
        /// Say yes beforehand, with --by-mail: everybody is mailed
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        who: Who,
        #[command(flatten)]
        database: config::Database,
    },
}

impl PolicyCommand {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        match self.what {
            What::Check { folder } => {
                let policies = config::policies(folder.policies.as_deref())?;
                if self.json {
                    let fit = |policy: &Policy| json!({ "tenant": policy.tenant(), "version": policy.version(), "accepted_gaps": policy.accepted_gaps().len() });
                    say(json!({ "policies": policies.iter().map(fit).collect::<Vec<_>>() }));
                    return Ok(());
                }
                for policy in policies.iter() {
                    say(format_args!(
                        "{} {}: fit for use, {} accepted gaps",
                        policy.tenant(),
                        policy.version(),
                        policy.accepted_gaps().len()
                    ));
                }
            }
            What::Show { tenant, folder } => {
                let policies = config::policies(folder.policies.as_deref())?;
                let policy = policies.iter().find(|policy| policy.tenant() == tenant);
                let policy = policy.ok_or_else(|| no_tenant(&tenant, policies.iter().map(Policy::tenant)))?;
                if self.json {
                    say(document(policy));
                } else {
                    show(policy);
                }
            }
            What::Diff { older, newer } => {
                let (older, newer) = (read(&older)?, read(&newer)?);
                let changes = diff(&older, &newer);
                if self.json {
                    let change = |one: &Change| json!({ "about": one.about, "before": one.before, "after": one.after });
                    say(json!({ "changes": changes.iter().map(change).collect::<Vec<_>>() }));
                    return Ok(());
                }
                if changes.is_empty() {
                    say("they say the same");
                }
                for change in changes {
                    say(change);
                }
            }
            What::Status { database } => {
                let pool = db::connect(database.address(), Role::Owner, 1).await?;
                let standings = policy_rows::standings(&pool).await?;
                if self.json {
                    say(json!({ "policies": standings.iter().map(standing_document).collect::<Vec<_>>() }));
                    return Ok(());
                }
                for standing in standings {
                    let announced =
                        standing.announced_at.map_or("not announced".to_owned(), |at| format!("announced {at}"));
                    let counts =
                        standing.in_force_from.map_or("counts for nobody".to_owned(), |at| format!("counts from {at}"));
                    let now = if standing.in_force { "  in force" } else { "" };
                    let mailed = standing.mailed_from.filter(|_| !standing.in_force).map_or_else(String::new, |at| {
                        let (untold, bounced) = (standing.untold, standing.bounced);
                        format!("; mailed from {at}, {untold} not reached, {bounced} of them bounced")
                    });
                    say(format_args!(
                        "{:<14} {:<12} {announced}, {counts}{mailed}{now}",
                        standing.tenant, standing.version
                    ));
                }
            }
            What::Announce { tenant, version, by_mail: true, yes, who, database } => {
                let by = who.by("")?;
                let pool = db::connect(database.address(), Role::Owner, 1).await?;
                let persons = policy_rows::to_mail(&pool, &tenant, &version).await?;
                confirm(yes, &format!("Mail {tenant} {version} to {persons} persons?"))?;
                let untold = policy_rows::announce_by_mail(&pool, &tenant, &version, by).await?;
                if self.json {
                    say(json!({ "tenant": tenant, "version": version, "mailed_to": untold }));
                    return Ok(());
                }
                say(format_args!(
                    "{tenant} {version} is mailed to {untold} persons; `safelight policy status` says whom it reached"
                ));
            }
            What::Announce { tenant, version, by_mail: false, yes: _, who, database } => {
                let by = who.by("its notice is on display")?;
                let pool = db::connect(database.address(), Role::Owner, 1).await?;
                let from = policy_rows::announce(&pool, &tenant, &version, by).await?;
                if self.json {
                    say(json!({ "tenant": tenant, "version": version, "counts_from": from }));
                    return Ok(());
                }
                say(format_args!("{tenant} {version} counts from {from}; restart the processes then, for its plans"));
            }
        }
        Ok(())
    }
}

fn read(file: &Path) -> anyhow::Result<Policy> {
    let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    Ok(Policy::parse(&text)?)
}

fn standing_document(standing: &Standing) -> Value {
    json!({ "tenant": standing.tenant, "version": standing.version, "announced_at": standing.announced_at,
        "counts_from": standing.in_force_from, "in_force": standing.in_force, "mailed_from": standing.mailed_from,
        "not_reached": standing.untold, "bounced": standing.bounced })
}

/// What [`show`] prints.
fn document(policy: &Policy) -> Value {
    let purposes = policy.purposes().map(|(purpose, entry)| {
        let points: Vec<_> = entry.capture_points.iter().map(|point| point.as_str()).collect();
        json!({ "purpose": purpose.as_str(), "basis": entry.basis.map(|basis| basis.as_str()), "capture_points": points })
    });
    let processors = policy.processors().map(|(processor, entry)| {
        json!({ "processor": processor.as_str(), "name": entry.name, "agreement": entry.agreement, "region": entry.region })
    });
    let rules = policy.rules().map(|rule| {
        json!({ "purpose": rule.purpose.as_str(), "processor": rule.processor.as_str(), "class": rule.class.as_str(),
            "accepted_gap": rule.accepted_gap.map(|gap| gap.to_string()) })
    });
    let retention = DataClass::ALL.iter().filter_map(|class| {
        let retention = policy.retention(*class)?;
        let term = retention.term();
        Some(json!({ "class": class.as_str(), "stays": retention.as_str(), "hours": term.map(|(hours, _)| hours),
            "from": term.map(|(_, from)| from.as_str()) }))
    });
    json!({ "tenant": policy.tenant(), "controller": policy.controller(), "version": policy.version(), "effective_at": policy.effective_at(),
        "text_sha256": policy.text_sha256(), "purposes": purposes.collect::<Vec<_>>(), "processors": processors.collect::<Vec<_>>(),
        "rules": rules.collect::<Vec<_>>(), "retention": retention.collect::<Vec<_>>() })
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
    say("\nWith whom, under which agreement");
    for (processor, entry) in policy.processors() {
        say(format_args!("  {:<10} {}, {}, {}", processor.as_str(), entry.name, entry.agreement, entry.region));
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
