//! The commands of the person who decides: refunds, unknown calls, the comparison of the books.

use std::process::Output;

use safelight_sandbox::{Fault, Rule};
use serde_json::Value;
use tokio::process::Command;

use crate::app::App;

impl App {
    async fn safelight(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_safelight"));
        command.args(words).env("DATABASE_URL", &self.database_url).env("SAFELIGHT_LOG", "error").kill_on_drop(true);
        command.output().await.unwrap()
    }

    /// What it prints, as JSON.
    async fn answers(&self, words: &[&str]) -> Value {
        let output = self.safelight(words).await;
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// What it complains of.
    async fn complains(&self, words: &[&str]) -> String {
        let output = self.safelight(words).await;
        assert!(!output.status.success(), "{words:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_lists_and_refunds_from_the_command_line() {
    let app = App::spawn().await;
    let (_ann, order) = app.basic_order(false).await;
    app.pays(order).await;
    let dead = app.runs_up_to("generate_batch").await;
    app.dies(&dead, "store_unreachable").await;
    app.run_due_jobs().await;
    app.reconciles().await;
    let review = app.answers(&["refund", "--review", "--json"]).await;
    let order = order.to_string();
    assert_eq!(review["review"][0]["about"], order.as_str());
    assert_eq!(
        (&review["review"][0]["problem"], &review["review"][0]["can_be_repaired"]),
        (&Value::from("work_died"), &Value::from(true))
    );

    let free_text = app.complains(&["refund", &order, "--why", "She asked", "--by", "ops_1", "--yes"]).await;
    assert!(free_text.contains("a code of 3 to 64 small letters"), "{free_text}");
    let asked = app.answers(&["refund", &order, "--why", "work_died", "--by", "ops_1", "--yes", "--json"]).await;
    assert_eq!(asked["amount_cents"], 1900);
    app.run_due_jobs().await;
    assert_eq!(app.sandbox.stripe.refunds().len(), 1);
    assert_eq!(app.answers(&["refund", "--review", "--json"]).await["review"], Value::Array(vec![]));
    let twice = app.complains(&["refund", &order, "--why", "work_died", "--by", "ops_1", "--yes"]).await;
    assert!(twice.contains("all of it has gone back"), "{twice}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_resolves_an_unknown_call_from_the_command_line() {
    let app = App::spawn().await;
    let (_bob, order) = app.small_halo_order().await;
    let fault = Rule { fault: Fault::Unreachable, times: Some(1), on: Some("POST /fal-ai/flux-lora".to_owned()) };
    app.sandbox.fal.faults().add(fault);
    app.pays(order).await;
    app.run_due_jobs().await;
    let unknown = app.answers(&["provider", "calls", "--unknown", "--json"]).await;
    let call = unknown["unknown"][0]["call"].as_str().unwrap().to_owned();
    assert_eq!(unknown["unknown"][0]["order"], order.to_string());
    let missing =
        app.complains(&["provider", "resolve", &call, "--as", "accepted", "--why", "seen", "--by", "ops_1"]).await;
    assert!(missing.contains("--request"), "{missing}");
    let said = app
        .safelight(&[
            "provider",
            "resolve",
            &call,
            "--as",
            "not-made",
            "--why",
            "looked_at_fal",
            "--by",
            "ops_1",
            "--yes",
        ])
        .await;
    assert_eq!(String::from_utf8_lossy(&said.stdout).trim(), "one new attempt is made");
    let again = app
        .complains(&[
            "provider",
            "resolve",
            &call,
            "--as",
            "not-made",
            "--why",
            "looked_at_fal",
            "--by",
            "ops_1",
            "--yes",
        ])
        .await;
    assert!(again.contains("is refused, not unknown"), "{again}");
    app.run_due_jobs().await;
    app.stands(order, "delivered", None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_decision_is_listed_a_page_at_a_time() {
    let app = App::spawn().await;
    for _ in 0..2 {
        let (_ann, order) = app.basic_order(false).await;
        app.pays(order).await;
        let dead = app.runs_up_to("generate_batch").await;
        app.dies(&dead, "store_unreachable").await;
        app.run_due_jobs().await;
    }
    app.reconciles().await;
    let fault = Rule { fault: Fault::Unreachable, times: Some(2), on: Some("POST /fal-ai/flux-lora".to_owned()) };
    app.sandbox.fal.faults().add(fault);
    for _ in 0..2 {
        let (_bob, order) = app.small_halo_order().await;
        app.pays(order).await;
        app.run_due_jobs().await;
    }
    for (list, rows, id) in [
        (["refund", "--review"].as_slice(), "review", "about"),
        (&["provider", "calls", "--unknown"], "unknown", "call"),
    ] {
        let all = app.answers(&[list, &["--json"]].concat()).await;
        assert_eq!((all[rows].as_array().unwrap().len(), &all["next"]), (2, &Value::Null), "{all}");
        let first = app.answers(&[list, &["--most", "1", "--json"]].concat()).await;
        let next = first["next"].as_str().unwrap();
        let rest = app.answers(&[list, &["--after", next, "--json"]].concat()).await;
        let shown =
            [&first, &rest].map(|page| page[rows].as_array().unwrap().iter().map(|row| &row[id]).collect::<Vec<_>>());
        assert_eq!(shown, [vec![&all[rows][0][id]], vec![&all[rows][1][id]]]);
        assert_eq!(rest["next"], Value::Null);
        let told = app.safelight(&[list, &["--most", "1"]].concat()).await;
        assert!(String::from_utf8_lossy(&told.stderr).contains(&format!("--after {next}")), "{told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_comparison_of_the_books_is_printed() {
    let app = App::spawn().await;
    let (_ann, order) = app.basic_order(false).await;
    app.fulfils(order).await;
    sqlx::query("update safelight_fiscal.sales set amount_cents = 1800").execute(&app.db).await.unwrap();
    let asked = app.safelight(&["sweep", "money", "--wait-seconds", "60"]);
    let worker = async {
        for _ in 0..600 {
            app.run_due_jobs().await;
            if app.count("select count(*) from safelight.sweeps where kind = 'money'").await > 0 {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("the sweep never came");
    };
    let (output, ()) = tokio::join!(asked, worker);
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(printed.contains("amount_differs") && printed.contains("1 differences are open"), "{printed}");
}
