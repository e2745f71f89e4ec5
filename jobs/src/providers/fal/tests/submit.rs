use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

fn training() -> TrainingRequest {
    TrainingRequest {
        model_id: "fal-ai/flux-lora-fast-training".into(),
        images_data_url: Secret::new("https://store.example/zip?X-Amz-Signature=planted"),
        trigger_word: "p3rson".into(),
        parameters: Map::from_iter([("steps".to_owned(), json!(1_000))]),
        webhook_url: "https://app.example/webhooks/fal/t0ken".into(),
    }
}

fn generation() -> GenerationRequest {
    GenerationRequest {
        model_id: "fal-ai/flux-lora".into(),
        prompt: "p3rson in a garden".into(),
        lora_url: Some(Secret::new("https://store.example/lora?s=1")),
        image_url: None,
        seed: Some(7),
        num_images: 1,
        parameters: Map::new(),
        webhook_url: "https://app.example/webhooks/fal/t0ken".into(),
    }
}

fn accepted(url: &str) -> Value {
    let at = |end: &str| format!("{url}/fal-ai/flux-lora/requests/{ID}{end}");
    json!({"request_id": ID, "status": "IN_QUEUE", "queue_position": 0, "gateway_request_id": ID,
        "response_url": at(""), "status_url": at("/status"), "cancel_url": at("/cancel")})
}

#[tokio::test]
async fn h8_every_submit_says_keep_nothing_retry_nothing_and_show_nobody() {
    let server = StandIn::start([]).await;
    let fal = fal(&server.url);
    for _ in 0..3 {
        server.then(Reply::json(200, accepted(&server.url)));
    }
    let submitted = fal.train(&training()).await.unwrap();
    assert_eq!(submitted.request_id, ID);
    fal.generate(&generation()).await.unwrap();
    let nsfw = NsfwRequest {
        model_id: "fal-ai/imageutils/nsfw".into(),
        image_url: Secret::new("https://store.example/image?s=1"),
        webhook_url: training().webhook_url,
    };
    fal.label(&nsfw).await.unwrap();
    let asked = server.asked();
    for asked in &asked {
        assert_eq!(asked.header("authorization"), "Key id:planted");
        assert_eq!(asked.header("x-fal-store-io"), "0");
        assert_eq!(asked.header("x-fal-no-retry"), "1");
        assert_eq!(asked.header("x-app-fal-disable-fallback"), "true");
        let lifecycle: Value = serde_json::from_str(asked.header("x-fal-object-lifecycle-preference")).unwrap();
        let expected = json!({"expiration_duration_seconds": 7200, "initial_acl": {"default": "forbid", "rules": []}});
        assert_eq!(lifecycle, expected);
        assert_eq!(asked.pairs(), [("fal_webhook".to_owned(), training().webhook_url)]);
    }
    let training_body =
        json!({"images_data_url": training().images_data_url.expose(), "trigger_word": "p3rson", "steps": 1000});
    assert_eq!((asked[0].path.as_str(), asked[0].json()), ("/fal-ai/flux-lora-fast-training", training_body));
    let loras = json!([{"path": "https://store.example/lora?s=1", "scale": 1}]);
    let generation_body = json!({"prompt": "p3rson in a garden", "loras": loras, "seed": 7, "num_images": 1});
    assert_eq!((asked[1].path.as_str(), asked[1].json()), ("/fal-ai/flux-lora", generation_body));
    assert_eq!(asked[2].json(), json!({"image_url": "https://store.example/image?s=1"}));
}

#[tokio::test]
async fn the_portrait_trainer_gets_its_own_name_for_the_trigger() {
    let server = StandIn::start([]).await;
    server.then(Reply::json(200, accepted(&server.url)));
    let request = TrainingRequest { model_id: "fal-ai/flux-lora-portrait-trainer".into(), ..training() };
    fal(&server.url).train(&request).await.unwrap();
    assert_eq!(server.asked()[0].json()["trigger_phrase"], "p3rson");
}

