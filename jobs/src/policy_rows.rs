//! Policies as rows, for gates and clocks to read. A version never changes: the same version with other content is refused,
//! and so is a service that would start with it.
//!
//! Life of a version: installed by `safelight migrate` -> announced, once its notice is on display or was mailed to everybody ->
//! in force, on its date or when that was long enough ago, whichever is later (K48). The first version of a tenant has nobody
//! to tell.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};

use crate::{
    audit::Entry,
    id::{self, Id},
    policy::{Basis, DataClass, Finding, Policy, Processor, Purpose},
    queue::{self, By, EnqueueError},
    tell_policies::TellPolicies,
};

/// A policy cannot be installed or used.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// Its text or its rules changed, and its version did not.
    #[error("policy {version} of {tenant} is installed with other content; give the changed policy a new version")]
    Changed {
        /// The tenant.
        tenant: String,
        /// The version.
        version: String,
    },
    /// It says too little: a processor without safeguards, a class without an end. What is not installed lets nothing pass.
    #[error("policy {version} of {tenant} cannot be used: {}", .findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Unfit {
        /// The tenant.
        tenant: String,
        /// The version.
        version: String,
        /// Everything that is missing.
        findings: Vec<Finding>,
    },
    /// The database does not know it yet.
    #[error("policy {version} of {tenant} is not installed; run safelight migrate")]
    NotInstalled {
        /// The tenant.
        tenant: String,
        /// The version.
        version: String,
    },
    /// No version of the tenant counts yet.
    #[error("no policy of {tenant} is in force; its first version counts from its effective_at")]
    NoneInForce {
        /// The tenant.
        tenant: String,
    },
    /// What is stored cannot be read by this version of the program.
    #[error("the stored policy {version} of {tenant} cannot be read: {why}")]
    Unreadable {
        /// The tenant.
        tenant: String,
        /// The version.
        version: String,
        /// What does not fit.
        why: String,
    },
    /// Nobody is mailed for this tenant.
    #[error("the policy of {tenant} names no mail processor; announce the change in the product")]
    NoMail {
        /// The tenant.
        tenant: String,
    },
    /// The database did not answer as it should.
    #[error("policies of {tenant} could not be stored or read")]
    Database {
        /// The tenant.
        tenant: String,
        /// Why.
        source: sqlx::Error,
    },
}

/// Install one policy; a policy that is installed already stays as it is.
///
/// # Errors
/// [`InstallError::Unfit`], [`InstallError::Changed`] and those of the database.
pub async fn install(pool: &PgPool, policy: &Policy) -> Result<(), InstallError> {
    policy.check().map_err(|findings| InstallError::Unfit {
        tenant: policy.tenant().to_owned(),
        version: policy.version().to_owned(),
        findings,
    })?;
    let known = write(pool, policy).await.map_err(at(policy.tenant()))?;
    if known { Ok(()) } else { Err(changed(policy)) }
}

fn at(tenant: &str) -> impl FnOnce(sqlx::Error) -> InstallError {
    move |source| InstallError::Database { tenant: tenant.to_owned(), source }
}

fn changed(policy: &Policy) -> InstallError {
    InstallError::Changed { tenant: policy.tenant().to_owned(), version: policy.version().to_owned() }
}

/// The policies that a service works with: for each tenant the version in force. Those that it was started with must be
/// installed as they are, so that a text that changed under an old version stops the start.
///
/// # Errors
/// Every [`InstallError`]; the first one that is found.
pub async fn in_force(pool: &PgPool, started_with: &[Policy]) -> Result<Vec<Policy>, InstallError> {
    let mut all = Vec::with_capacity(started_with.len());
    for policy in started_with {
        let (tenant, version) = (policy.tenant(), policy.version());
        let mut connection = pool.acquire().await.map_err(at(tenant))?;
        let installed = sqlx::query_scalar!(
            "select document_sha256 from safelight.policy_versions where tenant = $1 and version = $2",
            tenant,
            version
        )
        .fetch_optional(&mut *connection)
        .await
        .map_err(at(tenant))?
        .ok_or_else(|| InstallError::NotInstalled { tenant: tenant.to_owned(), version: version.to_owned() })?;
        if policy.sha256().ok().as_ref() != Some(&installed) {
            return Err(changed(policy));
        }
        all.push(counting(&mut connection, policy).await?);
    }
    Ok(all)
}

async fn counting(connection: &mut PgConnection, policy: &Policy) -> Result<Policy, InstallError> {
    let tenant = policy.tenant();
    let counts = sqlx::query!(
        "select version, document from safelight.policy_versions where tenant = $1 and version = safelight.policy_in_force($1)",
        tenant
    )
    .fetch_optional(connection)
    .await
    .map_err(at(tenant))?
    .ok_or_else(|| InstallError::NoneInForce { tenant: tenant.to_owned() })?;
    if counts.version == policy.version() {
        return Ok(policy.clone());
    }
    Policy::from_json(counts.document).map_err(|error| InstallError::Unreadable {
        tenant: tenant.to_owned(),
        version: counts.version,
        why: error.to_string(),
    })
}

