//! Signed notes with Ed25519: text, a blank line, one signature line per key. <https://c2sp.org/signed-note>, read 2026-11-21.
//!
//! The signature covers the text with its last newline and not the blank line. A line is `— name base64(key id, signature)`.
//! The key id is the first 4 bytes of SHA-256 over name, newline, 0x01 (Ed25519) and public key; it is a hint, not a proof.

use base64::{Engine, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};

/// Signature type of plain Ed25519.
const ED25519: u8 = 1;
/// As many lines as the reference implementation reads; more is refused.
const MOST_SIGNATURES: usize = 100;
const PRIVATE: &str = "PRIVATE+KEY+";

/// Why a note, a key or a checkpoint is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoteError {
    /// A key's name is empty or has a space or a plus in it.
    #[error("a key name may not be empty, nor hold a space or a plus")]
    Name,
    /// Not `name+id+key`, or the id does not fit name and key.
    #[error("this is not a verifier key: expected name+id+base64 with the id that belongs to them")]
    Key,
    /// A private key that is not one. Says nothing of the text.
    #[error("this is not a private key: expected PRIVATE+KEY+name+id+base64, as `safelight audit key` prints it")]
    Private,
    /// Not a text with signature lines behind a blank line.
    #[error("this is not a signed note")]
    Form,
    /// Nobody we know has signed it.
    #[error("the note is not signed by the expected key")]
    Unsigned,
    /// A line of our key is there, and its signature is wrong: the text or the signature was changed.
    #[error("the signature of the expected key does not fit the text")]
    Forged,
    /// The signed text is not a checkpoint.
    #[error("the signed text is not a checkpoint: expected origin, size and root, one a line")]
    NoCheckpoint,
}

/// Signs notes. Its debug form shows the name only.
pub struct Signer {
    name: String,
    key: SigningKey,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Signer {
    /// A signer from the 32 secret bytes of an Ed25519 key. A name looks like an address: `log.example.com/audit`.
    ///
    /// # Errors
    /// [`NoteError::Name`].
    pub fn new(name: &str, secret: &[u8; 32]) -> Result<Self, NoteError> {
        valid_name(name)?;
        Ok(Self { name: name.to_owned(), key: SigningKey::from_bytes(secret) })
    }

    /// Read a private key as [`Signer::secret_text`] writes it.
    ///
    /// # Errors
    /// [`NoteError::Private`], which says nothing of the text.
    pub fn from_secret_text(text: &str) -> Result<Self, NoteError> {
        let mut parts = text.trim().strip_prefix(PRIVATE).ok_or(NoteError::Private)?.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteError::Private);
        };
        let typed = STANDARD.decode(key).map_err(|_| NoteError::Private)?;
        let Some((&ED25519, key)) = typed.split_first() else { return Err(NoteError::Private) };
        let key: [u8; 32] = key.try_into().map_err(|_| NoteError::Private)?;
        let signer = Self::new(name, &key).map_err(|_| NoteError::Private)?;
        if hex::encode(signer.verifier().id()) == id { Ok(signer) } else { Err(NoteError::Private) }
    }

    /// The private key as text, in the form of golang.org/x/mod/sumdb/note: `PRIVATE+KEY+name+id+base64(type, key)`.
    #[must_use]
    pub fn secret_text(&self) -> String {
        let mut typed = vec![ED25519];
        typed.extend(self.key.to_bytes());
        format!("{PRIVATE}{}+{}+{}", self.name, hex::encode(self.verifier().id()), STANDARD.encode(typed))
    }

    /// The name of the key; for a log also its origin.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The public half, to be given away.
    #[must_use]
    pub fn verifier(&self) -> Verifier {
        Verifier { name: self.name.clone(), key: self.key.verifying_key() }
    }

    /// Text and signature as one note. The text must end in a newline and hold no other control characters.
    ///
    /// # Errors
    /// [`NoteError::Form`].
    pub fn sign(&self, text: &str) -> Result<String, NoteError> {
        valid_text(text)?;
        Ok(format!("{text}\n{}", self.line(text)))
    }

    /// The same note with a signature of this key below those that it has: while a key is replaced, both sign.
    ///
    /// # Errors
    /// [`NoteError::Form`]: not a signed note.
    pub fn cosign(&self, note: &str) -> Result<String, NoteError> {
        let at = note.rfind("\n\n").ok_or(NoteError::Form)?;
        Ok(format!("{note}{}", self.line(&note[..=at])))
    }

    fn line(&self, text: &str) -> String {
        let mut line = self.verifier().id().to_vec();
        line.extend(self.key.sign(text.as_bytes()).to_bytes());
        format!("— {} {}\n", self.name, STANDARD.encode(line))
    }
}

