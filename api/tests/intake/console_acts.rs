//! Acting from the console: each button is refused to who may only look, to a form of another site, and without a reason; and
//! does what it says, with who and why.

use axum::http::StatusCode;
use safelight_api::tokens::Scope;
use safelight_jobs::id::{self, Id};

use crate::{
    browser::Browser,
    house::{Answer, House},
};

/// Every address of the console that changes something, but for signing in and out; with a body that fits.
const MUTATIONS: &[(&str, &str)] = &[
    ("/console/jobs/{job}/{act}", ""),
    ("/console/jobs/{job}/payload", ""),
    ("/console/bulk", "&act=hold&kind=train_model"),
    ("/console/dead/{fate}", "&kind=train_model"),
    ("/console/controls/{scope}/{name}", "&act=pause"),
    ("/console/breakers/{provider}/close", ""),
    ("/console/schedules/{name}", "&act=pause"),
    ("/console/calls/{intent}/resolve", "&outcome=not_made&sure=yes"),
    ("/console/sweeps/{sweep}", "&sweep=sweep_019a8f2e6c5d7b1290f3a4b5c6d7e8f9"),
    ("/console/cases", "&case=case_019a8f2e6c5d7b1290f3a4b5c6d7e8f9&tenant=koselfie&kind=access&channel=mail"),
    ("/console/cases/{case}/{act}", ""),
    ("/console/subjects/{subject}/{act}", "&ground=accuracy"),
    ("/console/objections/{subject}/{purpose}", "&decision=upheld"),
    ("/console/tokens/{token}/revoke", "&sure=yes"),
    ("/console/orders/{order}/delete", "&typed=order_019a8f2e6c5d7b1290f3a4b5c6d7e8f9"),
    ("/console/orders/{order}/refund", "&refund=refund_019a8f2e6c5d7b1290f3a4b5c6d7e8f9&amount_cents=100&sure=yes"),
    (
        "/console/orders/erased/refund",
        "&refund=refund_019a8f2e6c5d7b1290f3a4b5c6d7e8f9&session=cs_test_gone&amount_cents=100&sure=yes",
    ),
];

fn filled(path: &str, job: &str) -> String {
    path.replace("{job}", job)
        .replace("{act}", "cancel")
        .replace("{fate}", "redrive")
        .replace("{scope}/{name}", "queue/training")
        .replace("{name}", "sweep_retention")
        .replace("{provider}", "fal")
        .replace("{case}", "case_019a8f2e6c5d7b1290f3a4b5c6d7e8f9")
        .replace("{subject}/{purpose}", "subject_019a8f2e6c5d7b1290f3a4b5c6d7e8f9/observe")
        .replace("{subject}", "subject_019a8f2e6c5d7b1290f3a4b5c6d7e8f9")
        .replace("{sweep}", "retention")
        .replace("{token}", "token_019a8f2e6c5d7b1290f3a4b5c6d7e8f9")
        .replace("{order}", "order_019a8f2e6c5d7b1290f3a4b5c6d7e8f9")
        .replace("{intent}", "intent_019a8f2e6c5d7b1290f3a4b5c6d7e8f9")
}

async fn job(house: &House, kind: &str, tenant: &str) -> String {
    let id: uuid::Uuid = sqlx::query_scalar("select job_id from safelight.enqueue($1, '{\"n\": 1}', p_tenant => $2)")
        .bind(kind)
        .bind(tenant)
        .fetch_one(&house.owner)
        .await
        .expect("a job");
    Id::<id::Job>::from(id).to_string()
}

/// Something that each mutation could change.
async fn furnished(house: &House) -> String {
    let dead = job(house, "train_model", "koselfie").await;
    let id: Id<id::Job> = dead.parse().expect("an id");
    house
        .run(&format!(
            "with gone as (delete from safelight.jobs where id = '{}' returning *)
            insert into safelight.dead_letters (id, queue, kind, version, payload, tenant, priority, attempt, max_attempts, crashes, waits, code,
                created_at) select id, queue, kind, version, payload, tenant, priority, 5, max_attempts, 0, waits, 'fal_rejected', created_at from gone;
            insert into safelight.breakers (provider, state, failures, probe_at) values ('fal', 'open', 5, safelight.now());
            insert into safelight.schedules (name, cron, catch_up) values ('sweep_retention', '0 * * * * *', 'once')",
            id.uuid()
        ))
        .await;
    job(house, "train_model", "koselfie").await
}

