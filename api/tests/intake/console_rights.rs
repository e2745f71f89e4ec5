//! What people ask for, done from the console: a case is opened, an objection noted, somebody restricted, released and erased. By the
//! functions of the command line and of `/v1/subjects`, once however often the form is sent, and for people of the house only.

use axum::http::StatusCode;
use safelight_api::tokens::Scope;
use safelight_jobs::id::{Case, Id, Subject};

use crate::{
    browser::Browser,
    house::{Answer, House},
};

const CASES: &str = "/console/cases";

fn leads_to(answer: &Answer, page: &str, done: &str) {
    let address = format!("{page}?done={done}");
    assert_eq!(
        (answer.status, answer.header("location")),
        (StatusCode::SEE_OTHER, address.as_str()),
        "{}",
        answer.text
    );
}

fn refused(answer: &Answer, status: u16, says: &str) {
    assert_eq!(answer.status.as_u16(), status, "{}", answer.text);
    assert!(answer.text.contains(says), "{says}: {}", answer.text);
}

async fn kept(house: &House, action: &str, outcome: &str, about: impl std::fmt::Display) -> i64 {
    let who = "actor = 'test' and why = 'asked for'";
    house
        .count(&format!(
            "from safelight.operator_acts where action = '{action}' and outcome = '{outcome}' and about = '{about}' and {who}"
        ))
        .await
}

async fn stands(house: &House, subject: Id<Subject>, state: &str) -> bool {
    house.count(&format!("from safelight.subjects where id = '{}' and state = '{state}'", subject.uuid())).await == 1
}

/// The minute it is, so many later, as a browser's field sends it.
async fn minute(house: &House, later: i32) -> String {
    let sql =
        "select to_char((safelight.now() + make_interval(mins => $1)) at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI')";
    sqlx::query_scalar(sql).bind(later).fetch_one(&house.owner).await.expect("the time")
}

#[tokio::test]
async fn a_case_is_opened_once_however_often_and_however_fast_its_form_is_sent() {
    let house = House::build().await;
    let backend = house.backend("haloprofile").await;
    let ann = house.person(&backend).await;
    let operator = Browser::of(&house, None, &[Scope::Operate]).await;
    let shown = operator.opens(CASES).await.text;
    assert!(shown.contains("Open a case") && shown.contains("value=\"koselfie\""), "{shown}");

    let case = Id::<Case>::new();
    let good = format!("&case={case}&tenant=haloprofile&kind=access&channel=mail&received=2026-01-02T10:00");
    for (more, status, says) in [
        (good.replace("&kind=access", ""), 422, "unknown_word"),
        (good.replace("=mail", "=pigeon"), 422, "unknown_word"),
        (good.replace("haloprofile", "nobody"), 404, "a tenant of this name"),
        (good.replace("2026-01", "2926-01"), 422, "received_later"),
        (good.replace("T10:00", ""), 422, "value_refused"),
        (format!("{good}&subject=ann"), 422, "`subject`"),
        (format!("{good}&subject={}", Id::<Subject>::new()), 404, "does not exist"),
        (good.replace(&case.to_string(), "case_1"), 422, "`case`"),
    ] {
        refused(&operator.presses(CASES, CASES, &more).await, status, says);
    }
    assert_eq!(house.count("from safelight.cases").await, 0);

    for answer in futures::future::join_all((0..8).map(|_| operator.presses(CASES, CASES, &good))).await {
        leads_to(&answer, CASES, "case_opened");
    }
    let runs = "from safelight.cases where kind = 'access' and channel = 'mail' and subject_id is null and opened_by like 'token\\_%'
        and received_at = '2026-01-02T10:00Z' and answer_due = '2026-02-02T10:00Z'";
    assert_eq!((house.count(runs).await, house.count("from safelight.cases").await), (1, 1));
    assert_eq!(house.count("from safelight.audit_entries where action = 'case.opened'").await, 1);
    assert_eq!(kept(&house, "case.opened", "open", case).await, 1, "with who and why, once");
    assert!(operator.opens(CASES).await.text.contains(&case.to_string()));

    // Who goes back to the page that was sent, and opens another one in it, is told so: its month would run unseen.
    for other in
        [good.replace("=access", "=erasure"), good.replace("T10:00", "T11:00"), format!("{good}&subject={ann}")]
    {
        refused(&operator.presses(CASES, CASES, &other).await, 409, "idempotency_key_reused");
    }
    assert_eq!((house.count(runs).await, house.count("from safelight.cases").await), (1, 1));

    // From a person's page, of that person.
    let page = format!("/console/subjects/{ann}");
    let more =
        format!("&case={}&tenant=haloprofile&subject={ann}&page=person&kind=erasure&channel=letter", Id::<Case>::new());
    leads_to(&operator.presses(&page, CASES, &more).await, &page, "case_opened");
    let hers = format!("from safelight.cases where subject_id = '{}' and identity = 'unverified'", ann.uuid());
    assert_eq!(
        (house.count(&hers).await, house.count("from safelight.deletions").await),
        (1, 0),
        "nobody has verified it"
    );
}

