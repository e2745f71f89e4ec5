//! Pages of the console that answer one question: how one person stands, what stands in the queues, how far an entry's proof is, and
//! what everything that waits is waiting for.

use axum::http::StatusCode;
use safelight_api::tokens::Scope;
use safelight_jobs::id::{self, Id};
use serde_json::json;

use crate::{
    browser::Browser,
    house::{House, POLICY},
};

#[tokio::test]
async fn a_persons_page_says_how_they_stand_and_opening_it_is_a_look_that_is_kept() {
    let house = House::build().await;
    let backend = house.backend("koselfie").await;
    let subject = house.person(&backend).await;
    let order = house.order(&backend, subject, "cs_test_person").await;
    for purpose in ["compare", "observe"] {
        let agreed = json!({ "purpose": purpose, "capture_point": "sign_up", "wording_sha256": "0".repeat(64), "policy_version": POLICY });
        house.post(&backend, &format!("/v1/subjects/{subject}/consents"), agreed).await;
    }
    let operator = Browser::of(&house, None, &[Scope::Operate]).await;
    let path = format!("/console/subjects/{subject}");
    let shown = operator.opens(&path).await;
    assert_eq!(shown.status, StatusCode::OK, "{}", shown.text);
    for says in ["active", "<td>compare</td><td>the account</td><td>sign up</td>", POLICY, &order.to_string()] {
        assert!(shown.text.contains(says), "{says}: {}", shown.text);
    }
    let look = format!(
        "from safelight.operator_acts where action = 'console.look' and about = '{subject}' and why = 'a test'"
    );
    assert_eq!(house.count(&look).await, 1);
    let withdrawn = house
        .post(&backend, &format!("/v1/subjects/{subject}/consents/withdraw"), json!({ "purpose": "compare" }))
        .await;
    assert_eq!(withdrawn.status, StatusCode::ACCEPTED, "{}", withdrawn.text);
    house.post(&backend, &format!("/v1/subjects/{subject}/objections"), json!({ "purpose": "observe" })).await;
    house
        .run(&format!(
            "insert into safelight.cases (id, tenant, subject_id, kind, channel, received_at, answer_due, opened_by)
            values (gen_random_uuid(), 'koselfie', '{}', 'access', 'letter', now() - interval '40 days', now() - interval '9 days', 'ops_1')",
            subject.uuid()
        ))
        .await;
    let shown = operator.opens(&path).await.text;
    assert!(!shown.contains("<td>compare</td>"), "what was withdrawn is not in force: {shown}");
    for says in ["restricted", "None is in force.", "<td>objection</td>", "case_", "late", "withdrawal", "delete data"]
    {
        assert!(shown.contains(says), "{says}: {shown}");
    }
    let found = operator.opens(&format!("/console/find?id={subject}")).await;
    assert_eq!(found.header("location"), path);
    let deletion: uuid::Uuid =
        sqlx::query_scalar("select id from safelight.deletions").fetch_one(&house.owner).await.expect("one");
    let job: uuid::Uuid = sqlx::query_scalar("select id from safelight.jobs where subject_id is not null limit 1")
        .fetch_one(&house.owner)
        .await
        .expect("one");
    for page in [
        format!("/console/orders/{order}"),
        format!("/console/deletions/{}", Id::<id::Deletion>::from(deletion)),
        format!("/console/jobs/{}", Id::<id::Job>::from(job)),
        "/console/cases".to_owned(),
    ] {
        assert!(operator.opens(&page).await.text.contains(&format!("href=\"{path}\"")), "{page} leads there");
    }
    let elsewhere = Browser::of(&house, Some("haloprofile"), &[Scope::Operate]).await;
    assert_eq!(elsewhere.opens(&path).await.status, StatusCode::NOT_FOUND);
    assert_eq!(house.count(&look).await, 2, "who is shown nothing has not looked");
}

#[tokio::test]
async fn the_queues_say_what_stands_in_them_and_are_paused_and_resumed_where_they_are_seen() {
    let house = House::build().await;
    house
        .run(
            "select safelight.enqueue('train_model', '{}', p_tenant => 'koselfie') from generate_series(1, 3);
            update safelight.jobs set run_at = now() - interval '3 minutes 1 second', created_at = now() - interval '3 minutes 1 second';
            insert into safelight.jobs_archive (id, queue, kind, version, payload, tenant, attempt, waits, outcome, run_at, created_at,
                started_at, finished_at, prune_on)
            select safelight.uuid_v7(), 'training', 'train_model', 1, '{}', 'koselfie', 1, 0, 'done', t, t, t + interval '7 seconds', t + interval '9 seconds', t::date + 21
            from (select clock_timestamp() - interval '1 minute' as t) x",
        )
        .await;
    let operator = Browser::of(&house, None, &[Scope::Operate]).await;
    let done = operator
        .presses("/console/queues", "/console/controls/queue/training", "&act=limit&most=7&page=/console/queues")
        .await;
    assert_eq!(done.header("location"), "/console/queues?done=limit_stored", "{}", done.text);
    let shown = operator.opens("/console/queues").await.text;
    let row = shown
        .split("<th scope=\"row\"><a href=\"/console/jobs?queue=training\">training</a>")
        .nth(1)
        .and_then(|rest| rest.split("</tr>").next())
        .unwrap_or_default();
    for says in ["<td class=\"n\">3</td>", "3 min", "7 s", "<td class=\"n\">7</td>"] {
        assert!(row.contains(says), "{says}: {row}");
    }
    let done = operator
        .presses("/console/queues", "/console/controls/queue/training", "&act=pause&page=/console/queues")
        .await;
    assert_eq!(done.header("location"), "/console/queues?done=paused", "{}", done.text);
    let shown = operator.opens("/console/queues").await.text;
    assert!(shown.contains("paused") && shown.contains("Resume") && shown.contains("by test: asked for"), "{shown}");
    let theirs = Browser::of(&house, Some("haloprofile"), &[Scope::Operate]).await.opens("/console/queues").await.text;
    assert!(
        !theirs.contains("name=\"csrf\"") && !theirs.contains("<td class=\"n\">3</td>"),
        "its own, and no act: {theirs}"
    );
}

