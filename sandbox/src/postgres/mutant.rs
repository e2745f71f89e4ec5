//! Takes one rule out of a migrated database, so that a test can be tried: it has to fail then (`tests/mutants.toml`).
//!
//! Never: does anything where `SAFELIGHT_MUTANT` names no file, or to a database whose functions do not hold what is taken out.

use std::path::PathBuf;

use anyhow::{Context, Result};
use sqlx::{AssertSqlSafe, PgPool};

/// `pg_temp.lacks(function, old, new)`: a function of that name, with every `old` of its text replaced.
const LACKS: &str = "
create function pg_temp.lacks(name text, old text, new text) returns void language plpgsql as $lacks$
declare
    found regprocedure;
    body text;
begin
    select p.oid::regprocedure into strict found from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
        where n.nspname || '.' || p.proname = name;
    body := pg_catalog.pg_get_functiondef(found);
    if position(old in body) = 0 then raise exception '% does not hold: %', name, old; end if;
    execute replace(body, old, new);
end $lacks$;";

/// Carries out the SQL of the file that `SAFELIGHT_MUTANT` names. `owner` is a pool of one connection.
///
/// # Errors
/// The file cannot be read, or what it takes out is not there.
pub async fn mutate(owner: &PgPool) -> Result<()> {
    let Some(file) = std::env::var_os("SAFELIGHT_MUTANT").map(PathBuf::from) else { return Ok(()) };
    let rule = std::fs::read_to_string(&file).with_context(|| format!("{} cannot be read", file.display()))?;
    let mut connection = owner.acquire().await?;
    for sql in [LACKS, &rule] {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
            .execute(&mut *connection)
            .await
            .context("the rule is not there")?;
    }
    // Who tries a test by a mutant wants to know that there was one.
    std::fs::write(file.with_extension("applied"), "").context("the mark of a mutant")?;
    Ok(())
}
