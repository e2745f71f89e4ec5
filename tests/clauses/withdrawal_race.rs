//! K13: a withdrawal of the consent to compare against the storing of a vector, statement by statement, on real Postgres.
//!
//! Two workers store vectors, one person withdraws, and the deletion that follows counts and removes, each in a session of
//! its own. A seeded scheduler gives one session its next statement at a time; a session that waits for a lock is left
//! waiting while others go on. 240 schedules, the same ones every time.
//!
//! What must hold: a vector whose insert committed after the withdrawal does not exist, and none is left at the end.
//! It fails when `share_subject` is taken out of `pass_gate`, and when `own_subject` is taken out of `withdraw_consent`
//! (both tried): the gate then reads the grant before the withdrawal commits, and the insert commits after it.

use std::time::Duration;

use rand::{Rng, SeedableRng, rngs::StdRng};
use safelight_jobs::{
    db::{self, Role},
    id::{Artifact, Id, Order},
    policy::{CapturePoint, Purpose},
};
use sqlx::{AssertSqlSafe, PgConnection, PgPool, pool::PoolConnection, postgres::Postgres};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::app::{App, Person};

const SCHEDULES: u64 = 240;

/// Statements of one session, and how far it is.
struct Session {
    name: &'static str,
    statements: Vec<String>,
    next: usize,
    pid: i32,
    go: mpsc::UnboundedSender<(String, oneshot::Sender<bool>)>,
    /// A statement that waits for a lock.
    waiting: Option<oneshot::Receiver<bool>>,
    failed: bool,
}

impl Session {
    async fn start(pool: &PgPool, name: &'static str, statements: Vec<String>) -> Self {
        let mut connection: PoolConnection<Postgres> = pool.acquire().await.unwrap();
        let pid = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut *connection).await.unwrap();
        let (go, mut orders) = mpsc::unbounded_channel::<(String, oneshot::Sender<bool>)>();
        tokio::spawn(async move {
            while let Some((sql, told)) = orders.recv().await {
                let _ = told.send(run(&mut connection, sql).await);
            }
            let _ = run(&mut connection, "rollback".to_owned()).await;
        });
        Self { name, statements, next: 0, pid, go, waiting: None, failed: false }
    }

    /// Told nothing more, or waiting for a lock.
    fn idle(&self) -> bool {
        self.waiting.is_none() && self.next < self.statements.len() && !self.failed
    }

    fn send(&mut self) {
        let (told, heard) = oneshot::channel();
        self.go.send((self.statements[self.next].clone(), told)).unwrap();
        self.waiting = Some(heard);
    }

    /// The statement has ended.
    fn ended(&mut self, fine: bool) {
        self.waiting = None;
        self.next += 1;
        self.failed |= !fine;
    }
}

async fn run(connection: &mut PgConnection, sql: String) -> bool {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.is_ok()
}

/// Give the session its next statement and wait until it has ended, or waits for a lock.
async fn step(watch: &PgPool, session: &mut Session) {
    session.send();
    settle(watch, session).await;
}

async fn settle(watch: &PgPool, session: &mut Session) {
    for _ in 0..20_000 {
        let heard = session.waiting.as_mut().unwrap();
        if let Ok(fine) = tokio::time::timeout(Duration::from_millis(1), heard).await {
            return session.ended(fine.unwrap());
        }
        let blocked: bool = sqlx::query_scalar(
            "select coalesce((select wait_event_type = 'Lock' from pg_stat_activity where pid = $1), false)",
        )
        .bind(session.pid)
        .fetch_one(watch)
        .await
        .unwrap();
        if blocked {
            return;
        }
    }
    panic!("{} neither ends nor waits for a lock", session.name);
}

/// Who waited may go on by now.
async fn look_at_waiting(watch: &PgPool, sessions: &mut [Session]) {
    for session in sessions.iter_mut().filter(|session| session.waiting.is_some()) {
        settle(watch, session).await;
    }
}

