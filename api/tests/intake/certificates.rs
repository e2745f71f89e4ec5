//! Certificates over HTTP: for auditors and operators, of their own tenant; and what the metrics say of the sealed log.

use axum::http::StatusCode;
use safelight_api::tokens::Scope;
use safelight_evidence::{
    Checkpoint, Signer, Tree,
    certificate::{Certificate, SCHEMA, Step},
};
use safelight_jobs::id::{Deletion, Id};

use crate::{browser::Browser, house::House};

const TIME: &str = "2026-05-25T08:00:00.000001Z";

/// A finished deletion of KoSelfie with an issued certificate.
pub(crate) async fn certified(house: &House) -> Id<Deletion> {
    let (subject, deletion) = (uuid::Uuid::now_v7(), Id::<Deletion>::new());
    let signer = Signer::new("photos.example/audit", &[1; 32]).expect("a key");
    let tree: Tree = [[1; 32]].into_iter().collect();
    let certificate = Certificate {
        accepted_gaps: Vec::new(),
        answer_due: TIME.into(),
        checkpoint: Checkpoint::sign(&tree, &signer).expect("a checkpoint"),
        completed_at: TIME.into(),
        contact: None,
        controller: "KoSelfie".into(),
        deletion: deletion.uuid().to_string(),
        issued_at: TIME.into(),
        lines: Vec::new(),
        purpose: None,
        requested_at: TIME.into(),
        schema: SCHEMA.into(),
        stays: None,
        steps: vec![Step {
            class: "upload".into(),
            deleted: 3,
            evidence: "looked: <b>nothing</b> is there".into(),
            planned: 3,
            processor: "supabase".into(),
            seq: 1,
            state: "verified".into(),
            verified_at: TIME.into(),
        }],
        tenant: "koselfie".into(),
        trigger: "retention".into(),
    };
    let document = serde_json::to_string(&certificate.sign(&signer).expect("a signature")).expect("json");
    house.run(&format!("insert into safelight.subjects (id, tenant) values ('{subject}', 'koselfie')")).await;
    house
        .run(&format!(
            "insert into safelight.deletions (id, tenant, subject_id, trigger, answer_due) values ('{}', 'koselfie', '{subject}', 'retention', now())",
            deletion.uuid()
        ))
        .await;
    sqlx::query(
        "insert into safelight.deletion_certificates (deletion_id, document, issued_at) values ($1, $2, now())",
    )
    .bind(deletion.uuid())
    .bind(document)
    .execute(&house.owner)
    .await
    .expect("a certificate");
    deletion
}

#[tokio::test]
async fn a_certificate_is_read_by_auditors_and_operators_of_its_tenant_or_of_the_house() {
    let house = House::build().await;
    let deletion = certified(&house).await;
    let path = format!("/v1/deletions/{deletion}/certificate");
    for (tenant, scope, status) in [
        (Some("koselfie"), Scope::Audit, StatusCode::OK),
        (Some("koselfie"), Scope::Operate, StatusCode::OK),
        (None, Scope::Audit, StatusCode::OK),
        (Some("koselfie"), Scope::Read, StatusCode::FORBIDDEN),
        (Some("koselfie"), Scope::Enqueue, StatusCode::FORBIDDEN),
        (Some("haloprofile"), Scope::Audit, StatusCode::NOT_FOUND),
    ] {
        let token = house.token(tenant, &[scope]).await;
        let answer = house.looks(&token, &path, "a test").await;
        assert_eq!(answer.status, status, "{tenant:?} {scope}: {}", answer.text);
        assert_eq!(
            house.looks(&token, &format!("{path}.html"), "a test").await.status,
            status,
            "{tenant:?} {scope}, the page"
        );
    }
    let token = house.token(Some("koselfie"), &[Scope::Audit]).await;
    let signed = house.get(&token, &path).await;
    assert_eq!(signed.body["certificate"]["schema"], SCHEMA);
    assert!(signed.body["signature"].as_str().is_some_and(|note| note.contains("photos.example/audit")));
    let missing = house.get(&token, &format!("/v1/deletions/{}/certificate", Id::<Deletion>::new())).await;
    assert_eq!((missing.status, missing.code()), (StatusCode::NOT_FOUND, "not_found"));
}

