use serde_json::json;

use super::*;

#[tokio::test]
async fn a_status_is_read_also_when_it_is_202_and_a_failure_is_a_completed_one() {
    let server = StandIn::start([
        Reply::json(202, json!({"status": "IN_QUEUE", "queue_position": 3})),
        Reply::json(202, json!({"status": "IN_PROGRESS", "logs": null})),
        Reply::json(200, json!({"status": "COMPLETED", "logs": null})),
        Reply::json(200, json!({"status": "COMPLETED", "error": "planted text", "error_type": "startup_timeout"})),
        Reply::json(200, json!({"status": "COMPLETED", "error": "planted text"})),
        Reply::json(200, json!({"status": "PAUSED"})),
        Reply::json(404, json!({"status": "NOT_FOUND"})),
    ])
    .await;
    let fal = fal(&server.url);
    let link = server.url.clone() + "/fal-ai/flux-lora/requests/1/status";
    let completed = |error: Option<&str>| FalStatus::Completed { error: error.map(str::to_owned) };
    for expected in [
        FalStatus::InQueue { position: Some(3) },
        FalStatus::InProgress,
        completed(None),
        completed(Some("startup_timeout")),
        completed(Some("model_error")),
        FalStatus::Other("PAUSED".into()),
    ] {
        assert_eq!(fal.status(&link).await.unwrap(), expected);
    }
    assert_eq!(fal.status(&link).await, Err(FalError::NotFound));
}

#[tokio::test]
async fn a_result_is_the_models_own_answer_or_its_own_failure() {
    let failed = |code: &str, may_repeat| Err(FalError::Failed(ModelFailure { code: code.into(), may_repeat }));
    let policy = json!({"detail": [{"type": "content_policy_violation", "msg": "planted", "input": "planted"}]});
    let retryable = vec![("x-fal-retryable", "true".to_owned())];
    let cases = [
        (Reply::json(200, json!({"images": []})), Ok(json!({"images": []}))),
        (Reply::json(400, json!({"detail": "Request is still in progress"})), Err(FalError::Unfinished)),
        (Reply::json(422, policy.clone()), failed("content_policy_violation", false)),
        (Reply::Say(422, retryable.clone(), policy.to_string()), failed("content_policy_violation", false)),
        (Reply::Say(422, retryable, json!({"detail": "planted"}).to_string()), failed("model_error", true)),
        (Reply::json(504, json!({"detail": [{"type": "generation_timeout"}]})), failed("generation_timeout", true)),
        (
            Reply::json(503, json!({"detail": "x", "error_type": "runner_disconnected"})),
            failed("runner_disconnected", true),
        ),
        (Reply::json(404, json!({"detail": "gone"})), Err(FalError::NotFound)),
        (Reply::Say(429, vec![], String::new()), Err(FalError::Busy { after: None })),
        (Reply::Say(302, vec![("location", "/x".into())], String::new()), Err(FalError::ForeignLink)),
        (Reply::Say(200, vec![], "not json".into()), Err(FalError::Unreadable { what: "result" })),
    ];
    for (reply, expected) in cases {
        let (server, fal) = told(reply).await;
        let heard = fal.result(&fal.response_url("fal-ai/flux-lora/image-to-image", ID)).await;
        assert_eq!(heard, expected);
        assert_eq!(server.asked()[0].path, format!("/fal-ai/flux-lora/requests/{ID}"));
    }
}

