//! `safelight audit`: the sealed log. Make its key, seal now, take it away as files, and check it; and what operators did and looked
//! at. Who asks for that about one person's case says what for, and is kept.

mod verify;

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};
use rand::RngCore;
use safelight_evidence::Signer;
use safelight_jobs::{
    db::{self, Role},
    look,
    operate::Operator,
    sealer::{self, Sign},
};
use serde_json::json;
use uuid::Uuid;

use crate::{config, lists, operator, process::say};

#[derive(Debug, Args)]
pub(crate) struct Audit {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// What operators did and looked at, with who and why, newest first
    Acts(Acts),
    /// Make a key for a log: the private one for SAFELIGHT_LOG_KEY, the public one to give away
    Key {
        /// The log's name, as an address without a scheme: photos.example/audit
        name: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Seal what is committed, sign, deliver, and issue certificates: one pass
    Seal(Box<Seal>),
    /// Write entries, proofs and checkpoints into a folder that an outsider can take away
    Export(Box<Export>),
    /// Check an export, a certificate or the raw tables. 0 verified, 1 could not check, 3 unverified, 4 broken
    Verify(Box<verify::Verify>),
}

#[derive(Debug, Args)]
struct Acts {
    /// About one thing, as it stands in the list: job_…, order_…, deletion_…, bulk_…, subject_…, case_…, artifact_…, token_…,
    /// refund_…, intent_…, or a control as `provider fal`
    #[arg(long)]
    about: Option<String>,
    /// Of one operator: a token's name, or cli:LOGIN
    #[arg(long)]
    actor: Option<String>,
    /// What is older than this act: where the page before ended
    #[arg(long)]
    before: Option<Uuid>,
    /// What for, in a few words, without anything about a person; needed with --about a person, an order, a job or a deletion, and kept
    #[arg(long)]
    why: Option<String>,
    /// Who looks, stored as cli:NAME; the login's name if not given
    #[arg(long, env = "USER", default_value = "operator")]
    by: String,
    #[command(flatten)]
    most: lists::Most,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: config::Database,
}

impl Acts {
    async fn run(self) -> anyhow::Result<()> {
        let pool = db::connect(self.database.address(), Role::Api, 1).await?;
        if let Some(about) = self.about.as_deref().filter(|about| look::acts_are_one(about)) {
            let actor = operator::coded(&self.by);
            let by = operator::said(&actor, self.why.as_deref().unwrap_or_default())?;
            let mut tx = db::begin(&pool).await?;
            look::at_acts(&mut tx, about, Operator { by, tenant: None }).await?;
            tx.commit().await?;
        }
        let rows = sqlx::query!(
            r#"select id, at, actor, why, action, outcome, about from safelight.operator_acts
            where ($1::text is null or about = $1) and ($2::text is null or actor = $2) and ($3::uuid is null or id < $3)
            order by id desc limit $4"#,
            self.about,
            self.actor,
            self.before,
            self.most.and_one()
        )
        .fetch_all(&pool)
        .await?;
        let (rows, next) = self.most.page(rows, |row| row.id);
        if self.json {
            let acts: Vec<_> = rows
                .iter()
                .map(|row| {
                    json!({ "at": row.at, "actor": row.actor, "why": row.why, "action": row.action, "outcome": row.outcome, "about": row.about })
                })
                .collect();
            say(json!({ "acts": acts, "next": next }));
            return Ok(());
        }
        for row in &rows {
            say(format_args!(
                "{}  {:<16} {:<22} {:<10} {}: {}",
                row.at.format("%F %T"),
                row.actor,
                row.action,
                row.outcome,
                row.about,
                row.why
            ));
        }
        if rows.is_empty() {
            say("nobody did anything");
        }
        lists::go_on(next, "older ones: --before");
        Ok(())
    }
}

#[derive(Debug, Args)]
struct Seal {
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: config::Database,
    #[command(flatten)]
    sealing: config::Sealing,
}

impl Audit {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        match self.what {
            What::Acts(acts) => acts.run().await,
            What::Key { name, json } => key(&name, json),
            What::Seal(seal) => seal.run().await,
            What::Export(export) => export.run().await,
            What::Verify(verify) => verify.run().await,
        }
    }
}

fn key(name: &str, as_json: bool) -> anyhow::Result<()> {
    let mut secret = [0; 32];
    rand::rngs::OsRng.fill_bytes(&mut secret);
    let signer = Signer::new(name, &secret).context("the log's name")?;
    if as_json {
        say(json!({ "private": signer.secret_text(), "public": signer.verifier().to_string() }));
    } else {
        say(format_args!("private (SAFELIGHT_LOG_KEY): {}", signer.secret_text()));
        say(format_args!("public (give it away):       {}", signer.verifier()));
    }
    Ok(())
}

impl Seal {
    async fn run(self) -> anyhow::Result<()> {
        let sealer = self.sealing.needed()?;
        let pool = db::connect_sealer(self.database.address(), 2).await?;
        let passed = sealer::pass(&pool, &sealer, Sign::Now).await?;
        let lag = sealer::lag(&pool).await?;
        if self.json {
            let undelivered: serde_json::Map<_, _> =
                lag.destinations.iter().map(|(name, count, _)| (name.clone(), json!(count))).collect();
            say(
                json!({ "size": lag.size, "sealed": passed.sealed, "delivered": passed.delivered, "issued": passed.issued,
                "undelivered": undelivered }),
            );
            return Ok(());
        }
        say(format_args!(
            "{} entries sealed, the log has {}; {} checkpoints delivered, {} certificates issued",
            passed.sealed, lag.size, passed.delivered, passed.issued
        ));
        for (name, count, tries) in lag.destinations.iter().filter(|(_, count, _)| *count > 0) {
            say(format_args!("{name}: {count} checkpoints are not there yet, after {tries} tries"));
        }
        if sealer.destinations.is_empty() {
            say("no place outside the database is configured: the log stays unverified");
        }
        Ok(())
    }
}

#[derive(Debug, Args)]
struct Export {
    /// The folder; empty, or it is made
    folder: PathBuf,
    /// The same files into this folder of the bucket of checkpoints, where nothing is yet
    #[arg(long, value_name = "FOLDER")]
    to_bucket: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: config::Database,
    #[command(flatten)]
    bucket: config::CheckpointBucket,
}

impl Export {
    async fn run(self) -> anyhow::Result<()> {
        let bucket = self.to_bucket.as_deref().map(|to| anyhow::Ok((self.bucket.needed()?, to))).transpose()?;
        let pool = db::connect(self.database.address(), Role::Auditor, 1).await?;
        let exported = sealer::export(&pool, &self.folder).await?;
        let files = match &bucket {
            Some((bucket, to)) => Some(bucket.put(&self.folder, to).await?),
            None => None,
        };
        if self.json {
            say(
                json!({ "entries": exported.entries, "checkpoints": exported.checkpoints, "unsealed": exported.unsealed,
                "files_in_bucket": files }),
            );
            return Ok(());
        }
        say(format_args!(
            "{} entries and {} checkpoints in {}; {} entries are not sealed yet",
            exported.entries,
            exported.checkpoints,
            self.folder.display(),
            exported.unsealed
        ));
        if let (Some(files), Some(to)) = (files, &self.to_bucket) {
            say(format_args!("{files} files in `{to}` of the bucket"));
        }
        Ok(())
    }
}
