//! `safelight deletions`: which are open, by their legal deadline, and the steps of one. Reads only: a deletion ends by itself, when
//! each step was seen to be done. Who looks at one says what for, and is kept: it is a person's case.

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use safelight_jobs::{
    db::{self, Role},
    delete_data::DeleteData,
    id::{self, Deletion, Id},
    job::Job,
    look,
    operate::OperateError,
    place::{self, Place},
    queue, stays,
};
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use crate::{
    config,
    lists::{self, Most},
    operator::Why,
    process::say,
};

#[derive(Debug, Args)]
pub(crate) struct Deletions {
    #[command(flatten)]
    database: config::Database,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Those that are open, the nearest deadline first
    List {
        /// The newest finished ones instead
        #[arg(long)]
        finished: bool,
        /// Of one tenant
        #[arg(long)]
        tenant: Option<String>,
        /// What stands behind this place: where the page before ended
        #[arg(long)]
        after: Option<Place>,
        #[command(flatten)]
        most: Most,
        /// One JSON document
        #[arg(long)]
        json: bool,
    },
    /// The steps of one, what each waits for, what its job does, and what no step takes
    Show {
        deletion: Id<Deletion>,
        #[command(flatten)]
        why: Why,
    },
}

impl Deletions {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let pool = db::connect(self.database.address(), Role::Api, 2).await?;
        match self.what {
            What::List { finished, tenant, after, most, json } => {
                let tenant = tenant.as_deref();
                let rows = if finished {
                    newest_finished(&pool, tenant, after, most.and_one()).await?
                } else {
                    open(&pool, tenant, after, most.and_one()).await?
                };
                let (rows, next) = most.page(rows, Row::place);
                list(&rows, next, finished, json);
                Ok(())
            }
            What::Show { deletion, why } => show(&pool, deletion, &why).await,
        }
    }
}

/// A deletion as the list shows it.
struct Row {
    id: Uuid,
    tenant: String,
    trigger: String,
    state: String,
    requested_at: DateTime<Utc>,
    answer_due: DateTime<Utc>,
    completed_at: Option<DateTime<Utc>>,
    late: bool,
    steps: i64,
    settled: i64,
}

impl Row {
    /// Where it stands among the others: finished ones by their end, open ones by their deadline.
    fn place(&self) -> Place {
        Place::of(self.completed_at.unwrap_or(self.answer_due), self.id)
    }
}

async fn open(pool: &PgPool, tenant: Option<&str>, after: Option<Place>, most: i64) -> Result<Vec<Row>, sqlx::Error> {
    let (at, id) = place::halves(after);
    sqlx::query_as!(
        Row,
        r#"select d.id, d.tenant, d.trigger, d.state, d.requested_at, d.answer_due, d.completed_at,
            d.answer_due < safelight.now() as "late!",
            (select count(*) from safelight.deletion_steps s where s.deletion_id = d.id) as "steps!",
            (select count(*) from safelight.deletion_steps s where s.deletion_id = d.id
                and s.state in ('verified', 'retained_by_law')) as "settled!"
        from safelight.deletions d where d.state <> 'complete' and ($1::text is null or d.tenant = $1)
            and ($2::timestamptz is null or (d.answer_due, d.id) > ($2, $3::uuid)) order by d.answer_due, d.id limit $4"#,
        tenant,
        at,
        id,
        most
    )
    .fetch_all(pool)
    .await
}

async fn newest_finished(
    pool: &PgPool,
    tenant: Option<&str>,
    after: Option<Place>,
    most: i64,
) -> Result<Vec<Row>, sqlx::Error> {
    let (at, id) = place::halves(after);
    sqlx::query_as!(
        Row,
        r#"select d.id, d.tenant, d.trigger, d.state, d.requested_at, d.answer_due, d.completed_at, false as "late!",
            (select count(*) from safelight.deletion_steps s where s.deletion_id = d.id) as "steps!",
            (select count(*) from safelight.deletion_steps s where s.deletion_id = d.id
                and s.state in ('verified', 'retained_by_law')) as "settled!"
        from safelight.deletions d where d.state = 'complete' and ($1::text is null or d.tenant = $1)
            and ($2::timestamptz is null or (d.completed_at, d.id) < ($2, $3::uuid)) order by d.completed_at desc, d.id desc limit $4"#,
        tenant,
        at,
        id,
        most
    )
    .fetch_all(pool)
    .await
}

