//! The headers of the routes that need a token or a sign-in, said once and named by each operation: what the layers around the
//! routes read and tell is nothing that a route could describe itself.

use utoipa::openapi::{
    Components, Header, HeaderBuilder, ObjectBuilder, OpenApi, Ref, RefOr, Type,
    path::{Operation, Parameter, ParameterBuilder, ParameterIn},
};

use super::operations;

/// On every answer: the name, whether it is a number, and what it says.
const ALWAYS: [(&str, Type, &str); 4] = [
    ("ratelimit-limit", Type::Integer, "Requests a minute that the token, or the person, may make"),
    ("ratelimit-remaining", Type::Integer, "How many of them are left"),
    ("ratelimit-reset", Type::Integer, "Seconds until all are there again; with 429 until the next one is let in"),
    ("x-request-id", Type::String, "Tell it to us when you ask; the caller's own, where it sent one"),
];
/// On some of them.
const SOMETIMES: [(&str, Type, &str); 3] = [
    ("retry-after", Type::Integer, "With 429 and 503: seconds to wait"),
    ("idempotent-replayed", Type::String, "`true`: given before under the same key, and nothing was done again"),
    ("etag", Type::String, "The same for the same state; send it as `if-none-match`"),
];
/// What a request may carry: the name, the pattern, and what it does.
const SENT: [(&str, &str, &str); 2] = [
    (
        "idempotency-key",
        "^[!-~]{1,255}$",
        "The same request again under the same key gets the same answer and has no second effect, for a day; another request under it is refused",
    ),
    ("if-none-match", "^[ -~]*$", "The tag that you know: 304 while it is still the same"),
];

/// Say them of each operation.
pub(super) fn describe(document: &mut OpenApi) {
    for item in document.paths.paths.values_mut() {
        if let Some(post) = &mut item.post {
            takes(post, "idempotency-key");
            tells(post, "idempotent-replayed", |status| status.starts_with('2'));
        }
        if let Some(get) = item.get.as_mut().filter(|get| waits(get)) {
            takes(get, "if-none-match");
            tells(get, "etag", |status| status == "200" || status == "304");
        }
        for operation in operations(item) {
            tells(operation, "retry-after", |status| status.starts_with('4') || status == "503");
            for (name, ..) in ALWAYS {
                tells(operation, name, |_| true);
            }
        }
    }
    let components = document.components.get_or_insert_with(Components::new);
    for (name, kind, about) in ALWAYS.into_iter().chain(SOMETIMES) {
        components.headers.insert(name.to_owned(), RefOr::T(header(kind, about)));
    }
    for (name, pattern, about) in SENT {
        components.parameters.insert(name.to_owned(), RefOr::T(parameter(name, pattern, about)));
    }
}

/// Can it wait for news? Then its answer has a tag.
fn waits(operation: &Operation) -> bool {
    let named = |parameter: &RefOr<Parameter>| matches!(parameter, RefOr::T(known) if known.name == "wait");
    operation.parameters.iter().flatten().any(named)
}

fn takes(operation: &mut Operation, name: &str) {
    let known = RefOr::Ref(Ref::new(format!("#/components/parameters/{name}")));
    operation.parameters.get_or_insert_default().push(known);
}

fn tells(operation: &mut Operation, name: &str, where_: impl Fn(&str) -> bool) {
    for (status, response) in &mut operation.responses.responses {
        if let RefOr::T(response) = response
            && where_(status)
        {
            let known = RefOr::Ref(Ref::new(format!("#/components/headers/{name}")));
            response.headers.insert(name.to_owned(), known);
        }
    }
}

fn header(kind: Type, about: &str) -> Header {
    HeaderBuilder::new().schema(Some(ObjectBuilder::new().schema_type(kind))).description(Some(about)).build()
}

fn parameter(name: &str, pattern: &str, about: &str) -> Parameter {
    let schema = ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern));
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .description(Some(about))
        .schema(Some(schema))
        .build()
}
