//! Addresses and headers, each with what opens the door, so that the parser behind it is reached.

use std::collections::BTreeSet;

use axum::http::StatusCode;
use safelight_api::tokens::{self, Scope};
use safelight_jobs::{id, id::Id, sweep_retention::SweepRetention};

use super::{each_asked, near};
use crate::{app::App, complaints::signs_in};

/// Asks by hand: a client would correct what it sends.
struct Asker {
    address: String,
    bearer: String,
    session: String,
}

impl Asker {
    async fn at(app: &App) -> Self {
        let operator = tokens::create(&app.db, None, "ops", &[Scope::Operate]).await.unwrap();
        let cookie = signs_in(app, operator.expose()).await;
        Self {
            address: app.url.trim_start_matches("http://").to_owned(),
            bearer: format!("authorization: Bearer {}", app.token("koselfie").await),
            session: format!("cookie: {cookie}"),
        }
    }

    /// The status that is answered; 0 where the connection just ends, which HTTP allows for what is no HTTP.
    async fn asks(&self, head: &[u8], opens: &str, body: &[u8]) -> u16 {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let rest = format!(
            "\r\nhost: near\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{opens}\r\n\r\n",
            body.len()
        );
        let mut connection = tokio::net::TcpStream::connect(&self.address).await.expect("a connection");
        let _ = connection.write_all(&[head, rest.as_bytes(), body].concat()).await;
        let _ = connection.shutdown().await;
        let mut answer = Vec::new();
        let _ = connection.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer);
        let status = answer.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
        assert!(status < 500, "{}: {answer}", String::from_utf8_lossy(head));
        status
    }
}

/// Who opens an address.
#[derive(Debug, Clone, Copy)]
enum Opens {
    Backend,
    Operator,
    Cron,
    /// The person whom it is about.
    Own,
    Session,
}

