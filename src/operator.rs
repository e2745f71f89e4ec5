//! What the operators' commands share: who acts and why, a question before what cannot be taken back, exit codes, and the bell
//! after an act.

use std::io::{IsTerminal, Write};

use anyhow::bail;
use clap::Args;
use safelight_api::tokens::TokenError;
use safelight_jobs::{
    calls::resolve::NotResolved,
    intake::IntakeError,
    job::Queue,
    operate::{self, OperateError, Operator},
    queue::{self, By, EnqueueError, FleetError},
    vault::VaultError,
};
use sqlx::PgPool;

/// Who acts, as it is stored.
#[derive(Debug, Args)]
pub(crate) struct Why {
    /// In a few words, without anything about a person; stored and audited
    #[arg(long)]
    why: String,
    /// Who acts, stored as cli:NAME; the login's name if not given
    #[arg(long = "actor", env = "USER", default_value = "operator", value_parser = named)]
    actor: String,
    /// One JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

fn named(login: &str) -> Result<String, std::convert::Infallible> {
    Ok(format!("cli:{login}"))
}

impl Why {
    pub(crate) fn operator(&self) -> Operator<'_> {
        Operator { by: By { actor: &self.actor, why: &self.why }, tenant: None }
    }
}

/// Who acts, and why, of an act that has a reason of its own where none is said.
#[derive(Debug, Args)]
pub(crate) struct Who {
    /// Why, in a few words, without anything about a person; stored with who acts. What cannot be taken back asks for it
    #[arg(long)]
    why: Option<String>,
    /// Who acts, stored as cli:NAME; the login's name if not given
    #[arg(long = "actor", env = "USER", default_value = "operator", value_parser = named)]
    actor: String,
}

impl Who {
    /// As it is kept. `unsaid` is the reason where none was said; an empty one asks for it.
    ///
    /// # Errors
    /// No reason, or one that is none: exit code 2.
    pub(crate) fn by<'a>(&'a self, unsaid: &'a str) -> Result<By<'a>, OperateError> {
        said(&self.actor, self.why.as_deref().unwrap_or(unsaid))
    }
}

/// Who acts, of somebody who says who they are by the code that books and audit log keep: the same name as by `--actor`.
pub(crate) fn coded(by: &str) -> String {
    format!("cli:{by}")
}

/// Who and why, as an act is kept.
///
/// # Errors
/// No reason, or one that is none: exit code 2.
pub(crate) fn said<'a>(actor: &'a str, why: &'a str) -> Result<By<'a>, OperateError> {
    operate::said(Operator { by: By { actor, why }, tenant: None })
}

/// Who looks, and what for: needed where it is one person's case, which is kept with both.
#[derive(Debug, Args)]
pub(crate) struct WhatFor {
    /// What for, in a few words, without anything about a person; needed with --order and --subject, stored and audited
    #[arg(long)]
    why: Option<String>,
    /// Who looks, stored as cli:NAME; the login's name if not given
    #[arg(long = "actor", env = "USER", default_value = "operator", value_parser = named)]
    actor: String,
}

impl WhatFor {
    pub(crate) fn operator(&self) -> Operator<'_> {
        Operator { by: By { actor: &self.actor, why: self.why.as_deref().unwrap_or_default() }, tenant: None }
    }
}

/// There is no such tenant; these there are.
pub(crate) fn no_tenant<'a>(tenant: &str, known: impl IntoIterator<Item = &'a str>) -> OperateError {
    let known: Vec<&str> = known.into_iter().collect();
    let there = if known.is_empty() { "none; `safelight migrate` installs them".to_owned() } else { known.join(", ") };
    OperateError::NotFound(format!("tenant `{tenant}`; there are: {there}"))
}

