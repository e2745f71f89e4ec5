//! Tokens of the intake: which hold, what they may do. Made and revoked on the command line only: the intake's role can make none.

use axum::{extract::State, response::Response};
use maud::html;
use safelight_jobs::id::{self, Id};

use super::{Page, Trouble, page as framed, sign_in::Viewer, words};
use crate::state::ApiState;

/// The page. For people of the house.
pub(super) async fn page(State(state): State<ApiState>, viewer: Viewer) -> Result<Response, Trouble> {
    viewer.of_the_house()?;
    let rows = sqlx::query!(
        r#"select id, tenant, name, scopes, created_at, expires_at, revoked_at,
            coalesce(expires_at <= safelight.now(), false) as "expired!" from safelight.tokens
        order by revoked_at is not null, created_at desc, id limit 500"#
    )
    .fetch_all(&state.pool)
    .await?;
    let body = html! {
        h1 { "Tokens" }
        p.lead { "Made, replaced and revoked with " code { "safelight token" } ". Only hashes are stored." }
        section {
            @if rows.is_empty() { p.none { "There are none." } } @else { div.scroll tabindex="0" role="region" aria-label="Tokens" { table {
                thead { tr { th scope="col" { "name" } th scope="col" { "tenant" } th scope="col" { "may" } th scope="col" { "state" } th scope="col" { "made" } th scope="col" { "until" } th scope="col" { "token" } } }
                tbody { @for row in &rows { tr {
                    th scope="row" { (row.name) } td { (row.tenant.as_deref().unwrap_or("the house")) } td { (row.scopes.join(", ")) }
                    td { (words::state(if row.revoked_at.is_some() { "revoked" } else if row.expired { "expired" } else { "valid" })) }
                    td { (words::time(row.created_at)) } td { (words::maybe_time(row.revoked_at.or(row.expires_at))) }
                    td { code { (Id::<id::Token>::from(row.id)) } }
                } } }
            } } }
        }
    };
    Ok(framed("Tokens", Page::Tokens, &viewer, &body))
}
