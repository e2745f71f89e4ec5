//! Mail to one person, through Resend.
//!
//! The address comes in wrapped and goes into the body of one request; no error and no log line holds it. A body with
//! a signed link is refused: mails are kept and forwarded (policy K33). Sending twice under one key within 24 hours
//! sends one mail. Errors are told apart by Resend's name for them, never by the status alone: a used-up quota and too
//! many requests are both 429, and only one of them passes in a second.
//! Source: resend.com/docs api-reference/errors and dashboard/emails/idempotency-keys; its OpenAPI file 1.5.0; read
//! November 2026.

use std::time::Duration;

use reqwest::{
    Client,
    header::{AUTHORIZATION, HeaderValue},
};
use serde::{Deserialize, Serialize};

use super::{
    ConfigError, Secret,
    http::{Answer, Base, Limits, client, exchange, is_plain_id, retry_after, secret_header},
};
use crate::gate::{Allowed, MayConfirm, Notify};

/// Resend's answers are short, in bytes.
const MOST: usize = 64 * 1024;
/// A mail as it is read back, in bytes.
const MOST_MAIL: usize = 1024 * 1024;
/// When Resend is busy and does not say for how long.
const BUSY_PAUSE: Duration = Duration::from_secs(1);
/// What shows a link that opens a private file: of S3, of Supabase Storage, of fal.
const SIGNED: [&str; 4] = ["x-amz-signature", "/object/sign/", "token=", "fal.media"];

/// Where Resend is and who we are.
#[derive(Clone)]
pub struct MailConfig {
    /// `https://api.resend.com`
    pub base_url: String,
    /// `re_…`
    pub api_key: Secret,
    /// The longest one call may take.
    pub timeout: Duration,
}

/// One mail. It has no `Debug`: it holds an address.
pub struct Mail {
    /// The person's address, looked up at the time of sending.
    pub to: Secret,
    /// One line.
    pub subject: String,
    /// Plain text, without pictures and signed links.
    pub text: String,
    /// The sender, `Name <address>`, of a domain that is verified at Resend.
    pub from: String,
}

/// Why a mail was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MailError {
    /// Too many requests in this second.
    #[error("Resend takes no more requests for now; send again after {after:?}")]
    Busy {
        /// Resend's wish, or a second.
        after: Duration,
    },
    /// The plan's mails of this day or month are used up. A quick repeat cannot help.
    #[error("the plan's mails are used up ({name}); it needs the next day or month, or another plan")]
    QuotaUsedUp {
        /// `daily_quota_exceeded` or `monthly_quota_exceeded`.
        name: String,
        /// Resend's wish, where it names one.
        after: Option<Duration>,
    },
    /// The same key is being worked on at this moment.
    #[error("a mail under the same key is being sent; ask again after {after:?} and get its id")]
    InFlight {
        /// A second.
        after: Duration,
    },
    /// The key was used for another mail within the last 24 hours. A bug of ours.
    #[error("the key was used for a different mail; nothing was sent, give each mail its own key")]
    KeyReused,
    /// The key is wrong, or may not send for this domain.
    #[error("Resend does not accept the API key or the sender ({name}); check RESEND_API_KEY and the verified domain")]
    NotAllowed {
        /// Resend's name for it.
        name: String,
    },
    /// Resend refuses this mail, and would refuse it again.
    #[error("Resend refused the mail with `{name}` ({status}); a repeat will not help")]
    Refused {
        /// Resend's name for it, or `http_` and the status.
        name: String,
        /// The HTTP status.
        status: u16,
    },
    /// No answer, or a fault at Resend. Repeat under the same key.
    #[error("Resend could not be reached: {why}; repeat under the same key")]
    Unreachable {
        /// What happened on the way.
        why: &'static str,
    },
    /// A success without an id. The mail is sent.
    #[error("Resend took the mail and its answer could not be read; do not send it under another key")]
    Unreadable,
    /// Our own mail must not be sent.
    #[error("the {what} must not be sent; nothing was")]
    BadInput {
        /// Which part.
        what: &'static str,
    },
}

/// What became of a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailFate {
    /// The mailbox took it.
    Delivered,
    /// It came back, or was never handed over.
    Bounced,
    /// Nothing is known yet.
    UnderWay,
}

/// The client. Made once; clones share connections.
#[derive(Clone)]
pub struct Mailer {
    http: Client,
    base: Base,
    key: HeaderValue,
}

impl Mailer {
    /// Checks the settings; sends nothing.
    pub fn new(config: &MailConfig) -> Result<Self, ConfigError> {
        let base = Base::parse("resend", &config.base_url)?;
        let limits = Limits { connect: config.timeout.min(Duration::from_secs(5)), total: config.timeout };
        let secret = config.api_key.expose();
        Ok(Self {
            http: client("resend", &[&base], limits)?,
            key: secret_header("resend", &format!("Bearer {secret}"), secret)?,
            base,
        })
    }

    /// Sends one mail and returns Resend's id of it. The same `key` (at most 256 characters) sends it once.
    pub async fn send(&self, _proof: &Allowed<Notify>, mail: &Mail, key: &str) -> Result<String, MailError> {
        self.post(mail, key).await
    }

