//! Schedules: what runs at set times, and pausing it.

use axum::{
    extract::{Path, State},
    http::StatusCode,
    response::Response,
};
use chrono::{DateTime, Utc};
use safelight_jobs::{operate, schedule};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    caller::{Operate, Read, To},
    error::Error,
    idempotency,
    input::Json,
    openapi::Problem,
    state::ApiState,
};

/// A schedule as it stands.
#[derive(Serialize, ToSchema)]
pub(crate) struct ScheduleView {
    /// Its name.
    name: String,
    /// sec min hour day month weekday, in UTC.
    cron: String,
    /// What becomes of missed ticks: `once` or `each`.
    catch_up: String,
    /// Its ticks make no jobs.
    paused: bool,
    /// Looked at until here.
    last_tick: DateTime<Utc>,
    /// When it makes jobs next; null while it is paused.
    next_tick: Option<DateTime<Utc>>,
    /// Why it was paused or resumed last.
    why: Option<String>,
    /// Who did; `owner` where nobody has.
    actor: String,
}

/// All schedules that some process has looked at.
#[derive(Serialize, ToSchema)]
pub(crate) struct Schedules {
    /// Sorted by name.
    schedules: Vec<ScheduleView>,
}

/// List the schedules.
#[utoipa::path(get, path = "/v1/schedules", tag = "operators", operation_id = "listSchedules", security(("token" = ["read"])),
    responses((status = 200, description = "The schedules", body = Schedules), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn list(caller: To<Read>, State(state): State<ApiState>) -> Result<Response, Error> {
    // Who acted and why is the house's matter, as with the controls.
    let house = caller.sees_only().is_none();
    let schedules = schedule::list(&state.pool).await?.into_iter().map(|row| ScheduleView {
        next_tick: row.next(),
        why: row.why.filter(|_| house),
        actor: if house { row.actor } else { "operator".to_owned() },
        name: row.name,
        cron: row.cron,
        catch_up: row.catch_up,
        paused: row.paused,
        last_tick: row.last_tick,
    });
    let view = serde_json::to_value(Schedules { schedules: schedules.collect() }).map_err(|_| Error::Internal)?;
    Ok(idempotency::answer(StatusCode::OK, &view))
}

/// What is to be changed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScheduleChange {
    /// True: its ticks make no jobs any more, and none is made up for later. False: they do again, from now on.
    paused: bool,
    /// In a few words, without anything about a person. At most 300 letters.
    why: String,
}

/// A schedule that was changed.
#[derive(Serialize, ToSchema)]
pub(crate) struct ScheduleStored {
    /// Which one.
    name: String,
    /// As it is now.
    paused: bool,
}

/// Pause or resume a schedule. Takes a token of the house.
#[utoipa::path(post, path = "/v1/schedules/{name}", tag = "operators", operation_id = "changeSchedule",
    params(("name" = String, Path, description = "One of `GET /v1/schedules`")), request_body = ScheduleChange, security(("token" = ["operate"])),
    responses((status = 200, description = "Stored", body = ScheduleStored), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn change(
    caller: To<Operate>,
    State(state): State<ApiState>,
    Path(name): Path<String>,
    body: Json<ScheduleChange>,
) -> Result<Response, Error> {
    let ScheduleChange { paused, why } = body.value;
    let mut tx = caller.begin(&state).await?;
    operate::on_schedule(&mut tx, &name, paused, caller.operator(&why)).await?;
    caller.finish(tx, StatusCode::OK, &ScheduleStored { name, paused }).await
}
