//! `safelight token`: tokens of the HTTP intake. A token is printed once and stored as a hash; who made, replaced or revoked it, and
//! why, is kept in the transaction that did it.

use anyhow::Context;
use clap::{Args, Subcommand};
use safelight_api::tokens::{self, Known, Scope, Terms};
use safelight_jobs::{
    db::{self, Role},
    id::Id,
    operate::OperateError,
    place::Place,
    providers::Secret,
    queue,
};
use serde_json::json;

use crate::{
    config,
    lists::{self, Most},
    operator::{Who, confirm, known_tenant},
    process::say,
    words,
};

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
        /// What it is for, in letters, digits, blanks and `_-.:`; stands in the trail of what an operator does with it
        name: String,
        /// Of which tenant; without it, of the whole house
        #[arg(long)]
        tenant: Option<String>,
        /// What it may do, comma-separated
        #[arg(long, value_delimiter = ',', required = true, value_parser = words::scopes())]
        scopes: Vec<Scope>,
        /// After so many days it opens nothing, 3650 at the most; without end if not given
        #[arg(long, value_parser = clap::value_parser!(i32).range(1..))]
        days: Option<i32>,
        /// Requests a minute in each process of the intake: two processes let twice as many in. The usual number if not given
        #[arg(long, value_parser = clap::value_parser!(i32).range(1..))]
        per_minute: Option<i32>,
        #[command(flatten)]
        who: Who,
        /// One JSON document
        #[arg(long)]
        json: bool,
    },
    /// List all tokens, without their secrets, the oldest first
    List {
        /// What stands behind this place: where the page before ended
        #[arg(long)]
        after: Option<Place>,
        #[command(flatten)]
        most: Most,
        /// One JSON document
        #[arg(long)]
        json: bool,
    },
    /// Make a new token like this one and print it, once; the old one opens for some hours more
    Rotate {
        /// Its id: token_…
        id: Id<safelight_jobs::id::Token>,
        /// For how many hours the old one still opens; 0: not any more
        #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(i32).range(0..=8760))]
        keep_hours: i32,
        /// Say yes beforehand, with --keep-hours 0: the old one opens nothing any more
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        who: Who,
        /// One JSON document
        #[arg(long)]
        json: bool,
    },
    /// From now on the token opens nothing
    Revoke {
        /// Its id: token_…
        id: Id<safelight_jobs::id::Token>,
        /// Say yes beforehand: whoever holds it is turned away from now on
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        who: Who,
        /// One JSON document
        #[arg(long)]
        json: bool,
    },
}

/// No token that holds has this id.
fn none(id: Id<safelight_jobs::id::Token>) -> OperateError {
    OperateError::NotFound(format!("token {id} that holds; `safelight token list` shows all"))
}

impl Token {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let pool = db::connect(self.database.address(), Role::Owner, 2).await?;
        match self.what {
            What::Create { name, tenant, scopes, days, per_minute, who, json } => {
                if let Some(tenant) = &tenant {
                    known_tenant(&pool, tenant).await?;
                }
                let terms = Terms { days, per_minute };
                let mut tx = db::begin(&pool).await?;
                let token = tokens::create_within(&mut tx, tenant.as_deref(), &name, &scopes, terms).await?;
                keep_made(&mut tx, &token, who.by(&format!("a token for {name}"))?).await?;
                tx.commit().await?;
                made(&token, json);
            }
            What::List { after, most, json: as_json } => {
                let (known, next) = most.page(tokens::list_after(&pool, after, most.and_one()).await?, Known::place);
                if as_json {
                    let next = lists::document(next);
                    say(json!({ "tokens": known.iter().map(document).collect::<Vec<_>>(), "next": next }));
                } else {
                    known.iter().for_each(line);
                    lists::go_on(next, "newer ones: --after");
                }
            }
            What::Rotate { id, keep_hours, yes, who, json } => {
                let by = who.by(if keep_hours == 0 { "" } else { "it is replaced" })?;
                if keep_hours == 0 {
                    confirm(yes, &format!("Let {id} open nothing from now on?"))?;
                }
                let mut tx = db::begin(&pool).await?;
                let token = tokens::rotate_within(&mut tx, id, keep_hours).await?.ok_or_else(|| none(id))?;
                queue::keep_act(&mut tx, "token.rotate", "rotated", &id.to_string(), by).await?;
                keep_made(&mut tx, &token, by).await?;
                tx.commit().await?;
                made(&token, json);
            }
            What::Revoke { id, yes, who, json } => {
                let by = who.by("")?;
                confirm(yes, &format!("Let {id} open nothing from now on?"))?;
                let mut tx = db::begin(&pool).await?;
                if !tokens::revoke_within(&mut tx, id).await? {
                    return Err(none(id).into());
                }
                queue::keep_act(&mut tx, "token.revoke", "revoked", &id.to_string(), by).await?;
                tx.commit().await?;
                if json {
                    say(json!({ "token": id, "state": "revoked" }));
                } else {
                    say(format_args!("{id} is revoked"));
                }
            }
        }
        Ok(())
    }
}

async fn keep_made(tx: &mut sqlx::PgConnection, token: &Secret, by: queue::By<'_>) -> anyhow::Result<()> {
    let id = tokens::id_of(token).context("a token that was just made has an id")?;
    Ok(queue::keep_act(tx, "token.create", "created", &id.to_string(), by).await?)
}

/// Printed once: nobody can read it again.
fn made(token: &Secret, as_json: bool) {
    if as_json {
        say(json!({ "token": tokens::id_of(token), "secret": token.expose() }));
    } else {
        say(token.expose());
    }
}

fn state(token: &Known) -> &'static str {
    match (token.revoked_at, token.holds) {
        (Some(_), _) => "revoked",
        (None, true) => "valid",
        (None, false) => "expired",
    }
}

fn document(token: &Known) -> serde_json::Value {
    let scopes: Vec<_> = token.scopes.iter().map(|scope| scope.as_str()).collect();
    json!({ "token": token.id, "tenant": token.tenant, "name": token.name, "scopes": scopes, "state": state(token),
        "created_at": token.created_at, "expires_at": token.expires_at, "revoked_at": token.revoked_at, "per_minute": token.per_minute,
        "last_used_on": token.last_used_on })
}

fn line(token: &Known) {
    let scopes: Vec<_> = token.scopes.iter().map(|scope| scope.as_str()).collect();
    let tenant = token.tenant.as_deref().unwrap_or("(house)");
    let until = token.expires_at.map_or_else(String::new, |at| at.format("  until %F %T").to_string());
    let used = token.last_used_on.map_or_else(|| "never used".to_owned(), |day| format!("used {day}"));
    say(format_args!(
        "{}  {tenant:<14} {:<8} {:<30} {used:<15} {}{until}",
        token.id,
        state(token),
        scopes.join(","),
        token.name
    ));
}