#[test]
fn no_address_that_changes_something_is_missing_from_the_list() {
    let source = include_str!("../../src/console/mod.rs");
    let posts = source.matches("post(").count();
    assert_eq!(posts, MUTATIONS.len() + 3, "the list, two ways of signing in, and signing out");
    for (path, _) in MUTATIONS {
        assert!(source.contains(&format!("\"{path}\"")), "{path}");
    }
}

#[tokio::test]
async fn who_may_only_look_sees_no_button_and_is_refused_at_each() {
    let house = House::build().await;
    let running = furnished(&house).await;
    let operator = Browser::of(&house, None, &[Scope::Operate]).await;
    let csrf = operator.csrf(&format!("/console/jobs/{running}")).await;
    let reader = Browser::of(&house, None, &[Scope::Read]).await;
    let stranger = Browser::holding(&house, "safelight_console=0".to_owned());
    let before = house.count("from safelight.operator_acts where action <> 'console.look'").await;
    for (path, more) in MUTATIONS {
        let path = filled(path, &running);
        for csrf in [csrf.as_str(), ""] {
            let refused = reader.sends(&path, &format!("csrf={csrf}&why=x{more}"), "same-origin").await;
            assert_eq!(refused.status, StatusCode::FORBIDDEN, "{path}");
            assert!(refused.text.contains("scope_missing"), "{path}: {}", refused.text);
        }
        let unknown = stranger.sends(&path, &format!("csrf={csrf}&why=x{more}"), "same-origin").await;
        assert_eq!(unknown.status, StatusCode::SEE_OTHER, "{path}");
        assert!(unknown.header("location").starts_with("/console/sign-in?"), "{path}: {}", unknown.header("location"));
    }
    for page in [
        "/console",
        "/console/jobs",
        &format!("/console/jobs/{running}"),
        "/console/dead",
        "/console/controls",
        "/console/schedules",
        "/console/providers",
        "/console/sweeps",
        "/console/cases",
        "/console/orders",
        "/console/tokens",
        "/console/jobs?kind=train_model",
        "/console/bulk",
    ] {
        let shown = reader.opens(page).await;
        assert_eq!(shown.status, StatusCode::OK, "{page}");
        assert!(!shown.text.contains("name=\"csrf\""), "{page} has no form that acts");
        assert!(!shown.text.contains("/console/bulk/preview"), "{page} offers no act on many jobs");
    }
    let preview = reader.opens("/console/bulk/preview?act=hold&kind=train_model").await;
    assert_eq!(preview.status, StatusCode::FORBIDDEN, "{}", preview.text);
    assert_eq!(house.count("from safelight.operator_acts where action <> 'console.look'").await, before);
    assert_eq!(house.count("from safelight.jobs where state = 0").await, 1);
}

#[tokio::test]
async fn a_form_of_another_site_of_another_session_or_without_a_reason_changes_nothing() {
    let house = House::build().await;
    let waiting = furnished(&house).await;
    let operator = Browser::of(&house, None, &[Scope::Operate]).await;
    let other = Browser::of(&house, None, &[Scope::Operate]).await;
    let page = format!("/console/jobs/{waiting}");
    let (own, foreign) = (operator.csrf(&page).await, other.csrf(&page).await);
    assert_ne!(own, foreign);
    for (path, more) in MUTATIONS {
        let path = filled(path, &waiting);
        for (csrf, site) in [
            ("", "same-origin"),
            (foreign.as_str(), "same-origin"),
            (own.as_str(), "cross-site"),
            (own.as_str(), "same-site"),
        ] {
            let refused = operator.sends(&path, &format!("csrf={csrf}&why=x{more}"), site).await;
            assert_eq!(refused.status, StatusCode::FORBIDDEN, "{path} from {site}");
            assert!(refused.text.contains("form_foreign"), "{path}: {}", refused.text);
        }
        let unsaid = operator.sends(&path, &format!("csrf={own}&why=+{more}"), "same-origin").await;
        assert_eq!(unsaid.status, StatusCode::UNPROCESSABLE_ENTITY, "{path}");
        assert!(unsaid.text.contains("reason_missing"), "{path}: {}", unsaid.text);
    }
    assert_eq!(house.count("from safelight.operator_acts where action <> 'console.look'").await, 0);
    assert_eq!(house.count("from safelight.jobs where state = 0").await, 1);
}

