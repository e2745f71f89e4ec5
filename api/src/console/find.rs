//! The box that opens an id, on every page: from an id, or a text with one in it, to the page that shows the thing.
//!
//! Looks for nothing but ids, which are random and name nobody; whoever may not see a thing is not told that it is there. The page
//! that opens keeps the look.

use axum::{
    extract::{Query, State},
    response::{IntoResponse, Redirect, Response},
};
use maud::{Markup, html};
use safelight_jobs::id::{Id, Token};
use serde::Deserialize;
use uuid::Uuid;

use super::{Trouble, sign_in::Viewer};
use crate::{error::Error, state::ApiState};

/// Ids with a page of their own, which says when there is no such thing: before the underscore, and where the page is.
const PAGES: [(&str, &str); 5] =
    [("job", "jobs"), ("order", "orders"), ("deletion", "deletions"), ("subject", "subjects"), ("bulk", "bulk")];
/// Ids of what stands on the page of something else.
const PARTS: [&str; 8] = ["intent", "case", "artifact", "batch", "grant", "refund", "token", "sweep"];

/// The box.
pub(super) fn form() -> Markup {
    html! {
        form.find method="get" action="/console/find" role="search" aria-label="Open an id" {
            input name="id" type="text" aria-label="Id of a job, an order, a person or anything else" placeholder="Any id" required
                autocomplete="off" autocapitalize="none" spellcheck="false" enterkeyhint="go";
            button type="submit" { "Open" }
        }
    }
}

/// What to open.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Opened {
    id: String,
}

/// From an id to its page.
pub(super) async fn open(
    State(state): State<ApiState>,
    viewer: Viewer,
    Query(wanted): Query<Opened>,
) -> Result<Response, Trouble> {
    let why = || {
        Error::BadId(
            "paste an id as it stands on a page: job_…, order_…, deletion_…, subject_…, bulk_…, intent_…, case_…, artifact_…, \
            batch_…, grant_…, refund_…, token_… or sweep_…, or one of them without the word before it"
                .to_owned(),
        )
    };
    let id = id_in(&wanted.id).ok_or_else(why)?;
    let address = match named(&id) {
        Some((word, _)) if PAGES.iter().any(|(page, _)| *page == word) => page(word, &id),
        Some((word, uuid)) if PARTS.contains(&word) => known(&state, &viewer, uuid, Some(word)).await?,
        Some(_) => return Err(why().into()),
        None => known(&state, &viewer, id.parse().map_err(|_| why())?, None).await?,
    };
    Ok(Redirect::to(&address.ok_or_else(|| Error::not_found(&id))?).into_response())
}

/// The first id in a text, with or without a word before it: quotes, blanks, what ends a sentence and the rest of an address go.
pub(super) fn id_in(text: &str) -> Option<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    text.split(|c| !is_part(c))
        .map(|piece| piece.trim_matches(['_', '-']).to_ascii_lowercase())
        .find(|piece| named(piece).is_some() || piece.parse::<Uuid>().is_ok())
}

/// The word of an id, and what stands behind it.
fn named(id: &str) -> Option<(&str, Uuid)> {
    let (word, hex) = id.split_once('_')?;
    let is_id = hex.len() == 32 && !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
    Some((word, Uuid::try_parse(hex).ok().filter(|_| is_id)?))
}

fn page(word: &str, id: &str) -> Option<String> {
    PAGES.iter().find(|(named, _)| *named == word).map(|(_, list)| format!("/console/{list}/{id}"))
}

