//! What may be wrong with a certificate, one word each, and the sentence that a person reads.
//!
//! Never decides anything: [`certificate`](crate::certificate) looks.

use serde::Serialize;

/// What is wrong with a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "finding")]
#[non_exhaustive]
pub enum Flaw {
    /// Not a certificate of this form.
    Form {
        /// What does not fit.
        why: String,
    },
    /// The signature is not of a known key, or does not fit the text.
    Signature {
        /// Why.
        why: String,
    },
    /// The checkpoint inside proves nothing.
    Checkpoint {
        /// Why.
        why: String,
    },
    /// A line is not in the log that the checkpoint is of.
    NotInTheLog {
        /// The line's number in the log.
        seq: u64,
    },
    /// A line speaks of another deletion.
    ForeignLine {
        /// The line's number in the log.
        seq: u64,
    },
    /// A step is neither verified nor retained by law, or the log does not say so.
    Step {
        /// Which.
        seq: u64,
        /// Why.
        why: String,
    },
    /// The log does not say that the deletion was complete.
    Incomplete,
    /// The log planned other steps than the certificate shows, or says how many went otherwise.
    NotWhole {
        /// What does not fit.
        why: &'static str,
    },
    /// An outside checkpoint of the same size has another root.
    OtherLog {
        /// The size.
        size: u64,
    },
    /// Two outside checkpoints of one size have different roots.
    Split {
        /// The size.
        size: u64,
    },
}

impl std::fmt::Display for Flaw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Form { why } => write!(f, "form: {why}"),
            Self::Signature { why } => write!(f, "signature: {why}"),
            Self::Checkpoint { why } => write!(f, "checkpoint: {why}"),
            Self::NotInTheLog { seq } => write!(f, "proof: line {seq} is not in the log"),
            Self::ForeignLine { seq } => write!(f, "line {seq} speaks of another deletion"),
            Self::Step { seq, why } => write!(f, "step {seq}: {why}"),
            Self::Incomplete => write!(f, "the log does not say that the deletion was complete"),
            Self::NotWhole { why } => write!(f, "not whole: {why}"),
            Self::Split { size } => write!(f, "split: outside, the log swore to two different trees of {size} entries"),
            Self::OtherLog { size } => {
                write!(f, "checkpoint: outside, the log of {size} entries is another one than here")
            }
        }
    }
}
