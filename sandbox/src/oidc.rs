//! An OpenID provider's stand-in: discovery, keys, sign-in page, token endpoint. It starts alone, since only the console asks it.
//!
//! What it keeps to: a code is for one client, one address, one use and ten minutes; PKCE by S256 is checked; a confidential
//! client signs in by HTTP Basic; the nonce comes back in the ID token; a key that was replaced is not published any more.
//! What it never does: ask a person for a password. Who sits at the browser is said by [`Oidc::seat`].
//! Tokens follow the wall clock, as signatures do.
//!
//! Sources: OpenID Connect Core 1.0 and Discovery 1.0, RFC 6749, RFC 7636; read November 2026.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use axum::extract::{RawQuery, State as Shared};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::calls::{Call, Calls};
use crate::clock::wall;
use crate::faults::{Fault, Faults};
use crate::front::Front;
use crate::lock::lock;
use crate::server::{Server, base_url, bind};
use crate::signing::SigningKey;
use crate::token;

/// How long a code is good, in seconds.
const CODE_LIFE: i64 = 600;

/// What a client needs.
#[derive(Debug, Clone)]
pub struct OidcDescription {
    /// `iss` of ID tokens; discovery lies below it.
    pub issuer: String,
    /// The one client that is registered.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
}

/// Who sits at the browser and what their ID token says beside the protocol's own claims.
#[derive(Debug, Clone)]
pub struct Seated {
    /// `sub`.
    pub subject: String,
    /// Put over the token's claims: `{"groups": [...]}`, or a wrong `nonce`, `aud`, `iss`, `exp`, `iat`.
    pub claims: Value,
}

struct Given {
    redirect: String,
    challenge: String,
    nonce: Option<String>,
    until: i64,
}

struct State {
    description: OidcDescription,
    calls: Calls,
    faults: Faults,
    published: Mutex<SigningKey>,
    signs: Mutex<Option<SigningKey>>,
    seated: Mutex<Option<Seated>>,
    codes: Mutex<BTreeMap<String, Given>>,
}

/// A handle on the stand-in; clones share it.
#[derive(Clone)]
pub struct Oidc {
    state: Arc<State>,
    server: Arc<Server>,
}

impl Oidc {
    /// Starts on any port, signing with RS256 as nearly all providers do.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start() -> anyhow::Result<Oidc> {
        let listener = bind(0).await?;
        let description = OidcDescription {
            issuer: format!("{}/realms/house", base_url(&listener)?),
            client_id: "safelight-console".to_owned(),
            client_secret: token::letters(40),
        };
        let state = Arc::new(State {
            description,
            calls: Calls::default(),
            faults: Faults::default(),
            published: Mutex::new(SigningKey::rsa()?),
            signs: Mutex::default(),
            seated: Mutex::default(),
            codes: Mutex::default(),
        });
        let front = Front { calls: state.calls.clone(), faults: state.faults.clone(), refuse };
        let routes = Router::new()
            .route("/realms/house/.well-known/openid-configuration", get(discovery))
            .route("/realms/house/keys", get(keys))
            .route("/realms/house/sign-in", get(sign_in))
            .route("/realms/house/token", post(exchange))
            .with_state(state.clone());
        Ok(Oidc { server: Arc::new(Server::start(listener, front.before(routes))?), state })
    }

    /// Issuer, client and secret.
    #[must_use]
    pub fn description(&self) -> OidcDescription {
        self.state.description.clone()
    }

    /// What can be made to go wrong here.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.state.faults
    }

    /// Every HTTP request, in order of arrival.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.state.calls.all()
    }

    /// From now on this person sits at the browser; nobody: the sign-in is refused.
    pub fn seat(&self, who: Option<Seated>) {
        *lock(&self.state.seated) = who;
    }

    /// A new key, for ES256, is published in place of the one before.
    ///
    /// # Errors
    /// The key cannot be made.
    pub fn rotate(&self) -> anyhow::Result<()> {
        *lock(&self.state.published) = SigningKey::ec()?;
        Ok(())
    }

    /// Sign with a key that is published nowhere, or again with the published one.
    ///
    /// # Errors
    /// The key cannot be made.
    pub fn sign_with_a_strangers_key(&self, yes: bool) -> anyhow::Result<()> {
        *lock(&self.state.signs) = yes.then(SigningKey::ec).transpose()?;
        Ok(())
    }

    /// The provider goes down.
    pub async fn take_down(&self) {
        self.server.take_down().await;
    }

    /// What a browser does with the address of the sign-in page: where it is sent back to.
    ///
    /// # Errors
    /// The page did not answer with a way back.
    pub async fn visit(&self, url: &str) -> anyhow::Result<String> {
        let browser = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build()?;
        let answer = browser.get(url).send().await?;
        let back = answer.headers().get(header::LOCATION).context("the sign-in page sends nobody back")?;
        Ok(back.to_str()?.to_owned())
    }
}

