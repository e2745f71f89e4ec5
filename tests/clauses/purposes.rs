//! What each tenant's text names, and nothing else: purposes, processors, and who may read an original.

use safelight_jobs::{
    compare_faces::CompareFaces,
    gate::{Ask, Compare, Generate, Notify, Nsfw, Train},
    id::{Id, Notice, Order},
    measure_selfies::MeasureSelfies,
    policy::{CapturePoint, DataClass, Processor, Purpose},
    send_notice::SendNotice,
};
use serde_json::json;

use crate::app::{App, Person};

/// A paid order of HaloProfile whose work has not begun.
async fn paid_halo_order(app: &App) -> (Person, Id<Order>) {
    let (bob, order) = app.small_halo_order().await;
    mark_paid(app, order).await;
    (bob, order)
}

async fn mark_paid(app: &App, order: Id<Order>) {
    sqlx::query("update safelight.orders set state = 'paid', paid_at = safelight.now() where id = $1")
        .bind(order.uuid())
        .execute(&app.db)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn h7_an_upload_at_haloprofile_may_be_read_for_training_and_for_nothing_else() {
    let app = App::spawn().await;
    let (bob, order) = paid_halo_order(&app).await;
    let upload = app.artifacts("upload", app.batch_of(order).await.uuid()).await[0];
    let asks = |processor| {
        Ask::of(bob.id, processor, &[DataClass::Upload]).order(order).objects(std::slice::from_ref(&upload))
    };
    assert!(app.gate::<Train>(asks(Processor::Fal)).await.is_ok());
    for processor in [Processor::SelfHosted, Processor::Fal, Processor::Supabase] {
        assert_eq!(app.gate::<Compare>(asks(processor)).await.unwrap_err(), "purpose_not_allowed");
        assert_eq!(app.gate::<Nsfw>(asks(processor)).await.unwrap_err(), "purpose_not_allowed");
        assert_eq!(app.gate::<Generate>(asks(processor)).await.unwrap_err(), "purpose_not_allowed");
        assert_eq!(app.gate::<Notify>(asks(processor)).await.unwrap_err(), "purpose_not_allowed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn h7_images_at_haloprofile_are_made_from_the_model_and_from_no_upload() {
    let app = App::spawn().await;
    let (_bob, order) = app.small_halo_order().await;
    app.fulfils(order).await;
    let requests = app.sandbox.fal.requests();
    let generations: Vec<_> = requests.iter().filter(|request| !request.endpoint.contains("training")).collect();
    assert_eq!(generations.len(), 4);
    for request in generations {
        assert!(request.input["image_url"].is_null(), "a photo was sent: {}", request.endpoint);
        assert!(request.input["loras"][0]["path"].as_str().unwrap().contains("/model/"), "{}", request.input);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn h20_fal_trains_and_generates_for_haloprofile_and_does_nothing_else() {
    let app = App::spawn().await;
    let (bob, order) = paid_halo_order(&app).await;
    let asks = |classes| Ask::of(bob.id, Processor::Fal, classes).order(order);
    assert!(app.gate::<Train>(asks(&[DataClass::Upload])).await.is_ok());
    assert!(app.gate::<Generate>(asks(&[DataClass::Model, DataClass::Prompt, DataClass::Image])).await.is_ok());
    for class in DataClass::ALL {
        let class = std::slice::from_ref(class);
        assert_eq!(app.gate::<Compare>(asks(class)).await.unwrap_err(), "purpose_not_allowed");
        assert_eq!(app.gate::<Nsfw>(asks(class)).await.unwrap_err(), "purpose_not_allowed");
        assert_eq!(app.gate::<Notify>(asks(class)).await.unwrap_err(), "purpose_not_allowed");
    }
}

/// And in a whole order Fal is asked for nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn h20_h28_a_whole_order_of_haloprofile_compares_nothing_and_labels_nothing() {
    let app = App::spawn().await;
    let (_bob, order) = app.small_halo_order().await;
    app.fulfils(order).await;
    let mut endpoints: Vec<String> = app.sandbox.fal.requests().into_iter().map(|request| request.endpoint).collect();
    endpoints.dedup();
    assert_eq!(endpoints, ["fal-ai/flux-lora-fast-training", "fal-ai/flux-lora"]);
    for table in [
        "select count(*) from safelight.embeddings",
        "select count(*) from safelight.similarities",
        "select count(*) from safelight.image_checks",
        "select count(*) from safelight.jobs_archive where kind in ('compare_faces', 'measure_selfies', 'check_image')",
    ] {
        assert_eq!(app.count(table).await, 0, "{table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn h28_a_comparison_that_somebody_enqueues_for_haloprofile_is_refused_when_it_runs() {
    let app = App::spawn().await;
    let (_bob, order) = app.small_halo_order().await;
    app.fulfils(order).await;
    let image = app.artifacts("image", order.uuid()).await[0];
    let asked = (app.sandbox.fal.calls().len(), app.sandbox.supabase.calls().len());
    let measure = app.wants(&MeasureSelfies { order }).await;
    let compare = app.wants(&CompareFaces { image }).await;
    app.run_due_jobs().await;
    assert_eq!(app.why(measure).await, "purpose_not_allowed");
    assert_eq!(app.why(compare).await, "purpose_not_allowed");
    assert_eq!((app.sandbox.fal.calls().len(), app.sandbox.supabase.calls().len()), asked, "nobody was called");
    assert_eq!(app.count("select count(*) from safelight.embeddings").await, 0);
    assert_eq!(app.count("select count(*) from safelight.similarities").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn h28_a_comparison_that_the_web_backend_of_haloprofile_asks_for_is_refused() {
    let app = App::spawn().await;
    let (_bob, order) = paid_halo_order(&app).await;
    let token = app.token("haloprofile").await;
    let (status, answer) =
        app.post(&token, "/v1/jobs", json!({ "kind": "measure_selfies", "payload": { "order": order } })).await;
    if status == 202 {
        app.run_due_jobs().await;
        let (_, job) = app.get(&token, &format!("/v1/jobs/{}", answer["job"].as_str().unwrap())).await;
        assert_eq!((&job["state"], &job["why"]), (&json!("dead"), &json!("purpose_not_allowed")));
    } else {
        assert_eq!((status, &answer["code"]), (409, &json!("purpose_not_allowed")));
    }
    assert_eq!(app.count("select count(*) from safelight.embeddings").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn h29_a_mail_for_haloprofile_is_refused_and_the_product_tells_instead() {
    let app = App::spawn().await;
    let (_bob, order) = app.small_halo_order().await;
    app.fulfils(order).await;
    let (channel, told): (String, bool) =
        sqlx::query_as("select channel, sent_at is not null from safelight.notices where order_id = $1 and template = 'order_delivered'")
            .bind(order.uuid())
            .fetch_one(&app.db)
            .await
            .unwrap();
    assert_eq!((channel.as_str(), told), ("product", true));
    // Somebody enqueues the mail all the same.
    let notice: uuid::Uuid = app.of("select id from safelight.notices where order_id = $1", order.uuid()).await;
    sqlx::query("update safelight.notices set channel = 'mail', sent_at = null").execute(&app.db).await.unwrap();
    let job = app.wants(&SendNotice { notice: Id::<Notice>::from(notice) }).await;
    app.run_due_jobs().await;
    assert_eq!(app.why(job).await, "purpose_not_allowed");
    assert_eq!(app.sandbox.resend.calls().len(), 0, "the mail provider was not called");
}

/// The owner of a web backend's token, an operator, and the API's own database role.
#[tokio::test(flavor = "multi_thread")]
async fn h12_nobody_can_ask_for_an_original() {
    let app = App::spawn().await;
    let (bob, order) = app.small_halo_order().await;
    let upload = app.artifacts("upload", app.batch_of(order).await.uuid()).await[0];
    let token = app.token("haloprofile").await;
    assert_eq!(app.get(&token, &format!("/v1/subjects/{}/images/{upload}", bob.id)).await.0, 404);
    let operator =
        safelight_api::tokens::create(&app.db, None, "operator", &safelight_api::tokens::Scope::ALL).await.unwrap();
    assert_eq!(app.get(operator.expose(), &format!("/v1/subjects/{}/images/{upload}", bob.id)).await.0, 404);
    // No route but the placing of a new photo answers with a link to the folder of originals.
    app.fulfils(order).await;
    for path in [format!("/v1/orders/{order}"), "/v1/jobs/kinds".to_owned()] {
        let asked = app.http.get(format!("{}{path}", app.url)).bearer_auth(operator.expose());
        let answer = asked.header("safelight-why", "an auditor asked").send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 200);
        let body = answer.text().await.unwrap();
        assert!(!body.contains("/upload/"), "{path} shows where an original lies");
    }
    // Without a signature the store gives nothing either.
    let key = app.key_of(upload).await;
    let there = app.sandbox.description().supabase;
    let anonymous = app.http.get(format!("{}/safelight/{key}", there.s3_endpoint)).send().await.unwrap();
    assert!(anonymous.status().is_client_error(), "{}", anonymous.status());
}

/// K15: each consent alone opens its own gate and no other.
#[tokio::test(flavor = "multi_thread")]
async fn k15_a_consent_for_one_purpose_opens_no_other() {
    let app = App::spawn().await;
    for (train, compare) in [(false, false), (true, false), (false, true), (true, true)] {
        let ann = app.person("koselfie").await;
        let (batch, _) = app.uploads(&ann, 10).await;
        if compare {
            app.agrees_to_compare(&ann, batch).await;
        }
        let order = app.orders(&ann, batch, "pro", train).await;
        mark_paid(&app, order).await;
        let training = app.gate::<Train>(Ask::of(ann.id, Processor::Fal, &[DataClass::Upload]).order(order)).await;
        let comparing = app
            .gate::<Compare>(
                Ask::of(ann.id, Processor::SelfHosted, &[DataClass::Upload, DataClass::Embedding]).order(order),
            )
            .await;
        let wanted = |given| if given { Ok(()) } else { Err("consent_missing") };
        assert_eq!(training.map(|_| ()), wanted(train), "train with train={train} compare={compare}");
        assert_eq!(comparing.map(|_| ()), wanted(compare), "compare with train={train} compare={compare}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn k15_withdrawing_one_consent_leaves_the_other() {
    let app = App::spawn().await;
    let ann = app.person("koselfie").await;
    let (batch, _) = app.uploads(&ann, 10).await;
    app.agrees_to_compare(&ann, batch).await;
    let order = app.orders(&ann, batch, "pro", true).await;
    mark_paid(&app, order).await;
    app.withdraws(&ann, Purpose::Compare).await;
    assert!(app.gate::<Train>(Ask::of(ann.id, Processor::Fal, &[DataClass::Upload]).order(order)).await.is_ok());
    let comparing =
        app.gate::<Compare>(Ask::of(ann.id, Processor::SelfHosted, &[DataClass::Upload]).order(order)).await;
    assert_eq!(comparing.unwrap_err(), "consent_withdrawn");
}

/// K14: two boxes, and the second one for every batch.
#[tokio::test(flavor = "multi_thread")]
async fn k14_the_box_at_sign_up_alone_does_not_let_faces_be_compared() {
    let app = App::spawn().await;
    let ann = app.person("koselfie").await;
    app.grants(&ann, Purpose::Compare, CapturePoint::SignUp, None, None).await.unwrap();
    let (batch, _) = app.uploads(&ann, 3).await;
    let order = app.orders(&ann, batch, "basic", true).await;
    app.fulfils(order).await;
    assert_eq!(app.count("select count(*) from safelight.embeddings").await, 0);
    assert_eq!(app.count("select count(*) from safelight.similarities").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn k14_the_box_at_the_first_upload_does_not_cover_the_second() {
    let app = App::spawn().await;
    let ann = app.person("koselfie").await;
    let (first, _) = app.uploads(&ann, 3).await;
    let (second, _) = app.uploads(&ann, 3).await;
    app.agrees_to_compare(&ann, first).await;
    for (batch, wanted) in [(first, Ok(())), (second, Err("consent_missing"))] {
        let order = app.orders(&ann, batch, "basic", true).await;
        mark_paid(&app, order).await;
        let comparing =
            app.gate::<Compare>(Ask::of(ann.id, Processor::SelfHosted, &[DataClass::Upload]).order(order)).await;
        assert_eq!(comparing.map(|_| ()), wanted);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn k14_one_flag_for_two_purposes_is_no_consent() {
    let app = App::spawn().await;
    let ann = app.person("koselfie").await;
    let token = app.token("koselfie").await;
    let path = format!("/v1/subjects/{}/consents", ann.id);
    let wording = crate::app::WORDING;
    for body in [
        json!({ "purpose": ["train", "compare"], "capture_point": "sign_up", "wording_sha256": wording, "policy_version": "2026-05-25" }),
        json!({ "train": true, "compare": true, "capture_point": "sign_up", "wording_sha256": wording, "policy_version": "2026-05-25" }),
        json!({ "purposes": ["compare"], "capture_point": "sign_up", "wording_sha256": wording, "policy_version": "2026-05-25" }),
    ] {
        let (status, answer) = app.post(&token, &path, body).await;
        assert_eq!((status, &answer["code"]), (422, &json!("consent_bundled")), "{answer}");
    }
    assert_eq!(app.count("select count(*) from safelight.consents").await, 0);
}

/// A consent that comes when the order's faces could have been measured already counts from then on and holds nothing up.
#[tokio::test(flavor = "multi_thread")]
async fn k14_a_box_that_is_ticked_late_counts_from_then_on_and_holds_no_image_back() {
    let app = App::spawn().await;
    app.sandbox.fal.hold(safelight_sandbox::fal::Hold::InQueue);
    let (ann, order) = app.basic_order(false).await;
    app.begins(order).await;
    assert_eq!(app.count("select count(*) from safelight.embeddings").await, 0);
    app.agrees_to_compare(&ann, app.batch_of(order).await).await;
    app.sandbox.fal.hold(safelight_sandbox::fal::Hold::Nowhere);
    app.run_due_jobs().await;
    app.turn_clock(chrono::Duration::minutes(2)).await;
    app.run_due_jobs().await;
    assert_eq!(app.order_state(order).await, ("delivered".to_owned(), None));
    assert_eq!(app.count("select count(*) from safelight.similarities").await, 4);
}
