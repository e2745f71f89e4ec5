//! Error reports to Sentry: which job failed, and with which code.
//!
//! A report has four fields, and none of them has room for a sentence: kind and id of a job, a code, and how bad it is. What
//! an error says, what a job was given, whose work it was and where it ran stay here (policy K35). Sentry's own SDK collects
//! by default, names of hosts, texts of panics, backtraces, and has hooks that take things out; here nothing goes in that is
//! not listed. A report is sent once and never again: what matters stands in the database.
//! Source: sentry-types 0.49.5 (`dsn.rs`, `auth.rs`, `envelope.rs`) and sentry 0.49.5 `transports/ratelimit.rs`, read
//! November 2026.

use std::time::Duration;

use reqwest::{
    Client,
    header::{CONTENT_TYPE, HeaderMap, HeaderValue},
};
use serde_json::json;
use url::Url;
use uuid::Uuid;

use super::{
    ConfigError, Secret,
    http::{Base, Limits, client, exchange, is_plain_id, retry_after, secret_header},
};
use crate::{
    id::{self, Id},
    registry,
};

/// Sentry's answers are an id, in bytes.
const MOST: usize = 16 * 1024;
/// How long it is left alone after a 429 that names no time.
const BUSY_PAUSE: Duration = Duration::from_secs(60);
/// The longest code that is one.
const LONGEST_CODE: usize = 64;

/// Where reports go.
#[derive(Clone)]
pub struct SentryConfig {
    /// `https://KEY@HOST/PROJECT`, as Sentry's settings show it.
    pub dsn: Secret,
    /// For example `production`.
    pub environment: String,
    /// The longest one report may take.
    pub timeout: Duration,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// It is tried again, and somebody should look.
    Warning,
    /// It ended without its effect.
    Error,
    /// A bug: it panicked.
    Fatal,
}

impl Level {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Fatal => "fatal",
        }
    }
}

/// One failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    kind: &'static str,
    job: Id<id::Job>,
    code: String,
    level: Level,
}

impl Report {
    /// A kind that is not in the list of jobs is `unknown_kind`, and a code that is not of a code's form is `unlisted`: both
    /// stand in rows, which an older or a foreign program may have written.
    #[must_use]
    pub fn new(kind: &str, job: Id<id::Job>, code: &str, level: Level) -> Self {
        let is_code = (1..=LONGEST_CODE).contains(&code.len())
            && code.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        Self {
            kind: registry::known(kind).map_or("unknown_kind", |known| known.name),
            job,
            code: if is_code { code.to_owned() } else { "unlisted".to_owned() },
            level,
        }
    }
}

/// Why a report did not arrive. It is not sent again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SentryError {
    /// Too many; the report is not kept.
    #[error("Sentry takes no more errors for {after:?}")]
    Busy {
        /// As it says, or a minute.
        after: Duration,
    },
    /// The key or the project is not one that it knows, or the report is not one that it reads.
    #[error("Sentry refuses the report ({status}); check SENTRY_DSN")]
    Refused {
        /// The HTTP status.
        status: u16,
    },
    /// No answer, or a fault at Sentry.
    #[error("Sentry could not be reached: {why}")]
    Unreachable {
        /// What happened on the way.
        why: &'static str,
    },
}

/// The client. Made once; clones share connections.
#[derive(Clone, Debug)]
pub struct Sentry {
    http: Client,
    address: String,
    auth: HeaderValue,
    environment: String,
}

impl Sentry {
    /// Checks the settings; sends nothing.
    ///
    /// # Errors
    /// [`ConfigError`]: the DSN is no https address with a key and a project.
    pub fn new(config: &SentryConfig) -> Result<Self, ConfigError> {
        let (base, key, project) = parts(config.dsn.expose()).ok_or(ConfigError::BadAddress { what: "sentry" })?;
        let base = Base::parse("sentry", base.as_str())?;
        let limits = Limits { connect: config.timeout.min(Duration::from_secs(5)), total: config.timeout };
        let auth =
            format!("Sentry sentry_version=7, sentry_client=safelight/{}, sentry_key={key}", env!("CARGO_PKG_VERSION"));
        Ok(Self {
            http: client("sentry", &[&base], limits)?,
            address: base.at(&format!("/api/{project}/envelope/")),
            auth: secret_header("sentry", &auth, &key)?,
            environment: config.environment.clone(),
        })
    }

