//! `safelight key`: which master key wraps the keys of persons, and replacing it.

use anyhow::bail;
use clap::{Args, Subcommand};
use safelight_jobs::{
    audit::Entry,
    db::{self, Role},
};

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

impl Key {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let vault = self.house.vault()?;
        let pool = db::connect(self.database.address(), Role::Worker, 2).await?;
        if matches!(self.what, What::Rotate) {
            let mut all = 0;
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
            say(format_args!("{all} keys are wrapped anew"));
            match self.ledger.ledger(&vault)? {
                Some(ledger) => {
                    say(format_args!("{} entries of the ledger are signed anew", ledger.sign_anew().await?))
                }
                None => remark(
                    "the erasure ledger is not known here: where there is one, run `safelight restore sign` with both keys before the old one goes",
                ),
            }
        }
        let rows = sqlx::query!(
            r#"select master_key_id, count(*) as "keys!" from safelight.subject_keys group by master_key_id order by master_key_id"#
        )
        .fetch_all(&pool)
        .await?;
        let left: i64 = rows.iter().filter(|row| row.master_key_id != vault.fingerprint()).map(|row| row.keys).sum();
        for row in rows {
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