fn list(rows: &[Row], next: Option<Place>, finished: bool, as_json: bool) {
    if as_json {
        let rows: Vec<_> = rows
            .iter()
            .map(|row| {
                json!({ "deletion": Id::<Deletion>::from(row.id), "tenant": row.tenant, "trigger": row.trigger, "state": row.state,
                    "late": row.late, "steps": row.steps, "steps_seen": row.settled, "requested_at": row.requested_at,
                    "answer_due": row.answer_due, "completed_at": row.completed_at })
            })
            .collect();
        say(json!({ "deletions": rows, "next": lists::document(next) }));
        return;
    }
    if rows.is_empty() {
        say(if finished { "no deletion is finished" } else { "no deletion is open" });
    }
    for row in rows {
        let late = if row.late { "LATE " } else { "" };
        let until = match row.completed_at {
            Some(at) => format!("complete {}", at.format("%F %T")),
            None => format!("{late}due {}", row.answer_due.format("%F %T")),
        };
        say(format_args!(
            "{}  {:<12} {:<12} {:<9} {:>2} of {:<2} steps seen  {until}",
            Id::<Deletion>::from(row.id),
            row.tenant,
            row.trigger,
            row.state,
            row.settled,
            row.steps
        ));
    }
    lists::go_on(next, if finished { "older ones: --after" } else { "later deadlines: --after" });
}

async fn show(pool: &PgPool, deletion: Id<Deletion>, why: &Why) -> anyhow::Result<()> {
    let row = sqlx::query!(
        "select tenant, trigger, state, answer_due, completed_at from safelight.deletions where id = $1",
        deletion.uuid()
    )
    .fetch_optional(pool)
    .await?
    .ok_or_else(|| OperateError::NotFound(deletion.to_string()))?;
    let mut tx = db::begin(pool).await?;
    let entry = look::entry().deletion(deletion).tenant(&row.tenant);
    look::at_case(&mut tx, &deletion.to_string(), entry, why.operator()).await?;
    tx.commit().await?;
    let steps = sqlx::query!(
        r#"select class, processor, state, planned, deleted, evidence, tries, code, verified_at from safelight.deletion_steps
        where deletion_id = $1 order by seq"#,
        deletion.uuid()
    )
    .fetch_all(pool)
    .await?;
    let stays = stays::after(&mut *pool.acquire().await?, deletion).await?;
    let key = DeleteData { deletion }.key();
    let job = sqlx::query_scalar!("select job_id from safelight.job_keys where key = $1", key.as_str())
        .fetch_optional(pool)
        .await?
        .map(Id::<id::Job>::from);
    let known = match job {
        Some(job) if row.completed_at.is_none() => queue::explain(pool, job, None).await?,
        _ => None,
    };
    if why.json {
        let steps: Vec<_> = steps
            .iter()
            .map(|step| {
                json!({ "class": step.class, "processor": step.processor, "state": step.state, "planned": step.planned, "deleted": step.deleted,
                    "evidence": step.evidence, "tries": step.tries, "code": step.code, "verified_at": step.verified_at })
            })
            .collect();
        let waits = known.map(|known| json!({ "state": known.state, "code": known.code, "detail": known.detail }));
        say(
            json!({ "deletion": deletion, "tenant": row.tenant, "trigger": row.trigger, "state": row.state, "answer_due": row.answer_due,
            "completed_at": row.completed_at, "job": job, "waits": waits, "steps": steps, "stays": stays }),
        );
        return Ok(());
    }
    say(format_args!(
        "{deletion}  {}  {}  {}  due {}",
        row.tenant,
        row.trigger,
        row.state,
        row.answer_due.format("%F %T")
    ));
    for step in steps {
        let code = step.code.map_or_else(String::new, |code| format!("  {code}"));
        say(format_args!(
            "  {:<15} {:<9} {:<16} {} of {} deleted, {} tries{code}",
            step.class, step.processor, step.state, step.deleted, step.planned, step.tries
        ));
    }
    if let (Some(job), Some(known)) = (job, known) {
        say(format_args!("  {job}: {}: {} ({})", known.state, known.detail, known.code));
    }
    if !stays.is_empty() {
        say("what no step takes:");
    }
    for one in stays {
        say(format_args!("  {} at {}: {}", one.place, one.processor, one.why));
    }
    Ok(())
}
