//! Carry out what a person said in the console about a call whose outcome nobody knows. The intake's role writes no call; a worker does.
//!
//! Life: enqueued by [`ask`] with who and why -> [`resolve`] and the job's end in one commit -> done.
//! Input: a call and a person's word.  Output: the call goes on, is purged, or one new attempt of its work is enqueued.
//! Said twice it is done once: a call whose outcome is known by then is left as it is. No provider is asked: the person has looked.
//! No gate: what follows asks its own. The house's own work, so that nobody who holds a person's lock waits for this job's row.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    audit::Entry,
    calls::resolve::{self, NotResolved, Resolution, Said, resolve},
    id::{Id, Intent},
    job::{Effect, Job, JobKey, Queue, Retry, Scope},
    operate::{self, OperateError, Operator},
    queue::{self, Enqueued},
    run::{Run, Tx},
    stop::{Done, Stop},
};

/// What became of the call, as the person says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The provider took it.
    Accepted,
    /// The provider never took it.
    NotMade,
}

impl Outcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::NotMade => "not_made",
        }
    }
}

/// One person's word about one call.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ResolveCall {
    /// Which call.
    pub call: Id<Intent>,
    /// What became of it.
    pub outcome: Outcome,
    /// The provider's id of the request, of one that was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// Who says so, as a code.
    pub by: String,
    /// Why, as a code.
    pub why: String,
}

impl ResolveCall {
    fn resolution(&self) -> Option<Resolution> {
        match (self.outcome, &self.request) {
            (Outcome::Accepted, Some(request)) => Some(Resolution::Accepted(request.clone())),
            (Outcome::NotMade, None) => Some(Resolution::NotMade),
            _ => None,
        }
    }
}

impl Job for ResolveCall {
    const NAME: &'static str = "resolve_call";
    const QUEUE: Queue = Queue::Sweeps;
    const RETRY: Retry = Retry { attempts: 10, first: Duration::from_secs(1), most: Duration::from_secs(60) };
    const EFFECT: Effect = Effect::Repeatable;
    type Pass = ();

    fn key(&self) -> JobKey {
        // With the request: one that turned out to be another call's is said anew with the right one.
        match &self.request {
            Some(request) => JobKey::new(Self::NAME, &[&self.call, &self.outcome.as_str(), request]),
            None => JobKey::new(Self::NAME, &[&self.call, &self.outcome.as_str()]),
        }
    }

    fn scope(&self) -> Scope {
        Scope::System
    }

    async fn gate(&self, _run: &Run) -> Result<(), Stop> {
        Ok(())
    }

    async fn run(&self, (): (), run: &Run) -> Result<Done, Stop> {
        let Some(resolution) = self.resolution() else {
            return Err(Stop::give_up("not_resolved", NotResolved::BadRequest.to_string()));
        };
        let mut tx = run.begin().await?;
        let said = Said { by: &self.by, why: &self.why };
        let outcome = match resolve(&mut tx, self.call, &resolution, said).await {
            Ok(resolved) => resolved.as_str(),
            // The provider's news, another person or an erasure came first; nothing was changed.
            Err(NotResolved::Known { .. } | NotResolved::NoSuchCall(_)) => "known_by_then",
            Err(NotResolved::Database(error)) => return Err(error.into()),
            Err(NotResolved::Enqueue(error)) => return Err(error.into()),
            Err(error) => return Err(Stop::give_up("not_resolved", error.to_string())),
        };
        run.note("call.word", outcome).code("call", self.call.to_string()).write(&mut tx).await?;
        run.finish(tx).await
    }
}

/// Why a person's word was not taken. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum NotAsked {
    /// No reason, or a tenant's operator.
    #[error(transparent)]
    Operator(#[from] OperateError),
    /// As on the command line.
    #[error(transparent)]
    Word(#[from] NotResolved),
}

/// Take a person's word for a call, to be carried out by a worker: looked at now as then, and kept with who and why. `by` is who
/// says so, as a code; why is the operator's reason, a code as well.
///
/// # Errors
/// Those of [`resolve`], an operator of one tenant, no reason.
pub async fn ask(
    tx: &mut Tx,
    call: Id<Intent>,
    resolution: Resolution,
    by: &str,
    operator: Operator<'_>,
) -> Result<Enqueued, NotAsked> {
    let said = operate::said(operator)?;
    if operator.tenant.is_some() {
        return Err(OperateError::OfTheHouse.into());
    }
    resolve::in_codes(Said { by, why: said.why })?;
    let row = sqlx::query!(
        "select state, tenant, subject_id, order_id from safelight.provider_calls where id = $1",
        call.uuid()
    )
    .fetch_optional(&mut **tx)
    .await
    .map_err(NotResolved::from)?
    .ok_or(NotResolved::NoSuchCall(call))?;
    if row.state != "unknown" {
        return Err(NotResolved::Known { call, state: row.state }.into());
    }
    let (outcome, request) = match resolution {
        Resolution::Accepted(request) => {
            resolve::may_be_its_request(tx, call, &request).await?;
            (Outcome::Accepted, Some(request))
        }
        Resolution::NotMade => (Outcome::NotMade, None),
    };
    let word = ResolveCall { call, outcome, request, by: by.to_owned(), why: said.why.to_owned() };
    one_word(tx, &word).await?;
    let asked = tx.enqueue(&word).await.map_err(NotResolved::from)?;
    if !asked.already {
        let mut entry = Entry::new("operator", "call.said", outcome.as_str())
            .tenant(row.tenant)
            .subject(row.subject_id.into())
            .job(ResolveCall::NAME, asked.id)
            .code("call", call.to_string())
            .code("by", by)
            .code("why", said.why);
        if let Some(order) = row.order_id {
            entry = entry.order(order.into());
        }
        let noted = queue::note_act(tx, "call.said", outcome.as_str(), &call.to_string(), said, entry).await;
        noted.map_err(NotResolved::from)?;
    }
    Ok(asked)
}

/// While one word about a call is still to be carried out, another one is refused: the first would win, whichever is right.
async fn one_word(tx: &mut Tx, word: &ResolveCall) -> Result<(), NotResolved> {
    let key = word.key();
    let other = sqlx::query_scalar!(
        r#"select key as "key!" from safelight.jobs
        where queue = 'sweeps' and kind = 'resolve_call' and payload ->> 'call' = $1 and key <> $2 limit 1"#,
        word.call.to_string(),
        key.as_str()
    )
    .fetch_optional(&mut **tx)
    .await?;
    match other {
        None => Ok(()),
        Some(key) => Err(queue::EnqueueError::Conflict { key }.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_request_is_another_word_and_the_same_word_is_the_same() {
        let call = Id::new();
        let says = |request: &str| ResolveCall {
            call,
            outcome: Outcome::Accepted,
            request: Some(request.to_owned()),
            by: "ops_1".to_owned(),
            why: "seen_there".to_owned(),
        };
        assert_ne!(says("0a1b-1").key(), says("0a1b-2").key(), "the first one turned out to be another call's");
        assert_eq!(says("0a1b-1").key(), says("0a1b-1").key());
    }
}
