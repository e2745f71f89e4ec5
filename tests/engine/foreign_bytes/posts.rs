//! Every POST of the intake under `/v1` and `/sweeps`: its body near a good one, and some body where it reads none.

use std::collections::BTreeSet;

use safelight_api::tokens::{self, Scope};
use safelight_jobs::{id, id::Id, sweep_retention::SweepRetention};
use serde_json::{Value, json};

use super::{each_asked, house::House, near, near_json};
use crate::app::{Person, WORDING};

/// One address with what opens it.
struct Posted {
    /// As the description names it.
    pattern: &'static str,
    path: String,
    bearer: String,
    /// What is answered to a good body: so the parser and what lies behind it are reached.
    answered: u16,
    /// Null: it reads none.
    good: Value,
}

/// Who fills in the addresses.
struct Cast {
    house: House,
    backend: String,
    operator: String,
}

impl Cast {
    fn posted(&self, pattern: &'static str, names: &[(&str, &str)], answered: u16, good: Value) -> Posted {
        let fill = |path: String, (name, value): &(&str, &str)| path.replace(&format!("{{{name}}}"), value);
        let path = names.iter().fold(pattern.to_owned(), fill);
        Posted { pattern, path, bearer: self.backend.clone(), answered, good }
    }

    fn operated(&self, pattern: &'static str, names: &[(&str, &str)], answered: u16, good: Value) -> Posted {
        Posted { bearer: self.operator.clone(), ..self.posted(pattern, names, answered, good) }
    }

    /// Somebody new, who is signed in: a person has few requests a minute.
    async fn own(&self, pattern: &'static str, answered: u16, good: Value) -> Posted {
        let Person { auth_user, email, .. } = self.house.app.person("koselfie").await;
        let bearer = self.house.app.sandbox.supabase.mint_user_jwt(auth_user, &email).expect("a sign-in");
        Posted { bearer, ..self.posted(pattern, &[], answered, good) }
    }

    /// A slot for a photo that nobody uploads.
    async fn slot(&self, batch: &str) -> String {
        let (_, slot) = self.house.app.post(&self.backend, &format!("/v1/batches/{batch}/uploads"), json!({})).await;
        slot["artifact"].as_str().expect("a slot").to_owned()
    }
}

async fn about_persons(cast: &Cast) -> Vec<Posted> {
    let app = &cast.house.app;
    let (ann, ben) = (app.person("koselfie").await.id.to_string(), app.person("koselfie").await.id.to_string());
    // An open objection restricts whoever has it.
    let eve = app.person("koselfie").await.id.to_string();
    let grant = json!({ "purpose": "compare", "capture_point": "sign_up", "wording_sha256": WORDING, "policy_version": "2026-05-25" });
    let of_ann = [("subject", ann.as_str())];
    let photo = Id::<id::Artifact>::new().to_string();
    vec![
        cast.posted(
            "/v1/subjects",
            &[],
            201,
            json!({ "email": "ben@example.org", "name": "Ben", "google_id": "1", "auth_user": uuid::Uuid::new_v4() }),
        ),
        cast.posted("/v1/subjects/{subject}/batches", &of_ann, 201, Value::Null),
        cast.posted("/v1/subjects/{subject}/consents", &of_ann, 201, grant.clone()),
        cast.posted("/v1/subjects/{subject}/consents/withdraw", &of_ann, 202, json!({ "purpose": "compare" })),
        cast.posted("/v1/subjects/{subject}/exports", &of_ann, 202, Value::Null),
        cast.posted(
            "/v1/subjects/{subject}/rectify",
            &of_ann,
            200,
            json!({ "email": "ann@example.net", "name": "Ann" }),
        ),
        cast.posted("/v1/subjects/{subject}/objections", &[("subject", &eve)], 201, json!({ "purpose": "observe" })),
        cast.posted(
            "/v1/subjects/{subject}/restrict",
            &of_ann,
            200,
            json!({ "ground": "claims", "keep_until": "2027-01-01T00:00:00Z" }),
        ),
        cast.posted(
            "/v1/subjects/{subject}/release",
            &of_ann,
            409,
            json!({ "told": "mail", "told_at": "2026-01-01T00:00:00Z" }),
        ),
        cast.posted(
            "/v1/subjects/{subject}/images/{artifact}/compare",
            &[("subject", &ann), ("artifact", &photo)],
            404,
            Value::Null,
        ),
        cast.posted("/v1/subjects/{subject}/erase", &[("subject", &ben)], 202, Value::Null),
        cast.own("/v1/me/consents", 201, grant).await,
        cast.own("/v1/me/consents/withdraw", 202, json!({ "purpose": "compare" })).await,
        cast.own("/v1/me/exports", 202, Value::Null).await,
        cast.own("/v1/me/erase", 202, Value::Null).await,
    ]
}

