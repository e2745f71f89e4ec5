//! Provider calls in two steps: the intent is committed before the request leaves, the outcome is recorded behind the
//! gate again.
//!
//! A crash in between leaves an intent whose outcome nobody knows. It is marked `unknown` and reconciled by the
//! provider's webhook, by the provider's listing, or by a person. It is never sent again blindly.

pub mod resolve;

use rand::RngCore;
use sha2::{Digest, Sha256};
use sqlx::PgConnection;

use crate::{
    gate::{self, Allowed, Ask, For},
    id::{Artifact, Id, Intent, Order, Subject},
    job::Effect,
    orders::OrderRow,
    policy::{DataClass, Processor},
    providers::fal::{SubmitError, Submitted},
    purge_call::PurgeCall,
    queue::REFUSED_US,
    registry,
    run::Run,
    stop::Stop,
};

/// A call that somebody wants to make.
#[derive(Debug)]
pub struct Plan<'a> {
    /// The wish, for example `train:order_…`. At most one call of a wish is alive or succeeded.
    pub wish: String,
    /// For which order.
    pub order: &'a OrderRow,
    /// About which object.
    pub about: Option<Id<Artifact>>,
    /// Which image of the order it makes.
    pub position: Option<i32>,
    /// The provider.
    pub processor: Processor,
    /// The provider's model.
    pub model: &'a str,
    /// What is sent.
    pub classes: &'static [DataClass],
    /// Which objects are sent.
    pub objects: &'a [Id<Artifact>],
}

/// A committed intent. Its token travels in the webhook address; only the token's hash is stored.
#[derive(Debug)]
pub struct Intention {
    /// The call.
    pub id: Id<Intent>,
    token: String,
}

impl Intention {
    /// Where the provider calls back.
    pub fn webhook_url(&self, run: &Run) -> String {
        format!("{}/webhooks/fal/{}", run.services.public_url, self.token)
    }
}

/// What became of a plan.
#[derive(Debug)]
pub enum Intended {
    /// Committed: make the call now, once.
    Now(Intention),
    /// An earlier attempt may have made it. Do not make it again.
    Unknown(Id<Intent>),
    /// It was made.
    Already(Id<Intent>),
}

/// The stored form of a token.
pub fn token_sha256(token: &str) -> Vec<u8> {
    Sha256::digest(token.as_bytes()).to_vec()
}

/// Has the provider accepted a call of this wish? Then an attempt that comes after a crash has nothing left to prepare:
/// what the call was made from may have served and gone by now.
pub async fn is_accepted(run: &Run, wish: &str) -> Result<bool, Stop> {
    let accepted = sqlx::query_scalar!(
        r#"select exists (select from safelight.provider_calls
            where wish = $1 and state not in ('intended', 'unknown', 'refused')) as "accepted!""#,
        wish
    )
    .fetch_one(&mut *run.reads().await?)
    .await?;
    Ok(accepted)
}

