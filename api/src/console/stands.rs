//! Why nothing has come of an order yet: the page that a customer waits for, the decision that a person owes, or what its jobs and
//! calls wait for.

use maud::{Markup, html};
use safelight_jobs::{
    held::holders,
    id::{self, Id, Order},
    queue::Explanation,
};

use super::{overview::link, review::Review, words};
use crate::{error::Error, state::ApiState};

/// How an order stands.
pub(super) struct Stands<'a> {
    pub(super) order: Id<Order>,
    pub(super) state: &'a str,
    pub(super) problem: Option<&'a str>,
    /// Its checkout has begun.
    pub(super) checkout: bool,
    /// What a person still has to do about its money.
    pub(super) review: Option<Review>,
}

impl Stands<'_> {
    /// What it waits for; nothing where it is at an end.
    pub(super) async fn section(&self, state: &ApiState, tenant: Option<&str>) -> Result<Markup, Error> {
        match self.state {
            "refund_review" => Ok(html! { p.after { (self.decision()) } }),
            "placed" => {
                // Stripe may have told that it is paid: then the job that looks is what it waits for.
                let jobs = self.jobs(state, tenant).await?;
                Ok(if jobs.is_empty() {
                    html! { p.after { (self.customer()) } }
                } else {
                    why(&jobs, &[])
                })
            }
            "paid" | "training" | "generating" => {
                let (jobs, calls) = (self.jobs(state, tenant).await?, self.calls(state).await?);
                Ok(if jobs.is_empty() && calls.is_empty() { why(&[lost()], &[]) } else { why(&jobs, &calls) })
            }
            _ => Ok(html! {}),
        }
    }

    fn customer(&self) -> &'static str {
        if self.checkout { "It waits for the payment at Stripe." } else { "It waits for its checkout to begin." }
    }

    fn decision(&self) -> &'static str {
        match self.review {
            Some(Review::Back) => "The money is back; nothing is left to do.",
            Some(Review::UnderWay) => "A refund is under way.",
            Some(Review::AtTheBank) => "It waits for the customer's bank, which decides about the money.",
            None if self.problem == Some("work_died") => {
                "It waits for a person: mend the cause and redrive its dead letter, or give the money back."
            }
            None => "It waits for a person: nothing of it goes on by itself. Give the money back.",
        }
    }

    async fn jobs(&self, state: &ApiState, tenant: Option<&str>) -> Result<Vec<Markup>, Error> {
        let jobs = sqlx::query!(
            r#"select j.id, j.kind, e.code as "code!", e.detail as "detail!" from (
                select id, kind from safelight.jobs where order_id = $1 order by state = 1 desc, run_at, id limit 3) j
            cross join lateral safelight.explain_job(j.id) e"#,
            self.order.uuid()
        )
        .fetch_all(&state.pool)
        .await?;
        let held = holders(&state.pool, &jobs.iter().map(|job| job.id).collect::<Vec<_>>()).await?;
        let line = |job: Id<id::Job>, kind: &str, code: &str, detail: String| {
            let detail = held.told(job.uuid(), Explanation::told(code, detail, tenant), tenant);
            html! { (link("jobs", &job.to_string())) " " (words::said(kind)) ": " strong { (words::said(code)) } ", " (detail) "." }
        };
        Ok(jobs.into_iter().map(|job| line(job.id.into(), &job.kind, &job.code, job.detail)).collect())
    }

    async fn calls(&self, state: &ApiState) -> Result<Vec<Markup>, Error> {
        let calls = sqlx::query!(
            r#"select processor, count(*) as "number!", min(created_at) as "first!", count(*) filter (where state = 'unknown') as "unknown!"
            from safelight.provider_calls where order_id = $1 and state in ('intended', 'unknown', 'submitted') group by processor"#,
            self.order.uuid()
        )
        .fetch_all(&state.pool)
        .await?;
        let line = |number: i64, processor: &str, first, unknown: i64| {
            html! { (number) " calls at " (processor) " without an end, the first of " (words::time(first))
            @if unknown > 0 { "; the outcome of " (unknown) " is " (words::state("unknown")) } "." }
        };
        Ok(calls.iter().map(|call| line(call.number, &call.processor, call.first, call.unknown)).collect())
    }
}

fn lost() -> Markup {
    html! { "Nothing of it is under way: " code { "reconcile_calls" } " looks at it within minutes, and takes it to refund review if it is lost." }
}

fn why(jobs: &[Markup], calls: &[Markup]) -> Markup {
    html! {
        section aria-label="Why it waits" {
            h2 { "Why it waits" }
            ul.why { @for line in jobs.iter().chain(calls) { li { (line) } } }
        }
    }
}
