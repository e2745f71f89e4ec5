//! Tokens of the intake: `slt_<id>_<secret>`, printed once, stored as a hash. For the command line; the intake itself
//! only looks tokens up and revokes them, and its database role cannot make any.

use std::{fmt, str::FromStr};

use chrono::{DateTime, NaiveDate, Utc};
use rand::RngCore;
use safelight_jobs::{
    audit::Entry,
    db,
    id::{Id, Token},
    place::{self, Place},
    providers::Secret,
};
use sha2::{Digest, Sha256};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

/// What a token may do. The stored name is a contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Register people, consents, uploads, orders and wishes; ask for erasure.
    Enqueue,
    /// Read states.
    Read,
    /// The console. Reads too.
    Operate,
    /// Start sweeps.
    Sweep,
    /// Read the evidence.
    Audit,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Enqueue, Self::Read, Self::Operate, Self::Sweep, Self::Audit];

    /// The stored name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enqueue => "enqueue",
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Sweep => "sweep",
            Self::Audit => "audit",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = TokenError;
    fn from_str(word: &str) -> Result<Self, TokenError> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == word).ok_or(TokenError::Scope)
    }
}

/// For how many days a token may be made at the most; one without an end is made without a number.
pub const MOST_DAYS: i32 = 3650;
/// The longest name of a token, in bytes.
pub const LONGEST_NAME: usize = 128;

/// A token could not be made, listed or revoked.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// No such scope.
    #[error("no such scope; there are: enqueue, read, operate, sweep, audit")]
    Scope,
    /// A token without a scope can do nothing.
    #[error("name at least one scope: enqueue, read, operate, sweep, audit")]
    NoScope,
    /// A name that could break a line of the trail, or name somebody's mail.
    #[error(
        "a token's name is 1 to {LONGEST_NAME} letters, digits, blanks and `_-.:`: it stands in the trail of what is done with it"
    )]
    Name,
    /// No number of days, or too many.
    #[error("a token is made for 1 to {MOST_DAYS} days, or without an end if no number is given")]
    Days,
    /// The tenant's policy is not installed.
    #[error("there is no tenant `{0}`; `safelight migrate` installs the tenants' policies")]
    NoTenant(String),
    /// It is in its last hours already, and the one that took its place is the one to replace.
    #[error("it was replaced already, and ends soon: replace {0}, which took its place")]
    Replaced(Id<Token>),
    /// The database did not take it.
    #[error("the token could not be stored or read")]
    Database(#[from] sqlx::Error),
}

/// A token as a list shows it.
#[derive(Debug, Clone)]
pub struct Known {
    /// Its id, as it stands in the token itself.
    pub id: Id<Token>,
    /// Of which tenant; none: of the whole house.
    pub tenant: Option<String>,
    /// What it was called.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// Since when.
    pub created_at: DateTime<Utc>,
    /// Until when.
    pub expires_at: Option<DateTime<Utc>>,
    /// Since when not any more.
    pub revoked_at: Option<DateTime<Utc>>,
    /// Requests a minute in one process, if it has a number of its own.
    pub per_minute: Option<i32>,
    /// The day (UTC) on which it was used last; none: never.
    pub last_used_on: Option<NaiveDate>,
    /// Does it open anything now?
    pub holds: bool,
}

impl Known {
    /// Where it stands among the others.
    pub fn place(&self) -> Place {
        Place::of(self.created_at, self.id.uuid())
    }
}

/// Make a token and answer its text: the only time that anybody sees it. `pool` acts as the owner. A token of no tenant
/// is one of the whole house.
pub async fn create(pool: &PgPool, tenant: Option<&str>, name: &str, scopes: &[Scope]) -> Result<Secret, TokenError> {
    create_with(pool, tenant, name, scopes, Terms::default()).await
}

/// What limits a token, beside its scopes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Terms {
    /// After so many days it opens nothing; without end if none.
    pub days: Option<i32>,
    /// Requests a minute in one process of the intake; the usual number if none.
    pub per_minute: Option<i32>,
}

/// The same, with an end or a rate of its own.
pub async fn create_with(
    pool: &PgPool,
    tenant: Option<&str>,
    name: &str,
    scopes: &[Scope],
    terms: Terms,
) -> Result<Secret, TokenError> {
    let mut write = db::begin(pool).await?;
    let made = create_within(&mut write, tenant, name, scopes, terms).await?;
    write.commit().await?;
    Ok(made)
}