const ADDRESSES: &[(&str, Opens)] = &[
    ("/sweeps/retention", Opens::Cron),
    ("/v1/bulk-acts?limit=5&cursor=bulk_019a8f2e6c5d7b1290f3a4b5c6d7e8f9", Opens::Backend),
    ("/v1/bulk-acts/preview?act=hold&kind=train_model&queue=training&from=2026-01-01T00:00:00Z", Opens::Operator),
    ("/v1/bulk-acts/bulk_019a8f2e6c5d7b1290f3a4b5c6d7e8f9", Opens::Backend),
    ("/v1/controls", Opens::Operator),
    ("/v1/dead-letters?kind=train_model&code=spent&tenant=koselfie", Opens::Backend),
    ("/v1/batches/batch_019a8f2e6c5d7b1290f3a4b5c6d7e8f9", Opens::Backend),
    (
        "/v1/deletions?subject={subject}&state=open&cursor=deletion_019a8f2e6c5d7b1290f3a4b5c6d7e8f9&limit=5",
        Opens::Backend,
    ),
    ("/v1/deletions/deletion_019a8f2e6c5d7b1290f3a4b5c6d7e8f9", Opens::Backend),
    ("/v1/deletions/deletion_019a8f2e6c5d7b1290f3a4b5c6d7e8f9/certificate", Opens::Operator),
    ("/v1/deletions/deletion_019a8f2e6c5d7b1290f3a4b5c6d7e8f9/certificate.html", Opens::Operator),
    ("/v1/jobs/job_019a8f2e6c5d7b1290f3a4b5c6d7e8f9?wait=0", Opens::Backend),
    ("/v1/jobs/kinds", Opens::Backend),
    (
        "/v1/jobs?kind=train_model&state=ready&queue=training&code=spent&from=2026-01-01T00:00:00Z&until=2027-01-01T00:00:00Z&limit=5",
        Opens::Backend,
    ),
    ("/v1/me", Opens::Own),
    ("/v1/me/exports/artifact_019a8f2e6c5d7b1290f3a4b5c6d7e8f9", Opens::Own),
    // Of an order that is there.
    ("/v1/orders/{order}?wait=0", Opens::Backend),
    ("/v1/orders/order_019a8f2e6c5d7b1290f3a4b5c6d7e8f9/events", Opens::Backend),
    ("/v1/orders?subject={subject}&state=paid&cursor=order_019a8f2e6c5d7b1290f3a4b5c6d7e8f9&limit=5", Opens::Backend),
    ("/v1/schedules", Opens::Operator),
    ("/v1/subjects/{subject}", Opens::Backend),
    ("/v1/subjects/{subject}/consents?cursor=grant_019a8f2e6c5d7b1290f3a4b5c6d7e8f9&limit=5", Opens::Backend),
    ("/v1/subjects/{subject}/exports/artifact_019a8f2e6c5d7b1290f3a4b5c6d7e8f9", Opens::Backend),
    ("/v1/subjects/{subject}/images/artifact_019a8f2e6c5d7b1290f3a4b5c6d7e8f9", Opens::Backend),
    ("/console", Opens::Session),
    ("/console/queues", Opens::Session),
    (
        "/console/jobs?state=ready&kind=train_model&queue=training&tenant=koselfie&code=spent&from=2026-01-01T00:00&until=&before=",
        Opens::Session,
    ),
    ("/console/jobs?id=order_019a8f2e6c5d7b1290f3a4b5c6d7e8f9", Opens::Session),
    (
        "/console/jobs/{job}?attempts_before=1790000000123456.019a8f2e6c5d7b1290f3a4b5c6d7e8f9&acts_before=019a8f2e-6c5d-7b12-90f3-a4b5c6d7e8f9",
        Opens::Session,
    ),
    (
        "/console/jobs/{job}?calls_after=1790000000123456.019a8f2e6c5d7b1290f3a4b5c6d7e8f9&entries_after=12",
        Opens::Session,
    ),
    ("/console/bulk?before=bulk_019a8f2e6c5d7b1290f3a4b5c6d7e8f9", Opens::Session),
    ("/console/bulk/bulk_019a8f2e6c5d7b1290f3a4b5c6d7e8f9", Opens::Session),
    ("/console/bulk/preview?act=hold&kind=train_model&queue=training&from=2026-01-01T00:00", Opens::Session),
    ("/console/orders?state=paid&problem=work_died&tenant=koselfie&before=", Opens::Session),
    ("/console/orders?money_after=1790000000123456.019a8f2e6c5d7b1290f3a4b5c6d7e8f9", Opens::Session),
    (
        "/console/orders/{order}?entries_after=12&jobs_after=1790000000123456.019a8f2e6c5d7b1290f3a4b5c6d7e8f9",
        Opens::Session,
    ),
    ("/console/deletions?before=deletion_019a8f2e6c5d7b1290f3a4b5c6d7e8f9", Opens::Session),
    ("/console/deletions/deletion_019a8f2e6c5d7b1290f3a4b5c6d7e8f9", Opens::Session),
    ("/console/deletions/deletion_019a8f2e6c5d7b1290f3a4b5c6d7e8f9/certificate", Opens::Session),
    ("/console/audit?before=019a8f2e-6c5d-7b12-90f3-a4b5c6d7e8f9&entries_before=12", Opens::Session),
    ("/console/cases?all=1&cases_after=1790000000123456.019a8f2e6c5d7b1290f3a4b5c6d7e8f9", Opens::Session),
    (
        "/console/cases?objections_after=1790000000123456.019a8f2e6c5d7b1290f3a4b5c6d7e8f9&exports_before=1790000000123456.019a8f2e6c5d7b1290f3a4b5c6d7e8f9",
        Opens::Session,
    ),
    ("/console/dead?done=2_redriven", Opens::Session),
    ("/console/find?id=job_019a8f2e6c5d7b1290f3a4b5c6d7e8f9", Opens::Session),
    (
        "/console/subjects/{subject}?consents_before=12&cases_before=1790000000123456.019a8f2e6c5d7b1290f3a4b5c6d7e8f9&orders_before=order_019a8f2e6c5d7b1290f3a4b5c6d7e8f9",
        Opens::Session,
    ),
    ("/console/providers?said=job_019a8f2e6c5d7b1290f3a4b5c6d7e8f9", Opens::Session),
    ("/console/providers?calls_after=unknown.1790000000123456.019a8f2e6c5d7b1290f3a4b5c6d7e8f9", Opens::Session),
    ("/console/sweeps?before=019a8f2e-6c5d-7b12-90f3-a4b5c6d7e8f9", Opens::Session),
    (
        "/console/findings?another_after=12&money_after=1790000000123456.019a8f2e6c5d7b1290f3a4b5c6d7e8f9&objects_after=x&rules_after=",
        Opens::Session,
    ),
    ("/console/orders/late?after=1790000000123456.019a8f2e6c5d7b1290f3a4b5c6d7e8f9", Opens::Session),
    ("/console/policies", Opens::Session),
    ("/console/controls?done=paused", Opens::Session),
    ("/console/schedules?done=paused", Opens::Session),
    ("/console/workers?after=silent.host-1", Opens::Session),
    ("/console/tokens?all=1&before=token_019a8f2e6c5d7b1290f3a4b5c6d7e8f9", Opens::Session),
    ("/console/sign-in", Opens::Session),
    ("/console/sign-in/oidc?code=abc&state=def", Opens::Session),
];

/// Answer to whoever asks, and read nothing of the address.
const READ_NOTHING: &[&str] = &["/health", "/ready", "/metrics", "/console/style.css"];

