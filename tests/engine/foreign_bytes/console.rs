//! Every form of the console, as somebody sends it who may act: fields left out, doubled, of another type, and bytes that are no form.

use axum::http::StatusCode;
use proptest::prelude::Strategy;
use reqwest::RequestBuilder;
use safelight_api::tokens::{self, Scope};
use safelight_jobs::{id, id::Id, sweep_retention::SweepRetention};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use super::{
    Wrong, each_asked,
    house::{House, SIGN_IN},
};
use crate::complaints::signs_in;

fn encoded(fields: &Value) -> Vec<u8> {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in fields.as_object().into_iter().flatten() {
        match value {
            Value::Null => {}
            Value::String(text) => {
                form.append_pair(name, text);
            }
            Value::Array(all) => {
                for value in all {
                    form.append_pair(name, &value.to_string());
                }
            }
            other => {
                form.append_pair(name, &other.to_string());
            }
        }
    }
    form.finish().into_bytes()
}

/// A form near this one.
fn near(good: &Value) -> impl Strategy<Value = Vec<u8>> {
    let good = good.clone();
    Wrong::any().prop_map(move |wrong| match serde_json::from_slice::<Value>(&wrong.json(&good)) {
        Ok(fields) if wrong.both < 192 => encoded(&fields),
        _ => wrong.bytes(&encoded(&good)),
    })
}

struct Operator<'a> {
    house: &'a House,
    token: String,
    cookie: String,
    csrf: String,
}

impl<'a> Operator<'a> {
    async fn of(house: &'a House) -> Self {
        let token = tokens::create(&house.app.db, None, "ops", &[Scope::Operate]).await.expect("a token");
        let mut operator = Self { house, token: token.expose().to_owned(), cookie: String::new(), csrf: String::new() };
        operator.signs_in().await;
        operator
    }

    /// Anew: a session that is older than a minute notes when it was seen, whatever it is refused.
    async fn signs_in(&mut self) {
        self.cookie = signs_in(&self.house.app, &self.token).await;
        let page = self.house.from("/console/controls").header("cookie", &self.cookie).send().await.expect("a page");
        let page = page.text().await.expect("a page");
        let field = page.split("name=\"csrf\" value=\"").nth(1).and_then(|rest| rest.split('"').next());
        self.csrf = field.expect("a form").to_owned();
        self.house.changed();
    }

    /// What every form carries, and these fields.
    fn fills(&self, fields: &Value) -> Value {
        let mut filled = json!({ "csrf": self.csrf, "why": "on call" });
        filled.as_object_mut().expect("fields").extend(fields.as_object().expect("fields").clone());
        filled
    }

    fn sending(&self, path: &str, body: Vec<u8>) -> RequestBuilder {
        let request = self.house.to(path).header("cookie", &self.cookie).header("sec-fetch-site", "same-origin");
        request.header("content-type", "application/x-www-form-urlencoded").body(body)
    }
}

