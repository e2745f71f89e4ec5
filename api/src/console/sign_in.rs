//! Signing in with a token of scope `read` or `operate`, and saying what for. The cookie holds a random session id, never the
//! token; only its hash is stored. Every page looks the token up again, so a revoked one opens nothing.

use axum::{
    body::Bytes,
    extract::{FromRequestParts, State},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Redirect, Response},
};
use maud::{Markup, html};
use rand::RngCore;
use safelight_jobs::{
    audit::Entry,
    db,
    id::{self, Id},
    operate::Operator,
    queue,
};

use super::{Trouble, whole};
use crate::{
    caller::{self, Caller},
    error::Error,
    state::ApiState,
    tokens::{self, Scope},
};

const COOKIE: &str = "safelight_console";
/// How long one sign-in lasts, in hours.
const SESSION_HOURS: i32 = 8;
/// For how long it may be left alone, in hours.
const IDLE_HOURS: i32 = 1;

/// Somebody who may look.
pub(super) struct Viewer {
    caller: Caller,
    /// What they signed in for.
    why: String,
    /// What a form of theirs must carry: made of the session id, which no other site knows.
    csrf: String,
}

impl Viewer {
    /// The only tenant that may be looked at; none: all.
    pub(super) fn tenant(&self) -> Option<&str> {
        self.caller.sees_only()
    }

    /// May they change anything?
    pub(super) fn operates(&self) -> bool {
        self.caller.may(Scope::Operate)
    }

    /// Pages about the whole house are for its own people.
    pub(super) fn of_the_house(&self) -> Result<(), Error> {
        if self.tenant().is_none() { Ok(()) } else { Err(Error::OfTheHouse) }
    }

    pub(super) fn csrf(&self) -> &str {
        &self.csrf
    }

    /// Who acts: the token's name.
    pub(super) fn operator<'a>(&'a self, why: &'a str) -> Operator<'a> {
        self.caller.operator(why)
    }

    /// A look at one person's case is kept with who and what for, like an act.
    pub(super) async fn looks_at(&self, state: &ApiState, what: &str, entry: Entry) -> Result<(), Error> {
        let mut tx = db::begin(&state.pool).await?;
        queue::note_act(&mut tx, "console.look", "seen", what, self.operator(&self.why).by, entry).await?;
        Ok(tx.commit().await?)
    }
}

impl FromRequestParts<ApiState> for Viewer {
    type Rejection = Trouble;
    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Trouble> {
        let id = cookie(&parts.headers).ok_or(Error::NoToken)?;
        let hash = tokens::sha256(id);
        let session = sqlx::query!(
            r#"select token_id, why, seen_at < safelight.now() - interval '1 minute' as "stale!" from safelight.console_sessions
            where id_sha256 = $1 and ends_at > safelight.now() and seen_at > safelight.now() - make_interval(hours => $2)"#,
            &hash[..],
            IDLE_HOURS
        )
        .fetch_optional(&state.pool)
        .await?
        .ok_or(Error::NoToken)?;
        if session.stale {
            let mut write = db::write(&state.pool).await?;
            sqlx::query!(
                "update safelight.console_sessions set seen_at = safelight.now() where id_sha256 = $1",
                &hash[..]
            )
            .execute(&mut *write)
            .await?;
            write.commit().await?;
        }
        let caller = caller::still_holds(state, session.token_id.into()).await?;
        if !caller.may(Scope::Read) {
            return Err(Error::Scope { needs: "read" }.into());
        }
        Ok(Self { caller, why: session.why, csrf: csrf(id) })
    }
}

fn csrf(session: &str) -> String {
    hex::encode(tokens::sha256(&format!("a form of the session {session}")))
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let all = headers.get(header::COOKIE)?.to_str().ok()?;
    all.split(';').filter_map(|pair| pair.trim().split_once('=')).find(|(name, _)| *name == COOKIE).map(|(_, id)| id)
}

fn set_cookie(state: &ApiState, id: &str, seconds: i32) -> Option<HeaderValue> {
    let secure = if state.config.secure_cookies { "; Secure" } else { "" };
    let cookie = format!("{COOKIE}={id}; Path=/console; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}");
    HeaderValue::from_str(&cookie).ok()
}

