//! `safelight delete`: one photo or image, or what is left of an order that failed. Workers carry it out.

use clap::{Args, Subcommand};
use safelight_jobs::{
    db::{self, Role},
    id::{Artifact, Id, Order},
    intake::{self, IntakeError},
    queue::Bell,
    run::Tx,
};
use serde_json::json;

use crate::{config, operator::confirm, process::say};

#[derive(Debug, Args)]
pub(crate) struct Delete {
    #[command(subcommand)]
    what: What,
    /// Who you are, as a short code; stands in the audit log
    #[arg(long, env = "SAFELIGHT_OPERATOR", global = true)]
    by: Option<String>,
    /// As JSON
    #[arg(long, global = true)]
    json: bool,
    /// Say yes beforehand: it is deleted, with what rests on it, and does not come back
    #[arg(long, global = true)]
    yes: bool,
    #[command(flatten)]
    database: config::Database,
}

#[derive(Debug, Subcommand)]
enum What {
    /// One uploaded photo or one generated image, with what rests on it
    Photo {
        /// artifact_…
        photo: Id<Artifact>,
    },
    /// An order that was refused, expired, or is in refund review: what was never delivered, and its row where nothing was sold
    Order {
        /// order_…
        order: Id<Order>,
    },
}

impl Delete {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let by = self.by.as_deref().ok_or_else(|| IntakeError::Invalid {
            code: "not_a_code",
            why: "say who you are: --by, a short code".to_owned(),
        })?;
        match self.what {
            What::Photo { photo } => confirm(self.yes, &format!("Delete {photo} and what rests on it?"))?,
            What::Order { order } => confirm(self.yes, &format!("Delete what is left of {order}?"))?,
        }
        let pool = db::connect(self.database.address(), Role::Api, 2).await?;
        let mut tx = Tx::begin(&pool, &Bell::start(pool.clone())).await?;
        let started = match self.what {
            What::Photo { photo } => intake::delete_photo(&mut tx, None, photo, Some(by)).await?,
            What::Order { order } => intake::delete_failed_order(&mut tx, None, order, Some(by)).await?,
        };
        tx.commit().await?;
        if self.json {
            say(json!({ "deletion": started.deletion, "answer_due": started.answer_due, "already": started.already }));
        } else {
            let word = if started.already { "had begun before" } else { "has begun" };
            say(format_args!("{} {word}, due {}", started.deletion, started.answer_due.format("%Y-%m-%d %H:%M")));
        }
        Ok(())
    }
}
