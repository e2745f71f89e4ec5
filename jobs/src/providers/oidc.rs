//! Signing an operator in at an OpenID provider: the authorization code flow with PKCE, state and nonce.
//!
//! Life: [`Oidc::authorize_url`] -> the browser signs in at the provider and comes back with a code -> [`Oidc::identify`]
//! exchanges the code, checks the ID token (issuer, audience, end, age, nonce, signature by the provider's keys), and answers
//! who it is. The protocol is openidconnect's; its requests travel over our client: https only, no redirects, bounded.
//! Of the person the id and the groups are read. Name and mail address, which may stand beside them, never leave this file.
//! What the provider says in an error is dropped, but for its code.
//! Source: OpenID Connect Core 1.0 and Discovery 1.0, RFC 7636, RFC 9700; openidconnect 4.0; read November 2026 (decision 0019).

use std::{sync::Arc, time::Duration};

use chrono::DateTime;
use openidconnect::{
    AuthType, AuthorizationCode, ClaimsVerificationError, ClientId, ClientSecret, CsrfToken, HttpRequest, HttpResponse,
    IdTokenVerifier, IssuerUrl, Nonce, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RequestTokenError, Scope,
    SignatureVerificationError, TokenResponse as _,
    core::{
        CoreAuthenticationFlow, CoreClientAuthMethod, CoreJsonWebKeySet, CoreJwsSigningAlgorithm, CoreProviderMetadata,
    },
};
use reqwest::{Client, StatusCode};
use tokio::sync::Mutex;
use url::Url;

use super::{
    ConfigError, Secret,
    http::{Base, Limits, client, exchange, safe_url},
    jwks::Jwks,
};

mod attempt;
mod claims;

pub use attempt::Attempt;
use claims::{IdToken, Protocol};

/// Where every provider says what it is.
const DISCOVERY: &str = "/.well-known/openid-configuration";
/// What a provider says about itself is read again after this long, in seconds.
const METADATA_LIVES: i64 = 3600;
/// Its keys are read again after this long, and when one is not known, in seconds.
const KEYS_LIVE: i64 = 600;
/// An ID token is used at once: an older one was not made for this sign-in. In seconds.
const OLDEST: i64 = 600;
/// A provider's clock may be ahead by this much, in seconds.
const LEEWAY: i64 = 60;
/// No answer is larger, in bytes.
const MOST: usize = 64 * 1024;
/// Signatures by a published key. One made with the client's own secret, or none, is not believed.
const SIGNATURES: [CoreJwsSigningAlgorithm; 8] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
];

/// Which provider, and what it knows us as.
#[derive(Clone)]
pub struct OidcConfig {
    /// The provider's issuer, exactly as its ID tokens name it: https://login.example.com/realms/house
    pub issuer: String,
    /// What we are registered as.
    pub client_id: String,
    /// The secret of a confidential client; `None` for a public one.
    pub client_secret: Option<Secret>,
    /// Where the provider sends the browser back to, as registered there.
    pub redirect_url: String,
    /// The claim that holds the groups: a name, or names with dots between them for a claim inside others.
    pub groups_claim: String,
    /// Asked for beside `openid`.
    pub scopes: Vec<String>,
    /// The longest that one call may take.
    pub timeout: Duration,
}

/// Who signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The person's id at the provider.
    pub subject: String,
    /// The groups that the configured claim names; none if it is missing or of another shape.
    pub groups: Vec<String>,
}

/// Why nobody was signed in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OidcError {
    /// The provider did not answer, or not with what was asked for. Nothing is known about the person: try again.
    #[error("the identity provider could not be asked: {why}; try again, or sign in with a token")]
    Unreachable {
        /// What happened on the way.
        why: &'static str,
    },
    /// What the provider says about itself does not fit our settings.
    #[error("the identity provider and SAFELIGHT_OIDC_ISSUER do not fit: {why}")]
    Misset {
        /// What does not fit.
        why: &'static str,
    },
    /// The code was not taken: used already, too old, or our registration there is not right.
    #[error("the identity provider refused the code (`{code}`); sign in again")]
    Refused {
        /// The provider's word for it, or `unknown`.
        code: String,
    },
    /// The ID token is not one for this sign-in.
    #[error("the identity provider's answer is not believed: {why}; sign in again")]
    Forged {
        /// What does not fit.
        why: &'static str,
    },
}

