//! `safelight key`: which master key wraps the keys of persons, and replacing it.

use anyhow::bail;
use clap::{Args, Subcommand};
use safelight_jobs::{
    audit::Entry,
    db::{self, Role},
};
use serde_json::json;

use crate::{
    config,
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
    Rotate,
}

/// How many persons' keys one master key wraps.
struct Wraps {
    master_key_id: String,
    keys: i64,
}

impl Key {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let vault = self.house.vault()?;
        let pool = db::connect(self.database.address(), Role::Worker, 2).await?;
        let (mut all, mut signed) = (0, None);
        if matches!(self.what, What::Rotate) {
            loop {
                let mut tx = db::begin(&pool).await?;
                let done = vault.rewrap(&mut tx, AT_ONCE).await?;
                if done > 0 {
                    Entry::new("operator", "vault.rewrapped", "done").count("keys", done).write(&mut tx).await?;
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
            if matches!(self.what, What::Rotate) {
                document["wrapped_anew"] = json!(all);
                document["ledger_signed_anew"] = json!(signed);
            }
            say(document);
        }
        for row in rows.iter().filter(|_| !self.json) {
            let which = if row.master_key_id == vault.fingerprint() { "the master key" } else { "another key" };
            say(format_args!("{}  {which:<14} {} persons", row.master_key_id, row.keys));
        }
        if matches!(self.what, What::Rotate) && left > 0 {
            bail!(
                "another master key still wraps the keys of {left} persons: they were locked just now, or a process that knows only that key made them. \
                Restart every process with both keys and run it again; keep the old one until `safelight key status` names it no more"
            );
        }
        Ok(())
    }
}
