//! The checker of the chaos test: reads the tables and the stand-ins' logs, and nothing of what the workers say about
//! themselves. Every rule is one query whose rows are what differs; a rule that holds answers none.

use std::{fmt, sync::Arc, time::Duration};

use safelight_jobs::id::{Id, Order};
use sqlx::PgPool;

use crate::{
    app::App,
    chaos_ledger::{LOUD, QUIET},
};

/// Jobs and where they ended, for the rules below.
const VIEWS: &str = "
    create view chaos.ended as
        select id, kind, payload ->> 'because' as because, outcome, code, attempt, waits, 0 as crashes from safelight.jobs_archive
        union all
        select id, kind, payload ->> 'because', 'dead', code, attempt, waits, crashes from safelight.dead_letters;
    create view chaos.jobs as
        select e.* from chaos.ended e where because like 'chaos %' or because like 'kept %';
    create view chaos.claims as
        select seq, job_id, now as token, worker, at, row_number() over (partition by job_id order by seq) as number
        from chaos.leases where now is not null;";

const RULES: &[(&str, &str)] = &[
    (
        "no job is lost",
        "select distinct format('job %s, wished as %s, is nowhere', w.job_id, w.key) from chaos.wishes w
        where w.job_id is not null and not exists (select from chaos.jobs j where j.id = w.job_id)
            and not exists (select from safelight.jobs j where j.id = w.job_id)",
    ),
    (
        "nothing is stuck",
        "select format('job %s (%s) is still there: state %s, %s, attempt %s, lease until %s', id, kind, state, why, attempt, lease_until)
        from safelight.jobs",
    ),
    (
        "a job ends once",
        "select format('job %s ended %s times: %s', id, count(*), string_agg(outcome, ', ')) from chaos.ended group by id having count(*) > 1",
    ),
    (
        "no job comes from nowhere",
        "select format('job %s (%s %s) was wished by nobody', j.id, j.kind, j.because) from chaos.jobs j
        where not exists (select from chaos.wishes w where w.job_id = j.id)",
    ),
    (
        "a wish that was taken back is none",
        "select format('%s ran although its wish was taken back', asked_by) from chaos.effects where asked_by like '%taken back%'
        union all select format('job %s although its wish was taken back', id) from chaos.ended where because like '%taken back%'",
    ),
    (
        "a key is one job",
        "select format('key %s: %s jobs, %s of them cancelled, granted %s times', key, count(distinct w.job_id), count(distinct c.job_id),
            count(*) filter (where not already))
        from chaos.wishes w left join chaos.cancels c on c.job_id = w.job_id where w.job_id is not null
        group by key having count(distinct w.job_id) > 1 + count(distinct c.job_id)
            or count(*) filter (where not already) <> count(distinct w.job_id)",
    ),
    (
        "the same key with another payload is a conflict, and no other wish is",
        "select format('wish %s of key %s: job %s, conflict %s, expected %s', seq, key, job_id, conflict, expects_conflict) from chaos.wishes
        where conflict <> expects_conflict or conflict <> (job_id is null)",
    ),
    (
        "each effect once: as often as its jobs were done, and only then",
        "select format('%s: done %s times, %s effects, %s rows (jobs %s)', d.because, d.done, coalesce(e.n, 0), coalesce(s.n, 0), d.ids)
        from (select because, count(*) filter (where outcome = 'done') as done, string_agg(id::text, ' ') as ids from chaos.jobs group by 1) d
        left join (select asked_by, count(*) as n from chaos.effects group by 1) e on e.asked_by = d.because
        left join (select asked_by, count(*) as n from safelight.sweeps group by 1) s on s.asked_by = d.because
        where d.done <> coalesce(e.n, 0) or d.done <> coalesce(s.n, 0)",
    ),
    (
        "the last effect and the end are one commit, under the lease that the attempt has proved",
        "select format('effect of %s in transaction %s: job %s, lease %s, proved %s', f.asked_by, f.xid, l.job_id, l.was, p.token)
        from chaos.effects f left join (select l.* from chaos.leases l where l.gone) l on l.xid = f.xid
        left join chaos.jobs j on j.id = l.job_id
        left join chaos.proofs p on p.xid = f.xid
        where (f.asked_by like 'chaos %' or f.asked_by like 'kept %') and (j.because is distinct from f.asked_by
            or l.was is null or p.token is distinct from l.was or p.job_id is distinct from l.job_id)",
    ),
    (
        "no lease is held twice",
        "select format('job %s, change %s: lease %s was followed by %s', job_id, seq, was, now) from chaos.leases
            where was is not null and now is not null
        union all
        select format('job %s, change %s: lease %s ended, but the one given before was %s', job_id, seq, was, given)
        from (select *, lag(now) over (partition by job_id order by seq) as given from chaos.leases) l where was is distinct from given
        union all
        select format('job %s: lease %s was given %s times', job_id, token, count(*)) from chaos.claims group by job_id, token having count(*) > 1
        union all
        select format('job %s: lease %s was given after its end', l.job_id, l.now) from chaos.leases l join chaos.leases g
            on g.job_id = l.job_id and g.gone and g.seq < l.seq where l.now is not null",
    ),
    (
        "a zombie writes no verdict",
        "select format('job %s: verdict %s by %s, which had lost its lease', job_id, verdict, worker) from safelight.job_attempts
        where code = 'lease_lost'",
    ),
    (
        "attempts only grow, and each one spent is a retry that was written",
        "select format('job %s: attempt %s after %s', job_id, attempt, before) from (
            select job_id, attempt, lag(attempt) over (partition by job_id order by at) as before from safelight.job_attempts) a
        where attempt < before
        union all
        select format('job %s: %s attempts spent, %s retries written', j.id, j.attempt, count(a.job_id))
        from chaos.ended j left join safelight.job_attempts a on a.job_id = j.id and a.verdict = 'retry'
        group by j.id, j.attempt having j.attempt <> count(a.job_id)",
    ),
    (
        "every lease ends as a verdict, a rescue, a return or the job's end, and crashes are counted",
        "select format('job %s: %s leases given, %s ended with the job, %s came back', c.job_id, c.given, c.ended, c.back) from (
            select job_id, count(*) filter (where now is not null) as given, count(*) filter (where gone and was is not null) as ended,
                count(*) filter (where not gone and now is null) as back from chaos.leases group by 1) c
        where c.given <> c.ended + c.back
        union all
        select format('job %s: dead as crashed after %s crashes, %s written', j.id, j.crashes, count(a.job_id))
        from chaos.ended j left join safelight.job_attempts a on a.job_id = j.id and a.verdict = 'crashed'
        where j.outcome = 'dead' and j.code = 'crashed' group by j.id, j.crashes having j.crashes < 3 or count(a.job_id) < j.crashes",
    ),
    (
        "a job is given up only after three crashes in a row, or after its last attempt",
        "select format('job %s (%s) is dead: %s after %s attempts', d.id, d.kind, d.code, d.attempt) from safelight.dead_letters d
        where d.code <> 'crashed' and d.attempt < d.max_attempts and d.order_id is null",
    ),
    (
        "what was cancelled stays cancelled",
        "select format('job %s was cancelled and ended as %s', c.job_id, coalesce(j.outcome, 'nothing')) from chaos.cancels c
        left join chaos.ended j on j.id = c.job_id where j.outcome is distinct from 'cancelled'",
    ),
    (
        "a dead letter is on the record once",
        "select format('job %s: %s entries of its death', d.id, count(a.seq)) from safelight.dead_letters d
        left join safelight.audit_entries a on a.job_id = d.id and a.action = 'job.dead_letter' group by d.id having count(a.seq) <> 1",
    ),
    (
        "one request a wish at a provider, one delivery an image",
        "select format('wish %s: %s calls', wish, count(*)) from safelight.provider_calls where state not in ('refused', 'failed', 'cancelled')
            group by wish having count(*) > 1
        union all
        select format('order %s, image %s: %s rows', order_id, position, count(*)) from safelight.artifacts where class = 'image'
            group by order_id, position having count(*) > 1",
    ),
];

