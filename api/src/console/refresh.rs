//! Pages where something is under way show themselves again: a part that says so is asked for anew by a script of ours of some forty
//! lines, while somebody sees it (decision 0047). Without scripts everything works, by looking again oneself.
//!
//! Never: keeps a session alive that nobody uses, or lets a look at a person's case pass that no kept look stands for.

use axum::{
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use maud::{Markup, html};

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

/// A part of a page that is shown again every so many seconds; none: it is over, and stays as it is.
pub(super) fn part(seconds: Option<u32>, body: &Markup) -> Markup {
    html! { div #under-way data-refresh=[seconds] { (body) } }
}

/// The script.
pub(super) async fn script() -> Response {
    let headers = [(header::CONTENT_TYPE, "text/javascript; charset=utf-8"), (header::CACHE_CONTROL, "max-age=300")];
    (headers, include_str!("refresh.js")).into_response()
}
