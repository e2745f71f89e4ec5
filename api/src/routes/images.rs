//! Images behind the read gate: readable until the instant of `delete_after`, gone at it, however late the sweep is.
//!
//! A link never outlives its image: it ends at `delete_after` at the latest. In the last second before that no link is
//! made, because none can be so short.

use std::time::Duration;

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use safelight_jobs::{
    id::{Artifact, Id, Order, Subject},
    keys, look,
    providers::storage::StorageError,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    caller::{Read, To},
    error::Error,
    idempotency,
    input::At,
    looks::WhatFor,
    openapi::Problem,
    state::ApiState,
};

/// The longest life of a link, in seconds.
const LINK_SECONDS: i64 = 300;

/// One image of an order.
#[derive(Serialize, ToSchema)]
pub(crate) struct Image {
    /// The image.
    #[schema(value_type = String, example = "artifact_019a8f2e6c5d7b1290f3a4b5c6d7e8f9")]
    artifact: Id<Artifact>,
    /// Its place in the order.
    position: Option<i32>,
    /// `pending`, `stored`, `delivered`, `withheld` or `gone`.
    state: &'static str,
    /// Why it is withheld.
    withheld_because: Option<String>,
    /// When it was delivered.
    delivered_at: Option<DateTime<Utc>>,
    /// When it is deleted, and from when on it is not served any more.
    delete_after: Option<DateTime<Utc>>,
    /// How alike the face is to the selfies.
    similarity: Option<Similarity>,
    /// Whether it was found safe.
    check: Option<Check>,
    /// A link that reads it for some minutes; only for what may be read at this instant.
    url: Option<String>,
}

/// Cosine similarity to the selfies, or why there is none.
#[derive(Serialize, ToSchema)]
pub(crate) struct Similarity {
    /// `alike`, `not_alike`, or a reason such as `no_face`.
    verdict: String,
    /// To the nearest selfie, between -1 and 1.
    best: Option<f32>,
    /// Mean over the three nearest.
    mean_best3: Option<f32>,
    /// How many selfies were compared.
    compared: i32,
}

/// What the safety check found.
#[derive(Serialize, ToSchema)]
pub(crate) struct Check {
    /// It was flagged.
    flagged: bool,
    /// How sure the check was, between 0 and 1.
    probability: Option<f32>,
}

/// All images of an order, with links to those that may be read now.
pub(crate) async fn of_order(state: &ApiState, order: Id<Order>) -> Result<Vec<Image>, Error> {
    let rows = sqlx::query!(
        r#"select a.id, a.position, a.state, a.verdict, a.delivered_at, a.delete_after, a.storage_key,
            safelight.readable(a) as "readable!",
            floor(extract(epoch from a.delete_after - safelight.now()))::bigint as left_seconds,
            s.verdict as "alike?", s.best, s.mean_best3, s.compared as "compared?",
            c.flagged as "flagged?", c.probability
        from safelight.artifacts a
            left join safelight.similarities s on s.image_id = a.id
            left join safelight.image_checks c on c.image_id = a.id
        where a.order_id = $1 and a.class = 'image' order by a.position, a.id"#,
        order.uuid()
    )
    .fetch_all(&state.pool)
    .await?;
    let mut images = Vec::with_capacity(rows.len());
    for row in rows {
        let served = row.readable && row.delivered_at.is_some();
        let url = if served { link(state, &row.storage_key, row.left_seconds).await? } else { None };
        images.push(Image {
            artifact: row.id.into(),
            position: row.position,
            state: match row.state.as_str() {
                "withheld" => "withheld",
                "stored" if served => "delivered",
                "stored" if row.readable => "stored",
                "stored" => "gone",
                _ => "pending",
            },
            withheld_because: row.verdict,
            delivered_at: row.delivered_at,
            delete_after: row.delete_after,
            similarity: row.alike.map(|verdict| Similarity {
                verdict,
                best: row.best,
                mean_best3: row.mean_best3,
                compared: row.compared.unwrap_or(0),
            }),
            check: row.flagged.map(|flagged| Check { flagged, probability: row.probability }),
            url,
        });
    }
    Ok(images)
}

