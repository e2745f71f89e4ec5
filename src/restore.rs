//! `safelight restore`: after a backup was restored, compare with the erasure ledger and replay what the backup forgot,
//! which is kept with who and why.

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use safelight_jobs::{
    audit::Entry,
    db::{self, Role},
    providers::ledger::{Act, LedgerEntry, LedgerError},
    queue::{self, Bell},
    restore::{self, RestoreError},
};
use serde_json::{Value, json};

use crate::{
    config,
    operator::{Who, confirm},
    process::{Said, remark, say},
};

#[derive(Debug, Args)]
pub(crate) struct Restore {
    #[command(subcommand)]
    what: What,
    /// One JSON document
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    database: config::Database,
    #[command(flatten)]
    house: config::House,
    /// Read entries that nobody signed, too: they were written before there were codes, and you have looked at each of them
    #[arg(long, global = true)]
    unsigned: bool,
    #[command(flatten)]
    ledger: config::Ledgering,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Say what the database does not know of; fails if there is anything
    Check,
    /// Erase and withdraw again what the database does not know of, and let workers begin
    Replay {
        /// The ledger lacks entries that the database has noted there, and you know that they may be missing: they were taken out with
        /// the backups that they were for
        #[arg(long)]
        short_ledger: bool,
        /// Say yes beforehand: what the ledger names is erased and withdrawn again, or is not missed any more
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        who: Who,
    },
    /// Sign every entry anew by SAFELIGHT_MASTER_KEY: after that key was replaced, or once after entries were not signed yet
    Sign {
        #[command(flatten)]
        who: Who,
    },
}

/// The ledger has an entry that does not count.
const FOREIGN: u8 = 4;

impl Restore {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        match self.on_the_ledger().await {
            Err(error) => match error.downcast_ref() {
                Some(foreign @ LedgerError::Foreign { .. }) => {
                    remark(format_args!(
                        "safelight: {foreign}. Somebody else may have put it there to have a person erased: find out who. \
                        Of entries from before there were codes `--unsigned` lists all, and `safelight restore sign --unsigned` signs them"
                    ));
                    Err(Said(FOREIGN).into())
                }
                _ => Err(error),
            },
            done => done,
        }
    }

    async fn on_the_ledger(self) -> anyhow::Result<()> {
        let ledger = self.ledger.ledger(&self.house.vault()?)?.context(
            "set SAFELIGHT_LEDGER_DIR or SAFELIGHT_LEDGER_BUCKET: without the ledger nothing can be compared",
        )?;
        let ledger = if self.unsigned { ledger.with_unsigned() } else { ledger };
        // Who replays fences and withdraws, which no worker may.
        let pool = db::connect(self.database.address(), Role::Owner, 2).await?;
        match self.what {
            What::Check => {
                let compared = restore::compare(&pool, &ledger).await.map_err(of_the_ledger)?;
                let cleared = restore::is_cleared(&pool).await?;
                if self.json {
                    say(
                        json!({ "entries": compared.entries, "missing": compared.missing.iter().map(document).collect::<Vec<_>>(),
                        "strangers": compared.strangers, "lost": compared.lost, "workers_may_work": cleared }),
                    );
                } else {
                    compared.missing.iter().for_each(|entry| say(line(entry)));
                    say(format_args!(
                        "{} entries in the ledger, {} the database does not know of, {} about persons who came after the backup; workers {}",
                        compared.entries,
                        compared.missing.len(),
                        compared.strangers,
                        if cleared { "may work" } else { "wait for this comparison" }
                    ));
                }
                if compared.lost > 0 {
                    return Err(RestoreError::Short { lost: compared.lost }.into());
                }
                if !compared.missing.is_empty() {
                    bail!("this database was restored to a time before these: run `safelight restore replay`");
                }
            }
            What::Replay { short_ledger, yes, who } => {
                let by = who.by("")?;
                let compared = restore::compare(&pool, &ledger).await.map_err(of_the_ledger)?;
                let (missing, lost) = (compared.missing.len(), if short_ledger { compared.lost } else { 0 });
                if (missing > 0 || lost > 0) && (short_ledger || compared.lost == 0) {
                    let gone = if lost > 0 {
                        format!(" {lost} that the ledger lacks are not missed any more.")
                    } else {
                        String::new()
                    };
                    confirm(yes, &format!("Erase and withdraw again what {missing} entries say?{gone}"))?;
                }
                let replayed = restore::replay(&pool, &Bell::start(pool.clone()), &ledger, short_ledger, by)
                    .await
                    .map_err(of_the_ledger)?;
                if self.json {
                    say(json!({ "replayed": replayed.missing.iter().map(document).collect::<Vec<_>>() }));
                } else {
                    replayed.missing.iter().for_each(|entry| say(line(entry)));
                    let number = replayed.missing.len();
                    say(format_args!("{number} replayed; workers may work, and carry out the deletions"));
                }
            }
            What::Sign { who } => {
                let by = who.by("the master key is replaced")?;
                let signed = ledger.sign_anew().await?;
                let mut tx = db::begin(&pool).await?;
                Entry::new("operator", "restore.ledger_signed", "done").count("entries", signed).write(&mut tx).await?;
                if signed > 0 {
                    queue::keep_act(&mut tx, "restore.ledger_signed", "done", "erasure ledger", by).await?;
                }
                tx.commit().await?;
                if self.json {
                    say(json!({ "signed": signed }));
                } else {
                    say(format_args!("{signed} entries are signed anew"));
                }
            }
        }
        Ok(())
    }
}

/// An error of the ledger as itself, whatever met it.
fn of_the_ledger(error: RestoreError) -> anyhow::Error {
    match error {
        RestoreError::Ledger(error) => error.into(),
        error => error.into(),
    }
}

/// What it says to forget.
fn what(entry: &LedgerEntry) -> String {
    match entry.act {
        Act::Erasure => "erasure".to_owned(),
        Act::Withdrawal(purpose) => format!("withdrawal of {purpose}"),
        Act::Objection(purpose) => format!("objection to {purpose}"),
        Act::Restriction(ground) => format!("restriction: {}", ground.as_str()),
        Act::Release => "release".to_owned(),
        Act::Photo(photo) => format!("deletion of {photo}"),
    }
}

fn line(entry: &LedgerEntry) -> String {
    format!("{:<24} {:<12} {}", what(entry), entry.tenant, entry.subject)
}

fn document(entry: &LedgerEntry) -> Value {
    json!({ "what": what(entry), "tenant": entry.tenant, "subject": entry.subject })
}
