//! Who has written an entry of the erasure ledger: a code over its name, under a key of the master key.
//!
//! The code stands in the name, behind the entry, so that a listing stays all that a comparison needs: `ENTRY.KEY.CODE`. Whoever
//! can write into the folder or bucket, and does not hold the master key, can make no entry that counts, and change none.
//! HMAC-SHA256 under a key that is itself an HMAC of the master key: it opens nothing that is sealed, and is stored nowhere.

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// What an entry's key is made for; a change here makes every entry foreign.
const MADE_FOR: &[u8] = b"safelight erasure ledger";

/// A key that signs entries.
#[derive(Clone)]
pub struct LedgerKey {
    id: String,
    code: Hmac<Sha256>,
}

impl LedgerKey {
    /// From the bytes of a master key and its fingerprint. None: no key has this length.
    pub(crate) fn of(master: &[u8], fingerprint: &str) -> Option<Self> {
        let derived = <Hmac<Sha256> as Mac>::new_from_slice(master).ok()?.chain_update(MADE_FOR).finalize();
        let code = <Hmac<Sha256> as Mac>::new_from_slice(&derived.into_bytes()).ok()?;
        Some(Self { id: fingerprint.to_owned(), code })
    }

    fn over(&self, entry: &str) -> Hmac<Sha256> {
        self.code.clone().chain_update(entry.as_bytes())
    }
}

/// The keys of one process: what it writes is signed by the first, and what it reads by either.
#[derive(Clone)]
pub struct LedgerKeys {
    /// Of the master key.
    pub(crate) current: LedgerKey,
    /// Of the one before, while it is replaced.
    pub(crate) former: Option<LedgerKey>,
}

/// Why an entry does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unsigned {
    /// There is no code: it is older than the codes, or was put there by somebody else.
    #[error("it is not signed")]
    NoCode,
    /// By a key that is not held here.
    #[error("it is signed by a master key that this process does not hold")]
    OtherKey,
    /// The code is not of this entry.
    #[error("it was forged or altered: its code does not fit")]
    Altered,
}

impl LedgerKeys {
    /// The name under which an entry is kept.
    pub(super) fn sign(&self, entry: &str) -> String {
        let LedgerKey { id, .. } = &self.current;
        format!("{entry}.{id}.{}", hex::encode(self.current.over(entry).finalize().into_bytes()))
    }

    /// What stands before the code, and whether it is of one of these keys.
    pub(super) fn read<'a>(&self, name: &'a str) -> (&'a str, Result<(), Unsigned>) {
        let Some((entry, signed)) = name.split_once('.') else { return (name, Err(Unsigned::NoCode)) };
        let Some((id, code)) = signed.split_once('.') else { return (entry, Err(Unsigned::Altered)) };
        let Some(key) = [Some(&self.current), self.former.as_ref()].into_iter().flatten().find(|key| key.id == id)
        else {
            return (entry, Err(Unsigned::OtherKey));
        };
        let fits = hex::decode(code).is_ok_and(|code| key.over(entry).verify_slice(&code).is_ok());
        (entry, if fits { Ok(()) } else { Err(Unsigned::Altered) })
    }

    /// Is the code that of the key which signs now?
    pub(super) fn is_current(&self, name: &str) -> bool {
        let signer = LedgerKeys { current: self.current.clone(), former: None };
        signer.read(name).1.is_ok()
    }
}
