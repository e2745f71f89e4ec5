//! What one step of a deletion may not do to the others, to other deletions, and to what was agreed to anew; and what it says of
//! itself when it was cut in the middle.

use chrono::Duration;
use safelight_jobs::{
    confirm_payment::ConfirmPayment,
    delete_data::DeleteData,
    id::{Deletion, Id},
    intake,
    job::{Job, Queue},
    policy::Purpose,
    sweep_deletions::SweepDeletions,
    train_model::TrainModel,
};
use safelight_sandbox::{Fault, Rule, fal::Hold};
use serde_json::json;
use uuid::Uuid;

use crate::app::App;

impl App {
    /// Runs what is due without waiting for the stand-ins.
    async fn drains(&self) {
        safelight_worker::drain(&self.worker, &self.services, "test").await.unwrap();
    }

    async fn step_states(&self, deletion: Id<Deletion>, class: &str, processor: &str) -> Vec<(String, Option<String>)> {
        sqlx::query_as(
            "select state, code from safelight.deletion_steps where deletion_id = $1 and class = $2 and processor = $3 order by seq",
        )
        .bind(deletion.uuid())
        .bind(class)
        .bind(processor)
        .fetch_all(&self.db)
        .await
        .unwrap()
    }
}

/// N3: nobody knows whether Fal has the first request. The others run there, and are ended at once all the same.
#[tokio::test(flavor = "multi_thread")]
async fn n3_h15_a_request_that_nobody_knows_of_keeps_no_other_one_running_at_fal() {
    let app = App::spawn().await;
    app.sandbox.fal.hold(Hold::InProgress);
    let (ann, order) = app.basic_order(false).await;
    app.pays(order).await;
    app.sandbox.stripe.idle().await;
    app.drains().await;
    assert_eq!(app.sandbox.fal.requests().len(), 4);
    sqlx::query(
        "update safelight.provider_calls set state = 'unknown', request_id = null where id = (select min(id::text)::uuid from safelight.provider_calls)",
    )
    .execute(&app.db)
    .await
    .unwrap();
    let deletion = app.erases(&ann).await;
    app.drains().await;
    assert_ne!(app.deletion_state(deletion).await, "complete");
    assert_eq!(app.sandbox.fal.requests().iter().filter(|request| request.cancelled).count(), 3);
}

/// A call that a person declared not made, and that was made all the same, lies at Fal like any other.
#[tokio::test(flavor = "multi_thread")]
async fn h15_a_request_that_was_declared_not_made_and_was_made_is_purged_before_an_erasure_is_complete() {
    let app = App::spawn().await;
    let (ann, order) = app.basic_order(false).await;
    app.fulfils(order).await;
    sqlx::query(
        "update safelight.provider_calls set state = 'refused', code = 'not_made', purge = 'none', purged_at = null
        where id = (select min(id::text)::uuid from safelight.provider_calls)",
    )
    .execute(&app.db)
    .await
    .unwrap();
    let deletion = app.erases(&ann).await;
    app.waits_out_late_writers().await;
    assert_eq!(app.deletion_state(deletion).await, "complete");
    assert_eq!(app.count("select count(*) from safelight.provider_calls where purge <> 'purged'").await, 0);
}

/// N31, N1: the deletion of a withdrawal comes late, and the person has agreed anew and paid meanwhile: it takes what rested on the old
/// consent, and ends nothing of what rests on the new one.
#[tokio::test(flavor = "multi_thread")]
async fn k43_a_withdrawal_whose_deletion_comes_late_ends_no_training_that_was_agreed_to_since() {
    let app = App::spawn().await;
    let (ann, first) = app.model_order().await;
    app.fulfils(first).await;
    let old = app.artifacts("model", first.uuid()).await[0];
    app.withdraws(&ann, Purpose::Train).await;
    // The queue of deletions stands still for a while.
    sqlx::query("update safelight.jobs set run_at = run_at + interval '1 hour', state = 3 where kind = 'delete_data'")
        .execute(&app.db)
        .await
        .unwrap();
    let second = app.orders(&ann, app.batch_of(first).await, "pro", true).await;
    app.sandbox.fal.hold(Hold::InProgress);
    app.pays(second).await;
    app.sandbox.stripe.idle().await;
    app.performs_one::<ConfirmPayment>().await;
    // Fal holds it, so nobody waits for Fal here.
    let claimed = app.dequeues(Queue::Training).await;
    assert_eq!(claimed.kind, TrainModel::NAME);
    safelight_worker::perform(&app.worker, &app.services, &claimed).await.unwrap();
    let training = app.sandbox.fal.requests().last().unwrap().id;
    app.turn_clock(Duration::minutes(61)).await;
    app.drains().await;
    assert!(!app.has_row(old).await, "the model of the withdrawn consent is gone");
    assert!(!app.sandbox.fal.requests().iter().any(|request| request.id == training && request.cancelled));
    app.sandbox.fal.hold(Hold::Nowhere);
    app.run_due_jobs().await;
    assert_eq!(app.artifacts("model", second.uuid()).await.len(), 1);
    app.stands(second, "delivered", None).await;
}