/// The page of whatever has this id, or of what it belongs to; of one word only, where one is given. Each table is asked by its key.
async fn known(state: &ApiState, viewer: &Viewer, id: Uuid, word: Option<&str>) -> Result<Option<String>, Error> {
    let found = sqlx::query!(
        r#"select page as "page!", thing from (
            select 1 as n, 'job' as word, 'job' as page, id as thing, tenant from safelight.jobs where id = $1
            union all select 2, 'job', 'job', id, tenant from safelight.dead_letters where id = $1
            union all select 3, 'job', 'job', id, tenant from safelight.jobs_archive where id = $1
            union all select 4, 'order', 'order', id, tenant from safelight.orders where id = $1
            union all select 5, 'deletion', 'deletion', id, tenant from safelight.deletions where id = $1
            union all select 6, 'subject', 'subject', id, tenant from safelight.subjects where id = $1
            union all select 7, 'bulk', 'bulk', id, tenant from safelight.bulk_acts where id = $1
            union all select 8, 'intent', case when order_id is null then 'job' else 'order' end, coalesce(order_id, job_id), tenant
                from safelight.provider_calls where id = $1
            union all select 9, 'case', 'subject', subject_id, tenant from safelight.cases where id = $1
            union all select 10, 'artifact', case when order_id is null then 'subject' else 'order' end, coalesce(order_id, subject_id), tenant
                from safelight.artifacts where id = $1
            union all select 11, 'batch', 'subject', subject_id, tenant from safelight.upload_batches where id = $1
            union all select 12, 'grant', 'subject', subject_id, tenant from safelight.consents where id = $1
            union all select 13, 'refund', 'order', s.order_id, r.tenant from safelight_fiscal.refunds r
                join safelight_fiscal.sales s on s.stripe_session = r.stripe_session where r.id = $1
            -- Of the house, as their pages are.
            union all select 14, 'token', 'token', id, null from safelight.tokens where id = $1
            union all (select 15, 'sweep', 'sweep', id, null from safelight.sweeps
                where id = $1 or ($3 = 'sweep' and asked_by like '%:sweep\_' || replace($1::text, '-', '')) order by id desc limit 1)
        ) known where ($2::text is null or tenant = $2 or (word = 'job' and tenant is null)) and ($3::text is null or word = $3)
        order by n limit 1"#,
        id,
        viewer.tenant(),
        word
    )
    .fetch_optional(&state.pool)
    .await?;
    Ok(found.and_then(|found| match (found.page.as_str(), found.thing) {
        ("token", Some(token)) => Some(format!("/console/tokens?all=1&before={}", Id::<Token>::from(behind(token)))),
        ("sweep", Some(run)) => Some(format!("/console/sweeps?before={}", behind(run))),
        (list, Some(thing)) => page(list, &format!("{list}_{}", thing.simple())),
        // A refund whose order was erased.
        ("order", None) => Some("/console/orders".to_owned()),
        // Of somebody whom nobody has recognised yet.
        (_, None) => Some("/console/cases".to_owned()),
    }))
}

/// Where a list that is shown newest first begins with this one.
fn behind(id: Uuid) -> Uuid {
    Uuid::from_u128(id.as_u128().saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_found_in_what_stands_around_it() {
        let job = "job_0192a8f2e6c5d7b1290f3a4b5c6d7e8f";
        for text in [
            job.to_owned(),
            format!("  {job}\t"),
            format!("\"{job}\","),
            format!("“{job}”."),
            format!("`{job}`!"),
            format!("({job});"),
            format!("job: {job}"),
            format!("https://jobs.example.com/console/jobs/{job}?done=held"),
            job.to_uppercase(),
        ] {
            assert_eq!(id_in(&text).as_deref(), Some(job), "{text}");
        }
        for bare in ["0192a8f2-e6c5-d7b1-290f-3a4b5c6d7e8f", "0192A8F2E6C5D7B1290F3A4B5C6D7E8F"] {
            assert_eq!(id_in(&format!("'{bare}'.")), Some(bare.to_lowercase()));
        }
        for none in ["", "ann@example.org", "job_", "job_0192", "_0192a8f2e6c5d7b1290f3a4b5c6d7e", "mail_refused"] {
            assert_eq!(id_in(none), None, "{none}");
        }
    }
}
