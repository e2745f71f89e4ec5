//! A person who acts for themselves: the bearer is their sign-in at Supabase, and opens `/v1/me` and nothing else.
//!
//! The token says only who it is. What they may do is asked of the person's own row: a token outlives the deletion of its
//! user by up to an hour, so it is never a proof that the person is still here.

use axum::{
    extract::{FromRequestParts, Request, State},
    http::request::Parts,
    middleware::Next,
    response::{IntoResponse, Response},
};
use safelight_jobs::{
    id::{Id, Subject},
    providers::auth::TokenError,
    run::Tx,
};

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{caller::bearer, error::Error, idempotency::Claim, state::ApiState, trace::Trace};

/// Requests of one person a minute in one process: a page that polls, with room.
const PER_MINUTE: i32 = 120;

/// Who is signed in.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub(crate) tenant: String,
    pub(crate) subject: Id<Subject>,
    /// A hash of who they are at the project and of their tenant: whose an idempotency key is.
    pub(crate) stands_for: Uuid,
    /// The place for the answer, where the request carried an idempotency key.
    pub(crate) claim: Option<Claim>,
    trace: Trace,
}

impl Person {
    /// Begin the one transaction of this request; what it enqueues carries the request's trace.
    pub(crate) async fn begin(&self, state: &ApiState) -> Result<Tx, Error> {
        self.trace.clone().begin(state).await
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Person {
    type Rejection = Error;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        let person = parts.extensions.get::<Self>().cloned().ok_or(Error::SignInUnknown)?;
        Ok(Self { claim: parts.extensions.get::<Claim>().cloned(), ..person })
    }
}

fn stands_for(sub: Uuid, tenant: &str) -> Uuid {
    let hash = Sha256::new().chain_update(sub.as_bytes()).chain_update(tenant.as_bytes()).finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// The layer around `/v1/me`.
pub(crate) async fn authenticate(
    State(state): State<ApiState>,
    request: Request,
    next: Next,
) -> Result<Response, Error> {
    let refused = |why: &str| Error::SignInRefused { why: why.to_owned() };
    let presented = bearer(request.headers())
        .ok_or_else(|| refused("send the person's sign-in as `authorization: Bearer …`"))?
        .to_owned();
    let tokens = state.sign_in.as_ref().ok_or_else(|| {
        refused("this intake knows no project for sign-ins; ask the tenant's backend, or set SUPABASE_URL")
    })?;
    // By the database's clock, like every other end.
    let now = sqlx::query_scalar!(r#"select extract(epoch from safelight.now())::bigint as "now!""#)
        .fetch_one(&state.pool)
        .await?;
    let claims = tokens.verify_user_jwt(&presented, now).await.map_err(|error| match error {
        TokenError::NoKeys => Error::KeysUnavailable { why: error.to_string() },
        error => Error::SignInRefused { why: error.to_string() },
    })?;
    let taken = state.rates.take(claims.sub, Some(PER_MINUTE));
    let mut response = match taken.refusal() {
        Some(refusal) => refusal,
        None => asks(&state, claims.sub, request, next).await.into_response(),
    };
    taken.tell(response.headers_mut());
    Ok(response)
}

/// What this user's request is answered.
async fn asks(state: &ApiState, user: Uuid, request: Request, next: Next) -> Result<Response, Error> {
    let known = sqlx::query!(
        r#"select s.tenant, s.id from safelight.accounts a join safelight.subjects s on s.id = a.subject_id
                where a.auth_user = $1 and s.state <> 'erased'"#,
        user
    )
    .fetch_optional(&state.pool)
    .await?
    .ok_or(Error::SignInUnknown)?;
    let (mut parts, body) = request.into_parts();
    let Ok(trace) = Trace::from_request_parts(&mut parts, state).await;
    parts.extensions.insert(Person {
        stands_for: stands_for(user, &known.tenant),
        tenant: known.tenant,
        subject: known.id.into(),
        claim: None,
        trace,
    });
    Ok(next.run(Request::from_parts(parts, body)).await)
}
