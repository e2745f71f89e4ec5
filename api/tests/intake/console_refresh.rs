//! Pages where something is under way show themselves again, by one script of ours; and what that must not do: keep a session alive, or
//! look at a person's case unseen.

use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};
use safelight_api::tokens::Scope;
use safelight_jobs::id::{self, Id};

use crate::{
    console::{cookie, sign_in},
    house::{Answer, House},
};

/// What the script sends.
async fn refreshes(house: &House, path: &str, session: &str) -> Answer {
    let request =
        Request::builder().method(Method::GET).uri(path).header("cookie", session).header("safelight-refresh", "1");
    house.send(request.body(Body::empty()).expect("a request")).await
}

async fn opens(house: &House, path: &str, session: &str) -> Answer {
    crate::console::look(house, path, session).await
}

async fn operator(house: &House) -> String {
    cookie(&sign_in(house, &house.token(None, &[Scope::Operate]).await).await)
}

#[tokio::test]
async fn what_is_under_way_shows_itself_again_and_what_is_over_does_not() {
    let house = House::build().await;
    let backend = house.backend("koselfie").await;
    let subject = house.person(&backend).await;
    let order = house.order(&backend, subject, "cs_test_refresh").await;
    let erasure = house.post(&backend, &format!("/v1/subjects/{subject}/erase"), serde_json::json!({})).await;
    let deletion: Id<id::Deletion> = erasure.id("deletion");
    house
        .run(
            "insert into safelight.bulk_acts (id, job_id, act, kind, matched, matched_whole, actor, why, reached)
            select id, job_id, 'hold', 'train_model', 1, true, 'x', 'x', id
            from (select safelight.uuid_v7() as id) a, safelight.enqueue('act_on_jobs', '{}') e",
        )
        .await;
    let bulk: uuid::Uuid =
        sqlx::query_scalar("select id from safelight.bulk_acts").fetch_one(&house.owner).await.expect("one");
    let bulk = Id::<id::Bulk>::from(bulk);
    let session = operator(&house).await;
    let pages = [
        "/console".to_owned(),
        format!("/console/orders/{order}"),
        format!("/console/deletions/{deletion}"),
        format!("/console/bulk/{bulk}"),
    ];
    for page in &pages {
        let shown = opens(&house, page, &session).await;
        assert_eq!(shown.status, StatusCode::OK, "{page}: {}", shown.text);
        assert_eq!(shown.text.matches("<div id=\"under-way\" data-refresh=\"").count(), 1, "{page}: {}", shown.text);
        assert_eq!(shown.text.matches("<script src=\"/console/refresh.js\" defer></script>").count(), 1, "{page}");
        let policy = shown.header("content-security-policy");
        assert!(
            policy.contains("script-src 'self'; connect-src 'self'") && !policy.contains("unsafe"),
            "{page}: {policy}"
        );
    }
    house
        .run(
            "update safelight.orders set state = 'delivered', paid_at = now(), delivered_at = now();
            update safelight.bulk_acts set finished_at = now()",
        )
        .await;
    for page in [&pages[1], &pages[3]] {
        let shown = opens(&house, page, &session).await;
        assert!(
            shown.text.contains("<div id=\"under-way\">") && !shown.text.contains("<script"),
            "{page}: {}",
            shown.text
        );
        assert!(!shown.header("content-security-policy").contains("script-src"), "{page}");
    }
    let script = house.get("", "/console/refresh.js").await;
    assert_eq!((script.status, script.header("content-type")), (StatusCode::OK, "text/javascript; charset=utf-8"));
    for never in ["eval", "Function(", "innerHTML", "style."] {
        assert!(!script.text.contains(never), "{never}");
    }
}

#[tokio::test]
async fn a_page_that_shows_itself_again_is_one_look_for_five_minutes_and_only_behind_a_look_that_was_kept() {
    let house = House::build().await;
    let backend = house.backend("koselfie").await;
    let subject = house.person(&backend).await;
    let order = house.order(&backend, subject, "cs_test_looks").await;
    let page = format!("/console/orders/{order}");
    let looks = format!("from safelight.operator_acts where action = 'console.look' and about = '{order}'");
    let session = operator(&house).await;
    assert_eq!(refreshes(&house, &page, &session).await.status, StatusCode::OK);
    assert_eq!(house.count(&looks).await, 1, "a header alone hides no look");
    for _ in 0..3 {
        assert_eq!(refreshes(&house, &page, &session).await.status, StatusCode::OK);
    }
    assert_eq!(house.count(&looks).await, 1, "it stands for what the page shows again");
    assert_eq!(opens(&house, &page, &session).await.status, StatusCode::OK);
    assert_eq!(house.count(&looks).await, 2, "who opens it has looked");
    house.turn_clock_to("4 minutes 50 seconds").await;
    refreshes(&house, &page, &session).await;
    assert_eq!(house.count(&looks).await, 2);
    house.turn_clock_to("5 minutes 10 seconds").await;
    refreshes(&house, &page, &session).await;
    assert_eq!(house.count(&looks).await, 3, "a page that stays open is a look every five minutes");
    // Somebody else's look stands for nothing of this one's.
    let other = operator(&house).await;
    house.run("update safelight.operator_acts set actor = 'another', at = safelight.now()").await;
    refreshes(&house, &page, &other).await;
    assert_eq!(house.count(&looks).await, 4);
}

#[tokio::test]
async fn a_page_that_shows_itself_again_keeps_no_session_alive() {
    let house = House::build().await;
    let (left, used) = (operator(&house).await, operator(&house).await);
    house.turn_clock_to("40 minutes").await;
    assert_eq!(refreshes(&house, "/console", &left).await.status, StatusCode::OK);
    assert_eq!(opens(&house, "/console", &used).await.status, StatusCode::OK);
    house.turn_clock_to("61 minutes").await;
    assert_eq!(refreshes(&house, "/console", &left).await.status, StatusCode::SEE_OTHER, "an hour alone");
    assert_eq!(opens(&house, "/console", &used).await.status, StatusCode::OK);
}
