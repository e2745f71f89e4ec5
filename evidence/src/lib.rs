//! Proofs about the audit log, and the checker that an outsider runs with nothing but files and a public key.
//!
//! An entry is encoded in exactly one way ([`Entry::canonical`]); its hash is a leaf of a Merkle tree ([`merkle`], RFC 6962);
//! the tree's root is signed from time to time as a checkpoint ([`checkpoint`], C2SP tlog-checkpoint in a C2SP signed note)
//! and sent outside the database. [`verify`](mod@verify) holds the entries against those checkpoints, [`certificate`] says what
//! one deletion did, and [`check`] is what an outsider runs over files.
//!
//! Never: opens a connection, reads a clock, or says more than it can show. Without a checkpoint from outside it says
//! `unverified`, because whoever owns the database could have recomputed everything.

pub mod certificate;
pub mod check;
pub mod checkpoint;
pub mod entry;
mod flaw;
pub mod merkle;
pub mod note;
mod ranges;
pub mod tiles;
pub mod verify;

pub use certificate::{Certificate, SignedCertificate, verify_certificate};
pub use checkpoint::Checkpoint;
pub use entry::{Entry, EntryError, commitment};
pub use merkle::{Hash, Tree};
pub use note::{NoteError, Signer, Verifier};
pub use verify::{Checker, Finding, Report, Sealed, Verdict, verify};
