//! One act on all jobs that match a search, instead of on one page of them: previewed, asked for with who and why, and carried
//! out by the job [`crate::act_on_jobs`] in batches whose progress stands on the row.
//!
//! Never: touches a job that was made after the act was asked for, a job of another tenant than its operator's, or ends what
//! must be seen to its end (a deletion, a purge, the retention sweep).

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::{
    act_on_jobs::ActOnJobs,
    audit::Entry,
    id::{self, Bulk, Id},
    job::{Effect, Job, Queue},
    operate::{self, Act, BY_OPERATOR, OperateError, Operator},
    queue::{
        self, EnqueueError,
        search::{self, Counted, Search, State, Wanted},
    },
    registry,
    run::Tx,
};

/// How many jobs a preview shows.
pub const SHOWN: usize = 20;
/// For how long a preview counts; then it says "at least".
const PATIENCE: Duration = Duration::from_millis(60);

/// What an act would be done to.
#[derive(Debug, Clone)]
pub struct Preview {
    /// How many.
    pub counted: Counted,
    /// The newest of them, at most [`SHOWN`].
    pub first: Vec<search::Job>,
}

/// An act as it stands.
#[derive(Debug, Clone)]
pub struct BulkAct {
    /// Which.
    pub id: Id<Bulk>,
    /// The job that carries it out.
    pub job: Id<id::Job>,
    /// What is done.
    pub act: Act,
    /// To what.
    pub wanted: Wanted,
    /// How many matched when it was asked for.
    pub matched: Counted,
    /// Who wants it.
    pub actor: String,
    /// Why.
    pub why: String,
    /// Since when.
    pub asked_at: DateTime<Utc>,
    /// It was done to so many.
    pub done: i64,
    /// So many matched, and stood elsewhere when it was their turn.
    pub passed_over: i64,
    /// When it was over.
    pub finished_at: Option<DateTime<Utc>>,
    /// Its job is in the queue, or runs.
    pub under_way: bool,
    reached: Uuid,
}

impl BulkAct {
    /// `under_way`, `done`, or `stopped`: its job was cancelled, or gave up.
    pub const fn state(&self) -> &'static str {
        match (self.finished_at.is_some(), self.under_way) {
            (true, _) => "done",
            (false, true) => "under_way",
            (false, false) => "stopped",
        }
    }

    /// The next jobs, at most `most` at once: ids and where to go on; none: that was all.
    pub(crate) async fn next(&self, pool: &PgPool, most: usize) -> Result<(Vec<Uuid>, Option<Uuid>), sqlx::Error> {
        let left_alone = left_alone(self.act);
        let search = Search { before: Some(self.reached), ..narrowed(&self.wanted, self.act, &left_alone) };
        let found = search::search(pool, search, most).await?;
        Ok((found.jobs.into_iter().map(|job| job.id).collect(), found.next))
    }
}

/// What an act can be done to.
const fn states(act: Act) -> &'static [State] {
    match act {
        Act::Cancel => &[State::Ready, State::Running, State::Held, State::Scheduled, State::SetAside],
        Act::Hold => &[State::Ready, State::Running, State::Scheduled, State::SetAside],
        Act::Release => &[State::Held],
        Act::Retry => &[State::Scheduled, State::Dead],
        Act::Discard => &[State::Dead],
    }
}

/// Kinds that it is not done to: acts of this sort, and what must be seen to its end where the act would end it.
fn left_alone(act: Act) -> Vec<String> {
    let ends = matches!(act, Act::Cancel | Act::Discard);
    let promises = |known: &&registry::Known| ends && known.effect == Effect::UntilVerified;
    let kinds = registry::ALL.iter().filter(promises).map(|known| known.name);
    kinds.chain([ActOnJobs::NAME]).map(str::to_owned).collect()
}

fn narrowed<'a>(wanted: &'a Wanted, act: Act, left_alone: &'a [String]) -> Search<'a> {
    Search { within: Some(states(act)), without: left_alone, ..wanted.search() }
}

