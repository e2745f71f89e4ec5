//! Acting from a page: a form that says why, and the reading of it. Who may only look is refused before anything is read; a
//! form that no page of this session made is refused before anything is done.

use std::collections::BTreeMap;

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Request},
    response::{IntoResponse, Redirect, Response},
};
use maud::{Markup, html};
use safelight_jobs::{
    id::{Id, Kind},
    intake::is_code,
    operate::{self, Operator},
    queue::By,
    sweeps::Sweep,
};
use subtle::ConstantTimeEq;

use super::{
    Trouble,
    sign_in::{Viewer, is_ours},
    words,
};
use crate::{error::Error, input, state::ApiState};

/// A form that an operator sent from a page of this session.
pub(super) struct Form {
    viewer: Viewer,
    fields: BTreeMap<String, String>,
}

impl Form {
    /// A field, if it was filled in.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// A number, if one was filled in.
    pub(super) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Error> {
        let Some(text) = self.field(name) else { return Ok(None) };
        let why = || Error::Invalid { code: "control_impossible", why: format!("`{name}` is not a number") };
        text.parse().map(Some).map_err(|_| why())
    }

    /// Was this ticked? Nothing that cannot be taken back is done otherwise.
    pub(super) fn confirmed(&self) -> Result<(), Error> {
        let why = || "tick that this is meant: it cannot be taken back".to_owned();
        self.field(SURE).map(|_| ()).ok_or_else(|| Error::BadBody { why: why() })
    }

    /// Was this typed, letter by letter? For what cannot be taken back and is about one thing among many that look alike.
    pub(super) fn typed(&self, what: &str) -> Result<(), Error> {
        let why = || format!("type {what} to say that this is meant: it cannot be taken back");
        (self.field(TYPED) == Some(what)).then_some(()).ok_or_else(|| Error::BadBody { why: why() })
    }

    /// An id, which must be there.
    pub(super) fn id<K: Kind>(&self, name: &str) -> Result<Id<K>, Error> {
        let none = || Error::BadBody { why: format!("`{name}` is missing, or is none") };
        self.field(name).and_then(|id| id.parse().ok()).ok_or_else(none)
    }

    /// Who acts, with a reason that may be stored: asked of a form before anything else, where the act itself asks for none.
    pub(super) fn reason(&self) -> Result<By<'_>, Error> {
        Ok(operate::said(self.operator())?)
    }

    /// The reason as a code, for what is kept in books and in the audit log, where free text would hold names sooner or later.
    pub(super) fn code(&self) -> Result<&str, Error> {
        let By { why, .. } = self.reason()?;
        let is_none = || Error::Invalid {
            code: "not_a_code",
            why: "`why` is a code of 3 to 64 small letters, digits and underscores, without names".to_owned(),
        };
        is_code(why).then_some(why).ok_or_else(is_none)
    }

    /// Whose session it is.
    pub(super) fn viewer(&self) -> &Viewer {
        &self.viewer
    }

    /// Who acts, and why. An empty reason is refused by the act itself.
    pub(super) fn operator(&self) -> Operator<'_> {
        self.viewer.operator(self.field("why").unwrap_or_default())
    }
}

impl FromRequest<ApiState> for Form {
    type Rejection = Trouble;
    async fn from_request(request: Request, state: &ApiState) -> Result<Self, Trouble> {
        let (mut parts, body) = request.into_parts();
        let viewer = Viewer::from_request_parts(&mut parts, state).await?;
        if !viewer.operates() {
            return Err(Error::Scope { needs: "operate" }.into());
        }
        let ours = is_ours(&parts.headers);
        let body = Bytes::from_request(Request::from_parts(parts, body), state).await.map_err(input::broken)?;
        let fields: BTreeMap<String, String> = url::form_urlencoded::parse(&body).into_owned().collect();
        let carried = fields.get("csrf").map_or("", String::as_str);
        if !ours || !bool::from(carried.as_bytes().ct_eq(viewer.csrf().as_bytes())) {
            return Err(Error::FormForeign.into());
        }
        Ok(Self { viewer, fields })
    }
}

/// The name of the field that says that something is meant.
const SURE: &str = "sure";

