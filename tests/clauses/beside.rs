//! Two things at the same moment: a person's right beside a payment, a purge beside a report, money beside the end of its order, two
//! looks at one photo. Each test holds one of them where the other may pass.

use std::sync::Arc;

use safelight_jobs::{
    db::{self, Role},
    id::{Artifact, Id},
    intake::{self, Ground, IntakeError, NewOrder},
    purge_call::PurgeCall,
    run::Tx,
};
use safelight_sandbox::{Fault, fal::Hold};
use sqlx::{AssertSqlSafe, PgConnection};
use uuid::Uuid;

use super::withdrawal::waiting;
use crate::app::{App, Person, photos};

impl App {
    async fn rule(&self, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&self.db).await.unwrap();
    }

    /// A session of the intake's role, which may not do everything.
    async fn other(&self) -> sqlx::PgPool {
        db::connect(&self.database_url, Role::Api, 2).await.unwrap()
    }

    async fn looks_at(&self, person: &Person, artifact: Id<Artifact>) -> Result<intake::Arrival, IntakeError> {
        let (vault, storage) = (&self.services.vault, &self.services.storage);
        intake::arrived(&self.other().await, &self.bell(), vault, storage, person.tenant, artifact).await
    }
}

async fn holds_the_look(tx: &mut PgConnection, artifact: Id<Artifact>) {
    let lock = sqlx::query("select pg_advisory_xact_lock(7303, hashtext($1))");
    lock.bind(artifact.to_string()).execute(tx).await.unwrap();
}

/// K41: between the payment's gate and the training's, while Stripe is asked. What is restricted waits; it is not refused.
#[tokio::test(flavor = "multi_thread")]
async fn k41_who_is_restricted_while_the_payment_is_confirmed_is_served_after_the_release() {
    let app = Arc::new(App::spawn().await);
    let (bob, order) = app.small_halo_order().await;
    app.pays(order).await;
    app.sandbox.stripe.idle().await;
    app.sandbox.stripe.faults().once(Fault::SlowDrip { millis: 100 });
    let asked = app.sandbox.stripe.calls().len();
    let worker = tokio::spawn({
        let app = app.clone();
        async move { safelight_worker::drain(&app.worker, &app.services, "test").await.unwrap() }
    });
    while app.sandbox.stripe.calls().len() == asked {
        tokio::task::yield_now().await;
    }
    app.restricts(&bob, Ground::Accuracy).await.unwrap();
    worker.await.unwrap();
    app.stands(order, "placed", None).await;
    assert_eq!(app.sandbox.fal.trainings(), 0, "nothing is done with what is restricted");
    app.releases(&bob).await;
    app.run_due_jobs().await;
    app.stands(order, "delivered", None).await;
}

/// D14: nobody repaired it, and the time for that is over. What it never delivered is held for the claim like everything else.
#[tokio::test(flavor = "multi_thread")]
async fn k41_d14_an_order_that_nobody_repaired_keeps_what_it_has_while_a_claim_holds_it() {
    let app = App::spawn().await;
    let (ann, order) = app.basic_order(false).await;
    sqlx::query(
        "update safelight.orders set state = 'refund_review', problem = 'work_died', paid_at = safelight.now(), stopped_from = 'generating',
            repair_until = safelight.now() + interval '72 hours' where id = $1",
    )
    .bind(order.uuid())
    .execute(&app.db)
    .await
    .unwrap();
    let until = app.now().await + chrono::Duration::days(60);
    app.restricts(&ann, Ground::Claims(until)).await.unwrap();
    let begun = "select count(*) from safelight.deletions where trigger = 'failed_order'";
    app.turn_clock(chrono::Duration::hours(80)).await;
    app.reconciles().await;
    assert_eq!(app.count(begun).await, 0, "held");
    app.turn_clock_to(until + chrono::Duration::minutes(1)).await;
    app.reconciles().await;
    assert_eq!(app.count(begun).await, 1, "and over with its day");
}