/// This operator's share of what is wanted.
fn own(wanted: Wanted, operator: Operator<'_>) -> Result<Wanted, OperateError> {
    let wanted = wanted.checked()?;
    if !wanted.narrows() {
        return Err(OperateError::TooWide);
    }
    match (operator.tenant, wanted.tenant.as_deref()) {
        (Some(own), Some(other)) if own != other => Err(nothing()),
        (Some(own), _) => Ok(Wanted { tenant: Some(own.to_owned()), ..wanted }),
        (None, _) => Ok(wanted),
    }
}

fn nothing() -> OperateError {
    OperateError::NotFound("job that matches and to which this can be done".to_owned())
}

/// What it would be done to. Changes nothing.
pub async fn preview(pool: &PgPool, act: Act, wanted: Wanted, operator: Operator<'_>) -> Result<Preview, OperateError> {
    let wanted = own(wanted, operator)?;
    let left_alone = left_alone(act);
    let search = narrowed(&wanted, act, &left_alone);
    let found = search::search(pool, search, SHOWN).await?;
    let counted = match found.next {
        None => Counted { jobs: i64::try_from(found.jobs.len()).unwrap_or(i64::MAX), whole: true },
        Some(_) => search::count(pool, search, PATIENCE).await?,
    };
    Ok(Preview { counted, first: found.jobs })
}

/// Ask for it, in the caller's transaction. `pool` is read from, to say how many match.
pub async fn ask(
    tx: &mut Tx,
    pool: &PgPool,
    act: Act,
    wanted: Wanted,
    operator: Operator<'_>,
) -> Result<Id<Bulk>, OperateError> {
    let by = operate::said(operator)?;
    let wanted = own(wanted, operator)?;
    let left_alone = left_alone(act);
    let matched = search::count(pool, narrowed(&wanted, act, &left_alone), PATIENCE).await?;
    if matched == (Counted { jobs: 0, whole: true }) {
        return Err(nothing());
    }
    // Ids grow with time: what is made from now on has a greater one.
    let bulk = Id::<Bulk>::new();
    let job =
        tx.enqueue(&ActOnJobs { bulk, of_a_queue: wanted.queue.is_some() }).await.map_err(|error| match error {
            EnqueueError::Database(error) => OperateError::Database(error),
            // Its key is a new id and its payload one id.
            EnqueueError::Conflict { .. } | EnqueueError::Payload(_) => nothing(),
        })?;
    sqlx::query!(
        r#"insert into safelight.bulk_acts (id, job_id, act, wanted_job, kind, state, queue, tenant, order_id, subject_id, code,
            made_from, made_until, matched, matched_whole, actor, why, reached, by_house)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $1, $18)"#,
        bulk.uuid(),
        job.id.uuid(),
        act.as_str(),
        wanted.job.map(Id::uuid),
        wanted.kind,
        wanted.state.map(State::as_str),
        wanted.queue,
        wanted.tenant,
        wanted.order.map(Id::uuid),
        wanted.subject.map(Id::uuid),
        wanted.code,
        wanted.from,
        wanted.until,
        matched.jobs,
        matched.whole,
        by.actor,
        by.why,
        operator.tenant.is_none(),
    )
    .execute(&mut **tx)
    .await?;
    let mut entry = Entry::new("operator", "jobs.bulk", "asked")
        .job(ActOnJobs::NAME, job.id)
        .code("bulk", bulk.to_string())
        .code("act", act.as_str())
        .count("jobs", matched.jobs);
    if let Some(tenant) = &wanted.tenant {
        entry = entry.tenant(tenant);
    }
    queue::note_act(tx, "jobs.bulk", act.as_str(), &bulk.to_string(), by, entry).await?;
    Ok(bulk)
}

/// One act, as this tenant or the house sees it: who of the house acted and why is the house's matter.
pub async fn read(pool: &PgPool, bulk: Id<Bulk>, tenant: Option<&str>) -> Result<Option<BulkAct>, sqlx::Error> {
    Ok(rows(pool, Some(bulk), tenant, None, 1).await?.pop())
}

/// A page of acts.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Newest first.
    pub acts: Vec<BulkAct>,
    /// Where the next page begins; none: that was all.
    pub next: Option<Id<Bulk>>,
}

