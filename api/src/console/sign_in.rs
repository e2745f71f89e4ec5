//! Signing in with a token of scope `read` or `operate`, and saying what for. The cookie holds a random session id, never the
//! token; only its hash is stored. Every page looks the token up again, so a revoked one opens nothing. Who signs in at an
//! identity provider instead ([`super::oidc`]) has a session of the same kind without a token.

use axum::{
    body::Bytes,
    extract::{FromRequestParts, State},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Redirect, Response},
};
use rand::RngCore;
use safelight_jobs::{
    audit::Entry,
    db,
    id::{self, Id},
    look,
    operate::{LONGEST_WHY, Operator},
    queue::search::Wanted,
};

use super::{
    Trouble,
    door::{self, Visit},
    refresh,
    trouble::Seen,
};
use crate::{
    caller::{self, Holder},
    error::Error,
    state::ApiState,
    tokens::{self, Scope},
};

pub(super) const COOKIE: &str = "safelight_console";
/// How long one sign-in lasts, in hours.
const SESSION_HOURS: i32 = 8;
/// For how long it may be left alone, in hours.
const IDLE_HOURS: i32 = 1;

/// Somebody who may look.
#[derive(Clone)]
pub(super) struct Viewer {
    holder: Holder,
    /// The token that opened the session; none: an identity provider did.
    token: Option<Id<id::Token>>,
    /// What they signed in for.
    why: String,
    /// What a form of theirs must carry: made of the session id, which no other site knows.
    csrf: String,
    /// Nobody pressed anything: the page shows itself again.
    refreshes: bool,
}

impl Viewer {
    /// The only tenant that may be looked at; none: all.
    pub(super) fn tenant(&self) -> Option<&str> {
        self.holder.sees_only()
    }

    /// May they change anything?
    pub(super) fn operates(&self) -> bool {
        self.holder.may(Scope::Operate)
    }

    /// Pages about the whole house are for its own people.
    pub(super) fn of_the_house(&self) -> Result<(), Error> {
        if self.tenant().is_none() { Ok(()) } else { Err(Error::OfTheHouse) }
    }

    pub(super) fn csrf(&self) -> &str {
        &self.csrf
    }

    /// Who acts: the token's name, or who they are at the identity provider.
    pub(super) fn operator<'a>(&'a self, why: &'a str) -> Operator<'a> {
        self.holder.operator(why)
    }

    /// The token that opened this session, if one did.
    pub(super) fn token(&self) -> Option<Id<id::Token>> {
        self.token
    }

    /// Who acts, as books and audit log keep it: a code and never a name. The token's id, as of a request with it; of somebody whom
    /// an identity provider named, a hash of the name that stands beside it in the trail.
    pub(super) fn code(&self) -> String {
        let hashed = || format!("oidc_{}", hex::encode(&tokens::sha256(self.operator("").by.actor)[..12]));
        self.token.map_or_else(hashed, |token| token.to_string())
    }

    /// A look at one person's case is kept with who and what for, like an act.
    pub(super) async fn looks_at(&self, state: &ApiState, what: &str, entry: Entry) -> Result<(), Error> {
        if self.refreshes && self.still_looks_at(state, what).await? {
            return Ok(());
        }
        let mut tx = db::begin(&state.pool).await?;
        look::at_case(&mut tx, what, entry, self.operator(&self.why)).await?;
        Ok(tx.commit().await?)
    }

    /// Did they open it a moment ago, for the same reason? Then that look stands for what the page shows of it again.
    async fn still_looks_at(&self, state: &ApiState, what: &str) -> Result<bool, Error> {
        let looks = sqlx::query_scalar!(
            r#"select exists (select from safelight.operator_acts where about = $1 and action = 'console.look' and actor = $2 and why = $3
                and at > safelight.now() - make_interval(mins => $4)) as "it!""#,
            what,
            self.operator("").by.actor,
            self.why,
            refresh::ONE_LOOK
        );
        Ok(looks.fetch_one(&state.pool).await?)
    }

    /// So is a search for acts about one case.
    pub(super) async fn looks_at_acts(&self, state: &ApiState, about: &str) -> Result<(), Error> {
        let mut tx = db::begin(&state.pool).await?;
        look::at_acts(&mut tx, about, self.operator(&self.why)).await?;
        Ok(tx.commit().await?)
    }

    /// A search that is narrowed to one person, order or job is such a look.
    pub(super) async fn looks_for(&self, state: &ApiState, wanted: &Wanted) -> Result<(), Error> {
        if !look::is_one(wanted) {
            return Ok(());
        }
        let mut tx = db::begin(&state.pool).await?;
        look::at_search(&mut tx, wanted, self.operator(&self.why)).await?;
        Ok(tx.commit().await?)
    }
}

impl FromRequestParts<ApiState> for Viewer {
    type Rejection = Trouble;
    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Trouble> {
        let id = cookie(&parts.headers, COOKIE).ok_or(Error::NoToken)?;
        let refreshes = refresh::asks(&parts.headers);
        let hash = tokens::sha256(id);
        let session = sqlx::query!(
            r#"select token_id, operator, scope, why, seen_at < safelight.now() - interval '1 minute' as "stale!" from safelight.console_sessions
            where id_sha256 = $1 and ends_at > safelight.now() and seen_at > safelight.now() - make_interval(hours => $2)"#,
            &hash[..],
            IDLE_HOURS
        )
        .fetch_optional(&state.pool)
        .await?
        .ok_or(Error::NoToken)?;
        // A page that shows itself again is nobody who is there.
        if session.stale && !refreshes {
            let mut write = db::write(&state.pool).await?;
            sqlx::query!(
                "update safelight.console_sessions set seen_at = safelight.now() where id_sha256 = $1",
                &hash[..]
            )
            .execute(&mut *write)
            .await?;
            write.commit().await?;
        }
        let holder = match (session.token_id, session.operator, session.scope) {
            (Some(token), ..) => caller::still_holds(state, token.into()).await?,
            // Where no provider is configured any more, nobody is signed in by one.
            (None, Some(operator), Some(scope)) if state.operators.is_some() => {
                Holder::of_the_house(operator, scope.parse().map_err(|_| Error::NoToken)?)
            }
            _ => return Err(Error::NoToken.into()),
        };
        if !holder.may(Scope::Read) {
            return Err(Error::Scope { needs: "read" }.into());
        }
        let viewer =
            Self { holder, token: session.token_id.map(Id::from), why: session.why, csrf: csrf(id), refreshes };
        Seen::note(&parts.extensions, &viewer);
        Ok(viewer)
    }
}

