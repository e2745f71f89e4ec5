//! One calm line per event, as it happens: read from the audit log, so that the demo shows what an auditor would see.

use std::{
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

use serde_json::Value;
use sqlx::PgPool;

/// Follows the audit log.
pub(crate) struct Timeline {
    db: PgPool,
    seen: i64,
    began: Instant,
    quiet: bool,
    bar: bool,
    pub(crate) events: Vec<Value>,
}

#[derive(sqlx::FromRow)]
struct Row {
    seq: i64,
    tenant: Option<String>,
    order_id: Option<uuid::Uuid>,
    job_kind: Option<String>,
    action: String,
    outcome: String,
    counts: Value,
}

impl Timeline {
    pub(crate) fn new(db: PgPool, quiet: bool) -> Self {
        Self {
            db,
            seen: 0,
            began: Instant::now(),
            quiet,
            bar: std::io::stdout().is_terminal() && !quiet,
            events: Vec::new(),
        }
    }

    /// Print what is new.
    pub(crate) async fn follow(&mut self) -> anyhow::Result<()> {
        let rows: Vec<Row> = sqlx::query_as(
            "select seq, tenant, order_id, job_kind, action, outcome,
                counts || codes || jsonb_strip_nulls(jsonb_build_object('class', class, 'processor', processor)) as counts
            from safelight.audit_entries where seq > $1 and action <> 'deletion.object' order by seq",
        )
        .bind(self.seen)
        .fetch_all(&self.db)
        .await?;
        for row in rows {
            self.seen = row.seq;
            self.line(&row);
        }
        Ok(())
    }

    /// A line of the demo itself.
    pub(crate) fn heading(&mut self, text: &str) {
        self.clear();
        if !self.quiet {
            crate::process::say(format_args!("\n{text}"));
        }
    }

    /// A bar while nothing happens, on a terminal.
    pub(crate) fn waiting(&self, what: &str, part: f64) {
        if !self.bar {
            return;
        }
        let full = (part.clamp(0.0, 1.0) * 24.0).round() as usize;
        let bar = format!("{}{}", "━".repeat(full), "─".repeat(24 - full));
        let mut out = std::io::stdout().lock();
        let _ = write!(out, "\r  {:>6.1}s  {bar}  {what}\x1b[K", self.began.elapsed().as_secs_f64());
        let _ = out.flush();
    }

    fn clear(&self) {
        if self.bar {
            let mut out = std::io::stdout().lock();
            let _ = write!(out, "\r\x1b[K");
            let _ = out.flush();
        }
    }

    fn line(&mut self, row: &Row) {
        let order = row.order_id.map(|id| id.simple().to_string()[26..].to_owned()).unwrap_or_default();
        let at = self.began.elapsed();
        self.events.push(serde_json::json!({
            "seconds": round(at), "tenant": row.tenant, "order": row.order_id, "job": row.job_kind, "action": row.action,
            "outcome": row.outcome, "counts": row.counts,
        }));
        if self.quiet {
            return;
        }
        self.clear();
        crate::process::say(format_args!(
            "  {:>6.1}s  {:<12} {order:<6}  {:<16} {}",
            at.as_secs_f64(),
            row.tenant.as_deref().unwrap_or(""),
            row.job_kind.as_deref().unwrap_or("intake"),
            words(row)
        ));
    }
}

fn round(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

/// An entry in words. An action without words of its own is shown as it is stored.
fn words(row: &Row) -> String {
    let count = |name: &str| {
        row.counts
            .get(name)
            .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
            .unwrap_or_default()
    };
    match (row.action.as_str(), row.outcome.as_str()) {
        ("subject.registered", _) => "a person signed up".to_owned(),
        ("consent.granted", point) => format!("consent given at {point}"),
        ("upload.arrived", _) => "a photo arrived; its clock runs".to_owned(),
        ("order.placed", _) => "order placed".to_owned(),
        ("checkout.started", _) => "payment page opened".to_owned(),
        ("webhook.stripe", outcome) => format!("news from Stripe: {outcome}"),
        ("webhook.fal", outcome) => format!("news from Fal: {outcome}"),
        ("payment.confirmed", "paid") => format!("Stripe says paid: {} cents", count("amount_cents")),
        ("call.intended", _) => "a call to Fal is written down".to_owned(),
        ("call.submitted", outcome) => format!("Fal accepted; request id {outcome}"),
        ("model.delivered", _) => "the personal model is home; its clock runs".to_owned(),
        ("selfies.measured", _) => format!("{} of {} photos measured", count("measured"), count("photos")),
        ("image.stored", _) => "an image is home".to_owned(),
        ("image.checked", _) => "an image is safe for work".to_owned(),
        ("image.withheld", why) => format!("an image is withheld: {why}"),
        ("image.compared", verdict) => format!("faces compared: {verdict}"),
        ("image.delivered", _) => format!("{} image delivered; its clock runs", count("images")),
        ("order.delivered", _) => {
            format!("order delivered: {} images, {} withheld", count("images"), count("withheld"))
        }
        ("notice.sent", _) => "mail sent".to_owned(),
        ("call.purged", _) => format!("Fal deleted its copy: {} files", count("files")),
        ("sweep.retention", _) => {
            format!("sweep: {} persons with something due, {} left undone", count("people"), count("residue"))
        }
        ("deletion.planned", _) => format!("deletion planned in {} steps", count("steps")),
        ("deletion.step", outcome) => {
            format!("{} at {}: {outcome}, {} gone", count("class"), count("processor"), count("deleted"))
        }
        ("deletion.complete", _) => format!("deletion complete: {} gone, all seen to be gone", count("deleted")),
        ("erasure.requested", _) => "erasure asked for; the person is fenced".to_owned(),
        (action, outcome) => format!("{action}: {outcome}"),
    }
}
