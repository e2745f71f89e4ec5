//! A request under `/v1` says nothing but what its route is described to hear: no other word behind the `?`, and no body where none is
//! taken. What somebody says all the same, as `dry_run`, would be thought heard.
//!
//! Never reads a body that its route takes: that is the route's own.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, MatchedPath, Request, State},
    http::Method,
    middleware::Next,
    response::Response,
};
use serde::Deserialize;
use utoipa::openapi::{
    OpenApi, RefOr,
    path::{Operation, ParameterIn},
};

use crate::{
    error::Error,
    input::{self, RawJson},
};

/// What each route takes, by its pattern and method.
pub(crate) struct Heard(HashMap<String, Vec<(Method, Takes)>>);

struct Takes {
    words: BTreeSet<String>,
    body: bool,
}

/// What a body without anything in it may be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

impl Heard {
    /// Of routes by their description.
    pub(crate) fn of(described: &OpenApi) -> Arc<Self> {
        let routes = described.paths.paths.iter().map(|(pattern, item)| {
            let methods = [
                (Method::GET, &item.get),
                (Method::POST, &item.post),
                (Method::PUT, &item.put),
                (Method::DELETE, &item.delete),
            ];
            let takes =
                methods.into_iter().filter_map(|(method, operation)| Some((method, takes(operation.as_ref()?))));
            (pattern.clone(), takes.collect())
        });
        Arc::new(Self(routes.collect()))
    }

    fn takes(&self, request: &Request) -> Option<&Takes> {
        let pattern = request.extensions().get::<MatchedPath>()?;
        let method = if request.method() == Method::HEAD { &Method::GET } else { request.method() };
        self.0.get(pattern.as_str())?.iter().find(|(known, _)| known == method).map(|(_, takes)| takes)
    }
}

fn takes(operation: &Operation) -> Takes {
    let words = operation.parameters.iter().flatten().filter_map(|parameter| match parameter {
        RefOr::T(known) if known.parameter_in == ParameterIn::Query => Some(known.name.clone()),
        _ => None,
    });
    Takes { words: words.collect(), body: operation.request_body.is_some() }
}

/// The layer next to the routes.
pub(crate) async fn layer(State(heard): State<Arc<Heard>>, request: Request, next: Next) -> Result<Response, Error> {
    let Some(takes) = heard.takes(&request) else { return Ok(next.run(request).await) };
    let said: BTreeMap<String, serde::de::IgnoredAny> =
        if request.uri().query().is_some() { input::query(request.uri())? } else { BTreeMap::new() };
    if said.keys().any(|word| !takes.words.contains(word)) {
        return Err(Error::BadQuery);
    }
    if takes.body || request.method() != Method::POST {
        return Ok(next.run(request).await);
    }
    let (parts, body) = request.into_parts();
    let body = Bytes::from_request(Request::from_parts(parts.clone(), body), &()).await.map_err(input::broken)?;
    if !body.trim_ascii().is_empty() {
        let body = Request::from_parts(parts.clone(), Body::from(body));
        let _: Nothing = RawJson::from_request(body, &()).await?.object()?;
    }
    Ok(next.run(Request::from_parts(parts, Body::empty())).await)
}
