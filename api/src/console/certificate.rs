//! Why a finished deletion has no certificate yet: it waits for a checkpoint behind its end, and where checkpoints go outside, for one that
//! is there.

use chrono::{DateTime, TimeDelta, Utc};
use maud::{Markup, html};
use sqlx::PgPool;

use super::words;

/// So long after a deletion's end its certificate is late, in minutes: as the alarm `CertificateLate` counts.
const LATE_MINUTES: i64 = 15;

/// What the certificates that are due wait for, all of them alike.
pub(super) struct Awaited {
    /// Places outside that take no checkpoint now, with the code of each; none as long as one place takes them.
    closed: Vec<(String, String)>,
    now: DateTime<Utc>,
}

/// What they wait for now.
pub(super) async fn awaited(pool: &PgPool, now: DateTime<Utc>) -> Result<Awaited, sqlx::Error> {
    // A checkpoint that is at one place is outside.
    let places = sqlx::query!(
        r#"select name, code as "code!" from safelight.audit_destinations
        where code is not null and not exists (select from safelight.audit_destinations open where open.code is null) order by name"#
    )
    .fetch_all(pool)
    .await?;
    Ok(Awaited { closed: places.into_iter().map(|place| (place.name, place.code)).collect(), now })
}

impl Awaited {
    /// In words, for a deletion that ended then. Which place fails and why is told to the house.
    pub(super) fn said(&self, ended: DateTime<Utc>, tenant: Option<&str>) -> Markup {
        html! { span.none {
            @if !self.closed.is_empty() {
                "waits for a checkpoint outside"
                @if tenant.is_none() { ": " @for (n, (place, code)) in self.closed.iter().enumerate() { @if n > 0 { ", " } (place) " " (words::said(code)) } }
            } @else if self.now - ended > TimeDelta::minutes(LATE_MINUTES) {
                "late: no checkpoint covers its end"
            } @else { "about a minute after its end" }
        } }
    }
}