#[tokio::test]
async fn h16_an_input_that_lies_at_fal_or_a_forged_setting_is_never_sent() {
    let server = StandIn::start([]).await;
    let fal = fal(&server.url);
    let at_fal = server.url.clone() + "/files/a.zip";
    for link in
        ["https://v3.fal.media/files/a.zip", "https://x.fal.media/a", "http://store.example/zip", "data:x", &at_fal]
    {
        let request = TrainingRequest { images_data_url: Secret::new(link), ..training() };
        let heard = fal.train(&request).await;
        assert!(matches!(heard, Err(SubmitError::NotAccepted(NotAccepted::BadInput { .. }))), "{link}");
    }
    for name in ["prompt", "image_url", "loras"] {
        let parameters = Map::from_iter([(name.to_owned(), json!("https://elsewhere.example/other-person"))]);
        let request = GenerationRequest { lora_url: None, parameters, ..generation() };
        assert!(fal.generate(&request).await.is_err(), "{name}");
    }
    for model_id in ["fal-ai", "../admin/x", "fal-ai/..", "fal-ai//x", "fal-ai/x?y=1"] {
        assert!(fal.train(&TrainingRequest { model_id: model_id.into(), ..training() }).await.is_err(), "{model_id}");
    }
    for webhook_url in ["http://app.example/hook", "not an address"] {
        assert!(fal.train(&TrainingRequest { webhook_url: webhook_url.into(), ..training() }).await.is_err());
    }
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn what_fal_has_certainly_not_accepted_is_told_from_what_it_may_have() {
    let detail = |status, detail: Value| Reply::json(status, json!({ "detail": detail }));
    let refused = |code: &str, status| NotAccepted::Refused { code: code.into(), status };
    let cases = [
        (detail(402, json!("no")), Some(NotAccepted::NoMoney)),
        (detail(403, json!("User is locked. Reason: Exhausted balance.")), Some(NotAccepted::NoMoney)),
        (detail(401, json!("no")), Some(NotAccepted::NotAllowed { status: 401 })),
        (detail(403, json!("no")), Some(NotAccepted::NotAllowed { status: 403 })),
        (detail(429, json!("busy")), Some(NotAccepted::Busy { after: None })),
        (
            Reply::Say(429, vec![("retry-after", "9".into())], String::new()),
            Some(NotAccepted::Busy { after: Some(Duration::from_secs(9)) }),
        ),
        (detail(422, json!([{"type": "missing", "msg": "planted", "loc": ["body"]}])), Some(refused("missing", 422))),
        (detail(422, json!("planted prompt")), Some(refused("model_error", 422))),
        (Reply::Say(404, vec![], "<html>".into()), Some(refused("http_404", 404))),
        (Reply::json(400, json!({"error_type": "bad_request"})), Some(refused("bad_request", 400))),
        (detail(500, json!("planted")), None),
        (detail(502, json!("planted")), None),
        (detail(503, json!("planted")), None),
        (detail(504, json!("planted")), None),
        (Reply::Say(307, vec![("location", "https://elsewhere.example".into())], String::new()), None),
        (Reply::Say(408, vec![], String::new()), None),
        (Reply::Say(200, vec![], "{\"request".into()), None),
        (Reply::json(200, json!({"request_id": "../x", "response_url": "", "status_url": "", "cancel_url": ""})), None),
        (Reply::BreakOff, None),
    ];
    for (place, (reply, expected)) in cases.into_iter().enumerate() {
        let (server, fal) = told(reply).await;
        let heard = fal.train(&training()).await.unwrap_err();
        assert!(!format!("{heard} {heard:?}").contains("planted"), "{heard}");
        match expected {
            Some(expected) => assert_eq!(heard, SubmitError::NotAccepted(expected), "case {place}"),
            None => assert!(heard.is_unknown(), "case {place}: {heard:?}"),
        }
        assert_eq!(server.asked().len(), 1, "a submit is sent once, case {place}");
    }
}

#[tokio::test]
async fn a_refused_connection_is_certain_and_a_lost_one_is_not() {
    let heard = fal(&nobody().await).train(&training()).await.unwrap_err();
    assert!(matches!(heard, SubmitError::NotAccepted(NotAccepted::Unsent { .. })), "{heard:?}");

    // Takes the request and hangs up without a word.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let hang_up = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut some = [0; 64];
        stream.read_exact(&mut some).await.unwrap();
        stream.shutdown().await.unwrap();
    });
    assert!(fal(&url).train(&training()).await.unwrap_err().is_unknown());
    hang_up.await.unwrap();

    let server = StandIn::start([Reply::Silence]).await;
    let hasty = Fal::new(&FalConfig { timeout: Duration::from_millis(100), ..config(&server.url) }).unwrap();
    let heard = tokio::time::timeout(Duration::from_secs(10), hasty.train(&training())).await;
    assert!(heard.unwrap().unwrap_err().is_unknown());
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn settings_that_would_keep_files_for_ever_or_send_the_key_in_the_open_are_refused() {
    let good = config("http://127.0.0.1:9");
    assert!(Fal::new(&good).is_ok());
    for bad in [
        FalConfig { file_life: Duration::ZERO, ..good.clone() },
        FalConfig { files_hosts: vec![], ..good.clone() },
        FalConfig { files_hosts: vec!["https://v3.fal.media".into()], ..good.clone() },
        FalConfig { queue_url: "http://queue.fal.run".into(), ..good.clone() },
        FalConfig { platform_url: "http://api.fal.ai/v1".into(), ..good.clone() },
        FalConfig { key: Secret::new(" "), ..good.clone() },
        FalConfig { admin_key: Some(Secret::new("")), ..good.clone() },
    ] {
        assert!(Fal::new(&bad).is_err());
    }
}
