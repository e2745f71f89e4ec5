//! Ways: addresses of the console that an answer leads to because a request named them, after a sign-in and back from an error.
//!
//! Never: an address that is not one of the console's own pages, as a browser reads it; nor the door itself.

use std::fmt;

use axum::http::{HeaderMap, Uri, header};

use super::Page;

/// The longest address that is carried, in bytes: the longest search has half of it.
const LONGEST: usize = 1000;
/// The longest word of a search, in bytes: the place of a list's later page. No token is as short.
const LONGEST_WORD: usize = 64;
/// What shows or takes sessions: a way there would lead nowhere.
const DOORS: [&str; 2] = ["/console/sign-in", "/console/sign-out"];

/// An address that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Way(String);

impl Way {
    /// The first page.
    pub(super) fn first() -> Self {
        Self("/console".to_owned())
    }

    /// A text of a stranger's, if it is an address of a page of ours and can be read as nothing else. What browsers take for
    /// another address, or quietly mend, is none: no page of ours has a dot, a percent or two slashes in its path.
    pub(super) fn checked(text: &str) -> Option<Self> {
        let (path, query) = text.split_once('?').unwrap_or((text, ""));
        let is_of = |root: &str| path == root || path.strip_prefix(root).is_some_and(|rest| rest.starts_with('/'));
        let plain = path.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'_' | b'-'));
        let fits = text.len() <= LONGEST && !path.contains("//") && query.split('&').all(narrows);
        (is_of("/console") && !DOORS.into_iter().any(is_of) && plain && fits).then(|| Self(text.to_owned()))
    }

    /// The address of a request, without what does not narrow a search; what was done a moment ago is not said again.
    pub(super) fn of(address: &Uri) -> Option<Self> {
        let query = address.query().unwrap_or_default().split('&');
        let words: Vec<&str> =
            query.filter(|word| !word.is_empty() && narrows(word) && !word.starts_with("done=")).collect();
        let mark = if words.is_empty() { "" } else { "?" };
        Self::checked(&format!("{}{mark}{}", address.path(), words.join("&")))
    }

    /// Is this path one of the console's?
    pub(super) fn is_ours(path: &str) -> bool {
        path == "/console" || path.starts_with("/console/")
    }

    /// The page of ours on which somebody pressed what they sent, as the browser says.
    pub(super) fn came_from(headers: &HeaderMap) -> Option<Self> {
        let said = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let before: Uri = said(header::REFERER.as_str())?.parse().ok()?;
        let ours = match said("sec-fetch-site") {
            Some(site) => site == "same-origin",
            None => before.authority().map(axum::http::uri::Authority::as_str) == said(header::HOST.as_str()),
        };
        if ours { Self::of(&before) } else { None }
    }

    /// The page of the thing that this address is about: what an act on a job was sent to stands under that job.
    pub(super) fn thing_of(path: &str) -> Option<Self> {
        let mut steps = path.strip_prefix("/console/")?.split('/');
        let (list, thing) = (steps.next()?, steps.next()?);
        let is_id = |hex: &str| hex.len() == 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        thing.split_once('_').filter(|(_, hex)| is_id(hex))?;
        Self::checked(&format!("/console/{list}/{thing}"))
    }

    /// The list that this address stands under, with its name.
    pub(super) fn list_of(path: &str, house: bool) -> (Self, &'static str) {
        let path = if path.starts_with("/console/breakers/") { "/console/controls" } else { path };
        let stands_under = |address: &str| path.strip_prefix(address).is_some_and(|rest| rest.starts_with('/'));
        let above = Page::ALL.iter().skip(1).find(|(_, address, _, of_the_house)| {
            (house || !of_the_house) && (stands_under(address) || path == *address)
        });
        above.map_or((Self::first(), "Overview"), |(_, address, name, _)| (Self((*address).to_owned()), name))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A word behind the `?` that a search or a later page of a list could have: a code, an id, a time, a place. No secret, no mail
/// address and no other address fits in; they are not carried on, wherever they come from.
fn narrows(word: &str) -> bool {
    let plain = |text: &str, more: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c));
    // As the text stands, and as it is read.
    plain(word, "_.:-=+%")
        && url::form_urlencoded::parse(word.as_bytes()).all(|(name, value)| {
            plain(&name, "_") && plain(&value, "_.:- ") && value.len() <= LONGEST_WORD && !value.contains("slt_")
        })
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_a_page_of_ours_is_a_way_to_it() {
        for good in [
            "/console",
            "/console?x=1",
            "/console/jobs",
            "/console/jobs/job_0192a8f2e6c5d7b1290f3a4b5c6d7e8f",
            "/console/jobs?state=dead&kind=train_model&from=2026-11-26T21%3A00&code=mail+refused&tenant=&before=job_1",
            "/console/orders/order_1?jobs_after=1790000000123456.019a8f2e-6c5d-7b12-90f3-a4b5c6d7e8f9",
        ] {
            assert_eq!(Way::checked(good).map(|way| way.to_string()).as_deref(), Some(good));
        }
    }

    #[test]
    fn nothing_else_is_a_way_anywhere() {
        let long = format!("/console/jobs?code={}", "x".repeat(LONGEST_WORD + 1));
        let many = format!("/console/jobs?{}", "code=x&".repeat(LONGEST / 7));
        for bad in [
            "",
            "/",
            "//evil.example",
            "///evil.example/console",
            "/\\evil.example",
            "\\\\evil.example",
            "https://evil.example/console",
            "https:/console",
            "javascript:alert(1)",
            "data:text/html,x",
            "console",
            "evil.example/console",
            "/consoles",
            "/console.evil.example",
            "/console@evil.example",
            "/console:80",
            "/Console/jobs",
            "/v1/jobs",
            "/docs",
            "/console//evil.example",
            "/console//evil",
            "/console/jobs//",
            "/console/../v1/jobs",
            "/console/..",
            "/console/./jobs",
            "/console/%2e%2e/v1",
            "/console/%2f/evil.example",
            "/console\\..\\..\\evil",
            "/console/jobs\\",
            "/console/jobs?x=\\evil",
            "/console/jobs?next=//evil.example",
            "/console/jobs?next=%2F%2Fevil.example",
            "/console/jobs?id=ann%40example.org",
            "/console/jobs?id=ann@example.org",
            "/console/jobs?token=slt_1",
            "/console/jobs?javascript:x=1",
            "/console/jobs?token=s%6ct_1",
            "/console/jobs?x=%0d%0alocation:x",
            "/console/jobs?x=%5cevil",
            "/console/jobs?x=%e2%80%ae",
            "/console/jobs?next=https://evil.example",
            "/console/jobs#x",
            "/console/jobs?x#y",
            "/console/jobs\r\nlocation: https://evil.example",
            "/console/jobs?x=\r\nset-cookie: a=b",
            "/console/jobs\t",
            "\t/console",
            " /console/jobs",
            "/console/jobs ",
            "/console/jobs?x=a b",
            "/console/jobs?x=\u{0}",
            "/console/jöbs",
            "/console/jobs?x=\u{202e}",
            "/console/sign-in",
            "/console/sign-in?to=/console",
            "/console/sign-in/oidc",
            "/console/sign-in/oidc?code=1&state=2",
            "/console/sign-out",
            "/console/sign-out?x",
            &long,
            &many,
        ] {
            assert_eq!(Way::checked(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn what_was_done_a_moment_ago_and_what_narrows_nothing_are_not_part_of_a_way() {
        let of = |text: &'static str| Way::of(&Uri::from_static(text)).map(|way| way.to_string());
        assert_eq!(of("/console/controls?done=paused").as_deref(), Some("/console/controls"));
        assert_eq!(of("/console/jobs?kind=x&done=held&state=dead").as_deref(), Some("/console/jobs?kind=x&state=dead"));
        assert_eq!(
            of("/console/jobs?id=ann%40example.org&token=slt_1&kind=x").as_deref(),
            Some("/console/jobs?kind=x")
        );
    }

    #[test]
    fn only_a_page_of_ours_is_where_somebody_came_from() {
        let from = |pairs: &[(&'static str, &'static str)]| {
            let headers = pairs
                .iter()
                .map(|(name, value)| (header::HeaderName::from_static(name), header::HeaderValue::from_static(value)));
            Way::came_from(&headers.collect()).map(|way| way.to_string())
        };
        let page = "https://jobs.example.com/console/orders?state=paid&done=x";
        let found = Some("/console/orders?state=paid".to_owned());
        assert_eq!(from(&[("referer", page), ("sec-fetch-site", "same-origin")]), found);
        assert_eq!(from(&[("referer", page), ("host", "jobs.example.com")]), found);
        for other in [
            &[("referer", page)][..],
            &[("referer", page), ("sec-fetch-site", "cross-site"), ("host", "jobs.example.com")],
            &[("referer", page), ("host", "evil.example")],
            &[("referer", "https://jobs.example.com/docs"), ("sec-fetch-site", "same-origin")],
            &[("referer", "https://jobs.example.com/console/sign-in?to=x"), ("sec-fetch-site", "same-origin")],
            &[("referer", "x y"), ("sec-fetch-site", "same-origin")],
            &[("sec-fetch-site", "same-origin")],
        ] {
            assert_eq!(from(other), None, "{other:?}");
        }
    }

    #[test]
    fn what_a_form_was_sent_to_stands_under_a_page() {
        let job = "/console/jobs/job_0192a8f2e6c5d7b1290f3a4b5c6d7e8f";
        assert_eq!(Way::thing_of(&format!("{job}/cancel")).map(|way| way.to_string()).as_deref(), Some(job));
        assert_eq!(Way::thing_of("/console/schedules/sweep_retention"), None);
        for (path, list) in [
            ("/console/schedules/sweep_retention", "/console/schedules"),
            ("/console/dead/redrive", "/console/dead"),
            ("/console/breakers/fal/close", "/console/controls"),
            ("/console/orders/order_1", "/console/orders"),
            ("/console/find", "/console"),
            ("/console", "/console"),
        ] {
            assert_eq!(Way::list_of(path, true).0.as_str(), list);
        }
        assert_eq!(Way::list_of("/console/schedules/sweep_retention", false).0.as_str(), "/console");
    }
}
