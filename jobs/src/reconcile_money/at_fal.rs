//! Fal's requests and our calls, both ways. A request that no call of ours has may be the answer that was lost, or somebody
//! else with our key; a call whose request Fal does not know was recorded wrong.

use std::collections::BTreeSet;

use chrono::{DateTime, Duration, Utc};
use uuid::Uuid;

use super::{Look, differences::Seen, listed::Listed};
use crate::{
    id::{Id, Intent},
    policy::Policy,
    providers::fal::ListedRequest,
    stop::Stop,
};

/// What is younger may be on its way between Fal and us.
const ON_ITS_WAY_MINUTES: i64 = 10;
/// Nothing that Fal does for us takes as long.
const LONGEST_HOURS: i64 = 24;
/// Requests that are looked up at once.
const AT_ONCE: usize = 1000;

/// False: a listing was longer than one look reads, so that absence proves nothing.
pub(super) async fn compare(look: &mut Look<'_>) -> Result<bool, Stop> {
    let until = look.until - Duration::minutes(ON_ITS_WAY_MINUTES);
    // A model that was not called in the span has calls all the same, if somebody else has our key.
    let named = look.run.services.policies.iter().flat_map(Policy::models);
    let mut models: BTreeSet<String> = named.map(ToOwned::to_owned).collect();
    let called = sqlx::query_scalar!(
        "select distinct model from safelight.provider_calls where processor = 'fal' and created_at >= $1 and created_at < $2",
        look.from,
        look.until
    )
    .fetch_all(&mut *look.run.reads().await?)
    .await?;
    models.extend(called);
    let mut whole = true;
    for model in &models {
        let listed = Listed::of(&look.run.services.fal, model, look.from, until).await?;
        for requests in listed.requests.chunks(AT_ONCE) {
            strangers(look, requests).await?;
        }
        whole &= listed.gaps.is_empty();
        unheard_of(look, model, &listed).await?;
    }
    never_ended(look).await?;
    Ok(whole)
}

async fn strangers(look: &mut Look<'_>, requests: &[ListedRequest]) -> Result<(), Stop> {
    let ids: Vec<String> = requests.iter().map(|request| request.request_id.clone()).collect();
    let ours = sqlx::query_scalar!(
        r#"select request_id as "id!" from safelight.provider_calls where request_id = any ($1)"#,
        &ids
    )
    .fetch_all(&mut *look.run.reads().await?)
    .await?;
    let ours: BTreeSet<String> = ours.into_iter().collect();
    for request in requests.iter().filter(|request| !ours.contains(&request.request_id)) {
        let about_at = request.sent_at.unwrap_or(look.until);
        let code = "request_without_call";
        let object = request.request_id.as_str();
        look.differs(Seen { code, object, provider: "fal", tenant: None, amount_cents: None, about_at }).await?;
    }
    Ok(())
}

struct Ours {
    id: Uuid,
    tenant: String,
    request: String,
    created_at: DateTime<Utc>,
    recorded_at: DateTime<Utc>,
}

async fn unheard_of(look: &mut Look<'_>, model: &str, listed: &Listed) -> Result<(), Stop> {
    let ours = sqlx::query_as!(
        Ours,
        r#"select id, tenant, request_id as "request!", created_at, submitted_at as "recorded_at!" from safelight.provider_calls
        where processor = 'fal' and model = $1 and request_id is not null and created_at >= $2 and submitted_at < $3"#,
        model,
        listed.from,
        listed.until
    )
    .fetch_all(&mut *look.run.reads().await?)
    .await?;
    let known: BTreeSet<&str> = listed.requests.iter().map(|request| request.request_id.as_str()).collect();
    let is_missed =
        |call: &&Ours| !known.contains(call.request.as_str()) && listed.would_hold(call.created_at, call.recorded_at);
    for call in ours.iter().filter(is_missed) {
        let object = Id::<Intent>::from(call.id).to_string();
        look.differs(Seen {
            code: "call_unknown_at_fal",
            object: &object,
            provider: "fal",
            tenant: Some(&call.tenant),
            amount_cents: None,
            about_at: call.created_at,
        })
        .await?;
    }
    Ok(())
}

async fn never_ended(look: &mut Look<'_>) -> Result<(), Stop> {
    let open = sqlx::query!(
        r#"select id, tenant, created_at from safelight.provider_calls
        where state in ('intended', 'unknown', 'submitted') and created_at <= $1"#,
        look.until - Duration::hours(LONGEST_HOURS)
    )
    .fetch_all(&mut *look.run.reads().await?)
    .await?;
    for call in open {
        let object = Id::<Intent>::from(call.id).to_string();
        look.differs(Seen {
            code: "call_never_ended",
            object: &object,
            provider: "fal",
            tenant: Some(&call.tenant),
            amount_cents: None,
            about_at: call.created_at,
        })
        .await?;
    }
    Ok(())
}
