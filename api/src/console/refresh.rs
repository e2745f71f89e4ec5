//! Pages where something is under way show themselves again: a part that says so is asked for anew by a script of ours of some forty
//! lines, while somebody sees it (decision 0047). Without scripts everything works, by looking again oneself.
//!
//! Never: keeps a session alive that nobody uses, or lets a look at a person's case pass that no kept look stands for.

use axum::{
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use maud::{Markup, html};

use super::words;

/// Where the script lies.
pub(super) const ADDRESS: &str = "/console/refresh.js";
/// What the script sends, and no browser of its own.
const HEADER: &str = "safelight-refresh";
/// For how long a look that was kept stands for what the script shows of the same thing, in minutes.
pub(super) const ONE_LOOK: i32 = 5;

/// Does the script ask, and nobody press anything?
pub(super) fn asks(headers: &HeaderMap) -> bool {
    headers.contains_key(HEADER)
}

/// That a part of a page is shown again.
#[derive(Clone, Copy)]
pub(super) struct Again {
    /// How often, in seconds.
    pub(super) seconds: u32,
    /// As of when it is, by the database.
    pub(super) now: DateTime<Utc>,
}

/// A part of a page that is shown again; none: it is over, and stays as it is.
pub(super) fn part(again: Option<Again>, body: &Markup) -> Markup {
    html! {
        @if again.is_some() { p #stale role="status" hidden { "This page cannot be refreshed at the moment: what it shows is of the time below it." } }
        div #under-way data-refresh=[again.map(|again| again.seconds)] {
            (body)
            @if let Some(again) = again { p.as-of { "As of " (words::time(again.now)) ", refreshed by itself while nothing in it is open or selected." } }
        }
    }
}

/// The script.
pub(super) async fn script() -> Response {
    let headers = [(header::CONTENT_TYPE, "text/javascript; charset=utf-8"), (header::CACHE_CONTROL, "max-age=300")];
    (headers, include_str!("refresh.js")).into_response()
}
