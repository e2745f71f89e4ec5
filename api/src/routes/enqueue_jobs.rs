//! Enqueue many jobs of one kind at once: one statement, one commit, one answer an item.
//!
//! What cannot be a job of this caller at all refuses the whole request and names the item; a key that is known, or that the
//! request itself repeats, is an answer for its item and fails none of the others.

use axum::{extract::State, http::StatusCode, response::Response};
use chrono::{DateTime, Utc};
use safelight_jobs::{
    id::{self, Id},
    queue::{self, EnqueueError},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    caller::{Enqueue, To},
    error::Error,
    input::Json,
    openapi::Problem,
    routes::enqueue_job::{self, Asked},
    state::ApiState,
};

/// The most items of one request.
const MOST: usize = 500;

/// Jobs of one kind.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewJobs {
    /// One of `GET /v1/jobs/kinds`.
    #[schema(example = "deliver_order")]
    kind: String,
    /// At most 500.
    jobs: Vec<NewItem>,
}

/// One of them.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewItem {
    /// The kind's payload: ids only.
    #[schema(value_type = Object)]
    payload: Value,
    /// Your own key, as for a single job.
    key: Option<String>,
    /// Not before this instant; now if none.
    run_at: Option<DateTime<Utc>>,
}

/// What became of one item.
#[derive(Serialize, ToSchema)]
pub(crate) struct Item {
    /// The job; the same one for the same wish. None for a conflict.
    #[schema(value_type = Option<String>, example = "job_019a8f2e6c5d7b1290f3a4b5c6d7e8f9")]
    job: Option<Id<id::Job>>,
    /// The wish was known, or came earlier in this request.
    already: bool,
    /// The key is known with another payload: nothing was stored for this item.
    conflict: bool,
}

/// One answer an item, in their order.
#[derive(Serialize, ToSchema)]
pub(crate) struct Items {
    /// As many as were sent.
    jobs: Vec<Item>,
}

/// Enqueue many typed jobs of one kind.
#[utoipa::path(post, path = "/v1/jobs/bulk", tag = "jobs", operation_id = "enqueueJobs",
    request_body = NewJobs, security(("token" = ["enqueue"])),
    responses((status = 202, description = "Stored; one answer an item", body = Items), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn enqueue(
    caller: To<Enqueue>,
    State(state): State<ApiState>,
    body: Json<NewJobs>,
) -> Result<Response, Error> {
    let NewJobs { kind, jobs } = body.value;
    if jobs.is_empty() || jobs.len() > MOST {
        return Err(Error::Invalid { code: "jobs_number", why: format!("`jobs` holds 1 to {MOST} items") });
    }
    let mut tx = caller.begin(&state).await?;
    let mut wishes = Vec::with_capacity(jobs.len());
    for (number, item) in jobs.into_iter().enumerate() {
        let NewItem { payload, key, run_at } = item;
        let wish = enqueue_job::wish(&state, &mut tx, &caller, &kind, Asked { payload, key, run_at }).await;
        let mut wish = wish.map_err(|error| match error {
            Error::Invalid { code, why } => Error::Invalid { code, why: format!("item {number}: {why}") },
            other => other,
        })?;
        wish.traceparent = caller.traceparent();
        wishes.push(wish);
    }
    let mut items = Vec::with_capacity(wishes.len());
    for answer in queue::enqueue_wishes(&mut tx, &wishes).await? {
        items.push(match answer {
            Ok(enqueued) => {
                tx.ring(enqueued.queue);
                Item { job: Some(enqueued.id), already: enqueued.already, conflict: false }
            }
            Err(EnqueueError::Conflict { .. }) => Item { job: None, already: false, conflict: true },
            Err(error) => return Err(error.into()),
        });
    }
    caller.finish(tx, StatusCode::ACCEPTED, &Items { jobs: items }).await
}
