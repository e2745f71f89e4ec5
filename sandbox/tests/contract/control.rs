//! The control API, as a test in another process uses it.

use reqwest::Method;
use serde_json::{Value, json};

use crate::house::{House, Receiver};

async fn control(house: &House, method: Method, path: &str, body: Value) -> (u16, Value) {
    let control = house.sandbox.description().control;
    let request = house.http.request(method, format!("{}/{path}", control.url)).bearer_auth(control.key).json(&body);
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap_or_default())
}

#[tokio::test]
async fn another_process_opens_a_session_pays_it_and_reads_the_events() {
    let house = House::open().await;
    let (receiver, hook) = Receiver::open(&[]).await;
    control(&house, Method::POST, "stripe/webhook", json!({ "url": hook })).await;
    let wish = json!({ "amount": 2900, "metadata": { "order": "ord_2" } });
    let (_, session) = control(&house, Method::POST, "stripe/sessions", wish).await;
    let id = session["id"].as_str().unwrap();
    let (status, paid) = control(&house, Method::POST, &format!("stripe/sessions/{id}/pay"), json!({})).await;
    assert_eq!((status, &paid["payment_status"]), (200, &json!("paid")));
    control(&house, Method::POST, "idle", json!({})).await;
    assert_eq!(receiver.got().len(), 1);
    let (_, events) = control(&house, Method::GET, "stripe/events", json!({})).await;
    assert_eq!(events[0]["type"], "checkout.session.completed");
    let (status, error) = control(&house, Method::POST, "stripe/sessions/cs_none/pay", json!({})).await;
    assert_eq!(status, 400);
    assert!(error["error"].as_str().unwrap().contains("cs_none"));
}

#[tokio::test]
async fn another_process_sets_faults_turns_the_clock_and_reads_counts() {
    let house = House::open().await;
    let rule = json!({ "kind": "server_error", "status": 503, "times": 1, "on": "/emails" });
    let (_, rules) = control(&house, Method::POST, "resend/faults", rule.clone()).await;
    assert_eq!(rules, json!([rule]));
    assert_eq!(house.sandbox.resend.faults().list().len(), 1);
    control(&house, Method::DELETE, "resend/faults", json!({})).await;
    assert!(house.sandbox.resend.faults().list().is_empty());

    let before = house.sandbox.clock().now();
    control(&house, Method::POST, "clock", json!({ "seconds": 86_400 })).await;
    assert!(house.sandbox.clock().now() - before >= chrono::Duration::days(1));
    let (_, counts) = control(&house, Method::GET, "counts", json!({})).await;
    assert_eq!((&counts["fal"]["trainings"], &counts["resend"]["mails"]), (&json!(0), &json!(0)));
    let (_, user) = control(&house, Method::POST, "supabase/users", json!({ "email": "a@b.test" })).await;
    let (_, token) = control(&house, Method::POST, "supabase/tokens", json!({ "sub": user["id"] })).await;
    assert_eq!(token["token"].as_str().unwrap().split('.').count(), 3);
    assert_eq!(control(&house, Method::GET, "nobody/faults", json!({})).await.0, 400);
}

#[tokio::test]
async fn a_provider_goes_down_alone_and_comes_back_on_its_port() {
    let house = House::open().await;
    let url = house.sandbox.description().stripe.url;
    assert_eq!(control(&house, Method::POST, "stripe/down", json!({})).await.0, 200);
    assert!(house.http.get(format!("{url}/v1/events")).send().await.is_err());
    let (status, description) = control(&house, Method::GET, "description", json!({})).await;
    assert_eq!((status, &description["stripe"]["url"]), (200, &json!(url)));
    assert_eq!(control(&house, Method::POST, "stripe/up", json!({})).await.0, 200);
    assert_eq!(house.stripe_get("events").await["object"], "list");
}

#[tokio::test]
async fn without_the_control_key_nothing_moves() {
    let house = House::open().await;
    let url = format!("{}/clock", house.sandbox.description().control.url);
    let refused = house.http.post(url).json(&json!({ "seconds": 1 })).send().await.unwrap();
    assert_eq!(refused.status(), 401);
}

#[tokio::test]
async fn a_stopped_sandbox_answers_nobody() {
    let house = House::open().await;
    let description = house.sandbox.description();
    house.sandbox.clone().stop().await;
    for url in
        [&description.stripe.url, &description.fal.queue_url, &description.supabase.url, &description.control.url]
    {
        assert!(house.http.get(url.as_str()).send().await.is_err(), "{url}");
    }
}