/// An order with a call of which nobody knows the outcome and with money, one that came to nothing, an open case and an open objection.
async fn to_repair(
    house: &House,
    call: Id<id::Intent>,
    case: Id<id::Case>,
    failed: Id<id::Order>,
) -> (Id<id::Subject>, Id<id::Order>) {
    let (bob, order) = house.app.small_halo_order().await;
    let subject = bob.id;
    sqlx::raw_sql(AssertSqlSafe(format!(
        "insert into safelight.provider_calls (id, tenant, subject_id, generation, order_id, job_id, purpose, processor, model, wish,
            token_sha256, state, policy_version)
            select '{}', tenant, subject_id, 1, id, gen_random_uuid(), 'train', 'fal', 'flux', 'a wish', sha256('a call'), 'unknown', '2026-01-01'
            from safelight.orders where id = '{order}';
        insert into safelight_fiscal.sales (tenant, order_id, stripe_session, payment_intent, status, amount_cents, currency, sold_at)
            select tenant, id, 'cs_test_near', 'pi_near', 'paid', 4900, 'eur', safelight.now() from safelight.orders where id = '{order}';
        insert into safelight_fiscal.sales (tenant, stripe_session, payment_intent, status, amount_cents, currency, sold_at)
            values ('{tenant}', 'cs_test_erased', 'pi_erased', 'paid', 4900, 'eur', safelight.now());
        insert into safelight.cases (id, tenant, kind, channel, received_at, answer_due, opened_by)
            values ('{}', '{tenant}', 'access', 'mail', safelight.now(), safelight.now() + interval '1 month', 'ops_1');
        insert into safelight.objections (tenant, subject_id, purpose, policy_version)
            values ('{tenant}', '{subject}', 'observe', safelight.policy_in_force('{tenant}'));
        insert into safelight.orders (id, tenant, subject_id, batch_id, plan, needs_model, images_wanted, amount_cents, currency, state, problem)
            select '{}', tenant, subject_id, batch_id, plan, needs_model, images_wanted, amount_cents, currency, 'refused', 'photos_unusable'
            from safelight.orders where id = '{order}'",
        call.uuid(),
        case.uuid(),
        failed.uuid(),
        order = order.uuid(),
        subject = subject.uuid(),
        tenant = bob.tenant,
    )))
    .execute(&house.app.db)
    .await
    .expect("something to repair");
    (subject, order)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_near_a_good_one_is_done_or_refused_and_a_refusal_changes_nothing() {
    let house = House::open().await;
    let job = Id::<id::Job>::from(house.app.wants(&SweepRetention { because: "near".to_owned() }).await);
    sqlx::query(
        "with schedule as (insert into safelight.schedules (name, cron, catch_up) values ('sweep_retention', '0 * * * * *', 'once'))
        insert into safelight.breakers (provider, state, failures, probe_at) values ('fal', 'open', 5, safelight.now())",
    )
    .execute(&house.app.db)
    .await
    .expect("something to act on");
    let (call, case, sweep, refund) =
        (Id::<id::Intent>::new(), Id::<id::Case>::new(), Id::<id::Sweep>::new(), Id::<id::Refund>::new());
    let failed = Id::<id::Order>::new();
    let (subject, order) = to_repair(&house, call, case, failed).await;
    let revoked = tokens::create(&house.app.db, None, "old", &[Scope::Read]).await.expect("a token");
    let revoked = tokens::id_of(&revoked).expect("its id");
    let mut operator = Operator::of(&house).await;
    let all = json!({
        "act": "hold", "job": job, "kind": "sweep_retention", "state": "ready", "queue": "sweeps", "code": "spent", "order": Id::<id::Order>::new(),
        "subject": Id::<id::Subject>::new(), "from": "2026-01-01T00:00:00Z", "until": "2027-01-01T00:00:00Z",
    });
    let provider = "/console/controls/provider/fal";
    let forms = [
        (format!("/console/jobs/{job}/hold"), json!({})),
        (format!("/console/jobs/{job}/payload"), json!({})),
        ("/console/bulk".to_owned(), json!({ "act": "release", "kind": "sweep_retention" })),
        ("/console/dead/redrive".to_owned(), json!({ "kind": "send_notice", "code": "spent" })),
        (provider.to_owned(), json!({ "act": "limit", "most": "3", "page": "/console/providers" })),
        ("/console/breakers/fal/close".to_owned(), json!({})),
        ("/console/schedules/sweep_retention".to_owned(), json!({ "act": "pause" })),
        (
            format!("/console/calls/{call}/resolve"),
            json!({ "outcome": "accepted", "request": "0a1b2c3d-4e5f", "why": "looked_there" }),
        ),
        (
            format!("/console/orders/{order}/refund"),
            json!({ "refund": refund, "amount_cents": "100", "sure": "yes", "why": "goodwill" }),
        ),
        (format!("/console/orders/{failed}/delete"), json!({ "typed": failed })),
        (
            "/console/orders/erased/refund".to_owned(),
            json!({ "refund": Id::<id::Refund>::new(), "session": "cs_test_erased", "amount_cents": "100", "sure": "yes", "why": "goodwill" }),
        ),
        ("/console/sweeps/money".to_owned(), json!({ "sweep": sweep })),
        (format!("/console/cases/{case}/refuse"), json!({ "why": "identity_unverified" })),
        (
            format!("/console/objections/{subject}/observe"),
            json!({ "decision": "overridden", "told": "mail", "told_at": "2026-01-01T00:00", "why": "needed_for_safety" }),
        ),
        (
            "/console/cases".to_owned(),
            json!({ "case": Id::<id::Case>::new(), "tenant": "haloprofile", "subject": subject, "kind": "access", "channel": "letter",
                "received": "2026-01-01T00:00", "page": "person" }),
        ),
        (
            format!("/console/subjects/{subject}/restrict"),
            json!({ "ground": "claims", "keep_until": "2046-01-01T00:00" }),
        ),
        (format!("/console/tokens/{revoked}/revoke"), json!({ "sure": "yes" })),
        // Two ways of signing in, and signing out.
        ("/console/sign-in".to_owned(), json!({ "token": operator.token })),
        (SIGN_IN.to_owned(), json!({})),
        ("/console/sign-out".to_owned(), json!({})),
    ];
    let posts = include_str!("../../../api/src/console/mod.rs").matches("post(").count();
    assert_eq!(posts, forms.len(), "each has a form here");
    let more = [
        ("/console/bulk".to_owned(), all),
        (provider.to_owned(), json!({ "act": "rate", "per_second": "2.5", "burst": "5" })),
    ];
    for (path, fields) in forms.iter().chain(&more) {
        operator.signs_in().await;
        let (status, text) = house.send(operator.sending(path, encoded(&operator.fills(fields)))).await;
        // Nothing matches all of that at once; the others are done.
        let opened = !status.is_client_error() || (status == StatusCode::NOT_FOUND && fields["order"].is_string());
        assert!(opened, "{path}: {status} {text}");
        operator.signs_in().await;
        let asked = |bytes| async { drop(house.send(operator.sending(path, bytes)).await) };
        each_asked(near(&operator.fills(fields)), 40, asked);
    }
}
