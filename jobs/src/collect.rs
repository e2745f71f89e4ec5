//! What collecting a model and collecting an image have in common: read the result, write the row, fetch the bytes.
//!
//! The provider's result addresses are used and forgotten: they are never stored and never logged.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{StreamExt, TryStreamExt};
use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::PgConnection;

use crate::{
    bundle,
    calls::{self, Call},
    gate::{Allowed, Ask, Closed, For, Refusal},
    id::{Artifact, Id, Intent, Order},
    keys, orders,
    policy::{DataClass, Processor},
    providers::{
        fal::{FalError, FalFile, FalStatus},
        storage::Key,
    },
    purge_call::PurgeCall,
    run::Run,
    stop::{Done, Stop},
};

/// A call, and what the gate of its purpose says to bringing its result home. A restricted person's result waits; every
/// other refusal is an answer: the result is left where it lies.
pub(crate) async fn gate<P: For>(run: &Run, call: Id<Intent>, class: DataClass) -> Result<(Call, Passed<P>), Stop> {
    let call = calls::read(run, call).await?;
    let classes = [class];
    let mut ask = Ask::of(call.subject, Processor::Supabase, &classes).generation(call.generation);
    ask.order = call.order;
    match run.pass::<P>(ask).await {
        Ok(allowed) => Ok((call, Ok(allowed))),
        Err(Closed::Refused(refusal)) if refusal.code != "subject_restricted" => Ok((call, Err(refusal))),
        Err(closed) => Err(closed.into()),
    }
}

/// A proof, or why there is none.
pub(crate) type Passed<P> = Result<Allowed<P>, Refusal>;

/// The code of a call whose result is not at the provider any more, or never was: a fact that no later try changes.
pub(crate) const EXPIRED: &str = "result_expired";
/// A request that Fal has not heard of for so many seconds is none, and a result that it has not for so long is lost. Counted from the
/// first answer that said so: a training may take longer than this.
pub(crate) const UNHEARD_OF: i64 = 3600;
/// How long until a result that is not there yet is asked for again.
const NOT_YET: Duration = Duration::from_secs(30);

/// The result of a call. `Ok(Err(code))`: the model failed, or its result has expired. `Err`: not now.
pub(crate) async fn result(run: &Run, call: &Call) -> Result<Result<Value, String>, Stop> {
    let Some(request) = call.request_id.as_deref() else {
        return Err(Stop::wait(Duration::from_secs(60), "call_unknown: the provider's request id is not known yet"));
    };
    let url = match &call.response_url {
        Some(url) => url.clone(),
        None => run.services.fal.response_url(&call.model, request),
    };
    match run.services.fal.result(&url).await {
        Ok(value) => Ok(Ok(value)),
        // Seconds after the end a result may not be where it is read. Lost is what was purged, what Fal has not for an hour, and what it
        // does not know of.
        Err(FalError::NotFound)
            if call.purge != "purged"
                && not_found_for(run, call.id).await? < UNHEARD_OF
                && is_known(run, call, request).await? =>
        {
            Err(Stop::wait(NOT_YET, "result_not_there: Fal knows the request and has no result of it yet"))
        }
        Err(FalError::NotFound) => Ok(Err(EXPIRED.to_owned())),
        // A fault of the moment speaks the same language as a model that failed of it. The request's own state knows which.
        Err(FalError::Failed(failure)) if failure.may_repeat && !has_failed(run, call, request).await? => {
            Err(Stop::retry("fal_fault", FalError::Failed(failure)))
        }
        Err(error) => match error.model_failure() {
            Some(code) => Ok(Err(code.to_owned())),
            None => Err(error.into()),
        },
    }
}

