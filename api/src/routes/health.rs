//! Is the process there; is it ready?

use axum::{Json, extract::State};
use safelight_jobs::db;
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
    match db::lacks(&state.pool).await? {
        None => Ok(Json(OK)),
        Some(_) => Err(Error::NotMigrated),
    }
}
