//! Repairs in the console that were the command line's alone: the outcome of a call, a token, a sweep, a case. Each is done by
//! the same function, once however often its form is sent, and kept with who and why.

use axum::http::StatusCode;
use safelight_api::tokens::Scope;
use safelight_jobs::id::{self, Id, Intent};

use crate::{browser::Browser, house::House};

/// An order of HaloProfile whose one call is in this state.
async fn with_a_call(house: &House, state: &str) -> Id<Intent> {
    let backend = house.backend("haloprofile").await;
    let subject = house.person(&backend).await;
    house.order(&backend, subject, &format!("cs_test_{state}")).await;
    let call = Id::<Intent>::new();
    let request = if state == "unknown" { "null" } else { "'0a1b2c3d-4e5f'" };
    house
        .run(&format!(
            "insert into safelight.provider_calls (id, tenant, subject_id, generation, order_id, job_id, purpose, processor, model, wish,
                token_sha256, state, request_id, policy_version)
            select '{}', tenant, subject_id, 1, id, gen_random_uuid(), 'train', 'fal', 'flux', '{state}', sha256('{state}'), '{state}', {request},
                '2026-01-01' from safelight.orders where subject_id = '{}'",
            call.uuid(),
            subject.uuid()
        ))
        .await;
    call
}

fn job_said(location: &str) -> Id<id::Job> {
    location.strip_prefix("/console/providers?said=").expect("a job").parse().expect("an id")
}

#[tokio::test]
async fn an_operator_says_what_became_of_an_unknown_call_and_a_worker_carries_it_out_once() {
    let house = House::build().await;
    let call = with_a_call(&house, "unknown").await;
    let known = with_a_call(&house, "submitted").await;
    let operator = Browser::of(&house, None, &[Scope::Operate]).await;
    let (page, address) = ("/console/providers", format!("/console/calls/{call}/resolve"));
    let shown = operator.opens(page).await.text;
    assert!(shown.contains(&format!("action=\"{address}\"")) && shown.contains("it is paid twice"), "{shown}");
    assert!(!shown.contains(&format!("/console/calls/{known}/")), "only of a call whose outcome nobody knows");

    let unsure = operator.presses(page, &address, "&outcome=not_made&why=looked_there").await;
    assert_eq!(unsure.status, StatusCode::UNPROCESSABLE_ENTITY, "it is ticked that it may be paid twice");
    for (more, says) in [
        ("&outcome=accepted&why=looked_there", "value_refused"),
        ("&outcome=accepted&request=..%2Fx&why=looked_there", "value_refused"),
        ("&outcome=accepted&request=0a1b2c3d-4e5f&why=looked_there", "another call"),
        ("&outcome=not_made&sure=yes&why=Fal+support+said+so", "not_a_code"),
    ] {
        let refused = operator.presses(page, &address, more).await;
        assert!(refused.status.is_client_error() && refused.text.contains(says), "{more}: {}", refused.text);
    }
    assert_eq!(house.count("from safelight.jobs where kind = 'resolve_call'").await, 0);

    let word = "&outcome=not_made&sure=yes&why=looked_there";
    let said = operator.presses(page, &address, word).await;
    assert_eq!(said.status, StatusCode::SEE_OTHER, "{}", said.text);
    let job = job_said(said.header("location"));
    let again = operator.presses(page, &address, word).await;
    assert_eq!(job_said(again.header("location")), job, "said twice, it is one job");
    let other = operator.presses(page, &address, "&outcome=accepted&request=9f8e7d6c-5b4a&why=looked_there").await;
    assert_eq!(other.status, StatusCode::CONFLICT, "one word at a time: {}", other.text);
    assert_eq!(house.count("from safelight.jobs where kind = 'resolve_call'").await, 1);
    let kept = format!(
        "from safelight.operator_acts where action = 'call.said' and outcome = 'not_made' and about = '{call}' and actor = 'test'
            and why = 'looked_there'"
    );
    assert_eq!(house.count(&kept).await, 1, "with who and why, once");
    let by = "from safelight.audit_entries where action = 'call.said' and codes ->> 'why' = 'looked_there' and codes ->> 'by' like 'token\\_%'";
    assert_eq!(house.count(by).await, 1);
    let after = operator.opens(said.header("location")).await.text;
    assert!(after.contains("never took it; a worker carries that out") && after.contains(&job.to_string()), "{after}");

    let late = operator.presses(page, &format!("/console/calls/{known}/resolve"), word).await;
    assert_eq!(late.header("location"), "/console/providers?done=nothing_its_outcome_is_known");
    assert_eq!(house.count("from safelight.jobs where kind = 'resolve_call'").await, 1);
}

