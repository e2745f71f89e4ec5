//! `safelight delete`: one photo or image, or what is left of an order that failed. Workers carry it out; who asked and why is kept.

use clap::{Args, Subcommand};
use safelight_jobs::{
    db::{self, Role},
    id::{Artifact, Id, Order},
    intake::{self, IntakeError},
    queue::{self, Bell},
    run::Tx,
};
use serde_json::json;

use crate::{
    config,
    operator::{coded, confirm, said},
    process::say,
};

#[derive(Debug, Args)]
pub(crate) struct Delete {
    #[command(subcommand)]
    what: What,
    /// Who you are, as a short code; stands in the audit log
    #[arg(long, env = "SAFELIGHT_OPERATOR", global = true)]
    by: Option<String>,
    /// Why, in a few words, without anything about a person; needed, and stored with who acts
    #[arg(long, global = true)]
    why: Option<String>,
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
        let actor = coded(by);
        let kept = said(&actor, self.why.as_deref().unwrap_or_default())?;
        match self.what {
            What::Photo { photo } => confirm(self.yes, &format!("Delete {photo} and what rests on it?"))?,
            What::Order { order } => confirm(self.yes, &format!("Delete what is left of {order}?"))?,
        }
        let pool = db::connect(self.database.address(), Role::Api, 2).await?;
        let mut tx = Tx::begin(&pool, &Bell::start(pool.clone())).await?;
        let (started, action, about) = match self.what {
            What::Photo { photo } => {
                let started = intake::delete_photo(&mut tx, None, photo, Some(by)).await?;
                (started, "photo.deletion_asked", photo.to_string())
            }
            What::Order { order } => {
                let started = intake::delete_failed_order(&mut tx, None, order, Some(by)).await?;
                (started, "order.deletion_asked", order.to_string())
            }
        };
        if !started.already {
            queue::keep_act(&mut tx, action, "fenced", &about, kept).await?;
        }
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
