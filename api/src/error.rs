//! What a caller is told when something was not done: RFC 9457 `application/problem+json` with a stable code.
//!
//! Every error here changed nothing, but for [`Error::OutcomeUnknown`], of which nobody knows. None carries personal data, a secret, or a value that the caller sent. The request id
//! is added on the way out ([`crate::request`]).

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use safelight_jobs::gate::Refusal;

use crate::codes;

mod translate;

/// Why a request was not done.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// 400. The body is no JSON.
    #[error("the body is not JSON: {why}")]
    BadJson {
        /// Where it breaks off.
        why: String,
    },
    /// 422. The body is JSON, and a field is missing, unknown, doubled or of another type.
    #[error("the body does not fit: {why}")]
    BadBody {
        /// Which field.
        why: String,
    },
    /// 415. Another content type.
    #[error("send the body as `content-type: application/json`")]
    NotJson,
    /// 413. Too many bytes.
    #[error("the body is larger than this route takes")]
    TooLarge,
    /// 400. The body broke off, or could not be read.
    #[error("the body could not be read to its end")]
    BodyBroke,
    /// 400. An id in the path has another shape.
    #[error("{0}")]
    BadId(String),
    /// 400. The words behind the `?` of the address cannot be read.
    #[error("a word behind the `?` is of another type, is there twice, or is not known; GET /openapi.json lists them")]
    BadQuery,
    /// 422. More than one purpose in one consent.
    #[error("one consent names exactly one purpose: send `purpose` as one word, and one request for each purpose")]
    ConsentBundled,
    /// 401. No credentials.
    #[error("send a token as `authorization: Bearer slt_…`")]
    NoToken,
    /// 401. The token is not known, or expired, or was revoked.
    #[error("this token is not known, or expired, or was revoked; create one with `safelight token create`")]
    BadToken,
    /// 401. The sign-in is not one that is believed here.
    #[error("{why}")]
    SignInRefused {
        /// A sentence.
        why: String,
    },
    /// 401. The sign-in is good, and belongs to nobody who is registered.
    #[error("this sign-in belongs to no person who is registered here, or whose erasure is over")]
    SignInUnknown,
    /// 403. The token lacks a scope.
    #[error("this token lacks the scope `{needs}`")]
    Scope {
        /// Which one.
        needs: &'static str,
    },
    /// 403. The token belongs to no tenant.
    #[error("this token belongs to no tenant, and this request acts for one; use a token of the tenant")]
    NoTenant,
    /// 403. The token belongs to one tenant, and this is felt by all.
    #[error("this acts on every tenant, and this token belongs to one; use a token of the house")]
    OfTheHouse,
    /// 403. A form of the console that no page of this session made.
    #[error("this form was not made by a page of this session; open the page again and repeat it there")]
    FormForeign,
    /// 404. No such thing of this tenant.
    #[error("{what} does not exist, or is not of this tenant")]
    NotFound {
        /// Which id.
        what: String,
    },
    /// 404. No such address.
    #[error("there is nothing at this address; GET /openapi.json lists what there is")]
    NoRoute,
    /// 405. The address takes other methods.
    #[error("this address does not take this method; see the header `allow`")]
    Method,
    /// 410. Its time is over, or the person is being erased.
    #[error("{what} is gone: its time is over, or its person is being erased")]
    Gone {
        /// Which id.
        what: String,
    },
    /// 409. What was asked for does not fit what is there.
    #[error("{why}")]
    Conflict {
        /// Stable code.
        code: &'static str,
        /// A sentence.
        why: String,
    },
    /// 409. A gate is closed.
    #[error("not allowed now: {0}")]
    Refused(Refusal),
    /// 422. A value that cannot be taken.
    #[error("{why}")]
    Invalid {
        /// Stable code.
        code: &'static str,
        /// A sentence.
        why: String,
    },
    /// 422. The database refused a value that no check of ours looked at.
    #[error("a value cannot be stored")]
    ValueRefused,
    /// 400. The idempotency key has another shape.
    #[error("`idempotency-key` must be 1 to 255 visible ASCII characters")]
    KeyShape,
    /// 409. The idempotency key was used for another request.
    #[error("this idempotency key was used for another request within the last day; use a new key for a new request")]
    KeyReused,
    /// 409. The first request with this key is still being done.
    #[error("the first request with this idempotency key is still being done; ask again shortly")]
    KeyInFlight,
    /// 401. The sweep's secret is wrong, missing, or not set here.
    #[error("send the sweep's secret as `authorization: Bearer …`; where none is configured, every sweep is refused")]
    SweepRefused,
    /// 401. The secret for the metrics is wrong or missing.
    #[error("send the metrics' secret as `authorization: Bearer …`")]
    MetricsRefused,
    /// 400. A provider's news that is not believed.
    #[error("{why}")]
    WebhookRefused {
        /// Stable code.
        code: &'static str,
        /// A sentence.
        why: String,
    },
    /// 503. The keys that news are checked with are not at hand.
    #[error("{why}")]
    KeysUnavailable {
        /// Which and what to do.
        why: String,
    },
    /// 409. The store cannot sign links.
    #[error("objects lie in a folder, and a folder cannot sign links; configure an S3 store")]
    LinksNotSupported,
    /// 408. The request's body took too long.
    #[error("the body did not come to its end in time, and nothing was done; send the request again")]
    TooSlow,
    /// 503. Our answer took too long.
    #[error(
        "the answer took too long and was given up; whether anything was done is not known: send the same request again with \
        the same `idempotency-key`, and it has no second effect"
    )]
    OutcomeUnknown,
    /// 503. The database does not answer.
    #[error("the database does not answer; ask again shortly")]
    DatabaseDown,
    /// 503. The object store does not answer.
    #[error("the object store does not answer; ask again shortly")]
    StorageDown,
    /// 429. The token asks more often than it may.
    #[error("this token asks too often; ask again in {seconds} seconds, and see the headers `ratelimit-…`")]
    TooOften {
        /// Until the next one is let in.
        seconds: u64,
    },
    /// 503. Too many follow something at once.
    #[error("too many follow something here at once; ask without waiting, or again shortly")]
    Busy,
    /// 503. More requests at once than this process takes.
    #[error("more requests at once than this process takes; ask again in a second, or start another one")]
    Overloaded,
    /// 503. The schema is older than this program.
    #[error("the database lacks migrations of this version; run `safelight migrate`")]
    NotMigrated,
    /// 500. A fault of ours.
    #[error("a fault of ours; tell us the request id")]
    Internal,
}