#[tokio::test]
async fn the_page_is_whole_in_itself_and_runs_nothing() {
    let house = House::build().await;
    let deletion = certified(&house).await;
    let token = house.token(None, &[Scope::Audit]).await;
    let page = house.get(&token, &format!("/v1/deletions/{deletion}/certificate.html")).await;
    assert!(page.header("content-type").starts_with("text/html"));
    assert!(page.header("content-security-policy").contains("default-src 'none'"));
    assert!(page.text.contains("&lt;b&gt;nothing&lt;/b&gt;"), "what is not ours is text");
    for word in ["<script", "src=", "<link", "@import", "url("] {
        assert!(!page.text.contains(word), "{word}");
    }
}

#[tokio::test]
async fn metrics_say_how_far_the_sealer_is_and_what_is_not_outside_yet() {
    let house = House::build().await;
    house
        .run("insert into safelight.audit_entries (actor, action, outcome) values ('worker', 'test.entry', 'ok')")
        .await;
    house.run("insert into safelight.audit_destinations (name, tries) values ('bucket', 4)").await;
    house.run("insert into safelight.audit_checkpoints (size, note, key_ids) values (7, 'x', '{}')").await;
    let metrics = house.get("", "/metrics").await.text;
    for line in [
        "safelight_audit_unsealed_entries 1",
        "safelight_audit_log_entries 0",
        "safelight_audit_sealer_lag_seconds 0",
        "safelight_audit_undelivered_checkpoints{destination=\"bucket\"} 1",
        "safelight_audit_delivery_tries{destination=\"bucket\"} 4",
        "safelight_audit_certificates_due 0",
    ] {
        assert!(metrics.lines().any(|said| said == line), "no `{line}` in:\n{metrics}");
    }
}

#[tokio::test]
async fn a_finished_deletion_without_a_certificate_says_what_that_waits_for() {
    let house = House::build().await;
    let (subject, deletion) = (uuid::Uuid::now_v7(), Id::<Deletion>::new());
    house
        .run(&format!(
            "insert into safelight.subjects (id, tenant) values ('{subject}', 'koselfie');
            insert into safelight.deletions (id, tenant, subject_id, trigger, state, answer_due, completed_at)
                values ('{}', 'koselfie', '{subject}', 'retention', 'complete', now(), now())",
            deletion.uuid()
        ))
        .await;
    let (operator, theirs) =
        (Browser::of(&house, None, &[Scope::Read]).await, Browser::of(&house, Some("koselfie"), &[Scope::Read]).await);
    let pages = [format!("/console/deletions/{deletion}"), "/console/deletions".to_owned()];
    let outside = "waits for a checkpoint outside";
    for (happens, says) in [
        ("select 1", "about a minute after its end"),
        (
            "insert into safelight.audit_destinations (name, tries, code) values ('bucket', 3, 'folder_unreachable')",
            "waits for a checkpoint outside: bucket folder unreachable",
        ),
        ("insert into safelight.audit_destinations (name) values ('folder')", "about a minute after its end"),
        (
            "update safelight.deletions set completed_at = now() - interval '20 minutes'",
            "late: no checkpoint covers its end",
        ),
    ] {
        house.run(happens).await;
        for page in &pages {
            let shown = operator.opens(page).await.text;
            assert!(shown.contains(says), "{page} says {says}: {shown}");
            let told = theirs.opens(page).await.text;
            assert!(!told.contains("bucket"), "what fails at the house is the house's matter: {told}");
            assert_eq!(told.contains(outside), says.contains(outside), "{told}");
        }
    }
    house.run("update safelight.audit_destinations set code = 'refused'; update safelight.deletions set state = 'deleting', completed_at = null").await;
    assert!(!operator.opens(&pages[0]).await.text.contains(outside), "nothing is due before its end");
}