/// The notice of a version is on display from now on. Answers from when on the version counts. `by`: who says so and why, kept
/// with the first word about it; a later one moves nothing.
///
/// # Errors
/// [`InstallError::NotInstalled`] and those of the database.
pub async fn announce(pool: &PgPool, tenant: &str, version: &str, by: By<'_>) -> Result<DateTime<Utc>, InstallError> {
    let mut tx = crate::db::begin(pool).await.map_err(at(tenant))?;
    let known = sqlx::query_scalar!(
        r#"select in_force_from is not null as "it!" from safelight.policy_versions where tenant = $1 and version = $2 for update"#,
        tenant,
        version
    )
    .fetch_optional(&mut *tx)
    .await
    .map_err(at(tenant))?;
    let from = sqlx::query_scalar!("select safelight.announce_policy($1, $2)", tenant, version)
        .fetch_one(&mut *tx)
        .await
        .map_err(at(tenant))?
        .ok_or_else(|| InstallError::NotInstalled { tenant: tenant.to_owned(), version: version.to_owned() })?;
    Entry::new("operator", "policy.announced", "on_display").tenant(tenant).write(&mut tx).await.map_err(at(tenant))?;
    if known == Some(false) {
        let about = format!("policy {tenant} {version}");
        queue::keep_act(&mut tx, "policy.announced", "on_display", &about, by).await.map_err(at(tenant))?;
    }
    tx.commit().await.map_err(at(tenant))?;
    Ok(from)
}

/// Tell a version to each person by mail from now on. It counts when no living person's mail is missing and that was as long
/// ago as a notice is on display; answers how many there are to tell. `by`: as of [`announce`].
///
/// # Errors
/// [`InstallError::NotInstalled`], [`InstallError::NoMail`] and those of the database.
pub async fn announce_by_mail(pool: &PgPool, tenant: &str, version: &str, by: By<'_>) -> Result<i64, InstallError> {
    let mut tx = crate::db::begin(pool).await.map_err(at(tenant))?;
    let mails = sqlx::query_scalar!(
        r#"select exists (select from safelight.policy_rules where tenant = $1 and version = safelight.policy_in_force($1)
            and purpose = $2 and processor = $3 and class = $4) as "mails!""#,
        tenant,
        Purpose::Notify.as_str(),
        Processor::Resend.as_str(),
        DataClass::Account.as_str()
    )
    .fetch_one(&mut *tx)
    .await
    .map_err(at(tenant))?;
    if !mails {
        return Err(InstallError::NoMail { tenant: tenant.to_owned() });
    }
    let known = sqlx::query_scalar!(
        r#"select mailed_from is not null as "it!" from safelight.policy_versions where tenant = $1 and version = $2 for update"#,
        tenant,
        version
    )
    .fetch_optional(&mut *tx)
    .await
    .map_err(at(tenant))?;
    sqlx::query_scalar!("select safelight.mail_policy($1, $2)", tenant, version)
        .fetch_one(&mut *tx)
        .await
        .map_err(at(tenant))?
        .ok_or_else(|| InstallError::NotInstalled { tenant: tenant.to_owned(), version: version.to_owned() })?;
    let untold = sqlx::query_scalar!(
        r#"select count(*) as "n!" from safelight.policy_untold where tenant = $1 and version = $2"#,
        tenant,
        version
    )
    .fetch_one(&mut *tx)
    .await
    .map_err(at(tenant))?;
    let job = TellPolicies { because: format!("announced:{}", Id::<id::Sweep>::new()) };
    queue::enqueue(&mut tx, &job).await.map_err(|error| match error {
        EnqueueError::Database(source) => at(tenant)(source),
        other => at(tenant)(sqlx::Error::Encode(Box::new(other))),
    })?;
    Entry::new("operator", "policy.announced", "by_mail").tenant(tenant).write(&mut tx).await.map_err(at(tenant))?;
    if known == Some(false) {
        let about = format!("policy {tenant} {version}");
        queue::keep_act(&mut tx, "policy.announced", "by_mail", &about, by).await.map_err(at(tenant))?;
    }
    tx.commit().await.map_err(at(tenant))?;
    Ok(untold)
}

/// How many living persons a mail about this version has not reached: whom [`announce_by_mail`] would have mailed.
///
/// # Errors
/// Those of the database.
pub async fn to_mail(pool: &PgPool, tenant: &str, version: &str) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select count(*) as "n!" from safelight.subjects s where s.tenant = $1 and s.state in ('active', 'restricted')
            and not exists (select from safelight.notices n
                where n.subject_id = s.id and n.policy_version = $2 and n.delivered_at is not null)"#,
        tenant,
        version
    )
    .fetch_one(pool)
    .await
}

