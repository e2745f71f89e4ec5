//! How an attempt ends: done, or one of three words.

use std::time::Duration;

use crate::policy::Processor;

/// Why a job did not finish now.
#[derive(Debug)]
pub enum Stop {
    /// May work unchanged later; spends an attempt.
    Retry {
        /// Stable code, stored with the attempt.
        code: &'static str,
        /// For the log: ids and provider codes, never personal data.
        why: anyhow::Error,
        /// What the provider asked for (`Retry-After`); the stored delay is never shorter.
        at_least: Option<Duration>,
        /// The provider that did not answer as it should: counted by its breaker.
        trouble: Option<Processor>,
    },
    /// Nothing is wrong, it is early; spends no attempt.
    Wait {
        /// The shortest wait.
        at_least: Duration,
        /// Code and, after a colon, what is waited for: `consent_missing: compare at upload`.
        why: String,
    },
    /// No later try can help; the job becomes a dead letter and a person is told.
    GiveUp {
        /// Stable code.
        code: &'static str,
        /// For the log, without personal data.
        why: String,
    },
}

impl Stop {
    /// A retry with the job's own delay.
    pub fn retry(code: &'static str, why: impl Into<anyhow::Error>) -> Self {
        Self::Retry { code, why: why.into(), at_least: None, trouble: None }
    }
    /// A retry because a provider is in trouble.
    pub fn trouble(provider: Processor, code: &'static str, why: impl Into<anyhow::Error>) -> Self {
        Self::Retry { code, why: why.into(), at_least: None, trouble: Some(provider) }
    }
    /// A wait.
    pub fn wait(at_least: Duration, why: impl Into<String>) -> Self {
        Self::Wait { at_least, why: why.into() }
    }
    /// The end.
    pub fn give_up(code: &'static str, why: impl Into<String>) -> Self {
        Self::GiveUp { code, why: why.into() }
    }
}

/// Waits for something that a provider, in its right mind, says is not there yet: while its breaker looks again, such an answer is the news
/// that it is well, as much as an end would be.
pub const ANSWERED: [&str; 2] = ["fal_works", "result_not_there"];

/// What a job waits for while the database is away, full or closing. An outage is nobody's fault and spends no attempt.
pub const DATABASE_AWAY: &str = "database_away";

impl From<sqlx::Error> for Stop {
    /// A closed gate speaks through SQLSTATE `SL002`; every other database error may pass.
    fn from(error: sqlx::Error) -> Self {
        match crate::gate::Refusal::from_database(&error) {
            Some(refusal) => refusal.into(),
            None if crate::db::is_outage(&error) => {
                tracing::warn!(%error, "the database is away");
                // Jittered, so that what an outage stopped does not come back as a herd.
                Self::wait(Duration::from_secs(1).mul_f64(1.0 + 2.0 * rand::random::<f64>()), DATABASE_AWAY)
            }
            None => Self::retry("database", error),
        }
    }
}

/// The proof that an attempt came to its end.
#[derive(Debug)]
#[must_use]
pub struct Done(pub(crate) Ending);

#[derive(Debug)]
pub(crate) enum Ending {
    /// The job's end was committed together with its last effects.
    Committed,
    /// There was no last transaction: the settler writes the end.
    Unrecorded,
}

impl Done {
    /// For a job whose effects are committed already, step by step.
    pub fn nothing_more() -> Self {
        Self(Ending::Unrecorded)
    }
    /// Was the job's end committed with its effects?
    pub fn is_committed(&self) -> bool {
        matches!(self.0, Ending::Committed)
    }
}