/// Fal says that it has it not. Answers for how many seconds it has said so; none the first time.
pub(crate) async fn not_found_for(run: &Run, call: Id<Intent>) -> Result<i64, Stop> {
    let mut tx = run.begin().await?;
    let seconds = sqlx::query_scalar!(
        r#"update safelight.provider_calls set not_found_since = coalesce(not_found_since, safelight.now()) where id = $1
        returning floor(extract(epoch from safelight.now() - not_found_since))::bigint as "seconds!""#,
        call.uuid()
    )
    .fetch_one(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(seconds)
}

/// Did the request end with an error?
async fn has_failed(run: &Run, call: &Call, request: &str) -> Result<bool, Stop> {
    Ok(matches!(status(run, call, request).await?, FalStatus::Completed { error: Some(_) }))
}

/// Does Fal know the request?
async fn is_known(run: &Run, call: &Call, request: &str) -> Result<bool, Stop> {
    match status(run, call, request).await {
        Ok(_) => Ok(true),
        Err(FalError::NotFound) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

async fn status(run: &Run, call: &Call, request: &str) -> Result<FalStatus, FalError> {
    let url = match &call.status_url {
        Some(url) => url.clone(),
        None => format!("{}/status", run.services.fal.response_url(&call.model, request)),
    };
    run.services.fal.status(&url).await
}

/// A row for what is about to be stored.
pub(crate) struct Expected {
    pub(crate) id: Id<Artifact>,
    key: Key,
    state: String,
}

impl Expected {
    /// An earlier attempt stored it already.
    pub(crate) fn is_stored(&self) -> bool {
        self.state != "expected"
    }
}

/// The object's row before its bytes, behind the gate.
pub(crate) async fn expect(
    run: &Run,
    call: &Call,
    order: Id<Order>,
    class: &str,
    position: Option<i32>,
) -> Result<Expected, Stop> {
    let wanted = Id::<Artifact>::new();
    let mut tx = run.begin().await?;
    let tenant = sqlx::query_scalar!("select tenant from safelight.orders where id = $1", order.uuid())
        .fetch_one(&mut *tx)
        .await?;
    let wanted_key = keys::of(&tenant, call.subject, class, wanted)?;
    let id = sqlx::query_scalar!(
        r#"select safelight.expect_artifact($1, $2, $3, $4, $5, $6, $7) as "id!""#,
        wanted.uuid(),
        call.subject.uuid(),
        call.generation,
        order.uuid(),
        class,
        position,
        wanted_key.as_str()
    )
    .fetch_one(&mut *tx)
    .await?;
    let row = sqlx::query!("select storage_key, state from safelight.artifacts where id = $1", id)
        .fetch_one(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(Expected { id: id.into(), key: keys::stored(&row.storage_key)?, state: row.state })
}

/// What the audit log says of the place.
pub(crate) async fn target(
    run: &Run,
    tx: &mut PgConnection,
    call: &Call,
    object: &Expected,
) -> Result<Option<Vec<u8>>, sqlx::Error> {
    run.services.vault.commit(tx, call.subject, object.key.as_str()).await
}

/// What lies in the store by now.
pub(crate) struct Fetched {
    content_type: String,
    bytes: i64,
    sha256: String,
}

/// From the provider's file to our store, as it streams in: a model does not pass through memory whole.
pub(crate) async fn fetch(run: &Run, file: &FalFile, to: &Expected) -> Result<Fetched, Stop> {
    let download = run.services.fal.open(file.url.expose(), keys::MOST_BYTES).await?;
    let content_type = download
        .content_type
        .or_else(|| file.content_type.clone())
        .unwrap_or_else(|| "application/octet-stream".to_owned());
    let hash = Arc::new(Mutex::new(Sha256::new()));
    let hashing = hash.clone();
    let chunks = download
        .chunks
        .inspect_ok(move |chunk| hashing.lock().unwrap_or_else(PoisonError::into_inner).update(chunk))
        .boxed();
    let bytes = run.services.storage.put_stream(&to.key, chunks, &content_type).await?;
    let sha256 = hex::encode(hash.lock().unwrap_or_else(PoisonError::into_inner).clone().finalize());
    Ok(Fetched { content_type, bytes: i64::try_from(bytes).unwrap_or(i64::MAX), sha256 })
}

/// The bytes are in the store: record it behind the gate, in the caller's transaction.
pub(crate) async fn arrived(
    tx: &mut PgConnection,
    object: &Expected,
    fetched: &Fetched,
    deliver: bool,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "select safelight.artifact_arrived($1, $2, $3, $4, $5)",
        object.id.uuid(),
        fetched.content_type,
        fetched.bytes,
        fetched.sha256,
        deliver
    )
    .fetch_one(tx)
    .await?;
    Ok(())
}

/// The gate is closed: collect nothing, have the result purged where it lies, and let a person look at the money.
pub(crate) async fn leave_it_there(run: &Run, call: &Call, code: &'static str) -> Result<Done, Stop> {
    let mut tx = run.begin().await?;
    calls::end(&mut tx, call, "cancelled", Some(code)).await?;
    if let Some(order) = call.order {
        bundle::has_served(&mut tx, order).await?;
        orders::stop(&mut tx, order, code).await?;
    }
    tx.enqueue(&PurgeCall { call: call.id }).await?;
    run.note("result.left", code).write(&mut tx).await?;
    run.finish(tx).await
}
