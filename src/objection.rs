//! `safelight objection`: what people object to, noted where it came by mail, and the decision about it. Who
//! noted or decided it and why is kept in the transaction that did it.

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand, ValueEnum};
use safelight_jobs::{
    db::{self, Role},
    id::{Id, Subject},
    intake::{self, IntakeError, ObjectionRow, Told, Way},
    place::Place,
    policy::Purpose,
    queue::{self, Bell},
    run::Tx,
};
use serde_json::json;

use crate::{
    config,
    lists::{self, Most},
    operator::{coded, confirm, said},
    process::say,
    words,
};

#[derive(Debug, Args)]
pub(crate) struct ObjectionCommand {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    database: config::Database,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List open objections, the oldest first
    List {
        /// Decided ones too
        #[arg(long)]
        all: bool,
        /// What stands behind this place: where the page before ended
        #[arg(long)]
        after: Option<Place>,
        #[command(flatten)]
        most: Most,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Note one that came by mail or letter, of somebody whose case is verified; the person is restricted until it is decided
    Note {
        /// subject_…
        subject: Id<Subject>,
        /// To which purpose
        #[arg(value_parser = words::purposes())]
        purpose: Purpose,
        /// Who you are, as a short code
        #[arg(long, env = "SAFELIGHT_OPERATOR")]
        by: String,
        /// Why, in a few words, without anything about a person; stored with who acts
        #[arg(long, default_value = "it came by mail or letter")]
        why: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Decide one: upheld, nothing is done for this purpose any more. Tell the person before, with the reason: the restriction ends
    /// with the last decision, and nobody is released who was not told
    Decide {
        /// subject_…
        subject: Id<Subject>,
        /// To which purpose
        #[arg(value_parser = words::purposes())]
        purpose: Purpose,
        /// Who is right
        #[arg(long = "as")]
        decision: Decision,
        /// Why, as a code
        #[arg(long)]
        why: String,
        /// How the person was told of the decision and that the restriction ends
        #[arg(long, requires = "told_at")]
        told: Option<ToldBy>,
        /// When, for example 2026-12-01T10:00:00Z: since they were restricted, and not later than now
        #[arg(long, requires = "told")]
        told_at: Option<DateTime<Utc>>,
        /// Who you are, as a short code
        #[arg(long, env = "SAFELIGHT_OPERATOR")]
        by: String,
        /// Say yes beforehand, with --as upheld: nothing is done for the purpose any more, and what was done for it goes
        #[arg(long)]
        yes: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ToldBy {
    /// By mail
    Mail,
    /// In the product, where they saw it
    Product,
    /// By letter
    Letter,
}

impl From<ToldBy> for Way {
    fn from(by: ToldBy) -> Self {
        match by {
            ToldBy::Mail => Self::Mail,
            ToldBy::Product => Self::Product,
            ToldBy::Letter => Self::Letter,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Decision {
    /// The person: the gates close for this purpose, and what was done for it goes
    Upheld,
    /// The controller's grounds are compelling: everything goes on
    Overridden,
}

impl ObjectionCommand {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let pool = db::connect(self.database.address(), Role::Api, 2).await?;
        match self.what {
            What::List { all, after, most, json } => {
                let rows = intake::objections_after(&pool, None, all, after, most.and_one()).await?;
                let (rows, next) = most.page(rows, ObjectionRow::place);
                list(&rows, next, json);
            }
            What::Note { subject, purpose, by, why, json } => {
                let actor = coded(&by);
                let kept = said(&actor, &why)?;
                let tenant = sqlx::query_scalar!("select tenant from safelight.subjects where id = $1", subject.uuid())
                    .fetch_optional(&pool)
                    .await?
                    .ok_or_else(|| IntakeError::NotFound { what: subject.to_string() })?;
                let mut tx = Tx::begin(&pool, &Bell::start(pool.clone())).await?;
                let noted = intake::object(&mut tx, &tenant, subject, purpose, Some(&by)).await?;
                if !noted.already {
                    queue::keep_act(&mut tx, "objection.noted", "restricted", &subject.to_string(), kept).await?;
                }
                tx.commit().await?;
                if json {
                    let state = if noted.upheld { "upheld" } else { "open" };
                    say(
                        json!({ "subject": subject, "purpose": purpose.as_str(), "state": state, "already": noted.already,
                        "jobs_held": noted.jobs_held }),
                    );
                    return Ok(());
                }
                say(match (noted.upheld, noted.already) {
                    (true, _) => format!("it was upheld before: nothing is done for `{purpose}`"),
                    (_, true) => "it is noted already, and waits for a decision".to_owned(),
                    _ => format!("noted; {} jobs are held until it is decided", noted.jobs_held),
                });
            }
            What::Decide { subject, purpose, decision, why, told, told_at, by, yes, json } => {
                let told = told.zip(told_at).map(|(by, at)| Told { by: by.into(), at });
                let upheld = decision == Decision::Upheld;
                if upheld && !yes {
                    let jobs = intake::jobs_of_purpose(&pool, subject, purpose).await?;
                    confirm(
                        false,
                        &format!(
                            "Do nothing for `{purpose}` of {subject} any more? {jobs} jobs leave the queue, and what was done for it goes."
                        ),
                    )?;
                }
                let mut tx = Tx::begin(&pool, &Bell::start(pool.clone())).await?;
                let done = intake::decide_objection(&mut tx, subject, purpose, upheld, &by, &why, told).await?;
                let outcome = if upheld { "upheld" } else { "overridden" };
                let (actor, about) = (coded(&by), format!("{subject} {purpose}"));
                queue::keep_act(&mut tx, "objection.decided", outcome, &about, said(&actor, &why)?).await?;
                tx.commit().await?;
                if json {
                    say(
                        json!({ "subject": subject, "purpose": purpose.as_str(), "state": outcome, "deletion": done.deletion,
                        "jobs_cancelled": done.jobs_cancelled, "released": done.released }),
                    );
                    return Ok(());
                }
                if let Some(deletion) = done.deletion {
                    let jobs = done.jobs_cancelled;
                    say(format_args!(
                        "nothing is done for `{purpose}` any more: {jobs} jobs left the queue, {deletion} takes what was done for it"
                    ));
                }
                if !done.released {
                    say(format_args!(
                        "{subject} stays as it was: another objection is open, or something else restricts"
                    ));
                }
                say(if told.is_some() {
                    "decided"
                } else {
                    "decided; tell the person, and that they may complain to an authority"
                });
            }
        }
        Ok(())
    }
}

fn list(rows: &[ObjectionRow], next: Option<Place>, as_json: bool) {
    if as_json {
        say(json!({ "objections": rows, "next": lists::document(next) }));
        return;
    }
    if rows.is_empty() {
        say("No objection is open.");
    }
    for row in rows {
        let since = row.received_at.format("%Y-%m-%d %H:%M");
        say(format_args!("{}  {:<12} {:<9} {:<10} since {since}", row.subject, row.tenant, row.purpose, row.state));
    }
    lists::go_on(next, "later ones: --after");
}
