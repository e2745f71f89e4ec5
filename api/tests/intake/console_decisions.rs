//! Deciding about people from the page of cases: who a case is of, that it is answered, refused or takes longer, and what an objection
//! comes to. By the functions of the command line, once however often the form is sent, and for people of the house only.

use axum::http::StatusCode;
use safelight_api::tokens::Scope;
use safelight_jobs::id::{Case, Id, Subject};
use serde_json::json;

use crate::{
    browser::Browser,
    house::{Answer, House},
};

const PAGE: &str = "/console/cases";

async fn a_case(house: &House, kind: &str, subject: Option<Id<Subject>>) -> Id<Case> {
    let case = Id::<Case>::new();
    let whose = subject.map_or("null".to_owned(), |subject| format!("'{}'", subject.uuid()));
    house
        .run(&format!(
            "insert into safelight.cases (id, tenant, subject_id, kind, channel, received_at, answer_due, opened_by)
            values ('{}', 'haloprofile', {whose}, '{kind}', 'mail', safelight.now(), safelight.now() + interval '1 month', 'ops_1')",
            case.uuid()
        ))
        .await;
    case
}

fn leads_to(answer: &Answer, done: &str) {
    let page = format!("{PAGE}?done={done}");
    assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, page.as_str()), "{}", answer.text);
}

fn refused(answer: &Answer, status: u16, says: &str) {
    assert_eq!(answer.status.as_u16(), status, "{}", answer.text);
    assert!(answer.text.contains(says), "{says}: {}", answer.text);
}

async fn kept(house: &House, action: &str, outcome: &str, why: &str) -> i64 {
    house
        .count(&format!(
            "from safelight.operator_acts where action = '{action}' and outcome = '{outcome}' and why = '{why}' and actor = 'test'"
        ))
        .await
}

#[tokio::test]
async fn an_erasure_begins_when_somebody_says_whose_case_it_is_and_means_it() {
    let house = House::build().await;
    let backend = house.backend("haloprofile").await;
    let (ann, bob) = (house.person(&backend).await, house.person(&backend).await);
    let case = a_case(&house, "erasure", None).await;
    let operator = Browser::of(&house, None, &[Scope::Operate]).await;
    let verify = format!("{PAGE}/{case}/verify");
    let shown = operator.opens(PAGE).await.text;
    assert!(shown.contains(&verify) && shown.contains("everything about them is erased"), "{shown}");
    assert!(!shown.contains(&format!("{PAGE}/{case}/answer")), "nobody answers somebody unknown");
    refused(&operator.presses(PAGE, &format!("{PAGE}/{case}/answer"), "").await, 409, "identity_unverified");

    refused(&operator.presses(PAGE, &verify, &format!("&subject={ann}")).await, 422, "tick that this is meant");
    refused(&operator.presses(PAGE, &verify, "&sure=yes").await, 422, "`subject`");
    assert_eq!(house.count("from safelight.deletions").await, 0);
    let sure = format!("&subject={ann}&sure=yes");
    leads_to(&operator.presses(PAGE, &verify, &sure).await, "verified_and_its_erasure_has_begun");
    leads_to(&operator.presses(PAGE, &verify, &sure).await, "verified");
    refused(&operator.presses(PAGE, &verify, &format!("&subject={bob}&sure=yes")).await, 409, "case_of_another");
    assert_eq!(house.count("from safelight.deletions").await, 1);
    assert_eq!(kept(&house, "case.decided", "verified_and_its_erasure_has_begun", "asked for").await, 1);
    assert_eq!(house.count("from safelight.operator_acts where action = 'case.decided'").await, 1, "once");
    assert_eq!(house.count("from safelight.cases where identity_by like 'token\\_%'").await, 1);

    leads_to(&operator.presses(PAGE, &format!("{PAGE}/{case}/answer"), "").await, "answered");
    let again = operator.presses("/console/controls", &format!("{PAGE}/{case}/answer"), "").await;
    refused(&again, 409, "case_closed");
    assert_eq!(kept(&house, "case.decided", "answered", "asked for").await, 1);
}

