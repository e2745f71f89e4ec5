//! Finding jobs by what an operator or a backend knows of them, newest first, a page at a time. No payload is shown.

use axum::{
    extract::State,
    http::{StatusCode, Uri},
    response::Response,
};
use chrono::{DateTime, Utc};
use safelight_jobs::{
    id::{self, Id, Order, Subject},
    queue::search::{self, Search, Wanted},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    caller::{Read, To},
    error::Error,
    idempotency,
    input::{self, Asked},
    looks::WhatFor,
    openapi::Problem,
    state::ApiState,
};

/// Entries of one page, if nothing else is asked for.
const USUAL: usize = 50;
/// Entries of one page at the most.
const MOST: usize = 200;

/// What is looked for; what is left out does not narrow.
#[derive(Deserialize, Default, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Sought {
    /// One job: `job_…`.
    job: Option<String>,
    /// Of one kind: one of `GET /v1/jobs/kinds`.
    kind: Option<String>,
    /// `ready`, `running`, `held`, `scheduled` for later, `set_aside` until there is room, `dead`, `done` or `cancelled`.
    state: Option<String>,
    /// Of one queue: `payments`, `training`, `generation`, `faces`, `notices`, `deletion` or `sweeps`.
    queue: Option<String>,
    /// Of one tenant.
    tenant: Option<String>,
    /// Of one order: `order_…`.
    order: Option<String>,
    /// Of one person: `subject_…`.
    subject: Option<String>,
    /// What it waits for, is held for, or ended with.
    code: Option<String>,
    /// Made at this instant or later.
    from: Option<DateTime<Utc>>,
    /// Made before this instant.
    until: Option<DateTime<Utc>>,
}

impl Sought {
    /// From an address, but for the words that are the route's own. One that nobody knows is refused: left out, it would widen the search.
    pub(crate) fn of(address: &Uri, own: &[&str]) -> Result<Self, Error> {
        let words = url::form_urlencoded::parse(address.query().unwrap_or_default().as_bytes());
        let mut rest = url::form_urlencoded::Serializer::new(String::new());
        rest.extend_pairs(words.filter(|(name, _)| !own.contains(&name.as_ref())));
        input::query(&format!("/?{}", rest.finish()).parse().map_err(|_| Error::BadQuery)?)
    }

    /// As the domain asks it.
    pub(crate) fn wanted(self) -> Result<Wanted, Error> {
        fn id<K: id::Kind>(text: Option<String>) -> Result<Option<Id<K>>, Error> {
            text.map(|text| text.parse().map_err(|bad: id::BadId| Error::BadId(bad.to_string()))).transpose()
        }
        let wanted = Wanted {
            job: id(self.job)?,
            kind: self.kind,
            state: self.state.map(|state| state.parse::<search::State>()).transpose()?,
            queue: self.queue,
            tenant: self.tenant,
            order: id(self.order)?,
            subject: id(self.subject)?,
            code: self.code,
            from: self.from,
            until: self.until,
        };
        Ok(wanted.checked()?)
    }
}

/// Which page.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Part {
    /// The `next` of the page before.
    cursor: Option<String>,
    /// Entries of one page: 50 if none is said, 200 at the most.
    #[param(value_type = Option<usize>, minimum = 1, maximum = 200)]
    limit: Option<Limit>,
}

/// How many entries a page may have: one to [`MOST`].
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "usize")]
pub(crate) struct Limit(usize);

impl TryFrom<usize> for Limit {
    type Error = &'static str;
    fn try_from(said: usize) -> Result<Self, Self::Error> {
        (1..=MOST).contains(&said).then_some(Self(said)).ok_or("a page has one to two hundred entries")
    }
}

impl Part {
    /// Of words that a list reads among others.
    pub(super) fn new(cursor: Option<String>, limit: Option<Limit>) -> Self {
        Self { cursor, limit }
    }

    /// Rows to read: one more than a page, which says whether there is another.
    pub(super) fn rows(&self) -> i64 {
        i64::try_from(self.most()).unwrap_or(i64::MAX).saturating_add(1)
    }

