//! What the demo says at its end, and whether everything was as it should be.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::{house::House, timeline::Timeline};
use crate::process::say;

/// Tenant, cents, currency, when, by which rule it stays, and whether it still names an order.
type Sale = (String, i64, String, chrono::DateTime<chrono::Utc>, Option<String>, bool);

/// The facts, in words and as JSON.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Summary {
    pub(crate) good: bool,
    /// What was not as it should be.
    pub(crate) faults: Vec<String>,
    pub(crate) seconds: f64,
    /// The code that a text file named .jpg was refused with.
    pub(crate) text_file_refused_as: String,
    pub(crate) orders: Vec<Value>,
    pub(crate) trainings_at_fal: usize,
    pub(crate) generations_at_fal: usize,
    pub(crate) mails: usize,
    /// Median and longest wait and run of jobs, in milliseconds, by kind.
    pub(crate) jobs: Vec<Value>,
    /// After the clock was turned and before the sweep ran.
    pub(crate) unreadable_at_once: bool,
    pub(crate) deletions: Vec<Value>,
    pub(crate) erasure: Value,
    pub(crate) objects_left: usize,
    pub(crate) files_left_at_fal: usize,
    pub(crate) remains: Vec<Value>,
    pub(crate) timeline: Vec<Value>,
}

impl Summary {
    pub(crate) async fn begin(_house: &House, refused: String) -> anyhow::Result<Self> {
        Ok(Self { text_file_refused_as: refused, ..Self::default() })
    }

    pub(crate) fn count_calls(&mut self, house: &House) {
        self.trainings_at_fal = house.sandbox.fal.trainings();
        self.generations_at_fal = house.sandbox.fal.generations();
    }

    /// How long jobs waited and ran.
    pub(crate) async fn jobs(&mut self, house: &House) -> anyhow::Result<()> {
        let rows: Vec<(String, i64, f64, f64, f64)> = sqlx::query_as(
            "select kind, count(*),
                coalesce(percentile_cont(0.5) within group (order by extract(epoch from started_at - greatest(run_at, created_at)) * 1000), 0)::float8,
                coalesce(percentile_cont(0.5) within group (order by extract(epoch from finished_at - started_at) * 1000), 0)::float8,
                coalesce(max(extract(epoch from finished_at - started_at) * 1000), 0)::float8
            from safelight.jobs_archive where outcome = 'done' group by kind order by min(started_at)",
        )
        .fetch_all(&house.db)
        .await?;
        self.jobs = rows
            .into_iter()
            .map(|(kind, count, waited, ran, longest)| {
                json!({ "job": kind, "count": count, "waited_ms": waited.round(), "ran_ms": ran.round(), "longest_ms": longest.round() })
            })
            .collect();
        Ok(())
    }

    pub(crate) async fn after_thirty_days(&mut self, house: &House) -> anyhow::Result<()> {
        let rows: Vec<(String, String, i64, i64)> = sqlx::query_as(
            "select d.tenant, s.class, sum(s.planned)::bigint, count(*) filter (where s.state = 'verified')::bigint
            from safelight.deletions d join safelight.deletion_steps s on s.deletion_id = d.id
            where d.state = 'complete' group by d.tenant, s.class order by d.tenant, s.class",
        )
        .fetch_all(&house.db)
        .await?;
        self.deletions = rows
            .into_iter()
            .map(|(tenant, class, objects, steps)| json!({ "tenant": tenant, "class": class, "objects": objects, "steps_verified": steps }))
            .collect();
        let halo: i64 = sqlx::query_scalar(
            "select count(*) from safelight.artifacts where tenant = 'haloprofile' and class = 'upload'",
        )
        .fetch_one(&house.db)
        .await?;
        self.expect(halo == 8, format!("HaloProfile keeps until erasure, and {halo} of 8 photos are there"));
        let vectors: i64 = sqlx::query_scalar("select count(*) from safelight.embeddings").fetch_one(&house.db).await?;
        self.expect(vectors == 0, format!("{vectors} vectors outlived their photos"));
        Ok(())
    }

    fn expect(&mut self, so: bool, fault: String) {
        if !so {
            self.faults.push(fault);
        }
    }

