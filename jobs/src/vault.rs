//! Sealing: what names a person is stored under a key of that person, and that key under a master key which is kept
//! outside the database. When a subject's key is gone, what it sealed is gone too, wherever a copy lies.
//!
//! XChaCha20-Poly1305 from the RustCrypto project; a fresh random nonce stands before every sealed value. The place of
//! a value (subject and field) is authenticated with it, so a sealed value moved to another place does not open.

use chacha20poly1305::{
    AeadCore, KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, OsRng, Payload},
};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    id::{Id, Subject},
    providers::ledger::sign::{LedgerKey, LedgerKeys},
};

const NONCE: usize = 24;

/// Something sealed does not open.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The master key is not 32 bytes of hex.
    #[error("the master key must be 64 hexadecimal digits (32 bytes); make one with `openssl rand -hex 32`")]
    MasterKey,
    /// The subject's key is destroyed: the person is erased.
    #[error("{0} has no key any more")]
    NoKey(Id<Subject>),
    /// Sealed under another master key.
    #[error("the key of {subject} was wrapped by master key {wrapped_by}, and this process holds {held}")]
    OtherMaster {
        /// Whose key.
        subject: Id<Subject>,
        /// Fingerprint of the key that wrapped it.
        wrapped_by: String,
        /// Fingerprint of ours.
        held: String,
    },
    /// Changed, cut, or of another place.
    #[error("a sealed `{field}` of {subject} does not open")]
    Broken {
        /// Whose.
        subject: Id<Subject>,
        /// Which field.
        field: &'static str,
    },
    /// The database did not answer.
    #[error("the subject's key could not be read")]
    Database(#[from] sqlx::Error),
}

impl From<VaultError> for crate::stop::Stop {
    fn from(error: VaultError) -> Self {
        match error {
            VaultError::Database(error) => error.into(),
            VaultError::NoKey(_) => Self::give_up("subject_erased", error.to_string()),
            VaultError::MasterKey | VaultError::OtherMaster { .. } | VaultError::Broken { .. } => {
                Self::retry("vault", error)
            }
        }
    }
}

/// Holds the master key, and the one before while it is replaced.
#[derive(Clone)]
pub struct Vault {
    master: Master,
    former: Option<Master>,
}

#[derive(Clone)]
struct Master {
    cipher: XChaCha20Poly1305,
    fingerprint: String,
    ledger: LedgerKey,
    marks: Hmac<Sha256>,
}

impl Master {
    fn parse(hex: &str) -> Result<Self, VaultError> {
        let bytes = hex::decode(hex.trim()).map_err(|_| VaultError::MasterKey)?;
        let cipher = XChaCha20Poly1305::new_from_slice(&bytes).map_err(|_| VaultError::MasterKey)?;
        let digest = Sha256::new().chain_update(b"safelight master key").chain_update(&bytes).finalize();
        let fingerprint = hex::encode(&digest[..8]);
        let ledger = LedgerKey::of(&bytes, &fingerprint).ok_or(VaultError::MasterKey)?;
        let mut marks = <Hmac<Sha256> as Mac>::new_from_slice(&bytes).map_err(|_| VaultError::MasterKey)?;
        marks.update(b"safelight request ");
        Ok(Self { cipher, fingerprint, ledger, marks })
    }
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault").field("master_key", &self.master.fingerprint).finish()
    }
}

impl Vault {
    /// From 64 hexadecimal digits.
    pub fn new(master_hex: &str) -> Result<Self, VaultError> {
        Ok(Self { master: Master::parse(master_hex)?, former: None })
    }

    /// Also open what was wrapped by the master key before this one.
    pub fn with_former(mut self, former_hex: &str) -> Result<Self, VaultError> {
        self.former = Some(Master::parse(former_hex)?);
        Ok(self)
    }

    /// The keys that sign entries of the erasure ledger. They open nothing.
    #[must_use]
    pub fn ledger_keys(&self) -> LedgerKeys {
        let former = self.former.as_ref().map(|master| master.ledger.clone());
        LedgerKeys { current: self.master.ledger.clone(), former }
    }

    /// What stands for a request where what it says must not: who has only the database cannot try words against it. First by the
    /// master key of now, then by the one before.
    #[must_use]
    pub fn marks(&self, request: &[u8]) -> Vec<[u8; 32]> {
        let masters = [Some(&self.master), self.former.as_ref()].into_iter().flatten();
        masters.map(|master| master.marks.clone().chain_update(request).finalize().into_bytes().into()).collect()
    }

