//! Install policies as rows, for gates and clocks to read. A version never changes: the same version with other content is
//! refused, and so is a service that would start with it.

use sqlx::PgPool;

use crate::policy::{Basis, DataClass, Policy};

/// A policy cannot be installed.
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
    /// The database did not take it.
    #[error("policy of {tenant} could not be stored")]
    Database {
        /// The tenant.
        tenant: String,
        /// Why.
        source: sqlx::Error,
    },
}

/// Install one policy; a policy that is installed already stays as it is.
pub async fn install(pool: &PgPool, policy: &Policy) -> Result<(), InstallError> {
    let known = write(pool, policy)
        .await
        .map_err(|source| InstallError::Database { tenant: policy.tenant().to_owned(), source })?;
    if known {
        Ok(())
    } else {
        Err(InstallError::Changed { tenant: policy.tenant().to_owned(), version: policy.version().to_owned() })
    }
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
        r#"insert into safelight.policy_versions (tenant, version, text_sha256, document, document_sha256, effective_at)
        values ($1, $2, $3, $4, $5, $6) on conflict do nothing"#,
        tenant,
        version,
        policy.text_sha256(),
        document,
        document_sha256,
        policy.effective_at()
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