/// The same for vectors and scores, by the order of the events and not by a clock.
#[tokio::test(flavor = "multi_thread")]
async fn n31_k13_a_withdrawal_takes_the_vectors_of_the_old_consent_and_leaves_those_of_the_new_one() {
    let app = App::spawn().await;
    let (ann, first) = app.basic_order(true).await;
    app.fulfils(first).await;
    app.withdraws(&ann, Purpose::Compare).await;
    sqlx::query("update safelight.jobs set run_at = run_at + interval '1 hour', state = 3 where kind = 'delete_data'")
        .execute(&app.db)
        .await
        .unwrap();
    let (batch, _) = app.uploads(&ann, 3).await;
    app.agrees_to_compare(&ann, batch).await;
    let second = app.orders(&ann, batch, "basic", true).await;
    app.fulfils(second).await;
    let of = "select count(*) from safelight.embeddings where order_id = $1";
    assert_eq!((app.of::<i64>(of, first.uuid()).await, app.of::<i64>(of, second.uuid()).await), (3, 3));
    app.turn_clock(Duration::minutes(61)).await;
    app.run_due_jobs().await;
    assert_eq!((app.of::<i64>(of, first.uuid()).await, app.of::<i64>(of, second.uuid()).await), (0, 3));
    let of = "select count(*) from safelight.similarities where order_id = $1";
    assert_eq!((app.of::<i64>(of, first.uuid()).await, app.of::<i64>(of, second.uuid()).await), (0, 4));
}

/// An erasure takes on what the deletion of one photo is about. That one is not certified while the photo is there.
#[tokio::test(flavor = "multi_thread")]
async fn k26_a_photo_that_an_erasure_takes_on_too_is_not_called_gone_before_it_is() {
    let app = App::spawn().await;
    let ann = app.person("koselfie").await;
    let (_, photos) = app.uploads(&ann, 1).await;
    app.turn_clock(Duration::hours(3)).await;
    let mut tx = app.tx().await;
    let photo = intake::delete_photo(&mut tx, None, photos[0], None).await.unwrap().deletion;
    tx.commit().await.unwrap();
    let erasure = app.erases(&ann).await;
    for on in ["DELETE /storage/", "POST /storage/"] {
        app.sandbox.supabase.faults().add(Rule {
            fault: Fault::ServerError { status: 503 },
            times: None,
            on: Some(on.to_owned()),
        });
    }
    // The erasure comes first.
    sqlx::query(
        "update safelight.jobs set run_at = run_at + interval '5 minutes', state = 3 where payload ->> 'deletion' = $1",
    )
    .bind(photo.to_string())
    .execute(&app.db)
    .await
    .unwrap();
    app.run_due_jobs().await;
    app.turn_clock(Duration::minutes(6)).await;
    app.run_due_jobs().await;
    assert_eq!(app.stored_keys().len(), 1);
    for deletion in [photo, erasure] {
        assert_eq!(app.deletion_state(deletion).await, "planned", "it is still there");
    }
    app.sandbox.supabase.faults().clear();
    app.turn_clock(Duration::hours(3)).await;
    app.run_due_jobs().await;
    for deletion in [photo, erasure] {
        assert_eq!(app.deletion_state(deletion).await, "complete");
    }
}

