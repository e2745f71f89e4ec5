//! Erasure: accepted in every state, fenced at once, every class gone and looked for, nothing resurrected, and what tax
//! law keeps names nobody.

use safelight_jobs::{
    delete_data::DeleteData,
    gate::{Ask, Host},
    id::{Deletion, Id, Order},
    policy::{DataClass, Processor},
    providers::storage::Prefix,
    queue::{OwnKey, Wish},
    train_model::TrainModel,
};
use safelight_sandbox::{Fault, fal::Hold};
use serde_json::json;

use crate::app::{App, Person};

pub(super) async fn steps(app: &App, deletion: Id<Deletion>) -> Vec<(String, String, String)> {
    sqlx::query_as("select class, processor, state from safelight.deletion_steps where deletion_id = $1 order by seq")
        .bind(deletion.uuid())
        .fetch_all(&app.db)
        .await
        .unwrap()
}

/// Let what waits for later come due, some times.
pub(super) async fn later(app: &App, rounds: usize) {
    for _ in 0..rounds {
        app.run_due_jobs().await;
        app.turn_clock(chrono::Duration::hours(2)).await;
    }
    app.run_due_jobs().await;
}

pub(super) async fn nothing_of(app: &App, person: &Person) {
    for sql in [
        "select count(*) from safelight.artifacts where subject_id = $1",
        "select count(*) from safelight.embeddings where subject_id = $1",
        "select count(*) from safelight.orders where subject_id = $1",
        "select count(*) from safelight.upload_batches where subject_id = $1",
        "select count(*) from safelight.accounts where subject_id = $1",
        "select count(*) from safelight.subject_keys where subject_id = $1",
        "select count(*) from safelight.notices where subject_id = $1",
        "select count(*) from safelight.dead_letters where subject_id = $1",
        "select count(*) from safelight.jobs where subject_id = $1",
    ] {
        assert_eq!(app.of::<i64>(sql, person.id.uuid()).await, 0, "{sql}");
    }
    let prefix = Prefix::subject(person.tenant, person.id).unwrap();
    assert_eq!(app.services.storage.list(&prefix).await.unwrap().len(), 0, "the store lists nothing of the person");
    assert!(!app.sandbox.supabase.users().iter().any(|user| user.id == person.auth_user), "the sign-in user is gone");
    assert_eq!(app.sandbox.fal.files().len(), 0, "nothing lies at Fal");
}

/// KoSelfie, everything there is: photos, vectors, images, scores, a model's calls at Fal, account, keys.
#[tokio::test(flavor = "multi_thread")]
async fn k18_k40_erasure_takes_every_class_and_says_of_each_how_its_absence_was_seen() {
    let app = App::spawn().await;
    let (ann, order) = app.pro_order().await;
    app.fulfils(order).await;
    assert_eq!(app.count("select count(*) from safelight.embeddings").await, 10);
    let deletion = app.erases(&ann).await;
    later(&app, 1).await;
    assert_eq!(app.deletion_state(deletion).await, "complete");
    nothing_of(&app, &ann).await;
    for table in [
        "select count(*) from safelight.similarities",
        "select count(*) from safelight.image_checks",
        "select count(*) from safelight.artifact_sources",
    ] {
        assert_eq!(app.count(table).await, 0, "{table}");
    }
    let steps = steps(&app, deletion).await;
    for class in
        ["processor_copy", "upload", "model", "image", "embedding", "verdict", "order", "account", "job", "consent"]
    {
        let of_class: Vec<_> = steps.iter().filter(|step| step.0 == class).collect();
        assert!(!of_class.is_empty(), "no step for {class}");
        assert!(of_class.iter().all(|step| step.2 == "verified" || step.2 == "retained_by_law"), "{of_class:?}");
    }
    let unexplained = app.count("select count(*) from safelight.deletion_steps where evidence is null").await;
    assert_eq!(unexplained, 0, "every step says how it was seen");
    let purged: std::collections::BTreeSet<_> = app.sandbox.fal.purged().into_iter().collect();
    assert!(
        app.sandbox.fal.requests().iter().all(|request| purged.contains(&request.id)),
        "every request at Fal was purged"
    );
}