#[tokio::test]
async fn a_case_takes_longer_once_and_is_refused_with_a_code() {
    let house = House::build().await;
    let case = a_case(&house, "access", None).await;
    let operator = Browser::of(&house, None, &[Scope::Operate]).await;
    let (longer, refuse) = (format!("{PAGE}/{case}/extend"), format!("{PAGE}/{case}/refuse"));
    refused(&operator.presses(PAGE, &longer, "&why=Too+many+at+once").await, 422, "not_a_code");
    leads_to(&operator.presses(PAGE, &longer, "&why=too_many_at_once").await, "extended");
    refused(&operator.presses(PAGE, &longer, "&why=too_many_at_once").await, 409, "cannot_extend");
    refused(&operator.presses(PAGE, &refuse, "&why=Not+Ann").await, 422, "not_a_code");
    leads_to(&operator.presses(PAGE, &refuse, "&why=identity_unverified").await, "refused");
    assert_eq!(house.count("from safelight.cases where state = 'refused' and why = 'identity_unverified'").await, 1);
    assert_eq!(kept(&house, "case.decided", "refused", "identity_unverified").await, 1);
    refused(&operator.presses("/console/controls", &format!("{PAGE}/{case}/forget"), "").await, 404, "no_such_address");
}

#[tokio::test]
async fn an_objection_is_decided_once_and_nobody_is_released_who_was_not_told() {
    let house = House::build().await;
    let backend = house.backend("haloprofile").await;
    let subject = house.person(&backend).await;
    let objects =
        house.post(&backend, &format!("/v1/subjects/{subject}/objections"), json!({ "purpose": "observe" })).await;
    assert_eq!(objects.status, StatusCode::CREATED, "{}", objects.text);
    house.turn_clock_to("5 minutes").await;
    let operator = Browser::of(&house, None, &[Scope::Operate]).await;
    let address = format!("/console/objections/{subject}/observe");
    assert!(operator.opens(PAGE).await.text.contains(&format!("action=\"{address}\"")));
    let now: String =
        sqlx::query_scalar("select to_char(safelight.now() at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS')")
            .fetch_one(&house.owner)
            .await
            .expect("the time");

    let decided = "&decision=overridden&why=needed_against_fraud";
    refused(&operator.presses(PAGE, &address, "&why=needed_against_fraud").await, 422, "`decision`");
    refused(&operator.presses(PAGE, &address, "&decision=overridden&why=Because").await, 422, "not_a_code");
    refused(&operator.presses(PAGE, &address, decided).await, 409, "not_told");
    refused(&operator.presses(PAGE, &address, &format!("{decided}&told=mail")).await, 422, "both how");
    assert_eq!(house.count("from safelight.objections where state = 'open'").await, 1);
    let told = format!("{decided}&told=mail&told_at={now}");
    leads_to(&operator.presses(PAGE, &address, &told).await, "overridden");
    refused(&operator.presses("/console/controls", &address, &told).await, 404, "an open objection");
    let by = "from safelight.objections where state = 'overridden' and why = 'needed_against_fraud' and decided_by like 'token\\_%'";
    assert_eq!(house.count(by).await, 1);
    assert_eq!(house.count("from safelight.subjects where state = 'active'").await, 1);
    assert_eq!(kept(&house, "objection.decided", "overridden", "needed_against_fraud").await, 1);
    assert!(!operator.opens(PAGE).await.text.contains(&address), "nothing is left to decide");
}

#[tokio::test]
async fn a_tenants_operator_sees_cases_and_objections_and_decides_none() {
    let house = House::build().await;
    let backend = house.backend("haloprofile").await;
    let subject = house.person(&backend).await;
    let case = a_case(&house, "erasure", Some(subject)).await;
    house.post(&backend, &format!("/v1/subjects/{subject}/objections"), json!({ "purpose": "observe" })).await;
    let theirs = Browser::of(&house, Some("haloprofile"), &[Scope::Operate]).await;
    let shown = theirs.opens(PAGE).await.text;
    assert!(shown.contains(&case.to_string()) && !shown.contains("name=\"csrf\""), "{shown}");
    for (path, more) in [
        (format!("{PAGE}/{case}/verify"), format!("&subject={subject}&sure=yes")),
        (format!("/console/objections/{subject}/observe"), "&decision=upheld&why=they_are_right".to_owned()),
    ] {
        refused(&theirs.presses("/console/controls", &path, &more).await, 403, "house_required");
    }
    assert_eq!(house.count("from safelight.deletions").await, 0);
}
