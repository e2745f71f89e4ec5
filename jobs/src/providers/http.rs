//! The one way these clients speak HTTP: https only, no redirects, time limits, bounded answers.
//!
//! Plain http is for stand-ins on this machine: it is refused, when a client is made, for every host that is not a
//! loopback address (policy row H23). Errors name what happened and never an address, since addresses carry tokens.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::{
    Client, Request, RequestBuilder, StatusCode,
    header::{HeaderMap, HeaderValue, RETRY_AFTER},
};
use tracing::{Instrument, field};
use url::{Host, Url};

/// A client cannot be made from these settings. Nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not an absolute http or https address, or one with a user name, a query or a fragment in it.
    #[error("the address for {what} is not a plain https address; set it to something like https://api.example.com")]
    BadAddress {
        /// Which setting.
        what: &'static str,
    },
    /// Plain http to another machine would show personal data to the network.
    #[error("the address for {what} is plain http to {host}; use https, or a stand-in on 127.0.0.1")]
    PlainHttp {
        /// Which setting.
        what: &'static str,
        /// The host it names.
        host: String,
    },
    /// Empty, or with characters that a header cannot carry.
    #[error("the secret for {what} is empty or not plain ASCII; check the variable it comes from")]
    BadSecret {
        /// Which setting.
        what: &'static str,
    },
    /// A value that cannot work.
    #[error("the setting {what} cannot work: {why}")]
    BadSetting {
        /// Which setting.
        what: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// TLS could not be set up, most often because the machine has no certificates of authorities.
    #[error("TLS could not be set up for {what}; is the package ca-certificates installed?")]
    Tls {
        /// Which client.
        what: &'static str,
    },
}

/// An address that calls are built on: checked once, without a slash at the end.
#[derive(Debug, Clone)]
pub(super) struct Base {
    text: String,
    loopback: bool,
}

impl Base {
    pub(super) fn parse(what: &'static str, text: &str) -> Result<Self, ConfigError> {
        let url = Url::parse(text).map_err(|_| ConfigError::BadAddress { what })?;
        let plain =
            url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
        if !plain || url.host().is_none() {
            return Err(ConfigError::BadAddress { what });
        }
        let loopback = is_loopback(&url);
        match url.scheme() {
            "https" => {}
            "http" if loopback => {}
            "http" => {
                return Err(ConfigError::PlainHttp { what, host: url.host_str().unwrap_or_default().to_owned() });
            }
            _ => return Err(ConfigError::BadAddress { what }),
        }
        Ok(Self { text: url.as_str().trim_end_matches('/').to_owned(), loopback })
    }

    /// The address with a path behind it; `path` starts with a slash.
    pub(super) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.text)
    }

    /// Host and port, as they stand in an address.
    pub(super) fn authority(&self) -> String {
        Url::parse(&self.text).map(|url| url.authority().to_owned()).unwrap_or_default()
    }

    pub(super) fn is_loopback(&self) -> bool {
        self.loopback
    }
}

/// True for 127.0.0.0/8, ::1 and the name localhost.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        None => false,
    }
}

/// An address that may be handed to a provider or followed: https, or http on this machine.
pub(super) fn safe_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let fine = url.host().is_some() && (url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url)));
    (fine && url.username().is_empty() && url.password().is_none()).then_some(url)
}

/// How long to wait for a provider.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) connect: Duration,
    pub(super) total: Duration,
}

