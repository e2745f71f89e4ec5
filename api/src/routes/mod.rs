//! One file a resource. Each handler is one short transaction around a function of the domain.

pub(crate) mod bulk_acts;
pub(crate) mod certificates;
pub(crate) mod consents;
pub(crate) mod controls;
pub(crate) mod dead_letters;
pub(crate) mod deletions;
pub(crate) mod enqueue_job;
pub(crate) mod enqueue_jobs;
pub(crate) mod health;
pub(crate) mod images;
pub(crate) mod jobs;
pub(crate) mod list_consents;
pub(crate) mod list_deletions;
pub(crate) mod list_jobs;
pub(crate) mod list_orders;
pub(crate) mod list_uploads;
pub(crate) mod me;
pub(crate) mod metrics;
pub(crate) mod objections;
pub(crate) mod operate_jobs;
pub(crate) mod order_events;
pub(crate) mod orders;
pub(crate) mod refunds;
pub(crate) mod rights;
pub(crate) mod schedules;
pub(crate) mod standing;
pub(crate) mod subjects;
pub(crate) mod sweeps;
pub(crate) mod uploads;
pub(crate) mod webhooks;
mod window;

use axum::middleware;
use safelight_jobs::id::{BadId, Id, Kind};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    caller,
    error::Error,
    heard::{self, Heard},
    idempotency, person,
    state::ApiState,
};

/// The largest bulk of jobs, in bytes: as many as one takes, each with a time and some ids.
const MOST_BULK: usize = 256 * 1024;
/// The largest JSON body of any other route, in bytes.
const MOST_JSON: usize = 64 * 1024;
/// The largest event of Stripe, in bytes; real ones are a few kilobytes.
const MOST_STRIPE: usize = 256 * 1024;
/// The largest report of fal, in bytes.
const MOST_FAL: usize = 1024 * 1024;

/// The largest body that a route takes, in bytes. The door reads no more. A form of the console may be smaller only, and the console
/// says so itself, on a page.
pub(crate) fn most_body(route: &str) -> usize {
    match route {
        "/webhooks/stripe" => MOST_STRIPE,
        "/webhooks/fal/{token}" => MOST_FAL,
        "/v1/jobs/bulk" => MOST_BULK,
        _ => MOST_JSON,
    }
}

/// The id that a list is narrowed to.
fn an_id<K: Kind>(word: Option<String>) -> Result<Option<Id<K>>, Error> {
    word.map(|word| word.parse().map_err(|bad: BadId| Error::BadId(bad.to_string()))).transpose()
}

/// The state that a list is narrowed to is one of these. An unknown one would find nothing, which reads like an answer.
fn a_state(word: Option<&str>, known: &[&str]) -> Result<(), Error> {
    match word {
        Some(word) if !known.contains(&word) => {
            Err(Error::Invalid { code: "unknown_word", why: format!("a state is one of: {}", known.join(", ")) })
        }
        _ => Ok(()),
    }
}

/// Everything that needs a token.
pub(crate) fn v1(state: &ApiState) -> OpenApiRouter<ApiState> {
    described()
        .layer(middleware::from_fn_with_state(Heard::of(&described().into_openapi()), heard::layer))
        // Layers wrap from below: the token comes first, then the key.
        .layer(middleware::from_fn_with_state(state.clone(), idempotency::layer))
        .layer(middleware::from_fn_with_state(state.clone(), caller::authenticate))
}

/// The routes under `/v1`, without their layers.
pub(crate) fn described() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(subjects::register))
        .routes(routes!(standing::read))
        .routes(routes!(subjects::open_batch))
        .routes(routes!(list_uploads::read))
        .routes(routes!(subjects::erase))
        .routes(routes!(rights::rectify))
        .routes(routes!(rights::contest))
        .routes(routes!(rights::restrict))
        .routes(routes!(rights::release))
        .routes(routes!(objections::object))
        .routes(routes!(rights::export))
        .routes(routes!(rights::read_export))
        .routes(routes!(consents::grant, list_consents::list))
        .routes(routes!(consents::withdraw))
        .routes(routes!(uploads::slot))
        .routes(routes!(uploads::arrived))
        .routes(routes!(orders::place, list_orders::list))
        .routes(routes!(orders::read))
        .routes(routes!(order_events::follow))
        .routes(routes!(orders::checkout))
        .routes(routes!(refunds::ask))
        .routes(routes!(images::read))
        .routes(routes!(deletions::delete_photo))
        .routes(routes!(deletions::delete_failed_order))
        .routes(routes!(deletions::read))
        .routes(routes!(list_deletions::list))
        .routes(routes!(certificates::read))
        .routes(routes!(certificates::read_page))
        .routes(routes!(jobs::kinds))
        .routes(routes!(enqueue_job::enqueue, list_jobs::list))
        .routes(routes!(enqueue_jobs::enqueue))
        .routes(routes!(jobs::read))
        .routes(routes!(operate_jobs::act))
        .routes(routes!(operate_jobs::payload))
        .routes(routes!(bulk_acts::preview))
        .routes(routes!(bulk_acts::ask, bulk_acts::list))
        .routes(routes!(bulk_acts::read))
        .routes(routes!(dead_letters::count))
        .routes(routes!(dead_letters::act))
        .routes(routes!(controls::list))
        .routes(routes!(controls::change))
        .routes(routes!(controls::close_breaker))
        .routes(routes!(schedules::list))
        .routes(routes!(schedules::change))
}

/// What a signed-in person may do about themselves.
pub(crate) fn me(state: &ApiState) -> OpenApiRouter<ApiState> {
    of_a_person()
        .layer(middleware::from_fn_with_state(Heard::of(&of_a_person().into_openapi()), heard::layer))
        .layer(middleware::from_fn_with_state(state.clone(), idempotency::layer))
        .layer(middleware::from_fn_with_state(state.clone(), person::authenticate))
}

/// The routes under `/v1/me`, without their layers.
pub(crate) fn of_a_person() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(me::read))
        .routes(routes!(me::grant))
        .routes(routes!(me::withdraw))
        .routes(routes!(me::export))
        .routes(routes!(me::read_export))
        .routes(routes!(me::erase))
}

/// Everything that proves itself in another way, or shows no one's data.
pub(crate) fn open() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(webhooks::stripe))
        .routes(routes!(webhooks::fal))
        .routes(routes!(sweeps::by_get, sweeps::by_post))
        .routes(routes!(health::health))
        .routes(routes!(health::ready))
        .routes(routes!(metrics::metrics))
}
