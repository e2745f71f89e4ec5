//! Looks and slips at the command line: a look at one person's case takes a reason and is kept, and a token is not ended by a slip.

use safelight_jobs::{id::Id, job::Queue};
use serde_json::json;

use crate::app::App;

#[tokio::test(flavor = "multi_thread")]
async fn a_look_at_one_persons_case_takes_a_reason_and_is_kept_and_a_token_is_not_ended_by_a_slip() {
    let app = App::spawn().await;
    let (ann, order) = app.pro_order().await;
    let job = Id::<safelight_jobs::id::Job>::from(app.waits("train_model", Queue::Training).await).to_string();
    let deletion = app.erases(&ann).await;
    let certificate = json!({ "certificate": { "answer_due": "", "checkpoint": "", "completed_at": "", "controller": "KoSelfie",
        "deletion": deletion.uuid(), "issued_at": "", "lines": [], "purpose": null, "requested_at": "", "schema": "", "steps": [],
        "tenant": "koselfie", "trigger": "erasure" }, "signature": "" });
    let issued =
        "insert into safelight.deletion_certificates (deletion_id, document, issued_at) values ($1, $2, now())";
    sqlx::query(issued).bind(deletion.uuid()).bind(certificate.to_string()).execute(&app.db).await.unwrap();
    let (order, ann, deletion) = (order.to_string(), ann.id.to_string(), deletion.to_string());
    let looks = async || -> Vec<(String, String, String)> {
        let sql = "select actor, why, about from safelight.operator_acts where action = 'console.look' order by at";
        sqlx::query_as(sql).fetch_all(&app.db).await.unwrap()
    };
    for words in [
        ["job", "explain", &job].as_slice(),
        &["job", "explain", &job, "--why", "ann@example.org asked"],
        &["jobs", "list", "--order", &order],
        &["jobs", "list", "--subject", &ann],
        &["jobs", "list", "--subject", &ann, "--why", " "],
        &["deletions", "show", &deletion],
        &["certificate", &deletion],
        &["certificate", &deletion, "--why", "ann@example.org asked"],
        &["audit", "acts", "--about", &ann],
        &["audit", "acts", "--about", &order, "--why", " "],
        &["audit", "acts", "--about", &deletion, "--json"],
        &["audit", "acts", "--about", &job],
    ] {
        let (code, out, complaint) = app.types(words).await;
        assert_eq!((code, out.as_str()), (2, ""), "{words:?}: {complaint}");
    }
    assert!(looks().await.is_empty());
    app.prints(&["job", "explain", &job, "--why", "it waits", "--json"]).await;
    app.prints(&["jobs", "list", "--order", &order, "--why", "ticket 1", "--json"]).await;
    app.prints(&["jobs", "list", "--subject", &ann, "--why", "ticket 2", "--json"]).await;
    app.prints(&["jobs", "list", "--kind", "train_model", "--json"]).await;
    app.prints(&["deletions", "show", &deletion, "--why", "ticket 3", "--json"]).await;
    let signed = app.prints(&["certificate", &deletion, "--why", "ticket 4"]).await;
    assert_eq!(signed["certificate"]["tenant"], "koselfie");
    assert_eq!(app.types(&["jobs", "hold", "--order", &order, "--why", "ticket 5"]).await.0, 7, "nobody said yes");
    assert_eq!(app.types(&["jobs", "hold", "--kind", "train_model", "--why", "ticket 6"]).await.0, 7);
    for (number, about) in (7..).zip([&ann, &order, &deletion, &job]) {
        app.prints(&["audit", "acts", "--about", about, "--why", &format!("ticket {number}"), "--json"]).await;
    }
    app.prints(&["audit", "acts", "--about", "provider fal", "--json"]).await;
    app.prints(&["audit", "acts", "--json"]).await;
    let kept = |why: &str, about: &str| ("cli:ops_1".to_owned(), why.to_owned(), about.to_owned());
    let expected = [
        kept("it waits", &job),
        kept("ticket 1", &order),
        kept("ticket 2", &ann),
        kept("ticket 3", &deletion),
        kept("ticket 4", &deletion),
        kept("ticket 5", &order),
        kept("ticket 7", &ann),
        kept("ticket 8", &order),
        kept("ticket 9", &deletion),
        kept("ticket 10", &job),
    ];
    assert_eq!(looks().await, expected, "a preview of what is nobody's case is no look");

    let (_, made, _) = app.types(&["token", "create", "a backend", "--scopes", "read"]).await;
    assert!(made.starts_with("slt_"), "{made}");
    let listed = app.prints(&["token", "list", "--json"]).await;
    let token = listed["tokens"][0]["token"].as_str().unwrap().to_owned();
    for words in [
        ["token", "revoke", &token, "--why", "lost"].as_slice(),
        &["token", "rotate", &token, "--keep-hours", "0", "--why", "lost"],
    ] {
        let (code, out, complaint) = app.types(words).await;
        assert_eq!((code, out.as_str()), (7, ""), "{words:?}: {complaint}");
    }
    assert_eq!(app.prints(&["token", "list", "--json"]).await, listed, "nothing was changed");
    let (code, out, _) = app.types(&["token", "revoke", &token, "--why", "lost", "--yes"]).await;
    assert_eq!((code, out), (0, format!("{token} is revoked\n")));
}
