//! Controls of the fleet: what is paused, how much runs at once, how often a provider is asked, and breakers.

use axum::{
    extract::{Path, State},
    http::StatusCode,
    response::Response,
};
use chrono::{DateTime, Utc};
use safelight_jobs::{
    job::Queue,
    operate,
    queue::{self, Change, Scope},
};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::{
    caller::{Operate, Read, To},
    error::Error,
    idempotency,
    input::Json,
    openapi::Problem,
    routes::operate_jobs::Reason,
    state::ApiState,
};

/// A control that says something.
#[derive(Serialize, ToSchema)]
pub(crate) struct ControlView {
    /// `queue`, `kind`, `tenant` or `provider`.
    scope: String,
    /// Which one.
    name: String,
    /// Nothing of it starts.
    paused: bool,
    /// How many run at once at the most.
    most: Option<i32>,
    /// Starts a second at the most.
    per_second: Option<f64>,
    /// Starts in one go at the most.
    burst: Option<i32>,
    /// Why it was changed last.
    why: Option<String>,
    /// Who did.
    actor: String,
    /// When.
    changed_at: DateTime<Utc>,
}

/// A provider's breaker.
#[derive(Serialize, ToSchema)]
pub(crate) struct BreakerView {
    /// Whose.
    provider: String,
    /// `closed`, `open` or `probing`.
    state: String,
    /// Failures since the last success.
    failures: i32,
    /// Since when it is open.
    opened_at: Option<DateTime<Utc>>,
    /// When one job looks.
    probe_at: Option<DateTime<Utc>>,
}

/// How the fleet is controlled now.
#[derive(Serialize, ToSchema)]
pub(crate) struct Controls {
    /// Those that say something; a tenant's token sees its own only.
    controls: Vec<ControlView>,
    /// Those that ever counted a failure.
    breakers: Vec<BreakerView>,
}

/// List the controls and breakers.
#[utoipa::path(get, path = "/v1/controls", tag = "operators", operation_id = "listControls", security(("token" = ["read"])),
    responses((status = 200, description = "The controls", body = Controls), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn list(caller: To<Read>, State(state): State<ApiState>) -> Result<Response, Error> {
    let (controls, breakers) = (queue::controls(&state.pool).await?, queue::breakers(&state.pool).await?);
    let seen = |control: &queue::Control| {
        caller.sees_only().is_none_or(|tenant| control.scope != "tenant" || control.name == tenant)
    };
    // Who acted and why is the house's matter; a tenant sees that it waits.
    let house = caller.sees_only().is_none();
    let controls = controls.into_iter().filter(seen).map(|control| ControlView {
        why: control.why.filter(|_| house),
        actor: if house { control.actor } else { "operator".to_owned() },
        scope: control.scope,
        name: control.name,
        paused: control.paused,
        most: control.most,
        per_second: control.per_second,
        burst: control.burst,
        changed_at: control.changed_at,
    });
    let breakers = breakers.into_iter().map(|breaker| BreakerView {
        provider: breaker.provider,
        state: breaker.state,
        failures: breaker.failures,
        opened_at: breaker.opened_at,
        probe_at: breaker.probe_at,
    });
    let view = Controls { controls: controls.collect(), breakers: breakers.collect() };
    let view = serde_json::to_value(view).map_err(|_| Error::Internal)?;
    Ok(idempotency::answer(StatusCode::OK, &view))
}

/// How often a provider is asked, by all processes together.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rate {
    /// Starts a second.
    per_second: f64,
    /// Starts in one go.
    burst: i32,
}

/// What is to be changed; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ControlChange {
    /// True: nothing of it starts any more; what runs may end. False: it starts again.
    paused: Option<bool>,
    /// How many run at once, in the whole fleet; null lifts the limit.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = Option<i32>)]
    most: Option<Option<i32>>,
    /// How often a provider is asked; null lifts it.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = Option<Rate>)]
    rate: Option<Option<Rate>>,
    /// In a few words, without anything about a person. At most 300 letters.
    why: String,
}

/// Null is something else than a field that is left out.
fn said<'de, D: Deserializer<'de>, T: Deserialize<'de>>(value: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(value).map(Some)
}

/// A control that was changed.
#[derive(Serialize, ToSchema)]
pub(crate) struct ControlStored {
    /// Of which sort.
    scope: &'static str,
    /// Which one.
    name: String,
}

/// Pause, resume or limit a queue, a kind, a tenant or a provider for the whole fleet. A tenant's token may do so to that
/// tenant only.
#[utoipa::path(post, path = "/v1/controls/{scope}/{name}", tag = "operators", operation_id = "changeControl",
    params(("scope" = String, Path, description = "`queue`, `kind`, `tenant` or `provider`"), ("name" = String, Path, description = "Which one")),
    request_body = ControlChange, security(("token" = ["operate"])),
    responses((status = 200, description = "Stored; counts for every process at its next claim", body = ControlStored), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn change(
    caller: To<Operate>,
    State(state): State<ApiState>,
    path: Path<(String, String)>,
    body: Json<ControlChange>,
) -> Result<Response, Error> {
    let (scope, name) = path.0;
    let scope = Scope::named(&scope).ok_or(Error::NoRoute)?;
    let ControlChange { paused, most, rate, why } = body.value;
    let rate = rate.map(|rate| rate.map(|rate| (rate.per_second, rate.burst)));
    if paused.is_none() && most.is_none() && rate.is_none() {
        let why = "say what is to change: `paused`, `most` or `rate`".to_owned();
        return Err(Error::Invalid { code: "control_impossible", why });
    }
    let mut tx = caller.begin(&state).await?;
    operate::on_control(&mut tx, scope, &name, Change { paused, most, rate }, caller.operator(&why)).await?;
    Queue::ALL.into_iter().for_each(|queue| tx.ring(queue));
    caller.finish(tx, StatusCode::OK, &ControlStored { scope: scope.as_str(), name }).await
}

/// A breaker that was closed.
#[derive(Serialize, ToSchema)]
pub(crate) struct Closed {
    /// Whose.
    provider: String,
}

/// Close a provider's breaker: somebody knows that it is well. Its jobs start without waiting for a probe.
#[utoipa::path(post, path = "/v1/breakers/{provider}/close", tag = "operators", operation_id = "closeBreaker",
    params(("provider" = String, Path, description = "Whose")), request_body = Reason, security(("token" = ["operate"])),
    responses((status = 200, description = "Closed", body = Closed), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn close_breaker(
    caller: To<Operate>,
    State(state): State<ApiState>,
    Path(provider): Path<String>,
    body: Json<Reason>,
) -> Result<Response, Error> {
    let mut tx = caller.begin(&state).await?;
    operate::close_breaker(&mut tx, &provider, caller.operator(&body.value.why)).await?;
    Queue::ALL.into_iter().for_each(|queue| tx.ring(queue));
    caller.finish(tx, StatusCode::OK, &Closed { provider }).await
}