/// A tenant whose policy is installed.
///
/// # Errors
/// There is no such tenant: exit code 5.
pub(crate) async fn known_tenant(pool: &PgPool, tenant: &str) -> anyhow::Result<()> {
    let known = sqlx::query_scalar!("select id from safelight.tenants order by id").fetch_all(pool).await?;
    let there = known.iter().any(|one| one == tenant);
    if there { Ok(()) } else { Err(no_tenant(tenant, known.iter().map(String::as_str)).into()) }
}

/// Ask before what cannot be taken back. Where nobody can answer, `--yes` must have been said.
///
/// # Errors
/// It was not confirmed: [`NotConfirmed`].
#[expect(clippy::print_stderr, reason = "a question to a person is no answer of the command")]
pub(crate) fn confirm(yes: bool, what: &str) -> anyhow::Result<()> {
    if yes {
        return Ok(());
    }
    if std::io::stdin().is_terminal() {
        eprint!("{what} Type yes: ");
        std::io::stderr().flush()?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        if answer.trim() == "yes" {
            return Ok(());
        }
    }
    bail!(NotConfirmed(what.to_owned()))
}

/// Nobody confirmed it.
#[derive(Debug)]
pub(crate) struct NotConfirmed(String);

impl std::fmt::Display for NotConfirmed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} Nothing was changed: it takes --yes", self.0)
    }
}

impl std::error::Error for NotConfirmed {}

/// The exit code of a refusal (docs/operations.md); none: a fault.
pub(crate) fn exit_code(error: &anyhow::Error) -> Option<u8> {
    if error.is::<NotConfirmed>() {
        return Some(7);
    }
    if let Some(error) = error.downcast_ref::<IntakeError>() {
        return intake(error);
    }
    if let Some(error) = error.downcast_ref::<NotResolved>() {
        return match error {
            NotResolved::NoSuchCall(_) => Some(5),
            NotResolved::Known { .. } | NotResolved::RequestTaken { .. } => Some(6),
            NotResolved::BadRequest | NotResolved::NotACode { .. } => Some(2),
            NotResolved::Enqueue(error) => enqueueing(error),
            NotResolved::Database(_) => None,
        };
    }
    if let Some(error) = error.downcast_ref::<TokenError>() {
        return match error {
            TokenError::Scope | TokenError::NoScope | TokenError::Name | TokenError::Days => Some(2),
            TokenError::NoTenant(_) => Some(5),
            TokenError::Replaced(_) => Some(6),
            TokenError::Database(_) => None,
        };
    }
    match error.downcast_ref::<OperateError>()? {
        OperateError::Reason
        | OperateError::TooWide
        | OperateError::Search(_)
        | OperateError::OfTheHouse
        | OperateError::Fleet(FleetError::Impossible(_)) => Some(2),
        OperateError::NotFound(_) | OperateError::Fleet(FleetError::Unknown { .. }) => Some(5),
        OperateError::Stands { .. } | OperateError::MustEnd(_) => Some(6),
        OperateError::Database(_) | OperateError::Fleet(FleetError::Database(_)) => None,
    }
}

fn intake(error: &IntakeError) -> Option<u8> {
    match error {
        IntakeError::NotFound { .. } | IntakeError::Vault(VaultError::NoKey(_)) => Some(5),
        IntakeError::Conflict { .. } | IntakeError::Refused(_) => Some(6),
        IntakeError::Invalid { .. } => Some(2),
        IntakeError::Enqueue(error) => enqueueing(error),
        IntakeError::Vault(_) | IntakeError::Storage(_) | IntakeError::Database(_) => None,
    }
}

fn enqueueing(error: &EnqueueError) -> Option<u8> {
    matches!(error, EnqueueError::Conflict { .. }).then_some(6)
}

/// Workers look at once instead of at their next poll. Best effort: a command ends before a bell of its own has rung.
pub(crate) async fn ring(pool: &PgPool) {
    for queue in Queue::ALL {
        let _ = sqlx::query("select pg_notify($1, $2)").bind(queue::CHANNEL).bind(queue.as_str()).execute(pool).await;
    }
}
