//! Two who contest one score at the same moment, statement by statement, in orders that dice choose. Whoever comes second is told of
//! the measurement that waits; there is never a second one.

use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;
use rand::{Rng, SeedableRng, rngs::StdRng};
use safelight_jobs::{
    db::{self, Role},
    id::{Artifact, Id},
    intake::{self, Contested, IntakeError},
    queue::Bell,
    run::Tx,
};
use sqlx::PgPool;

use super::turnstile::Turnstile;
use crate::app::{App, Person};

/// Orders of their statements that are tried.
const PLAYS: u64 = 60;

async fn contests(pool: &PgPool, ann: &Person, image: Id<Artifact>) -> Result<Contested, IntakeError> {
    let mut tx = Tx::begin(pool, &Bell::default()).await.map_err(IntakeError::Database)?;
    let contested = intake::contest_similarity(&mut tx, ann.tenant, ann.id, image).await?;
    tx.commit().await.map_err(IntakeError::Database)?;
    Ok(contested)
}

/// K39: after one that has ended, which leaves its key behind.
#[tokio::test(flavor = "multi_thread")]
async fn k39_two_who_contest_a_score_at_once_have_it_measured_once_in_any_order_of_statements() {
    let app = App::spawn().await;
    let (ann, order) = app.basic_order(true).await;
    app.fulfils(order).await;
    let image = app.artifacts("image", order.uuid()).await[0];
    contests(&app.db, &ann, image).await.unwrap();
    let turnstile = Turnstile::new(2);
    let mut pools = Vec::new();
    for actor in 0..2 {
        let pool = db::connect(&turnstile.line(actor, &app.database_url).await, Role::Api, 1).await.unwrap();
        drop(pool.acquire().await.unwrap());
        pools.push(pool);
    }
    for seed in 0..PLAYS {
        sqlx::query("delete from safelight.jobs where kind = 'compare_faces'").execute(&app.db).await.unwrap();
        let told = Arc::new(Mutex::new(Vec::new()));
        let actors = pools.iter().map(|pool| -> BoxFuture<'static, ()> {
            let (pool, ann, told) = (pool.clone(), ann.clone(), told.clone());
            Box::pin(async move {
                let contested = contests(&pool, &ann, image).await.expect("an answer");
                told.lock().expect("no panic").push(contested);
            })
        });
        let mut dice = StdRng::seed_from_u64(seed);
        let not_before = [0, dice.gen_range(0..12)];
        let turns = turnstile.play(&mut dice, &app.db, &not_before, actors.collect()).await;
        let waiting: Vec<uuid::Uuid> = sqlx::query_scalar("select id from safelight.jobs where kind = 'compare_faces'")
            .fetch_all(&app.db)
            .await
            .unwrap();
        let told = told.lock().expect("no panic");
        let named: Vec<uuid::Uuid> = told.iter().map(|contested| contested.job.uuid()).collect();
        assert_eq!(waiting.len(), 1, "seed {seed}: measured twice, turns {turns:?}");
        assert_eq!(named, [waiting[0], waiting[0]], "seed {seed}: both are told of it, turns {turns:?}");
        assert_eq!(told.iter().filter(|contested| contested.already).count(), 1, "seed {seed}, turns {turns:?}");
    }
}
