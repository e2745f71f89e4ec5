//! `safelight provider`: the providers with what holds their jobs back, calls whose outcome nobody knows, and a person's word about them.

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use safelight_jobs::{
    calls::resolve::{self, NotResolved, Resolution, Resolved, Said, UnknownCall},
    db::{self, Role},
    id::{Id, Intent},
    place::Place,
    queue::{self, Bell},
    run::Tx,
};
use serde_json::json;

use crate::{
    config,
    lists::{self, Most},
    operator::{coded, confirm, said},
    process::say,
};

#[derive(Debug, Args)]
pub(crate) struct Provider {
    #[command(flatten)]
    database: config::Database,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// What runs and is set aside of each provider, its limit, rate and pause with who and why, and whether it is in trouble
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// List calls
    Calls {
        /// Those whose outcome nobody knows, oldest first
        #[arg(long, required = true)]
        unknown: bool,
        /// Later than this place: the `next` of the page before
        #[arg(long)]
        after: Option<Place>,
        #[command(flatten)]
        most: Most,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Say what became of a call. Look at the provider first: this is believed
    Resolve {
        /// Which: intent_…
        call: Id<Intent>,
        /// What became of it
        #[arg(long = "as")]
        outcome: Outcome,
        /// The provider's id of the request, for one that was accepted
        #[arg(long, required_if_eq("outcome", "accepted"))]
        request: Option<String>,
        /// How you know, as a code of small letters, digits and underscores; never a name
        #[arg(long)]
        why: String,
        /// Who you are, as a short code; stands in the audit log
        #[arg(long, env = "SAFELIGHT_OPERATOR")]
        by: String,
        /// Say yes beforehand, with --as not-made: the provider is asked once more, and may be paid once more
        #[arg(long)]
        yes: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Outcome {
    /// The provider took it: it goes on as if the answer had come
    Accepted,
    /// The provider never took it: one new attempt is made
    NotMade,
}

impl Provider {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let role = match self.what {
            What::List { .. } => Role::Api,
            What::Calls { .. } => Role::Worker,
            // A word about a call is kept with who and why, which no worker writes.
            What::Resolve { .. } => Role::Owner,
        };
        let pool = db::connect(self.database.address(), role, 2).await?;
        match self.what {
            What::List { json } => providers(&pool, json).await,
            What::Calls { after, most, json, .. } => list(&pool, after, &most, json).await,
            What::Resolve { call, outcome, request, why, by, yes, json } => {
                let resolution = match (outcome, request) {
                    (Outcome::Accepted, Some(request)) => Resolution::Accepted(request),
                    (Outcome::Accepted, None) => return Err(NotResolved::BadRequest.into()),
                    (Outcome::NotMade, Some(_)) => {
                        return Err(NotResolved::BadRequest)
                            .context("--as not-made has no request: was it accepted after all?");
                    }
                    (Outcome::NotMade, None) => Resolution::NotMade,
                };
                if outcome == Outcome::NotMade {
                    confirm(yes, &format!("Ask the provider once more for {call}? If it was made, it is paid twice."))?;
                }
                let mut tx = Tx::begin(&pool, &Bell::start(pool.clone())).await?;
                let resolved = resolve::resolve(&mut tx, call, &resolution, Said { by: &by, why: &why }).await?;
                let (actor, about) = (coded(&by), call.to_string());
                queue::keep_act(&mut tx, "call.resolved", resolved.as_str(), &about, said(&actor, &why)?).await?;
                tx.commit().await?;
                let sentence = match resolved {
                    Resolved::GoesOn => "it goes on: its result is collected when it is there",
                    Resolved::Purged => "nobody may have its result any more: it is cancelled and purged",
                    Resolved::AnotherAttempt => "one new attempt is made",
                    Resolved::NobodyWaits => "nobody waits for it any more: no new attempt is made",
                };
                if json {
                    say(json!({ "call": call, "outcome": resolved.as_str() }));
                } else {
                    say(sentence);
                }
                Ok(())
            }
        }
    }
}

async fn providers(pool: &sqlx::PgPool, as_json: bool) -> anyhow::Result<()> {
    let loads = queue::provider_loads(pool).await?;
    let (controls, breakers) = (queue::controls(pool).await?, queue::breakers(pool).await?);
    let mut all = Vec::new();
    for load in loads {
        let control = controls.iter().find(|c| c.scope == "provider" && c.name == load.provider);
        let breaker = breakers.iter().find(|b| b.provider == load.provider).map_or("closed", |b| b.state.as_str());
        if as_json {
            all.push(
                json!({ "provider": load.provider, "running": load.running, "set_aside": load.aside, "breaker": breaker,
                "paused": control.is_some_and(|c| c.paused), "most": control.and_then(|c| c.most),
                "per_second": control.and_then(|c| c.per_second), "burst": control.and_then(|c| c.burst),
                "why": control.and_then(|c| c.why.as_deref()), "actor": control.map(|c| &c.actor) }),
            );
            continue;
        }
        let mut says = vec![format!("{} running, {} set aside", load.running, load.aside)];
        if breaker != "closed" {
            says.push(format!("in trouble ({breaker})"));
        }
        if let Some(control) = control {
            let why = control.why.as_deref().unwrap_or("");
            says.extend(control.paused.then(|| format!("paused ({}: {why})", control.actor)));
            says.extend(control.most.map(|most| format!("{most} at once")));
            says.extend(control.per_second.map(|rate| format!("{rate} a second")));
        }
        say(format_args!("{:<10} {}", load.provider, says.join(", ")));
    }
    if as_json {
        say(json!({ "providers": all }));
    }
    Ok(())
}

async fn list(pool: &sqlx::PgPool, after: Option<Place>, most: &Most, as_json: bool) -> anyhow::Result<()> {
    let (calls, next) = most.page(resolve::unknown(pool, after, most.and_one()).await?, UnknownCall::place);
    if as_json {
        let calls: Vec<_> = calls
            .iter()
            .map(|call| {
                json!({ "call": call.id, "tenant": call.tenant, "purpose": call.purpose, "model": call.model, "order": call.order,
                    "created_at": call.created_at, "age_seconds": call.age_seconds })
            })
            .collect();
        say(json!({ "unknown": calls, "next": lists::document(next) }));
        return Ok(());
    }
    if calls.is_empty() {
        say("No call's outcome is unknown.");
    }
    for call in calls {
        let order = call.order.map_or_else(|| "(order gone)".to_owned(), |order| order.to_string());
        let minutes = call.age_seconds / 60;
        say(format_args!(
            "{}  {minutes:>6} min  {:<12} {:<9} {:<36} {order}",
            call.id, call.tenant, call.purpose, call.model
        ));
    }
    lists::go_on(next, "there are more: --after");
    Ok(())
}
