//! The reference of the intake as a page: made from the same description that `/openapi.json` serves, without a script or a
//! foreign address, so that it can be read where there is no network.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use maud::{DOCTYPE, Markup, html};
use serde_json::{Map, Value};

use crate::openapi::openapi;

const POLICY: &str =
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const METHODS: [&str; 4] = ["get", "post", "put", "delete"];

/// One operation of the description.
struct Operation<'a> {
    method: &'static str,
    path: &'a str,
    said: &'a Value,
}

impl Operation<'_> {
    fn text(&self, field: &str) -> &str {
        self.said[field].as_str().unwrap_or_default()
    }
    /// Which scope opens it, or which secret.
    fn needs(&self) -> String {
        let Some(ask) = self.said["security"][0].as_object().and_then(|all| all.iter().next()) else {
            return "nothing".to_owned();
        };
        if ask.0 == "sign_in" {
            return "the sign-in of the person".to_owned();
        }
        let scope = ask.1[0].as_str().map(|scope| format!("the scope {scope}"));
        scope.unwrap_or_else(|| format!("the {} secret", ask.0))
    }
}

/// `GET /docs`.
pub(crate) async fn page() -> Response {
    let document = serde_json::to_value(openapi()).unwrap_or_default();
    let mut response = (StatusCode::OK, axum::response::Html(written(&document).into_string())).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=300"));
    response
}

fn written(document: &Value) -> Markup {
    let empty = Map::new();
    let paths = document["paths"].as_object().unwrap_or(&empty);
    let all: Vec<Operation<'_>> = paths
        .iter()
        .flat_map(|(path, methods)| {
            METHODS.iter().filter_map(move |method| methods.get(method).map(|said| Operation { method, path, said }))
        })
        .collect();
    let mut tags: Vec<&str> = all.iter().filter_map(|operation| operation.said["tags"][0].as_str()).collect();
    tags.sort_unstable();
    tags.dedup();
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="dark light";
                title { "Reference · Safelight" }
                link rel="stylesheet" href="/console/style.css";
            }
            body { main.reference {
                h1 { "Safelight, the intake" }
                p.lead { (document["info"]["description"].as_str().unwrap_or_default()) " The same as a document: " a href="/openapi.json" { "/openapi.json" } "." }
                nav aria-label="Operations" { @for tag in &tags {
                    p { strong { (tag) } " " @for operation in all.iter().filter(|o| o.said["tags"][0] == *tag) {
                        a href={ "#" (operation.text("operationId")) } { (operation.text("operationId")) } " "
                    } }
                } }
                @for tag in &tags { section {
                    h2 { (tag) }
                    @for operation in all.iter().filter(|o| o.said["tags"][0] == *tag) { (described(operation, document)) }
                } }
            } }
        }
    }
}

fn described(operation: &Operation<'_>, document: &Value) -> Markup {
    let parameters = operation.said["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
    let body = &operation.said["requestBody"]["content"]["application/json"]["schema"];
    let answers = operation.said["responses"].as_object();
    html! {
        article.group id=(operation.text("operationId")) {
            h3 { code { (operation.method.to_uppercase()) " " (operation.path) } }
            p { (operation.text("summary")) " " (operation.text("description")) }
            p.small { "Takes " (operation.needs()) "." }
            @if !parameters.is_empty() { dl.terms { @for parameter in parameters {
                @let parameter = told(parameter, "parameters", document);
                dt { code { (parameter["name"].as_str().unwrap_or_default()) } span.small { " in the " (parameter["in"].as_str().unwrap_or_default()) } }
                dd { (parameter["description"].as_str().unwrap_or_default()) }
            } } }
            @if !body.is_null() { p.small { "Body" } (schema(body, document)) }
            @if let Some(answers) = answers { @for (status, answer) in answers {
                p.small { "Answers " code { (status) } ": " (answer["description"].as_str().unwrap_or_default()) }
                @let of = &answer["content"]["application/json"]["schema"];
                @if !of.is_null() { (schema(of, document)) }
            } }
        }
    }
}

/// What is said here, or where it is said once for all.
fn told<'a>(said: &'a Value, kind: &str, document: &'a Value) -> &'a Value {
    let known = said["$ref"].as_str().and_then(|at| at.rsplit('/').next());
    known.map_or(said, |name| &document["components"][kind][name])
}

/// A schema's fields; those of what it refers to.
fn schema(schema: &Value, document: &Value) -> Markup {
    let schema = told(schema, "schemas", document);
    let needed = |name: &str| schema["required"].as_array().is_some_and(|all| all.iter().any(|field| field == name));
    html! { @if let Some(fields) = schema["properties"].as_object() {
        dl.terms { @for (name, field) in fields {
            dt { code { (name) } span.small { " " (shape(field)) @if !needed(name) { ", optional" } } }
            dd { (field["description"].as_str().unwrap_or_default()) @if let Some(example) = field["example"].as_str() { " " code { (example) } } }
        } }
    } }
}

/// A field's type in a word or two.
fn shape(field: &Value) -> String {
    if let Some(name) = field["$ref"].as_str().and_then(|at| at.rsplit('/').next()) {
        return name.to_owned();
    }
    match &field["type"] {
        Value::String(one) if one == "array" => format!("list of {}", shape(&field["items"])),
        Value::String(one) => one.clone(),
        Value::Array(several) => {
            let words: Vec<&str> = several.iter().filter_map(Value::as_str).filter(|word| *word != "null").collect();
            words.join(" or ")
        }
        _ => "object".to_owned(),
    }
}
