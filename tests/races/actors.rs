//! Who acts beside a job: the person who withdraws or is erased, Fal that reports, and a handler that forgets every lease and gate.

use safelight_jobs::{
    db,
    intake::{self, Grant},
    policy::{CapturePoint, Purpose},
    providers::fal_webhook::FalEvent,
    queue,
    run::Tx,
    webhooks,
};
use sqlx::PgPool;
use uuid::Uuid;

use super::scene::{Act, Cast};
use crate::app::WORDING;

/// The person's own act, as often as a web backend would ask for it.
pub async fn acts(pool: PgPool, act: Act, cast: Cast) {
    while let Err(error) = withdraws_or_erases(&pool, act, &cast).await {
        assert!(comes_again(&error), "{error:?}");
    }
    if act == Act::WithdrawComparingAndAgreeAgain {
        let bell = queue::Bell::default();
        for (capture_point, batch) in [(CapturePoint::SignUp, None), (CapturePoint::Upload, Some(cast.batch.into()))] {
            let mut tx = begins(|| Tx::begin(&pool, &bell)).await;
            let grant = Grant {
                subject: cast.ann.id,
                purpose: Purpose::Compare,
                capture_point,
                batch,
                order: None,
                wording_sha256: WORDING.to_owned(),
                policy_version: "2026-05-25".to_owned(),
            };
            intake::grant(&mut tx, "koselfie", &grant).await.expect("granted");
            tx.commit().await.expect("a commit");
        }
    }
}

/// What a web backend asks again: a deadlock, of which there is none but where a lock was taken out; a database that did
/// not answer in time; and a transaction that the database ended, because its next statement waited too long at the turnstile.
/// A connection whose last word waits there for longer than the house waits for an answer is given up, and the next one has to be
/// opened through the same turnstile.
fn comes_again(error: &intake::IntakeError) -> bool {
    match error {
        intake::IntakeError::Database(error) | intake::IntakeError::Enqueue(queue::EnqueueError::Database(error)) => {
            db::is_outage(error)
                || error
                    .as_database_error()
                    .is_some_and(|error| matches!(error.code().as_deref(), Some("40P01" | "25P03")))
        }
        _ => false,
    }
}

/// A transaction, however often it has to be asked for.
async fn begins<T, F: Future<Output = Result<T, sqlx::Error>>>(begin: impl Fn() -> F) -> T {
    loop {
        match begin().await {
            Ok(tx) => return tx,
            Err(error) => assert!(db::is_outage(&error), "{error:?}"),
        }
    }
}

async fn withdraws_or_erases(pool: &PgPool, act: Act, cast: &Cast) -> Result<(), intake::IntakeError> {
    let mut tx = Tx::begin(pool, &queue::Bell::default()).await?;
    let subject = cast.ann.id;
    match act {
        Act::Erase => {
            intake::erase(&mut tx, "koselfie", subject, None).await?;
        }
        Act::WithdrawTraining => {
            intake::withdraw(&mut tx, "koselfie", subject, Purpose::Train).await?;
        }
        Act::WithdrawComparing | Act::WithdrawComparingAndAgreeAgain => {
            intake::withdraw(&mut tx, "koselfie", subject, Purpose::Compare).await?;
        }
    }
    Ok(tx.commit().await?)
}

/// Take one report, as the intake does. False: an error of the database, which sends it away to come again.
pub async fn is_taken(pool: &PgPool, bell: &queue::Bell, token: &str, event: &FalEvent) -> bool {
    let Ok(mut tx) = Tx::begin(pool, bell).await else { return false };
    webhooks::fal(&mut tx, token, event).await.is_ok() && tx.commit().await.is_ok()
}

/// Each function that records something of a person, in a transaction of its own and with nothing around it.
pub async fn forgets(worker: PgPool, intake: PgPool, cast: Cast) {
    let (subject, hash) = (cast.ann.id.uuid(), "a".repeat(64));
    let key = |class: &str, id: Uuid| format!("koselfie/{}/{class}/{}", subject.simple(), id.simple());
    let upload = Uuid::new_v4();
    let begin = async |pool: &PgPool| begins(|| db::begin(pool)).await;

    remembers_a_face(&worker, &cast, &hash).await;
    for (class, id, position) in [("model", cast.model, None), ("image", cast.image, Some(1))] {
        let mut tx = begin(&worker).await;
        let expected = sqlx::query("select safelight.expect_artifact($1, $2, 1, $3, $4, $5, $6)")
            .bind(id)
            .bind(subject)
            .bind(cast.order)
            .bind(class)
            .bind(position)
            .bind(key(class, id))
            .execute(&mut *tx)
            .await;
        ends(tx, expected).await;
        let mut tx = begin(&worker).await;
        let arrived = sqlx::query("select safelight.artifact_arrived($1, 'image/jpeg', 1, $2, false)")
            .bind(id)
            .bind(&hash)
            .execute(&mut *tx)
            .await;
        ends(tx, arrived).await;
    }
    let mut tx = begin(&intake).await;
    let recorded = sqlx::query("select safelight.record_upload($1, $2, $3, $4)")
        .bind(upload)
        .bind(subject)
        .bind(cast.batch)
        .bind(key("upload", upload))
        .execute(&mut *tx)
        .await;
    ends(tx, recorded).await;
    // And once more with another model, when most withdrawals are over.
    remembers_a_face(&worker, &cast, &"b".repeat(64)).await;
}

async fn remembers_a_face(worker: &PgPool, cast: &Cast, model: &str) {
    let mut tx = begins(|| db::begin(worker)).await;
    let stored = sqlx::query("select safelight.record_embedding($1, 1, $2, $3, 'model', $4, 512, '\\x00')")
        .bind(cast.ann.id.uuid())
        .bind(cast.order)
        .bind(cast.photo)
        .bind(model)
        .execute(&mut *tx)
        .await;
    ends(tx, stored).await;
}

async fn ends<T>(tx: sqlx::Transaction<'_, sqlx::Postgres>, result: Result<T, sqlx::Error>) {
    let ended = if result.is_ok() { tx.commit().await } else { tx.rollback().await };
    ended.expect("an end");
}