/// The client. Made once; what the provider says about itself is kept for a while.
pub struct Oidc {
    http: Client,
    issuer: IssuerUrl,
    client_id: ClientId,
    client_secret: Option<Secret>,
    redirect_url: RedirectUrl,
    groups_claim: String,
    scopes: Vec<Scope>,
    metadata: Jwks<CoreProviderMetadata>,
    keys: Mutex<Option<Arc<Keys>>>,
}

struct Keys {
    url: String,
    kept: Jwks<CoreJsonWebKeySet>,
}

impl Oidc {
    /// Checks the settings; asks nothing yet.
    pub fn new(config: &OidcConfig) -> Result<Self, ConfigError> {
        const WHAT: &str = "SAFELIGHT_OIDC_ISSUER";
        let base = Base::parse(WHAT, &config.issuer)?;
        let limits = Limits { connect: config.timeout.min(Duration::from_secs(5)), total: config.timeout };
        let http = client(WHAT, &[&base], limits)?;
        let bad = |_| ConfigError::BadAddress { what: WHAT };
        if config.client_id.trim().is_empty() {
            return Err(ConfigError::BadSetting { what: "SAFELIGHT_OIDC_CLIENT_ID", why: "it is empty" });
        }
        let read: fn(&[u8]) -> Option<CoreProviderMetadata> = |body| serde_json::from_slice(body).ok();
        Ok(Self {
            issuer: IssuerUrl::new(config.issuer.clone()).map_err(bad)?,
            client_id: ClientId::new(config.client_id.clone()),
            client_secret: config.client_secret.clone().filter(|secret| !secret.is_empty()),
            redirect_url: RedirectUrl::new(config.redirect_url.clone()).map_err(bad)?,
            groups_claim: config.groups_claim.clone(),
            scopes: config.scopes.iter().cloned().map(Scope::new).collect(),
            metadata: Jwks::new(http.clone(), base.at(DISCOVERY), METADATA_LIVES, read),
            keys: Mutex::default(),
            http,
        })
    }

    /// Where the browser signs in for this attempt. `now` in Unix seconds.
    pub async fn authorize_url(&self, attempt: &Attempt, now: i64) -> Result<Url, OidcError> {
        let metadata = self.metadata(now).await?;
        let protocol = self.protocol(&metadata);
        let challenge = PkceCodeChallenge::from_code_verifier_sha256(&PkceCodeVerifier::new(attempt.verifier()));
        let (state, nonce) = (attempt.state(), attempt.nonce());
        let (url, ..) = protocol
            .authorize_url(
                CoreAuthenticationFlow::AuthorizationCode,
                move || CsrfToken::new(state),
                move || Nonce::new(nonce),
            )
            .add_scopes(self.scopes.iter().cloned())
            .set_pkce_challenge(challenge)
            .url();
        safe_url(url.as_str()).ok_or(OidcError::Misset { why: "its sign-in page is not at https" })
    }

    /// Who came back with this code. `now` in Unix seconds.
    pub async fn identify(&self, attempt: &Attempt, code: String, now: i64) -> Result<Identity, OidcError> {
        let metadata = self.metadata(now).await?;
        let http = |request: HttpRequest| carry(self.http.clone(), request);
        let answer = self
            .protocol(&metadata)
            .exchange_code(AuthorizationCode::new(code))
            .map_err(|_| OidcError::Misset { why: "it names no token endpoint" })?
            .set_pkce_verifier(PkceCodeVerifier::new(attempt.verifier()))
            .request_async(&http)
            .await
            .map_err(|error| match error {
                RequestTokenError::ServerResponse(said) => OidcError::Refused { code: plain(said.error().as_ref()) },
                RequestTokenError::Request(OnTheWay(why)) => OidcError::Unreachable { why },
                RequestTokenError::Parse(..) | RequestTokenError::Other(_) => {
                    OidcError::Unreachable { why: "its token endpoint answered in another shape" }
                }
            })?;
        let token = answer.id_token().ok_or(OidcError::Forged { why: "it holds no ID token" })?;
        let keys = self.keys(metadata.jwks_uri().as_str()).await;
        let away = |_| OidcError::Unreachable { why: "its keys did not come" };
        let kept = keys.kept.keys(now).await.map_err(away)?;
        match self.believed(token, (*kept).clone(), attempt, now) {
            // Perhaps the provider has a new key.
            Err(ClaimsVerificationError::SignatureVerification(SignatureVerificationError::NoMatchingKey)) => {
                let newer = keys.kept.newer(now).await.map_err(away)?;
                let newer = newer.ok_or(OidcError::Forged { why: "its key is not known" })?;
                self.believed(token, (*newer).clone(), attempt, now)
            }
            looked_at => looked_at,
        }
        .map_err(|error| OidcError::Forged { why: reason(&error) })
    }