#[tokio::test]
async fn an_operator_of_one_tenant_changes_nothing_of_another_nor_of_the_house_by_any_form() {
    let house = House::build().await;
    let theirs = furnished(&house).await;
    let own = job(&house, "send_notice", "haloprofile").await;
    let operator = Browser::of(&house, Some("haloprofile"), &[Scope::Operate]).await;
    let csrf = operator.csrf(&format!("/console/jobs/{own}")).await;
    let ours = "from safelight.jobs where tenant = 'koselfie' and state = 0";
    let (before, dead) = (house.count(ours).await, house.count("from safelight.dead_letters").await);
    for (path, more) in MUTATIONS {
        let answer =
            operator.sends(&filled(path, &theirs), &format!("csrf={csrf}&why=code{more}"), "same-origin").await;
        let (status, says) = match *path {
            "/console/jobs/{job}/{act}" | "/console/jobs/{job}/payload" => (StatusCode::NOT_FOUND, "not_found"),
            "/console/bulk"
            | "/console/orders/{order}/refund"
            | "/console/orders/{order}/delete"
            | "/console/orders/erased/refund" => (StatusCode::NOT_FOUND, "not_found"),
            "/console/dead/{fate}" => (StatusCode::SEE_OTHER, ""),
            _ => (StatusCode::FORBIDDEN, "house_required"),
        };
        assert_eq!(answer.status, status, "{path}: {}", answer.text);
        assert!(answer.text.contains(says), "{path}: {}", answer.text);
    }
    assert_eq!((house.count(ours).await, house.count("from safelight.dead_letters").await), (before, dead));
    assert_eq!(house.count("from safelight.controls").await, 0);
    assert_eq!(house.count("from safelight.breakers where state <> 'open'").await, 0);
    assert_eq!(house.count("from safelight.schedules where paused").await, 0);
    assert_eq!(house.count("from safelight.bulk_acts").await, 0);
    assert_eq!(house.count("from safelight.operator_acts where action = 'job.payload'").await, 0);
}

#[tokio::test]
async fn an_operator_repairs_from_the_console_and_it_is_kept_with_who_and_why() {
    let house = House::build().await;
    let waiting = furnished(&house).await;
    let operator = Browser::of(&house, None, &[Scope::Operate]).await;
    let page = format!("/console/jobs/{waiting}");
    let shown = operator.opens(&page).await;
    assert!(shown.text.contains("no live worker serves the queue training"), "it says why it waits: {}", shown.text);
    for (act, outcome) in [("hold", "held"), ("release", "released"), ("cancel", "cancelled")] {
        let done = operator.presses(&page, &format!("{page}/{act}"), "").await;
        assert_eq!(
            (done.status, done.header("location")),
            (StatusCode::SEE_OTHER, format!("{page}?done={outcome}").as_str())
        );
    }
    let after = operator.opens(&page).await;
    assert!(after.text.contains("cancelled") && after.text.contains("by test: asked for"), "{}", after.text);
    for act in ["hold", "cancel", "retry"] {
        assert!(!after.text.contains(&format!("/{act}\"")), "nothing can be done to what has ended: {act}");
    }

    let redriven =
        operator.presses("/console/dead", "/console/dead/redrive", "&kind=train_model&code=fal_rejected").await;
    assert_eq!(redriven.header("location"), "/console/dead?done=1_redriven", "{}", redriven.text);
    assert_eq!(house.count("from safelight.dead_letters").await, 0);
    for (page, path, more) in [
        ("/console/controls", "/console/controls/provider/fal", "&act=pause"),
        ("/console/controls", "/console/controls/kind/train_model", "&act=limit&most=7"),
        ("/console/controls", "/console/controls/provider/fal", "&act=rate&per_second=2.5&burst="),
        ("/console/controls", "/console/breakers/fal/close", ""),
        ("/console/schedules", "/console/schedules/sweep_retention", "&act=pause"),
    ] {
        let done = operator.presses(page, path, more).await;
        assert_eq!(done.status, StatusCode::SEE_OTHER, "{path}: {}", done.text);
    }
    let controls = operator.opens("/console/controls").await.text;
    for shows in ["7 at once", "2.5 a second, 3 in one go", "by test: asked for"] {
        assert!(controls.contains(shows), "{shows}");
    }
    assert!(operator.opens("/console/schedules").await.text.contains("Resume"));
    let overview = operator.opens("/console").await.text;
    assert!(overview.contains("pauses and open breakers") && overview.contains("This needs a look."));
    let audit = operator.opens("/console/audit").await.text;
    assert!(audit.contains("fleet control") && audit.contains(&waiting), "{audit}");
    let looked = format!(
        "from safelight.operator_acts where action = 'console.look' and about = '{waiting}' and actor = 'test' and why = 'a test'"
    );
    assert!(house.count(&looked).await >= 4, "each look at it is kept with what for");
}

