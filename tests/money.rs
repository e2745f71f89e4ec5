//! Money that comes at the wrong time, and what no role may do.

mod books;
mod commands;
mod late;
mod listed;
mod refunds;
mod seen;
mod standstill;
mod storm;
mod unknown;
mod withdrawn;

use safelight_jobs::{
    db::{self, Role},
    intake,
    policy::{CapturePoint, Purpose},
    providers::stripe_webhook::StripeEvent,
    webhooks::{self, Received},
};

use crate::app::App;

fn completed(id: &str, session: &str) -> StripeEvent {
    StripeEvent {
        id: id.to_owned(),
        kind: "checkout.session.completed".to_owned(),
        created: 0,
        livemode: false,
        object_id: Some(session.to_owned()),
        payment_intent: None,
        payment_status: Some("paid".to_owned()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn n21_money_that_comes_after_the_checkout_expired_goes_to_refund_review() {
    let app = App::spawn().await;
    let (_bob, order) = app.halo_order().await;
    let session = app.session(order).await;
    // Stripe knew of no session when the window was over, and then there was money: whatever the reason.
    sqlx::query("update safelight.orders set state = 'expired' where id = $1")
        .bind(order.uuid())
        .execute(&app.db)
        .await
        .unwrap();
    app.sandbox.stripe.pay(&session).unwrap();
    app.run_due_jobs().await;
    assert_eq!(app.order_state(order).await, ("refund_review".to_owned(), Some("paid_too_late".to_owned())));
    assert_eq!(app.count("select count(*) from safelight_fiscal.sales").await, 1, "the money is on the books");
    assert_eq!(app.sandbox.fal.trainings(), 0);
}

/// Both orders of every statement, by luck and by chance: each round lets them race.
#[tokio::test(flavor = "multi_thread")]
async fn n5_news_about_a_session_and_its_checkout_never_miss_each_other() {
    let app = App::spawn().await;
    let bob = app.person("haloprofile").await;
    let (batch, _) = app.uploads(&bob, 6).await;
    let policy = app.services.policies.of("haloprofile").unwrap();
    for round in 0..60 {
        let new = intake::NewOrder { subject: bob.id, batch, plan: "basic".to_owned(), prompt: None };
        let mut tx = app.tx().await;
        let order = intake::place(&mut tx, &app.services.vault, policy, &new).await.unwrap().order;
        tx.commit().await.unwrap();
        let session = format!("cs_test_{round}");
        let news = async {
            let mut tx = app.tx().await;
            webhooks::stripe(&mut tx, &completed(&format!("evt_{round}"), &session)).await.unwrap();
            tx.commit().await.unwrap();
        };
        let checkout = async {
            let mut tx = app.tx().await;
            intake::start_checkout(&mut tx, "haloprofile", order, &session, false).await.unwrap();
            tx.commit().await.unwrap();
        };
        tokio::join!(news, checkout);
        let asked: i64 =
            sqlx::query_scalar("select count(*) from safelight.jobs where order_id = $1 and kind = 'confirm_payment'")
                .bind(order.uuid())
                .fetch_one(&app.db)
                .await
                .unwrap();
        assert_eq!(asked, 1, "round {round}: somebody asks Stripe, once");
    }
    let mut tx = app.tx().await;
    assert_eq!(webhooks::stripe(&mut tx, &completed("evt_0", "cs_test_0")).await.unwrap(), Received::Duplicate);
}

#[tokio::test(flavor = "multi_thread")]
async fn k43_only_a_consent_can_be_withdrawn() {
    let app = App::spawn().await;
    let (bob, _) = app.halo_order().await;
    let mut tx = app.tx().await;
    let refused = intake::withdraw(&mut tx, "haloprofile", bob.id, Purpose::Train).await.unwrap_err();
    assert!(refused.to_string().contains("consent_not_asked_for"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn k13_a_clock_that_steps_back_brings_no_consent_back() {
    let app = App::spawn().await;
    let ann = app.person("koselfie").await;
    app.grants(&ann, Purpose::Compare, CapturePoint::SignUp, None, None).await.unwrap();
    let (batch, _) = app.uploads(&ann, 1).await;
    app.grants(&ann, Purpose::Compare, CapturePoint::Upload, Some(batch), None).await.unwrap();
    app.turn_clock(chrono::Duration::seconds(-30)).await;
    app.withdraws(&ann, Purpose::Compare).await;
    let code: Option<String> = sqlx::query_scalar(
        "select code from safelight.pass_gate($1, 'compare', 'self', array['upload', 'embedding'], null, $2)",
    )
    .bind(ann.id.uuid())
    .bind(batch.uuid())
    .fetch_one(&app.db)
    .await
    .unwrap();
    assert_eq!(code.as_deref(), Some("consent_withdrawn"));
}

#[tokio::test(flavor = "multi_thread")]
async fn h25_no_role_can_do_another_ones_work() {
    let app = App::spawn().await;
    let intake = db::connect(&app.database_url, Role::Api, 1).await.unwrap();
    let auditor = db::connect(&app.database_url, Role::Auditor, 1).await.unwrap();
    let id = "'019a8f2e-6c5d-7b12-90f3-a4b5c6d7e8f9'::uuid";
    let record_embedding = format!("select safelight.record_embedding({id}, 1, {id}, {id}, '', '', 1, '')");
    let worker_may_not = [
        format!("select safelight.grant_consent({id}, {id}, 'train', 'checkout', null, null, '', '')"),
        format!("select safelight.fence_subject({id})"),
        format!("select safelight.restrict_subject({id}, '', null)"),
        format!("select safelight.release_subject({id})"),
        format!("select safelight.release_told({id}, '', now())"),
        format!("select safelight.end_objected_work({id}, '', '{{}}')"),
        "update safelight.cases set state = 'closed'".to_owned(),
        format!("select safelight.record_upload({id}, {id}, {id}, '')"),
        "delete from safelight.consents".to_owned(),
        "insert into safelight.embeddings default values".to_owned(),
        "insert into safelight.artifacts default values".to_owned(),
        "update safelight.artifacts set storage_key = ''".to_owned(),
        "update safelight.audit_entries set outcome = 'x'".to_owned(),
        "update safelight.subjects set generation = 2".to_owned(),
        "insert into safelight.tokens default values".to_owned(),
        "insert into safelight.clock (shift) values ('1 hour')".to_owned(),
    ];
    let intake_may_not = [
        record_embedding.clone(),
        format!("select safelight.cancel_jobs({id}, null, '')"),
        format!("select safelight.record_request({id}, '', '', '', '', '{{}}')"),
        "select vector_sealed from safelight.embeddings".to_owned(),
        "update safelight.orders set paid_at = now()".to_owned(),
        "delete from safelight.artifacts".to_owned(),
    ];
    let auditor_may_not = [
        "select email_sealed from safelight.accounts".to_owned(),
        "select * from safelight.subjects".to_owned(),
        record_embedding,
    ];
    for (pool, statements) in
        [(&app.worker, &worker_may_not[..]), (&intake, &intake_may_not[..]), (&auditor, &auditor_may_not[..])]
    {
        for statement in statements {
            let error = sqlx::query(sqlx::AssertSqlSafe(statement.clone())).execute(pool).await.expect_err(statement);
            let code = error.as_database_error().and_then(|error| error.code()).map(|code| code.into_owned());
            assert_eq!(code.as_deref(), Some("42501"), "{statement}: {error}");
        }
    }
}

/// By statements of the worker's role, as a handler would that does not ask.
#[tokio::test(flavor = "multi_thread")]
async fn h25_k43_a_score_a_label_and_a_call_are_not_written_behind_a_closed_gate_whoever_forgot_to_ask() {
    let app = App::spawn().await;
    let (ann, order) = app.basic_order(true).await;
    app.fulfils(order).await;
    let image =
        app.of("select id from safelight.artifacts where class = 'image' and order_id = $1 limit 1", order.uuid());
    let image: uuid::Uuid = image.await;
    let writes = async |sql: &'static str, of: uuid::Uuid| -> String {
        let mut tx = db::begin(&app.worker).await.unwrap();
        let written = sqlx::query(sql).bind(of).execute(&mut *tx).await;
        tx.rollback().await.unwrap();
        match written {
            Ok(_) => "written".to_owned(),
            Err(error) => error.as_database_error().expect("an answer").message().to_owned(),
        }
    };
    let score = "insert into safelight.similarities (image_id, order_id, verdict, model_sha256)
        select id, order_id, 'no_face', '' from safelight.artifacts where id = $1 on conflict (image_id) do nothing";
    let label = "insert into safelight.image_checks (image_id, flagged, checked_by) values ($1, false, 'x')
        on conflict (image_id) do nothing";
    let call = "insert into safelight.provider_calls (id, tenant, subject_id, generation, order_id, job_id, purpose, processor, model,
            wish, token_sha256, policy_version)
        select gen_random_uuid(), tenant, subject_id, 1, id, gen_random_uuid(), 'generate', 'fal', 'x', 'x', '\\x00', 'x'
        from safelight.orders where id = $1";
    for (sql, of) in [(score, image), (label, image), (call, order.uuid())] {
        assert_eq!(writes(sql, of).await, "written", "{sql}");
    }
    app.withdraws(&ann, Purpose::Compare).await;
    assert_eq!(writes(score, image).await, "consent_withdrawn");
    assert_eq!(writes(label, image).await, "written", "another purpose");
    app.erases(&ann).await;
    for (sql, of) in [(score, image), (label, image), (call, order.uuid())] {
        assert_eq!(writes(sql, of).await, "subject_erased", "{sql}");
    }
}
