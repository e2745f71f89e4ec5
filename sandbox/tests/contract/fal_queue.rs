//! Fal's queue: submit, status, result, cancel, listing.

use chrono::Duration;
use reqwest::{Response, StatusCode};
use safelight_sandbox::fal::{Hold, NSFW};
use safelight_sandbox::{Fault, Rule};
use serde_json::{Value, json};

use crate::house::{House, photo, soon};

impl House {
    /// Submits to the queue with the ordinary key.
    pub(crate) async fn submit(&self, model: &str, input: &Value, headers: &[(&str, &str)], query: &str) -> Response {
        let fal = self.sandbox.description().fal;
        let mut request = self.http.post(format!("{}/{model}{query}", fal.queue_url)).json(input);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.header("authorization", format!("Key {}", fal.key)).send().await.unwrap()
    }

    /// Asks Fal with the ordinary key.
    pub(crate) async fn ask_fal(&self, url: &str) -> Response {
        let key = format!("Key {}", self.sandbox.description().fal.key);
        self.http.get(url).header("authorization", key).send().await.unwrap()
    }

    pub(crate) async fn cancel(&self, accepted: &Value) -> Response {
        let key = format!("Key {}", self.sandbox.description().fal.key);
        self.http.put(accepted["cancel_url"].as_str().unwrap()).header("authorization", key).send().await.unwrap()
    }

    /// Submits and waits for the end. Returns the queue's answer and the result.
    pub(crate) async fn fal(&self, model: &str, input: &Value) -> (Value, StatusCode, Value) {
        let accepted = self.submit(model, input, &[("x-fal-store-io", "0")], "").await;
        let accepted: Value = accepted.json().await.unwrap();
        self.sandbox.fal.idle().await;
        let result = self.ask_fal(accepted["response_url"].as_str().unwrap()).await;
        (accepted, result.status(), result.json().await.unwrap())
    }
}

pub(crate) fn data_uri(bytes: &[u8]) -> String {
    use base64::Engine as _;
    format!("data:application/octet-stream;base64,{}", base64::engine::general_purpose::STANDARD.encode(bytes))
}

fn look() -> Value {
    json!({ "image_url": data_uri(&photo(1)) })
}

#[tokio::test]
async fn status_is_202_while_waiting_and_running_and_200_when_completed() {
    let house = House::open().await;
    house.sandbox.fal.hold(Hold::InQueue);
    let accepted: Value = house.submit(NSFW, &look(), &[], "").await.json().await.unwrap();
    assert_eq!(accepted["status"], "IN_QUEUE");
    let status_url = accepted["status_url"].as_str().unwrap();
    assert!(status_url.contains("/fal-ai/imageutils/requests/"), "URLs hold owner and app only: {status_url}");
    let waiting = house.ask_fal(status_url).await;
    assert_eq!(waiting.status(), 202);
    assert_eq!(waiting.json::<Value>().await.unwrap()["queue_position"], 0);
    let early = house.ask_fal(accepted["response_url"].as_str().unwrap()).await;
    assert_eq!(early.status(), 400);
    assert_eq!(early.json::<Value>().await.unwrap()["detail"], "Request is still in progress");

    house.sandbox.fal.hold(Hold::Nowhere);
    house.sandbox.fal.idle().await;
    let done = house.ask_fal(&format!("{status_url}?logs=1")).await;
    assert_eq!(done.status(), 200);
    let done: Value = done.json().await.unwrap();
    assert_eq!((&done["status"], &done["logs"], &done["error"]), (&json!("COMPLETED"), &json!([]), &Value::Null));
    let id = accepted["request_id"].as_str().unwrap();
    let base = house.sandbox.description().fal.queue_url;
    for form in [format!("{NSFW}/requests/{id}/response"), format!("fal-ai/imageutils/requests/{id}")] {
        assert_eq!(house.ask_fal(&format!("{base}/{form}")).await.status(), 200, "{form}");
    }
    assert_eq!(house.ask_fal(&format!("{base}/fal-ai/other/requests/{id}")).await.status(), 404);
}

#[tokio::test]
async fn a_failed_request_is_completed_with_an_error_and_the_result_repeats_it() {
    let house = House::open().await;
    let (accepted, code, body) = house.fal(NSFW, &json!({ "image_url": "http://127.0.0.1:1/none" })).await;
    assert_eq!(code, 422);
    assert_eq!(body["detail"][0]["type"], "file_download_error");
    assert_eq!(body["detail"][0]["loc"], json!(["body", "image_url"]));
    let status: Value = house.ask_fal(accepted["status_url"].as_str().unwrap()).await.json().await.unwrap();
    assert_eq!(status["status"], "COMPLETED");
    assert_eq!(status["error_type"], "file_download_error");
}

#[tokio::test]
async fn a_result_is_gone_an_hour_later_unless_payloads_are_stored() {
    let house = House::open().await;
    let (short, code, _) = house.fal(NSFW, &look()).await;
    assert_eq!(code, 200);
    let stored: Value = house.submit(NSFW, &look(), &[], "").await.json().await.unwrap();
    house.sandbox.fal.idle().await;
    house.sandbox.turn_clock(Duration::minutes(59));
    assert_eq!(house.ask_fal(short["response_url"].as_str().unwrap()).await.status(), 200);
    house.sandbox.turn_clock(Duration::minutes(2));
    assert_eq!(house.ask_fal(short["response_url"].as_str().unwrap()).await.status(), 404);
    assert_eq!(house.ask_fal(stored["response_url"].as_str().unwrap()).await.status(), 200);
}