#[tokio::test]
async fn an_operator_previews_an_act_on_all_that_match_and_sees_how_far_it_is() {
    let house = House::build().await;
    furnished(&house).await;
    let operator = Browser::of(&house, None, &[Scope::Operate]).await;
    let search = operator.opens("/console/jobs?kind=train_model&state=dead").await.text;
    assert!(search.contains("action=\"/console/bulk/preview\"") && search.contains("name=\"state\" value=\"dead\""));
    let all = operator.opens("/console/jobs").await.text;
    assert!(!all.contains("/console/bulk/preview"), "something must narrow it");
    let preview = "/console/bulk/preview?act=retry&kind=train_model&state=dead";
    let shown = operator.opens(preview).await.text;
    assert!(shown.contains("Retry 1 job") && shown.contains("kind=train_model state=dead"), "{shown}");
    let asked = operator.presses(preview, "/console/bulk", "&act=retry&kind=train_model&state=dead").await;
    assert_eq!(asked.status, StatusCode::SEE_OTHER, "{}", asked.text);
    let page = asked.header("location").to_owned();
    let progress = operator.opens(&page).await.text;
    for shows in ["under way", "0 of 1", "Look again", "asked for", "no live worker serves the queue sweeps"] {
        assert!(progress.contains(shows), "{shows}: {progress}");
    }
    assert!(operator.opens("/console/bulk").await.text.contains(&page));
    let none = operator.opens("/console/bulk/preview?act=release&kind=train_model").await.text;
    assert!(none.contains("Release 0 jobs") && !none.contains("name=\"csrf\""), "{none}");
}

#[tokio::test]
async fn a_payload_is_shown_to_who_says_why_and_a_look_at_a_persons_jobs_is_kept() {
    let house = House::build().await;
    let waiting = furnished(&house).await;
    let operator = Browser::of(&house, None, &[Scope::Operate]).await;
    let page = format!("/console/jobs/{waiting}");
    assert!(!operator.opens(&page).await.text.contains("&quot;n&quot;"), "not on its page");
    let read = operator.presses(&page, &format!("{page}/payload"), "").await;
    assert_eq!(read.status, StatusCode::OK, "{}", read.text);
    assert!(read.text.contains("&quot;n&quot;: 1"), "{}", read.text);
    let kept = format!(
        "from safelight.operator_acts where action = 'job.payload' and about = '{waiting}' and why = 'asked for'"
    );
    assert_eq!(house.count(&kept).await, 1);
    let subject = Id::<id::Subject>::new();
    let order = Id::<id::Order>::new();
    for case in [subject.to_string(), order.to_string()] {
        assert_eq!(operator.opens(&format!("/console/jobs?id={case}")).await.status, StatusCode::OK);
        let looked = format!(
            "from safelight.operator_acts where action = 'console.look' and about = '{case}' and why = 'a test'"
        );
        assert_eq!(house.count(&looked).await, 1, "{case}");
    }
}