/// Where shares are fair: jobs of the loud tenant that began while one of the quiet tenant was ready, and nothing of the quiet
/// tenant was running. Who has work under way, be it in the hands of a sleeper, has its share. Claims that were under way may
/// take what they have room for; after them the quiet tenant has its turn.
const FAIR: &str = "
    with spans as (
        select l.job_id, l.now, l.at as since, lead(l.at) over (partition by l.job_id order by l.seq) as till from chaos.leases l
    ), quiet as (
        select s.since, s.till from spans s join chaos.wishes w on w.job_id = s.job_id and w.tenant = $1 and not w.already
        where s.now is not null
    ), loud as (
        select c.at from chaos.claims c join chaos.wishes w on w.job_id = c.job_id and w.tenant = $2 and not w.already
        where c.number = 1 and not exists (select from quiet q where q.since <= c.at and (q.till is null or q.till > c.at))
    ), waited as (
        select w.job_id, j.created_at, c.at from chaos.wishes w join chaos.claims c on c.job_id = w.job_id and c.number = 1
        join (select id, created_at from safelight.jobs_archive union all select id, created_at from safelight.dead_letters) j
            on j.id = w.job_id
        where w.tenant = $1 and not w.already and not w.later
    )
    select format('job %s of the quiet tenant waited while %s of the loud one began', w.job_id, count(*))
    from waited w join loud l on l.at > w.created_at and l.at < w.at group by w.job_id having count(*) > $3";
/// Four workers' claims of eight each, twice.
const LOUD_AHEAD: i64 = 64;

/// What the checker found.
#[derive(Debug)]
pub struct Report {
    pub differences: Vec<String>,
    counts: Vec<(&'static str, i64)>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts: Vec<String> = self.counts.iter().map(|(name, n)| format!("{n} {name}")).collect();
        write!(f, "{}", counts.join(", "))
    }
}

