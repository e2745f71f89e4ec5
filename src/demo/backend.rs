//! The web backend of a tenant, as the demo plays it: it speaks HTTP with the intake, and opens payment pages at Stripe.

use anyhow::{Context, bail};
use safelight_jobs::{
    id::{Id, Order},
    providers::{
        Secret,
        stripe::{CheckoutRequest, Stripe, StripeConfig},
    },
};
use safelight_sandbox::photos::Selfie;
use serde_json::{Value, json};

use super::house::House;

/// SHA-256 of the sentence beside a box.
const WORDING: &str = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";

pub(crate) struct Backend<'a> {
    house: &'a House,
    pub(crate) tenant: &'static str,
    token: &'a str,
    http: reqwest::Client,
    stripe: Stripe,
    policy_version: String,
}

impl<'a> Backend<'a> {
    pub(crate) fn new(house: &'a House, tenant: &'static str) -> anyhow::Result<Self> {
        let (_, token) = house.tokens.iter().find(|(name, _)| *name == tenant).context("no token")?;
        let there = house.sandbox.description();
        let stripe = Stripe::new(&StripeConfig {
            base_url: there.stripe.url.clone(),
            secret_key: Secret::new(there.stripe.secret_key.as_str()),
            timeout: std::time::Duration::from_secs(10),
        })?;
        let policies = safelight_jobs::policy::Policy::bundled()?;
        let policy = policies.iter().find(|policy| policy.tenant() == tenant).context("no policy")?;
        Ok(Self {
            house,
            tenant,
            token,
            http: reqwest::Client::new(),
            stripe,
            policy_version: policy.version().to_owned(),
        })
    }

    async fn post(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        let answer =
            self.http.post(format!("{}{path}", self.house.url)).bearer_auth(self.token).json(&body).send().await?;
        let status = answer.status();
        let value: Value = answer.json().await.unwrap_or(Value::Null);
        if !status.is_success() {
            bail!("{} {path}: {status} {}: {}", self.tenant, value["code"], value["detail"]);
        }
        Ok(value)
    }

    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let answer = self.http.get(format!("{}{path}", self.house.url)).bearer_auth(self.token).send().await?;
        Ok(answer.error_for_status()?.json().await?)
    }

    /// Sign up.
    pub(crate) async fn register(&self, email: &str, name: &str) -> anyhow::Result<String> {
        let user = self.house.sandbox.supabase.create_user(email);
        let mut body = json!({ "email": email, "name": name, "auth_user": user.id });
        if self.tenant == "koselfie" {
            body["google_id"] = json!("108000000000000000001");
        }
        text(&self.post("/v1/subjects", body).await?, "subject")
    }

    /// Tick one box.
    pub(crate) async fn consent(
        &self,
        subject: &str,
        purpose: &str,
        point: &str,
        scope: Option<(&str, &str)>,
    ) -> anyhow::Result<()> {
        let mut body = json!({
            "purpose": purpose, "capture_point": point, "wording_sha256": WORDING, "policy_version": self.policy_version,
        });
        if let Some((what, id)) = scope {
            body[what] = json!(id);
        }
        self.post(&format!("/v1/subjects/{subject}/consents"), body).await?;
        Ok(())
    }

    /// Open an act of uploading.
    pub(crate) async fn batch(&self, subject: &str) -> anyhow::Result<String> {
        text(&self.post(&format!("/v1/subjects/{subject}/batches"), json!({})).await?, "batch")
    }

    /// Upload one file by its signed link; the answer is the refusal's code, if it is refused.
    pub(crate) async fn upload(&self, batch: &str, photo: &Selfie) -> anyhow::Result<Option<String>> {
        let slot = self.post(&format!("/v1/batches/{batch}/uploads"), json!({})).await?;
        let put = text(&slot, "put_url")?;
        let artifact = text(&slot, "artifact")?;
        let stored =
            self.http.put(put).header("content-type", photo.content_type).body(photo.bytes.clone()).send().await?;
        anyhow::ensure!(stored.status().is_success(), "the store answered {}", stored.status());
        let answer = self
            .http
            .post(format!("{}/v1/uploads/{artifact}/arrived", self.house.url))
            .bearer_auth(self.token)
            .json(&json!({}))
            .send()
            .await?;
        if answer.status().is_success() {
            return Ok(None);
        }
        let problem: Value = answer.json().await?;
        Ok(Some(text(&problem, "code")?))
    }

    /// Place an order, tick what the checkout asks for, open the payment page.
    pub(crate) async fn order(
        &self,
        subject: &str,
        batch: &str,
        plan: &str,
        train_box: bool,
    ) -> anyhow::Result<(String, String)> {
        let placed = self.post("/v1/orders", json!({ "subject": subject, "batch": batch, "plan": plan })).await?;
        let order = text(&placed, "order")?;
        if train_box {
            self.consent(subject, "train", "checkout", Some(("order", &order))).await?;
        }
        let id: Id<Order> = order.parse()?;
        let session = self
            .stripe
            .create_session(
                &CheckoutRequest {
                    order: id,
                    price_cents: placed["amount_cents"].as_i64().context("no price")?,
                    currency: text(&placed, "currency")?,
                    name: "Portraits".to_owned(),
                    success_url: "https://photos.example/thanks".to_owned(),
                    cancel_url: "https://photos.example/".to_owned(),
                    automatic_tax: false,
                },
                &order,
            )
            .await?;
        self.post(&format!("/v1/orders/{order}/checkout"), json!({ "session": session.id })).await?;
        Ok((order, session.id))
    }

    /// Ask for the erasure of a person.
    pub(crate) async fn erase(&self, subject: &str) -> anyhow::Result<String> {
        text(&self.post(&format!("/v1/subjects/{subject}/erase"), json!({})).await?, "deletion")
    }
}

fn text(value: &Value, field: &str) -> anyhow::Result<String> {
    value[field].as_str().map(str::to_owned).with_context(|| format!("the answer has no `{field}`"))
}
