//! Look for provider calls whose end nobody told us, for those whose outcome nobody knows, and for paid orders that stand
//! still.
//!
//! Life: enqueued by cron -> all open calls, page by page -> calls without news: ask Fal for their state; ended ones are
//! collected as if the webhook had come -> unknown calls: look for the one request in Fal's listing that no call of ours has
//! -> paid orders on which nothing works any more go to refund review -> residue counted -> done.
//! Input: calls older than the grace.  Output: collect jobs; request ids found; calls that stay unknown are counted and
//! shown, with the age of the oldest; stopped orders.
//! Never submits anything. More than one candidate is no candidate: a person decides.
//! Source: <https://fal.ai/docs/platform-apis/v1/models/requests/by-endpoint> (read 2026-11).

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    check_image::CheckImage,
    collect,
    collect_image::CollectImage,
    collect_model::CollectModel,
    id::{Id, Intent},
    job::Retry,
    providers::fal::{FalError, FalStatus},
    purge_call::PurgeCall,
    run::{Run, Tx},
    standstill,
    stop::Stop,
    sweep::{Sweep, Swept},
};

/// Calls of one page.
const AT_ONCE: i64 = 200;
/// A call that was written down and whose answer has not been recorded after so many seconds has lost it: no submit takes
/// as long.
const LONGEST_SUBMIT: f64 = 120.0;
/// By so many seconds a request's time at Fal may lie before the time at which its call was written down: two clocks.
const CLOCKS_APART: i64 = 30;
/// And by so many after it: as long as a request may be on its way. A wider window would find strangers.
const LONGEST_WAY: i64 = 90;

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
    intended: bool,
    /// Fal said that it does not know it.
    not_found: bool,
    created_at: DateTime<Utc>,
    age: i64,
}

impl Sweep for ReconcileCalls {
    const NAME: &'static str = "reconcile_calls";
    const KIND: &'static str = "reconcile";
    const RETRY: Retry = Retry { attempts: 5, first: Duration::from_secs(5), most: Duration::from_secs(60) };

    fn because(&self) -> &str {
        &self.because
    }

    async fn sweep(&self, run: &Run) -> Result<(Tx, Swept), Stop> {
        let grace = f64::from(self.grace_seconds.unwrap_or(120));
        let (mut ended, mut found, mut unknown) = (0_u32, 0_u32, 0_u32);
        let mut last = None;
        loop {
            let page = page(run, grace, last).await?;
            let Some(end) = page.last().map(|call| (call.created_at, call.id.uuid())) else { break };
            for call in page {
                match call.request_id.clone() {
                    Some(request) => ended += u32::from(look(run, &call, &request).await?),
                    None => match find(run, &call).await? {
                        Some(request) => {
                            adopt(run, &call, &request).await?;
                            found += 1;
                        }
                        None => {
                            lose(run, &call).await?;
                            unknown += 1;
                        }
                    },
                }
            }
            last = Some(end);
        }
        let stopped = standstill::stop_all(run).await?;
        let mut tx = run.begin().await?;
        if ended + found + unknown + stopped > 0 {
            run.note("calls.reconciled", "looked")
                .count("ended", ended)
                .count("found", found)
                .count("unknown", unknown)
                .count("orders_stopped", stopped)
                .write(&mut tx)
                .await?;
        }
        let acted = i64::from(ended + found + stopped);
        let unknown = i64::from(unknown);
        Ok((tx, Swept { found: acted + unknown, acted, residue: Some(unknown), began: None }))
    }
}

/// The next open calls after this one. Those whose collecting died are left out: their result is nobody's business until a
/// redrive.
async fn page(run: &Run, grace: f64, after: Option<(DateTime<Utc>, Uuid)>) -> Result<Vec<Open>, sqlx::Error> {
    let (at, id) = after.unzip();
    let rows = sqlx::query!(
        r#"select c.id, c.purpose, c.model, c.request_id, c.state, c.created_at,
            c.not_found_since is not null as "not_found!", floor(extract(epoch from safelight.now() - c.created_at))::bigint as "age!"
        from safelight.provider_calls c
        where c.state in ('intended', 'unknown', 'submitted') and c.processor = 'fal'
            and c.created_at <= safelight.now() - make_interval(secs => $1)
            and ($3::timestamptz is null or (c.created_at, c.id) > ($3, $4)) and not safelight.collecting_died(c)
        order by c.created_at, c.id limit $2"#,
        grace,
        AT_ONCE,
        at,
        id
    )
    .fetch_all(&mut *run.reads().await?)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Open {
            id: row.id.into(),
            purpose: row.purpose,
            model: row.model,
            request_id: row.request_id,
            intended: row.state == "intended",
            not_found: row.not_found,
            created_at: row.created_at,
            age: row.age,
        })
        .collect())
}

