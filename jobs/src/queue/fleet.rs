//! Control of the whole fleet: pause, limits, rates and breakers as rows that every claim reads. What is said here counts
//! for all processes at once and outlasts them.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};

use crate::{audit::Entry, job::Queue};

/// What a control is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// A pool of workers.
    Queue,
    /// One kind of job.
    Kind,
    /// All work of one tenant.
    Tenant,
    /// All jobs that ask one provider.
    Provider,
}

impl Scope {
    /// The stored name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Kind => "kind",
            Self::Tenant => "tenant",
            Self::Provider => "provider",
        }
    }
    /// By its stored name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Queue, Self::Kind, Self::Tenant, Self::Provider].into_iter().find(|scope| scope.as_str() == name)
    }
}

/// What is to be changed; what is `None` stays.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Change {
    /// Nothing of it starts any more; what runs may end.
    pub paused: Option<bool>,
    /// How many run at once in the whole fleet; `Some(None)` lifts the limit.
    pub most: Option<Option<i32>>,
    /// Starts a second and the most in one go, for a provider; `Some(None)` lifts it.
    pub rate: Option<Option<(f64, i32)>>,
}

/// Who changes something, and why. Both are stored and audited; neither names a person whose data is processed.
#[derive(Debug, Clone, Copy)]
pub struct By<'a> {
    /// A token's name or `cli:<login>`.
    pub actor: &'a str,
    /// In a few words.
    pub why: &'a str,
}

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// 404. Nothing of that name.
    #[error("there is no {scope} `{name}`; known are: {known}", scope = scope.as_str())]
    Unknown {
        /// Of which sort.
        scope: Scope,
        /// As it was asked for.
        name: String,
        /// The names that there are.
        known: String,
    },
    /// 422. A rate for what is not a provider, or a number below its least.
    #[error("{0}")]
    Impossible(&'static str),
    /// The database did not take it.
    #[error("the change could not be stored")]
    Database(#[from] sqlx::Error),
}

/// Change a control, with its audit entry, in the caller's transaction. Ring the bells after the commit when something was
/// resumed or raised.
pub async fn change(
    tx: &mut PgConnection,
    scope: Scope,
    name: &str,
    change: Change,
    by: By<'_>,
) -> Result<(), FleetError> {
    if change.most.flatten().is_some_and(|most| most < 1) {
        return Err(FleetError::Impossible("a limit is at least 1; to let nothing run, pause it"));
    }
    if let Some(rate) = change.rate {
        if scope != Scope::Provider {
            return Err(FleetError::Impossible("only providers have a rate; limit how many run at once instead"));
        }
        if rate.is_some_and(|(per_second, burst)| per_second.is_nan() || per_second <= 0.0 || burst < 1) {
            return Err(FleetError::Impossible("a rate is above 0 a second and its burst at least 1"));
        }
    }
    known(tx, scope, name).await?;
    let (set_most, most) = (change.most.is_some(), change.most.flatten());
    let (set_rate, rate) = (change.rate.is_some(), change.rate.flatten());
    sqlx::query!(
        r#"insert into safelight.controls as c (scope, name, paused, most, per_second, burst, tokens, why, actor)
        values ($1, $2, coalesce($3, false), $5, $7, $8, coalesce($8, 0), $9, $10)
        on conflict (scope, name) do update set
            paused = coalesce($3, c.paused),
            most = case when $4 then $5 else c.most end,
            per_second = case when $6 then $7 else c.per_second end,
            burst = case when $6 then $8 else c.burst end,
            tokens = case when $6 then coalesce($8, 0) else c.tokens end,
            tokens_at = case when $6 then safelight.now() else c.tokens_at end,
            why = $9, actor = $10, changed_at = safelight.now()"#,
        scope.as_str(),
        name,
        change.paused,
        set_most,
        most,
        set_rate,
        rate.map(|(per_second, _)| per_second),
        rate.map(|(_, burst)| burst),
        by.why,
        by.actor,
    )
    .execute(&mut *tx)
    .await?;
    let outcome = match change {
        Change { paused: Some(true), .. } => "paused",
        Change { paused: Some(false), .. } => "resumed",
        _ => "limited",
    };
    let entry = Entry::new("operator", "fleet.control", outcome).code(scope.as_str(), name);
    note_act(tx, "fleet.control", outcome, &format!("{} {name}", scope.as_str()), by, entry).await?;
    Ok(())
}

/// Write down what an operator did: who and why beside the audit log, which holds neither names nor free text, and the act
/// itself in it, as `entry`.
pub async fn note_act(
    tx: &mut PgConnection,
    action: &'static str,
    outcome: &'static str,
    about: &str,
    by: By<'_>,
    entry: Entry,
) -> Result<(), sqlx::Error> {
    keep_act(tx, action, outcome, about, by).await?;
    entry.write(tx).await
}

/// Write down who does what to what and why, beside an entry that the act writes itself.
pub async fn keep_act(
    tx: &mut PgConnection,
    action: &'static str,
    outcome: &'static str,
    about: &str,
    by: By<'_>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into safelight.operator_acts (action, outcome, about, actor, why) values ($1, $2, $3, $4, $5)",
        action,
        outcome,
        about,
        by.actor,
        by.why
    )
    .execute(&mut *tx)
    .await?;
    Ok(())
}