/// N18, N27: the sign-in user cannot be deleted yet. As long as it is there, nobody is registered as that user, whom the old erasure
/// would then lock out.
#[tokio::test(flavor = "multi_thread")]
async fn n18_n27_nobody_is_registered_as_a_sign_in_user_that_an_erasure_has_still_to_delete() {
    let app = App::spawn().await;
    let token = app.token("koselfie").await;
    let ann = app.person("koselfie").await;
    app.sandbox.supabase.faults().add(Rule {
        fault: Fault::ServerError { status: 500 },
        times: None,
        on: Some("DELETE /auth/".to_owned()),
    });
    let deletion = app.erases(&ann).await;
    app.run_due_jobs().await;
    let again = json!({ "email": ann.email, "auth_user": ann.auth_user });
    let (status, answer) = app.post(&token, "/v1/subjects", again.clone()).await;
    assert_eq!((status, &answer["code"]), (409, &json!("auth_user_taken")), "{answer}");
    assert_eq!(app.count("select count(*) from safelight.subject_keys").await, 1, "the key goes last");
    app.sandbox.supabase.faults().clear();
    app.waits_out_late_writers().await;
    assert_eq!(app.deletion_state(deletion).await, "complete");
    assert_eq!(app.count("select count(*) from safelight.accounts").await, 0);
    assert_eq!(app.post(&token, "/v1/subjects", again).await.0, 201);
}

/// N10: the link of a photo that was deleted at once lives for an hour.
#[tokio::test(flavor = "multi_thread")]
async fn n10_k40_a_photo_that_is_put_again_by_its_link_is_found_and_its_deletion_was_not_complete_before() {
    let app = App::spawn().await;
    let ann = app.person("koselfie").await;
    let (batch, _) = app.uploads(&ann, 1).await;
    let slot = app.place_for_a_photo(&ann, batch).await.unwrap();
    let made = app.now().await;
    let puts = || app.http.put(slot.put_url.expose()).header("content-type", "image/jpeg").body("once").send();
    puts().await.unwrap();
    let mut tx = app.tx().await;
    let deletion = intake::delete_photo(&mut tx, None, slot.artifact, None).await.unwrap().deletion;
    tx.commit().await.unwrap();
    app.run_due_jobs().await;
    assert_eq!(app.stored_keys().len(), 1, "the other photo");
    assert_eq!(app.deletion_state(deletion).await, "planned", "its link may still be used");
    assert!(puts().await.unwrap().status().is_success());
    app.turn_clock_to(made + Duration::minutes(74)).await;
    app.run_due_jobs().await;
    assert_ne!(app.deletion_state(deletion).await, "complete");
    app.turn_clock_to(made + Duration::minutes(76)).await;
    app.run_due_jobs().await;
    assert_eq!(app.deletion_state(deletion).await, "complete");
    assert_eq!(app.stored_keys().len(), 1, "the other photo alone");
}

/// N9, N10: the store lists nothing, again and again; a photo put by its own link is looked for by its own key.
#[tokio::test(flavor = "multi_thread")]
async fn n9_n10_a_photo_that_came_late_is_found_by_its_key_where_every_listing_is_empty() {
    let app = App::spawn().await;
    let ann = app.person("koselfie").await;
    let (batch, _) = app.uploads(&ann, 1).await;
    let slot = app.place_for_a_photo(&ann, batch).await.unwrap();
    app.sandbox.supabase.faults().always(Fault::ListIsEmpty);
    let deletion = app.erases(&ann).await;
    app.run_due_jobs().await;
    let put = app.http.put(slot.put_url.expose()).header("content-type", "image/jpeg").body("late").send().await;
    assert!(put.unwrap().status().is_success());
    app.waits_out_late_writers().await;
    assert_eq!(app.deletion_state(deletion).await, "complete");
    assert_eq!(app.stored_keys().len(), 0);
}

/// A photo whose place a deletion has taken does not arrive any more.
#[tokio::test(flavor = "multi_thread")]
async fn k40_a_photo_that_is_being_deleted_does_not_arrive() {
    let app = App::spawn().await;
    let ann = app.person("koselfie").await;
    let (batch, _) = app.uploads(&ann, 1).await;
    let slot = app.place_for_a_photo(&ann, batch).await.unwrap();
    let photo = crate::app::photos()[0].bytes.clone();
    app.http.put(slot.put_url.expose()).header("content-type", "image/jpeg").body(photo).send().await.unwrap();
    let mut tx = app.tx().await;
    intake::delete_photo(&mut tx, None, slot.artifact, None).await.unwrap();
    tx.commit().await.unwrap();
    let token = app.token("koselfie").await;
    let (status, answer) = app.post(&token, &format!("/v1/uploads/{}/arrived", slot.artifact), json!({})).await;
    assert_eq!((status, &answer["code"]), (409, &json!("object_gone")), "{answer}");
}