async fn ready(app: &App) -> (Person, Id<Order>, Vec<Id<Artifact>>) {
    let ann = app.person("koselfie").await;
    let (batch, selfies) = app.uploads(&ann, 3).await;
    let order = app.orders(&ann, batch, "basic", true).await;
    sqlx::query("update safelight.orders set state = 'generating', paid_at = safelight.now() where id = $1")
        .bind(order.uuid())
        .execute(&app.db)
        .await
        .unwrap();
    (ann, order, selfies)
}

fn stores(ann: &Person, order: Id<Order>, selfie: Id<Artifact>) -> Vec<String> {
    vec![
        "begin".to_owned(),
        // The read that a worker does first; it proves nothing.
        format!("select count(*) from safelight.embeddings where order_id = '{}'", order.uuid()),
        format!(
            "select safelight.record_embedding('{}', 1, '{}', '{}', 'model', repeat('a', 64), 512, '\\x00')",
            ann.id.uuid(),
            order.uuid(),
            selfie.uuid()
        ),
        "commit".to_owned(),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn k13_no_vector_is_stored_after_a_withdrawal_in_any_of_240_interleavings() {
    let app = App::spawn().await;
    let (ann, order, selfies) = ready(&app).await;
    let batch = app.batch_of(order).await;
    app.grants(&ann, Purpose::Compare, CapturePoint::SignUp, None, None).await.unwrap();
    let workers = db::connect(&app.database_url, Role::Worker, 4).await.unwrap();
    let intake = db::connect(&app.database_url, Role::Api, 1).await.unwrap();
    let (mut stored_first, mut refused, mut waited) = (0, 0, 0);
    for seed in 0..SCHEDULES {
        app.agrees_to_compare(&ann, batch).await;
        let mut dice = StdRng::seed_from_u64(seed);
        let withdraw = vec![
            "begin".to_owned(),
            format!(
                "select safelight.withdraw_consent('{}', '{}', 'compare', 'subject', '{{measure_selfies}}')",
                Uuid::new_v4(),
                ann.id.uuid()
            ),
            "commit".to_owned(),
        ];
        let delete = vec![
            "begin".to_owned(),
            format!("delete from safelight.embeddings where subject_id = '{}'", ann.id.uuid()),
            "commit".to_owned(),
        ];
        let mut sessions = vec![
            Session::start(&workers, "first worker", stores(&ann, order, selfies[0])).await,
            Session::start(&workers, "second worker", stores(&ann, order, selfies[1])).await,
            Session::start(&intake, "withdrawal", withdraw).await,
            Session::start(&workers, "deletion", delete).await,
        ];
        let mut withdrawn = false;
        let mut patience = 2_000;
        loop {
            look_at_waiting(&app.db, &mut sessions).await;
            withdrawn |= sessions[2].next == 3;
            // The deletion begins with the withdrawal's commit, as its job does.
            let may: Vec<usize> = (0..4).filter(|&at| sessions[at].idle() && (at != 3 || withdrawn)).collect();
            let Some(&at) = may.get(dice.gen_range(0..may.len().max(1))) else {
                if sessions.iter().all(|session| session.waiting.is_none()) {
                    break;
                }
                // Whoever waits may just have been granted the lock and not have woken up yet.
                patience -= 1;
                assert!(patience > 0, "seed {seed}: a deadlock");
                continue;
            };
            let commits_a_vector = at < 2 && sessions[at].next == 3;
            assert!(
                !(commits_a_vector && withdrawn),
                "seed {seed}: the {} commits a vector after the withdrawal",
                sessions[at].name
            );
            step(&app.db, &mut sessions[at]).await;
            waited += usize::from(sessions[at].waiting.is_some());
        }
        assert!(withdrawn, "seed {seed}: nobody holds a withdrawal up");
        for worker in &sessions[..2] {
            stored_first += usize::from(!worker.failed);
            refused += usize::from(worker.failed);
        }
        drop(sessions);
        let left = app.count("select count(*) from safelight.embeddings").await;
        assert_eq!(left, 0, "seed {seed}: a vector is left after the withdrawal");
    }
    assert!(
        stored_first > 100 && refused > 100 && waited > 30,
        "the schedules differ: {stored_first} {refused} {waited}"
    );
}