/// The same in the caller's transaction.
pub async fn create_within(
    write: &mut PgConnection,
    tenant: Option<&str>,
    name: &str,
    scopes: &[Scope],
    terms: Terms,
) -> Result<Secret, TokenError> {
    if scopes.is_empty() {
        return Err(TokenError::NoScope);
    }
    if !is_name(name) {
        return Err(TokenError::Name);
    }
    if terms.days.is_some_and(|days| !(1..=MOST_DAYS).contains(&days)) {
        return Err(TokenError::Days);
    }
    let (id, secret) = fresh();
    let words: Vec<String> = scopes.iter().map(ToString::to_string).collect();
    let stored = sqlx::query!(
        r#"insert into safelight.tokens (id, tenant, name, secret_sha256, scopes, expires_at, per_minute)
        values ($1, $2, $3, $4, $5, safelight.now() + make_interval(days => $6), $7)"#,
        id.uuid(),
        tenant,
        name,
        &sha256(&secret)[..],
        &words,
        terms.days,
        terms.per_minute
    )
    .execute(&mut *write)
    .await;
    match stored {
        Ok(_) => {
            note(write, "token.create", "created", id).await?;
            Ok(shown(id, &secret))
        }
        Err(error) if error.as_database_error().and_then(|e| e.code()).as_deref() == Some("23503") => {
            Err(TokenError::NoTenant(tenant.unwrap_or_default().to_owned()))
        }
        Err(error) => Err(error.into()),
    }
}

/// Who acts with the token is called so in entries, on pages and in logs.
fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b' ' | b'_' | b'-' | b'.' | b':');
    (1..=LONGEST_NAME).contains(&name.len()) && !name.trim().is_empty() && name.bytes().all(fits)
}

fn fresh() -> (Id<Token>, String) {
    let mut bytes = [0; 32];
    rand::rngs::OsRng.fill_bytes(&mut bytes);
    (Id::new(), hex::encode(bytes))
}

fn shown(id: Id<Token>, secret: &str) -> Secret {
    Secret::new(format!("slt_{}_{secret}", id.uuid().simple()))
}

async fn note(
    tx: &mut PgConnection,
    action: &'static str,
    outcome: &'static str,
    id: Id<Token>,
) -> Result<(), sqlx::Error> {
    Entry::new("operator", action, outcome).code("token", id.to_string()).write(tx).await
}

/// Make a new token with the name, tenant, scopes, rate, end and idempotency keys of this one, and answer its text. The old one opens for `hours`
/// more, so that whoever holds it can be given the new one without an outage; zero: not any more. None: it does not hold.
///
/// # Errors
/// One that was replaced before, and whose successor holds: a second one would end with it, unseen.
pub async fn rotate(pool: &PgPool, old: Id<Token>, hours: i32) -> Result<Option<Secret>, TokenError> {
    let mut write = db::begin(pool).await?;
    let made = rotate_within(&mut write, old, hours).await?;
    write.commit().await?;
    Ok(made)
}

/// The same in the caller's transaction.
pub async fn rotate_within(write: &mut PgConnection, old: Id<Token>, hours: i32) -> Result<Option<Secret>, TokenError> {
    // Two who replace one at once are one after the other: the second sees what the first has made.
    sqlx::query!("select id from safelight.tokens where id = $1 for update", old.uuid())
        .fetch_optional(&mut *write)
        .await?;
    let newer = sqlx::query_scalar!(
        r#"select n.id from safelight.tokens n, safelight.tokens o where o.id = $1 and o.revoked_at is null and (o.expires_at is null or o.expires_at > safelight.now())
            and n.line = coalesce(o.line, o.id) and n.id > o.id
            and n.revoked_at is null and (n.expires_at is null or n.expires_at > safelight.now()) order by n.id desc limit 1"#,
        old.uuid()
    )
    .fetch_optional(&mut *write)
    .await?;
    if let Some(newer) = newer {
        return Err(TokenError::Replaced(newer.into()));
    }
    let (id, secret) = fresh();
    let made = sqlx::query!(
        r#"insert into safelight.tokens (id, tenant, name, secret_sha256, scopes, per_minute, expires_at, line)
        select $1, tenant, name, $2, scopes, per_minute, expires_at, coalesce(line, id) from safelight.tokens
        where id = $3 and revoked_at is null and (expires_at is null or expires_at > safelight.now())"#,
        id.uuid(),
        &sha256(&secret)[..],
        old.uuid()
    )
    .execute(&mut *write)
    .await?;
    if made.rows_affected() == 0 {
        return Ok(None);
    }
    sqlx::query!(
        r#"update safelight.tokens set expires_at = least(expires_at, safelight.now() + make_interval(hours => $2)) where id = $1"#,
        old.uuid(),
        hours.max(0)
    )
    .execute(&mut *write)
    .await?;
    note(write, "token.rotate", "rotated", old).await?;
    note(write, "token.create", "created", id).await?;
    Ok(Some(shown(id, &secret)))
}

