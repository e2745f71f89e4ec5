//! `safelight audit verify`: the checker of the `evidence` crate over files; with `--database`, the same checker over the raw
//! tables. Offline it needs files and a public key and nothing else.

use std::path::PathBuf;

use clap::Args;
use safelight_evidence::check::{Answer, Question, check, checkpoints, keys};
use safelight_jobs::{
    db::{self, Role},
    sealer,
};

use crate::process::{Said, say};

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// A folder that `safelight audit export` wrote
    #[arg(required_unless_present_any = ["certificate", "database"])]
    export: Option<PathBuf>,
    /// The log's public key (name+id+base64), or a file of such lines; several while keys are replaced
    #[arg(long, env = "SAFELIGHT_LOG_PUBLIC_KEY", required = true, value_delimiter = ',')]
    key: Vec<String>,
    /// A file or folder of checkpoints that were kept outside the database; several are taken together
    #[arg(long)]
    checkpoints: Vec<PathBuf>,
    /// The JSON file of a deletion's certificate
    #[arg(long)]
    certificate: Vec<PathBuf>,
    /// Check the raw tables of the database in DATABASE_URL instead of an export
    #[arg(long, conflicts_with = "export")]
    database: bool,
    /// Postgres, for --database
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
    /// The answer as JSON
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let question = Question {
            export: self.export.clone(),
            outside: self.checkpoints.clone(),
            keys: self.key.clone(),
            certificates: self.certificate.clone(),
        };
        let mut answer: Option<Answer> = None;
        if self.export.is_some() || !self.certificate.is_empty() {
            answer = Some(check(&question)?);
        }
        if self.database {
            let url = self.database_url.as_deref().ok_or_else(|| anyhow::anyhow!("--database needs DATABASE_URL"))?;
            let pool = db::connect(url, Role::Auditor, 1).await?;
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
