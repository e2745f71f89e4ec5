//! Dead letters: what there is, counted, and what becomes of all that match.

use axum::{
    extract::{Path, State},
    http::StatusCode,
    response::Response,
};
use chrono::{DateTime, Utc};
use safelight_jobs::{
    job::Queue,
    operate::{self, Fate},
    queue::{self, Filter},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    caller::{Operate, Read, To},
    error::Error,
    idempotency, input,
    input::{Asked, Json},
    openapi::Problem,
    state::ApiState,
};

/// Which dead letters; what is left out does not narrow.
#[derive(Deserialize, ToSchema, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// Of one kind.
    kind: Option<String>,
    /// With one code.
    code: Option<String>,
    /// Of one tenant.
    tenant: Option<String>,
}

impl Which {
    fn filter(&self) -> Result<Filter<'_>, Error> {
        for word in [&self.kind, &self.code, &self.tenant].into_iter().flatten() {
            if !input::is_plain_word(word) {
                let why = "`kind`, `code` and `tenant` are words of letters, digits and `_-:.`".to_owned();
                return Err(Error::Invalid { code: "not_a_code", why });
            }
        }
        let (kind, code, tenant) = (self.kind.as_deref(), self.code.as_deref(), self.tenant.as_deref());
        Ok(Filter { job: None, kind, code, tenant })
    }
}

/// Dead letters of one kind and code.
#[derive(Serialize, ToSchema)]
pub(crate) struct Group {
    /// Of which kind.
    kind: String,
    /// Why they died.
    code: String,
    /// How many; more than 10,000 are told as 10,000.
    count: i64,
    /// When the first died.
    oldest: DateTime<Utc>,
    /// When the last died.
    newest: DateTime<Utc>,
}

/// All of them, the largest group first.
#[derive(Serialize, ToSchema)]
pub(crate) struct Groups {
    /// The groups.
    dead_letters: Vec<Group>,
}

/// Count dead letters by kind and code.
#[utoipa::path(get, path = "/v1/dead-letters", tag = "operators", operation_id = "countDeadLetters", params(Which), security(("token" = ["read"])),
    responses((status = 200, description = "The groups", body = Groups), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn count(
    caller: To<Read>,
    State(state): State<ApiState>,
    Asked(which): Asked<Which>,
) -> Result<Response, Error> {
    let filter = which.filter()?;
    let filter = Filter { tenant: caller.sees_only().or(filter.tenant), ..filter };
    let groups = queue::dead_letters(&state.pool, filter).await?.into_iter().map(|group| Group {
        kind: group.kind,
        code: group.code,
        count: group.count,
        oldest: group.oldest,
        newest: group.newest,
    });
    let view = serde_json::to_value(Groups { dead_letters: groups.collect() }).map_err(|_| Error::Internal)?;
    Ok(idempotency::answer(StatusCode::OK, &view))
}

/// Which, and why.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WhichDead {
    /// Of one kind.
    kind: Option<String>,
    /// With one code.
    code: Option<String>,
    /// Of one tenant.
    tenant: Option<String>,
    /// True: all that there are. Else something must narrow it.
    #[serde(default)]
    all: bool,
    /// In a few words, without anything about a person. At most 300 letters.
    why: String,
}

/// What was done.
#[derive(Serialize, ToSchema)]
pub(crate) struct Done {
    /// How many: at most 1000 a request. Ask again until it is 0.
    jobs: u64,
}

/// Redrive or discard the dead letters that match, the oldest first, at most 1000 a request. Discarding leaves deletions and
/// purges alone.
#[utoipa::path(post, path = "/v1/dead-letters/{fate}", tag = "operators", operation_id = "actOnDeadLetters",
    params(("fate" = String, Path, description = "`redrive` or `discard`")), request_body = WhichDead, security(("token" = ["operate"])),
    responses((status = 200, description = "Done", body = Done), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn act(
    caller: To<Operate>,
    State(state): State<ApiState>,
    Path(fate): Path<String>,
    body: Json<WhichDead>,
) -> Result<Response, Error> {
    let fate = match fate.as_str() {
        "redrive" => Fate::Redrive,
        "discard" => Fate::Discard,
        _ => return Err(Error::NoRoute),
    };
    let WhichDead { kind, code, tenant, all, why } = body.value;
    let which = Which { kind, code, tenant };
    let mut tx = caller.begin(&state).await?;
    let jobs = operate::on_dead_letters(&mut tx, fate, which.filter()?, all, caller.operator(&why)).await?;
    if fate == Fate::Redrive {
        Queue::ALL.into_iter().for_each(|queue| tx.ring(queue));
    }
    caller.finish(tx, StatusCode::OK, &Done { jobs }).await
}
