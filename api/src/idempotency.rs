//! `Idempotency-Key` on every POST under `/v1`, as Stripe means it: the same request again gets the same answer and has no second
//! effect; the same key with another request is refused.
//!
//! The answer is remembered in the transaction of the effect, so a crash keeps both or neither. Only answers that
//! changed something are remembered: a refusal changed nothing and may be asked again. What is remembered holds ids,
//! codes and times only; a signed link and a job's payload are left out, and made or read anew when the answer is repeated.
//! Source: docs.stripe.com/api/idempotent_requests, read November 2026 (keys up to 255 characters, kept for a day).

use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, Request, State},
    http::{HeaderValue, Method, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use safelight_jobs::{db, run::Tx};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tracing::Instrument;
use uuid::Uuid;

use crate::{
    caller::{Caller, To, bearer},
    error::Error,
    input,
    person::Person,
    routes,
    state::ApiState,
};

/// Says that an answer was given before.
pub const REPLAYED: &str = "idempotent-replayed";
const KEY: &str = "idempotency-key";
/// The longest that work under a key takes, whoever waits for it: less than a place without an answer stays taken.
const AT_MOST: Duration = Duration::from_secs(60);

/// A place for one answer.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    /// Whose key it is: a token, with those that replaced it ([`Caller::line`]), or what stands for a person ([`Person::stands_for`]).
    holder: Uuid,
    key: String,
}

/// The layer between the token and the routes.
pub(crate) async fn layer(State(state): State<ApiState>, request: Request, next: Next) -> Result<Response, Error> {
    let mut keys = request.headers().get_all(KEY).iter();
    let Some(key) = keys.next().cloned() else { return Ok(next.run(request).await) };
    let more = keys.next().is_some();
    let caller = request.extensions().get::<Caller>().cloned();
    let person = request.extensions().get::<Person>().cloned();
    let holder = match (&caller, person) {
        (Some(caller), _) => caller.line,
        (None, Some(person)) => person.stands_for,
        (None, None) => return Ok(next.run(request).await),
    };
    if request.method() != Method::POST {
        return Ok(next.run(request).await);
    }
    let fits = |key: &&str| !more && (1..=255).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
    let key = key.to_str().ok().filter(fits).ok_or(Error::KeyShape)?.to_owned();
    let (mut parts, body) = request.into_parts();
    let whole = Request::from_parts(parts.clone(), body);
    let body = Bytes::from_request(whole, &state).await.map_err(input::broken)?;
    // A body may name a person.
    let address = parts.uri.path_and_query().map_or("", |address| address.as_str());
    let mut marks = state.vault.marks(&[address.as_bytes(), &[0], &body].concat());
    marks.push(mark_before(caller.is_some().then(|| bearer(&parts.headers)).flatten(), &parts.uri, &body));
    let claim = Claim { holder, key };
    if !claim.take(&state, marks.first().ok_or(Error::Internal)?).await? {
        return claim.earlier(&state, caller.as_ref(), &marks, &body).await;
    }
    parts.extensions.insert(claim.clone());
    let request = Request::from_parts(parts, Body::from(body));
    // On its own: a caller who goes away, or whose patience ends, finds its answer under the key, or the key free.
    let answered = async move {
        let response = tokio::time::timeout(AT_MOST, next.run(request)).await;
        match response {
            Ok(response) if response.status().is_success() => Ok(response),
            Ok(response) => claim.release(&state).await.map(|()| response),
            Err(_) => claim.release(&state).await.and(Err(Error::Internal)),
        }
    };
    tokio::spawn(answered.in_current_span()).await.map_err(|_| Error::Internal)?
}

/// As the version before marked a request: its answers are kept for a day, and whoever asks again meanwhile is asking for the same.
fn mark_before(secret: Option<&str>, address: &Uri, body: &[u8]) -> [u8; 32] {
    Sha256::new()
        .chain_update(secret.unwrap_or_default())
        .chain_update(address.path())
        .chain_update(address.query().unwrap_or_default())
        .chain_update([0])
        .chain_update(body)
        .finalize()
        .into()
}