/// Every address that can be asked for: as the description has it, and as the console's own list does.
fn asked_for() -> BTreeSet<String> {
    let document = serde_json::to_value(safelight_api::openapi()).expect("a document");
    let paths = document["paths"].as_object().expect("paths").iter();
    let described = paths.filter(|(_, methods)| methods["get"].is_object()).map(|(path, _)| path.clone());
    let routes = include_str!("../../../api/src/console/mod.rs").split(".route(\"").skip(1);
    let of_the_console = routes.filter_map(|route| {
        let route = route.split("\n        .").next()?;
        route.contains("get(").then(|| route.split('"').next().unwrap_or_default().to_owned())
    });
    described.chain(of_the_console).filter(|path| !READ_NOTHING.contains(&path.as_str())).collect()
}

/// Is this one of those? What stands in braces is anything.
fn is_of(pattern: &str, address: &str) -> bool {
    let path = address.split('?').next().unwrap_or_default();
    let (pattern, path): (Vec<_>, Vec<_>) = (pattern.split('/').collect(), path.split('/').collect());
    pattern.len() == path.len()
        && pattern.iter().zip(path).all(|(wanted, one)| wanted.starts_with('{') || *wanted == one)
}

#[test]
fn no_address_is_missing_from_the_list() {
    let missing: Vec<String> = asked_for()
        .into_iter()
        .filter(|pattern| !ADDRESSES.iter().any(|(address, _)| is_of(pattern, address)))
        .collect();
    assert!(missing.is_empty(), "each has an address here: {missing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_near_good_ones_are_answered() {
    let app = App::spawn().await;
    let (ann, order) = app.pro_order().await;
    let job = Id::<id::Job>::from(app.wants(&SweepRetention { because: "near".to_owned() }).await);
    let asker = Asker::at(&app).await;
    let operator = tokens::create(&app.db, None, "ops", &[Scope::Operate, Scope::Audit]).await.unwrap();
    let some = "0192a8f2e6c5d7b1290f3a4b5c6d7e8f";
    for (address, opens) in ADDRESSES {
        let filled = address.replace("{order}", &order.to_string()).replace("{subject}", &ann.id.to_string());
        let path = filled.replace("{job}", &job.to_string());
        let opens = match opens {
            Opens::Backend => asker.bearer.clone(),
            Opens::Operator => format!("authorization: Bearer {}\r\nsafelight-why: on call", operator.expose()),
            Opens::Cron => format!("authorization: Bearer {}", app.cron_secret),
            // Somebody new each time: a person has few requests a minute.
            Opens::Own => {
                let own = app.person("koselfie").await;
                let sign_in = app.sandbox.supabase.mint_user_jwt(own.auth_user, &own.email).expect("a sign-in");
                format!("authorization: Bearer {sign_in}")
            }
            Opens::Session => asker.session.clone(),
        };
        let open = asker.asks(format!("GET {path} HTTP/1.1").as_bytes(), &opens, b"").await;
        assert!(!matches!(open, 400..=403 | 405..), "{path} is there: {open}");
        each_asked(near(vec![path.as_bytes().to_vec(), path.replace("019a8f2e", some).into_bytes()]), 40, |bytes| {
            let line: Vec<u8> = bytes.into_iter().filter(|byte| !matches!(byte, b'\r' | b'\n' | b' ')).collect();
            let (asker, opens) = (&asker, &opens);
            async move {
                asker.asks(&[b"GET ", &line[..], b" HTTP/1.1"].concat(), opens, b"").await;
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_near_good_ones_are_answered() {
    let app = App::spawn().await;
    let (_ann, order) = app.pro_order().await;
    let asker = Asker::at(&app).await;
    let look = format!("GET /v1/orders/{order}?wait=0 HTTP/1.1");
    let (bearer, session) = (asker.bearer.as_str(), asker.session.as_str());
    let headers = [
        (look.as_str(), bearer, "", &b""[..]),
        (&look, "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", bearer, b""),
        (&look, "if-none-match: \"0123\"", bearer, b""),
        (&look, "x-request-id: abc", bearer, b""),
        (&look, "safelight-why: on call", bearer, b""),
        ("POST /v1/subjects HTTP/1.1", "idempotency-key: abc", bearer, br#"{"email": "ann@mail.example"}"#),
        ("GET /console/jobs HTTP/1.1", session, "", b""),
    ];
    for (line, header, opens, body) in headers {
        assert_ne!(
            asker.asks(format!("{line}\r\n{header}").as_bytes(), opens, body).await,
            StatusCode::UNAUTHORIZED.as_u16()
        );
        each_asked(near(vec![header.as_bytes().to_vec()]), 80, |bytes| {
            let asker = &asker;
            async move {
                asker.asks(&[line.as_bytes(), b"\r\n", &bytes[..]].concat(), opens, body).await;
            }
        });
    }
}