/// Hold everything that is written against the rules.
pub async fn check(app: &App, sales: &Sales) -> Report {
    let db = &app.db;
    sqlx::raw_sql(VIEWS).execute(db).await.expect("the views");
    let mut differences = Vec::new();
    for (rule, sql) in RULES {
        let found: Vec<String> =
            sqlx::query_scalar(*sql).fetch_all(db).await.unwrap_or_else(|error| panic!("{rule}: {error}"));
        differences.extend(found.into_iter().map(|difference| format!("{rule}: {difference}")));
    }
    if are_shares_fair(db).await {
        let unfair: Vec<String> =
            sqlx::query_scalar(FAIR).bind(QUIET).bind(LOUD).bind(LOUD_AHEAD).fetch_all(db).await.expect("shares");
        differences.extend(unfair.into_iter().map(|difference| format!("shares are fair: {difference}")));
    }
    differences.extend(sales.differences(app).await);
    let mut counts = Vec::new();
    for (name, sql) in [
        ("wishes", "select count(*) from chaos.wishes"),
        ("jobs done", "select count(*) from chaos.jobs where outcome = 'done'"),
        ("cancelled", "select count(*) from chaos.jobs where outcome = 'cancelled'"),
        ("dead", "select count(*) from chaos.ended where outcome = 'dead'"),
        ("leases given", "select count(*) from chaos.claims"),
        ("crashes", "select count(*) from safelight.job_attempts where verdict = 'crashed'"),
        ("retries", "select count(*) from safelight.job_attempts where verdict = 'retry'"),
    ] {
        counts.push((name, sqlx::query_scalar(sql).fetch_one(db).await.expect("a count")));
    }
    // A run in which nothing went wrong proves nothing.
    for (name, n) in &counts {
        if *n == 0 && matches!(*name, "wishes" | "jobs done" | "crashes") {
            differences.push(format!("the run means nothing: no {name}"));
        }
    }
    Report { differences, counts }
}

/// Does this schema's claim share between tenants?
async fn are_shares_fair(db: &PgPool) -> bool {
    sqlx::query_scalar(
        "select exists (select from pg_proc where pronamespace = 'safelight'::regnamespace and proname = 'claim')",
    )
    .fetch_one(db)
    .await
    .expect("a schema")
}

/// A few whole orders in the middle of it.
#[derive(Clone)]
pub struct Sales(Arc<Vec<(Id<Order>, String)>>);

impl Sales {
    /// Everything up to the payment page, while all is well: one order without and one with a training.
    pub async fn open(app: &App) -> Self {
        let (_ann, basic) = app.basic_order(false).await;
        let (_bob, halo) = app.small_halo_order().await;
        let mut orders = Vec::new();
        for order in [basic, halo] {
            orders.push((order, app.session(order).await));
        }
        Self(Arc::new(orders))
    }

    /// Paid one after the other.
    pub async fn are_paid(self, stripe: safelight_sandbox::stripe::Stripe, within: Duration) {
        for (_, session) in self.0.iter() {
            tokio::time::sleep(within / 3).await;
            stripe.pay(session).expect("a payment");
        }
    }

    /// Served, or a person decides: refund, a request that may or may not have left, a dead letter.
    async fn open_ones(app: &App) -> Vec<String> {
        sqlx::query_scalar(
            "select format('order %s is %s, and nobody is told why', o.id, o.state) from safelight.orders o
            where o.state not in ('delivered', 'refund_review')
                and not exists (select from safelight.provider_calls c where c.order_id = o.id and c.state = 'unknown')
                and not exists (select from safelight.dead_letters d where d.order_id = o.id)",
        )
        .fetch_all(&app.db)
        .await
        .unwrap_or_else(|error| vec![error.to_string()])
    }

    pub async fn are_at_rest(&self, app: &App) -> bool {
        app.sandbox.idle().await;
        Self::open_ones(app).await.is_empty()
    }

    async fn differences(&self, app: &App) -> Vec<String> {
        let mut all: Vec<String> = Self::open_ones(app).await;
        let fal = (app.sandbox.fal.trainings(), app.sandbox.fal.generations());
        if fal.0 > 1 || fal.1 > 8 {
            all.push(format!("Fal trained {} times for one order, and generated {} images for eight", fal.0, fal.1));
        }
        let accepted: i64 = sqlx::query_scalar(
            "select count(*) from safelight.provider_calls where request_id is not null and purpose in ('train', 'generate')",
        )
        .fetch_one(&app.db)
        .await
        .expect("calls");
        let asked = i64::try_from(fal.0 + fal.1).expect("a few");
        let unknown: i64 = sqlx::query_scalar("select count(*) from safelight.provider_calls where state = 'unknown'")
            .fetch_one(&app.db)
            .await
            .expect("calls");
        if asked < accepted || asked > accepted + unknown {
            all.push(format!("Fal was asked {asked} times, {accepted} are written down and {unknown} in doubt"));
        }
        let subjects: Vec<String> = app.sandbox.resend.mails().into_iter().map(|mail| mail.subject).collect();
        let (confirmed, delivered): (Vec<_>, Vec<_>) =
            subjects.iter().partition(|subject| *subject == "Your data is deleted");
        if confirmed.len() > 1 || delivered.len() > 1 {
            all.push(format!("one order mails once, and so does one erasure: {subjects:?}"));
        }
        all.into_iter().map(|difference| format!("orders: {difference}")).collect()
    }
}
