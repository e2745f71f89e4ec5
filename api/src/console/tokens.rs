//! Tokens of the intake: which hold, what they may do, and revoking one. Made and replaced on the command line only: the intake's role
//! can make none.

use axum::{
    extract::{Query, State},
    response::Response,
};
use maud::{Markup, html};
use safelight_jobs::{
    id::{self, Id},
    queue,
    run::Tx,
};
use serde::Deserialize;

use super::{
    Page, Trouble,
    act::{self, Form},
    job::Done,
    page as framed, parts,
    sign_in::Viewer,
    words,
};
use crate::{error::Error, input::At, state::ApiState, tokens};

/// Rows of one page.
const MOST: i64 = 50;

/// Which tokens.
#[derive(Deserialize)]
pub(super) struct Wanted {
    /// Revoked ones too.
    all: Option<String>,
    before: Option<String>,
}

/// The page. For people of the house.
pub(super) async fn page(
    State(state): State<ApiState>,
    viewer: Viewer,
    Query(done): Query<Done>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Trouble> {
    viewer.of_the_house()?;
    let all = wanted.all.is_some();
    let before = wanted.before.and_then(|id| id.parse::<Id<id::Token>>().ok()).map(Id::uuid);
    let rows = sqlx::query!(
        r#"select id, tenant, name, scopes, created_at, expires_at, revoked_at, last_used_on,
            coalesce(expires_at <= safelight.now(), false) as "expired!" from safelight.tokens
        where ($1 or revoked_at is null) and ($2::uuid is null or id < $2) order by id desc limit $3"#,
        all,
        before,
        MOST
    )
    .fetch_all(&state.pool)
    .await?;
    let next = rows.get(MOST as usize - 1).map(|row| Id::<id::Token>::from(row.id));
    let body = html! {
        h1 { "Tokens" }
        (act::said(done.done.as_deref()))
        p.lead { "Made and replaced with " code { "safelight token" } ". Only hashes are stored." }
        section {
            h2 { @if all { "All" } @else { "Not revoked" } span.aside { "newest first" }
                @if all { a href="/console/tokens" { "Only those that are not revoked" } } @else { a href="/console/tokens?all=1" { "Revoked ones too" } } }
            (parts::listed("There are none.", "Tokens", &["name", "tenant", "may", "state", "made", "until", "last used", "token", ""], &rows, |row| html! {
                th scope="row" { (row.name) } td { (row.tenant.as_deref().unwrap_or("the house")) } td { (row.scopes.join(", ")) }
                td { (words::state(if row.revoked_at.is_some() { "revoked" } else if row.expired { "expired" } else { "valid" })) }
                td { (words::time(row.created_at)) } td { (words::maybe_time(row.revoked_at.or(row.expires_at))) }
                td { @match row.last_used_on { Some(day) => (day), None => span.none { "never" } } }
                td { code { (Id::<id::Token>::from(row.id)) } }
                td { @if row.revoked_at.is_none() { (button(&viewer, row.id.into(), &row.name)) } }
            }))
            @if let Some(next) = next { p.after { a href={ "/console/tokens?before=" (next) @if all { "&all=1" } } rel="next" { "Older" } } }
        }
    };
    Ok(framed("Tokens", Page::Tokens, &viewer, &body))
}

fn button(viewer: &Viewer, token: Id<id::Token>, name: &str) -> Markup {
    let own = viewer.token() == Some(token);
    let sentence = if own {
        "This session was opened with this token: you are signed out at once, and it opens nothing from now on."
    } else {
        "It opens nothing from now on: who holds it is refused, and consoles that it opened are closed."
    };
    act::button(viewer, &format!("/console/tokens/{token}/revoke"), "Revoke", name, &act::sure(sentence))
}

/// Revoke one, the session's own too: the next page is then the door. Nothing takes it back, so sent twice it is refused.
pub(super) async fn revoke(
    State(state): State<ApiState>,
    token: Result<At<id::Token>, Error>,
    form: Form,
) -> Result<Response, Trouble> {
    let At(token) = token?;
    form.viewer().of_the_house()?;
    let by = form.reason()?;
    form.confirmed()?;
    let mut tx = Tx::begin(&state.pool, &state.bell).await?;
    if !tokens::revoke_within(&mut tx, token).await? {
        return Err(Error::NotFound { what: format!("a token {token} that is not revoked") }.into());
    }
    queue::keep_act(&mut tx, "token.revoke", "revoked", &token.to_string(), by).await?;
    tx.commit().await?;
    Ok(act::done("/console/tokens", "revoked"))
}