    /// Sends one report. `at`: when it happened, in Unix seconds.
    ///
    /// # Errors
    /// [`SentryError`]. Also a report that arrived may answer [`SentryError::Busy`]: it was the last one for a while.
    pub async fn send(&self, report: &Report, at: i64) -> Result<(), SentryError> {
        let id = Uuid::new_v4().simple().to_string();
        let event = json!({
            "event_id": id,
            "timestamp": at,
            "platform": "native",
            "level": report.level.as_str(),
            "logger": "safelight.worker",
            "release": concat!("safelight@", env!("CARGO_PKG_VERSION")),
            "environment": self.environment,
            "message": { "formatted": format!("{}: {}", report.kind, report.code) },
            "fingerprint": [report.kind, report.code],
            "tags": { "job.kind": report.kind, "job.code": report.code },
            "extra": { "job.id": report.job.to_string() },
        })
        .to_string();
        let head = json!({ "event_id": id });
        let item = json!({ "type": "event", "length": event.len() });
        let request = self
            .http
            .post(&self.address)
            .header("X-Sentry-Auth", self.auth.clone())
            .header(CONTENT_TYPE, "application/x-sentry-envelope")
            .body(format!("{head}\n{item}\n{event}\n"));
        let answer = exchange(request, MOST).await.map_err(|lost| SentryError::Unreachable { why: lost.why() })?;
        let status = answer.status.as_u16();
        if let Some(after) = pause(status, &answer.headers) {
            return Err(SentryError::Busy { after });
        }
        match status {
            200..=299 => Ok(()),
            500.. => Err(SentryError::Unreachable { why: "Sentry answered with a fault of its own" }),
            status => Err(SentryError::Refused { status }),
        }
    }
}

/// Address without key and project, the key, and the project.
fn parts(dsn: &str) -> Option<(Url, String, String)> {
    let mut url = Url::parse(dsn).ok()?;
    let key = url.username().to_owned();
    let (before, project) = url.path().rsplit_once('/')?;
    let (before, project) = (before.to_owned(), project.to_owned());
    if !is_plain_id(&key) || !is_plain_id(&project) {
        return None;
    }
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    url.set_path(&before);
    Some((url, key, project))
}

