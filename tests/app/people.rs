//! Persons of a test, who do what a web backend does for them.

use std::{path::Path, sync::OnceLock};

use safelight_jobs::{
    id::{Artifact, Batch, Deletion, Id, Order, Subject},
    intake::{self, Account, Grant, NewOrder},
    policy::{CapturePoint, Purpose},
    run::Tx,
};
use safelight_sandbox::photos::{Selfie, selfies};
use uuid::Uuid;

use super::App;

/// The sentence beside the box, hashed.
pub const WORDING: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

/// Real photographs, encoded once.
pub fn photos() -> &'static [Selfie] {
    static PHOTOS: OnceLock<Vec<Selfie>> = OnceLock::new();
    PHOTOS.get_or_init(|| {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("photos/astronaut.png");
        selfies(&std::fs::read(file).expect("the photo"), 12).expect("selfies")
    })
}

/// Somebody with an account.
#[derive(Debug, Clone)]
pub struct Person {
    pub tenant: &'static str,
    pub id: Id<Subject>,
    pub email: String,
    pub auth_user: Uuid,
}

impl App {
    /// Sign up at a tenant.
    pub async fn person(&self, tenant: &'static str) -> Person {
        let email = format!("{}@mail.example", Uuid::new_v4().simple());
        let auth_user = self.sandbox.supabase.create_user(&email).id;
        let account = Account {
            email: email.clone(),
            name: Some("Ann Example".to_owned()),
            google_id: (tenant == "koselfie").then(|| "108000000000000000001".to_owned()),
            auth_user: Some(auth_user),
        };
        let mut tx = self.tx().await;
        let id = intake::register(&mut tx, &self.services.vault, tenant, &account).await.expect("a subject");
        tx.commit().await.expect("a commit");
        Person { tenant, id, email, auth_user }
    }

    pub async fn tx(&self) -> Tx {
        Tx::begin(&self.db, &self.bell()).await.expect("a transaction")
    }

