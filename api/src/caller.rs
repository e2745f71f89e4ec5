//! Who asks: the token of a request, its tenant and its scopes. Every route under `/v1` names the scope it needs in its
//! signature, so that a route without one does not read.

use std::{marker::PhantomData, ops::Deref};

use axum::{
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, header, request::Parts},
    middleware::Next,
    response::Response,
};
use safelight_jobs::{
    id::{self, Id},
    operate::Operator,
    queue::By,
    run::Tx,
};
use subtle::ConstantTimeEq;
use uuid::Uuid;

use crate::{
    error::Error,
    idempotency::Claim,
    looks,
    state::ApiState,
    tokens::{self, Scope},
    trace::Trace,
};

/// Who acts, for whom, and what they may do.
#[derive(Debug, Clone)]
pub(crate) struct Holder {
    /// What the token was called when it was made; for somebody without one, who they are at the identity provider.
    name: String,
    tenant: Option<String>,
    scopes: Vec<Scope>,
}

impl Holder {
    /// Somebody of the house who signed in at the identity provider.
    pub(crate) fn of_the_house(name: String, scope: Scope) -> Self {
        Self { name, tenant: None, scopes: vec![scope] }
    }

    /// The tenant it acts for; a token of the whole house acts for none.
    pub(crate) fn tenant(&self) -> Result<&str, Error> {
        self.tenant.as_deref().ok_or(Error::NoTenant)
    }

    /// The only tenant whose things it sees; none: it sees those of all.
    pub(crate) fn sees_only(&self) -> Option<&str> {
        self.tenant.as_deref()
    }

    /// Who acts, for the trail of an operator's act: never a claim of the request.
    pub(crate) fn operator<'a>(&'a self, why: &'a str) -> Operator<'a> {
        Operator { by: By { actor: &self.name, why }, tenant: self.sees_only() }
    }

    /// Operators read as well, the evidence too.
    pub(crate) fn may(&self, scope: Scope) -> bool {
        let of_operators = matches!(scope, Scope::Read | Scope::Audit);
        self.scopes.contains(&scope) || (of_operators && self.scopes.contains(&Scope::Operate))
    }
}

/// A token that was found and holds now.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) token: id::Id<id::Token>,
    /// The first token of those that replaced each other, down to this one: their idempotency keys are the same.
    pub(crate) line: Uuid,
    holder: Holder,
    per_minute: Option<i32>,
}

impl Deref for Caller {
    type Target = Holder;
    fn deref(&self) -> &Holder {
        &self.holder
    }
}

/// The bearer of a request.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, text) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| text.trim())
}

/// Look a presented token up.
pub(crate) async fn look_up(state: &ApiState, presented: &str) -> Result<Caller, Error> {
    let (id, secret) = tokens::parts(presented).ok_or(Error::BadToken)?;
    let found = by_id(state, id).await?;
    if !bool::from(tokens::sha256(secret).as_slice().ct_eq(&found.secret_sha256)) {
        return Err(Error::BadToken);
    }
    if !found.used_today {
        tokens::used(&state.pool, id).await;
    }
    Ok(found.caller)
}

/// The holder of a token that was presented earlier, if it holds still.
pub(crate) async fn still_holds(state: &ApiState, token: Id<id::Token>) -> Result<Holder, Error> {
    by_id(state, token).await.map(|found| found.caller.holder)
}

/// A token that holds, before anybody has shown that they have its secret.
struct Found {
    caller: Caller,
    secret_sha256: Vec<u8>,
    used_today: bool,
}

async fn by_id(state: &ApiState, token: Id<id::Token>) -> Result<Found, Error> {
    let row = sqlx::query!(
        r#"select tenant, name, scopes, per_minute, secret_sha256, coalesce(line, id) as "line!",
            last_used_on is not distinct from safelight.today() as "used_today!" from safelight.tokens
        where id = $1 and revoked_at is null and (expires_at is null or expires_at > safelight.now())"#,
        token.uuid()
    )
    .fetch_optional(&state.pool)
    .await?
    .ok_or(Error::BadToken)?;
    let holder = Holder { name: row.name, tenant: row.tenant, scopes: tokens::named(&row.scopes) };
    let caller = Caller { token, line: row.line, holder, per_minute: row.per_minute };
    Ok(Found { caller, secret_sha256: row.secret_sha256, used_today: row.used_today })
}

/// The layer around `/v1`: no route below it is reached without a token that holds.
pub(crate) async fn authenticate(
    State(state): State<ApiState>,
    mut request: Request,
    next: Next,
) -> Result<Response, Error> {
    let presented = bearer(request.headers()).ok_or(Error::NoToken)?;
    let caller = look_up(&state, presented).await?;
    let taken = state.rates.take(caller.token.uuid(), caller.per_minute);
    let mut response = match taken.refusal() {
        Some(refusal) => refusal,
        None => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
    };
    taken.tell(response.headers_mut());
    Ok(response)
}

/// What a route needs, as a type.
pub(crate) trait Need: Send + 'static {
    const SCOPE: Scope;
}
/// Changes something.
pub(crate) enum Enqueue {}
/// Reads.
pub(crate) enum Read {}
/// Decides what only a person of the house may decide.
pub(crate) enum Operate {}
impl Need for Enqueue {
    const SCOPE: Scope = Scope::Enqueue;
}
/// Reads the evidence.
pub(crate) enum Evidence {}
impl Need for Read {
    const SCOPE: Scope = Scope::Read;
}
impl Need for Operate {
    const SCOPE: Scope = Scope::Operate;
}
impl Need for Evidence {
    const SCOPE: Scope = Scope::Audit;
}

/// A caller that may do what the route needs. First in a route's signature: who may not is told nothing else.
pub(crate) struct To<N> {
    caller: Caller,
    /// The place for the answer, where the request carried an idempotency key.
    pub(crate) claim: Option<Claim>,
    /// What it enqueues belongs to this trace.
    trace: Option<Trace>,
    /// What it looks at one person's case for ([`looks`]).
    pub(crate) why: String,
    need: PhantomData<N>,
}

impl<N> To<N> {
    /// Begin the one transaction of this request; what it enqueues carries the request's trace.
    pub(crate) async fn begin(&self, state: &ApiState) -> Result<Tx, Error> {
        Ok(Tx::begin(&state.pool, &state.bell).await?.traced(self.traceparent()))
    }

    /// The trace, as the W3C writes it.
    pub(crate) fn traceparent(&self) -> Option<String> {
        self.trace.as_ref().map(|trace| trace.0.clone())
    }
}

impl<N> Deref for To<N> {
    type Target = Caller;
    fn deref(&self) -> &Caller {
        &self.caller
    }
}

impl<N: Need> FromRequestParts<ApiState> for To<N> {
    type Rejection = Error;
    async fn from_request_parts(parts: &mut Parts, _: &ApiState) -> Result<Self, Error> {
        let caller = parts.extensions.get::<Caller>().cloned().ok_or(Error::NoToken)?;
        if !caller.may(N::SCOPE) {
            return Err(Error::Scope { needs: N::SCOPE.as_str() });
        }
        let claim = parts.extensions.get::<Claim>().cloned();
        let trace = parts.extensions.get::<Trace>().cloned();
        Ok(Self { caller, claim, trace, why: looks::said(&parts.headers), need: PhantomData })
    }
}