/// A client for one provider. When all addresses are on this machine it trusts no authority and uses no proxy, so a
/// stand-in works on a machine without certificates and its traffic never leaves.
pub(super) fn client(what: &'static str, bases: &[&Base], limits: Limits) -> Result<Client, ConfigError> {
    let mut builder = Client::builder()
        .user_agent(concat!("safelight/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(limits.connect)
        .timeout(limits.total);
    if bases.iter().all(|base| base.is_loopback()) {
        builder = builder.no_proxy().tls_certs_only(std::iter::empty());
    }
    builder.build().map_err(|_| ConfigError::Tls { what })
}

/// A header value that is never printed.
pub(super) fn secret_header(what: &'static str, value: &str, secret: &str) -> Result<HeaderValue, ConfigError> {
    if secret.trim().is_empty() {
        return Err(ConfigError::BadSecret { what });
    }
    let mut header = HeaderValue::from_str(value).map_err(|_| ConfigError::BadSecret { what })?;
    header.set_sensitive(true);
    Ok(header)
}

/// A provider's answer, whatever its status.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// No answer. The two cases must not be mixed up: after `Unsent` a second try is harmless.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    /// The request never left: no connection, or it could not be built.
    Unsent(&'static str),
    /// It may have arrived and been carried out.
    Unknown(&'static str),
}

impl Lost {
    pub(super) fn why(self) -> &'static str {
        match self {
            Self::Unsent(why) | Self::Unknown(why) => why,
        }
    }

    /// From the HTTP client's error, whose text names addresses and is therefore dropped.
    pub(super) fn from_error(error: &reqwest::Error) -> Self {
        if error.is_builder() {
            Self::Unsent("the request could not be built")
        } else if error.is_connect() {
            Self::Unsent("no connection could be made")
        } else if error.is_timeout() {
            Self::Unknown("no answer in time")
        } else {
            Self::Unknown("the connection was lost")
        }
    }
}

/// Sends once and reads an answer of at most `most` bytes. Its span names the host and never the path, which may carry a token.
pub(super) async fn exchange(request: RequestBuilder, most: usize) -> Result<Answer, Lost> {
    let (client, request) = request.build_split();
    let request = request.map_err(|e| Lost::from_error(&e))?;
    let host = request.url().host_str().unwrap_or_default().to_owned();
    let span = tracing::info_span!("provider_call", server.address = %host, http.method = %request.method(), http.status = field::Empty);
    let sent = send(client, request, most).instrument(span.clone()).await;
    if let Ok(answer) = &sent {
        span.record("http.status", answer.status.as_u16());
    }
    sent
}

async fn send(client: Client, request: Request, most: usize) -> Result<Answer, Lost> {
    let mut response = client.execute(request).await.map_err(|e| Lost::from_error(&e))?;
    let (status, headers) = (response.status(), response.headers().clone());
    let mut body = BytesMut::new();
    // A failure from here on is never `Unsent`: the provider has answered.
    while let Some(chunk) = response.chunk().await.map_err(|_| Lost::Unknown("the answer broke off"))? {
        if body.len() + chunk.len() > most {
            return Err(Lost::Unknown("the answer is larger than it may be"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status, headers, body: body.freeze() })
}

/// `Retry-After` in seconds, at most one day. The form with a date is ignored: none of our providers sends it.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.min(86_400)))
}

/// The pauses of a safe read that may be asked again at once: two more tries.
pub(super) fn read_again() -> backon::ExponentialBuilder {
    backon::ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_millis(500))
        .with_max_times(2)
        .with_jitter()
}

/// True for an id that may stand in a path: letters, digits, dash and underscore, at most 128 of them.
pub(super) fn is_plain_id(text: &str) -> bool {
    !text.is_empty() && text.len() <= 128 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};

    #[test]
    fn h23_plain_http_is_refused_for_every_host_but_this_machine() {
        for fine in ["https://api.stripe.com", "http://127.0.0.1:9", "http://[::1]:9/x/", "http://localhost:1"] {
            assert!(Base::parse("stripe", fine).is_ok(), "{fine}");
        }
        for bad in ["http://api.stripe.com", "http://127.0.0.1.example.com", "http://10.0.0.1", "http://[::2]"] {
            assert!(matches!(Base::parse("stripe", bad), Err(ConfigError::PlainHttp { .. })), "{bad}");
        }
        for bad in ["", "api.stripe.com", "ftp://127.0.0.1", "https://key@host", "https://host/?token=1", "file:///etc"]
        {
            assert!(matches!(Base::parse("stripe", bad), Err(ConfigError::BadAddress { .. })), "{bad}");
        }
    }

    #[tokio::test]
    async fn an_answer_is_read_up_to_its_limit_and_a_longer_one_is_an_unknown_outcome() {
        let say = || Reply::Say(200, vec![], "12345678".into());
        let server = StandIn::start([say(), say()]).await;
        let client = Client::new();
        let answer = exchange(client.post(&server.url), 8).await.map(|answer| answer.body);
        assert_eq!(answer, Ok(Bytes::from_static(b"12345678")));
        let answer = exchange(client.post(&server.url), 7).await.map(|answer| answer.body);
        assert_eq!(answer, Err(Lost::Unknown("the answer is larger than it may be")));
    }

    #[test]
    fn a_slash_at_the_end_makes_no_difference() {
        for text in ["https://api.example.com/v1", "https://api.example.com/v1/"] {
            let base = Base::parse("x", text).map(|base| base.at("/things"));
            assert_eq!(base.ok().as_deref(), Some("https://api.example.com/v1/things"));
        }
    }

    #[test]
    fn an_id_with_a_slash_or_a_dot_never_enters_a_path() {
        assert!(is_plain_id("cs_test_a1-B2"));
        for bad in ["", "..", "a/b", "a%2fb", "a?b", "a b", "ä"] {
            assert!(!is_plain_id(bad), "{bad}");
        }
    }
}