    /// Tick one box.
    pub async fn grants(
        &self,
        person: &Person,
        purpose: Purpose,
        point: CapturePoint,
        batch: Option<Id<Batch>>,
        order: Option<Id<Order>>,
    ) -> Result<(), intake::IntakeError> {
        let version = self.services.policies.of(person.tenant).expect("a policy").version().to_owned();
        let mut tx = self.tx().await;
        let grant = Grant {
            subject: person.id,
            purpose,
            capture_point: point,
            batch,
            order,
            wording_sha256: WORDING.to_owned(),
            policy_version: version,
        };
        intake::grant(&mut tx, person.tenant, &grant).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Upload photos by the signed links, as a browser does. Answers the batch and the photos.
    pub async fn uploads(&self, person: &Person, count: usize) -> (Id<Batch>, Vec<Id<Artifact>>) {
        let mut tx = self.tx().await;
        let batch = intake::open_batch(&mut tx, person.tenant, person.id).await.expect("a batch");
        tx.commit().await.expect("a commit");
        let mut ids = Vec::new();
        for photo in &photos()[..count] {
            ids.push(self.upload(person, batch, photo.content_type, photo.bytes.clone()).await.expect("a photo"));
        }
        (batch, ids)
    }

    /// Where one photo may be put, by a link that is not used yet.
    pub async fn place_for_a_photo(
        &self,
        person: &Person,
        batch: Id<Batch>,
    ) -> Result<intake::UploadSlot, intake::IntakeError> {
        let mut tx = self.tx().await;
        let slot = intake::slot(&mut tx, &self.services.storage, person.tenant, person.id, batch).await?;
        tx.commit().await?;
        Ok(slot)
    }

    /// Upload one file.
    pub async fn upload(
        &self,
        person: &Person,
        batch: Id<Batch>,
        content_type: &str,
        bytes: Vec<u8>,
    ) -> Result<Id<Artifact>, intake::IntakeError> {
        let slot = self.place_for_a_photo(person, batch).await?;
        let put = self
            .http
            .put(slot.put_url.expose())
            .header("content-type", content_type)
            .body(bytes)
            .send()
            .await
            .expect("a put");
        assert!(put.status().is_success(), "PUT answered {}", put.status());
        intake::arrived(
            &self.db,
            &self.bell(),
            &self.services.vault,
            &self.services.storage,
            person.tenant,
            slot.artifact,
        )
        .await?;
        Ok(slot.artifact)
    }

    /// Order a plan and open its payment page; consents that the checkout asks for are ticked before, unless told otherwise.
    pub async fn orders(&self, person: &Person, batch: Id<Batch>, plan: &str, ticks: bool) -> Id<Order> {
        let policy = self.services.policies.of(person.tenant).expect("a policy");
        let mut tx = self.tx().await;
        let new = NewOrder { subject: person.id, batch, plan: plan.to_owned(), prompt: Some("in a garden".to_owned()) };
        let checkout = intake::place(&mut tx, &self.services.vault, policy, &new).await.expect("an order");
        tx.commit().await.expect("a commit");
        let training_needs_consent =
            policy.purpose(Purpose::Train).is_some_and(|entry| !entry.capture_points.is_empty());
        if ticks && training_needs_consent && policy.plan(plan).expect("a plan").needs_model {
            self.grants(person, Purpose::Train, CapturePoint::Checkout, None, Some(checkout.order))
                .await
                .expect("a grant");
        }
        let request = safelight_jobs::providers::stripe::CheckoutRequest {
            order: checkout.order,
            price_cents: checkout.amount_cents,
            currency: checkout.currency.clone(),
            name: "Portraits".to_owned(),
            success_url: "https://photos.example/thanks".to_owned(),
            cancel_url: "https://photos.example/".to_owned(),
            automatic_tax: true,
        };
        let session =
            self.services.stripe.create_session(&request, &checkout.order.to_string()).await.expect("a session");
        let mut tx = self.tx().await;
        intake::start_checkout(&mut tx, person.tenant, checkout.order, &session.id, false).await.expect("a checkout");
        tx.commit().await.expect("a commit");
        checkout.order
    }

    /// Pay; Stripe's event goes to the intake.
    pub async fn pays(&self, order: Id<Order>) {
        let session = self.session(order).await;
        self.sandbox.stripe.pay(&session).expect("a payment");
    }

    /// Stripe's id of an order's payment.
    pub async fn payment(&self, order: Id<Order>) -> String {
        let session = self.sandbox.stripe.session(&self.session(order).await).expect("a session");
        session["payment_intent"].as_str().expect("a payment").to_owned()
    }

    /// An operator asks for an order's money to be given back.
    pub async fn asks_refund(
        &self,
        order: Id<Order>,
        amount_cents: Option<i64>,
    ) -> Result<intake::RefundAsked, intake::IntakeError> {
        let mut tx = self.tx().await;
        let paid = intake::Paid::Order(order);
        let wish = intake::RefundWish { tenant: None, paid: &paid, amount_cents, why: "goodwill", by: "ops_1" };
        let asked = intake::ask_refund(&mut tx, &wish).await?;
        tx.commit().await?;
        Ok(asked)
    }

    /// The payment session of an order.
    pub async fn session(&self, order: Id<Order>) -> String {
        sqlx::query_scalar("select checkout_session from safelight.orders where id = $1")
            .bind(order.uuid())
            .fetch_one(&self.db)
            .await
            .expect("a session")
    }

    /// A customer of KoSelfie with every consent and a Pro order that is ready to be paid.
    pub async fn pro_order(&self) -> (Person, Id<Order>) {
        let ann = self.person("koselfie").await;
        self.grants(&ann, Purpose::Compare, CapturePoint::SignUp, None, None).await.expect("a grant");
        let (batch, _) = self.uploads(&ann, 10).await;
        self.grants(&ann, Purpose::Compare, CapturePoint::Upload, Some(batch), None).await.expect("a grant");
        let order = self.orders(&ann, batch, "pro", true).await;
        (ann, order)
    }

    /// A customer of HaloProfile with a Pro order that is ready to be paid.
    pub async fn halo_order(&self) -> (Person, Id<Order>) {
        let bob = self.person("haloprofile").await;
        let (batch, _) = self.uploads(&bob, 8).await;
        let order = self.orders(&bob, batch, "pro", true).await;
        (bob, order)
    }

    /// State and problem of an order.
    pub async fn order_state(&self, order: Id<Order>) -> (String, Option<String>) {
        sqlx::query_as("select state, problem from safelight.orders where id = $1")
            .bind(order.uuid())
            .fetch_one(&self.db)
            .await
            .expect("an order")
    }

    /// Ask for erasure.
    pub async fn erases(&self, person: &Person) -> Id<Deletion> {
        let mut tx = self.tx().await;
        let erasure = intake::erase(&mut tx, person.tenant, person.id, None).await.expect("an erasure");
        tx.commit().await.expect("a commit");
        erasure.deletion
    }

    /// Everything that can be done is done; then so long that no upload link, no request under way and no webhook of Fal's can
    /// write any more; then what waited for that.
    pub async fn waits_out_late_writers(&self) {
        self.run_due_jobs().await;
        self.turn_clock(chrono::Duration::minutes(125)).await;
        self.run_due_jobs().await;
    }

    /// State of a deletion.
    pub async fn deletion_state(&self, deletion: Id<Deletion>) -> String {
        sqlx::query_scalar("select state from safelight.deletions where id = $1")
            .bind(deletion.uuid())
            .fetch_one(&self.db)
            .await
            .expect("a deletion")
    }

    /// Withdraw one purpose.
    pub async fn withdraws(&self, person: &Person, purpose: Purpose) -> intake::Withdrawn {
        let mut tx = self.tx().await;
        let withdrawn = intake::withdraw(&mut tx, person.tenant, person.id, purpose).await.expect("a withdrawal");
        tx.commit().await.expect("a commit");
        withdrawn
    }
}
