//! `safelight token`: tokens of the HTTP intake. A token is printed once and stored as a hash.

use clap::{Args, Subcommand};
use safelight_api::tokens::{self, Scope};
use safelight_jobs::{
    db::{self, Role},
    id::Id,
};

use crate::{config, process::say};

#[derive(Debug, Args)]
pub(crate) struct Token {
    #[command(flatten)]
    database: config::Database,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make a token and print it, once
    Create {
        /// What it is for
        name: String,
        /// Of which tenant; without it, of the whole house
        #[arg(long)]
        tenant: Option<String>,
        /// What it may do, comma-separated: enqueue, read, operate, sweep, audit
        #[arg(long, value_delimiter = ',', required = true)]
        scopes: Vec<Scope>,
    },
    /// List all tokens, without their secrets
    List,
    /// From now on the token opens nothing
    Revoke {
        /// Its id: token_…
        id: Id<safelight_jobs::id::Token>,
    },
}

impl Token {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let pool = db::connect(self.database.address(), Role::Owner, 2).await?;
        match self.what {
            What::Create { name, tenant, scopes } => {
                let token = tokens::create(&pool, tenant.as_deref(), &name, &scopes).await?;
                say(token.expose());
            }
            What::List => {
                for token in tokens::list(&pool).await? {
                    let scopes: Vec<_> = token.scopes.iter().map(|scope| scope.as_str()).collect();
                    let state = if token.revoked_at.is_some() { "revoked" } else { "valid" };
                    let tenant = token.tenant.as_deref().unwrap_or("(house)");
                    say(format_args!("{}  {tenant:<14} {state:<8} {:<30} {}", token.id, scopes.join(","), token.name));
                }
            }
            What::Revoke { id } => {
                anyhow::ensure!(
                    tokens::revoke(&pool, id).await?,
                    "{id} is not a valid token; `safelight token list` shows them"
                );
                say(format_args!("{id} is revoked"));
            }
        }
        Ok(())
    }
}
