//! Error reports of this process: what ended without its effect is told to Sentry, where the tenant's policy names Sentry and the
//! gate lets the person's job be observed there.
//!
//! A job never waits for a report: there is room for some, and what finds none is counted and dropped. While Sentry asks for
//! quiet, nothing is sent. What a report may hold is decided in `providers/sentry.rs`; here it is decided whether there is one.

use safelight_jobs::{
    db,
    gate::{self, Ask, Closed, Observe},
    id::{self, Id, Subject},
    policy::{DataClass, Processor, Purpose},
    providers::sentry::{Level, Report, Sentry, SentryError},
    queue::Verdict,
    services::Policies,
};
use sqlx::PgPool;
use tokio::{sync::mpsc, time::Instant};

/// Reports that wait at once, as in Sentry's own SDK.
const ROOM: usize = 30;

/// Where the attempts of this process leave their reports. Clones share it; the sender's task ends with the last one.
#[derive(Debug, Clone)]
pub struct Reports {
    queue: mpsc::Sender<(Report, Option<Id<Subject>>)>,
    policies: Policies,
}

/// An attempt, as far as a report may know it.
#[derive(Debug, Clone)]
pub(crate) struct Attempted {
    pub(crate) kind: String,
    pub(crate) job: Id<id::Job>,
    pub(crate) tenant: Option<String>,
    pub(crate) subject: Option<Id<Subject>>,
    pub(crate) spent: i32,
    pub(crate) most: i32,
}

impl Reports {
    /// Sends what comes, one after the other, on a task of its own. `pool` is asked whether a person's job may be told of.
    #[must_use]
    pub fn start(sentry: Sentry, policies: Policies, pool: PgPool) -> Self {
        let (queue, waiting) = mpsc::channel(ROOM);
        tokio::spawn(send(sentry, pool, waiting));
        Self { queue, policies }
    }

    /// Report an attempt that ended like this, if that is a failure.
    pub(crate) fn of(&self, attempted: &Attempted, verdict: Option<&Verdict>) {
        let Some((code, level)) = failure(attempted, verdict) else { return };
        if !self.may_tell_of(attempted.tenant.as_deref()) {
            return;
        }
        let report = Report::new(&attempted.kind, attempted.job, code, level);
        if self.queue.try_send((report, attempted.subject)).is_err() {
            count("no_room");
        }
    }

    /// Does the policy of this tenant name Sentry? Work of the house is nobody's; it is told where any policy names it.
    fn may_tell_of(&self, tenant: Option<&str>) -> bool {
        self.policies
            .iter()
            .filter(|policy| tenant.is_none_or(|tenant| policy.tenant() == tenant))
            .any(|policy| policy.allows(Purpose::Observe, Processor::Sentry, DataClass::Job))
    }
}

/// What ended without its effect, or panicked, or took too long. A wait is no failure, and a retry with attempts left is not
/// one yet.
fn failure<'a>(attempted: &Attempted, verdict: Option<&'a Verdict>) -> Option<(&'a str, Level)> {
    match verdict? {
        Verdict::GiveUp { code } | Verdict::Park { code } => Some((code.as_str(), Level::Error)),
        Verdict::Retry { code, .. } if code == "panicked" => Some((code.as_str(), Level::Fatal)),
        Verdict::Retry { code, .. } | Verdict::Trouble { code, .. } if attempted.spent + 1 >= attempted.most => {
            Some((code.as_str(), Level::Error))
        }
        Verdict::Retry { code, .. } if code == "timed_out" => Some((code.as_str(), Level::Warning)),
        Verdict::Retry { .. } | Verdict::Trouble { .. } | Verdict::Wait { .. } | Verdict::Done => None,
    }
}

/// Is this person observed? Not while their data are restricted, not after an objection that was upheld, not when nobody can
/// say.
async fn is_observed(pool: &PgPool, subject: Id<Subject>) -> Result<bool, sqlx::Error> {
    let mut tx = db::begin(pool).await?;
    let open = match gate::pass::<Observe>(&mut tx, Ask::of(subject, Processor::Sentry, &[DataClass::Job])).await {
        Ok(_) => true,
        Err(Closed::Refused(_)) => false,
        Err(Closed::Database(error)) => return Err(error),
    };
    tx.commit().await?;
    Ok(open)
}

async fn send(sentry: Sentry, pool: PgPool, mut waiting: mpsc::Receiver<(Report, Option<Id<Subject>>)>) {
    let mut quiet: Option<Instant> = None;
    while let Some((report, subject)) = waiting.recv().await {
        if quiet.is_some_and(|until| Instant::now() < until) {
            count("limited");
            continue;
        }
        if let Some(subject) = subject
            && !is_observed(&pool, subject).await.unwrap_or(false)
        {
            count("gate_closed");
            continue;
        }
        match sentry.send(&report, chrono::Utc::now().timestamp()).await {
            Ok(()) => count("sent"),
            Err(SentryError::Busy { after }) => {
                quiet = Some(Instant::now() + after);
                count("limited");
            }
            Err(error) => {
                tracing::debug!(%error, "an error report did not arrive; it is not sent again");
                count("lost");
            }
        }
    }
}

fn count(outcome: &'static str) {
    metrics::counter!("safelight_error_reports_total", "outcome" => outcome).increment(1);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_has_ended_is_a_failure_and_what_goes_on_is_none() {
        let attempted = |spent| Attempted {
            kind: "train_model".into(),
            job: Id::new(),
            tenant: None,
            subject: None,
            spent,
            most: 3,
        };
        let (delay, code) = (Duration::ZERO, |code: &str| code.to_owned());
        let retry = |text: &str| Verdict::Retry { delay, code: code(text) };
        for (spent, verdict, wanted) in [
            (0, Some(Verdict::GiveUp { code: code("fal_rejected") }), Some(("fal_rejected", Level::Error))),
            (0, Some(Verdict::Park { code: code("undecodable") }), Some(("undecodable", Level::Error))),
            (0, Some(retry("panicked")), Some(("panicked", Level::Fatal))),
            (0, Some(retry("timed_out")), Some(("timed_out", Level::Warning))),
            (1, Some(retry("fal_unreachable")), None),
            (2, Some(retry("fal_unreachable")), Some(("fal_unreachable", Level::Error))),
            (
                2,
                Some(Verdict::Trouble { provider: "fal", delay, code: code("fal_down") }),
                Some(("fal_down", Level::Error)),
            ),
            (9, Some(Verdict::Wait { delay, why: "early".into() }), None),
            (9, Some(Verdict::Done), None),
            (9, None, None),
        ] {
            assert_eq!(failure(&attempted(spent), verdict.as_ref()), wanted, "{verdict:?}");
        }
    }
}
