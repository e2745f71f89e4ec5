//! What is kept of a sale and of an account, and what Stripe is told.

use crate::app::App;

async fn columns(app: &App, schema: &str, table: &str) -> Vec<String> {
    sqlx::query_scalar("select column_name::text from information_schema.columns where table_schema = $1 and table_name = $2 order by 1")
        .bind(schema)
        .bind(table)
        .fetch_all(&app.db)
        .await
        .unwrap()
}

/// Another column fails here first, and whoever adds it says why.
#[tokio::test(flavor = "multi_thread")]
async fn k11_an_order_holds_status_and_session_and_nothing_of_the_card_or_the_person() {
    let app = App::spawn().await;
    let order = [
        "amount_cents",
        "batch_id",
        "checkout_at",
        "checkout_session",
        "created_at",
        "currency",
        "delivered_at",
        "id",
        "images_wanted",
        "needs_model",
        "paid_at",
        // When Stripe said that a slow bank decides.
        "payment_pending_at",
        "plan",
        "problem",
        "prompt_sealed",
        // Until when an order whose work died can be taken back, and to where.
        "repair_until",
        "selfies_measured_at",
        "state",
        "stopped_from",
        "subject_id",
        "tenant",
    ];
    assert_eq!(columns(&app, "safelight", "orders").await, order);
    // Nothing here points at the person: no subject, no address, no name; the order's alias is cut by an erasure.
    let sale = [
        "amount_cents",
        "country",
        "currency",
        "id",
        "keep_until",
        "order_id",
        // Stripe's id of the payment, which refunds and disputes name, and why a person looks at it: a code.
        "payment_intent",
        "review",
        "rule",
        "sold_at",
        "status",
        "stripe_session",
        "tax_cents",
        "tenant",
    ];
    assert_eq!(columns(&app, "safelight_fiscal", "sales").await, sale);
    let refund = [
        "amount_cents",
        "asked_at",
        "asked_by",
        "code",
        "currency",
        "id",
        "seen_at",
        "state",
        "stripe_refund",
        "stripe_session",
        "tenant",
        "why",
    ];
    assert_eq!(columns(&app, "safelight_fiscal", "refunds").await, refund);
    let links = app
        .count("select count(*) from information_schema.referential_constraints where constraint_schema = 'safelight_fiscal' and unique_constraint_schema <> 'safelight_fiscal'")
        .await;
    assert_eq!(links, 0, "no foreign key ties a sale to a person");
}

#[tokio::test(flavor = "multi_thread")]
async fn h3_k4_an_account_has_these_fields_and_no_others() {
    let app = App::spawn().await;
    let account = ["auth_user", "created_at", "email_sealed", "google_id_sealed", "name_sealed", "subject_id"];
    assert_eq!(columns(&app, "safelight", "accounts").await, account);
    assert_eq!(
        columns(&app, "safelight", "subjects").await,
        ["created_at", "erased_at", "generation", "id", "state", "tenant"]
    );
    let ann = app.person("koselfie").await;
    for word in [ann.email.as_str(), "Ann Example", "108000000000000000001"] {
        assert!(app.lines_with(word).await.is_empty(), "{word} is stored in the clear");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn h21_stripe_is_told_the_order_and_the_price_and_nothing_of_the_person() {
    let app = App::spawn().await;
    let (bob, order) = app.small_halo_order().await;
    app.fulfils(order).await;
    app.asks_refund(order, None).await.unwrap();
    app.run_due_jobs().await;
    let told: Vec<String> =
        app.sandbox.stripe.calls().iter().map(|call| format!("{}{}", call.path, call.body)).collect();
    for asked in ["/checkout/sessions", "/refunds"] {
        assert!(told.iter().any(|call| call.contains(asked)), "{asked} is among {told:?}");
    }
    for word in [bob.email.as_str(), "Ann", bob.id.uuid().simple().to_string().as_str(), "customer_email"] {
        assert!(!told.iter().any(|call| call.contains(word)), "Stripe was told {word}");
    }
}
