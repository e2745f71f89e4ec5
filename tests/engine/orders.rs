//! `safelight order` and `safelight queue workers`, as they are typed: which orders there are, which are late and what each waits for,
//! and who works. A look at one order is kept.

use safelight_jobs::intake::Ground;
use safelight_sandbox::fal::Hold;
use serde_json::{Value, json};

use crate::app::App;

#[tokio::test(flavor = "multi_thread")]
async fn a_late_order_is_found_among_others_with_what_it_waits_for_and_one_of_somebody_restricted_is_none() {
    let app = App::spawn().await;
    let (_, first) = app.basic_order(false).await;
    let (_, second) = app.basic_order(false).await;
    let (held, of_held) = app.basic_order(false).await;
    app.sandbox.fal.hold(Hold::InQueue);
    for order in [first, second, of_held] {
        app.pays(order).await;
    }
    app.sandbox.stripe.idle().await;
    safelight_worker::drain(&app.worker, &app.services, "test").await.unwrap();
    sqlx::query("update safelight.orders set state = 'delivered', delivered_at = safelight.now() where id = $1")
        .bind(second.uuid())
        .execute(&app.db)
        .await
        .unwrap();
    app.turn_clock(chrono::Duration::hours(3)).await;
    let mut tx = app.tx().await;
    safelight_jobs::intake::restrict(&mut tx, held.tenant, held.id, Ground::Accuracy, None).await.unwrap();
    tx.commit().await.unwrap();

    let late = app.prints(&["order", "late", "--json"]).await;
    assert_eq!(late["orders"].as_array().unwrap().len(), 1, "{late}");
    assert_eq!(late["orders"][0]["order"], json!(first));
    let (_, said, _) = app.types(&["order", "late"]).await;
    assert!(said.contains(&first.to_string()) && said.contains("waits: "), "{said}");

    let page = app.prints(&["order", "list", "--most", "2", "--json"]).await;
    let next = page["next"].as_str().expect("a third one");
    let rest = app.prints(&["order", "list", "--most", "2", "--before", next, "--json"]).await;
    let ids =
        |page: &Value| page["orders"].as_array().unwrap().iter().map(|row| row["order"].clone()).collect::<Vec<_>>();
    assert_eq!(
        [ids(&page), ids(&rest)].concat(),
        [json!(of_held), json!(second), json!(first)],
        "the newest first, each once"
    );
    let generating = app.prints(&["order", "list", "--state", "generating", "--tenant", "koselfie", "--json"]).await;
    assert!(ids(&generating).contains(&json!(first)), "{generating}");
    let (code, _, why) = app.types(&["order", "list", "--state", "lost"]).await;
    assert!(code == 2 && why.contains("an order is never `lost`"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_looks_at_one_order_says_what_for_and_is_kept() {
    let app = App::spawn().await;
    let (_, order) = app.basic_order(false).await;
    let id = order.to_string();
    let (code, _, why) = app.types(&["order", "show", &id]).await;
    assert!(code == 2 && why.contains("--why"), "{why}");
    let shown = app.prints(&["order", "show", &id, "--why", "she asked", "--json"]).await;
    assert_eq!(
        (&shown["order"], &shown["state"], &shown["amount_cents"]),
        (&json!(order), &json!("placed"), &json!(1900)),
        "{shown}"
    );
    let kept = "select count(*) from safelight.operator_acts where action = 'console.look' and actor = 'cli:ops_1' and why = 'she asked'";
    assert_eq!(app.count(kept).await, 1);
    let none = format!("order_{}", uuid::Uuid::nil().simple());
    assert_eq!(app.types(&["order", "show", &none, "--why", "x y"]).await.0, 5, "there is none");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_workers_are_listed_the_silent_ones_last() {
    let app = App::spawn().await;
    assert!(app.types(&["queue", "workers"]).await.1.contains("no worker has been seen"));
    sqlx::query(
        "insert into safelight.workers (name, host, pid, queues, version, seen_at) values
            ('a', 'here', 1, '{training}', '1', clock_timestamp() - interval '5 minutes'), ('b', 'there', 2, '{faces,sweeps}', '1', clock_timestamp())",
    )
    .execute(&app.db)
    .await
    .unwrap();
    let workers = app.prints(&["queue", "workers", "--json"]).await;
    let stands = |n: usize| (&workers["workers"][n]["name"], &workers["workers"][n]["silent"]);
    assert_eq!((stands(0), stands(1)), ((&json!("b"), &json!(false)), (&json!("a"), &json!(true))), "{workers}");
    assert!(app.types(&["queue", "workers"]).await.1.contains("silent"));
}
