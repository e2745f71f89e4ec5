//! Run a command against a private Postgres with the migrations of a folder, then take it away.
//!
//! `cargo run -p safelight-sandbox --example with_database -- MIGRATIONS COMMAND [ARGUMENT ...]`
//!
//! The command finds the address in `DATABASE_URL`; its exit code is passed on. An example and not a command of `safelight`,
//! because it is there to describe queries that do not compile yet.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use safelight_sandbox::postgres::{Options, Postgres};
use sqlx::migrate::Migrator;
use sqlx::{Connection, PgConnection};
use tokio::process::Command;

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(migrations), Some(program)) = (arguments.next(), arguments.next()) else {
        anyhow::bail!("expected a folder of migrations and a command");
    };
    let postgres = Postgres::start(Options { fast: true, ..Options::default() }).await?;
    let url = postgres.create_database("safelight").await?;
    let mut connection = PgConnection::connect(&url).await?;
    Migrator::new(Path::new(&migrations)).await?.run(&mut connection).await.context("the migrations do not apply")?;
    connection.close().await?;
    let status = Command::new(&program).args(arguments).env("DATABASE_URL", &url).status().await;
    let status = status.with_context(|| format!("{} cannot be run", program.display()))?;
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}
