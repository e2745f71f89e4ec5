//! Policies and grants: the installed versions, from when on each counts, and what the newest consent events are. Counts and
//! versions only; who consented is nobody's business here.

use axum::{extract::State, response::Response};
use chrono::{DateTime, Utc};
use maud::{Markup, html};
use safelight_jobs::policy_rows::{self, Standing};

use super::{Page, Trouble, page as framed, parts, sign_in::Viewer, words};
use crate::{error::Error, state::ApiState};

/// How many of the newest consent events are counted.
const TALLIED: i64 = 20_000;

/// The page.
pub(super) async fn page(State(state): State<ApiState>, viewer: Viewer) -> Result<Response, Trouble> {
    let standings = policy_rows::standings(&state.pool).await?;
    let own = |standing: &&Standing| viewer.tenant().is_none_or(|tenant| tenant == standing.tenant);
    let standings: Vec<&Standing> = standings.iter().filter(own).collect();
    let now = sqlx::query_scalar!(r#"select safelight.now() as "now!""#).fetch_one(&state.pool).await?;
    let body = html! {
        h1 { "Policies and grants" }
        p.lead { "A version never changes. A later one counts when its notice was on display long enough: " code { "safelight policy announce" } "." }
        (versions(&standings, now))
        (terms(&state, viewer.tenant()).await?)
        (grants(&state, viewer.tenant()).await?)
    };
    Ok(framed("Policies", Page::Policies, &viewer, &body))
}

/// Where a version stands, in a word.
fn stands(one: &Standing, now: DateTime<Utc>) -> &'static str {
    match one.in_force_from {
        _ if one.in_force => "in_force",
        None => "not_announced",
        Some(from) if from > now => "announced",
        Some(_) => "followed",
    }
}

fn versions(standings: &[&Standing], now: DateTime<Utc>) -> Markup {
    html! {
        section {
            h2 { "Versions" }
            @if standings.is_empty() { p.none { "None is installed: " code { "safelight migrate" } "." } } @else { (parts::table("Versions", &["tenant", "version", "state", "announced", "counts from"], standings, |one| html! {
                th scope="row" { (one.tenant) } td { (one.version) }
                td { (words::state(stands(one, now))) }
                td { (words::maybe_time(one.announced_at)) } td { (words::maybe_time(one.in_force_from)) }
            })) }
        }
    }
}

async fn terms(state: &ApiState, tenant: Option<&str>) -> Result<Markup, Error> {
    let rows = sqlx::query!(
        r#"select r.tenant, r.class, r.rule, r.hours, r.counted_from from safelight.policy_retention r
        where r.version = safelight.policy_in_force(r.tenant) and ($1::text is null or r.tenant = $1) order by r.tenant, r.class"#,
        tenant
    )
    .fetch_all(&state.pool)
    .await?;
    Ok(html! { @if !rows.is_empty() {
        section {
            h2 { "How long each class stays" span.aside { "by the version in force" } }
            (parts::table("Terms", &["tenant", "class", "rule", "#term", "counted from"], &rows, |row| html! {
                th scope="row" { (row.tenant) } td { (words::said(&row.class)) } td { (words::said(&row.rule)) }
                td.n { @match row.hours { Some(hours) => { (hours) " h" }, None => span.none { "–" } } }
                td { (row.counted_from.as_deref().map(words::said).unwrap_or_default()) }
            }))
        }
    } })
}

async fn grants(state: &ApiState, tenant: Option<&str>) -> Result<Markup, Error> {
    let rows = sqlx::query!(
        r#"select tenant as "tenant!", purpose as "purpose!", policy_version as "version!",
            count(*) filter (where event = 'granted') as "granted!", count(*) filter (where event = 'withdrawn') as "withdrawn!",
            count(*) filter (where event = 'expired') as "expired!"
        from (select tenant, purpose, policy_version, event from safelight.consents order by id desc limit $2) newest
        where $1::text is null or tenant = $1 group by 1, 2, 3 order by 1, 2, 3"#,
        tenant,
        TALLIED
    )
    .fetch_all(&state.pool)
    .await?;
    Ok(html! {
        section {
            h2 { "Consent events" span.aside { "the newest " (TALLIED) " counted" } }
            (parts::listed("None yet.", "Consent events", &["tenant", "purpose", "under version", "#given", "#withdrawn", "#expired"], &rows, |row| html! {
                th scope="row" { (row.tenant) } td { (words::said(&row.purpose)) } td { (row.version) }
                td.n { (row.granted) } td.n { (row.withdrawn) } td.n { (row.expired) }
            }))
        }
    })
}