/// The newest acts before this one, at most `most`.
pub async fn list(
    pool: &PgPool,
    tenant: Option<&str>,
    before: Option<Id<Bulk>>,
    most: usize,
) -> Result<Listed, sqlx::Error> {
    let mut acts = rows(pool, None, tenant, before, i64::try_from(most).unwrap_or(i64::MAX).saturating_add(1)).await?;
    let more = acts.len() > most;
    acts.truncate(most);
    Ok(Listed { next: acts.last().filter(|_| more).map(|act| act.id), acts })
}

async fn rows(
    pool: &PgPool,
    one: Option<Id<Bulk>>,
    tenant: Option<&str>,
    before: Option<Id<Bulk>>,
    most: i64,
) -> Result<Vec<BulkAct>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select id, job_id, act, wanted_job, kind, state, queue, tenant, order_id, subject_id, code, made_from, made_until, matched,
            matched_whole, case when by_house and $2::text is not null then 'operator' else actor end as "actor!",
            case when by_house and $2::text is not null then '' else why end as "why!", asked_at, done, passed_over, reached, finished_at,
            exists (select from safelight.jobs j where j.id = b.job_id) as "under_way!"
        from safelight.bulk_acts b where ($1::uuid is null or id = $1) and ($2::text is null or tenant = $2)
            and ($3::uuid is null or id < $3)
        order by id desc limit $4"#,
        one.map(Id::uuid),
        tenant,
        before.map(Id::uuid),
        most
    )
    .fetch_all(pool)
    .await?;
    let acts = rows.into_iter().filter_map(|row| {
        Some(BulkAct {
            id: row.id.into(),
            job: row.job_id.into(),
            act: Act::named(&row.act)?,
            wanted: Wanted {
                job: row.wanted_job.map(Id::from),
                kind: row.kind,
                state: row.state.and_then(|state| state.parse().ok()),
                queue: row.queue,
                tenant: row.tenant,
                order: row.order_id.map(Id::from),
                subject: row.subject_id.map(Id::from),
                code: row.code,
                from: row.made_from,
                until: row.made_until,
            },
            matched: Counted { jobs: row.matched, whole: row.matched_whole },
            actor: row.actor,
            why: row.why,
            asked_at: row.asked_at,
            done: row.done,
            passed_over: row.passed_over,
            finished_at: row.finished_at,
            under_way: row.under_way,
            reached: row.reached,
        })
    });
    Ok(acts.collect())
}

/// Do it to these, in the transaction of an attempt. Answers to how many it was done, and whose bells are to be rung.
pub(crate) async fn carry_out(
    tx: &mut PgConnection,
    act: Act,
    jobs: &[Uuid],
) -> Result<(u64, &'static [Queue]), sqlx::Error> {
    let done = match act {
        Act::Cancel => queue::cancel_all(tx, jobs, BY_OPERATOR).await?,
        Act::Hold => queue::hold_all(tx, jobs, BY_OPERATOR).await?,
        Act::Release => queue::release_all(tx, jobs).await?,
        Act::Retry => {
            // The persons first, then rows: an order that is taken back asks for its person when this is committed.
            queue::share_subjects_of(tx, jobs).await?;
            queue::wake_all(tx, jobs).await? + queue::redrive_these(tx, jobs).await?
        }
        Act::Discard => queue::discard_these(tx, jobs).await?,
    };
    let rings: &'static [Queue] = if matches!(act, Act::Release | Act::Retry) { &Queue::ALL } else { &[] };
    Ok((done, rings))
}

/// Write down how far it has come, in the commit of what was done. Answers how many it was done to so far; `next`: where it
/// goes on, none: it is over.
pub(crate) async fn advance(
    tx: &mut PgConnection,
    bulk: Id<Bulk>,
    (done, passed_over): (u64, u64),
    next: Option<Uuid>,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"update safelight.bulk_acts set done = done + $2, passed_over = passed_over + $3, reached = coalesce($4, reached),
            finished_at = case when $4::uuid is null then safelight.now() end
        where id = $1 and finished_at is null returning done"#,
        bulk.uuid(),
        i64::try_from(done).unwrap_or(i64::MAX),
        i64::try_from(passed_over).unwrap_or(i64::MAX),
        next
    )
    .fetch_one(tx)
    .await
}