/// Nobody has this call's answer, and the listing does not name it: nobody knows whether it was made.
async fn lose(run: &Run, call: &Open) -> Result<(), Stop> {
    if !call.intended || (call.age as f64) < LONGEST_SUBMIT {
        return Ok(());
    }
    let mut tx = run.begin().await?;
    let lost = sqlx::query!(
        "update safelight.provider_calls set state = 'unknown' where id = $1 and state = 'intended'",
        call.id.uuid()
    )
    .execute(&mut *tx)
    .await?;
    if lost.rows_affected() == 1 {
        run.note("call.unknown", "to_reconcile").code("call", call.id.to_string()).write(&mut tx).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// Has this request ended? Then collect it, as the webhook would have.
async fn look(run: &Run, call: &Open, request: &str) -> Result<bool, Stop> {
    let url = format!("{}/status", run.services.fal.response_url(&call.model, request));
    match run.services.fal.status(&url).await {
        Ok(status) => {
            is_found(run, call).await?;
            if matches!(status, FalStatus::Completed { .. }) { end(run, call).await } else { Ok(false) }
        }
        // Collecting finds nothing there and says so on the call and the order.
        Err(FalError::NotFound) => match collect::not_found_for(run, call.id).await? {
            seconds if seconds > collect::UNHEARD_OF => end(run, call).await,
            _ => Ok(false),
        },
        Err(error) => {
            tracing::warn!(call.id = %call.id, %error, "could not look at a request");
            Ok(false)
        }
    }
}

/// Fal knows it: if it said something else before, that counts no more.
async fn is_found(run: &Run, call: &Open) -> Result<(), Stop> {
    if !call.not_found {
        return Ok(());
    }
    let mut tx = run.begin().await?;
    sqlx::query!("update safelight.provider_calls set not_found_since = null where id = $1", call.id.uuid())
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(())
}

async fn end(run: &Run, call: &Open) -> Result<bool, Stop> {
    let mut tx = run.begin().await?;
    collect(&mut tx, call.id, &call.purpose).await?;
    tx.commit().await?;
    Ok(true)
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
    let (apart, way) = (chrono::Duration::seconds(CLOCKS_APART), chrono::Duration::seconds(LONGEST_WAY));
    let (from, to) = (call.created_at - apart, call.created_at + way);
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
    // It could be the request of any other call whose own window meets this one: of another person, perhaps. Also of one that a
    // person declared not made, who may have been wrong.
    let rivals: i64 = sqlx::query_scalar!(
        r#"select count(*) as "n!" from safelight.provider_calls where id <> $1 and model = $2 and request_id is null
            and (state in ('intended', 'unknown') or code = 'not_made') and created_at between $3 and $4"#,
        call.id.uuid(),
        call.model,
        from - way,
        to + apart
    )
    .fetch_one(&mut *run.reads().await?)
    .await?;
    // A listing that lacks a request which we know it must hold is not complete, or not of our account: the one that is free in it
    // says nothing.
    let lacks = sqlx::query_scalar!(
        r#"select exists (select from safelight.provider_calls where id <> $1 and model = $2 and processor = 'fal'
            and created_at >= $3 and submitted_at <= $4 and request_id <> all ($5)) as "lacks!""#,
        call.id.uuid(),
        call.model,
        from,
        to,
        &ids
    )
    .fetch_one(&mut *run.reads().await?)
    .await?;
    if lacks {
        tracing::warn!(call.id = %call.id, "fal's listing lacks a request of ours; nothing in it is taken for this call's");
    }
    Ok(match free.as_slice() {
        [one] if rivals == 0 && !lacks => Some(one.clone()),
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