    /// Fingerprint of the master key that wraps from now on.
    pub fn fingerprint(&self) -> &str {
        &self.master.fingerprint
    }

    /// Wrap up to `most` persons' keys anew that another master key wraps. Answers how many. What is sealed under a person's key
    /// does not change, so nothing else is read or written. Whoever is erased meanwhile is passed by.
    pub async fn rewrap(&self, tx: &mut PgConnection, most: i64) -> Result<u64, VaultError> {
        let rows = sqlx::query!(
            r#"select subject_id, master_key_id, wrapped_key from safelight.subject_keys
            where master_key_id <> $1 order by subject_id limit $2 for update skip locked"#,
            self.master.fingerprint,
            most
        )
        .fetch_all(&mut *tx)
        .await?;
        let mut done = 0;
        for row in rows {
            let subject = row.subject_id.into();
            let broken = || VaultError::Broken { subject, field: "subject_key" };
            let place = place(subject, "subject_key");
            let key = open(&self.wrapper(subject, &row.master_key_id)?.cipher, &place, &row.wrapped_key)
                .ok_or_else(broken)?;
            let wrapped = seal(&self.master.cipher, &place, &key).ok_or_else(broken)?;
            let written = sqlx::query!(
                "update safelight.subject_keys set master_key_id = $2, wrapped_key = $3 where subject_id = $1",
                row.subject_id,
                self.master.fingerprint,
                wrapped
            )
            .execute(&mut *tx)
            .await?;
            done += written.rows_affected();
        }
        Ok(done)
    }

    fn wrapper(&self, subject: Id<Subject>, fingerprint: &str) -> Result<&Master, VaultError> {
        [Some(&self.master), self.former.as_ref()]
            .into_iter()
            .flatten()
            .find(|master| master.fingerprint == fingerprint)
            .ok_or_else(|| VaultError::OtherMaster {
                subject,
                wrapped_by: fingerprint.to_owned(),
                held: self.master.fingerprint.clone(),
            })
    }

    /// Make and store the key of a new subject.
    pub async fn create_key(&self, tx: &mut PgConnection, subject: Id<Subject>) -> Result<SubjectKey, VaultError> {
        let key = XChaCha20Poly1305::generate_key(&mut OsRng);
        let wrapped = seal(&self.master.cipher, &place(subject, "subject_key"), &key)
            .ok_or(VaultError::Broken { subject, field: "subject_key" })?;
        let key = SubjectKey::new(subject, &key).ok_or(VaultError::Broken { subject, field: "subject_key" })?;
        sqlx::query!(
            "insert into safelight.subject_keys (subject_id, alias, master_key_id, wrapped_key) values ($1, $2, $3, $4)",
            subject.uuid(),
            key.alias(),
            self.master.fingerprint,
            wrapped
        )
        .execute(tx)
        .await?;
        Ok(key)
    }

    /// The key of a subject, if it still exists.
    pub async fn key(&self, tx: &mut PgConnection, subject: Id<Subject>) -> Result<SubjectKey, VaultError> {
        let row = sqlx::query!(
            "select master_key_id, wrapped_key from safelight.subject_keys where subject_id = $1",
            subject.uuid()
        )
        .fetch_optional(tx)
        .await?
        .ok_or(VaultError::NoKey(subject))?;
        let master = self.wrapper(subject, &row.master_key_id)?;
        let broken = VaultError::Broken { subject, field: "subject_key" };
        let key = open(&master.cipher, &place(subject, "subject_key"), &row.wrapped_key).ok_or(broken)?;
        SubjectKey::new(subject, &key).ok_or(VaultError::Broken { subject, field: "subject_key" })
    }

    /// What an audit entry says of a target of this subject. None where the key is gone or does not open: an effect must not
    /// be lost for the lack of its pseudonym.
    pub async fn commit(
        &self,
        tx: &mut PgConnection,
        subject: Id<Subject>,
        target: &str,
    ) -> Result<Option<Vec<u8>>, sqlx::Error> {
        match self.key(tx, subject).await {
            Ok(key) => Ok(Some(key.commit(target))),
            Err(VaultError::Database(error)) => Err(error),
            Err(error) => {
                tracing::warn!(subject.id = %subject, %error, "an audit entry names no target");
                Ok(None)
            }
        }
    }
}

/// Seals and opens values of one person, and names person and things where their names must not stand.
pub struct SubjectKey {
    subject: Id<Subject>,
    cipher: XChaCha20Poly1305,
    /// For pseudonym and salts; of the data key, so that they die with it.
    audit: Hmac<Sha256>,
}