#[tokio::test]
async fn each_entry_says_how_far_its_proof_is() {
    let house = House::build().await;
    house
        .run(
            "insert into safelight.audit_entries (tenant, actor, action, outcome) select 'koselfie', 'worker', 'test.entry', 'done' from generate_series(1, 60);
            insert into safelight.audit_leaves (seq, entry, leaf) select seq - min(seq) over (), seq, sha256('x') from safelight.audit_entries
                where seq < (select max(seq) from safelight.audit_entries);
            insert into safelight.audit_checkpoints (size, note, key_ids) values (20, 'x', '{}'), (57, 'x', '{}'), (58, 'x', '{}');
            insert into safelight.audit_destinations (name, delivered) values ('bucket', 57), ('folder', 20)",
        )
        .await;
    let operator = Browser::of(&house, None, &[Scope::Read]).await;
    let shown = operator.opens("/console/audit").await.text;
    let section = |page: &str| {
        page.split("aria-label=\"Entries\"")
            .nth(1)
            .and_then(|rest| rest.split("</section>").next())
            .unwrap_or_default()
            .to_owned()
    };
    let newest = section(&shown);
    let rows: Vec<&str> = newest.split("<tr>").skip(2).collect();
    assert_eq!(rows.len(), 50);
    for (row, says) in [
        (1, "not sealed</span>"),
        (2, "as leaf 58<span class=\"small\">, under no checkpoint yet"),
        (3, "as leaf 57, under the checkpoint of 58<span class=\"small\">, not outside yet"),
        (4, "as leaf 56, under the checkpoint of 57<span class=\"small\">, outside at bucket"),
    ] {
        assert!(rows[row].contains(says), "{says}: {}", rows[row]);
    }
    let next = newest
        .split("/console/audit?entries_before=")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .expect("a next page");
    let older = section(&operator.opens(&format!("/console/audit?entries_before={next}")).await.text);
    let rows: Vec<&str> = older.split("<tr>").skip(2).collect();
    assert_eq!(rows.len(), 11);
    assert!(
        rows[10].contains("as leaf 0, under the checkpoint of 20<span class=\"small\">, outside at bucket, folder"),
        "{}",
        rows[10]
    );
    assert!(!older.contains("entries_before"), "that was all");
}

#[tokio::test]
async fn an_export_that_is_made_a_deletion_and_a_passed_gate_say_what_there_is_to_know() {
    let house = House::build().await;
    let backend = house.backend("koselfie").await;
    let (staying, leaving) = (house.person(&backend).await, house.person(&backend).await);
    house.post(&backend, &format!("/v1/subjects/{staying}/exports"), json!({})).await;
    let deletion: Id<id::Deletion> =
        house.post(&backend, &format!("/v1/subjects/{leaving}/erase"), json!({})).await.id("deletion");
    house
        .run(&format!(
            "update safelight.jobs set state = 3, why = 'late_writers', run_at = now() + interval '1 hour' where kind = 'delete_data';
            insert into safelight.deletions (id, tenant, subject_id, trigger, state, answer_due)
            select gen_random_uuid(), 'koselfie', '{}', 'retention', 'planned', now() + interval '30 days'",
            staying.uuid()
        ))
        .await;
    let operator = Browser::of(&house, None, &[Scope::Operate]).await;
    let cases = operator.opens("/console/cases").await.text;
    assert!(cases.contains("no worker<span class=\"small\"> no live worker serves the queue notices"), "{cases}");
    house.run("update safelight.job_keys set key = 'gone' where key like 'export_data%'").await;
    assert!(operator.opens("/console/cases").await.text.contains("its job ended: ask for it again"));
    let deletions = operator.opens("/console/deletions").await.text;
    let row = deletions
        .split(&format!("/console/deletions/{deletion}\""))
        .nth(1)
        .and_then(|rest| rest.split("</tr>").next())
        .unwrap_or_default();
    assert!(row.contains("late writers<span class=\"small\"> not before "), "{row}");
    assert!(deletions.contains("the sweep of deletions drives it again"), "{deletions}");

    let grant = uuid::Uuid::now_v7();
    let job: uuid::Uuid = sqlx::query_scalar("select id from safelight.jobs where kind = 'delete_data'")
        .fetch_one(&house.owner)
        .await
        .expect("one");
    house
        .run(&format!(
            "insert into safelight.audit_entries (tenant, actor, action, outcome, job_kind, job_id, purpose, grants, policy_version, codes)
            values ('koselfie', 'worker', 'call.intended', 'committed', 'train_model', '{job}', 'train', array['{grant}'::uuid], '{POLICY}', '{{\"model\": \"flux-lora\"}}')"
        ))
        .await;
    let page = operator.opens(&format!("/console/jobs/{}", Id::<id::Job>::from(job))).await.text;
    for says in [
        format!("gate passed for train, policy {POLICY}, on consent <code>{grant}</code>"),
        "model flux-lora".to_owned(),
    ] {
        assert!(page.contains(&says), "{says}: {page}");
    }
}
