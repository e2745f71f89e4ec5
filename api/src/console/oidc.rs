//! Signing in at an identity provider: there with an attempt in the browser's cookie, back with a code.
//!
//! Nothing of an attempt is stored here, and no address, log line or error holds its secret, the code or a token. Pages lead on
//! by `Refresh` and a link, not by a redirect: the session's cookie is `SameSite=Strict`, and a browser that was sent here from
//! another site would not bring it along.

use axum::{
    body::Bytes,
    extract::{RawQuery, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use safelight_jobs::providers::oidc::{Attempt, OidcError};

use super::{
    Trouble,
    door::{self, Visit},
    sign_in::{self, Who, cookie, enters, field, is_ours},
    trouble::sentence,
};
use crate::{error::Error, state::ApiState, tokens};

/// Where the form goes and the provider sends the browser back to; registered there behind the public address.
pub(super) const ADDRESS: &str = "/console/sign-in/oidc";
/// `Lax`: it has to come along when the provider sends the browser back.
const COOKIE: &str = "safelight_sign_in";
/// How long somebody may be away at the provider, in seconds.
const AWAY: i32 = 600;
/// The longest id at a provider that stands in the trail as it is.
const LONGEST_ID: usize = 64;

/// Go there.
pub(super) async fn begin(State(state): State<ApiState>, headers: HeaderMap, body: Bytes) -> Result<Response, Trouble> {
    let operators = state.operators.as_ref().ok_or(Error::NoRoute)?;
    if !is_ours(&headers) {
        return Ok(Visit::default().refused(&state, StatusCode::FORBIDDEN, "Sign in from this page."));
    }
    let visit = Visit::of_form(&body);
    let Some(why) = visit.why() else {
        return Ok(visit.refused(&state, StatusCode::FORBIDDEN, sign_in::WHAT_FOR));
    };
    let attempt = Attempt::begin();
    match operators.oidc.authorize_url(&attempt, now(&state).await?).await {
        Ok(url) => {
            let held =
                [attempt.secret().expose(), &hex::encode(why), &hex::encode(visit.leads_to().as_str())].join(".");
            let response = door::leads_to(url.as_str(), "On to your identity provider");
            Ok(with_cookie(&state, response, &held, AWAY))
        }
        Err(error) => Ok(refused(&state, &visit, &error)),
    }
}

/// Come back.
pub(super) async fn back(
    State(state): State<ApiState>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Trouble> {
    let response = ended(&state, query.unwrap_or_default().as_bytes(), &headers).await?;
    // The attempt is over, whatever came of it.
    Ok(with_cookie(&state, response, "", 0))
}

async fn ended(state: &ApiState, query: &[u8], headers: &HeaderMap) -> Result<Response, Error> {
    let operators = state.operators.as_ref().ok_or(Error::NoRoute)?;
    let Some((attempt, visit)) = cookie(headers, COOKIE).and_then(brought) else {
        let why = "This sign-in began in another browser, or more than ten minutes ago. Begin again here.";
        return Ok(Visit::default().refused(state, StatusCode::FORBIDDEN, why));
    };
    let no = |why: &str| visit.refused(state, StatusCode::FORBIDDEN, why);
    if !attempt.fits(&field(query, "state")) {
        return Ok(no("This answer belongs to another sign-in. Begin again here."));
    }
    let code = field(query, "code");
    if code.is_empty() {
        return Ok(no("The identity provider did not sign you in. Begin again here, or ask who runs it."));
    }
    let who = match operators.oidc.identify(&attempt, code, now(state).await?).await {
        Ok(who) => who,
        Err(error) => return Ok(refused(state, &visit, &error)),
    };
    let Some(scope) = operators.scope_of(&who) else {
        return Ok(no(
            "You are known at the identity provider, but no group of yours opens this console. Ask who runs \
            Safelight for a group that SAFELIGHT_OIDC_READ or SAFELIGHT_OIDC_OPERATE names.",
        ));
    };
    let response = door::leads_to(visit.leads_to().as_str(), "On to the console");
    let why = visit.why().unwrap_or_default();
    enters(state, Who::Operator(&in_the_trail(&who.subject), scope), why, response).await
}

/// By the database's clock, like every other end.
async fn now(state: &ApiState) -> Result<i64, Error> {
    let now = sqlx::query_scalar!(r#"select extract(epoch from safelight.now())::bigint as "now!""#);
    Ok(now.fetch_one(&state.pool).await?)
}

/// The attempt in the cookie, what somebody signs in for, and what they wanted to see.
fn brought(held: &str) -> Option<(Attempt, Visit)> {
    let mut parts = held.split('.');
    let attempt = Attempt::of(parts.next()?)?;
    let text = |part: &str| String::from_utf8(hex::decode(part).ok()?).ok();
    let (why, to) = (text(parts.next()?)?, parts.next().and_then(text).unwrap_or_default());
    let visit = Visit::to(&to, why);
    visit.why().is_some().then_some((attempt, visit))
}

/// How an operator is named in the trail: their id at the provider, unless it could be a mail address or does not fit in.
fn in_the_trail(subject: &str) -> String {
    let plain = (1..=LONGEST_ID).contains(&subject.len())
        && subject.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'@');
    let hashed = || hex::encode(&tokens::sha256(subject)[..12]);
    format!("oidc:{}", if plain { subject.to_owned() } else { hashed() })
}

fn refused(state: &ApiState, visit: &Visit, error: &OidcError) -> Response {
    tracing::warn!(reason = %error, "an operator could not sign in");
    let status = match error {
        OidcError::Unreachable { .. } | OidcError::Misset { .. } => StatusCode::SERVICE_UNAVAILABLE,
        OidcError::Refused { .. } | OidcError::Forged { .. } => StatusCode::FORBIDDEN,
    };
    visit.refused(state, status, &sentence(&error.to_string()))
}

fn with_cookie(state: &ApiState, mut response: Response, held: &str, seconds: i32) -> Response {
    let secure = if state.config.secure_cookies { "; Secure" } else { "" };
    let cookie = format!("{COOKIE}={held}; Path={ADDRESS}; HttpOnly; SameSite=Lax; Max-Age={seconds}{secure}");
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_is_named_by_their_id_and_never_by_a_mail_address() {
        assert_eq!(in_the_trail("auth0|64f1a2"), "oidc:auth0|64f1a2");
        for hidden in ["ann@example.org", "Ann Miller", "", &"x".repeat(65), "änn"] {
            let name = in_the_trail(hidden);
            assert!(name.len() == 29 && !name.contains("nn"), "{name}");
        }
    }

    #[test]
    fn a_cookie_of_another_shape_is_no_attempt() {
        let attempt = Attempt::begin();
        let secret = attempt.secret().expose();
        let why = hex::encode("on call");
        let leads_to = |to: &str| {
            brought(&format!("{secret}.{why}.{}", hex::encode(to))).map(|(_, visit)| visit.leads_to().to_string())
        };
        assert_eq!(leads_to("/console/jobs?state=dead").as_deref(), Some("/console/jobs?state=dead"));
        for elsewhere in ["https://evil.example", "//evil.example", "/console/../v1", ""] {
            assert_eq!(leads_to(elsewhere).as_deref(), Some("/console"), "{elsewhere}");
        }
        for bad in
            [secret.to_owned(), format!("{secret}."), format!("{secret}.zz"), format!("x.{}", hex::encode("why"))]
        {
            assert!(brought(&bad).is_none());
        }
    }
}