/// Commit the intent behind the gate. Only a job that declares [`Effect::Reconcile`] may: the engine runs every other one
/// again as if nothing had left the house.
pub async fn intend<P: For>(run: &Run, plan: &Plan<'_>) -> Result<(Intended, Allowed<P>), Stop> {
    if !registry::known(run.kind).is_some_and(|known| known.effect == Effect::Reconcile) {
        return Err(Stop::give_up(
            "effect_not_declared",
            format!(
                "`{}` asks a provider and does not declare Effect::Reconcile: nothing was sent; declare it",
                run.kind
            ),
        ));
    }
    let mut tx = run.begin().await?;
    let ask = Ask::of(plan.order.subject, plan.processor, plan.classes).order(plan.order.id).objects(plan.objects);
    let allowed = gate::pass::<P>(&mut tx, ask).await?;
    let known = sqlx::query!(
        "select id, state from safelight.provider_calls where wish = $1 and state <> 'refused' for update",
        plan.wish
    )
    .fetch_optional(&mut *tx)
    .await?;
    let intended = match known {
        Some(call) if call.state == "intended" => {
            sqlx::query!("update safelight.provider_calls set state = 'unknown' where id = $1", call.id)
                .execute(&mut *tx)
                .await?;
            run.note("call.unknown", "to_reconcile").allowed(&allowed).write(&mut tx).await?;
            Intended::Unknown(call.id.into())
        }
        Some(call) if call.state == "unknown" => Intended::Unknown(call.id.into()),
        Some(call) => Intended::Already(call.id.into()),
        None => {
            let intention = Intention { id: Id::new(), token: new_token() };
            let (generation, grants, version) = (allowed.generation(), allowed.grants(), allowed.policy_version());
            sqlx::query!(
                r#"insert into safelight.provider_calls (id, tenant, subject_id, generation, order_id, artifact_id, position, job_id,
                    purpose, processor, model, wish, token_sha256, grants, policy_version)
                values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)"#,
                intention.id.uuid(),
                plan.order.tenant,
                plan.order.subject.uuid(),
                generation,
                plan.order.id.uuid(),
                plan.about.map(Id::uuid),
                plan.position,
                run.job().uuid(),
                P::PURPOSE.as_str(),
                plan.processor.as_str(),
                plan.model,
                plan.wish,
                token_sha256(&intention.token),
                grants,
                version,
            )
            .execute(&mut *tx)
            .await?;
            run.note("call.intended", "committed").allowed(&allowed).write(&mut tx).await?;
            Intended::Now(intention)
        }
    };
    tx.commit().await?;
    Ok((intended, allowed))
}

