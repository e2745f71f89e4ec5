//! One attempt to sign in: a random secret that stays in one browser's cookie. State, nonce and PKCE verifier are hashes of it,
//! so that nothing of an attempt is stored here, any process of the intake ends what another one began, and an answer that was
//! made for another browser fits nothing.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rand::RngCore as _;
use sha2::{Digest as _, Sha256};

use super::Secret;

/// What one browser holds while it is away at the provider.
pub struct Attempt(Secret);

impl Attempt {
    /// A new one: each is another.
    pub fn begin() -> Self {
        let mut bytes = [0; 32];
        rand::rngs::OsRng.fill_bytes(&mut bytes);
        Self(Secret::new(URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// The one that a browser brought back; none for another shape.
    pub fn of(secret: &str) -> Option<Self> {
        let fits = URL_SAFE_NO_PAD.decode(secret).is_ok_and(|bytes| bytes.len() == 32);
        fits.then(|| Self(Secret::new(secret)))
    }

    /// For the browser's cookie, and for nobody else.
    pub fn secret(&self) -> &Secret {
        &self.0
    }

    /// Was this state made for this attempt?
    pub fn fits(&self, state: &str) -> bool {
        Secret::new(self.state()).matches(state)
    }

    pub(super) fn state(&self) -> String {
        self.derived("state")
    }

    pub(super) fn nonce(&self) -> String {
        self.derived("nonce")
    }

    /// 43 characters, as RFC 7636 wants at least.
    pub(super) fn verifier(&self) -> String {
        self.derived("verifier")
    }

    fn derived(&self, what: &str) -> String {
        let hash = Sha256::new_with_prefix(format!("safelight sign-in {what} "));
        URL_SAFE_NO_PAD.encode(hash.chain_update(self.0.expose()).finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_attempt_shows_the_world_differs_and_is_the_same_after_the_cookie_came_back() {
        let attempt = Attempt::begin();
        let shown = [attempt.state(), attempt.nonce(), attempt.verifier()];
        assert!(shown.iter().all(|text| text.len() == 43 && text != attempt.secret().expose()));
        assert!(shown[0] != shown[1] && shown[1] != shown[2] && shown[0] != shown[2]);
        let back = Attempt::of(attempt.secret().expose()).unwrap();
        assert_eq!([back.state(), back.nonce(), back.verifier()], shown);
        assert!(back.fits(&shown[0]) && !back.fits(&shown[1]) && !back.fits("") && !Attempt::begin().fits(&shown[0]));
        for bad in ["", "x", "eA", &"A".repeat(44), "ä"] {
            assert!(Attempt::of(bad).is_none(), "{bad}");
        }
    }
}
