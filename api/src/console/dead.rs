//! Dead letters, counted by kind and code, with what may become of each group; the letters themselves are found under jobs.

use axum::{
    extract::{Path, Query, State},
    response::Response,
};
use maud::html;
use safelight_jobs::{
    job::Queue,
    operate::{self, AT_ONCE, Fate},
    queue::{self, Filter},
    registry,
    run::Tx,
};

use super::{
    Page, Trouble,
    act::{self, Form},
    job::Done,
    page as framed,
    sign_in::Viewer,
    words,
};
use crate::{error::Error, state::ApiState};

/// The page.
pub(super) async fn page(
    State(state): State<ApiState>,
    viewer: Viewer,
    Query(done): Query<Done>,
) -> Result<Response, Trouble> {
    let filter = Filter { tenant: viewer.tenant(), ..Filter::default() };
    let groups = queue::dead_letters(&state.pool, filter).await?;
    let now = sqlx::query_scalar!(r#"select safelight.now() as "now!""#).fetch_one(&state.pool).await?;
    let body = html! {
        h1 { "Dead letters" }
        (act::said(done.done.as_deref()))
        p.lead { "Jobs that gave up. Mend the cause, then redrive: they rise under their old ids, with all their attempts back. One act takes the oldest " (AT_ONCE) " of a group; \"Look at them\" leads to an act on all of it." }
        section aria-label="Groups" {
            @if groups.is_empty() { p.none { "There are none." } }
            @for group in &groups {
                article.group {
                    div.group-head {
                        strong.many { (words::many(group.count)) }
                        div { h2 { (words::said(&group.kind)) } p.small { code { (group.code) } " · first " (words::distance(now, group.oldest)) ", last " (words::distance(now, group.newest)) } }
                        a href={ "/console/jobs?state=dead&kind=" (group.kind) "&code=" (group.code) } { "Look at them" span.hidden { ": " (group.kind) " " (group.code) } }
                    }
                    div.acts {
                        @let hidden = html! { input type="hidden" name="kind" value=(group.kind); input type="hidden" name="code" value=(group.code); };
                        @let about = format!("{} {}, {}", group.count.min(AT_ONCE), words::said(&group.kind), words::said(&group.code));
                        (act::button(&viewer, "/console/dead/redrive", "Redrive", &about, &hidden))
                        @if registry::known(&group.kind).is_none_or(|known| known.effect != safelight_jobs::job::Effect::UntilVerified) {
                            (act::button(&viewer, "/console/dead/discard", "Discard", &about, &hidden))
                        }
                    }
                }
            }
        }
    };
    Ok(framed("Dead letters", Page::Dead, &viewer, &body))
}

/// Redrive or discard a group.
pub(super) async fn act(
    State(state): State<ApiState>,
    Path(fate): Path<String>,
    form: Form,
) -> Result<Response, Trouble> {
    let (fate, outcome) = match fate.as_str() {
        "redrive" => (Fate::Redrive, "redriven"),
        "discard" => (Fate::Discard, "discarded"),
        _ => return Err(Error::NoRoute.into()),
    };
    let filter = Filter { kind: form.field("kind"), code: form.field("code"), ..Filter::default() };
    let mut tx = Tx::begin(&state.pool, &state.bell).await?;
    let number = operate::on_dead_letters(&mut tx, fate, filter, false, form.operator()).await?;
    if fate == Fate::Redrive {
        Queue::ALL.into_iter().for_each(|queue| tx.ring(queue));
    }
    tx.commit().await?;
    Ok(act::done("/console/dead", &format!("{number}_{outcome}")))
}