    /// The same for the one mail that an erased person gets.
    pub async fn confirm_erasure(&self, _proof: &MayConfirm, mail: &Mail, key: &str) -> Result<String, MailError> {
        self.post(mail, key).await
    }

    /// What became of a mail that was sent. Of the answer, which repeats the whole mail, only the last event is read.
    pub async fn fate(&self, message: &str) -> Result<MailFate, MailError> {
        if !is_plain_id(message) {
            return Err(MailError::BadInput { what: "id of a mail" });
        }
        let request =
            self.http.get(self.base.at(&format!("/emails/{message}"))).header(AUTHORIZATION, self.key.clone());
        let answer = exchange(request, MOST_MAIL).await.map_err(|lost| MailError::Unreachable { why: lost.why() })?;
        if !answer.status.is_success() {
            return match refusal(&answer) {
                // Not in its list yet, or not any more: nothing is known.
                MailError::Refused { name, .. } if name == "not_found" => Ok(MailFate::UnderWay),
                refused => Err(refused),
            };
        }
        #[derive(Deserialize)]
        struct Sent {
            last_event: Option<String>,
        }
        let sent: Sent = serde_json::from_slice(&answer.body)
            .map_err(|_| MailError::Unreachable { why: "Resend's answer could not be read" })?;
        Ok(match sent.last_event.as_deref() {
            Some("delivered" | "opened" | "clicked" | "complained") => MailFate::Delivered,
            Some("bounced" | "failed" | "suppressed" | "canceled") => MailFate::Bounced,
            _ => MailFate::UnderWay,
        })
    }

    async fn post(&self, mail: &Mail, key: &str) -> Result<String, MailError> {
        check(mail)?;
        let fine = (1..=256).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic());
        if !fine {
            return Err(MailError::BadInput { what: "idempotency key" });
        }
        #[derive(Serialize)]
        struct Body<'a> {
            from: &'a str,
            to: [&'a str; 1],
            subject: &'a str,
            text: &'a str,
        }
        let body = Body { from: &mail.from, to: [mail.to.expose()], subject: &mail.subject, text: &mail.text };
        let request = self
            .http
            .post(self.base.at("/emails"))
            .header(AUTHORIZATION, self.key.clone())
            .header("Idempotency-Key", key)
            .json(&body);
        let answer = exchange(request, MOST).await.map_err(|lost| MailError::Unreachable { why: lost.why() })?;
        if !answer.status.is_success() {
            return Err(refusal(&answer));
        }
        #[derive(Deserialize)]
        struct Sent {
            id: String,
        }
        let sent: Sent = serde_json::from_slice(&answer.body).map_err(|_| MailError::Unreadable)?;
        if is_plain_id(&sent.id) { Ok(sent.id) } else { Err(MailError::Unreadable) }
    }
}

fn check(mail: &Mail) -> Result<(), MailError> {
    let bad = |what| Err(MailError::BadInput { what });
    let to = mail.to.expose();
    let one_line = |text: &str| !text.chars().any(char::is_control);
    // Not a check of the address, only that it is one and not several.
    if to.split('@').count() != 2 || to.contains([',', ';', ' ']) || !one_line(to) {
        return bad("recipient");
    }
    if mail.subject.trim().is_empty() || !one_line(&mail.subject) {
        return bad("subject");
    }
    if !mail.from.contains('@') || !one_line(&mail.from) {
        return bad("sender");
    }
    let text = mail.text.to_ascii_lowercase();
    if SIGNED.iter().any(|sign| text.contains(sign)) {
        return bad("text with a signed link");
    }
    Ok(())
}

fn refusal(answer: &Answer) -> MailError {
    #[derive(Deserialize)]
    struct Body {
        name: String,
    }
    let status = answer.status.as_u16();
    // Only the name: the message repeats addresses.
    let name = serde_json::from_slice::<Body>(&answer.body)
        .ok()
        .map(|body| body.name)
        .filter(|name| is_plain_id(name))
        .unwrap_or_else(|| format!("http_{status}"));
    let after = retry_after(&answer.headers);
    match (name.as_str(), status) {
        ("daily_quota_exceeded" | "monthly_quota_exceeded", _) => MailError::QuotaUsedUp { name, after },
        ("rate_limit_exceeded", _) | (_, 429) => MailError::Busy { after: after.unwrap_or(BUSY_PAUSE) },
        ("concurrent_idempotent_requests" | "resource_locked", _) => {
            MailError::InFlight { after: after.unwrap_or(BUSY_PAUSE) }
        }
        ("invalid_idempotent_request", _) => MailError::KeyReused,
        ("missing_api_key" | "restricted_api_key" | "invalid_api_key", _) | (_, 401 | 403) => {
            MailError::NotAllowed { name }
        }
        (_, 500..) => MailError::Unreachable { why: "Resend answered with a fault of its own" },
        _ => MailError::Refused { name, status },
    }
}

#[cfg(test)]
mod tests;
