//! What can go wrong with a policy: when it is read, and when something is asked of it.

use std::path::PathBuf;

use super::check::Finding;
use crate::stop::Stop;

/// Why a policy cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The folder or file cannot be read.
    #[error("{path} cannot be read: {source}")]
    Unreadable {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not TOML, a key that nobody knows, a name that nobody knows, or a value of the wrong kind.
    #[error("{file} is not a policy: {why}")]
    Malformed {
        /// Which file.
        file: String,
        /// Line, key and reason.
        why: String,
    },
    /// It reads well and says too little, or contradicts itself.
    #[error("the policy of `{tenant}` cannot be used: {}", .findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Refused {
        /// Whose.
        tenant: String,
        /// Everything that is wrong with it.
        findings: Vec<Finding>,
    },
    /// The file is not named after its tenant, so two files could speak for one.
    #[error("{file} holds the policy of `{tenant}`: name it {tenant}.toml")]
    Misnamed {
        /// Which file.
        file: String,
        /// Whose policy is in it.
        tenant: String,
    },
    /// The folder has no policy in it.
    #[error("{path} holds no policy: expected one file a tenant, <tenant>.toml")]
    Empty {
        /// Which folder.
        path: PathBuf,
    },
}

/// Something was asked for that the policy does not have. No later try can help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the policy of `{tenant}`, version {version}, has no {what}")]
pub struct NotInPolicy {
    /// Whose policy.
    pub tenant: String,
    /// Which version.
    pub version: String,
    /// What is missing.
    pub what: String,
}

impl From<NotInPolicy> for Stop {
    fn from(lack: NotInPolicy) -> Self {
        Self::give_up("not_in_policy", lack.to_string())
    }
}