/// Where one installed version stands.
#[derive(Debug, Clone)]
pub struct Standing {
    /// Whose.
    pub tenant: String,
    /// Which.
    pub version: String,
    /// From when on its notice was on display.
    pub announced_at: Option<DateTime<Utc>>,
    /// From when on it counts; none before it is announced.
    pub in_force_from: Option<DateTime<Utc>>,
    /// Is it the one that counts now?
    pub in_force: bool,
    /// From when on it is told by mail.
    pub mailed_from: Option<DateTime<Utc>>,
    /// Persons whom no mail about it has reached; none for a version that is not told by mail.
    pub untold: i64,
    /// How many of them have a mail that came back.
    pub bounced: i64,
}

/// All installed versions, by tenant and time.
///
/// # Errors
/// Those of the database.
pub async fn standings(pool: &PgPool) -> Result<Vec<Standing>, sqlx::Error> {
    sqlx::query_as!(
        Standing,
        r#"select tenant, version, announced_at, in_force_from, version is not distinct from safelight.policy_in_force(tenant) as "in_force!",
            mailed_from,
            (select count(*) from safelight.policy_untold u where u.tenant = v.tenant and u.version = v.version) as "untold!",
            (select count(*) from safelight.policy_untold u where u.tenant = v.tenant and u.version = v.version
                and u.bounced_at is not null) as "bounced!"
        from safelight.policy_versions v order by tenant, in_force_from nulls last, version"#
    )
    .fetch_all(pool)
    .await
}

async fn write(pool: &PgPool, policy: &Policy) -> Result<bool, sqlx::Error> {
    let (tenant, version) = (policy.tenant(), policy.version());
    let encode = |error| sqlx::Error::Encode(Box::new(error));
    let document = policy.to_json().map_err(encode)?;
    let document_sha256 = policy.sha256().map_err(encode)?;
    let mut tx = crate::db::begin(pool).await?;
    sqlx::query!(
        r#"insert into safelight.tenants (id, controller, contact) values ($1, $2, $3)
        on conflict (id) do update set controller = excluded.controller, contact = excluded.contact"#,
        tenant,
        policy.controller(),
        policy.contact()
    )
    .execute(&mut *tx)
    .await?;
    let new = sqlx::query!(
        r#"insert into safelight.policy_versions (tenant, version, text_sha256, document, document_sha256, effective_at, display_hours,
            in_force_from)
        values ($1, $2, $3, $4, $5, $6, $7,
            case when not exists (select from safelight.policy_versions where tenant = $1) then $6::timestamptz end)
        on conflict do nothing"#,
        tenant,
        version,
        policy.text_sha256(),
        document,
        document_sha256,
        policy.effective_at(),
        policy.display_hours()
    )
    .execute(&mut *tx)
    .await?;
    if new.rows_affected() == 0 {
        let installed = sqlx::query_scalar!(
            "select document_sha256 from safelight.policy_versions where tenant = $1 and version = $2",
            tenant,
            version
        )
        .fetch_one(&mut *tx)
        .await?;
        return Ok(installed == document_sha256);
    }
    for (purpose, entry) in policy.purposes() {
        let points: Vec<String> = entry.capture_points.iter().map(|point| point.as_str().to_owned()).collect();
        sqlx::query!(
            "insert into safelight.policy_purposes (tenant, version, purpose, basis, capture_points) values ($1, $2, $3, $4, $5)",
            tenant,
            version,
            purpose.as_str(),
            entry.basis.map(Basis::as_str),
            &points
        )
        .execute(&mut *tx)
        .await?;
    }
    for rule in policy.rules() {
        sqlx::query!(
            r#"insert into safelight.policy_rules (tenant, version, purpose, processor, class, accepted_gap)
            values ($1, $2, $3, $4, $5, $6) on conflict do nothing"#,
            tenant,
            version,
            rule.purpose.as_str(),
            rule.processor.as_str(),
            rule.class.as_str(),
            rule.accepted_gap.map(ToString::to_string)
        )
        .execute(&mut *tx)
        .await?;
    }
    for class in DataClass::ALL {
        let Some(retention) = policy.retention(*class) else { continue };
        let term = retention.term();
        sqlx::query!(
            "insert into safelight.policy_retention (tenant, version, class, rule, hours, counted_from) values ($1, $2, $3, $4, $5, $6)",
            tenant,
            version,
            class.as_str(),
            retention.as_str(),
            term.map(|(hours, _)| i32::try_from(hours).unwrap_or(i32::MAX)),
            term.map(|(_, from)| from.as_str())
        )
        .execute(&mut *tx)
        .await?;
    }
    tx.commit().await?;
    Ok(true)
}