#[tokio::test]
async fn jobs_are_found_by_what_an_operator_knows_and_page_by_page() {
    let house = House::build().await;
    house
        .run(
            "insert into safelight.jobs (id, queue, kind, payload, tenant, state, run_at, rank, max_attempts, created_at, why)
            select safelight.uuid_v7(), 'training', case when n % 10 = 0 then 'collect_model' else 'train_model' end, '{\"secret\": \"payload\"}',
                case when n % 2 = 0 then 'koselfie' else 'haloprofile' end, 3, now() + interval '1 day', now(), 5, now(), case when n = 77 then 'fal_busy' end
            from generate_series(1, 120) n;
            insert into safelight.jobs_archive (id, queue, kind, version, payload, tenant, attempt, waits, outcome, run_at, created_at, finished_at, prune_on)
            select safelight.uuid_v7(), 'sweeps', 'expire_consents', 1, '{}', null, 1, 0, 'done', now(), now(), now(), now()::date + 21 from generate_series(1, 25000)",
        )
        .await;
    let operator = Browser::of(&house, None, &[Scope::Read]).await;
    let rows = |answer: &Answer| answer.text.matches("<td><a class=\"id\" href=\"/console/jobs/job_").count();
    let all = async |address: &str| {
        let (mut seen, mut address) = (0, address.to_owned());
        loop {
            let page = operator.opens(&address).await;
            assert_eq!(page.status, StatusCode::OK, "{}", page.text);
            assert!(!page.text.contains("payload"));
            seen += rows(&page);
            let Some((before, _)) = page.text.split_once("\" rel=\"next\"") else { return seen };
            address = before.rsplit("href=\"").next().expect("an address").replace("&amp;", "&");
        }
    };
    assert_eq!(all("/console/jobs?kind=train_model&state=scheduled").await, 108, "every one of them, once");
    assert_eq!(all("/console/jobs?code=fal_busy").await, 1, "one among 25,120, behind the newest");
    assert_eq!(all("/console/jobs?tenant=koselfie&kind=collect_model").await, 12);
    assert_eq!(rows(&operator.opens("/console/jobs?state=held").await), 0);
    assert_eq!(rows(&operator.opens("/console/jobs?until=2020-01-01T00:00").await), 0);
    assert_eq!(operator.opens("/console/jobs?from=yesterday").await.status, StatusCode::UNPROCESSABLE_ENTITY);
    let known: uuid::Uuid =
        sqlx::query_scalar("select id from safelight.jobs limit 1").fetch_one(&house.owner).await.expect("one");
    let known = Id::<id::Job>::from(known);
    let found = operator.opens(&format!("/console/jobs?id={known}")).await;
    assert_eq!(found.header("location"), format!("/console/jobs/{known}"));
    let tenant = Browser::of(&house, Some("koselfie"), &[Scope::Read]).await;
    assert_eq!(
        rows(&tenant.opens("/console/jobs?state=scheduled&tenant=haloprofile").await),
        50,
        "its own, whatever it asks for"
    );
    assert!(!tenant.opens("/console/jobs?state=scheduled").await.text.contains("haloprofile"));
    for page in ["cases", "sweeps", "policies"] {
        assert_eq!(tenant.opens(&format!("/console/{page}")).await.status, StatusCode::OK, "{page}");
    }
    assert!(!tenant.opens("/console/policies").await.text.contains("haloprofile"));
    for page in ["providers", "schedules", "workers", "audit", "tokens"] {
        assert_eq!(
            tenant.opens(&format!("/console/{page}")).await.status,
            StatusCode::FORBIDDEN,
            "{page} is the house's"
        );
        assert_eq!(operator.opens(&format!("/console/{page}")).await.status, StatusCode::OK, "{page}");
    }
}

#[tokio::test]
async fn a_session_ends_after_eight_hours_and_after_an_hour_alone() {
    let house = House::build().await;
    let idle = Browser::of(&house, None, &[Scope::Read]).await;
    assert_eq!(idle.opens("/console").await.status, StatusCode::OK);
    house.turn_clock_to("61 minutes").await;
    assert_eq!(idle.opens("/console").await.status, StatusCode::SEE_OTHER, "an hour alone");
    let busy = Browser::of(&house, None, &[Scope::Read]).await;
    for minutes in (61..61 + 8 * 60).step_by(50) {
        house.turn_clock_to(&format!("{minutes} minutes")).await;
        assert_eq!(busy.opens("/console").await.status, StatusCode::OK, "{minutes}");
    }
    house.turn_clock_to("542 minutes").await;
    assert_eq!(busy.opens("/console").await.status, StatusCode::SEE_OTHER, "eight hours");
}
