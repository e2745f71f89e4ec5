//! `safelight key`: which master key wraps the keys of persons, and replacing it, which is kept with who and why.

use anyhow::bail;
use clap::{Args, Subcommand};
use safelight_jobs::{
    audit::Entry,
    db::{self, Role},
    queue,
};
use serde_json::json;

use crate::{
    config,
    operator::Who,
    process::{remark, say},
};

/// Keys that one transaction wraps.
const AT_ONCE: i64 = 500;

#[derive(Debug, Args)]
pub(crate) struct Key {
    #[command(subcommand)]
    what: What,
    /// One JSON document
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    database: config::Database,
    #[command(flatten)]
    house: config::House,
    #[command(flatten)]
    ledger: config::Ledgering,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Count the keys of persons by the master key that wraps them
    Status,
    /// Wrap all of them by SAFELIGHT_MASTER_KEY that SAFELIGHT_MASTER_KEY_FORMER wraps, and sign the erasure ledger by it
    Rotate {
        #[command(flatten)]
        who: Who,
    },
}

/// How many persons' keys one master key wraps.
struct Wraps {
    master_key_id: String,
    keys: i64,
}

impl Key {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let vault = self.house.vault()?;
        let (role, rotates) = match &self.what {
            What::Status => (Role::Worker, None),
            // Kept with who and why, which no worker writes.
            What::Rotate { who } => (Role::Owner, Some(who.by("the master key is replaced")?)),
        };
        let pool = db::connect(self.database.address(), role, 2).await?;
        let (mut all, mut signed) = (0, None);
        if let Some(by) = rotates {
            let about = format!("master key {}", vault.fingerprint());
            loop {
                let mut tx = db::begin(&pool).await?;
                let done = vault.rewrap(&mut tx, AT_ONCE).await?;
                if done > 0 {
                    Entry::new("operator", "vault.rewrapped", "done").count("keys", done).write(&mut tx).await?;
                    // One act, however many transactions it takes: kept in the first that changes something.
                    if all == 0 {
                        queue::keep_act(&mut tx, "vault.rewrapped", "done", &about, by).await?;
                    }
                }
                tx.commit().await?;
                all += done;
                if done == 0 {
                    break;
                }
            }
            if !self.json {
                say(format_args!("{all} keys are wrapped anew"));
            }
            match self.ledger.ledger(&vault)? {
                Some(ledger) => {
                    let entries = ledger.sign_anew().await?;
                    signed = Some(entries);
                    if entries > 0 {
                        let mut tx = db::begin(&pool).await?;
                        let entry = Entry::new("operator", "restore.ledger_signed", "done").count("entries", entries);
                        queue::note_act(&mut tx, "restore.ledger_signed", "done", &about, by, entry).await?;
                        tx.commit().await?;
                    }
                    if !self.json {
                        say(format_args!("{entries} entries of the ledger are signed anew"));
                    }
                }
                None => remark(
                    "the erasure ledger is not known here: where there is one, run `safelight restore sign` with both keys before the old one goes",
                ),
            }
        }
        let rows = sqlx::query_as!(
            Wraps,
            r#"select master_key_id, count(*) as "keys!" from safelight.subject_keys group by master_key_id order by master_key_id"#
        )
        .fetch_all(&pool)
        .await?;
        let left: i64 = rows.iter().filter(|row| row.master_key_id != vault.fingerprint()).map(|row| row.keys).sum();
        if self.json {
            let key = |row: &Wraps| json!({ "master_key": row.master_key_id, "current": row.master_key_id == vault.fingerprint(), "persons": row.keys });
            let mut document = json!({ "keys": rows.iter().map(key).collect::<Vec<_>>() });
            if rotates.is_some() {
                document["wrapped_anew"] = json!(all);
                document["ledger_signed_anew"] = json!(signed);
            }
            say(document);
        }
        for row in rows.iter().filter(|_| !self.json) {
            let which = if row.master_key_id == vault.fingerprint() { "the master key" } else { "another key" };
            say(format_args!("{}  {which:<14} {} persons", row.master_key_id, row.keys));
        }
        if rotates.is_some() && left > 0 {
            bail!(
                "another master key still wraps the keys of {left} persons: they were locked just now, or a process that knows only that key made them. \
                Restart every process with both keys and run it again; keep the old one until `safelight key status` names it no more"
            );
        }
        Ok(())
    }
}