async fn open(state: &ApiState, token: Id<id::Token>, why: &str) -> Result<String, Error> {
    let mut bytes = [0; 32];
    rand::rngs::OsRng.fill_bytes(&mut bytes);
    let id = hex::encode(bytes);
    let mut tx = db::begin(&state.pool).await?;
    sqlx::query!("delete from safelight.console_sessions where ends_at <= safelight.now()").execute(&mut *tx).await?;
    sqlx::query!(
        r#"insert into safelight.console_sessions (id_sha256, token_id, why, ends_at)
        values ($1, $2, $3, safelight.now() + make_interval(hours => $4))"#,
        &tokens::sha256(&id)[..],
        token.uuid(),
        why,
        SESSION_HOURS
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(id)
}

fn sheet(refusal: Option<&str>) -> Markup {
    html! {
        main.door {
            div.lamp.large {}
            h1 { "Safelight" }
            p.lead { "The operators' console. Nothing here shows a person." }
            form method="post" action="/console/sign-in" {
                label for="token" { "Token with the scope read or operate" }
                input #token name="token" type="password" autocomplete="off" spellcheck="false" required autofocus;
                label for="why" { "What for, in a few words" }
                input #why name="why" type="text" maxlength="200" placeholder="on call; ticket 1234" required;
                @if let Some(refusal) = refusal { p.refusal role="alert" { (refusal) } }
                button type="submit" { "Sign in" }
            }
            p.hint { "What you look at about a person's case is kept with your token's name and these words." }
            p.hint { "Make a token: " code { "safelight token create console --scopes read" } }
        }
    }
}

/// The form.
pub(super) async fn form() -> Response {
    whole(StatusCode::OK, "Sign in", &sheet(None))
}

/// Does this request come from a page of ours, as far as the browser says?
pub(super) fn is_ours(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").and_then(|site| site.to_str().ok()).unwrap_or("same-origin");
    matches!(site, "same-origin" | "none")
}

/// Take a token, hand out a session.
pub(super) async fn enter(State(state): State<ApiState>, headers: HeaderMap, body: Bytes) -> Result<Response, Trouble> {
    // A form on a foreign page could sign somebody in under a stranger's token.
    if !is_ours(&headers) {
        return Ok(refuse("Sign in from this page."));
    }
    let field = |name: &str| {
        let found = url::form_urlencoded::parse(&body).find(|(field, _)| field == name);
        found.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    let (presented, why) = (field("token"), field("why"));
    let caller = match caller::look_up(&state, &presented).await {
        Ok(caller) if caller.may(Scope::Read) => caller,
        Ok(_) => return Ok(refuse("This token has neither the scope read nor operate.")),
        Err(Error::BadToken) => return Ok(refuse("This token is not known, or expired, or was revoked.")),
        Err(error) => return Err(error.into()),
    };
    if why.is_empty() || why.len() > 300 || why.contains('@') || why.chars().any(char::is_control) {
        return Ok(refuse("Say in a few words what for, without a mail address."));
    }
    let session = open(&state, caller.token, &why).await?;
    let mut response = Redirect::to("/console").into_response();
    if let Some(cookie) = set_cookie(&state, &session, SESSION_HOURS * 3600) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

fn refuse(why: &str) -> Response {
    whole(StatusCode::FORBIDDEN, "Sign in", &sheet(Some(why)))
}

/// End the session.
pub(super) async fn leave(State(state): State<ApiState>, headers: HeaderMap) -> Result<Response, Trouble> {
    if let Some(id) = cookie(&headers) {
        let mut write = db::write(&state.pool).await?;
        sqlx::query!("delete from safelight.console_sessions where id_sha256 = $1", &tokens::sha256(id)[..])
            .execute(&mut *write)
            .await?;
        write.commit().await?;
    }
    let mut response = Redirect::to("/console/sign-in").into_response();
    if let Some(cookie) = set_cookie(&state, "", 0) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    Ok(response)
}
