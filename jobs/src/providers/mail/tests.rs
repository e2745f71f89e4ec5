use serde_json::json;

use super::{super::testing::*, *};

const ADDRESS: &str = "ann.planted@person.example.net";

fn mailer(url: &str) -> Mailer {
    let api_key = Secret::new("re_planted");
    Mailer::new(&MailConfig { base_url: url.to_owned(), api_key, timeout: Duration::from_secs(5) }).unwrap()
}

fn mail() -> Mail {
    Mail {
        to: Secret::new(ADDRESS),
        subject: "Your portraits are ready".into(),
        text: "Sign in to see them: https://koselfie.example/orders".into(),
        from: "KoSelfie <hello@koselfie.example>".into(),
    }
}

fn error(status: u16, name: &str) -> Reply {
    Reply::json(status, json!({"statusCode": status, "name": name, "message": format!("not for {ADDRESS}")}))
}

#[tokio::test]
async fn a_mail_goes_out_once_under_its_key_and_returns_its_id() {
    let server = StandIn::start([Reply::json(200, json!({"id": "56761188-7520"}))]).await;
    assert_eq!(mailer(&server.url).post(&mail(), "notice_1").await.unwrap(), "56761188-7520");
    let asked = &server.asked()[0];
    assert_eq!((asked.path.as_str(), asked.header("idempotency-key")), ("/emails", "notice_1"));
    assert_eq!(asked.header("authorization"), "Bearer re_planted");
    assert!(!asked.header("user-agent").is_empty(), "Resend refuses a request without a User-Agent");
    let expected = json!({"from": mail().from, "to": [ADDRESS], "subject": mail().subject, "text": mail().text});
    assert_eq!(asked.json(), expected);
}

#[tokio::test]
async fn each_refusal_is_told_by_its_name_and_none_holds_the_address() {
    let busy = |seconds| MailError::Busy { after: Duration::from_secs(seconds) };
    let quota = |name: &str| MailError::QuotaUsedUp { name: name.into(), after: None };
    let refused = |name: &str, status| MailError::Refused { name: name.into(), status };
    let not_allowed = |name: &str| MailError::NotAllowed { name: name.into() };
    let limited = json!({"name": "rate_limit_exceeded"}).to_string();
    let cases = [
        (error(429, "rate_limit_exceeded"), busy(1)),
        (Reply::Say(429, vec![("retry-after", "4".into())], limited), busy(4)),
        (error(429, "daily_quota_exceeded"), quota("daily_quota_exceeded")),
        (error(429, "monthly_quota_exceeded"), quota("monthly_quota_exceeded")),
        (error(409, "concurrent_idempotent_requests"), MailError::InFlight { after: BUSY_PAUSE }),
        (error(409, "invalid_idempotent_request"), MailError::KeyReused),
        (error(401, "restricted_api_key"), not_allowed("restricted_api_key")),
        (error(403, "validation_error"), not_allowed("validation_error")),
        (error(422, "invalid_parameter"), refused("invalid_parameter", 422)),
        (error(422, ADDRESS), refused("http_422", 422)),
        (error(500, "application_error"), MailError::Unreachable { why: "Resend answered with a fault of its own" }),
        (Reply::Say(200, vec![], "{}".into()), MailError::Unreadable),
        (Reply::BreakOff, MailError::Unreachable { why: "the answer broke off" }),
    ];
    for (reply, expected) in cases {
        let server = StandIn::start([reply]).await;
        let heard = mailer(&server.url).post(&mail(), "key").await.unwrap_err();
        assert_eq!(heard, expected);
        assert!(!format!("{heard} {heard:?}").contains("planted"), "{heard}");
        assert_eq!(server.asked().len(), 1, "the queue repeats, not the client");
    }
    let heard = mailer(&nobody().await).post(&mail(), "key").await.unwrap_err();
    assert_eq!(heard, MailError::Unreachable { why: "no connection could be made" });
}

#[tokio::test]
async fn k33_a_mail_with_a_signed_link_or_two_recipients_is_not_sent() {
    let server = StandIn::start([]).await;
    let mailer = mailer(&server.url);
    let mut bad: Vec<Mail> = Vec::new();
    for link in ["https://s3.example/a?X-Amz-Signature=1", "https://x.example/storage/v1/object/sign/b/c?token=e"] {
        bad.push(Mail { text: format!("Look: {link}"), ..mail() });
    }
    for to in ["", "nobody", "a@b.example,c@d.example", "a@b.example\r\nBcc: c@d.example"] {
        bad.push(Mail { to: Secret::new(to), ..mail() });
    }
    bad.push(Mail { subject: "two\nlines".into(), ..mail() });
    bad.push(Mail { from: "nobody".into(), ..mail() });
    for mail in bad {
        assert!(matches!(mailer.post(&mail, "key").await, Err(MailError::BadInput { .. })));
    }
    for key in [String::new(), "k".repeat(257), "two lines\n".into()] {
        assert!(matches!(mailer.post(&mail(), &key).await, Err(MailError::BadInput { .. })));
    }
    assert!(server.asked().is_empty());
}
