//! Ways through the console: a link survives the sign-in, a form that came too late is told so, and no error is a dead end. And where no
//! way may lead.

use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};
use safelight_api::tokens::Scope;
use safelight_jobs::id::{self, Id};

use crate::{
    console::{cookie, look, sign_in},
    house::{Answer, House},
};

/// Ask with these headers, as a browser sends them.
async fn asks(house: &House, method: Method, path: &str, headers: &[(&str, &str)], body: String) -> Answer {
    let request = headers
        .iter()
        .fold(Request::builder().method(method).uri(path), |request, (name, value)| request.header(*name, *value));
    house.send(request.body(Body::from(body)).expect("a request")).await
}

async fn opens(house: &House, path: &str, headers: &[(&str, &str)]) -> Answer {
    asks(house, Method::GET, path, headers, String::new()).await
}

/// Fill the form in, with these fields beside the token.
async fn enters(house: &House, token: &str, fields: &[(&str, &str)]) -> Answer {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("token", token).extend_pairs(fields);
    asks(house, Method::POST, "/console/sign-in", &[("sec-fetch-site", "same-origin")], form.finish()).await
}

/// What the form carries to the page that opens afterwards.
fn carried(door: &Answer) -> Option<String> {
    let value = door.text.split("name=\"to\" value=\"").nth(1)?.split('"').next()?;
    Some(value.replace("&amp;", "&"))
}

#[tokio::test]
async fn a_link_from_an_alert_is_opened_after_the_sign_in_also_after_one_that_was_refused() {
    let house = House::build().await;
    let token = house.token(None, &[Scope::Read]).await;
    let job = Id::<id::Job>::new();
    for link in [
        format!("/console/jobs/{job}"),
        "/console/jobs?state=dead&kind=send_notice&from=2026-11-26T21%3A00".to_owned(),
        "/console/audit".to_owned(),
    ] {
        let sent = look(&house, &link, "").await;
        assert_eq!(sent.status, StatusCode::SEE_OTHER);
        let door = look(&house, sent.header("location"), "").await;
        assert_eq!(carried(&door).as_deref(), Some(link.as_str()), "{}", door.text);
        let refused = enters(&house, "slt_nothing", &[("why", "alert 17"), ("to", &link)]).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN);
        assert_eq!(carried(&refused).as_deref(), Some(link.as_str()), "{}", refused.text);
        assert!(refused.text.contains("value=\"alert 17\""), "what was typed stays: {}", refused.text);
        assert!(!refused.text.contains("slt_nothing"), "but for the token: {}", refused.text);
        let entered = enters(&house, &token, &[("why", "alert 17"), ("to", &link)]).await;
        assert_eq!((entered.status, entered.header("location")), (StatusCode::SEE_OTHER, link.as_str()));
    }
}

#[tokio::test]
async fn a_sign_in_leads_nowhere_but_to_a_page_of_the_console() {
    let house = House::build().await;
    let token = house.token(None, &[Scope::Read]).await;
    let long = format!("/console/{}", "x".repeat(2000));
    for to in [
        "",
        "https://evil.example",
        "https://evil.example/console",
        "//evil.example",
        "//evil.example/console",
        "/\\evil.example",
        "\\\\evil.example",
        "/console//evil.example",
        "/console\\evil",
        "/console/\\evil.example",
        "/console@evil.example",
        "/console.evil.example",
        "/consolevil",
        "/console/../v1/jobs",
        "/console/%2e%2e/docs",
        "/console/jobs\r\nset-cookie: a=b",
        "/console/jobs\tx",
        "/console/jobs?x=\u{0}",
        "/console/jobs?next=https://evil.example",
        "javascript:alert(1)",
        "data:text/html,x",
        "/docs",
        "/v1/jobs",
        "/",
        "console",
        "/console/sign-in",
        "/console/sign-in?to=/console/sign-in",
        "/console/sign-in/oidc?code=1",
        "/console/sign-out",
        &long,
    ] {
        let entered = enters(&house, &token, &[("why", "on call"), ("to", to)]).await;
        assert_eq!((entered.status, entered.header("location")), (StatusCode::SEE_OTHER, "/console"), "{to:?}");
        let query: String = url::form_urlencoded::Serializer::new(String::new()).append_pair("to", to).finish();
        for elsewhere in [&[][..], &[("sec-fetch-site", "cross-site")]] {
            let door = opens(&house, &format!("/console/sign-in?{query}"), elsewhere).await;
            assert_eq!((door.status, carried(&door)), (StatusCode::OK, None), "{to:?}");
            assert!(!door.text.contains("evil") && door.header("refresh").is_empty(), "{to:?}: {}", door.text);
        }
    }
    // A foreign page fills no form in for somebody.
    let body = format!("token={token}&why=planted&to=%2Fconsole%2Fjobs");
    let foreign = asks(&house, Method::POST, "/console/sign-in", &[("sec-fetch-site", "cross-site")], body).await;
    assert_eq!((foreign.status, carried(&foreign)), (StatusCode::FORBIDDEN, None));
    assert!(!foreign.text.contains("planted"), "{}", foreign.text);
}

