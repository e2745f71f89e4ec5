//! Is the process there; is it ready?

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{error::Error, openapi::Problem, state::ApiState};

/// A state in a word.
#[derive(Serialize, ToSchema)]
pub(crate) struct Health {
    /// `ok`.
    state: &'static str,
    /// The program's version.
    version: &'static str,
}

const OK: Health = Health { state: "ok", version: env!("CARGO_PKG_VERSION") };

/// The process answers. Asks nobody else.
#[utoipa::path(get, path = "/health", tag = "operations", operation_id = "health",
    responses((status = 200, description = "It answers", body = Health)))]
pub(crate) async fn health() -> Json<Health> {
    Json(OK)
}

/// The database answers and has this version's migrations.
#[utoipa::path(get, path = "/ready", tag = "operations", operation_id = "ready",
    responses((status = 200, description = "Ready", body = Health), (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn ready(State(state): State<ApiState>) -> Result<Json<Health>, Error> {
    // The migrator's own table; there is none where the schema was laid by other means, so it is asked unchecked.
    let applied: Result<Vec<i64>, sqlx::Error> =
        sqlx::query_scalar("select version from _sqlx_migrations where success").fetch_all(&state.pool).await;
    match applied {
        // Each of them: a migration that came late may have a lower number than one that is there.
        Ok(applied) if safelight_jobs::db::MIGRATIONS.iter().all(|known| applied.contains(&known.version)) => {
            Ok(Json(OK))
        }
        Ok(_) => Err(Error::NotMigrated),
        // There is no such table.
        Err(sqlx::Error::Database(answer)) if answer.code().as_deref() == Some("42P01") => Err(Error::NotMigrated),
        Err(error) => Err(error.into()),
    }
}