/// How long no error may be sent. `X-Sentry-Rate-Limits: 60:error;default:organization, 2700::key` goes before `Retry-After`;
/// a limit without categories is one for all.
fn pause(status: u16, headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let named = text("x-sentry-rate-limits").into_iter().flat_map(|limits| limits.split(',')).filter_map(|limit| {
        let mut parts = limit.trim().split(':');
        let seconds: u64 = parts.next()?.parse().ok()?;
        let categories = parts.next().unwrap_or_default();
        (categories.is_empty() || categories.split(';').any(|one| one == "error")).then_some(seconds.min(86_400))
    });
    match named.max() {
        Some(seconds) => Some(Duration::from_secs(seconds)),
        None if status == 429 => Some(retry_after(headers).unwrap_or(BUSY_PAUSE)),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};

    fn sentry(dsn: &str) -> Result<Sentry, ConfigError> {
        let (dsn, timeout) = (Secret::new(dsn), Duration::from_secs(5));
        Sentry::new(&SentryConfig { dsn, environment: "test".into(), timeout })
    }

    fn dsn(url: &str) -> String {
        url.replace("http://", "http://planted-key:planted-secret@") + "/prefix/42"
    }

    fn at(server: &StandIn) -> Sentry {
        sentry(&dsn(&server.url)).unwrap()
    }

    fn report() -> Report {
        Report::new("train_model", Id::new(), "fal_rejected", Level::Error)
    }

    #[tokio::test]
    async fn a_report_is_an_envelope_with_one_event_of_listed_fields() {
        let server = StandIn::start([Reply::Say(200, vec![], "{}".into())]).await;
        let report = report();
        at(&server).send(&report, 1_800_000_000).await.unwrap();
        let asked = &server.asked()[0];
        assert_eq!(asked.path, "/prefix/api/42/envelope/");
        assert!(asked.header("x-sentry-auth").contains("sentry_key=planted-key"));
        assert_eq!(asked.header("authorization"), "");
        let lines: Vec<&str> = asked.body.lines().collect();
        let read = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
        assert_eq!(read(lines[1])["length"], lines[2].len());
        let event = read(lines[2]);
        assert_eq!(event["event_id"], read(lines[0])["event_id"]);
        assert_eq!(
            (&event["message"]["formatted"], &event["level"]),
            (&json!("train_model: fal_rejected"), &json!("error"))
        );
        assert_eq!(event["extra"]["job.id"], report.job.to_string());
        let mut fields: Vec<&str> = event.as_object().unwrap().keys().map(String::as_str).collect();
        fields.sort_unstable();
        let mut listed = [
            "event_id",
            "timestamp",
            "platform",
            "level",
            "logger",
            "release",
            "environment",
            "message",
            "fingerprint",
            "tags",
            "extra",
        ];
        listed.sort_unstable();
        assert_eq!(fields, listed);
    }

    #[test]
    fn k35_what_is_no_kind_and_no_code_does_not_go_into_a_report() {
        for marker in ["ann@mail.example", "Ann Example", "https://x/?token=1", "", "ümlaut", &"a".repeat(65)] {
            let report = Report::new(marker, Id::new(), marker, Level::Error);
            assert_eq!((report.kind, report.code.as_str()), ("unknown_kind", "unlisted"), "{marker}");
        }
    }

    #[tokio::test]
    async fn a_429_is_obeyed_with_its_headers_and_without() {
        let limited = |value: &str| vec![("x-sentry-rate-limits", value.to_owned())];
        for (status, headers, after) in [
            (429, limited("30:transaction:organization, 90:error;default:key"), Some(90)),
            (200, limited("2700::organization"), Some(2700)),
            (200, limited("2700:transaction:organization"), None),
            (429, vec![("retry-after", "7".to_owned())], Some(7)),
            (429, vec![], Some(60)),
        ] {
            let server = StandIn::start([Reply::Say(status, headers.clone(), String::new())]).await;
            let heard = at(&server).send(&report(), 1).await;
            let wanted = after.map(|seconds| SentryError::Busy { after: Duration::from_secs(seconds) });
            assert_eq!(heard.err(), wanted, "{status} {headers:?}");
        }
    }

    #[tokio::test]
    async fn who_is_not_there_or_refuses_is_told_apart() {
        let refusing =
            StandIn::start([Reply::Say(403, vec![], String::new()), Reply::Say(502, vec![], String::new())]).await;
        assert_eq!(at(&refusing).send(&report(), 1).await, Err(SentryError::Refused { status: 403 }));
        assert!(matches!(at(&refusing).send(&report(), 1).await, Err(SentryError::Unreachable { .. })));
        let nobody = sentry(&dsn(&nobody().await)).unwrap();
        assert!(matches!(nobody.send(&report(), 1).await, Err(SentryError::Unreachable { .. })));
    }

    #[test]
    fn h23_reports_do_not_travel_over_plain_http_and_a_dsn_needs_key_and_project() {
        assert!(sentry("https://key@o1.ingest.example/42").is_ok());
        assert!(matches!(sentry("http://key@o1.ingest.example/42"), Err(ConfigError::PlainHttp { .. })));
        for bad in
            ["", "https://o1.ingest.example/42", "https://key@o1.ingest.example/", "https://key@o1.example/4%2F2"]
        {
            assert!(matches!(sentry(bad), Err(ConfigError::BadAddress { .. })), "{bad}");
        }
    }
}
