//! The console: who may look, and what is never shown.

use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};
use safelight_api::tokens::Scope;
use safelight_jobs::id::{self, Id};
use serde_json::json;

use crate::{
    certificates::certified,
    house::{Answer, House},
};

pub(crate) async fn look(house: &House, path: &str, cookie: &str) -> Answer {
    let request = Request::builder().uri(path).header("cookie", cookie).body(Body::empty()).expect("a request");
    house.send(request).await
}

pub(crate) async fn sign_in(house: &House, token: &str) -> Answer {
    let request = Request::builder()
        .method(Method::POST)
        .uri("/console/sign-in")
        .header("content-type", "application/x-www-form-urlencoded")
        .header("sec-fetch-site", "same-origin")
        .body(Body::from(format!("token={token}&why=a+test")))
        .expect("a request");
    house.send(request).await
}

pub(crate) fn cookie(answer: &Answer) -> String {
    answer.header("set-cookie").split(';').next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn the_console_opens_to_readers_and_operators_only() {
    let house = House::build().await;
    for (path, door) in [
        ("/console", "/console/sign-in"),
        ("/console/orders/order_0", "/console/sign-in?to=%2Fconsole%2Forders%2Forder_0"),
        ("/console/find?id=x", "/console/sign-in?to=%2Fconsole%2Ffind%3Fid%3Dx"),
        ("/console/nowhere", "/console/sign-in?to=%2Fconsole%2Fnowhere"),
    ] {
        let answer = look(&house, path, "safelight_console=0").await;
        assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, door), "{path}");
    }
    for scope in Scope::ALL {
        let token = house.token(Some("koselfie"), &[scope]).await;
        let answer = sign_in(&house, &token).await;
        let opens = matches!(scope, Scope::Read | Scope::Operate);
        assert_eq!(answer.status == StatusCode::SEE_OTHER, opens, "{scope}");
        assert_eq!(answer.header("set-cookie").is_empty(), !opens);
        assert!(!answer.header("set-cookie").contains(&token));
    }
    assert_eq!(sign_in(&house, "slt_nothing").await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_foreign_page_cannot_sign_anybody_in() {
    let house = House::build().await;
    let token = house.token(None, &[Scope::Operate]).await;
    for (site, status) in [("cross-site", 403), ("same-site", 403), ("same-origin", 303)] {
        let request = Request::builder()
            .method(Method::POST)
            .uri("/console/sign-in")
            .header("sec-fetch-site", site)
            .body(Body::from(format!("token={token}&why=on+call")))
            .expect("a request");
        let answer = house.send(request).await;
        assert_eq!((answer.status.as_u16(), answer.header("set-cookie").is_empty()), (status, status == 403), "{site}");
    }
}

/// Every page that somebody who is signed in may open, with something that it shows.
const PAGES: &[(&str, &str)] = &[
    ("/console", "{order}"),
    ("/console/jobs", "{job}"),
    ("/console/jobs/{job}", "{job}"),
    ("/console/bulk", "{bulk}"),
    ("/console/bulk/preview?act=cancel&kind=train_model", "{job}"),
    ("/console/bulk/{bulk}", "{bulk}"),
    ("/console/dead", "mail_refused"),
    ("/console/orders", "{order}"),
    ("/console/orders/{order}", "0.620"),
    ("/console/deletions", "{deletion}"),
    ("/console/deletions/{deletion}", "legal deadline"),
    ("/console/deletions/{deletion}/certificate", "KoSelfie"),
    ("/console/cases", "Objections"),
    ("/console/subjects/{subject}", "{order}"),
    ("/console/queues", "oldest ready"),
    ("/console/providers", "fal"),
    ("/console/sweeps", "<h1>Sweeps"),
    ("/console/findings", "There are none."),
    ("/console/orders/late", "None is late."),
    ("/console/policies", "haloprofile"),
    ("/console/controls", "Pause"),
    ("/console/schedules", "Schedules"),
    ("/console/workers", "Workers"),
    ("/console/audit", "not sealed"),
    ("/console/tokens", "test"),
];
/// What leads elsewhere, signs in, or is style and script.
const NO_PAGES: &[&str] =
    &["/console/find", "/console/sign-in", "oidc::ADDRESS", "refresh::ADDRESS", "/console/style.css"];

#[test]
fn no_page_is_missing_from_the_list() {
    let source = include_str!("../../src/console/mod.rs");
    let routes = source.split(".route(").skip(1).filter_map(|route| {
        let route = route.split("\n        .").next()?;
        route.contains("get(").then(|| route.split(',').next().unwrap_or_default().trim_matches('"').to_owned())
    });
    let mut routed: Vec<String> = routes.map(|route| route.replace("queues::ADDRESS", "/console/queues")).collect();
    let known = PAGES.iter().map(|(path, _)| path.split('?').next().unwrap_or_default());
    let mut known: Vec<String> = known.chain(NO_PAGES.iter().copied()).map(str::to_owned).collect();
    routed.sort();
    known.sort();
    assert_eq!(routed, known);
}

#[tokio::test]
async fn no_page_shows_a_mail_a_prompt_a_link_or_runs_a_strangers_script() {
    let house = House::build().await;
    let backend = house.backend("haloprofile").await;
    let email = json!({ "email": "planted@example.org", "name": "Planted Name" });
    let subject = house.post(&backend, "/v1/subjects", email).await.id("subject");
    let order = house.order(&backend, subject, "cs_test_console").await;
    house
        .run(
            "insert into safelight.artifacts (id, tenant, subject_id, generation, class, order_id, position, state, storage_key,
                content_type, bytes, sha256, delivered_at) select gen_random_uuid(), tenant, subject_id, 1, 'image', id, n, 'stored',
                'haloprofile/' || replace(subject_id::text, '-', '') || '/image/' || n, 'image/png', 9, repeat('0', 64), safelight.now()
            from safelight.orders, generate_series(0, 3) n;
            insert into safelight.similarities (image_id, order_id, best, mean_best3, compared, verdict, model_sha256)
                select id, order_id, 0.71, 0.62, 6, 'alike', repeat('0', 64) from safelight.artifacts where class = 'image' and position < 3;
            insert into safelight.artifacts (id, tenant, subject_id, generation, class, order_id, position, state, verdict, storage_key,
                content_type, bytes, sha256) select gen_random_uuid(), tenant, subject_id, 1, 'image', id, 4, 'withheld', 'nsfw',
                'haloprofile/' || replace(subject_id::text, '-', '') || '/image/4', 'image/png', 9, repeat('0', 64) from safelight.orders"
        )
        .await;
    let erasure = house.post(&backend, &format!("/v1/subjects/{subject}/erase"), json!({})).await;
    let deletion = erasure.body["deletion"].as_str().expect("an id").to_owned();
    house
        .run(
            "select safelight.enqueue('train_model', '{\"note\": \"planted payload\"}', p_tenant => 'haloprofile');
            insert into safelight.dead_letters (id, queue, kind, version, payload, tenant, priority, attempt, max_attempts, crashes, waits, code, created_at)
            select safelight.uuid_v7(), 'notices', 'send_notice', 1, '{\"note\": \"planted payload\"}', 'haloprofile', 0, 5, 5, 0, 0, 'mail_refused', now()",
        )
        .await;
    let operator = house.token(None, &[Scope::Operate]).await;
    let asked = json!({ "act": "hold", "jobs": { "kind": "train_model" }, "why": "a test" });
    let bulk = house.post(&operator, "/v1/bulk-acts", asked).await.body["bulk"].as_str().expect("an id").to_owned();
    let certificate = certified(&house).await.to_string();
    let job: uuid::Uuid = sqlx::query_scalar("select id from safelight.jobs where kind = 'train_model'")
        .fetch_one(&house.owner)
        .await
        .expect("a job");
    let job = Id::<id::Job>::from(job).to_string();
    let session = cookie(&sign_in(&house, &operator).await);
    let filled = |pattern: &str| {
        pattern
            .replace("{job}", &job)
            .replace("{bulk}", &bulk)
            .replace("{order}", &order.to_string())
            .replace("{subject}", &subject.to_string())
            .replace("{deletion}/certificate", &format!("{certificate}/certificate"))
            .replace("{deletion}", &deletion)
    };
    for (pattern, shows) in PAGES {
        let shows = filled(shows);
        let path = filled(pattern);
        let page = look(&house, &path, &session).await;
        assert_eq!(page.status, StatusCode::OK, "{path}: {}", page.text);
        assert!(page.text.contains(&shows), "{path} shows {shows}: {}", page.text);
        for never in [
            "planted",
            "Planted",
            "@example",
            "X-Amz",
            "storage/v1",
            "cs_test_",
            "<img",
            "<script",
            "style=\"",
            "haloprofile/",
        ] {
            // One script, where something is under way: ours.
            let text = page.text.replace("<script src=\"/console/refresh.js\" defer></script>", "");
            assert!(!text.contains(never), "{path} shows {never}");
        }
        // A certificate is a page to print: it brings its own style and fetches nothing.
        let policy = if path.ends_with("/certificate") { "style-src 'unsafe-inline'" } else { "style-src 'self'" };
        let header = page.header("content-security-policy");
        assert!(header.starts_with("default-src 'none'; ") && header.contains(policy), "{path}: {header}");
        assert!(page.header("cache-control").contains("no-store"), "{path}");
    }
    let other = cookie(&sign_in(&house, &house.token(Some("koselfie"), &[Scope::Read]).await).await);
    assert_eq!(look(&house, &format!("/console/orders/{order}"), &other).await.status, StatusCode::NOT_FOUND);
    assert_eq!(look(&house, &format!("/console/deletions/{deletion}"), &other).await.status, StatusCode::NOT_FOUND);
    assert!(!look(&house, "/console", &other).await.text.contains(&order.to_string()));
    let bad = look(&house, "/console/orders/nothing", &session).await;
    assert_eq!((bad.status, bad.header("content-type")), (StatusCode::BAD_REQUEST, "text/html; charset=utf-8"));
    if let Some(folder) = std::env::var_os("SAFELIGHT_KEEP_PAGES") {
        keep_pages(
            &house,
            std::path::Path::new(&folder),
            &session,
            &["jobs", "nowhere", &format!("orders/{order}"), &format!("deletions/{deletion}")],
        )
        .await;
    }
}

