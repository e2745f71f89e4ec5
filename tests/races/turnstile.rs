//! A turnstile before Postgres. Everything that an actor says to the database, and every answer of a provider to it, waits
//! here until it is let through; a seeded scheduler lets one piece through at a time, so that real code runs statement by
//! statement in an order that the dice choose.
//!
//! Who waits for a lock is left waiting while others go on. The order follows from the seed as far as the machine allows: an
//! actor that computes or waits for a provider longer than some milliseconds is passed over meanwhile.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures::future::BoxFuture;
use rand::{Rng, rngs::StdRng};
use sqlx::PgPool;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Notify, oneshot},
};

/// After this an actor that neither asks nor waits for a lock is taken for busy with something else, and passed over. In
/// every other play it is waited for, so that what it computes for long is also recorded first.
const BUSY: [Duration; 2] = [Duration::from_millis(30), Duration::from_secs(5)];
/// Nobody moves for this long: a deadlock.
const STUCK: Duration = Duration::from_secs(60);

/// Clones are the same turnstile.
#[derive(Clone)]
pub struct Turnstile(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    moved: Notify,
}

struct State {
    closed: bool,
    actors: Vec<Actor>,
}

#[derive(Default)]
struct Actor {
    waiting: VecDeque<oneshot::Sender<()>>,
    /// Of its connections, as Postgres sees them.
    ports: Vec<i32>,
    ended: bool,
}

impl Turnstile {
    /// For so many actors. Open until a play begins.
    pub fn new(actors: usize) -> Self {
        let state = State { closed: false, actors: (0..actors).map(|_| Actor::default()).collect() };
        Self(Arc::new(Inner { state: Mutex::new(state), moved: Notify::new() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The address of the database as this actor is to use it.
    pub async fn line(&self, actor: usize, url: &str) -> String {
        let mut url = url::Url::parse(url).expect("an address");
        let target = url.port().expect("a port");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        url.set_port(Some(listener.local_addr().expect("an address").port())).expect("a port");
        let turnstile = self.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(("127.0.0.1", target)).await else { continue };
                let _ = (near.set_nodelay(true), far.set_nodelay(true));
                turnstile.state().actors[actor].ports.push(far.local_addr().expect("an address").port().into());
                let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                tokio::spawn(pump(near_in, far_out, Some((turnstile.clone(), actor))));
                tokio::spawn(pump(far_in, near_out, None));
            }
        });
        url.to_string()
    }

    /// Wait for one's turn.
    pub async fn turn(&self, actor: usize) {
        let turn = {
            let mut state = self.state();
            if !state.closed {
                return;
            }
            let (go, turn) = oneshot::channel();
            state.actors[actor].waiting.push_back(go);
            turn
        };
        self.0.moved.notify_one();
        let _ = turn.await;
    }

    /// Let the actors run to their ends, one piece at a time. `not_before`: how many pieces of others each lets pass first.
    /// Answers whose turns they were.
    pub async fn play(
        &self,
        dice: &mut StdRng,
        watch: &PgPool,
        not_before: &[usize],
        actors: Vec<BoxFuture<'static, ()>>,
    ) -> Vec<usize> {
        let patience = BUSY[dice.gen_range(0..2)];
        let weights: Vec<u32> = actors.iter().map(|_| [1, 3, 9][dice.gen_range(0..3)]).collect();
        {
            let mut state = self.state();
            state.closed = true;
            state.actors.iter_mut().for_each(|actor| actor.ended = true);
        }
        let mut tasks = Vec::new();
        for (number, actor) in actors.into_iter().enumerate() {
            self.state().actors[number].ended = false;
            let turnstile = self.clone();
            tasks.push(tokio::spawn(async move {
                let over = Over(&turnstile, number);
                actor.await;
                drop(over);
            }));
        }
        let mut turns = Vec::new();
        let mut last = 0;
        loop {
            self.settles(last, patience, watch).await;
            let ready: Vec<usize> = {
                let state = self.state();
                let waits = |at: &usize| !state.actors[*at].waiting.is_empty();
                let all: Vec<usize> = (0..state.actors.len()).filter(waits).collect();
                let early = |at: &usize| not_before.get(*at).is_none_or(|before| turns.len() >= *before);
                let due: Vec<usize> = all.iter().copied().filter(early).collect();
                if all.is_empty() && state.actors.iter().all(|actor| actor.ended) {
                    break;
                }
                if due.is_empty() { all } else { due }
            };
            let sum: u32 = ready.iter().map(|at| weights.get(*at).unwrap_or(&1)).sum();
            if sum == 0 {
                let moved = tokio::time::timeout(STUCK, self.0.moved.notified()).await;
                assert!(moved.is_ok(), "nobody moves any more, after {turns:?}");
                continue;
            }
            let mut throw = dice.gen_range(0..sum);
            last = *ready
                .iter()
                .find(|at| {
                    let weight = *weights.get(**at).unwrap_or(&1);
                    let hit = throw < weight;
                    throw = throw.saturating_sub(weight);
                    hit
                })
                .expect("one of them");
            turns.push(last);
            let go = self.state().actors[last].waiting.pop_front();
            let _ = go.expect("who waits").send(());
        }
        {
            // What a connection says after its actor's end, such as a rollback, must not wait for a turn that never comes.
            let mut state = self.state();
            state.closed = false;
            for go in state.actors.iter_mut().flat_map(|actor| actor.waiting.drain(..)) {
                let _ = go.send(());
            }
        }
        for task in tasks {
            task.await.expect("an actor that comes to its end");
        }
        turns
    }

    /// Until the actor asks again, has ended, waits for a lock, or is busy elsewhere.
    async fn settles(&self, at: usize, patience: Duration, watch: &PgPool) {
        let since = Instant::now();
        loop {
            let ports = {
                let state = self.state();
                let actor = &state.actors[at];
                if actor.ended || !actor.waiting.is_empty() {
                    return;
                }
                actor.ports.clone()
            };
            if tokio::time::timeout(Duration::from_millis(1), self.0.moved.notified()).await.is_ok() {
                continue;
            }
            let blocked: bool = sqlx::query_scalar(
                "select exists (select from pg_stat_activity where client_port = any ($1) and wait_event_type = 'Lock')",
            )
            .bind(&ports)
            .fetch_one(watch)
            .await
            .expect("an answer");
            if blocked || since.elapsed() > patience {
                return;
            }
        }
    }
}

/// Says that an actor has ended, also when it panicked.
struct Over<'a>(&'a Turnstile, usize);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.state().actors[self.1].ended = true;
        self.0.0.moved.notify_one();
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, before: Option<(Turnstile, usize)>) {
    let mut piece = vec![0; 64 * 1024];
    loop {
        let size = from.read(&mut piece).await.unwrap_or(0);
        if size > 0
            && let Some((turnstile, actor)) = &before
        {
            turnstile.turn(*actor).await;
        }
        if size == 0 || to.write_all(&piece[..size]).await.is_err() {
            let _ = to.shutdown().await;
            return;
        }
    }
}