/// N22: a report proves, while a purge is under way, that the call is another request than the one that is purged.
#[tokio::test(flavor = "multi_thread")]
async fn n22_h15_what_a_report_corrects_during_a_purge_is_purged_under_its_own_id_too() {
    let app = App::spawn().await;
    app.sandbox.fal.hold(Hold::InQueue);
    let (_, order) = app.basic_order(false).await;
    app.pays(order).await;
    app.sandbox.stripe.idle().await;
    safelight_worker::drain(&app.worker, &app.services, "test").await.unwrap();
    let requests: Vec<String> = app.sandbox.fal.requests().iter().map(|request| request.id.to_string()).collect();
    let [guessed, own, ..] = &requests[..] else { panic!("four images are asked for") };
    // One call goes by a guess; its own request is the second one, which no other call knows.
    app.rule(&format!(
        "delete from safelight.provider_calls where request_id = '{own}';
        create function public.reports() returns trigger language plpgsql security definer as $$ begin
            if new.action = 'call.cancel_asked' then
                update safelight.provider_calls set request_id = '{own}', response_url = null, status_url = null, cancel_url = null
                    where request_id = '{guessed}';
            end if; return new; end $$;
        create trigger reports after insert on safelight.audit_entries for each row execute function public.reports()"
    ))
    .await;
    let call: Uuid = sqlx::query_scalar("select id from safelight.provider_calls where request_id = $1")
        .bind(guessed)
        .fetch_one(&app.db)
        .await
        .unwrap();
    sqlx::query("update safelight.provider_calls set cancel_wanted = true, purge = 'wanted' where id = $1")
        .bind(call)
        .execute(&app.db)
        .await
        .unwrap();
    app.wants(&PurgeCall { call: call.into() }).await;
    for _ in 0..4 {
        safelight_worker::drain(&app.worker, &app.services, "test").await.unwrap();
        app.turn_clock(chrono::Duration::minutes(10)).await;
    }
    let left: (String, String) = sqlx::query_as("select purge, request_id from safelight.provider_calls where id = $1")
        .bind(call)
        .fetch_one(&app.db)
        .await
        .unwrap();
    assert_eq!(left, ("purged".to_owned(), own.clone()));
    let purged: Vec<String> = app.sandbox.fal.purged().iter().map(ToString::to_string).collect();
    assert!(purged.contains(guessed) && purged.contains(own), "{purged:?}");
}

/// K52: a sale that is booked while its order ends is told of in the certificate.
#[tokio::test(flavor = "multi_thread")]
async fn k52_a_certificate_never_says_nothing_was_sold_of_an_order_whose_money_is_just_being_booked() {
    let app = Arc::new(App::spawn().await);
    let (ann, order) = app.basic_order(false).await;
    let mut money = db::begin(&app.db).await.unwrap();
    sqlx::query("select id from safelight.orders where id = $1 for no key update")
        .bind(order.uuid())
        .execute(&mut *money)
        .await
        .unwrap();
    sqlx::query(
        "insert into safelight_fiscal.sales (tenant, order_id, stripe_session, payment_intent, status, amount_cents, currency, sold_at)
        select tenant, id, checkout_session, 'pi_late', 'paid', amount_cents, currency, safelight.now() from safelight.orders where id = $1",
    )
    .bind(order.uuid())
    .execute(&mut *money)
    .await
    .unwrap();
    let deletion = app.erases(&ann).await;
    let worker = tokio::spawn({
        let app = app.clone();
        async move { app.run_due_jobs().await }
    });
    waiting(&app, "safelight.orders").await;
    money.commit().await.unwrap();
    worker.await.unwrap();
    app.waits_out_late_writers().await;
    let evidence: Vec<(String, String)> = sqlx::query_as(
        "select state, coalesce(evidence, '') from safelight.deletion_steps where deletion_id = $1 and state = 'retained_by_law'",
    )
    .bind(deletion.uuid())
    .fetch_all(&app.db)
    .await
    .unwrap();
    assert!(evidence.iter().any(|(_, said)| said.starts_with("sales stay for tax law")), "{evidence:?}");
}