#[tokio::test]
async fn a_link_of_fals_is_followed_only_to_the_configured_queue() {
    let server = StandIn::start([]).await;
    let fal = fal(&server.url);
    let port = server.url.rsplit(':').next().unwrap();
    for link in [
        "https://queue.fal.run/fal-ai/x/requests/1".to_owned(),
        format!("http://localhost:{port}/x"),
        format!("http://user@127.0.0.1:{port}/x"),
        format!("https://127.0.0.1:{port}/x"),
        "file:///etc/passwd".to_owned(),
        String::new(),
    ] {
        assert_eq!(fal.status(&link).await, Err(FalError::ForeignLink), "{link}");
        assert_eq!(fal.result(&link).await, Err(FalError::ForeignLink));
        assert_eq!(fal.cancel(&link).await, Err(FalError::ForeignLink));
    }
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn each_answer_to_a_cancel_has_its_own_word() {
    let cases = [
        (200, json!({"status": "CANCELLATION_REQUESTED"}), Ok(CancelAnswer::OutOfQueue)),
        (202, json!({"status": "CANCELLATION_REQUESTED"}), Ok(CancelAnswer::Requested)),
        (400, json!({"status": "ALREADY_COMPLETED"}), Ok(CancelAnswer::AlreadyCompleted)),
        (404, json!({"status": "NOT_FOUND"}), Ok(CancelAnswer::NotFound)),
        (503, json!({}), Err(FalError::Unreachable { why: "fal answered with a fault of its own" })),
    ];
    for (status, body, expected) in cases {
        let (server, fal) = told(Reply::json(status, body)).await;
        assert_eq!(fal.cancel(&format!("{}/a/b/requests/1/cancel", server.url)).await, expected);
        assert_eq!(server.asked().len(), 1);
        assert_eq!(server.asked()[0].method, "PUT");
    }
}

#[tokio::test]
async fn a_lost_request_is_looked_for_page_by_page() {
    let row = |id: &str| json!({"request_id": id, "endpoint_id": "fal-ai/x", "sent_at": "2026-11-01T10:00:00Z"});
    let server = StandIn::start([
        Reply::json(200, json!({"items": [row("a")], "has_more": true, "next_cursor": "c1"})),
        Reply::json(200, json!({"items": [row("b")], "has_more": false, "next_cursor": null})),
    ])
    .await;
    let start: chrono::DateTime<chrono::Utc> = "2026-11-01T09:00:00Z".parse().unwrap();
    let listing = fal(&server.url).list_requests("fal-ai/x", start, start + chrono::Duration::hours(2)).await.unwrap();
    assert!(listing.complete);
    assert_eq!(listing.requests.iter().map(|row| row.request_id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    let pairs = server.asked()[1].pairs();
    let expected = [
        ("endpoint_id", "fal-ai/x"),
        ("start", "2026-11-01T09:00:00Z"),
        ("end", "2026-11-01T11:00:00Z"),
        ("limit", "100"),
        ("cursor", "c1"),
    ];
    assert_eq!(pairs, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));

    let endless =
        (0..30).map(|n| Reply::json(200, json!({"items": [], "has_more": true, "next_cursor": n.to_string()})));
    let server = StandIn::start(endless).await;
    let listing = fal(&server.url).list_requests("fal-ai/x", start, start).await.unwrap();
    assert!(!listing.complete, "absence proves nothing when there is more");
}

#[test]
fn the_models_answers_are_read_with_everything_optional_missing() {
    let result = json!({"images": [{"url": "https://v3.fal.media/1"}, {"url": "https://v3.fal.media/2", "content_type": "image/jpeg"}],
        "has_nsfw_concepts": [true]});
    let images = images(&result).ok().unwrap();
    assert!(images[0].flagged, "a black picture comes with status 200");
    assert!(!images[1].flagged);
    assert_eq!(images[1].file.content_type.as_deref(), Some("image/jpeg"));
    assert_eq!(trained_model(&json!({"diffusers_lora_file": {"url": "x"}})).ok().unwrap().url.expose(), "x");
    assert!(trained_model(&json!({})).is_err());
    assert_eq!(nsfw_probability(&json!({"nsfw_probability": 0.25})), Ok(0.25));
    assert_eq!(nsfw_probability(&json!({"has_nsfw_concepts": [true]})), Ok(1.0));
    for bad in [json!({}), json!({"nsfw_probability": 1.5}), json!({"nsfw_probability": "0.1"}), json!(null)] {
        assert!(nsfw_probability(&bad).is_err(), "{bad}");
    }
}
