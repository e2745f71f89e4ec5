//! What each processor is told and what becomes of it there, and who else may look at faces: nobody.

use crate::app::App;
use safelight_jobs::policy::{DataClass, Policy, Processor, Purpose};

#[tokio::test(flavor = "multi_thread")]
async fn k30_h19_a_person_leaves_supabase_by_its_own_interfaces_and_no_table_of_its_is_touched() {
    let app = App::spawn().await;
    let (bob, order) = app.small_halo_order().await;
    app.fulfils(order).await;
    let objects = app.stored_keys().len();
    let before = app.sandbox.supabase.calls().len();
    app.erases(&bob).await;
    app.run_due_jobs().await;
    let calls = app.sandbox.supabase.calls();
    let deletes =
        calls[before..].iter().filter(|call| call.method == "DELETE" && call.path.contains("/storage/v1/s3/"));
    let in_bulk = calls[before..].iter().filter(|call| call.method == "POST" && call.query("delete").is_some());
    assert!(deletes.count() + in_bulk.count() > 0, "{objects} objects are deleted by the store's interface");
    let user = format!("/auth/v1/admin/users/{}", bob.auth_user);
    assert!(calls[before..].iter().any(|call| call.method == "DELETE" && call.path == user), "and the user by Auth's");
    assert_eq!(app.stored_keys(), Vec::<String>::new());

    // Rows of Supabase's own schemas are Supabase's: no role of ours is given any, and no migration names them.
    let given = "select count(*) from information_schema.role_table_grants
        where grantee like 'safelight%' and table_schema in ('storage', 'auth')";
    assert_eq!(app.count(given).await, 0);
    let migrations: String =
        safelight_jobs::db::MIGRATIONS.iter().map(|migration| migration.sql.as_str().to_owned()).collect();
    for word in ["storage.objects", "auth.users", "storage.buckets"] {
        assert!(!migrations.contains(word), "a migration names {word}");
    }
    let policy = Policy::bundled().unwrap().into_iter().find(|policy| policy.tenant() == "koselfie").unwrap();
    for class in [DataClass::Account, DataClass::Upload, DataClass::Embedding, DataClass::Model, DataClass::Image] {
        assert!(policy.allows(Purpose::Host, Processor::Supabase, class), "K30: {class}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn k32_what_stripe_and_tax_law_keep_is_said_with_its_reason_and_names_nobody() {
    let app = App::spawn().await;
    let (ann, order) = app.basic_order(false).await;
    let (session, payment) = (app.session(order).await, app.payment_after(order).await);
    app.erases(&ann).await;
    app.run_due_jobs().await;
    let (state, evidence): (String, String) =
        sqlx::query_as("select state, evidence from safelight.deletion_steps where class = 'order'")
            .fetch_one(&app.db)
            .await
            .unwrap();
    assert_eq!(state, "retained_by_law", "never simply done: {evidence}");
    assert!(evidence.contains("tax law") && evidence.contains("Stripe's ids"), "{evidence}");
    let sale = app.sale(&session).await.unwrap();
    assert_eq!((sale.status.as_str(), sale.amount_cents), ("paid", 1900));
    for told in app.sandbox.stripe.calls().iter().map(|call| format!("{}{}", call.path, call.body)) {
        for word in [ann.email.as_str(), "Ann", &ann.id.uuid().simple().to_string()] {
            assert!(!told.contains(word), "Stripe was told {word}");
        }
    }
    assert!(payment.starts_with("pi_"));
}

impl App {
    /// Pay, let everything run, and name the payment.
    async fn payment_after(&self, order: safelight_jobs::id::Id<safelight_jobs::id::Order>) -> String {
        self.fulfils(order).await;
        self.payment(order).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn k19_no_purpose_and_no_role_reads_vectors_or_models_for_ads_or_profiles() {
    let app = App::spawn().await;
    for policy in Policy::bundled().unwrap() {
        for rule in policy.rules().filter(|rule| matches!(rule.class, DataClass::Embedding | DataClass::Model)) {
            assert!(
                matches!(
                    rule.purpose,
                    Purpose::Train | Purpose::Generate | Purpose::Compare | Purpose::Host | Purpose::Dsr
                ),
                "{} of {} by {}",
                rule.purpose,
                rule.class,
                rule.processor
            );
        }
    }
    // A vector's bytes are the worker's alone; whoever counts, audits or seals gets no column of them.
    let readers: Vec<String> = sqlx::query_scalar(
        "select r.rolname::text from pg_roles r where not r.rolsuper and has_column_privilege(r.oid, 'safelight.embeddings', 'vector_sealed', 'select')
            and not pg_has_role(r.oid, 'pg_read_all_data', 'usage') order by 1",
    )
    .fetch_all(&app.db)
    .await
    .unwrap();
    assert_eq!(readers, ["safelight_worker"]);
    let wide: Vec<String> = sqlx::query_scalar(
        "select r.rolname::text || ' reads ' || a.attname from pg_roles r, pg_attribute a
        where r.rolname like 'safelight%' and not r.rolsuper and r.rolname not in ('safelight_worker', 'safelight_api') and a.attnum > 0
            and a.attrelid in ('safelight.embeddings'::regclass, 'safelight.artifacts'::regclass)
            and has_column_privilege(r.oid, a.attrelid, a.attnum, 'select') order by 1",
    )
    .fetch_all(&app.db)
    .await
    .unwrap();
    assert_eq!(wide, Vec::<String>::new());
}
