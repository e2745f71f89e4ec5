//! Have what one call left at Fal.ai deleted there, and check what Fal says of each file.
//!
//! Life: enqueued when a result was collected, refused or became unwanted -> cancel, if it may still run -> wait until it
//! ended -> delete payloads and files -> every file of the answer is looked at -> done.
//! Input: a provider call.  Output: its purge, with the number of files.
//! Tried until verified. A call whose request id nobody knows waits for the reconcile sweep.
//! No gate: taking data away needs no permission.
//! Each file of Fal's answer is looked at, and where the purge found nothing, the result is looked for.
//! Source: <https://fal.ai/docs/platform-apis/v1/models/requests/payloads> (read 2026-11): an answer of 200 may hold files
//! that were not deleted; a cancelled request may finish anyway.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    calls::{self, Call},
    id::{Id, Intent},
    job::{Effect, Job, JobKey, Queue, Retry, Scope},
    policy::Processor,
    providers::fal::{CancelAnswer, FalError, FalStatus, FileDeletion},
    run::Run,
    stop::{Done, Stop},
};

/// One call's purge.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PurgeCall {
    /// Which call.
    pub call: Id<Intent>,
}

impl Job for PurgeCall {
    const NAME: &'static str = "purge_call";
    const QUEUE: Queue = Queue::Deletion;
    const RETRY: Retry = Retry { attempts: 20, first: Duration::from_secs(5), most: Duration::from_secs(3600) };
    const EFFECT: Effect = Effect::UntilVerified;
    const PROVIDER: Option<Processor> = Some(Processor::Fal);
    type Pass = ();

    fn key(&self) -> JobKey {
        JobKey::new(Self::NAME, &[&self.call])
    }

    fn scope(&self) -> Scope {
        Scope::Call(self.call)
    }

    async fn gate(&self, _run: &Run) -> Result<(), Stop> {
        Ok(())
    }

    async fn run(&self, (): (), run: &Run) -> Result<Done, Stop> {
        let mut tx = run.begin().await?;
        let call = calls::load(&mut tx, self.call).await?;
        tx.commit().await?;
        let files = purge(run, &call).await?;
        let mut tx = run.begin().await?;
        run.note("call.purged", "purged").count("files", files).write(&mut tx).await?;
        run.finish(tx).await
    }
}

/// Cancel what may still run, delete what it left, and look at each file of the answer. Answers how many files went.
pub(crate) async fn purge(run: &Run, call: &Call) -> Result<usize, Stop> {
    let Some(request) = &call.request_id else {
        return match call.state.as_str() {
            "refused" => Ok(0),
            _ => Err(Stop::wait(Duration::from_secs(300), "call_unknown: the provider's request id is not known yet")),
        };
    };
    if call.purge == "purged" {
        return Ok(0);
    }
    // Refused, and with a request id: declared not made by a person, and made all the same.
    if matches!(call.state.as_str(), "submitted" | "refused") {
        stop_it(run, call, request).await?;
    }
    let files = match run.services.fal.purge(request).await {
        Err(FalError::NotFound) => Vec::new(),
        files => files?,
    };
    // Nothing under that id, or nothing to delete, is what a purge is for, and also what a wrong key or account would see. So look.
    if files.is_empty() {
        nothing_there(run, call, request).await?;
    }
    let mut failed = 0;
    for file in &files {
        failed += usize::from(file.failed.is_some() || !is_gone(run, file).await?);
    }
    let mut tx = run.begin().await?;
    let marked = sqlx::query!(
        r#"update safelight.provider_calls set purge = $2, purged_at = case when $2 = 'purged' then safelight.now() end,
            state = case when state = 'submitted' then 'cancelled' else state end,
            finished_at = coalesce(finished_at, safelight.now())
        where id = $1 and request_id = $3"#,
        call.id.uuid(),
        if failed == 0 { "purged" } else { "failed" },
        request
    )
    .execute(&mut *tx)
    .await?
    .rows_affected();
    tx.commit().await?;
    // A webhook proved meanwhile that the call is another request: that one lies there still.
    if marked == 0 {
        return Err(Stop::retry(
            "request_id_corrected",
            anyhow::anyhow!("{}: it goes by another request id than the one that was purged", call.id),
        ));
    }
    if failed > 0 {
        return Err(Stop::retry(
            "files_left_at_fal",
            anyhow::anyhow!("{}: {failed} of {} files are still there", call.id, files.len()),
        ));
    }
    Ok(files.len())
}

/// Success of a delete is a claim: the file itself must not be had any more.
async fn is_gone(run: &Run, file: &FileDeletion) -> Result<bool, Stop> {
    match &file.link {
        Some(link) => match run.services.fal.is_file_gone(link.expose()).await {
            // At a host that we do not ask: Fal's word is all there is.
            Err(FalError::ForeignLink) => Ok(true),
            gone => Ok(gone?),
        },
        None => Ok(true),
    }
}

/// The purge found nothing: then the result must not be there either.
async fn nothing_there(run: &Run, call: &Call, request: &str) -> Result<(), Stop> {
    let url = call.response_url.clone().unwrap_or_else(|| run.services.fal.response_url(&call.model, request));
    match run.services.fal.result(&url).await {
        Err(FalError::NotFound) => Ok(()),
        Ok(_) | Err(FalError::Failed(_) | FalError::Unfinished) => Err(Stop::retry(
            "purge_found_nothing",
            anyhow::anyhow!("{}: Fal's purge found nothing, and the result is still there", call.id),
        )),
        Err(error) => Err(error.into()),
    }
}

/// Ask for the end of work that nobody wants any more. Cancelled and finished anyway: only its end makes a purge final.
async fn stop_it(run: &Run, call: &Call, request: &str) -> Result<(), Stop> {
    let base = run.services.fal.response_url(&call.model, request);
    let answer = run.services.fal.cancel(call.cancel_url.as_deref().unwrap_or(&format!("{base}/cancel"))).await?;
    let (outcome, over) = match answer {
        CancelAnswer::OutOfQueue => ("out_of_queue", true),
        CancelAnswer::AlreadyCompleted => ("already_completed", true),
        CancelAnswer::NotFound => ("not_found", true),
        CancelAnswer::Requested => ("requested", false),
    };
    let mut tx = run.begin().await?;
    run.note("call.cancel_asked", outcome).write(&mut tx).await?;
    tx.commit().await?;
    if over {
        return Ok(());
    }
    match run.services.fal.status(call.status_url.as_deref().unwrap_or(&format!("{base}/status"))).await? {
        FalStatus::Completed { .. } => Ok(()),
        FalStatus::InQueue { .. } | FalStatus::InProgress | FalStatus::Other(_) => {
            Err(Stop::wait(Duration::from_secs(60), "fal_works: cancelled, but still running there"))
        }
    }
}
