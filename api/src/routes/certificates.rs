//! The certificate of a finished deletion: the signed JSON, and the same as a page.

use axum::{
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Response},
};
use safelight_evidence::SignedCertificate;
use safelight_jobs::{
    id::{Deletion, Id},
    look, sealer,
};

use crate::{
    caller::{Evidence, To},
    certificate_page,
    error::Error,
    idempotency,
    input::At,
    looks::WhatFor,
    openapi::Problem,
    state::ApiState,
};

/// Nothing is fetched and nothing runs; the page brings its own style.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'";

/// Read the signed certificate of a deletion.
#[utoipa::path(get, path = "/v1/deletions/{deletion}/certificate", tag = "rights", operation_id = "readCertificate",
    params(("deletion" = String, Path, description = "deletion_…"), WhatFor), security(("token" = ["audit", "operate"])),
    responses((status = 200, description = "The certificate, as docs/schemas/deletion-certificate.schema.json has it", body = serde_json::Value),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn read(
    caller: To<Evidence>,
    State(state): State<ApiState>,
    At(deletion): At<Deletion>,
) -> Result<Response, Error> {
    let signed = issued(&state, deletion, caller.sees_only()).await?;
    let entry = look::entry().deletion(deletion).tenant(&signed.certificate.tenant);
    caller.looks_at(&state, &deletion.to_string(), entry).await?;
    let signed = serde_json::to_value(&signed).map_err(|_| Error::Internal)?;
    Ok(idempotency::answer(StatusCode::OK, &signed))
}

/// Read the certificate of a deletion as a page to print.
#[utoipa::path(get, path = "/v1/deletions/{deletion}/certificate.html", tag = "rights", operation_id = "readCertificatePage",
    params(("deletion" = String, Path, description = "deletion_…"), WhatFor), security(("token" = ["audit", "operate"])),
    responses((status = 200, description = "The page", body = String, content_type = "text/html"),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn read_page(
    caller: To<Evidence>,
    State(state): State<ApiState>,
    At(deletion): At<Deletion>,
) -> Result<Response, Error> {
    let signed = issued(&state, deletion, caller.sees_only()).await?;
    let entry = look::entry().deletion(deletion).tenant(&signed.certificate.tenant);
    caller.looks_at(&state, &deletion.to_string(), entry).await?;
    Ok(page(&signed))
}

/// The page, for whoever has been let in and whose look was kept.
pub(crate) fn page(signed: &SignedCertificate) -> Response {
    let mut response = Html(certificate_page(signed)).into_response();
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    response
}

/// The certificate of this deletion, if it is of this tenant.
pub(crate) async fn issued(
    state: &ApiState,
    deletion: Id<Deletion>,
    tenant: Option<&str>,
) -> Result<SignedCertificate, Error> {
    match sealer::certificate(&state.pool, deletion, tenant).await {
        Ok(Some(signed)) => Ok(signed),
        Ok(None) => Err(Error::not_found(format!("a certificate of {deletion}"))),
        Err(sealer::SealError::Database(error)) => Err(error.into()),
        Err(error) => {
            tracing::error!(%error, deletion.id = %deletion, "a certificate cannot be read");
            Err(Error::Internal)
        }
    }
}