async fn about_orders(cast: &Cast) -> Vec<Posted> {
    let app = &cast.house.app;
    let ann = app.person("koselfie").await;
    let (batch, photos) = app.uploads(&ann, 3).await;
    let (_, order) = app.basic_order(false).await;
    let (_, paid) = app.basic_order(false).await;
    app.pays(paid).await;
    app.run_due_jobs().await;
    let (batch, order, paid) = (batch.to_string(), order.to_string(), paid.to_string());
    let other = app.uploads(&ann, 1).await.0.to_string();
    let ben = app.person("koselfie").await;
    let wish = json!({ "subject": ben.id, "batch": app.uploads(&ben, 3).await.0, "plan": "basic" });
    let (_, placed) = app.post(&cast.backend, "/v1/orders", wish).await;
    let placed = placed["order"].as_str().expect("an order").to_owned();
    vec![
        cast.posted("/v1/batches/{batch}/uploads", &[("batch", &other)], 201, Value::Null),
        cast.posted("/v1/uploads/{artifact}/arrived", &[("artifact", &cast.slot(&other).await)], 409, Value::Null),
        cast.posted(
            "/v1/orders",
            &[],
            201,
            json!({ "subject": ann.id, "batch": batch, "plan": "basic", "prompt": "in a garden" }),
        ),
        cast.posted("/v1/orders/{order}/checkout", &[("order", &placed)], 200, json!({ "session": "cs_test_near" })),
        cast.posted("/v1/orders/{order}/delete", &[("order", &order)], 409, Value::Null),
        cast.operated(
            "/v1/orders/{order}/refund",
            &[("order", &paid)],
            202,
            json!({ "amount_cents": 100, "why": "goodwill" }),
        ),
        cast.posted("/v1/photos/{artifact}/delete", &[("artifact", &photos[0].to_string())], 202, Value::Null),
    ]
}

async fn about_work(cast: &Cast) -> Vec<Posted> {
    let app = &cast.house.app;
    let job = Id::<id::Job>::from(app.wants(&SweepRetention { because: "near".to_owned() }).await).to_string();
    let (_, order) = app.basic_order(false).await;
    sqlx::query(
        "insert into safelight.schedules (name, cron, catch_up) values ('sweep_retention', '0 * * * * *', 'once')",
    )
    .execute(&app.db)
    .await
    .expect("a schedule");
    let why = json!({ "why": "on call" });
    let work = json!({ "order": order, "event": "evt_1" });
    let sought = json!({
        "job": job, "kind": "sweep_retention", "state": "ready", "queue": "sweeps", "tenant": "koselfie", "order": order,
        "subject": Id::<id::Subject>::new(), "code": "spent", "from": "2026-01-01T00:00:00Z", "until": "2027-01-01T00:00:00Z",
    });
    let sweep = cast.posted("/sweeps/{sweep}", &[("sweep", "retention")], 202, Value::Null);
    vec![
        cast.posted("/v1/jobs", &[], 202, json!({ "kind": "confirm_payment", "payload": work, "run_at": "2026-01-01T00:00:00Z" })),
        cast.posted("/v1/jobs/bulk", &[], 202, json!({ "kind": "confirm_payment", "jobs": [{ "payload": { "order": order, "event": "evt_2" }, "run_at": "2026-01-01T00:00:00Z" }] })),
        cast.operated("/v1/jobs/{job}/payload", &[("job", &job)], 200, why.clone()),
        cast.operated("/v1/jobs/{job}/{act}", &[("job", &job), ("act", "hold")], 200, why.clone()),
        cast.operated("/v1/bulk-acts", &[], 404, json!({ "act": "hold", "jobs": sought, "why": "on call" })),
        cast.operated("/v1/dead-letters/{fate}", &[("fate", "redrive")], 200, json!({ "kind": "send_notice", "code": "spent", "tenant": "koselfie", "all": false, "why": "on call" })),
        cast.operated("/v1/controls/{scope}/{name}", &[("scope", "provider"), ("name", "fal")], 200, json!({ "paused": true, "most": 3, "rate": { "per_second": 2.5, "burst": 5 }, "why": "on call" })),
        cast.operated("/v1/breakers/{provider}/close", &[("provider", "fal")], 404, why),
        cast.operated("/v1/schedules/{name}", &[("name", "sweep_retention")], 200, json!({ "paused": true, "why": "on call" })),
        Posted { bearer: app.cron_secret.clone(), ..sweep },
    ]
}

