//! Objections of a person, as the tenant's backend passes them on. Whoever decides uses `safelight objection`.

use axum::{extract::State, http::StatusCode, response::Response};
use safelight_jobs::{id::Subject, intake, policy::Purpose};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    caller::{Enqueue, To},
    error::Error,
    input::{At, Json},
    openapi::Problem,
    state::ApiState,
};

/// What somebody objects to.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewObjection {
    /// A purpose that rests on a legitimate interest.
    #[schema(value_type = String, example = "observe")]
    purpose: Purpose,
}

/// The objection is noted.
#[derive(Serialize, ToSchema)]
pub(crate) struct Objection {
    /// It stood there already.
    already: bool,
    /// `open` until somebody has decided; `upheld`: nothing is done for this purpose any more.
    state: &'static str,
    /// Jobs that are held until it is decided.
    jobs_held: i32,
}

/// Object to one purpose (Art. 21). Everything is restricted until somebody has decided; upheld, this purpose stays closed.
#[utoipa::path(post, path = "/v1/subjects/{subject}/objections", tag = "rights", operation_id = "objectTo",
    params(("subject" = String, Path, description = "subject_…")), request_body = NewObjection, security(("token" = ["enqueue"])),
    responses((status = 201, description = "Noted", body = Objection), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn object(
    caller: To<Enqueue>,
    State(state): State<ApiState>,
    At(subject): At<Subject>,
    body: Json<NewObjection>,
) -> Result<Response, Error> {
    let mut tx = caller.begin(&state).await?;
    let noted = intake::object(&mut tx, caller.tenant()?, subject, body.value.purpose, None).await?;
    let answer = Objection {
        already: noted.already,
        state: if noted.upheld { "upheld" } else { "open" },
        jobs_held: noted.jobs_held,
    };
    caller.finish(tx, StatusCode::CREATED, &answer).await
}