impl Claim {
    /// Take the place for this key. False: somebody has it.
    async fn take(&self, state: &ApiState, mark: &[u8]) -> Result<bool, Error> {
        let mut tx = safelight_jobs::db::begin(&state.pool).await?;
        // Over: answers older than a day, and places whose process died before it answered. A request is given up long
        // before that, so nobody works for such a place any more.
        sqlx::query!(
            r#"delete from safelight.idempotent_answers where (token_id, key) in (
                select token_id, key from safelight.idempotent_answers where created_at < safelight.now() - interval '24 hours'
                order by created_at limit 20 for update skip locked)"#
        )
        .execute(&mut *tx)
        .await?;
        sqlx::query!(
            r#"delete from safelight.idempotent_answers where token_id = $1 and key = $2
                and created_at < safelight.now() - case when status is null then interval '5 minutes' else interval '24 hours' end"#,
            self.holder,
            self.key
        )
        .execute(&mut *tx)
        .await?;
        let taken = sqlx::query!(
            r#"insert into safelight.idempotent_answers (token_id, key, request_sha256) values ($1, $2, $3)
            on conflict do nothing"#,
            self.holder,
            self.key,
            mark
        )
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(taken.rows_affected() == 1)
    }

    /// The answer that was given before.
    async fn earlier(
        &self,
        state: &ApiState,
        caller: Option<&Caller>,
        marks: &[[u8; 32]],
        request: &[u8],
    ) -> Result<Response, Error> {
        let known = sqlx::query!(
            "select request_sha256, status, body from safelight.idempotent_answers where token_id = $1 and key = $2",
            self.holder,
            self.key
        )
        .fetch_optional(&state.pool)
        .await?
        // Released a moment ago.
        .ok_or(Error::KeyInFlight)?;
        if !marks.iter().any(|mark| mark[..] == known.request_sha256) {
            return Err(Error::KeyReused);
        }
        let (Some(status), Some(mut body)) = (known.status, known.body) else { return Err(Error::KeyInFlight) };
        if let Some(caller) = caller {
            routes::uploads::sign_anew(state, caller, &mut body).await?;
            routes::operate_jobs::read_anew(state, caller, request, &mut body).await?;
        }
        let status = u16::try_from(status).ok().and_then(|status| StatusCode::from_u16(status).ok());
        let mut response = answer(status.unwrap_or(StatusCode::OK), &body);
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        Ok(response)
    }

    /// Nothing was changed: the key is free again.
    async fn release(&self, state: &ApiState) -> Result<(), Error> {
        let mut write = db::write(&state.pool).await?;
        sqlx::query!(
            "delete from safelight.idempotent_answers where token_id = $1 and key = $2 and status is null",
            self.holder,
            self.key
        )
        .execute(&mut *write)
        .await?;
        Ok(write.commit().await?)
    }

    async fn remember(&self, tx: &mut Tx, status: StatusCode, body: &Value) -> Result<(), Error> {
        let status = i16::try_from(status.as_u16()).map_err(|_| Error::Internal)?;
        let done = sqlx::query!(
            r#"update safelight.idempotent_answers set status = $3, body = $4
            where token_id = $1 and key = $2 and status is null"#,
            self.holder,
            self.key,
            status,
            body
        )
        .execute(&mut **tx)
        .await?;
        // Without its place the request would have a second effect when it is repeated.
        if done.rows_affected() == 1 { Ok(()) } else { Err(Error::KeyInFlight) }
    }
}

impl<N> To<N> {
    /// Commit, and answer. The answer is remembered in the same commit.
    pub(crate) async fn finish<T: Serialize>(&self, tx: Tx, status: StatusCode, body: &T) -> Result<Response, Error> {
        self.finish_without(tx, status, body, &[]).await
    }

    /// The same, but for these fields: they are sent and not remembered.
    pub(crate) async fn finish_without<T: Serialize>(
        &self,
        tx: Tx,
        status: StatusCode,
        body: &T,
        forget: &[&str],
    ) -> Result<Response, Error> {
        finish(self.claim.as_ref(), tx, status, body, forget).await
    }
}

impl Person {
    /// Commit, and answer. The answer is remembered in the same commit.
    pub(crate) async fn finish<T: Serialize>(&self, tx: Tx, status: StatusCode, body: &T) -> Result<Response, Error> {
        finish(self.claim.as_ref(), tx, status, body, &[]).await
    }
}

async fn finish<T: Serialize>(
    claim: Option<&Claim>,
    mut tx: Tx,
    status: StatusCode,
    body: &T,
    forget: &[&str],
) -> Result<Response, Error> {
    let body = serde_json::to_value(body).map_err(|_| Error::Internal)?;
    if let Some(claim) = claim {
        let mut kept = body.clone();
        for field in forget {
            kept[*field] = Value::Null;
        }
        claim.remember(&mut tx, status, &kept).await?;
    }
    tx.commit().await?;
    Ok(answer(status, &body))
}

/// A JSON answer.
pub(crate) fn answer(status: StatusCode, body: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}
