//! An intake with every door that there is (tokens, sign-ins of persons, an identity provider), and a look at everything it keeps.

use std::sync::Mutex;

use axum::http::StatusCode;
use safelight_api::{ApiConfig, ApiState, OperatorSignIn};
use safelight_jobs::{
    db::{self, Role},
    providers::{
        Secret,
        auth::{UserTokens, UserTokensConfig},
        oidc::{Oidc, OidcConfig},
    },
    queue::Bell,
};
use safelight_sandbox::oidc::{Oidc as Provider, OidcDescription};
use serde_json::Value;
use sqlx::AssertSqlSafe;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use super::PATIENCE;
use crate::app::App;

/// The way in at the identity provider.
pub(super) const SIGN_IN: &str = "/console/sign-in/oidc";

pub(super) struct House {
    pub(super) app: App,
    pub(super) url: String,
    pub(super) provider: Provider,
    http: reqwest::Client,
    everything: OnceCell<String>,
    /// As it was after the last request, where nothing changed since.
    kept: Mutex<Option<Vec<String>>>,
    stop: CancellationToken,
}

impl Drop for House {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Whose tokens are believed.
pub(super) fn project(url: &str) -> UserTokensConfig {
    UserTokensConfig { project_url: url.to_owned(), legacy_jwt_secret: None, issuer: None, timeout: PATIENCE }
}

/// What we are at the identity provider.
pub(super) fn client(known: &OidcDescription, issuer: &str) -> Oidc {
    Oidc::new(&OidcConfig {
        issuer: issuer.to_owned(),
        client_id: known.client_id.clone(),
        client_secret: Some(Secret::new(known.client_secret.as_str())),
        redirect_url: format!("https://jobs.example.com{SIGN_IN}"),
        groups_claim: "groups".to_owned(),
        scopes: vec!["groups".to_owned()],
        timeout: PATIENCE,
    })
    .expect("a client")
}

impl House {
    pub(super) async fn open() -> Self {
        let app = App::spawn().await;
        let provider = Provider::start().await.expect("a provider");
        // Its RSA key is slow in an unoptimised program.
        provider.rotate().expect("a key");
        let known = provider.description();
        let oidc = client(&known, &known.issuer);
        let operators = OperatorSignIn::new(oidc, vec!["ops".to_owned()], Vec::new()).expect("groups");
        let sign_in = UserTokens::new(&project(&app.sandbox.description().supabase.url)).expect("sign-ins");
        let pool = db::connect(app.database_url.as_str(), Role::Api, 6).await.expect("the intake");
        let config = ApiConfig { sweep_secret: Some(Secret::new(app.cron_secret.as_str())), ..ApiConfig::default() };
        let services = &app.services;
        let state = ApiState::new(
            pool,
            Bell::default(),
            services.vault.clone(),
            services.policies.clone(),
            services.storage.clone(),
            None,
            config,
        )
        .with_sign_in(Some(sign_in))
        .with_operators(Some(operators));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let stop = CancellationToken::new();
        tokio::spawn(safelight_api::serve(listener, safelight_api::router(state), stop.clone()));
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build();
        Self {
            app,
            url,
            provider,
            http: http.expect("a client"),
            everything: OnceCell::new(),
            kept: Mutex::default(),
            stop,
        }
    }

    /// Each table, how many rows it has, and a digest of them.
    pub(super) async fn keeps(&self) -> Vec<String> {
        let everything = self.everything.get_or_init(async || {
            let tables: Vec<String> = sqlx::query_scalar(
                "select format('%I.%I', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace
                where n.nspname in ('safelight', 'safelight_fiscal') and c.relkind = 'r'",
            )
            .fetch_all(&self.app.db)
            .await
            .expect("the tables");
            assert!(tables.len() > 25, "all tables are looked at");
            let digest = |table: &String| {
                format!("select '{table} ' || count(*) || ' ' || coalesce(md5(string_agg(t::text, ' ' order by t::text)), '') as d from {table} t")
            };
            let all: Vec<String> = tables.iter().map(digest).collect();
            format!("select array_agg(d order by d) from ({}) every", all.join(" union all "))
        });
        sqlx::query_scalar(AssertSqlSafe(everything.await.clone())).fetch_one(&self.app.db).await.expect("a digest")
    }

    /// Somebody else changed something.
    pub(super) fn changed(&self) {
        *self.kept.lock().expect("a lock") = None;
    }

    /// Send it. No answer is a fault of ours, and a refusal leaves everything as it was.
    pub(super) async fn send(&self, request: reqwest::RequestBuilder) -> (StatusCode, String) {
        let known = self.kept.lock().expect("a lock").take();
        let before = match known {
            Some(kept) => kept,
            None => self.keeps().await,
        };
        let (http, request) = request.build_split();
        let request = request.expect("a request");
        let what = format!("{} {}", request.method(), request.url().path());
        let answer = http.execute(request).await.expect("an answer");
        let (status, text) = (answer.status(), answer.text().await.expect("a text"));
        assert!(status.as_u16() < 500, "{what}: {status} {text}");
        if status.is_client_error() {
            let after = self.keeps().await;
            let changed: Vec<_> = before.iter().zip(&after).filter(|(before, after)| before != after).collect();
            assert!(changed.is_empty(), "{what} refused with {status} and changed something: {changed:?} {text}");
            *self.kept.lock().expect("a lock") = Some(after);
        }
        (status, text)
    }

    pub(super) fn to(&self, path: &str) -> reqwest::RequestBuilder {
        self.http.post(format!("{}{path}", self.url))
    }

    pub(super) fn from(&self, path: &str) -> reqwest::RequestBuilder {
        self.http.get(format!("{}{path}", self.url))
    }

    /// A JSON body. A refusal is a problem with a code.
    pub(super) async fn post(&self, path: &str, bearer: &str, body: Vec<u8>) -> StatusCode {
        let request = self.to(path).bearer_auth(bearer).header("content-type", "application/json").body(body);
        let (status, text) = self.send(request).await;
        if status.is_client_error() {
            let problem: Value = serde_json::from_str(&text).unwrap_or_default();
            assert!(problem["code"].as_str().is_some_and(|code| !code.is_empty()), "{path}: {status} {text}");
        }
        status
    }
}