/// D14: the term ran out while the store was down, and then the person needs the photos for a claim.
#[tokio::test(flavor = "multi_thread")]
async fn k41_d14_a_term_that_has_run_out_is_held_for_a_claim_where_nothing_was_deleted_yet_and_goes_on_after_it() {
    let app = App::spawn().await;
    let ann = app.person("koselfie").await;
    app.uploads(&ann, 1).await;
    app.turn_clock(Duration::hours(721)).await;
    app.sandbox.supabase.take_down().await;
    app.sweeps().await;
    let deletion: Uuid = app.of("select id from safelight.deletions where subject_id = $1", ann.id.uuid()).await;
    let deletion = Id::<Deletion>::from(deletion);
    let until = app.now().await + Duration::days(60);
    let mut tx = app.tx().await;
    intake::restrict(&mut tx, ann.tenant, ann.id, intake::Ground::Claims(until), None).await.unwrap();
    tx.commit().await.unwrap();
    app.sandbox.supabase.bring_up().await.unwrap();
    app.turn_clock(Duration::days(40)).await;
    app.run_due_jobs().await;
    app.wants(&SweepDeletions { because: "test".to_owned() }).await;
    app.run_due_jobs().await;
    assert_eq!(app.stored_keys().len(), 1, "kept for the claim");
    let held = ("held".to_owned(), Some("clock_held".to_owned()));
    assert_eq!(app.step_states(deletion, "upload", "supabase").await, [held]);
    assert_eq!(app.deletion_state(deletion).await, "planned", "neither stuck nor late: it is held");
    app.turn_clock_to(until + Duration::minutes(1)).await;
    app.run_due_jobs().await;
    assert_eq!(app.deletion_state(deletion).await, "complete");
    assert_eq!(app.stored_keys().len(), 0);
}

/// A plan that cannot be made is no plan: it is called stuck with time left, and planned when it can be.
#[tokio::test(flavor = "multi_thread")]
async fn n14_a_deletion_that_was_never_planned_is_stuck_like_any_other_and_completes_when_it_can_be_planned() {
    let app = App::spawn().await;
    let ann = app.person("koselfie").await;
    app.uploads(&ann, 1).await;
    sqlx::raw_sql(
        "create function public.no_plan() returns trigger language plpgsql as $$ begin raise 'no plan'; end $$;
        create trigger no_plan before insert on safelight.deletion_steps for each row execute function public.no_plan()",
    )
    .execute(&app.db)
    .await
    .unwrap();
    let deletion = app.erases(&ann).await;
    app.turn_clock(Duration::days(24)).await;
    app.performs_one::<DeleteData>().await;
    app.wants(&SweepDeletions { because: "test".to_owned() }).await;
    app.performs_one::<SweepDeletions>().await;
    assert_eq!(app.deletion_state(deletion).await, "stuck");
    sqlx::raw_sql("drop trigger no_plan on safelight.deletion_steps").execute(&app.db).await.unwrap();
    app.turn_clock(Duration::hours(2)).await;
    app.waits_out_late_writers().await;
    assert_eq!(app.deletion_state(deletion).await, "complete");
    assert_eq!(app.stored_keys().len(), 0);
}

/// However many deletions wait, each one without a job gets one in the same run.
#[tokio::test(flavor = "multi_thread")]
async fn n24_of_more_than_a_thousand_deletions_none_is_left_without_a_job() {
    let app = App::spawn().await;
    let ann = app.person("koselfie").await;
    sqlx::query(
        "insert into safelight.deletions (id, tenant, subject_id, trigger, answer_due)
        select gen_random_uuid(), 'koselfie', $1, 'retention', safelight.now() + make_interval(hours => n) from generate_series(1, 1003) n",
    )
    .bind(ann.id.uuid())
    .execute(&app.db)
    .await
    .unwrap();
    app.wants(&SweepDeletions { because: "test".to_owned() }).await;
    app.performs_one::<SweepDeletions>().await;
    assert_eq!(app.count("select count(*) from safelight.jobs where kind = 'delete_data'").await, 1003);
}
