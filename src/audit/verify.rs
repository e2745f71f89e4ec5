//! `safelight audit verify`: the checker of the `evidence` crate over files; with `--database`, the same checker over the raw
//! tables. Offline it needs files and a public key and nothing else. With `--from-bucket` the files are fetched first, into a folder
//! that is gone afterwards; then the same checker looks at them, offline.

use std::path::PathBuf;

use clap::Args;
use safelight_evidence::check::{Answer, Question, check, checkpoints, keys};
use safelight_jobs::{
    db::{self, Address, Pooler, Role},
    sealer,
};

use crate::{
    config,
    process::{Said, say},
};

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// A folder that `safelight audit export` wrote
    #[arg(required_unless_present_any = ["certificate", "database", "export_from_bucket"])]
    export: Option<PathBuf>,
    /// The log's public key (name+id+base64), or a file of such lines; several while keys are replaced
    #[arg(long, env = "SAFELIGHT_LOG_PUBLIC_KEY", required = true, value_delimiter = ',')]
    key: Vec<String>,
    /// A file or folder of checkpoints that were kept outside the database; several are taken together
    #[arg(long)]
    checkpoints: Vec<PathBuf>,
    /// Fetch the checkpoints from the bucket that the sealer delivers to (SAFELIGHT_CHECKPOINT_BUCKET, CHECKPOINT_S3_*)
    #[arg(long)]
    from_bucket: bool,
    /// Fetch the export from this folder of that bucket, where `safelight audit export --to-bucket` put it
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["export", "database"])]
    export_from_bucket: Option<String>,
    #[command(flatten)]
    bucket: config::CheckpointBucket,
    /// The JSON file of a deletion's certificate
    #[arg(long)]
    certificate: Vec<PathBuf>,
    /// Check the raw tables of the database in DATABASE_URL instead of an export
    #[arg(long, conflicts_with = "export")]
    database: bool,
    /// Postgres, for --database
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
    /// What DATABASE_URL leads to, for --database: none, or transaction
    #[arg(long, env = "DATABASE_POOLER", default_value = "none", value_parser = config::pooler)]
    database_pooler: Pooler,
    /// The answer as JSON
    #[arg(long)]
    json: bool,
}

/// What was fetched; gone with the answer.
struct Fetched(PathBuf);

impl Fetched {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("safelight-verify-{}", uuid::Uuid::new_v4().simple())))
    }
}

impl Drop for Fetched {
    fn drop(&mut self) {
        // There is none where nothing was fetched.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Verify {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let mut question = Question {
            export: self.export.clone(),
            outside: self.checkpoints.clone(),
            keys: self.key.clone(),
            certificates: self.certificate.clone(),
        };
        let fetched = Fetched::new();
        if self.from_bucket {
            let folder = fetched.0.join("checkpoints");
            self.bucket.needed()?.fetch(self.bucket.folder(), &folder).await?;
            question.outside.push(folder);
        }
        if let Some(from) = &self.export_from_bucket {
            let folder = fetched.0.join("export");
            self.bucket.needed()?.fetch(from, &folder).await?;
            question.export = Some(folder);
        }
        let mut answer: Option<Answer> = None;
        if question.export.is_some() || !self.certificate.is_empty() {
            answer = Some(check(&question)?);
        }
        if self.database {
            let url = self.database_url.as_deref().ok_or_else(|| anyhow::anyhow!("--database needs DATABASE_URL"))?;
            let pool = db::connect(Address::new(url, self.database_pooler), Role::Auditor, 1).await?;
            let log = sealer::check_database(&pool, &checkpoints(&question.outside)?, &keys(&question.keys)?).await?;
            let certificates = answer.map(|answer| answer.certificates).unwrap_or_default();
            let verdict = certificates.iter().fold(log.verdict, |verdict, report| verdict.and(report.verdict));
            answer = Some(Answer { verdict, log: Some(log), certificates });
        }
        let Some(answer) = answer else { anyhow::bail!("name an export's folder, --certificate or --database") };
        if self.json {
            say(serde_json::to_string(&answer)?);
        } else {
            say(&answer);
        }
        match answer.verdict.exit_code() {
            0 => Ok(()),
            code => Err(Said(code).into()),
        }
    }
}