    pub(crate) async fn finish(&mut self, house: &House, timeline: &Timeline, took: Duration) -> anyhow::Result<()> {
        self.mails = house.sandbox.resend.mails().len();
        self.objects_left = house.sandbox.supabase.objects("safelight").len();
        self.files_left_at_fal = house.sandbox.fal.files().len();
        let sales: Vec<Sale> = sqlx::query_as(
            "select tenant, amount_cents, currency, sold_at, rule, order_id is not null from safelight_fiscal.sales order by sold_at",
        )
        .fetch_all(&house.db)
        .await?;
        self.remains = sales
            .into_iter()
            .map(|(tenant, cents, currency, sold_at, rule, linked)| {
                json!({ "what": "sale", "tenant": tenant, "amount_cents": cents, "currency": currency, "sold_at": sold_at,
                    "because": rule.unwrap_or_else(|| "tax law; the country's rule is not looked up yet".to_owned()), "names_a_person": linked })
            })
            .collect();
        let proofs: i64 = sqlx::query_scalar("select count(*) from safelight.consents").fetch_one(&house.db).await?;
        self.remains
            .push(json!({ "what": "consent events", "count": proofs, "because": "proof of consent, GDPR Art. 7(1)" }));

        let ko_delivered = delivered(&self.orders[0]);
        self.expect(ko_delivered >= 8, format!("KoSelfie delivered {ko_delivered} images"));
        self.expect(delivered(&self.orders[1]) == 8, "HaloProfile did not deliver its 8 images".to_owned());
        self.expect(self.trainings_at_fal == 2, format!("{} trainings for two orders", self.trainings_at_fal));
        self.expect(self.generations_at_fal == 20, format!("{} generations for 20 images", self.generations_at_fal));
        self.expect(self.mails == 1, format!("{} mails; KoSelfie sends one and HaloProfile none", self.mails));
        self.expect(self.unreadable_at_once, "an image was readable after its term".to_owned());
        self.expect(self.objects_left == 0, format!("{} objects are left in the store", self.objects_left));
        self.expect(self.files_left_at_fal == 0, format!("{} files are left at Fal", self.files_left_at_fal));
        self.timeline.clone_from(&timeline.events);
        self.seconds = (took.as_secs_f64() * 10.0).round() / 10.0;
        self.good = self.faults.is_empty();
        Ok(())
    }

    pub(crate) fn print(&self) {
        say("\nSimilarity of each image to the person's photos (cosine, mean of the best three)");
        for image in self.orders[0]["images"].as_array().into_iter().flatten() {
            let verdict = image["similarity"]["verdict"].as_str().unwrap_or("-");
            let number = image["similarity"]["mean_best3"]
                .as_f64()
                .map_or_else(|| "  -  ".to_owned(), |cosine| format!("{cosine:.3}"));
            let state = image["withheld_because"]
                .as_str()
                .map_or_else(|| "delivered".to_owned(), |why| format!("withheld: {why}"));
            say(format_args!("  image {:>2}   {number}   {verdict:<12} {state}", image["position"]));
        }
        say("\nDeleted after thirty days, each seen to be gone");
        for row in &self.deletions {
            say(format_args!("  {:<12} {:<16} {} objects", text(row, "tenant"), text(row, "class"), row["objects"]));
        }
        say("\nErased on request, step by step");
        for step in self.erasure["steps"].as_array().into_iter().flatten() {
            say(format_args!(
                "  {:<15} {:<9} {:<16} {}",
                text(step, "class"),
                text(step, "processor"),
                text(step, "state"),
                text(step, "evidence")
            ));
        }
        say("\nWhat remains, and why");
        for row in &self.remains {
            say(match row["amount_cents"].as_i64() {
                Some(cents) => format!(
                    "  a sale of {}: {:.2} {}   {}",
                    text(row, "tenant"),
                    cents as f64 / 100.0,
                    text(row, "currency"),
                    text(row, "because")
                ),
                None => format!("  {} {}   {}", row["count"], text(row, "what"), text(row, "because")),
            });
        }
        say("\nJobs                 count   waited   ran (median, longest; ms)");
        for row in &self.jobs {
            say(format_args!(
                "  {:<18} {:>5} {:>8} {:>6} {:>8}",
                text(row, "job"),
                row["count"],
                row["waited_ms"],
                row["ran_ms"],
                row["longest_ms"]
            ));
        }
        say(format_args!("\nA text file named .jpg was refused as `{}`.", self.text_file_refused_as));
        for fault in &self.faults {
            say(format_args!("NOT AS IT SHOULD BE: {fault}"));
        }
        say(format_args!("{} in {} seconds.", if self.good { "All as promised" } else { "Failed" }, self.seconds));
    }
}

fn delivered(order: &Value) -> usize {
    order["images"].as_array().into_iter().flatten().filter(|image| image["delivered_at"].is_string()).count()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or("")
}