#[tokio::test]
async fn an_objection_that_came_by_mail_is_noted_once_and_restricts() {
    let house = House::build().await;
    let backend = house.backend("haloprofile").await;
    let ann = house.person(&backend).await;
    let operator = Browser::of(&house, None, &[Scope::Operate]).await;
    let (page, object) = (format!("/console/subjects/{ann}"), format!("/console/subjects/{ann}/object"));
    assert!(operator.opens(&page).await.text.contains("value=\"observe\""), "what rests on a legitimate interest");
    refused(&operator.presses(&page, &object, "&purpose=train").await, 409, "no_objection");
    refused(&operator.presses(&page, &object, "&purpose=all").await, 422, "`purpose`");
    for answer in futures::future::join_all((0..4).map(|_| operator.presses(&page, &object, "&purpose=observe"))).await
    {
        leads_to(&answer, &page, "noted_and_to_be_decided");
    }
    assert!(stands(&house, ann, "restricted").await);
    assert_eq!(house.count("from safelight.objections where state = 'open' and purpose = 'observe'").await, 1);
    assert_eq!(kept(&house, "objection.noted", "restricted", ann).await, 1);
    let by = "from safelight.audit_entries where action = 'objection.noted' and actor = 'operator' and codes ->> 'by' like 'token\\_%'";
    assert_eq!(house.count(by).await, 1);
    let after = operator.opens(&page).await.text;
    assert!(!after.contains("value=\"observe\"") && after.contains("An objection is open"), "{after}");

    house.run("update safelight.objections set state = 'upheld', decided_at = safelight.now(), decided_by = 'ops_1', why = 'they_are_right'").await;
    leads_to(&operator.presses(&page, &object, "&purpose=observe").await, &page, "nothing_it_was_upheld_before");
}

#[tokio::test]
async fn somebody_is_restricted_and_released_within_one_minute_when_they_were_told() {
    let house = House::build().await;
    let backend = house.backend("haloprofile").await;
    let ann = house.person(&backend).await;
    let operator = Browser::of(&house, None, &[Scope::Operate]).await;
    let page = format!("/console/subjects/{ann}");
    let (restrict, release) = (format!("{page}/restrict"), format!("{page}/release"));
    let shown = operator.opens(&page).await.text;
    assert!(shown.contains(&restrict) && !shown.contains(&release), "{shown}");
    for (more, status, says) in [
        ("", 422, "`ground`"),
        ("&ground=because", 422, "`ground`"),
        ("&ground=claims", 422, "`keep_until`"),
        ("&ground=accuracy&keep_until=2926-01-01T10:00", 422, "`keep_until`"),
        ("&ground=claims&keep_until=2020-01-01T10:00", 422, "hold_is_over"),
        ("&ground=claims&keep_until=2926-01-01T10:00", 422, "hold_too_long"),
    ] {
        refused(&operator.presses(&page, &restrict, more).await, status, says);
    }
    assert!(stands(&house, ann, "active").await);
    leads_to(
        &operator.presses(&page, &restrict, "&ground=claims&keep_until=2046-01-01T10:00").await,
        &page,
        "restricted",
    );
    refused(&operator.presses(&page, &restrict, "&ground=accuracy").await, 409, "subject_restricted");
    assert_eq!(house.count("from safelight.restrictions where ground = 'claims' and lifted_at is null").await, 1);
    assert_eq!(house.count("from safelight.restrictions").await, 1);
    assert_eq!(kept(&house, "subject.restricted", "claims", ann).await, 1);

    refused(&operator.presses(&page, &release, "").await, 409, "not_told");
    refused(&operator.presses(&page, &release, "&told=mail").await, 422, "both how");
    for wrong in [-2, 2] {
        let told = format!("&told=mail&told_at={}", minute(&house, wrong).await);
        refused(&operator.presses(&page, &release, &told).await, 409, "not_told");
    }
    // The field of a browser says the minute alone, in which both happened.
    let told = format!("&told=letter&told_at={}", minute(&house, 0).await);
    leads_to(&operator.presses(&page, &release, &told).await, &page, "released");
    refused(&operator.presses(&page, &release, &told).await, 409, "not_restricted");
    assert!(stands(&house, ann, "active").await);
    let evidence = "from safelight.restrictions where told = 'letter' and told_at between set_at and lifted_at";
    assert_eq!(house.count(evidence).await, 1);
    assert_eq!(kept(&house, "subject.released", "active", ann).await, 1);
}

