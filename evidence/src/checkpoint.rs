//! Checkpoints: what a log had sworn to at one size. <https://c2sp.org/tlog-checkpoint>, read 2026-11-21.
//!
//! Three lines (origin, size in decimal, root in base64), as the text of a signed note. Lines that may follow are extensions:
//! they are covered by the signature and otherwise passed over.

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::merkle::{Hash, Tree};
use crate::note::{NoteError, Signer, Verifier};

/// The head of a log: whose, how many entries, and the root over them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log; the name of the key that signs it.
    pub origin: String,
    /// Number of entries.
    pub size: u64,
    /// Root over the first `size` entries.
    pub root: Hash,
}

impl Checkpoint {
    /// Sign what the tree is now, as the log that the signer is named after. Gives the note to be sent outside.
    ///
    /// # Errors
    /// [`NoteError::Form`]; cannot happen with a name that [`Signer::new`] took.
    pub fn sign(tree: &Tree, signer: &Signer) -> Result<String, NoteError> {
        let origin = signer.verifier().name().to_owned();
        signer.sign(&Self { origin, size: tree.size(), root: tree.root() }.text())
    }

    /// Read a checkpoint of the log that the key is named after, and check its signature.
    ///
    /// # Errors
    /// Those of [`Verifier::open`]; [`NoteError::NoCheckpoint`] for another text or another log.
    pub fn open(note: &str, verifier: &Verifier) -> Result<Self, NoteError> {
        let checkpoint = Self::parse(verifier.open(note)?).ok_or(NoteError::NoCheckpoint)?;
        if checkpoint.origin == verifier.name() { Ok(checkpoint) } else { Err(NoteError::NoCheckpoint) }
    }

    /// Read a checkpoint that one of these keys has signed, as the log that this very key is named after: the keys of one log,
    /// of now and of before.
    ///
    /// # Errors
    /// As [`Checkpoint::open`], by the key that knows most about it.
    pub fn open_by_any(note: &str, keys: &[Verifier]) -> Result<Self, NoteError> {
        let mut worst = NoteError::Unsigned;
        for key in keys {
            match Self::open(note, key) {
                Ok(checkpoint) => return Ok(checkpoint),
                Err(NoteError::Unsigned) => {}
                Err(why) => worst = why,
            }
        }
        Err(worst)
    }

    /// What a note says, whoever signed it: for places that only compare.
    #[must_use]
    pub fn peek(note: &str) -> Option<Self> {
        Self::parse(&note[..=note.rfind("\n\n")?])
    }

    /// The text that is signed.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
        if origin.is_empty() || lines.any(str::is_empty) {
            return None;
        }
        let number: u64 = size.parse().ok()?;
        if number.to_string() != size {
            return None; // leading zeros or a sign: the same size would have two signatures
        }
        let root = STANDARD.decode(root).ok()?.try_into().ok()?;
        Some(Self { origin: origin.to_owned(), size: number, root })
    }
}