#[tokio::test]
async fn the_overview_draws_what_ended_how_old_work_is_and_what_is_due_and_says_it_in_words() {
    let house = House::build().await;
    let backend = house.backend("koselfie").await;
    let subject = house.person(&backend).await;
    let session = cookie(&sign_in(&house, &house.token(None, &[Scope::Read]).await).await);
    let empty = look(&house, "/console", &session).await.text;
    assert!(
        empty.contains("Nothing ended within the hour.")
            && empty.contains("Nothing reaches its term within seven days")
    );
    house
        .run(&format!(
            "insert into safelight.jobs_archive (id, queue, kind, version, payload, tenant, attempt, waits, outcome, run_at, created_at,
                started_at, finished_at, prune_on)
            select safelight.uuid_v7(), 'training', 'train_model', 1, '{{}}', 'koselfie', 1, 0, case when n = 1 then 'cancelled' else 'done' end,
                t - interval '5 seconds', t - interval '5 seconds', t - interval '2 seconds', t, t::date + 21
            from generate_series(1, 7) n, lateral (select clock_timestamp() - interval '3 minutes 1 second' * n as t) x;
            insert into safelight.jobs_archive (id, queue, kind, version, payload, attempt, waits, outcome, run_at, created_at, finished_at, prune_on)
            select safelight.uuid_v7(), 'sweeps', 'sweep_orphans', 1, '{{}}', 1, 0, 'done', t, t, t, t::date + 21
            from (select clock_timestamp() - interval '61 minutes' as t) x;
            insert into safelight.dead_letters (id, queue, kind, version, payload, tenant, priority, attempt, max_attempts, crashes, waits, code,
                created_at, died_at)
            values (safelight.uuid_v7(), 'notices', 'send_notice', 1, '{{}}', 'haloprofile', 0, 5, 5, 0, 0, 'mail_refused', now(), now() - interval '10 minutes 30 seconds');
            insert into safelight.artifacts (id, tenant, subject_id, generation, class, state, storage_key, content_type, bytes, sha256, delete_after)
            select x.id, 'koselfie', '{subject}', 1, 'export', 'stored', 'koselfie/' || replace('{subject}', '-', '') || '/export/' || x.id,
                'application/zip', 9, repeat('0', 64), now() + interval '50 hours' from (select gen_random_uuid() as id from generate_series(1, 3)) x;
            insert into safelight.deletions (id, tenant, subject_id, trigger, state, answer_due)
            select safelight.uuid_v7(), 'koselfie', '{subject}', 'retention', 'planned', now() + interval '30 hours'",
            subject = subject.uuid()
        ))
        .await;
    let page = look(&house, "/console", &session).await;
    for words in [
        "6 done, 1 cancelled, 1 gave up; 1 in the busiest minute.",
        "Nothing is due and waits.",
        "3 objects reach their term within seven days; 1 open deletion reaches its legal deadline.",
        "<title id=\"finished-title\">Jobs ended a minute, last hour</title>",
        "– · 3 s",
        "day 2<tspan class=\"deadline\"> · 1</tspan>",
    ] {
        assert!(page.text.contains(words), "{words} is missing: {}", page.text);
    }
    assert_eq!(page.text.matches("<rect class=\"gave_up\"").count(), 1);
    assert!(!page.text.contains("style=\"") && page.text.matches("<script").count() == 1);
    // A tenant sees its own.
    let other = cookie(&sign_in(&house, &house.token(Some("haloprofile"), &[Scope::Read]).await).await);
    let its = look(&house, "/console", &other).await.text;
    assert!(its.contains("0 done, 0 cancelled, 1 gave up") && its.contains("Nothing reaches its term"), "{its}");
    // Where there are more than anybody counts, the page says among which it looked.
    house
        .run(
            "insert into safelight.jobs_archive (id, queue, kind, version, payload, attempt, waits, outcome, run_at, created_at, finished_at, prune_on)
            select safelight.uuid_v7(), 'sweeps', 'sweep_orphans', 1, '{}', 1, 0, 'done', now(), now(), now(), now()::date + 21 from generate_series(1, 10000);
            insert into safelight.deletions (id, tenant, subject_id, trigger, state, answer_due)
            select safelight.uuid_v7(), 'koselfie', id, 'retention', 'planned', now() + interval '3 days' from safelight.subjects, generate_series(1, 2000)",
        )
        .await;
    let many = look(&house, "/console", &session).await.text;
    assert!(many.contains("Among the newest 10000 jobs, made since"), "{many}");
    assert!(many.contains("2000 or more open deletions reach their legal deadline"), "{many}");
}

/// For looking at them: the pages as files, with their style sheet.
async fn keep_pages(house: &House, folder: &std::path::Path, session: &str, more: &[&str]) {
    std::fs::create_dir_all(folder).expect("a folder");
    let sheet = house.get("", "/console/style.css").await.text;
    std::fs::write(folder.join("style.css"), sheet).expect("a file");
    let door = house.get("", "/console/sign-in").await.text;
    let mut pages =
        vec![("sign-in".to_owned(), door), ("overview".to_owned(), look(house, "/console", session).await.text)];
    for path in more {
        let name = path.split('/').next().unwrap_or_default().to_owned();
        pages.push((name, look(house, &format!("/console/{path}"), session).await.text));
    }
    for (name, text) in pages {
        let text = text.replace("/console/style.css", "style.css");
        std::fs::write(folder.join(format!("{name}.html")), text).expect("a file");
    }
}
