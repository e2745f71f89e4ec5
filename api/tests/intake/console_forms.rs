//! The forms of the console: what was typed into one that is refused is there when somebody goes back, a reason is measured in
//! characters, and nothing of a form is wider than a small screen.

use axum::http::StatusCode;
use safelight_api::tokens::Scope;
use safelight_jobs::id::{self, Id};

use crate::{
    browser::Browser,
    console::sign_in,
    house::{Answer, House},
};

async fn job(house: &House) -> Id<id::Job> {
    house.run("select safelight.enqueue('train_model', '{}', p_tenant => 'koselfie')").await;
    let job: uuid::Uuid =
        sqlx::query_scalar("select id from safelight.jobs").fetch_one(&house.owner).await.expect("one");
    job.into()
}

#[tokio::test]
async fn a_browser_keeps_what_was_typed_into_a_form_and_never_a_token() {
    let house = House::build().await;
    let backend = house.backend("koselfie").await;
    let subject = house.person(&backend).await;
    let job = job(&house).await;
    let operator = Browser::of(&house, None, &[Scope::Operate]).await;
    let mut forms = 0;
    for page in [
        format!("/console/jobs/{job}"),
        format!("/console/subjects/{subject}"),
        "/console/controls".to_owned(),
        "/console/orders".to_owned(),
        "/console/cases".to_owned(),
        "/console/bulk/preview?act=hold&kind=train_model".to_owned(),
    ] {
        let shown = operator.opens(&page).await.text;
        for form in shown.split("method=\"post\"").skip(1).filter_map(|rest| rest.split("</form>").next()) {
            if form.contains("name=\"why\"") {
                forms += 1;
                assert!(!form.contains("autocomplete=\"off\""), "{page} forgets what was typed: {form}");
            }
        }
    }
    assert!(forms > 10, "{forms}");
    let door = crate::console::look(&house, "/console/sign-in", "").await.text;
    assert!(door.contains("name=\"token\" type=\"password\" autocomplete=\"off\""), "{door}");
}

#[tokio::test]
async fn a_reason_is_as_long_as_its_letters_are_many() {
    let house = House::build().await;
    let job = job(&house).await;
    let operator = Browser::of(&house, None, &[Scope::Operate]).await;
    let page = format!("/console/jobs/{job}");
    let csrf = operator.csrf(&page).await;
    let says = async |act: &str, letters: usize| -> Answer {
        let body = format!("csrf={csrf}&why={}", "%C3%BC".repeat(letters));
        operator.sends(&format!("{page}/{act}"), &body, "same-origin").await
    };
    for (act, letters) in [("hold", 200), ("release", 300)] {
        let done = says(act, letters).await;
        assert_eq!(done.status, StatusCode::SEE_OTHER, "{letters} letters: {}", done.text);
        let kept = format!("from safelight.operator_acts where why = repeat('ü', {letters})");
        assert_eq!(house.count(&kept).await, 1, "whole, as it was said");
    }
    let refused = says("hold", 301).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", refused.text);
    assert!(refused.text.contains("at most 300 characters"), "{}", refused.text);
    // So is what somebody signs in for.
    let token = house.token(None, &[Scope::Read]).await;
    let door = |letters: usize| format!("{token}&why={}&x=", "%C3%BC".repeat(letters));
    assert_eq!(sign_in(&house, &door(200)).await.status, StatusCode::SEE_OTHER);
    assert_eq!(sign_in(&house, &door(301)).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn an_act_on_many_jobs_never_passes_its_own_total() {
    let house = House::build().await;
    house
        .run(
            "insert into safelight.bulk_acts (id, job_id, act, kind, matched, matched_whole, actor, why, reached, done, passed_over)
            select id, gen_random_uuid(), 'hold', 'train_model', 53, true, 'x', 'x', id, 64, 3 from (select safelight.uuid_v7() as id) a",
        )
        .await;
    let id: uuid::Uuid =
        sqlx::query_scalar("select id from safelight.bulk_acts").fetch_one(&house.owner).await.expect("one");
    let operator = Browser::of(&house, None, &[Scope::Read]).await;
    for page in ["/console/bulk".to_owned(), format!("/console/bulk/{}", Id::<id::Bulk>::from(id))] {
        let shown = operator.opens(&page).await.text;
        assert!(shown.contains("64 of about 67, 3 stood elsewhere"), "{page}: {shown}");
        assert!(!shown.contains("64 of 53"), "{page}: {shown}");
    }
    house.run("update safelight.bulk_acts set done = 50").await;
    assert!(operator.opens("/console/bulk").await.text.contains("50 of 53, 3 stood elsewhere"), "as it was counted");
}

#[tokio::test]
async fn an_id_breaks_where_a_small_screen_ends() {
    let house = House::build().await;
    let style = house.get("", "/console/style.css").await.text;
    let rule = style.lines().find(|line| line.starts_with("code, a.id {")).expect("how ids are drawn");
    assert!(rule.contains("overflow-wrap: anywhere"), "{rule}");
}
