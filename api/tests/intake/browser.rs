//! A person's browser before the console: it is signed in, opens pages, and presses buttons of them.

use axum::{
    body::Body,
    http::{Method, Request},
};
use safelight_api::tokens::Scope;

use crate::{
    console::{cookie, look, sign_in},
    house::{Answer, House},
};

/// A signed-in browser.
pub(crate) struct Browser<'a> {
    house: &'a House,
    cookie: String,
}

impl<'a> Browser<'a> {
    pub(crate) async fn of(house: &'a House, tenant: Option<&str>, scopes: &[Scope]) -> Self {
        let token = house.token(tenant, scopes).await;
        Self { house, cookie: cookie(&sign_in(house, &token).await) }
    }

    /// One that is signed in already.
    pub(crate) fn holding(house: &'a House, cookie: String) -> Self {
        Self { house, cookie }
    }

    pub(crate) async fn opens(&self, path: &str) -> Answer {
        look(self.house, path, &self.cookie).await
    }

    /// What a form of a page carries.
    pub(crate) async fn csrf(&self, path: &str) -> String {
        let page = self.opens(path).await.text;
        page.split("name=\"csrf\" value=\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next())
            .unwrap_or_default()
            .to_owned()
    }

    pub(crate) async fn sends(&self, path: &str, body: &str, site: &str) -> Answer {
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header("cookie", &self.cookie)
            .header("content-type", "application/x-www-form-urlencoded")
            .header("sec-fetch-site", site)
            .body(Body::from(body.to_owned()))
            .expect("a request");
        self.house.send(request).await
    }

    /// Press a button of this page, with a reason.
    pub(crate) async fn presses(&self, page: &str, path: &str, more: &str) -> Answer {
        let csrf = self.csrf(page).await;
        assert_eq!(csrf.len(), 64, "{page} has a form");
        self.sends(path, &format!("csrf={csrf}&why=asked+for{more}"), "same-origin").await
    }
}