#[tokio::test]
async fn an_erasure_begins_once_and_only_where_the_persons_id_was_typed() {
    let house = House::build().await;
    let backend = house.backend("haloprofile").await;
    let (ann, bob) = (house.person(&backend).await, house.person(&backend).await);
    let operator = Browser::of(&house, None, &[Scope::Operate]).await;
    let (page, erase) = (format!("/console/subjects/{ann}"), format!("/console/subjects/{ann}/erase"));
    assert!(operator.opens(&page).await.text.contains(&format!("pattern=\"{ann}\"")));
    for more in [String::new(), "&sure=yes".to_owned(), format!("&typed={bob}"), "&typed=subject_".to_owned()] {
        refused(&operator.presses(&page, &erase, &more).await, 422, "to say that this is meant");
    }
    assert_eq!(house.count("from safelight.deletions").await, 0);
    let typed = format!("&typed={ann}");
    for answer in futures::future::join_all((0..4).map(|_| operator.presses(&page, &erase, &typed))).await {
        leads_to(&answer, &page, "the_erasure_has_begun");
    }
    let hers = format!("from safelight.deletions where subject_id = '{}' and trigger = 'erasure'", ann.uuid());
    assert_eq!((house.count(&hers).await, house.count("from safelight.deletions").await), (1, 1));
    assert_eq!(house.count("from safelight.jobs where kind = 'delete_data'").await, 1);
    assert_eq!(kept(&house, "erasure.asked", "fenced", ann).await, 1, "with who and why, once");
    assert!(stands(&house, bob, "active").await);
    let after = operator.opens(&page).await.text;
    for gone in ["erase", "restrict", "object", "release", "export", "photo"] {
        assert!(!after.contains(&format!("{page}/{gone}\"")), "nothing else is done about somebody erased: {gone}");
    }
}

#[tokio::test]
async fn an_export_and_the_deletion_of_one_photo_are_asked_for_from_a_persons_page_once() {
    let house = House::build().await;
    let backend = house.backend("haloprofile").await;
    let (ann, bob) = (house.person(&backend).await, house.person(&backend).await);
    let batch = house.post(&backend, &format!("/v1/subjects/{ann}/batches"), serde_json::json!({})).await;
    let (photo, _) = house.upload(&backend, batch.body["batch"].as_str().expect("an id"), crate::house::photo()).await;
    let operator = Browser::of(&house, None, &[Scope::Operate]).await;
    let page = format!("/console/subjects/{ann}");
    let (export, delete) = (format!("{page}/export"), format!("{page}/photo"));

    refused(&operator.presses(&page, &export, "&why=She+wrote+to+us").await, 422, "not_a_code");
    leads_to(&operator.presses(&page, &export, "&why=access_by_mail").await, &page, "asked_for");
    leads_to(&operator.presses(&page, &export, "&why=access_by_mail").await, &page, "nothing_it_is_being_made");
    let asked = "from safelight.operator_acts where action = 'export.asked' and about like 'artifact\\_%' and actor = 'test' and why = 'access_by_mail'";
    assert_eq!(
        (house.count(asked).await, house.count("from safelight.artifacts where class = 'export'").await),
        (1, 1)
    );

    refused(&operator.presses(&page, &delete, &format!("&photo={photo}")).await, 422, "tick that this is meant");
    refused(&operator.presses(&page, &delete, "&photo=mine&sure=yes").await, 422, "`photo`");
    let of_bob = format!("/console/subjects/{bob}/photo");
    refused(&operator.presses(&page, &of_bob, &format!("&photo={photo}&sure=yes")).await, 404, "does not exist");
    assert_eq!(house.count("from safelight.deletions").await, 0);
    let sure = format!("&photo={photo}&sure=yes");
    for answer in futures::future::join_all((0..4).map(|_| operator.presses(&page, &delete, &sure))).await {
        leads_to(&answer, &page, "its_deletion_has_begun");
    }
    assert_eq!(house.count("from safelight.deletions where trigger = 'one_photo'").await, 1);
    assert_eq!(kept(&house, "photo.deletion_asked", "fenced", ann).await, 1, "with who and why, once");
}