impl Error {
    /// The status that is sent.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::BadJson { .. }
            | Self::BodyBroke
            | Self::BadId(_)
            | Self::BadQuery
            | Self::KeyShape
            | Self::WebhookRefused { .. } => StatusCode::BAD_REQUEST,
            Self::NoToken
            | Self::BadToken
            | Self::SignInRefused { .. }
            | Self::SignInUnknown
            | Self::SweepRefused
            | Self::MetricsRefused => StatusCode::UNAUTHORIZED,
            Self::Scope { .. } | Self::NoTenant | Self::OfTheHouse | Self::FormForeign => StatusCode::FORBIDDEN,
            Self::NotFound { .. } | Self::NoRoute => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Conflict { .. }
            | Self::Refused(_)
            | Self::KeyReused
            | Self::KeyInFlight
            | Self::LinksNotSupported => StatusCode::CONFLICT,
            Self::Gone { .. } => StatusCode::GONE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::BadBody { .. } | Self::ConsentBundled | Self::Invalid { .. } | Self::ValueRefused => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Self::TooOften { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Busy
            | Self::OutcomeUnknown
            | Self::Overloaded
            | Self::KeysUnavailable { .. }
            | Self::DatabaseDown
            | Self::StorageDown
            | Self::NotMigrated => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The code that a program branches on. It never changes its meaning.
    pub fn code(&self) -> &'static str {
        match self {
            Self::BadJson { .. } => "bad_json",
            Self::BadBody { .. } => "bad_body",
            Self::NotJson => "not_json",
            Self::TooLarge => "body_too_large",
            Self::BodyBroke => "body_broke_off",
            Self::BadId(_) => "bad_id",
            Self::BadQuery => "bad_query",
            Self::ConsentBundled => "consent_bundled",
            Self::NoToken => "no_token",
            Self::BadToken => "bad_token",
            Self::SignInRefused { .. } => "sign_in_refused",
            Self::SignInUnknown => "sign_in_unknown",
            Self::Scope { .. } => "scope_missing",
            Self::NoTenant => "tenant_required",
            Self::OfTheHouse => "house_required",
            Self::FormForeign => "form_foreign",
            Self::NotFound { .. } => "not_found",
            Self::NoRoute => "no_such_address",
            Self::Method => "method_not_allowed",
            Self::Gone { .. } => "gone",
            Self::Conflict { code, .. } | Self::Invalid { code, .. } | Self::WebhookRefused { code, .. } => code,
            Self::Refused(refusal) => refusal.code,
            Self::ValueRefused => "value_refused",
            Self::KeyShape => "idempotency_key_invalid",
            Self::KeyReused => "idempotency_key_reused",
            Self::KeyInFlight => "idempotency_in_flight",
            Self::SweepRefused => "sweep_refused",
            Self::MetricsRefused => "metrics_refused",
            Self::KeysUnavailable { .. } => "keys_unavailable",
            Self::LinksNotSupported => "links_not_supported",
            Self::TooSlow => "request_timeout",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::DatabaseDown => "database_unavailable",
            Self::StorageDown => "storage_unavailable",
            Self::TooOften { .. } => "rate_limited",
            Self::Busy => "too_many_wait",
            Self::Overloaded => "overloaded",
            Self::NotMigrated => "schema_outdated",
            Self::Internal => "internal",
        }
    }

    /// Something of this tenant that is not there.
    pub fn not_found(what: impl std::fmt::Display) -> Self {
        Self::NotFound { what: what.to_string() }
    }

    /// The reason for a status that a layer below us answered with.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::NOT_FOUND => Self::NoRoute,
            StatusCode::METHOD_NOT_ALLOWED => Self::Method,
            StatusCode::PAYLOAD_TOO_LARGE => Self::TooLarge,
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::NotJson,
            StatusCode::REQUEST_TIMEOUT => Self::TooSlow,
            status if status.is_client_error() => Self::BodyBroke,
            _ => Self::Internal,
        }
    }
}

/// What is put into the response for [`crate::request`] to write down.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) title: &'static str,
    pub(crate) detail: String,
    /// Seconds after which asking again makes sense, where that is known.
    pub(crate) retry_after: Option<u64>,
}

impl From<&Error> for Problem {
    fn from(error: &Error) -> Self {
        let code = error.code();
        let retry_after = match error {
            Error::TooOften { seconds } => Some(*seconds),
            Error::Overloaded => Some(1),
            _ => None,
        };
        Self { status: error.status(), code, title: codes::title(code), detail: error.to_string(), retry_after }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let problem = Problem::from(&self);
        let mut response = problem.status.into_response();
        response.extensions_mut().insert(problem);
        response
    }
}
