//! Keys that stand-ins sign tokens with, and their public halves as a provider publishes them. They open nothing but a sandbox.

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::jwk::{Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde::Serialize;
use uuid::Uuid;

/// PKCS#8 of a P-256 private key up to its 32 secret bytes (RFC 5915 inside RFC 5208, no public part).
const PKCS8_HEAD: &str = "MEECAQAwEwYHKoZIzj0CAQYIKoZIzj0DAQcEJzAlAgEBBCA=";
/// PKCS#1 of an RSA key of 2048 bits. Making one takes seconds; this one is as good, since everybody may know it.
const RSA: &str = include_str!("oidc/rsa-key.b64");

/// A private key with its id.
pub(crate) struct SigningKey {
    id: String,
    algorithm: Algorithm,
    secret: EncodingKey,
}

impl SigningKey {
    /// A new one for ES256.
    pub(crate) fn ec() -> anyhow::Result<SigningKey> {
        let mut der = STANDARD.decode(PKCS8_HEAD).context("the constant head of a key")?;
        // Any 32 bytes are a P-256 secret, but for about one in 2^32 tries, which the key set would refuse.
        der.extend_from_slice(&rand::random::<[u8; 32]>());
        Ok(SigningKey { id: named(), algorithm: Algorithm::ES256, secret: EncodingKey::from_ec_der(&der) })
    }

    /// The one for RS256, under a new id.
    pub(crate) fn rsa() -> anyhow::Result<SigningKey> {
        let der = STANDARD.decode(RSA.trim()).context("the constant RSA key")?;
        Ok(SigningKey { id: named(), algorithm: Algorithm::RS256, secret: EncodingKey::from_rsa_der(&der) })
    }

    /// A secret that both sides share, for HS256. It has no public half.
    pub(crate) fn shared(secret: &str) -> SigningKey {
        let secret = EncodingKey::from_secret(secret.as_bytes());
        SigningKey { id: named(), algorithm: Algorithm::HS256, secret }
    }

    pub(crate) fn sign(&self, claims: &impl Serialize) -> anyhow::Result<String> {
        let header = Header { kid: Some(self.id.clone()), ..Header::new(self.algorithm) };
        encode(&header, claims, &self.secret).context("signing a token")
    }

    /// The public half, for a key set.
    pub(crate) fn jwk(&self) -> anyhow::Result<Jwk> {
        let mut jwk = Jwk::from_encoding_key(&self.secret, self.algorithm)?;
        jwk.common.key_id = Some(self.id.clone());
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        jwk.common.key_operations = Some(vec![KeyOperations::Verify]);
        Ok(jwk)
    }
}

fn named() -> String {
    Uuid::new_v4().to_string()
}