#[tokio::test]
async fn behind_a_link_on_another_site_who_is_signed_in_already_goes_on_without_signing_in_again() {
    let house = House::build().await;
    let session = cookie(&sign_in(&house, &house.token(None, &[Scope::Read]).await).await);
    let door = "/console/sign-in?to=%2Fconsole%2Fjobs%3Fstate%3Ddead";
    let offer = "Signed in already? <a href=\"/console/jobs?state=dead\">";
    let there = opens(&house, door, &[("sec-fetch-site", "cross-site")]).await;
    assert!(there.text.contains(offer), "{}", there.text);
    for headers in [
        &[("sec-fetch-site", "same-origin")][..],
        &[("sec-fetch-site", "none")],
        &[("sec-fetch-site", "cross-site"), ("cookie", &session)],
    ] {
        assert!(!opens(&house, door, headers).await.text.contains("Signed in already?"), "{headers:?}");
    }
}

#[tokio::test]
async fn a_form_that_comes_after_the_session_has_ended_is_told_that_nothing_was_done_and_leads_to_its_page() {
    let house = House::build().await;
    let job = Id::<id::Job>::new();
    let page = format!("/console/jobs/{job}");
    let preview = "https://jobs.example.com/console/bulk/preview?act=hold&kind=train_model";
    let paused = "https://jobs.example.com/console/controls?done=paused";
    let foreign = "https://evil.example/console/orders";
    for (sent_to, referer, site, back) in [
        (format!("{page}/cancel"), "", "same-origin", page.as_str()),
        (format!("{page}/payload"), foreign, "cross-site", &page),
        ("/console/bulk".to_owned(), preview, "same-origin", "/console/bulk/preview?act=hold&kind=train_model"),
        ("/console/bulk".to_owned(), "", "same-origin", "/console"),
        ("/console/dead/redrive".to_owned(), "", "same-origin", "/console/dead"),
        ("/console/breakers/fal/close".to_owned(), "", "same-origin", "/console/controls"),
        ("/console/controls/queue/training".to_owned(), paused, "same-origin", "/console/controls"),
        ("/console/schedules/sweep_retention".to_owned(), foreign, "same-site", "/console/schedules"),
    ] {
        let headers = [("cookie", "safelight_console=0"), ("sec-fetch-site", site), ("referer", referer)];
        let sent = asks(&house, Method::POST, &sent_to, &headers, "why=x&csrf=y".to_owned()).await;
        assert_eq!(sent.status, StatusCode::SEE_OTHER, "{sent_to}: a page that is loaded again sends nothing again");
        let door = look(&house, sent.header("location"), "").await;
        assert!(door.text.contains("Your session had ended; nothing was done."), "{sent_to}: {}", door.text);
        assert_eq!(carried(&door).unwrap_or("/console".to_owned()), back, "{sent_to}");
    }
    let opened = look(&house, look(&house, "/console/jobs", "").await.header("location"), "").await;
    assert!(!opened.text.contains("nothing was done"), "who only opened a page had sent nothing");
}

