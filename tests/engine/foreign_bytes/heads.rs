//! Addresses and headers, each with what opens the door, so that the parser behind it is reached.

use axum::http::StatusCode;
use safelight_api::tokens::{self, Scope};

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

#[tokio::test(flavor = "multi_thread")]
async fn addresses_near_good_ones_are_answered() {
    let app = App::spawn().await;
    let (_ann, order) = app.pro_order().await;
    let asker = Asker::at(&app).await;
    let order_now = format!("/v1/orders/{order}?wait=0");
    let (bearer, session) = (&asker.bearer, &asker.session);
    let some = "0192a8f2e6c5d7b1290f3a4b5c6d7e8f";
    let queries = [
        (order_now.as_str(), bearer),
        ("/v1/jobs/job_019a8f2e6c5d7b1290f3a4b5c6d7e8f9", bearer),
        (
            "/v1/jobs?kind=train_model&state=ready&code=spent&from=2026-01-01T00:00:00Z&until=2027-01-01T00:00:00Z&limit=5",
            bearer,
        ),
        ("/v1/dead-letters?kind=train_model&code=spent&tenant=koselfie", bearer),
        ("/v1/bulk-acts?limit=5", bearer),
        (
            "/console/jobs?state=ready&kind=train_model&tenant=koselfie&code=spent&from=2026-01-01T00:00&until=&before=",
            session,
        ),
        ("/console/jobs?id=order_019a8f2e6c5d7b1290f3a4b5c6d7e8f9", session),
        ("/console/bulk/preview?act=hold&kind=train_model&from=2026-01-01T00:00", session),
        ("/console/orders?state=paid&problem=work_died&tenant=koselfie&before=", session),
        ("/console/deletions?before=deletion_019a8f2e6c5d7b1290f3a4b5c6d7e8f9", session),
        ("/console/audit?before=019a8f2e-6c5d-7b12-90f3-a4b5c6d7e8f9&entries_before=12", session),
        ("/console/cases?all=1", session),
        ("/console/dead?done=2_redriven", session),
        ("/console/find?id=job_019a8f2e6c5d7b1290f3a4b5c6d7e8f9", session),
        ("/console/subjects/subject_019a8f2e6c5d7b1290f3a4b5c6d7e8f9", session),
        ("/console/sign-in/oidc?code=abc&state=def", session),
    ];
    for (path, opens) in queries {
        let open = asker.asks(format!("GET {path} HTTP/1.1").as_bytes(), opens, b"").await;
        assert!(!matches!(open, 400..=403 | 405..), "{path} is there: {open}");
        each_asked(near(vec![path.as_bytes().to_vec(), path.replace("019a8f2e", some).into_bytes()]), 60, |bytes| {
            let line: Vec<u8> = bytes.into_iter().filter(|byte| !matches!(byte, b'\r' | b'\n' | b' ')).collect();
            let asker = &asker;
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