/// All tokens, oldest first, those that are over included.
pub async fn list(pool: &PgPool) -> Result<Vec<Known>, TokenError> {
    list_after(pool, None, i64::MAX).await
}

/// At most so many of them, those behind a place of [`Known::place`].
pub async fn list_after(pool: &PgPool, after: Option<Place>, most: i64) -> Result<Vec<Known>, TokenError> {
    let (at, id) = place::halves(after);
    let rows = sqlx::query!(
        r#"select id, tenant, name, scopes, created_at, expires_at, revoked_at, per_minute, last_used_on,
            revoked_at is null and coalesce(expires_at > safelight.now(), true) as "holds!" from safelight.tokens
        where $1::timestamptz is null or (created_at, id) > ($1, $2::uuid) order by created_at, id limit $3"#,
        at,
        id,
        most
    )
    .fetch_all(pool)
    .await?;
    let known = rows.into_iter().map(|row| Known {
        id: row.id.into(),
        tenant: row.tenant,
        name: row.name,
        scopes: named(&row.scopes),
        created_at: row.created_at,
        expires_at: row.expires_at,
        revoked_at: row.revoked_at,
        per_minute: row.per_minute,
        last_used_on: row.last_used_on,
        holds: row.holds,
    });
    Ok(known.collect())
}

/// From now on the token opens nothing. Answers whether it was valid until now.
pub async fn revoke(pool: &PgPool, id: Id<Token>) -> Result<bool, TokenError> {
    let mut write = db::begin(pool).await?;
    let revoked = revoke_within(&mut write, id).await?;
    write.commit().await?;
    Ok(revoked)
}

/// The same in the caller's transaction.
pub async fn revoke_within(write: &mut PgConnection, id: Id<Token>) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "update safelight.tokens set revoked_at = safelight.now() where id = $1 and revoked_at is null",
        id.uuid()
    )
    .execute(&mut *write)
    .await?;
    let revoked = done.rows_affected() == 1;
    if revoked {
        note(write, "token.revoke", "revoked", id).await?;
    }
    Ok(revoked)
}

/// For how long a request waits for the day of its token's last use to be noted.
const NOTED_WITHIN: std::time::Duration = std::time::Duration::from_secs(1);

/// Note that it was used today: once a day, by one request of those that come at once. No request fails for it, and none waits long: a
/// database that takes no writes still answers reads.
pub(crate) async fn used(pool: &PgPool, id: Id<Token>) {
    let noted = async {
        let mut write = db::write(pool).await?;
        sqlx::query!(
            r#"update safelight.tokens set last_used_on = safelight.today() where id = (select id from safelight.tokens
                where id = $1 and last_used_on is distinct from safelight.today() for no key update skip locked)"#,
            id.uuid()
        )
        .execute(&mut *write)
        .await?;
        write.commit().await
    };
    match tokio::time::timeout(NOTED_WITHIN, noted).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(token.id = %id, %error, "the day of its last use could not be noted"),
        Err(_) => tracing::warn!(token.id = %id, "the day of its last use could not be noted in time"),
    }
}

pub(crate) fn named(words: &[String]) -> Vec<Scope> {
    words.iter().filter_map(|word| word.parse().ok()).collect()
}

pub(crate) fn sha256(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// The id of a token, which is no secret: what a token that was just made is revoked and replaced by.
pub fn id_of(token: &Secret) -> Option<Id<Token>> {
    parts(token.expose()).map(|(id, _)| id)
}

/// The parts of a presented token; none for another shape.
pub(crate) fn parts(text: &str) -> Option<(Id<Token>, &str)> {
    let (id, secret) = text.strip_prefix("slt_")?.split_once('_')?;
    let fits = id.len() == 32 && secret.len() == 64;
    fits.then(|| Uuid::try_parse(id).ok()).flatten().map(|id| (id.into(), secret))
}
