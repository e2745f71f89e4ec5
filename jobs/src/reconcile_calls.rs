//! Look for provider calls whose end nobody told us, and for those whose outcome nobody knows.
//!
//! Life: enqueued by cron -> calls without news: ask Fal for their state; ended ones are collected as if the webhook had
//! come -> unknown calls: look for the one request in Fal's listing that no call of ours has -> residue counted -> done.
//! Input: calls older than the grace.  Output: collect jobs; request ids found; calls that stay unknown are counted and
//! shown.
//! Never submits anything. More than one candidate is no candidate: a person decides.
//! Source: <https://fal.ai/docs/platform-apis/v1/models/requests/by-endpoint> (read 2026-11).

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    check_image::CheckImage,
    collect_image::CollectImage,
    collect_model::CollectModel,
    id::{Id, Intent, Sweep},
    job::{Effect, Job, JobKey, Queue, Retry, Scope},
    providers::fal::FalStatus,
    purge_call::PurgeCall,
    run::{Run, Tx},
    stop::{Done, Stop},
};

/// Calls that one run looks at.
const AT_ONCE: i64 = 200;

/// One look over all open calls.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReconcileCalls {
    /// Which tick of the schedule, or who asks.
    pub because: String,
    /// How old a call without news must be, in seconds; two minutes if none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_seconds: Option<u32>,
}

struct Open {
    id: Id<Intent>,
    purpose: String,
    model: String,
    request_id: Option<String>,
    created_at: DateTime<Utc>,
}

impl Job for ReconcileCalls {
    const NAME: &'static str = "reconcile_calls";
    const QUEUE: Queue = Queue::Sweeps;
    const RETRY: Retry = Retry { attempts: 5, first: Duration::from_secs(5), most: Duration::from_secs(60) };
    const EFFECT: Effect = Effect::Repeatable;
    type Pass = ();

    fn key(&self) -> JobKey {
        JobKey::new(Self::NAME, &[&self.because])
    }

    fn scope(&self) -> Scope {
        Scope::System
    }

    async fn gate(&self, _run: &Run) -> Result<(), Stop> {
        Ok(())
    }

    async fn run(&self, (): (), run: &Run) -> Result<Done, Stop> {
        let grace = f64::from(self.grace_seconds.unwrap_or(120));
        let open = sqlx::query!(
            r#"select id, purpose, model, request_id, created_at from safelight.provider_calls
            where state in ('intended', 'unknown', 'submitted') and processor = 'fal'
                and created_at <= safelight.now() - make_interval(secs => $1)
            order by created_at limit $2"#,
            grace,
            AT_ONCE
        )
        .fetch_all(&mut *run.reads().await?)
        .await?;
        let (mut ended, mut found, mut unknown) = (0_u32, 0_u32, 0_u32);
        for row in open {
            let call = Open {
                id: row.id.into(),
                purpose: row.purpose,
                model: row.model,
                request_id: row.request_id,
                created_at: row.created_at,
            };
            match call.request_id.clone() {
                Some(request) => ended += u32::from(look(run, &call, &request).await?),
                None => match find(run, &call).await? {
                    Some(request) => {
                        adopt(run, &call, &request).await?;
                        found += 1;
                    }
                    None => unknown += 1,
                },
            }
        }
        let mut tx = run.begin().await?;
        sqlx::query!(
            "insert into safelight.sweeps (id, kind, asked_by, finished_at, found, acted, residue) values ($1, 'reconcile', $2, safelight.now(), $3, $4, $5)",
            Id::<Sweep>::new().uuid(),
            self.because,
            i32::try_from(ended + found + unknown).unwrap_or(i32::MAX),
            i32::try_from(ended + found).unwrap_or(i32::MAX),
            i32::try_from(unknown).unwrap_or(i32::MAX)
        )
        .execute(&mut *tx)
        .await?;
        if ended + found + unknown > 0 {
            run.note("calls.reconciled", "looked")
                .count("ended", ended)
                .count("found", found)
                .count("unknown", unknown)
                .write(&mut tx)
                .await?;
        }
        run.finish(tx).await
    }
}

