//! `safelight export`: have a person's data written down for that person, and see what became of it. Shows ids, states and times;
//! the data themselves are behind a link that works for five minutes, and who has one made is kept with what for.

use std::time::Duration;

use anyhow::bail;
use clap::{Args, Subcommand};
use safelight_jobs::{
    db::{self, Role},
    id::{Artifact, Id, Subject},
    intake::{self, ExportRow, IntakeError},
    look,
    operate::OperateError,
    place::Place,
    providers::storage::Key,
    queue::{self, Bell, By},
    run::Tx,
};
use serde_json::json;

use crate::{
    config,
    lists::{self, Most},
    operator::{Why, coded, said},
    process::say,
};

/// How long a link works.
const LINK: Duration = Duration::from_secs(300);

#[derive(Debug, Args)]
pub(crate) struct Export {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    database: config::Database,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Have everything written down that there is about a person; a worker does it
    Ask {
        /// subject_…
        subject: Id<Subject>,
        /// Why, as a code, for example access_by_mail; the console shows it
        #[arg(long)]
        why: String,
        /// Who you are, as a short code
        #[arg(long, env = "SAFELIGHT_OPERATOR")]
        by: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Exports that are there, the newest first: state, end, who asked and why
    List {
        /// What is older than this place: where the page before ended
        #[arg(long)]
        before: Option<Place>,
        #[command(flatten)]
        most: Most,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Print a link that reads it for five minutes. Hand it to the person only
    Link {
        /// artifact_…
        export: Id<Artifact>,
        #[command(flatten)]
        why: Why,
        #[command(flatten)]
        store: Box<config::Store>,
    },
}

impl Export {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let pool = db::connect(self.database.address(), Role::Api, 2).await?;
        match self.what {
            What::Ask { subject, why, by, json } => {
                let mut tx = Tx::begin(&pool, &Bell::start(pool.clone())).await?;
                let asked = intake::ask_export_for(&mut tx, subject, By { actor: &by, why: &why }).await?;
                if !asked.already {
                    let (actor, about) = (coded(&by), asked.export.to_string());
                    queue::keep_act(&mut tx, "export.asked", "enqueued", &about, said(&actor, &why)?).await?;
                }
                tx.commit().await?;
                if json {
                    say(json!({ "export": asked.export, "expires_at": asked.expires_at, "already": asked.already }));
                } else {
                    let word = if asked.already { "is being made already" } else { "is asked for" };
                    say(format_args!(
                        "{} {word}, and goes {}",
                        asked.export,
                        asked.expires_at.format("%Y-%m-%d %H:%M")
                    ));
                }
            }
            What::List { before, most, json } => {
                let rows = intake::exports_before(&pool, None, before, most.and_one()).await?;
                let (rows, next) = most.page(rows, ExportRow::place);
                if json {
                    say(json!({ "exports": rows, "next": lists::document(next) }));
                    return Ok(());
                }
                if rows.is_empty() {
                    say("There is no export.");
                }
                for row in rows {
                    let goes = row.expires_at.map_or_else(String::new, |at| at.format("%Y-%m-%d %H:%M").to_string());
                    let (by, why) = (row.by.unwrap_or_else(|| "the person".to_owned()), row.why.unwrap_or_default());
                    say(format_args!("{}  {:<12} {:<7} goes {goes}  {by} {why}", row.export, row.tenant, row.state));
                }
                lists::go_on(next, "older ones: --before");
            }
            What::Link { export, why, store } => {
                let row = sqlx::query!(
                    r#"select a.storage_key, a.tenant, a.subject_id, safelight.readable(a) as "readable!" from safelight.artifacts a where a.id = $1 and a.class = 'export'"#,
                    export.uuid()
                )
                .fetch_optional(&pool)
                .await?;
                let row = row.ok_or_else(|| OperateError::NotFound(format!("export {export}, or it is gone")))?;
                if !row.readable {
                    let why = format!(
                        "{export} is still being made, or its time is over; `safelight export list` says which"
                    );
                    return Err(IntakeError::Conflict { code: "export_not_there", why }.into());
                }
                let Ok(key) = row.storage_key.parse::<Key>() else {
                    bail!("{export} has a key that this version does not know")
                };
                let client = store.client()?;
                let mut tx = db::begin(&pool).await?;
                let entry = look::entry().tenant(row.tenant).subject(row.subject_id.into());
                look::at_case(&mut tx, &export.to_string(), entry, why.operator()).await?;
                tx.commit().await?;
                let link = client.signed_get(&key, LINK).await?;
                if why.json {
                    say(json!({ "export": export, "url": link.expose(), "works_for_seconds": LINK.as_secs() }));
                } else {
                    say(link.expose());
                }
            }
        }
        Ok(())
    }
}
