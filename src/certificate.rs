//! `safelight certificate`: the certificate of a finished deletion. Who prints it says what for, and is kept: it is a person's case.

use clap::Args;
use safelight_jobs::{
    db::{self, Role},
    id::{Deletion, Id},
    look,
    operate::OperateError,
    sealer,
};

use crate::{config, operator::Why, process::say};

#[derive(Debug, Args)]
pub(crate) struct Certificate {
    /// deletion_…
    deletion: Id<Deletion>,
    /// A page to read and to print, instead of the signed JSON, which `safelight audit verify --certificate` checks
    #[arg(long, conflicts_with = "json")]
    html: bool,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    database: config::Database,
}

impl Certificate {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let pool = db::connect(self.database.address(), Role::Api, 1).await?;
        let Some(signed) = sealer::certificate(&pool, self.deletion, None).await? else {
            let what = format!(
                "certificate of {}: the deletion is not complete, or no checkpoint covers it yet (`safelight audit seal`)",
                self.deletion
            );
            return Err(OperateError::NotFound(what).into());
        };
        let mut tx = db::begin(&pool).await?;
        let entry = look::entry().deletion(self.deletion).tenant(&signed.certificate.tenant);
        look::at_case(&mut tx, &self.deletion.to_string(), entry, self.why.operator()).await?;
        tx.commit().await?;
        if self.html {
            say(safelight_api::certificate_page(&signed));
        } else {
            say(serde_json::to_string_pretty(&signed)?);
        }
        Ok(())
    }
}