/// K40, D14: what the person asks for is not held, although a claim holds what the term would take.
#[tokio::test(flavor = "multi_thread")]
async fn k40_d14_a_photo_whose_deletion_a_claim_holds_goes_at_once_when_the_person_asks_for_it() {
    let app = App::spawn().await;
    let ann = app.person("koselfie").await;
    let (_, ids) = app.uploads(&ann, 2).await;
    app.turn_clock(chrono::Duration::hours(721)).await;
    app.sandbox.supabase.take_down().await;
    app.sweeps().await;
    let until = app.now().await + chrono::Duration::days(60);
    app.restricts(&ann, Ground::Claims(until)).await.unwrap();
    app.sandbox.supabase.bring_up().await.unwrap();
    app.turn_clock(chrono::Duration::hours(2)).await;
    app.run_due_jobs().await;
    assert_eq!(app.stored_keys().len(), 2, "held for the claim");
    let mut tx = app.tx().await;
    let first = intake::delete_photo(&mut tx, Some("koselfie"), ids[0], None).await.unwrap();
    let again = intake::delete_photo(&mut tx, Some("koselfie"), ids[0], None).await.unwrap();
    tx.commit().await.unwrap();
    assert!(!first.already && again.already && again.deletion == first.deletion);
    assert!(first.answer_due < until, "a month, and not the day of the claim");
    app.waits_out_late_writers().await;
    assert_eq!(app.deletion_state(first.deletion).await, "complete");
    assert!(!app.has_row(ids[0]).await && app.has_row(ids[1]).await);
    assert_eq!(app.stored_keys().len(), 1, "the other one is held still");
    app.turn_clock_to(until + chrono::Duration::minutes(1)).await;
    app.run_due_jobs().await;
    assert_eq!(app.count("select count(*) from safelight.deletions where state <> 'complete'").await, 0);
    assert_eq!(app.stored_keys().len(), 0);
}

/// K7: photos that are being deleted, or whose term is over, are none that an order is made from.
#[tokio::test(flavor = "multi_thread")]
async fn k7_photos_that_are_being_deleted_or_are_past_their_term_count_for_no_order() {
    let app = App::spawn().await;
    let ann = app.person("koselfie").await;
    let (batch, ids) = app.uploads(&ann, 10).await;
    let policy = app.services.policies.of("koselfie").unwrap();
    let places = || async {
        let new = NewOrder { subject: ann.id, batch, plan: "pro".to_owned(), prompt: None };
        let mut tx = app.tx().await;
        intake::place(&mut tx, &app.services.vault, policy, &new).await.map(|_| ())
    };
    places().await.expect("ten are enough");
    let mut tx = app.tx().await;
    intake::delete_photo(&mut tx, None, ids[0], None).await.unwrap();
    tx.commit().await.unwrap();
    assert!(matches!(places().await, Err(IntakeError::Invalid { code: "photo_count", .. })));
    let (other, _) = app.uploads(&ann, 10).await;
    app.turn_clock(chrono::Duration::hours(721)).await;
    let new = NewOrder { subject: ann.id, batch: other, plan: "pro".to_owned(), prompt: None };
    let late = intake::place(&mut app.tx().await, &app.services.vault, policy, &new).await;
    assert!(matches!(late, Err(IntakeError::Invalid { code: "photo_count", .. })));
}

/// Who ends an order or gives its money back takes the person, then the order; so does the checkout.
#[tokio::test(flavor = "multi_thread")]
async fn a_checkout_holds_no_order_while_it_waits_for_its_person() {
    let app = App::spawn().await;
    let (ann, order) = app.basic_order(false).await;
    let session = app.session(order).await;
    let mut owner = db::begin(&app.db).await.unwrap();
    sqlx::query("select safelight.own_subject($1)").bind(ann.id.uuid()).execute(&mut *owner).await.unwrap();
    let pool = app.other().await;
    let bell = app.bell();
    let checkout = tokio::spawn(async move {
        let mut tx = Tx::begin(&pool, &bell).await.unwrap();
        intake::start_checkout(&mut tx, "koselfie", order, &session, false).await
    });
    waiting(&app, "share_subject").await;
    sqlx::query("select id from safelight.orders where id = $1 for update nowait")
        .bind(order.uuid())
        .execute(&mut *owner)
        .await
        .expect("nobody holds it");
    owner.rollback().await.unwrap();
    checkout.await.unwrap().expect("the same session again");
}