fn csrf(session: &str) -> String {
    hex::encode(tokens::sha256(&format!("a form of the session {session}")))
}

pub(super) fn cookie<'a>(headers: &'a HeaderMap, wanted: &str) -> Option<&'a str> {
    let all = headers.get(header::COOKIE)?.to_str().ok()?;
    all.split(';').filter_map(|pair| pair.trim().split_once('=')).find(|(name, _)| *name == wanted).map(|(_, id)| id)
}

fn set_cookie(state: &ApiState, id: &str, seconds: i32) -> Option<HeaderValue> {
    let secure = if state.config.secure_cookies { "; Secure" } else { "" };
    let cookie = format!("{COOKIE}={id}; Path=/console; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}");
    HeaderValue::from_str(&cookie).ok()
}

/// Whose session it is to be.
pub(super) enum Who<'a> {
    /// Somebody with this token.
    Token(Id<id::Token>),
    /// Somebody whom the identity provider named, with what their groups let them do.
    Operator(&'a str, Scope),
}

/// Begin a session: an answer that leads into the console, with its cookie.
pub(super) async fn enters(
    state: &ApiState,
    who: Who<'_>,
    why: &str,
    mut response: Response,
) -> Result<Response, Error> {
    let session = open(state, who, why).await?;
    if let Some(cookie) = set_cookie(state, &session, SESSION_HOURS * 3600) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

async fn open(state: &ApiState, who: Who<'_>, why: &str) -> Result<String, Error> {
    let (token, operator, scope) = match who {
        Who::Token(token) => (Some(token.uuid()), None, None),
        Who::Operator(name, scope) => (None, Some(name), Some(scope.as_str())),
    };
    let mut bytes = [0; 32];
    rand::rngs::OsRng.fill_bytes(&mut bytes);
    let id = hex::encode(bytes);
    let mut tx = db::begin(&state.pool).await?;
    sqlx::query!("delete from safelight.console_sessions where ends_at <= safelight.now()").execute(&mut *tx).await?;
    sqlx::query!(
        r#"insert into safelight.console_sessions (id_sha256, token_id, why, ends_at, operator, scope)
        values ($1, $2, $3, safelight.now() + make_interval(hours => $4), $5, $6)"#,
        &tokens::sha256(&id)[..],
        token,
        why,
        SESSION_HOURS,
        operator,
        scope
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(id)
}

/// A field of the form.
pub(super) fn field(body: &[u8], name: &str) -> String {
    let found = url::form_urlencoded::parse(body).find(|(field, _)| field == name);
    found.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
}

/// Do these words say what for, name nobody, and hold no token that was put into the wrong field?
pub(super) fn says_what_for(why: &str) -> bool {
    let tells = why.contains('@') || why.contains("slt_") || why.chars().any(char::is_control);
    !(why.is_empty() || why.chars().count() > LONGEST_WHY || tells)
}

/// What to say otherwise.
pub(super) const WHAT_FOR: &str = "Say in a few words what for, without a mail address or a token.";

/// Does this request come from a page of ours, as far as the browser says?
pub(super) fn is_ours(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").and_then(|site| site.to_str().ok()).unwrap_or("same-origin");
    matches!(site, "same-origin" | "none")
}

/// Take a token, hand out a session.
pub(super) async fn enter(State(state): State<ApiState>, headers: HeaderMap, body: Bytes) -> Result<Response, Trouble> {
    // A form on a foreign page could sign somebody in under a stranger's token.
    if !is_ours(&headers) {
        return Ok(Visit::default().refused(&state, StatusCode::FORBIDDEN, "Sign in from this page."));
    }
    let (presented, visit) = (field(&body, "token"), Visit::of_form(&body));
    let no = |why: &str| Ok(visit.refused(&state, StatusCode::FORBIDDEN, why));
    let caller = match caller::look_up(&state, &presented).await {
        Ok(caller) if caller.may(Scope::Read) => caller,
        Ok(_) => return no("This token has neither the scope read nor operate."),
        Err(Error::BadToken) => return no("This token is not known, or expired, or was revoked."),
        Err(error) => return Err(error.into()),
    };
    let Some(why) = visit.why() else { return no(WHAT_FOR) };
    let response = Redirect::to(visit.leads_to().as_str()).into_response();
    Ok(enters(&state, Who::Token(caller.token), why, response).await?)
}

/// End the session.
pub(super) async fn leave(State(state): State<ApiState>, headers: HeaderMap) -> Result<Response, Trouble> {
    if let Some(id) = cookie(&headers, COOKIE) {
        let mut write = db::write(&state.pool).await?;
        sqlx::query!("delete from safelight.console_sessions where id_sha256 = $1", &tokens::sha256(id)[..])
            .execute(&mut *write)
            .await?;
        write.commit().await?;
    }
    let mut response = Redirect::to(door::ADDRESS).into_response();
    if let Some(cookie) = set_cookie(&state, "", 0) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    Ok(response)
}