/// A word of a backend's own may name somebody, whatever the documents ask of it: of the order's jobs, and of the job that erases.
#[tokio::test(flavor = "multi_thread")]
async fn k18_keys_that_a_backend_gave_its_wishes_go_with_their_person() {
    let app = App::spawn().await;
    let (ann, order) = app.small_halo_order().await;
    let own = |key: &str| Some(OwnKey { holder: Some(ann.tenant.to_owned()), key: key.to_owned() });
    let mut tx = app.tx().await;
    let mut wish = Wish::of(&TrainModel { order }).unwrap();
    wish.own_key = own("of-an-order");
    wish.enqueue(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
    let deletion = app.erases(&ann).await;
    let mut tx = app.tx().await;
    let mut wish = Wish::of(&DeleteData { deletion }).unwrap();
    wish.own_key = own("of-the-erasure");
    assert!(wish.enqueue(&mut tx).await.unwrap().already);
    tx.commit().await.unwrap();
    let keys = "select count(*) from safelight.job_keys where key like '%:own/%'";
    assert_eq!(app.count(keys).await, 2);
    later(&app, 1).await;
    assert_eq!(app.deletion_state(deletion).await, "complete");
    assert_eq!(app.count(keys).await, 0);
    nothing_of(&app, &ann).await;
}

/// HaloProfile: what its text promises, class by class.
async fn erased_halo_order(app: &App) -> (Person, Id<Order>) {
    let (bob, order) = app.small_halo_order().await;
    app.fulfils(order).await;
    assert!(app.stored_keys().iter().any(|key| key.contains("/model/")));
    let deletion = app.erases(&bob).await;
    later(app, 1).await;
    assert_eq!(app.deletion_state(deletion).await, "complete");
    (bob, order)
}

#[tokio::test(flavor = "multi_thread")]
async fn h14_erasure_takes_the_model_from_the_store_the_database_and_fal() {
    let app = App::spawn().await;
    let (bob, _) = erased_halo_order(&app).await;
    assert!(!app.stored_keys().iter().any(|key| key.contains("/model/")));
    nothing_of(&app, &bob).await;
    let training =
        app.sandbox.fal.requests().into_iter().find(|request| request.endpoint.contains("training")).unwrap();
    assert!(app.sandbox.fal.purged().contains(&training.id));
    for file in &training.files {
        assert_eq!(app.http.get(file).send().await.unwrap().status(), 404, "the weights' address at Fal answers gone");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn h15_erasure_takes_the_generated_photos_their_rows_their_words_and_their_copies_at_fal() {
    let app = App::spawn().await;
    let (bob, order) = erased_halo_order(&app).await;
    assert!(!app.stored_keys().iter().any(|key| key.contains("/image/")));
    assert_eq!(app.artifacts("image", order.uuid()).await.len(), 0);
    for request in app.sandbox.fal.requests() {
        assert!(request.purged, "the payload of {} is still at Fal", request.endpoint);
    }
    assert!(app.lines_with("in a garden").await.is_empty(), "the prompt");
    nothing_of(&app, &bob).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn h16_erasure_takes_the_original_uploads_and_the_copies_made_for_training() {
    let app = App::spawn().await;
    let (bob, _) = erased_halo_order(&app).await;
    assert_eq!(app.stored_keys().len(), 0);
    nothing_of(&app, &bob).await;
    assert!(app.sandbox.fal.uploads().is_empty(), "no photo was ever uploaded to Fal");
}

/// Hard, not soft: the row is absent, the key destroyed, and a second sign-up is somebody else.
#[tokio::test(flavor = "multi_thread")]
async fn h17_erasure_is_permanent_and_leaves_a_tombstone_without_content() {
    let app = App::spawn().await;
    let (bob, _) = erased_halo_order(&app).await;
    let state: String = app.of("select state from safelight.subjects where id = $1", bob.id.uuid()).await;
    assert_eq!(state, "erased");
    let soft = app
        .count("select count(*) from information_schema.columns where table_schema = 'safelight' and column_name in ('deleted', 'deleted_at', 'is_deleted') and table_name <> 'deletion_steps'")
        .await;
    assert_eq!(soft, 0, "nothing is only marked as deleted");
    for sql in [
        "update safelight.subjects set state = 'active', erased_at = null where id = $1",
        "delete from safelight.subjects where id = $1",
    ] {
        assert!(sqlx::query(sql).bind(bob.id.uuid()).execute(&app.db).await.is_err(), "{sql}");
    }
    assert_eq!(
        app.gate::<Host>(Ask::of(bob.id, Processor::Supabase, &[DataClass::Upload])).await.unwrap_err(),
        "subject_erased"
    );
    let key = {
        let mut connection = app.db.acquire().await.unwrap();
        app.services.vault.key(&mut connection, bob.id).await
    };
    assert!(key.is_err(), "what was sealed opens nowhere");
}

/// N19, N20: planted words are found nowhere afterwards, and nowhere in the clear before.
#[tokio::test(flavor = "multi_thread")]
async fn k18_n19_n20_nothing_that_names_the_person_is_found_after_erasure_and_nothing_in_the_clear_before() {
    let app = App::spawn().await;
    let (ann, order) = app.basic_order(true).await;
    app.fulfils(order).await;
    let words = [ann.email.as_str(), "Ann Example", "108000000000000000001", "in a garden"];
    for word in words {
        assert!(app.lines_with(word).await.is_empty(), "{word} is stored in the clear");
    }
    let alias: uuid::Uuid =
        app.of("select alias from safelight.subject_keys where subject_id = $1", ann.id.uuid()).await;
    let user = ann.auth_user.to_string();
    assert!(!app.lines_with(&user).await.is_empty(), "the sign-in user is known before");
    app.erases(&ann).await;
    later(&app, 1).await;
    for word in words.into_iter().chain([user.as_str()]) {
        assert!(app.lines_with(word).await.is_empty(), "{word} is still stored");
    }
    // The audit speaks of a pseudonym that nothing ties to the tombstone any more.
    let tied: Vec<String> = app
        .lines_with(&alias.to_string())
        .await
        .into_iter()
        .filter(|line| line.contains(&ann.id.uuid().to_string()))
        .collect();
    assert!(tied.is_empty(), "{tied:?}");
}

/// H13: one call, whatever the order is doing.
#[tokio::test(flavor = "multi_thread")]
async fn h13_an_erasure_is_accepted_in_every_state_of_an_order_and_fences_at_once() {
    let app = App::spawn().await;
    let token = app.token("haloprofile").await;
    for state in ["placed", "paid", "training", "generating", "delivered", "refused", "expired", "refund_review"] {
        let (bob, order) = app.small_halo_order().await;
        sqlx::query(
            "update safelight.orders set state = $2, paid_at = case when $2 in ('placed', 'refused', 'expired') then null else safelight.now() end,
            problem = case when $2 in ('refused', 'refund_review') then 'x' end where id = $1",
        )
        .bind(order.uuid())
        .bind(state)
        .execute(&app.db)
        .await
        .unwrap();
        let (status, answer) = app.post(&token, &format!("/v1/subjects/{}/erase", bob.id), json!({})).await;
        assert_eq!((status, &answer["already"]), (202, &json!(false)), "{state}: {answer}");
        assert_eq!(
            app.gate::<Host>(Ask::of(bob.id, Processor::Supabase, &[DataClass::Upload])).await.unwrap_err(),
            "subject_erased"
        );
        let (status, again) = app.post(&token, &format!("/v1/subjects/{}/erase", bob.id), json!({})).await;
        assert_eq!((status, &again["already"], &again["deletion"]), (202, &json!(true), &answer["deletion"]));
        app.waits_out_late_writers().await;
        nothing_of(&app, &bob).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn h13_an_erasure_is_accepted_while_the_person_is_restricted() {
    let app = App::spawn().await;
    let (bob, _) = app.small_halo_order().await;
    sqlx::query("update safelight.subjects set state = 'restricted' where id = $1")
        .bind(bob.id.uuid())
        .execute(&app.db)
        .await
        .unwrap();
    let deletion = app.erases(&bob).await;
    app.waits_out_late_writers().await;
    assert_eq!(app.deletion_state(deletion).await, "complete");
    nothing_of(&app, &bob).await;
}

/// H13, K18: while Fal trains; the job that runs loses its lease with the fence.
#[tokio::test(flavor = "multi_thread")]
async fn h13_h14_an_erasure_while_fal_trains_leaves_no_model_anywhere() {
    let app = App::spawn().await;
    app.sandbox.fal.hold(Hold::InProgress);
    app.sandbox.fal.faults().always(Fault::CancelIgnored);
    let (bob, order) = app.small_halo_order().await;
    app.begins(order).await;
    assert_eq!(app.sandbox.fal.trainings(), 1);
    let deletion = app.erases(&bob).await;
    safelight_worker::drain(&app.worker, &app.services, "test").await.unwrap();
    assert_ne!(app.deletion_state(deletion).await, "complete", "Fal still trains");
    app.sandbox.fal.hold(Hold::Nowhere);
    later(&app, 2).await;
    assert_eq!(app.deletion_state(deletion).await, "complete");
    nothing_of(&app, &bob).await;
}

/// K17: the fence and the withdrawal of every consent are one commit.
#[tokio::test(flavor = "multi_thread")]
async fn k17_deleting_the_account_withdraws_every_consent_in_the_same_commit() {
    let app = App::spawn().await;
    let (ann, _order) = app.pro_order().await;
    let mut tx = app.tx().await;
    safelight_jobs::intake::erase(&mut tx, ann.tenant, ann.id, None).await.unwrap();
    drop(tx);
    let count = "select count(*) from safelight.consents where subject_id = $1 and event = 'withdrawn'";
    assert_eq!(app.of::<i64>(count, ann.id.uuid()).await, 0, "not committed: neither is there");
    assert_eq!(app.of::<String>("select state from safelight.subjects where id = $1", ann.id.uuid()).await, "active");
    app.erases(&ann).await;
    assert_eq!(app.of::<i64>(count, ann.id.uuid()).await, 2, "both purposes");
    assert_eq!(app.of::<String>("select state from safelight.subjects where id = $1", ann.id.uuid()).await, "erasing");
}

/// N11: the sale stays, its link does not; the books add up to the same.
#[tokio::test(flavor = "multi_thread")]
async fn n11_k11_h30_what_tax_law_keeps_of_an_order_names_nobody_and_the_totals_stay() {
    let app = App::spawn().await;
    let (bob, order) = app.small_halo_order().await;
    let (_, other) = app.small_halo_order().await;
    app.fulfils(order).await;
    app.fulfils(other).await;
    let totals = "select sum(amount_cents)::bigint from safelight_fiscal.sales";
    let before = app.count(totals).await;
    let session = app.session(order).await;
    app.erases(&bob).await;
    app.run_due_jobs().await;
    assert_eq!(app.count(totals).await, before);
    let kept: (Option<uuid::Uuid>, i64, String, String) = sqlx::query_as(
        "select order_id, amount_cents, currency, status from safelight_fiscal.sales where stripe_session = $1",
    )
    .bind(&session)
    .fetch_one(&app.db)
    .await
    .unwrap();
    assert_eq!(kept, (None, 2900, "eur".to_owned(), "paid".to_owned()));
    let row: String = sqlx::query_scalar("select s::text from safelight_fiscal.sales s where stripe_session = $1")
        .bind(&session)
        .fetch_one(&app.db)
        .await
        .unwrap();
    for word in [bob.email.as_str(), "Ann", &bob.id.uuid().to_string(), &order.uuid().to_string(), "haloprofile/"] {
        assert!(!row.contains(word), "the sale holds {word}");
    }
    let said: String = sqlx::query_scalar("select evidence from safelight.deletion_steps where class = 'order'")
        .fetch_one(&app.db)
        .await
        .unwrap();
    assert!(said.contains("tax law"), "the erasure's answer says so: {said}");
}

/// N18: the same person again is somebody new; the old erasure takes nothing of the new one.
#[tokio::test(flavor = "multi_thread")]
async fn n18_h17_a_person_who_signs_up_again_is_not_touched_by_the_old_erasure() {
    let app = App::spawn().await;
    let old = app.person("koselfie").await;
    app.uploads(&old, 1).await;
    let deletion = app.erases(&old).await;
    let new = app.person("koselfie").await;
    let (_, photos) = app.uploads(&new, 2).await;
    app.waits_out_late_writers().await;
    assert_eq!(app.deletion_state(deletion).await, "complete");
    assert!(app.readable(photos[0]).await && app.readable(photos[1]).await);
    assert!(app.sandbox.supabase.users().iter().any(|user| user.id == new.auth_user));
}

/// N25: no photo is shared between persons, however alike.
#[tokio::test(flavor = "multi_thread")]
async fn n25_k20_k5_deleting_one_of_two_identical_photos_leaves_the_other_persons() {
    let app = App::spawn().await;
    let (ann, eve) = (app.person("koselfie").await, app.person("koselfie").await);
    let (_, of_ann) = app.uploads(&ann, 1).await;
    let (_, of_eve) = app.uploads(&eve, 1).await;
    let sha = "select sha256 from safelight.artifacts where id = $1";
    assert_eq!(app.of::<String>(sha, of_ann[0].uuid()).await, app.of::<String>(sha, of_eve[0].uuid()).await);
    app.erases(&ann).await;
    app.run_due_jobs().await;
    assert!(!app.has_row(of_ann[0]).await);
    assert!(app.readable(of_eve[0]).await);
    assert_eq!(app.stored_keys(), [app.key_of(of_eve[0]).await]);
}