fn is_about_a_person(path: &str) -> bool {
    path.starts_with("/v1/subjects") || path.starts_with("/v1/me/")
}

fn is_about_an_order(path: &str) -> bool {
    ["/v1/orders", "/v1/batches", "/v1/uploads", "/v1/photos"].iter().any(|start| path.starts_with(start))
}

/// What the description says can be posted, but for the news of providers: theirs are signed.
fn described(of: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let document = serde_json::to_value(safelight_api::openapi()).expect("a document");
    let paths = document["paths"].as_object().expect("paths").iter();
    let posts = paths.filter(|(path, methods)| methods["post"].is_object() && !path.starts_with("/webhooks/"));
    posts.map(|(path, _)| path.clone()).filter(|path| of(path)).collect()
}

async fn are_taken_or_refused(house: &House, posts: &[Posted], of: impl Fn(&str) -> bool) {
    let tried: BTreeSet<String> = posts.iter().map(|posted| posted.pattern.to_owned()).collect();
    assert_eq!(tried, described(of), "each has a good body here");
    for Posted { path, bearer, answered, good, .. } in posts {
        let body = if good.is_null() { Vec::new() } else { good.to_string().into_bytes() };
        let opened = house.post(path, bearer, body).await;
        assert_eq!(opened.as_u16(), *answered, "{path}");
        let ask = |bytes| async move {
            house.post(path, bearer, bytes).await;
        };
        if good.is_null() {
            each_asked(near(vec![b"{\"why\":\"on call\"}".to_vec()]), 4, ask);
        } else {
            each_asked(near_json(std::slice::from_ref(good)), 40, ask);
        }
    }
}

impl Cast {
    async fn comes() -> Self {
        let house = House::open().await;
        let backend = house.app.token("koselfie").await;
        let operator = tokens::create(&house.app.db, None, "ops", &[Scope::Operate]).await.expect("a token");
        Self { house, backend, operator: operator.expose().to_owned() }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_about_a_person_is_taken_or_refused_with_a_code_and_a_refusal_changes_nothing() {
    let cast = Cast::comes().await;
    are_taken_or_refused(&cast.house, &about_persons(&cast).await, is_about_a_person).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_about_an_order_is_taken_or_refused_with_a_code_and_a_refusal_changes_nothing() {
    let cast = Cast::comes().await;
    are_taken_or_refused(&cast.house, &about_orders(&cast).await, is_about_an_order).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_about_work_is_taken_or_refused_with_a_code_and_a_refusal_changes_nothing() {
    let cast = Cast::comes().await;
    let of_neither = |path: &str| !is_about_a_person(path) && !is_about_an_order(path);
    are_taken_or_refused(&cast.house, &about_work(&cast).await, of_neither).await;
}