/// Has this request ended? Then collect it, as the webhook would have.
async fn look(run: &Run, call: &Open, request: &str) -> Result<bool, Stop> {
    let url = format!("{}/status", run.services.fal.response_url(&call.model, request));
    match run.services.fal.status(&url).await {
        Ok(FalStatus::Completed { .. }) => {
            let mut tx = run.begin().await?;
            collect(&mut tx, call.id, &call.purpose).await?;
            tx.commit().await?;
            Ok(true)
        }
        Ok(FalStatus::InQueue { .. } | FalStatus::InProgress | FalStatus::Other(_)) => Ok(false),
        Err(error) => {
            tracing::warn!(call.id = %call.id, %error, "could not look at a request");
            Ok(false)
        }
    }
}

/// What goes on when a request of this purpose has ended. The same keys as from the webhook: whichever comes first.
pub async fn collect(tx: &mut Tx, call: Id<Intent>, purpose: &str) -> Result<(), Stop> {
    match purpose {
        "train" => {
            tx.enqueue(&CollectModel { call }).await?;
        }
        "generate" => {
            tx.enqueue(&CollectImage { call }).await?;
        }
        _ => {
            let image =
                sqlx::query_scalar!("select artifact_id from safelight.provider_calls where id = $1", call.uuid())
                    .fetch_optional(&mut **tx)
                    .await?
                    .flatten();
            match image {
                Some(image) => {
                    let wish = CheckImage::answered(image.into()).map_err(|error| Stop::retry("payload", error))?;
                    let enqueued = wish.enqueue(tx).await?;
                    tx.ring(enqueued.queue);
                }
                // The image is gone by now: nobody wants the answer.
                None => {
                    tx.enqueue(&PurgeCall { call }).await?;
                }
            }
        }
    }
    Ok(())
}

/// The one request at Fal that fits in time and model and that no call of ours has.
async fn find(run: &Run, call: &Open) -> Result<Option<String>, Stop> {
    // As long as a submit may take, and some difference between two clocks: a wider window would find strangers.
    let from = call.created_at - chrono::Duration::seconds(30);
    let to = call.created_at + chrono::Duration::seconds(90);
    let listing = match run.services.fal.list_requests(&call.model, from, to).await {
        Ok(listing) if listing.complete => listing,
        Ok(_) => return Ok(None),
        Err(error) => {
            tracing::warn!(call.id = %call.id, %error, "could not list requests");
            return Ok(None);
        }
    };
    let ids: Vec<String> = listing.requests.into_iter().map(|request| request.request_id).collect();
    let free = sqlx::query_scalar!(
        r#"select r as "r!" from unnest($1::text[]) r
        where not exists (select from safelight.provider_calls c where c.request_id = r)"#,
        &ids
    )
    .fetch_all(&mut *run.reads().await?)
    .await?;
    // Another unknown call of the same model and time could be meant as well.
    let rivals: i64 = sqlx::query_scalar!(
        r#"select count(*) as "n!" from safelight.provider_calls where id <> $1 and model = $2 and request_id is null
            and state in ('intended', 'unknown') and created_at between $3 and $4"#,
        call.id.uuid(),
        call.model,
        from,
        to
    )
    .fetch_one(&mut *run.reads().await?)
    .await?;
    Ok(match free.as_slice() {
        [one] if rivals == 0 => Some(one.clone()),
        _ => None,
    })
}

async fn adopt(run: &Run, call: &Open, request: &str) -> Result<(), Stop> {
    let mut tx = run.begin().await?;
    let response_url = run.services.fal.response_url(&call.model, request);
    let id: Uuid = call.id.uuid();
    sqlx::query!(
        "select safelight.record_request($1, $2, $3, $4, $5, '{}')",
        id,
        request,
        response_url,
        format!("{response_url}/status"),
        format!("{response_url}/cancel")
    )
    .fetch_one(&mut *tx)
    .await?;
    run.note("call.found", "by_listing").write(&mut tx).await?;
    tx.commit().await?;
    look(run, call, request).await?;
    Ok(())
}