#[tokio::test]
async fn nobody_says_what_became_of_a_call_by_enqueuing_a_job() {
    let house = House::build().await;
    let call = with_a_call(&house, "unknown").await;
    let token = house.token(None, &Scope::ALL).await;
    let payload = serde_json::json!({ "call": call, "outcome": "not_made", "by": "somebody_else", "why": "no_reason" });
    let refused =
        house.post(&token, "/v1/jobs", serde_json::json!({ "kind": "resolve_call", "payload": payload })).await;
    assert_eq!((refused.status, refused.code()), (StatusCode::UNPROCESSABLE_ENTITY, "job_unknown_kind"));
    let many = serde_json::json!({ "kind": "resolve_call", "jobs": [{ "payload": payload }] });
    let refused = house.post(&token, "/v1/jobs/bulk", many).await;
    assert_eq!((refused.status, refused.code()), (StatusCode::UNPROCESSABLE_ENTITY, "job_unknown_kind"));
    assert_eq!(house.count("from safelight.jobs where kind = 'resolve_call'").await, 0);
}

#[tokio::test]
async fn a_token_is_revoked_and_the_sessions_own_one_closes_the_session() {
    let house = House::build().await;
    let backend = house.backend("koselfie").await;
    let operator = Browser::of(&house, None, &[Scope::Operate]).await;
    let tokens: Vec<(uuid::Uuid, Option<String>)> =
        sqlx::query_as("select id, tenant from safelight.tokens order by tenant nulls last")
            .fetch_all(&house.owner)
            .await
            .expect("two tokens");
    let [theirs, own] = [0, 1].map(|n| Id::<id::Token>::from(tokens[n].0));
    let (page, revoke) = ("/console/tokens", |token: Id<id::Token>| format!("/console/tokens/{token}/revoke"));
    let shown = operator.opens(page).await.text;
    for says in ["who holds it is refused", "This session was opened with this token: you are signed out at once"] {
        assert_eq!(shown.matches(says).count(), 1, "{says}: {shown}");
    }
    let unsure = operator.presses(page, &revoke(theirs), "").await;
    assert_eq!(unsure.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", unsure.text);
    let done = operator.presses(page, &revoke(theirs), "&sure=yes").await;
    assert_eq!((done.status, done.header("location")), (StatusCode::SEE_OTHER, "/console/tokens?done=revoked"));
    assert_eq!(house.get(&backend, "/v1/orders/order_0").await.status, StatusCode::UNAUTHORIZED);
    let again = operator.presses(page, &revoke(theirs), "&sure=yes").await;
    assert_eq!(again.status, StatusCode::NOT_FOUND, "{}", again.text);
    let kept = format!(
        "from safelight.operator_acts where action = 'token.revoke' and about = '{theirs}' and why = 'asked for'"
    );
    assert_eq!(house.count(&kept).await, 1, "with who and why, once");

    let done = operator.presses(page, &revoke(own), "&sure=yes").await;
    assert_eq!(done.status, StatusCode::SEE_OTHER, "{}", done.text);
    let closed = operator.opens(page).await;
    assert_eq!(
        (closed.status, closed.header("location")),
        (StatusCode::SEE_OTHER, "/console/sign-in?to=%2Fconsole%2Ftokens")
    );
    assert_eq!(house.count("from safelight.audit_entries where action = 'token.revoke'").await, 2);
}

#[tokio::test]
async fn an_operator_starts_each_sweep_and_is_led_to_the_job_that_it_became() {
    let house = House::build().await;
    let operator = Browser::of(&house, None, &[Scope::Operate]).await;
    let page = "/console/sweeps";
    for sweep in safelight_jobs::sweeps::Sweep::ALL {
        let (address, run) = (format!("{page}/{}", sweep.as_str()), Id::<id::Sweep>::new());
        assert!(operator.opens(page).await.text.contains(&format!("action=\"{address}\"")), "{address}");
        let mut jobs = Vec::new();
        for _ in 0..2 {
            let asked = operator.presses(page, &address, &format!("&sweep={run}")).await;
            assert_eq!(asked.status, StatusCode::SEE_OTHER, "{}", asked.text);
            jobs.push(asked.header("location").to_owned());
        }
        assert_eq!(jobs[0], jobs[1], "sent twice, it is one job");
        let shown = operator.opens(&jobs[0]).await;
        assert!(shown.text.contains(&format!("Done: {} started", sweep.as_str())), "{}", shown.text);
        let because = format!("from safelight.jobs where payload ->> 'because' = 'console:{run}'");
        assert_eq!(house.count(&because).await, 1);
    }
    let kept = "from safelight.operator_acts where action = 'sweep.asked' and actor = 'test' and why = 'asked for' and about like 'job\\_%'";
    assert_eq!(house.count(kept).await, 9, "with who and why, once each");
    let unknown =
        operator.presses(page, "/console/sweeps/everything", &format!("&sweep={}", Id::<id::Sweep>::new())).await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    let theirs = Browser::of(&house, Some("koselfie"), &[Scope::Operate]).await;
    assert!(!theirs.opens(page).await.text.contains("Start one now"), "every tenant feels it");
}

#[tokio::test]
async fn what_is_set_stands_first_and_the_others_are_folded_up_by_what_they_are() {
    let house = House::build().await;
    let operator = Browser::of(&house, None, &[Scope::Operate]).await;
    let page = "/console/controls";
    assert!(operator.opens(page).await.text.contains("Nothing is set."));
    house
        .run("insert into safelight.breakers (provider, state, failures, probe_at) values ('stripe', 'open', 5, safelight.now())")
        .await;
    let pressed = [
        ("queue/training", "&act=pause"),
        ("kind/send_notice", "&act=limit&most=3"),
        ("provider/fal", "&act=rate&per_second=2"),
        ("tenant/koselfie", "&act=pause"),
    ];
    for (control, more) in pressed {
        operator.presses(page, &format!("{page}/{control}"), more).await;
    }
    operator.presses(page, &format!("{page}/tenant/koselfie"), "&act=resume").await;
    let shown = operator.opens(page).await.text;
    let (set, others) = shown.split_once("Not set").expect("two headings");
    for first in ["queue/training", "kind/send_notice", "provider/fal", "provider/stripe"] {
        let address = format!("action=\"{page}/{first}\"");
        assert!(set.contains(&address) && !others.contains(&address), "{first} is set");
    }
    assert_eq!(set.matches("li class=\"control").count(), 4, "{set}");
    let folds: Vec<&str> = others.split("<details class=\"fold\">").skip(1).collect();
    assert_eq!(folds.len(), 4, "providers, queues, tenants, kinds");
    assert!(folds[2].contains(&format!("{page}/tenant/koselfie")), "what was resumed is not set: {}", folds[2]);
    assert!(folds[3].contains(&format!("{page}/kind/train_model")), "{}", folds[3]);
}

#[tokio::test]
async fn a_tenants_operator_pauses_and_resumes_that_tenant_and_sees_no_other_control() {
    let house = House::build().await;
    let theirs = Browser::of(&house, Some("koselfie"), &[Scope::Operate]).await;
    let (page, own) = ("/console/controls", "/console/controls/tenant/koselfie");
    let shown = theirs.opens(page).await;
    assert_eq!(shown.status, StatusCode::OK, "{}", shown.text);
    assert_eq!(shown.text.matches("class=\"control\"").count(), 1, "{}", shown.text);
    assert!(shown.text.contains(own) && shown.text.contains("aria-current=\"page\""), "in the menu: {}", shown.text);
    for hidden in ["haloprofile", "provider/", "queue/", "kind/", "breakers"] {
        assert!(!shown.text.contains(hidden), "{hidden}");
    }
    let paused = "from safelight.controls where scope = 'tenant' and name = 'koselfie' and paused";
    for (act, outcome, is) in [("pause", "paused", 1), ("resume", "resumed", 0)] {
        let done = theirs.presses(page, own, &format!("&act={act}")).await;
        assert_eq!(done.header("location"), format!("{page}?done={outcome}"), "{}", done.text);
        assert_eq!(house.count(paused).await, is);
    }
    for other in ["tenant/haloprofile", "queue/training", "provider/fal", "kind/train_model"] {
        let refused = theirs.presses(page, &format!("{page}/{other}"), "&act=pause").await;
        assert!(refused.status == StatusCode::FORBIDDEN && refused.text.contains("house_required"), "{other}");
    }
    let reader = Browser::of(&house, Some("koselfie"), &[Scope::Read]).await;
    assert!(!reader.opens(page).await.text.contains("name=\"csrf\""), "who may only look sees no form");
}