/// A look that read something else takes nothing away that another look has taken in; and takes nothing in that is gone.
#[tokio::test(flavor = "multi_thread")]
async fn two_looks_at_one_photo_leave_it_whole_or_say_that_it_is_missing() {
    let app = Arc::new(App::spawn().await);
    let ann = app.person("koselfie").await;
    let (batch, _) = app.uploads(&ann, 1).await;
    let put = |link: String, bytes: Vec<u8>| {
        let http = app.http.clone();
        async move { http.put(link).header("content-type", "image/jpeg").body(bytes).send().await.unwrap() }
    };
    let photo = photos()[1].bytes.clone();
    let letter = b"Dear service, this is a letter.\n".repeat(20);
    let looks = |artifact| {
        let (app, ann) = (app.clone(), ann.clone());
        tokio::spawn(async move { app.looks_at(&ann, artifact).await })
    };

    let slot = app.place_for_a_photo(&ann, batch).await.unwrap();
    put(slot.put_url.expose().to_owned(), letter).await;
    let mut other = db::begin(&app.db).await.unwrap();
    holds_the_look(&mut other, slot.artifact).await;
    let refused = looks(slot.artifact);
    waiting(&app, "pg_advisory_xact_lock(7303").await;
    put(slot.put_url.expose().to_owned(), photo.clone()).await;
    sqlx::query("select safelight.upload_arrived($1, 'image/jpeg', 9, repeat('0', 64))")
        .bind(slot.artifact.uuid())
        .execute(&mut *other)
        .await
        .unwrap();
    other.commit().await.unwrap();
    assert!(matches!(refused.await.unwrap(), Err(IntakeError::Invalid { code: "photo_not_a_photo", .. })));
    assert!(app.stored_keys().contains(&slot.key), "the photo that was taken in is there");

    let slot = app.place_for_a_photo(&ann, batch).await.unwrap();
    put(slot.put_url.expose().to_owned(), photo).await;
    let mut other = db::begin(&app.db).await.unwrap();
    holds_the_look(&mut other, slot.artifact).await;
    let taken = looks(slot.artifact);
    waiting(&app, "pg_advisory_xact_lock(7303").await;
    app.services.storage.delete(&slot.key.parse().unwrap()).await.unwrap();
    other.commit().await.unwrap();
    assert!(matches!(taken.await.unwrap(), Err(IntakeError::Conflict { code: "upload_missing", .. })));
    let state: String = app.of("select state from safelight.artifacts where id = $1", slot.artifact.uuid()).await;
    assert_eq!(state, "expected");
}

/// One export at a time, also of two requests that come at once: the second waits for the first one's commit, and finds it.
#[tokio::test(flavor = "multi_thread")]
async fn two_who_ask_for_an_export_at_once_get_the_same_one() {
    let app = App::spawn().await;
    let ann = app.person("koselfie").await;
    let (pool, id) = (app.other().await, ann.id);
    let mut first = Tx::begin(&pool, &app.bell()).await.unwrap();
    let asked = intake::ask_export(&mut first, "koselfie", id).await.unwrap();
    let second = tokio::spawn({
        let (pool, bell) = (pool.clone(), app.bell());
        async move {
            let mut tx = Tx::begin(&pool, &bell).await.unwrap();
            let asked = intake::ask_export(&mut tx, "koselfie", id).await.unwrap();
            tx.commit().await.unwrap();
            asked
        }
    });
    waiting(&app, "own_subject").await;
    first.commit().await.unwrap();
    let again = second.await.unwrap();
    assert!(!asked.already && again.already && again.export == asked.export);
    assert_eq!(app.count("select count(*) from safelight.artifacts where class = 'export'").await, 1);
}