    /// What was read, as one page, and where the next one goes on.
    pub(super) fn cut<T, K>(&self, mut lines: Vec<T>, id: impl Fn(&T) -> Id<K>) -> (Vec<T>, Option<Id<K>>) {
        let more = lines.len() > self.most();
        lines.truncate(self.most());
        let next = lines.last().filter(|_| more).map(id);
        (lines, next)
    }

    /// Where the page before ended.
    pub(crate) fn cursor<K: id::Kind>(&self) -> Result<Option<Id<K>>, Error> {
        let bad = |bad: id::BadId| Error::BadId(bad.to_string());
        self.cursor.as_ref().map(|cursor| cursor.parse().map_err(bad)).transpose()
    }

    /// Entries of it.
    pub(crate) fn most(&self) -> usize {
        self.limit.map_or(USUAL, |Limit(said)| said)
    }
}

/// One job in a list, without its payload.
#[derive(Serialize, ToSchema)]
pub(crate) struct JobLine {
    /// The job.
    #[schema(value_type = String, example = "job_019a8f2e6c5d7b1290f3a4b5c6d7e8f9")]
    job: Id<id::Job>,
    /// Its kind.
    kind: String,
    /// Its queue.
    queue: String,
    /// As a search names it.
    state: String,
    /// What it waits for, is held for, or ended with; a search takes it as `code`.
    code: Option<String>,
    /// What stands behind the code: which queue or provider has no room, or what is waited for.
    detail: Option<String>,
    /// Of which tenant; none: the house.
    tenant: Option<String>,
    /// Of which order.
    #[schema(value_type = Option<String>)]
    order: Option<Id<Order>>,
    /// Of which person.
    #[schema(value_type = Option<String>)]
    subject: Option<Id<Subject>>,
    /// Attempts spent.
    attempts: i32,
    /// How often it waited without spending an attempt.
    waits: i32,
    /// Since when.
    created_at: DateTime<Utc>,
    /// When it ended.
    finished_at: Option<DateTime<Utc>>,
}

/// One job of a search.
pub(crate) fn line(job: &search::Job) -> JobLine {
    let (code, detail) = job.said();
    JobLine {
        job: job.id.into(),
        kind: job.kind.clone(),
        queue: job.queue.clone(),
        state: job.state.clone(),
        code: code.map(str::to_owned),
        detail: detail.map(str::to_owned),
        tenant: job.tenant.clone(),
        order: job.order_id.map(Id::from),
        subject: job.subject_id.map(Id::from),
        attempts: job.attempt,
        waits: job.waits,
        created_at: job.created_at,
        finished_at: job.ended_at,
    }
}

/// A page of jobs.
#[derive(Serialize, ToSchema)]
pub(crate) struct Jobs {
    /// Newest first.
    jobs: Vec<JobLine>,
    /// Send it as `cursor`, for what is older; none: that was all. A page may be short, or empty, and yet have a next one: among very
    /// many jobs a page looks through the newest that are left and says from where it did not look.
    #[schema(value_type = Option<String>)]
    next: Option<Id<id::Job>>,
}

/// List the jobs that match, live and ended, newest first.
#[utoipa::path(get, path = "/v1/jobs", tag = "jobs", operation_id = "listJobs", params(Sought, Part, WhatFor), security(("token" = ["read"])),
    responses((status = 200, description = "A page", body = Jobs), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn list(
    caller: To<Read>,
    State(state): State<ApiState>,
    address: Uri,
    Asked(part): Asked<Part>,
) -> Result<Response, Error> {
    let mut wanted = Sought::of(&address, &["cursor", "limit"])?.wanted()?;
    if let Some(own) = caller.sees_only() {
        if wanted.tenant.as_deref().is_some_and(|other| other != own) {
            return Err(Error::not_found("such a job"));
        }
        wanted.tenant = Some(own.to_owned());
    }
    let cursor = part.cursor::<id::Job>()?;
    caller.looks_for(&state, &wanted).await?;
    let search = Search { before: cursor.map(Id::uuid), ..wanted.search() };
    let found = search::search(&state.pool, search, part.most()).await?;
    let view = Jobs { jobs: found.jobs.iter().map(line).collect(), next: found.next.map(Id::from) };
    let view = serde_json::to_value(view).map_err(|_| Error::Internal)?;
    Ok(idempotency::answer(StatusCode::OK, &view))
}
