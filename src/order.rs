//! `safelight order`: which there are, which are late, and how one stands. Reads only: what is done about an order is done by
//! `safelight refund`, `delete`, `job` and `dead`. Who looks at one says what for, and is kept: it is a person's case.

use clap::{Args, Subcommand};
use safelight_jobs::{
    db::{self, Role},
    held,
    id::{self, Id, Order, Subject},
    late_orders::{LateOrder, late_orders},
    look,
    operate::OperateError,
    place::Place,
};
use serde_json::json;
use sqlx::PgPool;

use crate::{
    config,
    lists::{self, Most},
    operator::Why,
    process::say,
    words,
};

#[derive(Debug, Args)]
pub(crate) struct OrderCommand {
    #[command(flatten)]
    database: config::Database,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The newest first
    List {
        /// In one state
        #[arg(long, value_parser = words::order_states())]
        state: Option<String>,
        /// Of one tenant
        #[arg(long)]
        tenant: Option<String>,
        /// Older than this one: the `next` of the page before
        #[arg(long)]
        before: Option<Id<Order>>,
        #[command(flatten)]
        most: Most,
        /// One JSON document
        #[arg(long)]
        json: bool,
    },
    /// Paid two hours ago or earlier, and not at an end: the first paid first, and what each waits for
    Late {
        /// Of one tenant
        #[arg(long)]
        tenant: Option<String>,
        /// Later than this place: the `next` of the page before
        #[arg(long)]
        after: Option<Place>,
        #[command(flatten)]
        most: Most,
        /// One JSON document
        #[arg(long)]
        json: bool,
    },
    /// How one stands, and what its jobs wait for
    Show {
        order: Id<Order>,
        #[command(flatten)]
        why: Why,
    },
}

impl OrderCommand {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let pool = db::connect(self.database.address(), Role::Api, 2).await?;
        match self.what {
            What::List { state, tenant, before, most, json } => {
                list(&pool, (state.as_deref(), tenant.as_deref()), before, &most, json).await
            }
            What::Late { tenant, after, most, json } => late(&pool, tenant.as_deref(), after, &most, json).await,
            What::Show { order, why } => show(&pool, order, &why).await,
        }
    }
}

async fn list(
    pool: &PgPool,
    (state, tenant): (Option<&str>, Option<&str>),
    before: Option<Id<Order>>,
    most: &Most,
    as_json: bool,
) -> anyhow::Result<()> {
    let rows = sqlx::query!(
        r#"select id, tenant, plan, state, problem, created_at, paid_at, delivered_at from safelight.orders
        where ($1::text is null or state = $1) and ($2::text is null or tenant = $2) and ($3::uuid is null or id < $3)
        order by id desc limit $4"#,
        state,
        tenant,
        before.map(Id::uuid),
        most.and_one()
    )
    .fetch_all(pool)
    .await?;
    let (rows, next) = most.page(rows, |row| Id::<Order>::from(row.id));
    if as_json {
        let rows: Vec<_> = rows
            .iter()
            .map(|row| {
                json!({ "order": Id::<Order>::from(row.id), "tenant": row.tenant, "plan": row.plan, "state": row.state,
                    "problem": row.problem, "created_at": row.created_at, "paid_at": row.paid_at, "delivered_at": row.delivered_at })
            })
            .collect();
        say(json!({ "orders": rows, "next": next }));
        return Ok(());
    }
    if rows.is_empty() {
        say("no order matches");
    }
    for row in &rows {
        let problem = row.problem.as_deref().unwrap_or_default();
        let placed = row.created_at.format("%F %T");
        say(format_args!(
            "{}  {:<12} {:<10} {:<13} {placed}  {problem}",
            Id::<Order>::from(row.id),
            row.tenant,
            row.plan,
            row.state
        ));
    }
    lists::go_on(next, "there are more: --before");
    Ok(())
}

async fn late(
    pool: &PgPool,
    tenant: Option<&str>,
    after: Option<Place>,
    most: &Most,
    as_json: bool,
) -> anyhow::Result<()> {
    let (rows, next) = most.page(late_orders(pool, tenant, after, most.and_one()).await?, LateOrder::place);
    if as_json {
        say(json!({ "orders": rows, "next": lists::document(next) }));
        return Ok(());
    }
    if rows.is_empty() {
        say("no order is late");
    }
    for row in &rows {
        let waits = row.waits.as_deref().unwrap_or("a provider works");
        let paid = row.paid_at.format("%F %T");
        say(format_args!("{}  {:<12} {:<10} paid {paid}  waits: {waits}", row.order, row.tenant, row.state));
    }
    lists::go_on(next, "there are more: --after");
    Ok(())
}

async fn show(pool: &PgPool, order: Id<Order>, why: &Why) -> anyhow::Result<()> {
    let row = sqlx::query!(
        r#"select tenant, subject_id, plan, state, problem, images_wanted, amount_cents, currency, created_at, paid_at, delivered_at
        from safelight.orders where id = $1"#,
        order.uuid()
    )
    .fetch_optional(pool)
    .await?
    .ok_or_else(|| OperateError::NotFound(order.to_string()))?;
    let mut tx = db::begin(pool).await?;
    look::at_case(&mut tx, &order.to_string(), look::entry().order(order).tenant(&row.tenant), why.operator()).await?;
    tx.commit().await?;
    let jobs = sqlx::query!(
        "select id, kind from safelight.jobs where order_id = $1 order by state = 1 desc, run_at, id limit 20",
        order.uuid()
    )
    .fetch_all(pool)
    .await?;
    let mut waiting = Vec::new();
    for job in jobs {
        let id = Id::<id::Job>::from(job.id);
        if let Some(known) = held::explain(pool, id).await? {
            waiting.push((id, job.kind, known));
        }
    }
    let subject = Id::<Subject>::from(row.subject_id);
    if why.json {
        let jobs: Vec<_> = waiting
            .iter()
            .map(|(job, kind, known)| json!({ "job": job, "kind": kind, "state": known.state, "code": known.code, "detail": known.detail }))
            .collect();
        say(json!({ "order": order, "tenant": row.tenant, "subject": subject, "plan": row.plan, "state": row.state,
            "problem": row.problem, "images": row.images_wanted, "amount_cents": row.amount_cents, "currency": row.currency,
            "created_at": row.created_at, "paid_at": row.paid_at, "delivered_at": row.delivered_at, "jobs": jobs }));
        return Ok(());
    }
    let problem = row.problem.map(|problem| format!(", {problem}")).unwrap_or_default();
    say(format_args!("{order} of {subject} at {}: {}{problem}", row.tenant, row.state));
    say(format_args!("placed {}, plan {}, {} images", row.created_at.format("%F %T"), row.plan, row.images_wanted));
    if let Some(at) = row.paid_at {
        say(format_args!("paid {}: {} cents {}", at.format("%F %T"), row.amount_cents, row.currency));
    }
    if let Some(at) = row.delivered_at {
        say(format_args!("delivered {}", at.format("%F %T")));
    }
    if waiting.is_empty() && matches!(row.state.as_str(), "paid" | "training" | "generating") {
        say("no job of it is there: a provider works, or the hourly comparison finds it");
    }
    for (job, kind, known) in waiting {
        say(format_args!("{job}  {kind:<16} {}: {}", known.code, known.detail));
    }
    Ok(())
}
