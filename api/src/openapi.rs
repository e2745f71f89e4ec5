//! The description of the intake, made from the code that answers.

use serde::Serialize;
use utoipa::{
    Modify, OpenApi, ToSchema,
    openapi::{
        Components, PathItem, RefOr,
        path::Operation,
        security::{Http, HttpAuthScheme, SecurityScheme},
    },
};

use crate::routes;

mod headers;

/// What an answer that did nothing says (RFC 9457).
#[derive(Serialize, ToSchema)]
pub(crate) struct Problem {
    /// `urn:safelight:problem:` and the code.
    r#type: String,
    /// The same for every problem of this code.
    title: String,
    /// The status.
    status: u16,
    /// What happened here, and what to do.
    detail: String,
    /// What a program branches on; `docs/errors.md` lists all.
    code: String,
    /// Tell it to us when you ask.
    request_id: String,
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Safelight",
        description = "The intake of a job system behind AI photo services. Every POST takes an `Idempotency-Key`; every \
            refusal is a problem with a stable code and changed nothing, but for `outcome_unknown`, of which nobody knows.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    servers((url = "/", description = "Where this description is served")),
    components(schemas(Problem)),
    modifiers(&Credentials)
)]
pub(crate) struct Document;

struct Credentials;

impl Modify for Credentials {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_with(Components::new);
        components.add_security_scheme("token", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
        components.add_security_scheme("sign_in", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
        components.add_security_scheme("sweep", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
        components.add_security_scheme("metrics", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    }
}

/// The whole description.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    document.merge(routes::described().into_openapi());
    document.merge(routes::of_a_person().into_openapi());
    not_now(&mut document);
    headers::describe(&mut document);
    document.merge(routes::open().into_openapi());
    for operation in document.paths.paths.values_mut().flat_map(operations) {
        // Said of all that asks for nothing: it is open on purpose.
        operation.security.get_or_insert_default();
        for (status, response) in &mut operation.responses.responses {
            if let RefOr::T(response) = response
                && response.description.is_empty()
            {
                response.description = match status.starts_with('4') {
                    true => "Refused, and nothing changed: `code` says why".to_owned(),
                    false => "Not now: `code` says why".to_owned(),
                };
            }
        }
    }
    document
}

/// Any route may answer it: when all seats are taken, and when the database is away.
fn not_now(document: &mut utoipa::openapi::OpenApi) {
    for operation in document.paths.paths.values_mut().flat_map(operations) {
        let refused = operation.responses.responses.get("4XX").cloned();
        if let Some(RefOr::T(mut response)) = refused {
            "Not now: `code` says why, and whether something was done".clone_into(&mut response.description);
            operation.responses.responses.entry("503".to_owned()).or_insert(RefOr::T(response));
        }
    }
}

fn operations(path: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem { get, put, post, delete, patch, .. } = path;
    [get, put, post, delete, patch].into_iter().flatten()
}