/// Make an intended call, once, and record its answer. A task of its own: an attempt that is cut in between, because its
/// person withdrew or its lease was lost, does not take the provider's request id with it.
pub async fn make<F>(run: &Run, call: Id<Intent>, classes: &'static [DataClass], submit: F) -> Result<(), Stop>
where
    F: Future<Output = Result<Submitted, SubmitError>> + Send + 'static,
{
    let run = run.clone();
    tokio::spawn(async move {
        let answer = submit.await;
        record(&run, call, classes, answer).await
    })
    .await
    .map_err(|error| Stop::retry("runtime", error))?
}

/// Record what the provider answered, behind the gate again. Where the gate has closed meanwhile the request id is kept
/// as one to cancel and purge.
async fn record(
    run: &Run,
    call: Id<Intent>,
    classes: &[DataClass],
    answer: Result<Submitted, SubmitError>,
) -> Result<(), Stop> {
    let mut tx = run.begin_without_lease().await?;
    let stop = match answer {
        Ok(submitted) => {
            let classes: Vec<String> = classes.iter().map(|class| class.as_str().to_owned()).collect();
            let open = sqlx::query_scalar!(
                r#"select safelight.record_request($1, $2, $3, $4, $5, $6) as "open!""#,
                call.uuid(),
                submitted.request_id,
                submitted.response_url,
                submitted.status_url,
                submitted.cancel_url,
                &classes
            )
            .fetch_one(&mut *tx)
            .await?;
            run.note("call.submitted", if open { "recorded" } else { "gate_closed" }).write(&mut tx).await?;
            if !open {
                tx.enqueue(&PurgeCall { call }).await?;
            }
            None
        }
        Err(error) if error.is_unknown() => {
            sqlx::query!(
                "update safelight.provider_calls set state = 'unknown' where id = $1 and state = 'intended'",
                call.uuid()
            )
            .execute(&mut *tx)
            .await?;
            run.note("call.unknown", "to_reconcile").write(&mut tx).await?;
            tracing::warn!(job.id = %run.job(), call.id = %call, %error, "nobody knows whether the provider accepted; it is reconciled, not repeated");
            None
        }
        Err(error) => {
            let stop = Stop::from(error);
            let code = match &stop {
                Stop::Retry { code, .. } | Stop::GiveUp { code, .. } => *code,
                // A key or an account that is refused waits for a person, and is called by its name.
                Stop::Wait { why, .. } => {
                    REFUSED_US.into_iter().find(|code| why.split(':').next() == Some(code)).unwrap_or("busy")
                }
            };
            sqlx::query!(
                "update safelight.provider_calls set state = 'refused', code = $2, finished_at = safelight.now() where id = $1 and state in ('intended', 'unknown')",
                call.uuid(),
                code
            )
            .execute(&mut *tx)
            .await?;
            run.note("call.refused", code).write(&mut tx).await?;
            Some(stop)
        }
    };
    tx.commit().await?;
    stop.map_or(Ok(()), Err)
}

fn new_token() -> String {
    let mut bytes = [0_u8; 32];
    rand::rngs::OsRng.fill_bytes(&mut bytes);
    hex::encode(bytes)
}

/// A call as the jobs that collect its result read it.
#[derive(Debug, Clone)]
pub struct Call {
    /// Its id.
    pub id: Id<Intent>,
    /// Whose data was sent.
    pub subject: Id<Subject>,
    /// Under which generation.
    pub generation: i32,
    /// For which order; none once the order is gone.
    pub order: Option<Id<Order>>,
    /// About which object.
    pub about: Option<Id<Artifact>>,
    /// Which image of the order.
    pub position: Option<i32>,
    /// The provider's model.
    pub model: String,
    /// Where it stands.
    pub state: String,
    /// The provider's id of it.
    pub request_id: Option<String>,
    /// Where its result is.
    pub response_url: Option<String>,
    /// Where its state is.
    pub status_url: Option<String>,
    /// Where to ask for its end.
    pub cancel_url: Option<String>,
    /// Is it to be cancelled?
    pub cancel_wanted: bool,
    /// Where its purge stands.
    pub purge: String,
}

/// The same as [`load`], outside a transaction.
pub async fn read(run: &Run, call: Id<Intent>) -> Result<Call, Stop> {
    let mut connection = run.reads().await?;
    load(&mut connection, call).await
}

/// Read a call.
pub async fn load(connection: &mut PgConnection, call: Id<Intent>) -> Result<Call, Stop> {
    let row = sqlx::query!(
        r#"select id, subject_id, generation, order_id, artifact_id, position, model, state, request_id, response_url, status_url,
            cancel_url, cancel_wanted, purge
        from safelight.provider_calls where id = $1"#,
        call.uuid()
    )
    .fetch_optional(connection)
    .await?
    .ok_or_else(|| Stop::give_up("call_gone", format!("{call} does not exist any more")))?;
    Ok(Call {
        id: row.id.into(),
        subject: row.subject_id.into(),
        generation: row.generation,
        order: row.order_id.map(Id::from),
        about: row.artifact_id.map(Id::from),
        position: row.position,
        model: row.model,
        state: row.state,
        request_id: row.request_id,
        response_url: row.response_url,
        status_url: row.status_url,
        cancel_url: row.cancel_url,
        cancel_wanted: row.cancel_wanted,
        purge: row.purge,
    })
}

/// Write how a call ended. From then on the copy at the provider is to be purged. Not where its webhook has brought another
/// request id than the one that was asked about: what was read there is another call's.
pub async fn end(tx: &mut PgConnection, call: &Call, state: &str, code: Option<&str>) -> Result<(), Stop> {
    let ended = sqlx::query!(
        r#"update safelight.provider_calls set state = $2, code = $3, finished_at = coalesce(finished_at, safelight.now()),
            collected_at = case when $2 = 'succeeded' then coalesce(collected_at, safelight.now()) end,
            purge = case when purge = 'none' then 'wanted' else purge end
        where id = $1 and request_id is not distinct from $4"#,
        call.id.uuid(),
        state,
        code,
        call.request_id
    )
    .execute(tx)
    .await?;
    match ended.rows_affected() {
        1 => Ok(()),
        _ => {
            Err(Stop::retry("request_id_corrected", anyhow::anyhow!("{}: its webhook names another request", call.id)))
        }
    }
}