async fn discovery(Shared(state): Shared<Arc<State>>) -> Response {
    let issuer = &state.description.issuer;
    Json(json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/sign-in"),
        "token_endpoint": format!("{issuer}/token"),
        "jwks_uri": format!("{issuer}/keys"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256", "ES256"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic"],
        "code_challenge_methods_supported": ["S256"],
        "scopes_supported": ["openid", "groups"],
    }))
    .into_response()
}

async fn keys(Shared(state): Shared<Arc<State>>) -> Response {
    match lock(&state.published).jwk() {
        Ok(jwk) => Json(json!({ "keys": [jwk] })).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// The page itself is left out: whoever is seated signs in at once.
async fn sign_in(Shared(state): Shared<Arc<State>>, RawQuery(query): RawQuery) -> Response {
    let asked = fields(query.unwrap_or_default().as_bytes());
    let one = |name: &str| asked.get(name).cloned().unwrap_or_default();
    let scopes = one("scope");
    let fits = one("response_type") == "code"
        && one("client_id") == state.description.client_id
        && one("code_challenge_method") == "S256"
        && !one("code_challenge").is_empty()
        && scopes.split(' ').any(|scope| scope == "openid");
    // Before the client is known nobody is sent anywhere.
    let Ok(mut back) = url::Url::parse(&one("redirect_uri")) else { return StatusCode::BAD_REQUEST.into_response() };
    if !fits {
        return StatusCode::BAD_REQUEST.into_response();
    }
    let seated = lock(&state.seated).is_some();
    let mut answer = back.query_pairs_mut();
    if seated {
        let code = token::letters(40);
        let given = Given {
            redirect: one("redirect_uri"),
            challenge: one("code_challenge"),
            nonce: asked.get("nonce").cloned(),
            until: wall().timestamp() + CODE_LIFE,
        };
        lock(&state.codes).insert(code.clone(), given);
        answer.append_pair("code", &code);
    } else {
        answer.append_pair("error", "access_denied").append_pair("error_description", "planted: ann@example.org");
    }
    answer.append_pair("state", &one("state"));
    drop(answer);
    (StatusCode::FOUND, [(header::LOCATION, back.to_string())]).into_response()
}

async fn exchange(Shared(state): Shared<Arc<State>>, headers: HeaderMap, body: Bytes) -> Response {
    if !is_the_client(&state.description, &headers) {
        return denied(StatusCode::UNAUTHORIZED, "invalid_client");
    }
    let asked = fields(&body);
    let one = |name: &str| asked.get(name).map(String::as_str).unwrap_or_default();
    // Taken whatever comes of it: a code is tried once.
    let Some(given) = lock(&state.codes).remove(one("code")) else {
        return denied(StatusCode::BAD_REQUEST, "invalid_grant");
    };
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(one("code_verifier")));
    let fits = one("grant_type") == "authorization_code"
        && one("redirect_uri") == given.redirect
        && challenge == given.challenge
        && wall().timestamp() < given.until;
    let seated = lock(&state.seated).clone();
    let (true, Some(seated)) = (fits, seated) else { return denied(StatusCode::BAD_REQUEST, "invalid_grant") };
    match id_token(&state, &given, &seated) {
        Ok(signed) => {
            let access = token::letters(40);
            Json(json!({ "access_token": access, "token_type": "Bearer", "expires_in": 300, "id_token": signed }))
                .into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn id_token(state: &State, given: &Given, seated: &Seated) -> anyhow::Result<String> {
    let now = wall().timestamp();
    let claims = json!({
        "iss": state.description.issuer,
        "sub": seated.subject,
        "aud": state.description.client_id,
        "iat": now,
        "exp": now + 300,
        "nonce": given.nonce,
        "name": "Planted Name",
        "email": "planted@example.org",
    });
    let mut claims: Map<String, Value> = serde_json::from_value(claims)?;
    if let Value::Object(over) = &seated.claims {
        claims.extend(over.clone());
    }
    match &*lock(&state.signs) {
        Some(stranger) => stranger.sign(&claims),
        None => lock(&state.published).sign(&claims),
    }
}

fn is_the_client(description: &OidcDescription, headers: &HeaderMap) -> bool {
    let sent = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some(pair) = sent.and_then(|text| text.strip_prefix("Basic ")) else { return false };
    let wanted = format!("{}:{}", description.client_id, description.client_secret);
    STANDARD.decode(pair).is_ok_and(|sent| sent == wanted.as_bytes())
}

fn fields(text: &[u8]) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(text).into_owned().collect()
}

fn denied(status: StatusCode, code: &str) -> Response {
    (status, Json(json!({ "error": code, "error_description": "planted: ann@example.org" }))).into_response()
}

fn refuse(fault: Fault) -> Response {
    let status = match fault {
        Fault::TooManyRequests { .. } => StatusCode::TOO_MANY_REQUESTS,
        Fault::ServerError { status } => StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (status, Json(json!({ "error": "temporarily_unavailable" }))).into_response()
}