/// A link that ends with its image. None where a folder is the store, and in the last second.
async fn link(state: &ApiState, key: &str, left: Option<i64>) -> Result<Option<String>, Error> {
    let Some(life) = life(left) else { return Ok(None) };
    match state.storage.signed_get(&keys::stored(key)?, life).await {
        Ok(link) => Ok(Some(link.expose().to_owned())),
        Err(StorageError::NotSupported) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The life of a link to what is there for so many seconds more.
pub(super) fn life(left: Option<i64>) -> Option<Duration> {
    let seconds = left.unwrap_or(LINK_SECONDS).min(LINK_SECONDS);
    u64::try_from(seconds).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs)
}

/// Where one image is read.
#[derive(Serialize, ToSchema)]
pub(crate) struct ImageLink {
    /// Whoever has the link can read the image.
    url: String,
    /// How long it works.
    seconds: u64,
}

/// Does this `Accept` name JSON, and not to refuse it?
fn wants_json(accept: &str) -> bool {
    accept.split(',').any(|range| {
        let mut words = range.split(';').map(str::trim);
        let named = words.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"));
        named && !words.any(|word| word.strip_prefix("q=").is_some_and(|q| q.trim_matches(['0', '.']).is_empty()))
    })
}

/// Read one delivered image: a redirect to a link that works for some minutes, or the link as JSON where JSON is asked for.
#[utoipa::path(get, path = "/v1/subjects/{subject}/images/{artifact}", tag = "orders", operation_id = "readImage",
    params(("subject" = String, Path, description = "subject_…"), ("artifact" = String, Path, description = "artifact_…"), WhatFor),
    security(("token" = ["read"])),
    responses((status = 302, description = "The image is there", headers(("location" = String, description = "The link"))),
        (status = 200, description = "The link, as JSON", body = ImageLink),
        (status = 410, description = "Its time is over", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn read(
    caller: To<Read>,
    State(state): State<ApiState>,
    At(subject): At<Subject>,
    At(artifact): At<Artifact>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let row = sqlx::query!(
        r#"select a.storage_key, a.class, a.delivered_at, safelight.readable(a) as "readable!",
            floor(extract(epoch from a.delete_after - safelight.now()))::bigint as left_seconds
        from safelight.artifacts a
        where a.id = $1 and a.subject_id = $2 and ($3::text is null or a.tenant = $3)"#,
        artifact.uuid(),
        subject.uuid(),
        caller.sees_only()
    )
    .fetch_optional(&state.pool)
    .await?
    // An original is nobody's to read, and what was not delivered is not there, for a reader.
    .filter(|row| row.class == "image" && row.delivered_at.is_some())
    .ok_or_else(|| Error::not_found(artifact))?;
    caller.looks_at(&state, &artifact.to_string(), look::entry().subject(subject)).await?;
    let gone = || Error::Gone { what: artifact.to_string() };
    if !row.readable {
        return Err(gone());
    }
    let life = life(row.left_seconds).ok_or_else(gone)?;
    let link = state.storage.signed_get(&keys::stored(&row.storage_key)?, life).await?;
    let wants_json = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).is_some_and(wants_json);
    if wants_json {
        let answer = ImageLink { url: link.expose().to_owned(), seconds: life.as_secs() };
        let answer = serde_json::to_value(&answer).map_err(|_| Error::Internal)?;
        return Ok(idempotency::answer(StatusCode::OK, &answer));
    }
    Ok((StatusCode::FOUND, [(header::LOCATION, link.expose().to_owned())]).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_never_outlives_its_image() {
        assert_eq!(life(None), Some(Duration::from_secs(300)));
        assert_eq!(life(Some(86_400)), Some(Duration::from_secs(300)));
        assert_eq!(life(Some(60)), Some(Duration::from_secs(60)));
        assert_eq!(life(Some(0)), None);
        assert_eq!(life(Some(-5)), None);
    }
}