/// Checks notes. Written as `name+id+base64(type, key)`; this text is what an outsider needs to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verifier {
    name: String,
    key: VerifyingKey,
}

impl Verifier {
    /// Name of the key; for a log also its origin.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key id of the signed-note specification.
    #[must_use]
    pub fn id(&self) -> [u8; 4] {
        let key = self.key.as_bytes();
        let [a, b, c, d, ..] = Hash::from(
            Sha256::new().chain_update(&self.name).chain_update([b'\n', ED25519]).chain_update(key).finalize(),
        );
        [a, b, c, d]
    }

    /// The text of a note that this key has signed. Lines of other keys are passed over; the first of ours decides.
    ///
    /// # Errors
    /// [`NoteError::Form`], [`NoteError::Unsigned`], [`NoteError::Forged`].
    pub fn open<'a>(&self, note: &'a str) -> Result<&'a str, NoteError> {
        let at = note.rfind("\n\n").ok_or(NoteError::Form)?;
        let (text, lines) = (&note[..=at], &note[at + 2..]);
        valid_text(text)?;
        let lines = lines.strip_suffix('\n').ok_or(NoteError::Form)?;
        let mut ours = None;
        for (count, line) in lines.split('\n').enumerate() {
            let (name, encoded) = line.strip_prefix("— ").and_then(|l| l.split_once(' ')).ok_or(NoteError::Form)?;
            let bytes = STANDARD.decode(encoded).map_err(|_| NoteError::Form)?;
            if valid_name(name).is_err() || bytes.len() < 5 || count >= MOST_SIGNATURES {
                return Err(NoteError::Form);
            }
            if name == self.name && bytes[..4] == self.id() {
                ours.get_or_insert(bytes);
            }
        }
        let ours = ours.ok_or(NoteError::Unsigned)?;
        let signature = Signature::from_slice(&ours[4..]).map_err(|_| NoteError::Forged)?;
        self.key.verify_strict(text.as_bytes(), &signature).map_err(|_| NoteError::Forged)?;
        Ok(text)
    }
}

/// The text of a note that one of these keys has signed.
///
/// # Errors
/// What the key says that knows most about it: a forged signature, before another form, before no signature of ours.
pub fn open_by_any<'a>(note: &'a str, keys: &[Verifier]) -> Result<&'a str, NoteError> {
    let mut worst = NoteError::Unsigned;
    for key in keys {
        match key.open(note) {
            Ok(text) => return Ok(text),
            Err(NoteError::Unsigned) => {}
            Err(why) => worst = why,
        }
    }
    Err(worst)
}

impl std::fmt::Display for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut typed = vec![ED25519];
        typed.extend(self.key.as_bytes());
        write!(f, "{}+{}+{}", self.name, hex::encode(self.id()), STANDARD.encode(typed))
    }
}

impl std::str::FromStr for Verifier {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteError::Key);
        };
        valid_name(name)?;
        let typed = STANDARD.decode(key).map_err(|_| NoteError::Key)?;
        let Some((&ED25519, key)) = typed.split_first() else { return Err(NoteError::Key) };
        let key = VerifyingKey::try_from(key).map_err(|_| NoteError::Key)?;
        let verifier = Self { name: name.to_owned(), key };
        if hex::encode(verifier.id()) == id { Ok(verifier) } else { Err(NoteError::Key) }
    }
}

type Hash = [u8; 32];

fn valid_name(name: &str) -> Result<(), NoteError> {
    let wrong = name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '+');
    if wrong { Err(NoteError::Name) } else { Ok(()) }
}

fn valid_text(text: &str) -> Result<(), NoteError> {
    let wrong = !text.ends_with('\n') || text.contains(|c: char| c < ' ' && c != '\n');
    if wrong { Err(NoteError::Form) } else { Ok(()) }
}