impl SubjectKey {
    fn new(subject: Id<Subject>, key: &[u8]) -> Option<Self> {
        let cipher = XChaCha20Poly1305::new_from_slice(key).ok()?;
        let mut audit = <Hmac<Sha256> as Mac>::new_from_slice(key).ok()?;
        audit.update(b"safelight audit ");
        Some(Self { subject, cipher, audit })
    }

    /// The subject's pseudonym in the audit log: an HMAC of its id under its own key.
    pub fn alias(&self) -> Uuid {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&self.keyed(b"alias ", self.subject.uuid().as_bytes())[..16]);
        uuid::Builder::from_custom_bytes(bytes).into_uuid()
    }

    /// The salt of one target. Shown to somebody together with the target, it opens [`SubjectKey::commit`].
    pub fn salt(&self, target: &str) -> [u8; 32] {
        self.keyed(b"salt ", target.as_bytes())
    }

    /// What an audit entry says of a target, for example of a storage key.
    pub fn commit(&self, target: &str) -> Vec<u8> {
        safelight_evidence::commitment(&self.salt(target), target.as_bytes()).to_vec()
    }

    fn keyed(&self, what: &[u8], of: &[u8]) -> [u8; 32] {
        self.audit.clone().chain_update(what).chain_update(of).finalize().into_bytes().into()
    }

    /// Seal a value for one field.
    pub fn seal(&self, field: &'static str, value: &[u8]) -> Result<Vec<u8>, VaultError> {
        seal(&self.cipher, &place(self.subject, field), value)
            .ok_or(VaultError::Broken { subject: self.subject, field })
    }

    /// Open a value of one field.
    pub fn open(&self, field: &'static str, sealed: &[u8]) -> Result<Vec<u8>, VaultError> {
        open(&self.cipher, &place(self.subject, field), sealed)
            .ok_or(VaultError::Broken { subject: self.subject, field })
    }

    /// Open a text of one field.
    pub fn open_text(&self, field: &'static str, sealed: &[u8]) -> Result<String, VaultError> {
        String::from_utf8(self.open(field, sealed)?).map_err(|_| VaultError::Broken { subject: self.subject, field })
    }
}

fn place(subject: Id<Subject>, field: &str) -> Vec<u8> {
    format!("{subject}/{field}").into_bytes()
}

fn seal(cipher: &XChaCha20Poly1305, place: &[u8], value: &[u8]) -> Option<Vec<u8>> {
    let nonce = XChaCha20Poly1305::generate_nonce(&mut OsRng);
    let sealed = cipher.encrypt(&nonce, Payload { msg: value, aad: place }).ok()?;
    Some([nonce.as_slice(), &sealed].concat())
}

fn open(cipher: &XChaCha20Poly1305, place: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, sealed) = sealed.split_at_checked(NONCE)?;
    cipher.decrypt(XNonce::from_slice(nonce), Payload { msg: sealed, aad: place }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_value_opens_only_in_its_own_place() {
        let subject = Id::new();
        let key = SubjectKey::new(subject, &XChaCha20Poly1305::generate_key(&mut OsRng)).unwrap();
        let sealed = key.seal("email", b"ann@example.org").unwrap();
        assert!(!sealed.windows(3).any(|window| window == b"ann"));
        assert_eq!(key.open_text("email", &sealed).unwrap(), "ann@example.org");
        assert!(key.open("name", &sealed).is_err());
        let mut changed = sealed.clone();
        changed[NONCE] ^= 1;
        assert!(key.open("email", &changed).is_err());
        assert!(key.open("email", &sealed[..10]).is_err());
    }

    #[test]
    fn a_short_master_key_is_refused_with_what_to_do() {
        assert!(Vault::new("abcd").unwrap_err().to_string().contains("openssl rand -hex 32"));
    }

    #[test]
    fn pseudonym_and_salts_are_of_the_key_and_of_nothing_else() {
        let subject = Id::new();
        let (one, other) = (SubjectKey::new(subject, &[1; 32]).unwrap(), SubjectKey::new(subject, &[2; 32]).unwrap());
        assert_eq!(one.alias(), SubjectKey::new(subject, &[1; 32]).unwrap().alias());
        assert_ne!(one.alias(), other.alias());
        assert_ne!(one.alias(), SubjectKey::new(Id::new(), &[1; 32]).unwrap().alias());
        assert_ne!(one.commit("a/b"), other.commit("a/b"));
        assert_ne!(one.commit("a/b"), one.commit("a/c"));
        assert_eq!(one.commit("a/b"), safelight_evidence::commitment(&one.salt("a/b"), b"a/b"));
    }
}