/// The sealed log says of each act that somebody of the house did it, and who, as a code.
#[tokio::test]
async fn what_is_done_from_a_page_stands_in_the_sealed_log_as_an_operators() {
    let house = House::build().await;
    let backend = house.backend("haloprofile").await;
    let ann = house.person(&backend).await;
    let operator = Browser::of(&house, None, &[Scope::Operate]).await;
    let page = format!("/console/subjects/{ann}");
    operator.presses(&page, &format!("{page}/restrict"), "&ground=accuracy").await;
    house.turn_clock_to("2 minutes").await;
    let told = format!("&told=mail&told_at={}", minute(&house, 0).await);
    let released = operator.presses(&page, &format!("{page}/release"), &told).await;
    assert_eq!(released.status, StatusCode::SEE_OTHER, "{}", released.text);
    operator.presses(&page, &format!("{page}/erase"), &format!("&typed={ann}")).await;
    for action in ["subject.restricted", "subject.released", "erasure.requested"] {
        let sealed = format!(
            "from safelight.audit_entries where action = '{action}' and actor = 'operator' and codes ->> 'by' like 'token\\_%'"
        );
        assert_eq!(house.count(&sealed).await, 1, "{action}");
    }
}

#[tokio::test]
async fn what_is_left_of_an_order_that_came_to_nothing_is_deleted_from_its_page_once() {
    let house = House::build().await;
    let backend = house.backend("haloprofile").await;
    let ann = house.person(&backend).await;
    let order = house.order(&backend, ann, "cs_test_rest").await;
    let operator = Browser::of(&house, Some("haloprofile"), &[Scope::Operate]).await;
    let (page, address) = (format!("/console/orders/{order}"), format!("/console/orders/{order}/delete"));
    assert!(!operator.opens(&page).await.text.contains("Delete what is left"), "it is under way");
    let typed = format!("&typed={order}");
    let early = operator.presses("/console/controls", &address, &typed).await;
    refused(&early, 409, "order_not_failed");
    house.run("update safelight.orders set state = 'refused', problem = 'photos_unusable'").await;
    refused(&operator.presses(&page, &address, "&typed=order_1").await, 422, "to say that this is meant");
    let stranger = Browser::of(&house, Some("koselfie"), &[Scope::Operate]).await;
    refused(&stranger.presses("/console/controls", &address, &typed).await, 404, "not_found");
    assert_eq!(house.count("from safelight.deletions").await, 0);
    let mut led = Vec::new();
    for answer in futures::future::join_all((0..4).map(|_| operator.presses(&page, &address, &typed))).await {
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
        led.push(answer.header("location").to_owned());
    }
    led.dedup();
    assert!(led.len() == 1 && led[0].starts_with("/console/deletions/deletion_"), "{led:?}");
    assert!(operator.opens(&led[0]).await.text.contains("Done: its deletion has begun"));
    assert_eq!(kept(&house, "order.deletion_asked", "fenced", order).await, 1, "with who and why, once");
    assert_eq!(house.count("from safelight.deletions where trigger = 'failed_order'").await, 1);
}

#[tokio::test]
async fn who_may_only_look_and_a_tenants_operator_do_nothing_about_a_person() {
    let house = House::build().await;
    let backend = house.backend("haloprofile").await;
    let ann = house.person(&backend).await;
    let page = format!("/console/subjects/{ann}");
    let house_operator = Browser::of(&house, None, &[Scope::Operate]).await;
    refused(&house_operator.presses(&page, &format!("{page}/forget"), "").await, 404, "no_such_address");
    let reader = Browser::of(&house, None, &[Scope::Read]).await;
    let theirs = Browser::of(&house, Some("haloprofile"), &[Scope::Operate]).await;
    let acts = [
        (CASES.to_owned(), format!("&case={}&tenant=haloprofile&kind=access&channel=mail", Id::<Case>::new())),
        (format!("{page}/restrict"), "&ground=accuracy".to_owned()),
        (format!("{page}/release"), format!("&told=mail&told_at={}", minute(&house, 0).await)),
        (format!("{page}/object"), "&purpose=observe".to_owned()),
        (format!("{page}/erase"), format!("&typed={ann}")),
        (format!("{page}/export"), String::new()),
        (format!("{page}/photo"), format!("&photo=artifact_{}&sure=yes", uuid::Uuid::nil().simple())),
    ];
    for shown in [CASES, &page] {
        assert!(!reader.opens(shown).await.text.contains("name=\"csrf\""), "{shown} has no form for who looks");
        assert!(
            !theirs.opens(shown).await.text.contains("name=\"csrf\""),
            "{shown} has no form for a tenant's operator"
        );
    }
    for (path, more) in acts {
        refused(&theirs.presses("/console/controls", &path, &more).await, 403, "house_required");
        refused(&reader.sends(&path, &format!("csrf=&why=code{more}"), "same-origin").await, 403, "scope_missing");
    }
    assert!(stands(&house, ann, "active").await);
    let done = "from safelight.operator_acts where action <> 'console.look'";
    assert_eq!((house.count("from safelight.cases").await, house.count(done).await), (0, 0));
}