/// What cannot be taken back is ticked first: [`Form::confirmed`].
pub(super) fn sure(what: &str) -> Markup {
    html! { label.sure { input type="checkbox" name=(SURE) value="yes" required; span { (what) } } }
}

/// The name of the field that says which thing is meant.
const TYPED: &str = "typed";

/// What cannot be taken back and is about this one is typed first: [`Form::typed`].
pub(super) fn typed(what: &str) -> Markup {
    html! { label { span { "Type " code { (what) } " to say that it is meant" }
    input name=(TYPED) type="text" required pattern=(what) autocapitalize="none" spellcheck="false"; } }
}

/// Words to choose from, as codes; none is chosen yet.
pub(super) fn choice(name: &str, label: &str, codes: &[impl AsRef<str>]) -> Markup {
    html! { label { (label) select name=(name) required {
        option value="" { "–" }
        @for code in codes { option value=(code.as_ref()) { (words::said(code.as_ref())) } }
    } } }
}

/// A button that opens a form with a reason; nothing for who may only look. Works without scripts and by keyboard.
pub(super) fn button(viewer: &Viewer, action: &str, label: &str, about: &str, more: &Markup) -> Markup {
    let why = html! { label { "Why" input name="why" type="text" required maxlength="200"; } };
    opens(viewer, action, label, about, &html! { (more) (why) })
}

/// The same with a reason that is a code: [`Form::code`].
pub(super) fn coded(viewer: &Viewer, action: &str, label: &str, about: &str, more: &Markup) -> Markup {
    let why = html! { label { span { "Why, as a code such as " code { "support_says_so" } ", without names" }
    input name="why" type="text" required pattern="[a-z0-9_]{3,64}" title="3 to 64 small letters, digits and underscores" autocapitalize="none" spellcheck="false"; } };
    opens(viewer, action, label, about, &html! { (more) (why) })
}

fn opens(viewer: &Viewer, action: &str, label: &str, about: &str, fields: &Markup) -> Markup {
    html! {
        @if viewer.operates() {
            details.act {
                summary aria-label={ (label) " " (about) } { (label) }
                form method="post" action=(action) {
                    input type="hidden" name="csrf" value=(viewer.csrf());
                    (fields)
                    button type="submit" { (label) " " span.about { (about) } }
                }
            }
        }
    }
}

/// What a form may have done, as its page says it afterwards; with those of [`is_outcome`] there are no others.
const OUTCOMES: &[&str] = &[
    "answered",
    "asked_for",
    "breaker_closed",
    "cancelled",
    "case_opened",
    "discarded",
    "extended",
    "held",
    "its_deletion_has_begun",
    "limit_stored",
    "noted_and_to_be_decided",
    "nothing_it_is_being_made",
    "nothing_it_was_upheld_before",
    "nothing_its_outcome_is_known",
    "overridden",
    "overridden_and_restricted_as_before",
    "paused",
    "rate_stored",
    "refund_asked_for",
    "refused",
    "released",
    "restricted",
    "resumed",
    "retried",
    "revoked",
    "the_erasure_has_begun",
    "upheld",
    "upheld_and_restricted_as_before",
    "verified",
    "verified_and_its_erasure_has_begun",
];

/// Is it one of ours: of the list, so many dead letters, or a sweep that was started?
fn is_outcome(word: &str) -> bool {
    let number = |many: &str| (1..=4).contains(&many.len()) && many.bytes().all(|b| b.is_ascii_digit());
    let many = ["_redriven", "_discarded"].iter().find_map(|fate| word.strip_suffix(fate));
    let sweep = word.strip_suffix("_started");
    OUTCOMES.contains(&word) || many.is_some_and(number) || sweep.is_some_and(|name| Sweep::named(name).is_some())
}

/// Back to a page, which says what was done. A word that is not on the list is not said.
pub(super) fn done(page: &str, outcome: &str) -> Response {
    let says = if is_outcome(outcome) { format!("?done={outcome}") } else { String::new() };
    Redirect::to(&format!("{page}{says}")).into_response()
}

/// What was done a moment ago, as the address says it. An address may come from a stranger: it says what we say, or nothing.
pub(super) fn said(done: Option<&str>) -> Markup {
    let word = done.filter(|word| is_outcome(word));
    html! { @if let Some(word) = word { p.done role="status" { "Done: " (words::said(word)) "." } } }
}
