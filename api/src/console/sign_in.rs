//! Signing in with a token of scope `read` or `operate`. The cookie holds a random session id, never the token; sessions
//! live in this process's memory and end with it. Every page looks the token up again, so a revoked one opens nothing.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    body::Bytes,
    extract::{FromRequestParts, State},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Redirect, Response},
};
use maud::{Markup, html};
use rand::RngCore;
use safelight_jobs::id::{self, Id};

use super::{Trouble, whole};
use crate::{
    caller::{self, Caller},
    error::Error,
    state::ApiState,
    tokens::{self, Scope},
};

const COOKIE: &str = "safelight_console";
/// How long one sign-in lasts.
const SESSION_LIFE: Duration = Duration::from_secs(8 * 3600);
/// The most sessions at once; beyond that the oldest ends.
const MOST_SESSIONS: usize = 1000;

/// Who is signed in. Only hashes of session ids are kept.
#[derive(Debug, Default)]
pub(crate) struct Sessions(Mutex<HashMap<[u8; 32], Session>>);

#[derive(Debug, Clone, Copy)]
struct Session {
    token: Id<id::Token>,
    ends: Instant,
}

impl Sessions {
    fn open(&self, token: Id<id::Token>) -> String {
        let mut bytes = [0; 32];
        rand::rngs::OsRng.fill_bytes(&mut bytes);
        let id = hex::encode(bytes);
        let now = Instant::now();
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|_, session| session.ends > now);
        if sessions.len() >= MOST_SESSIONS
            && let Some(oldest) = sessions.iter().min_by_key(|(_, session)| session.ends).map(|(id, _)| *id)
        {
            sessions.remove(&oldest);
        }
        sessions.insert(tokens::sha256(&id), Session { token, ends: now + SESSION_LIFE });
        id
    }

    fn token(&self, id: &str) -> Option<Id<id::Token>> {
        let sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.get(&tokens::sha256(id)).filter(|session| session.ends > Instant::now()).map(|session| session.token)
    }

    fn close(&self, id: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&tokens::sha256(id));
    }
}

/// Somebody who may look.
pub(super) struct Viewer(Caller);

impl Viewer {
    /// The only tenant that may be looked at; none: all.
    pub(super) fn tenant(&self) -> Option<&str> {
        self.0.sees_only()
    }
}

impl FromRequestParts<ApiState> for Viewer {
    type Rejection = Trouble;
    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Trouble> {
        let token = cookie(&parts.headers).and_then(|id| state.sessions.token(id)).ok_or(Error::NoToken)?;
        let caller = caller::still_holds(state, token).await?;
        if caller.may(Scope::Read) { Ok(Self(caller)) } else { Err(Error::Scope { needs: "read" }.into()) }
    }
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let all = headers.get(header::COOKIE)?.to_str().ok()?;
    all.split(';').filter_map(|pair| pair.trim().split_once('=')).find(|(name, _)| *name == COOKIE).map(|(_, id)| id)
}

fn set_cookie(state: &ApiState, id: &str, seconds: u64) -> Option<HeaderValue> {
    let secure = if state.config.secure_cookies { "; Secure" } else { "" };
    let cookie = format!("{COOKIE}={id}; Path=/console; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}");
    HeaderValue::from_str(&cookie).ok()
}

fn sheet(why: Option<&str>) -> Markup {
    html! {
        main.door {
            div.lamp.large {}
            h1 { "Safelight" }
            p.lead { "The operators' console. Nothing here shows a person." }
            form method="post" action="/console/sign-in" {
                label for="token" { "Token with the scope read or operate" }
                input #token name="token" type="password" autocomplete="off" spellcheck="false" required autofocus;
                @if let Some(why) = why { p.refusal role="alert" { (why) } }
                button type="submit" { "Sign in" }
            }
            p.hint { "Make one: " code { "safelight token create console --scopes read" } }
        }
    }
}

/// The form.
pub(super) async fn form() -> Response {
    whole(StatusCode::OK, "Sign in", &sheet(None))
}

/// Take a token, hand out a session.
pub(super) async fn enter(State(state): State<ApiState>, headers: HeaderMap, body: Bytes) -> Result<Response, Trouble> {
    // A form on a foreign page could sign somebody in under a stranger's token.
    let site = headers.get("sec-fetch-site").and_then(|site| site.to_str().ok()).unwrap_or("same-origin");
    if !matches!(site, "same-origin" | "none") {
        return Ok(refuse("Sign in from this page."));
    }
    let presented = url::form_urlencoded::parse(&body).find(|(name, _)| name == "token");
    let presented = presented.map(|(_, token)| token.trim().to_owned()).unwrap_or_default();
    let caller = match caller::look_up(&state, &presented).await {
        Ok(caller) if caller.may(Scope::Read) => caller,
        Ok(_) => return Ok(refuse("This token has neither the scope read nor operate.")),
        Err(Error::BadToken) => return Ok(refuse("This token is not known, or expired, or was revoked.")),
        Err(error) => return Err(error.into()),
    };
    let session = state.sessions.open(caller.token);
    let mut response = Redirect::to("/console").into_response();
    if let Some(cookie) = set_cookie(&state, &session, SESSION_LIFE.as_secs()) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

fn refuse(why: &str) -> Response {
    whole(StatusCode::FORBIDDEN, "Sign in", &sheet(Some(why)))
}

/// End the session.
pub(super) async fn leave(State(state): State<ApiState>, headers: HeaderMap) -> Response {
    if let Some(id) = cookie(&headers) {
        state.sessions.close(id);
    }
    let mut response = Redirect::to("/console/sign-in").into_response();
    if let Some(cookie) = set_cookie(&state, "", 0) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}