#[tokio::test]
async fn an_error_stands_in_the_frame_in_neutral_words_and_leads_back() {
    let house = House::build().await;
    let backend = house.backend("koselfie").await;
    let subject = house.person(&backend).await;
    let order = house.order(&backend, subject, "cs_test_ways").await;
    let session = cookie(&sign_in(&house, &house.token(None, &[Scope::Operate]).await).await);
    let tenants = cookie(&sign_in(&house, &house.token(Some("haloprofile"), &[Scope::Read]).await).await);
    let from = "https://jobs.example.com/console/orders?state=paid&done=x";
    let job = Id::<id::Job>::new();
    for (path, status) in [
        (format!("/console/jobs/{job}"), 404),
        ("/console/orders/nothing".to_owned(), 400),
        ("/console/nowhere".to_owned(), 404),
        ("/console/jobs/a/b/c".to_owned(), 404),
        (format!("/console/jobs/{job}/cancel"), 405),
        ("/console/jobs?state=asleep".to_owned(), 422),
        ("/console/jobs?state=dead&state=done".to_owned(), 400),
        ("/console/find?id=mail_refused".to_owned(), 400),
        ("/console/find?id=ann@example.org".to_owned(), 400),
    ] {
        let headers = [("cookie", session.as_str()), ("sec-fetch-site", "same-origin"), ("referer", from)];
        let shown = opens(&house, &path, &headers).await;
        assert_eq!(shown.status.as_u16(), status, "{path}: {}", shown.text);
        assert_eq!(shown.text.matches("<nav aria-label=\"Pages\">").count(), 1, "{path}: {}", shown.text);
        for says in ["<a href=\"/console/orders?state=paid\">Back to where you came from</a>", "<main id=\"content\""] {
            assert!(shown.text.contains(says), "{path} lacks {says}: {}", shown.text);
        }
        assert!(!shown.text.contains("of this tenant") && !shown.text.contains("openapi"), "{path}: {}", shown.text);
        assert!(!shown.text.contains("ann@"), "what was typed is not said back");
        assert!(shown.header("content-security-policy").contains("frame-ancestors 'none'"));
        assert_eq!(shown.header("referrer-policy"), "same-origin", "our own pages are told where somebody came from");
        // Without a page before it, or one of ours: on to the list it stands under.
        let foreign = [
            ("cookie", session.as_str()),
            ("sec-fetch-site", "cross-site"),
            ("referer", "https://evil.example/console/jobs"),
        ];
        let foreign = opens(&house, &path, &foreign).await.text;
        assert!(foreign.contains("\">On to ") && !foreign.contains("Back to where"), "{path}: {foreign}");
    }
    let hidden = opens(&house, &format!("/console/orders/{order}"), &[("cookie", &tenants)]).await;
    assert_eq!(hidden.status, StatusCode::NOT_FOUND);
    assert!(hidden.text.contains("or is not of this tenant") && hidden.text.contains("<nav "), "{}", hidden.text);
    let of_the_house = opens(&house, "/console/providers", &[("cookie", &tenants)]).await;
    assert_eq!(of_the_house.status, StatusCode::FORBIDDEN);
    assert!(of_the_house.text.contains("<a href=\"/console\">On to overview</a>"), "{}", of_the_house.text);
    assert!(!of_the_house.text.contains("href=\"/console/providers\""), "and to no page that is refused again");
    let slip = opens(&house, "/console/jobs/", &[("cookie", &session)]).await;
    assert_eq!((slip.status, slip.header("location")), (StatusCode::SEE_OTHER, "/console/jobs"));
}

#[tokio::test]
async fn an_act_that_is_refused_says_that_nothing_was_done_and_leads_back_to_what_it_is_about() {
    let house = House::build().await;
    let session = cookie(&sign_in(&house, &house.token(None, &[Scope::Operate]).await).await);
    let job: uuid::Uuid =
        sqlx::query_scalar("select job_id from safelight.enqueue('train_model', '{\"n\": 1}', p_tenant => 'koselfie')")
            .fetch_one(&house.owner)
            .await
            .expect("a job");
    let page = format!("/console/jobs/{}", Id::<id::Job>::from(job));
    let shown = look(&house, &page, &session).await.text;
    let csrf = shown.split("name=\"csrf\" value=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a form");
    // Not held: nothing to release. No reason. No form of this session.
    for (act, body, status) in [
        ("release", format!("csrf={csrf}&why=x"), 409),
        ("hold", format!("csrf={csrf}&why="), 422),
        ("hold", "csrf=0&why=x".to_owned(), 403),
        ("hold", format!("csrf={csrf}&why={}", "x".repeat(5000)), 413),
    ] {
        let headers = [("cookie", session.as_str()), ("sec-fetch-site", "same-origin")];
        let refused = asks(&house, Method::POST, &format!("{page}/{act}"), &headers, body).await;
        assert_eq!(refused.status.as_u16(), status, "{act}: {}", refused.text);
        let back = format!("<a href=\"{page}\">Back to where you came from</a>");
        assert!(refused.text.contains("Nothing was done.") && refused.text.contains(&back), "{}", refused.text);
        assert!(refused.text.contains("<nav aria-label=\"Pages\">"), "{}", refused.text);
    }
    assert_eq!(house.count("from safelight.jobs where state = 0").await, 1);
}

#[tokio::test]
async fn a_page_before_the_sign_in_tells_nobody_its_address() {
    let house = House::build().await;
    for path in ["/console/sign-in", "/console/sign-in?to=%2Fconsole%2Fjobs"] {
        assert_eq!(look(&house, path, "").await.header("referrer-policy"), "no-referrer", "{path}");
    }
}