/// The names that a control may be about. A typing error is answered, not stored: it would pause nothing and look as if.
async fn known(tx: &mut PgConnection, scope: Scope, name: &str) -> Result<(), FleetError> {
    let mut names: Vec<String> = match scope {
        Scope::Queue => Queue::ALL.iter().map(|queue| queue.as_str().to_owned()).collect(),
        Scope::Kind => sqlx::query_scalar!("select kind from safelight.job_kinds").fetch_all(tx).await?,
        Scope::Tenant => sqlx::query_scalar!("select id from safelight.tenants").fetch_all(tx).await?,
        Scope::Provider => {
            sqlx::query_scalar!(
                r#"select distinct provider as "provider!" from safelight.job_kinds where provider is not null"#
            )
            .fetch_all(tx)
            .await?
        }
    };
    names.sort();
    if names.iter().any(|known| known == name) {
        return Ok(());
    }
    Err(FleetError::Unknown { scope, name: name.to_owned(), known: names.join(", ") })
}

/// A control as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Control {
    /// Of which sort.
    pub scope: String,
    /// Which one.
    pub name: String,
    /// Does nothing of it start?
    pub paused: bool,
    /// How many run at once at the most.
    pub most: Option<i32>,
    /// Starts a second at the most.
    pub per_second: Option<f64>,
    /// Starts in one go at the most.
    pub burst: Option<i32>,
    /// Why somebody paused it, while it is paused; else why it was changed last.
    pub why: Option<String>,
    /// Who did.
    pub actor: String,
    /// When.
    pub changed_at: DateTime<Utc>,
}

/// All controls that say something.
pub async fn controls(pool: &PgPool) -> Result<Vec<Control>, sqlx::Error> {
    sqlx::query_as!(
        Control,
        r#"select scope, name, paused, most, per_second, burst, case when paused then paused_why else why end as why,
            case when paused then coalesce(paused_by, actor) else actor end as "actor!",
            case when paused then coalesce(paused_at, changed_at) else changed_at end as "changed_at!" from safelight.controls
        where paused or most is not null or per_second is not null order by scope, name"#
    )
    .fetch_all(pool)
    .await
}

/// A provider's breaker as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breaker {
    /// Whose.
    pub provider: String,
    /// `closed`, `open` or `probing`.
    pub state: String,
    /// Failures since the last success.
    pub failures: i32,
    /// Since when it is open.
    pub opened_at: Option<DateTime<Utc>>,
    /// When one job may look.
    pub probe_at: Option<DateTime<Utc>>,
}

/// All breakers that ever counted a failure.
pub async fn breakers(pool: &PgPool) -> Result<Vec<Breaker>, sqlx::Error> {
    sqlx::query_as!(
        Breaker,
        "select provider, state, failures, opened_at, probe_at from safelight.breakers order by provider"
    )
    .fetch_all(pool)
    .await
}

/// Close a breaker by hand: somebody knows that the provider is well. Answers whether it was open.
pub async fn close_breaker(tx: &mut PgConnection, provider: &str, by: By<'_>) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        r#"update safelight.breakers set state = 'closed', failures = 0, opens = 0, opened_at = null, probe_at = null
        where provider = $1 and state <> 'closed'"#,
        provider
    )
    .execute(&mut *tx)
    .await?;
    if done.rows_affected() == 1 {
        let entry = Entry::new("operator", "fleet.breaker", "closed").code("provider", provider);
        note_act(tx, "fleet.breaker", "closed", provider, by, entry).await?;
    }
    Ok(done.rows_affected() == 1)
}

/// Why a job does not run, or what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// `ready`, `running`, `held`, `scheduled`, `set_aside`, `done`, `cancelled` or `dead`.
    pub state: String,
    /// Stable code.
    pub code: String,
    /// One sentence without personal data.
    pub detail: String,
}

impl Explanation {
    /// As this tenant is told it, or the house (`None`): who of the house paused something, and why, is the house's matter.
    #[must_use]
    pub fn told(code: &str, detail: String, tenant: Option<&str>) -> String {
        match detail.split_once(" by ") {
            Some((paused, _)) if tenant.is_some() && code.ends_with("_paused") => paused.to_owned(),
            _ => detail,
        }
    }
}

/// The one query that answers it for every state, for a tenant or the house. `None`: there is no such job.
///
/// # Errors
/// Those of the database.
pub async fn explain(
    pool: &PgPool,
    job: crate::id::Id<crate::id::Job>,
    tenant: Option<&str>,
) -> Result<Option<Explanation>, sqlx::Error> {
    let known = sqlx::query_as!(
        Explanation,
        r#"select state as "state!", code as "code!", detail as "detail!" from safelight.explain_job($1)"#,
        job.uuid()
    )
    .fetch_optional(pool)
    .await?;
    Ok(known.map(|known| Explanation { detail: Explanation::told(&known.code, known.detail, tenant), ..known }))
}