    fn believed(
        &self,
        token: &IdToken,
        keys: CoreJsonWebKeySet,
        attempt: &Attempt,
        now: i64,
    ) -> Result<Identity, ClaimsVerificationError> {
        let at = DateTime::from_timestamp(now, 0).unwrap_or_default();
        let verifier = IdTokenVerifier::new_public_client(self.client_id.clone(), self.issuer.clone(), keys)
            .set_allowed_algs(SIGNATURES)
            .set_time_fn(move || at)
            .set_issue_time_verifier_fn(move |issued| {
                let age = (at - issued).num_seconds();
                if (-LEEWAY..=OLDEST).contains(&age) { Ok(()) } else { Err(String::new()) }
            });
        let claims = token.claims(&verifier, &Nonce::new(attempt.nonce()))?;
        let groups = claims.additional_claims().groups(&self.groups_claim);
        Ok(Identity { subject: claims.subject().to_string(), groups })
    }

    async fn metadata(&self, now: i64) -> Result<Arc<CoreProviderMetadata>, OidcError> {
        let why = "its description did not come";
        let metadata = self.metadata.keys(now).await.map_err(|_| OidcError::Unreachable { why })?;
        // Another issuer's description would name its own keys.
        if *metadata.issuer() != self.issuer {
            return Err(OidcError::Misset { why: "its description names another issuer" });
        }
        if safe_url(metadata.jwks_uri().as_str()).is_none() {
            return Err(OidcError::Misset { why: "its keys are not at https" });
        }
        Ok(metadata)
    }

    fn protocol(&self, metadata: &CoreProviderMetadata) -> Protocol {
        let secret = self.client_secret.as_ref().map(|secret| ClientSecret::new(secret.expose().to_owned()));
        let protocol = Protocol::from_provider_metadata(metadata.clone(), self.client_id.clone(), secret)
            .set_redirect_uri(self.redirect_url.clone());
        let basic = |methods: &Vec<CoreClientAuthMethod>| methods.contains(&CoreClientAuthMethod::ClientSecretBasic);
        // Where a provider says nothing, the standard says Basic.
        match metadata.token_endpoint_auth_methods_supported() {
            Some(methods) if !basic(methods) => protocol.set_auth_type(AuthType::RequestBody),
            _ => protocol,
        }
    }

    async fn keys(&self, url: &str) -> Arc<Keys> {
        let mut kept = self.keys.lock().await;
        match &*kept {
            Some(keys) if keys.url == url => keys.clone(),
            _ => {
                let read: fn(&[u8]) -> Option<CoreJsonWebKeySet> = |body| serde_json::from_slice(body).ok();
                let at = Jwks::new(self.http.clone(), url.to_owned(), KEYS_LIVE, read);
                let keys = Arc::new(Keys { url: url.to_owned(), kept: at });
                *kept = Some(keys.clone());
                keys
            }
        }
    }
}

/// A request that did not come through, in words of ours.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct OnTheWay(&'static str);

/// The library's requests over our client.
async fn carry(client: Client, request: HttpRequest) -> Result<HttpResponse, OnTheWay> {
    let (parts, body) = request.into_parts();
    let url = safe_url(&parts.uri.to_string()).ok_or(OnTheWay("its token endpoint is not at https"))?;
    let sent = client.request(parts.method, url).headers(parts.headers).body(body);
    let answer = exchange(sent, MOST).await.map_err(|lost| OnTheWay(lost.why()))?;
    // Nothing is said about the code by that, whatever the body looks like.
    if answer.status.is_server_error() || answer.status == StatusCode::TOO_MANY_REQUESTS {
        return Err(OnTheWay("it answered with a fault of its own"));
    }
    let mut response = HttpResponse::new(answer.body.to_vec());
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    Ok(response)
}

/// A provider's word, if it is one.
fn plain(word: &str) -> String {
    let fits = (1..=64).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    if fits { word.to_owned() } else { "unknown".to_owned() }
}

fn reason(error: &ClaimsVerificationError) -> &'static str {
    match error {
        ClaimsVerificationError::Expired(_) => "it is over, or was not made just now",
        ClaimsVerificationError::InvalidAudience(_) => "it was made for somebody else",
        ClaimsVerificationError::InvalidIssuer(_) => "it comes from another issuer",
        ClaimsVerificationError::InvalidNonce(_) => "it was made for another sign-in",
        ClaimsVerificationError::SignatureVerification(_) => "it is not signed with a key of the provider",
        _ => "it is of another shape",
    }
}
