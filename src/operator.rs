//! What the operators' commands share: who acts and why, and the bell after an act.

use clap::Args;
use safelight_jobs::{
    job::Queue,
    queue::{self, By},
};
use sqlx::PgPool;

/// Who acts, as it is stored.
#[derive(Debug, Args)]
pub(crate) struct Why {
    /// In a few words, without anything about a person; stored and audited
    #[arg(long)]
    why: String,
    /// Who acts; the login's name if not given
    #[arg(long, env = "USER", default_value = "operator")]
    actor: String,
}

impl Why {
    pub(crate) fn by(&self) -> By<'_> {
        By { actor: &self.actor, why: &self.why }
    }
}

/// Workers look at once instead of at their next poll. Best effort: a command ends before a bell of its own has rung.
pub(crate) async fn ring(pool: &PgPool) {
    for queue in Queue::ALL {
        let _ = sqlx::query("select pg_notify($1, $2)").bind(queue::CHANNEL).bind(queue.as_str()).execute(pool).await;
    }
}
