//! From the errors of the domain and of the database to what a caller is told. Details go to the log, without values.

use safelight_jobs::{
    gate::Refusal,
    intake::IntakeError,
    operate::OperateError,
    providers::storage::StorageError,
    queue::{EnqueueError, FleetError, search::BadSearch},
    stop::Stop,
    vault::VaultError,
};

use super::Error;

impl From<sqlx::Error> for Error {
    /// A closed gate speaks through its SQLSTATE. Only the SQLSTATE is logged: a message may repeat a value.
    fn from(error: sqlx::Error) -> Self {
        if let Some(refusal) = Refusal::from_database(&error) {
            return Self::Refused(refusal);
        }
        match &error {
            sqlx::Error::Database(answer) => {
                let state = answer.code().unwrap_or_default();
                match state.get(..2).unwrap_or_default() {
                    "22" | "23" => {
                        tracing::warn!(sqlstate = %state, constraint = answer.constraint(), "the database refused a value");
                        Self::ValueRefused
                    }
                    "08" | "25" | "40" | "53" | "55" | "57" | "58" => Self::DatabaseDown,
                    _ => {
                        tracing::error!(sqlstate = %state, "a query of ours was refused");
                        Self::Internal
                    }
                }
            }
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Self::DatabaseDown,
            other => {
                tracing::error!(error = %other, "the database answered something unexpected");
                Self::Internal
            }
        }
    }
}

impl From<StorageError> for Error {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::NotSupported => Self::LinksNotSupported,
            StorageError::Unreachable | StorageError::SourceBroke => Self::StorageDown,
            StorageError::NotAllowed => {
                tracing::error!("the store does not accept our keys");
                Self::StorageDown
            }
            StorageError::BadKey | StorageError::NotFound | StorageError::TooLarge { .. } | StorageError::BadLife => {
                tracing::error!(%error, "the store was asked for something wrong");
                Self::Internal
            }
        }
    }
}

impl From<EnqueueError> for Error {
    fn from(error: EnqueueError) -> Self {
        match error {
            EnqueueError::Conflict { .. } => Self::Conflict { code: "job_key_conflict", why: error.to_string() },
            EnqueueError::Database(error) => error.into(),
            EnqueueError::Payload(_) => Self::Internal,
        }
    }
}

impl From<VaultError> for Error {
    fn from(error: VaultError) -> Self {
        match error {
            VaultError::Database(error) => error.into(),
            VaultError::NoKey(subject) => Self::Gone { what: subject.to_string() },
            VaultError::MasterKey | VaultError::OtherMaster { .. } | VaultError::Broken { .. } => {
                tracing::error!(%error, "the vault");
                Self::Internal
            }
        }
    }
}

impl From<IntakeError> for Error {
    fn from(error: IntakeError) -> Self {
        match error {
            IntakeError::NotFound { what } => Self::NotFound { what },
            IntakeError::Conflict { code, why } => Self::Conflict { code, why },
            IntakeError::Invalid { code, why } => Self::Invalid { code, why },
            IntakeError::Refused(refusal) => Self::Refused(refusal),
            IntakeError::Vault(error) => error.into(),
            IntakeError::Enqueue(error) => error.into(),
            IntakeError::Storage(error) => error.into(),
            IntakeError::Database(error) => error.into(),
        }
    }
}

impl From<OperateError> for Error {
    fn from(error: OperateError) -> Self {
        match error {
            OperateError::NotFound(what) => Self::NotFound { what },
            OperateError::Stands { .. } => Self::Conflict { code: "job_stands", why: error.to_string() },
            OperateError::MustEnd(_) => Self::Conflict { code: "job_must_end", why: error.to_string() },
            OperateError::Reason => Self::Invalid { code: "reason_missing", why: error.to_string() },
            OperateError::TooWide => Self::Invalid { code: "too_wide", why: error.to_string() },
            OperateError::Search(bad) => bad.into(),
            OperateError::OfTheHouse => Self::OfTheHouse,
            OperateError::Fleet(FleetError::Unknown { scope, name, known }) => {
                Self::NotFound { what: format!("the {} `{name}` (there are: {known})", scope.as_str()) }
            }
            OperateError::Fleet(FleetError::Impossible(why)) => {
                Self::Invalid { code: "control_impossible", why: why.to_owned() }
            }
            OperateError::Database(error) | OperateError::Fleet(FleetError::Database(error)) => error.into(),
        }
    }
}

impl From<BadSearch> for Error {
    fn from(bad: BadSearch) -> Self {
        let code = match bad {
            BadSearch::Word(_) => "not_a_code",
            BadSearch::State | BadSearch::Queue => "unknown_word",
        };
        Self::Invalid { code, why: bad.to_string() }
    }
}

impl From<Stop> for Error {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Retry { code: "database", .. } => Self::DatabaseDown,
            Stop::Retry { code, why, .. } => {
                tracing::error!(code, error = %why, "could not be done now");
                Self::Internal
            }
            Stop::Wait { why, .. } if why == safelight_jobs::stop::DATABASE_AWAY => Self::DatabaseDown,
            Stop::Wait { why, .. } => Self::Conflict { code: "too_early", why },
            Stop::GiveUp { code, why } => Self::Conflict { code, why },
        }
    }
}