#[tokio::test]
async fn cancel_says_taken_out_asked_to_stop_or_too_late() {
    let house = House::open().await;
    house.sandbox.fal.hold(Hold::InQueue);
    let queued: Value = house.submit(NSFW, &look(), &[], "").await.json().await.unwrap();
    assert_eq!(house.cancel(&queued).await.status(), 200);
    house.sandbox.fal.idle().await;
    assert_eq!(house.cancel(&queued).await.status(), 400, "already completed");

    let running = running(&house).await;
    let answer = house.cancel(&running).await;
    assert_eq!(answer.status(), 202);
    assert_eq!(answer.json::<Value>().await.unwrap()["status"], "CANCELLATION_REQUESTED");
    house.sandbox.fal.idle().await;
    let status: Value = house.ask_fal(running["status_url"].as_str().unwrap()).await.json().await.unwrap();
    assert_eq!((&status["status"], &status["error_type"]), (&json!("COMPLETED"), &json!("client_cancelled")));
}

#[tokio::test]
async fn a_cancel_can_be_ignored_and_the_work_ends_well() {
    let house = House::open().await;
    house.sandbox.fal.faults().once(Fault::CancelIgnored);
    let running = running(&house).await;
    assert_eq!(house.cancel(&running).await.status(), 202);
    house.sandbox.fal.hold(Hold::Nowhere);
    house.sandbox.fal.idle().await;
    assert_eq!(house.ask_fal(running["response_url"].as_str().unwrap()).await.status(), 200);
}

/// A request that is IN_PROGRESS and stays so.
async fn running(house: &House) -> Value {
    house.sandbox.fal.hold(Hold::InProgress);
    let accepted: Value = house.submit(NSFW, &look(), &[], "").await.json().await.unwrap();
    let started = async {
        loop {
            let status = house.ask_fal(accepted["status_url"].as_str().unwrap()).await;
            if status.json::<Value>().await.unwrap()["status"] == "IN_PROGRESS" {
                break;
            }
        }
    };
    soon(started).await;
    accepted
}

#[tokio::test]
async fn a_wrong_key_an_unknown_model_and_no_json_are_refused_and_count_for_nothing() {
    let house = House::open().await;
    let url = format!("{}/{NSFW}", house.sandbox.description().fal.queue_url);
    let wrong = house.http.post(&url).header("authorization", "Key nobody").json(&look()).send().await.unwrap();
    assert_eq!(wrong.status(), 401);
    assert_eq!(house.submit("fal-ai/face-swap", &look(), &[], "").await.status(), 404);
    assert!(house.sandbox.fal.requests().is_empty());
    let kept = serde_json::to_string(&house.sandbox.fal.calls()).unwrap();
    assert!(!kept.contains(&house.sandbox.description().fal.key), "no key in what is kept of a call");
}

#[tokio::test]
async fn a_lost_answer_leaves_a_request_that_only_the_listing_shows() {
    let house = House::open().await;
    let fal = house.sandbox.description().fal;
    let on = Some("POST /fal-ai/imageutils/nsfw".to_owned());
    house.sandbox.fal.faults().add(Rule { fault: Fault::LostAnswer, times: Some(1), on });
    let sent = house.http.post(format!("{}/{NSFW}", fal.queue_url)).json(&look());
    let sent = sent.header("authorization", format!("Key {}", fal.key)).header("x-fal-store-io", "0").send().await;
    assert!(sent.is_err(), "no answer came");
    assert_eq!(house.sandbox.fal.requests().len(), 1, "and yet it was accepted");
    house.sandbox.fal.idle().await;

    let url = format!("{}/models/requests/by-endpoint?endpoint_id={NSFW}&expand=payloads", fal.platform_url);
    let found: Value = house.ask_fal(&url).await.json().await.unwrap();
    assert_eq!(found["items"][0]["status_code"], 200);
    assert_eq!(found["items"][0]["json_input"], Value::Null, "nothing was stored");
    assert_eq!(found["has_more"], false);
    let none = format!("{}/models/requests/by-endpoint", fal.platform_url);
    assert_eq!(house.ask_fal(&none).await.status(), 400, "endpoint_id is required");
}

#[tokio::test]
async fn an_unreachable_queue_accepts_nothing_and_a_429_names_its_wait() {
    let house = House::open().await;
    let fal = house.sandbox.description().fal;
    house.sandbox.fal.faults().once(Fault::Unreachable);
    let key = format!("Key {}", fal.key);
    let cut = house.http.post(format!("{}/{NSFW}", fal.queue_url)).json(&look()).header("authorization", key);
    assert!(cut.send().await.is_err());
    house.sandbox.fal.faults().once(Fault::TooManyRequests { retry_after_seconds: Some(9) });
    let busy = house.submit(NSFW, &look(), &[], "").await;
    assert_eq!((busy.status().as_u16(), &busy.headers()["retry-after"]), (429, &"9".parse().unwrap()));
    house.sandbox.fal.faults().once(Fault::PaymentRequired);
    assert_eq!(house.submit(NSFW, &look(), &[], "").await.status(), 402);
    assert!(house.sandbox.fal.requests().is_empty());
}
