//! Scenes, and how they are played: who acts, and what is looked at when all have come to their ends.

use std::sync::Arc;

use futures::future::BoxFuture;
use rand::{Rng, rngs::StdRng};
use safelight_jobs::{
    calls::token_sha256,
    check_image::CheckImage,
    collect_image::CollectImage,
    collect_model::CollectModel,
    compare_faces::CompareFaces,
    db::{self, Role},
    generate_batch::GenerateBatch,
    id::{Artifact, Id, Order},
    job::Queue,
    measure_selfies::MeasureSelfies,
    policy::Policy,
    providers::{
        Secret,
        fal::{Fal, FalConfig, FileAccess},
        fal_webhook::FalEvent,
    },
    queue,
    services::{Policies, Services},
    train_model::TrainModel,
};
use serde_json::json;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    actors::{acts, forgets, is_taken},
    fal::{Accepted, QuickFal},
    turnstile::Turnstile,
};
use crate::app::{App, Person, photos};

/// Which job runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    TrainModel,
    CollectModel,
    GenerateBatch,
    CollectImage,
    CheckImage,
    CompareFaces,
    MeasureSelfies,
    /// A handler that proves no lease and asks no gate: it calls the database's functions and nothing else.
    Forgetful,
}

impl Kind {
    /// The costly one stands once, what asks and collects twice.
    pub const ALL: [Self; 12] = [
        Self::TrainModel,
        Self::TrainModel,
        Self::CollectModel,
        Self::CollectModel,
        Self::GenerateBatch,
        Self::GenerateBatch,
        Self::CollectImage,
        Self::CheckImage,
        Self::CheckImage,
        Self::CompareFaces,
        Self::MeasureSelfies,
        Self::Forgetful,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::TrainModel => "train_model",
            Self::CollectModel => "collect_model",
            Self::GenerateBatch => "generate_batch",
            Self::CollectImage => "collect_image",
            Self::CheckImage => "check_image",
            Self::CompareFaces => "compare_faces",
            Self::MeasureSelfies => "measure_selfies",
            Self::Forgetful => "forgetful",
        }
    }
}

/// What the person does meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    Erase,
    WithdrawTraining,
    WithdrawComparing,
    /// And ticks both boxes again: the attempt that ran before stays cancelled.
    WithdrawComparingAndAgreeAgain,
}

impl Act {
    pub const ALL: [Self; 5] = [
        Self::Erase,
        Self::Erase,
        Self::WithdrawTraining,
        Self::WithdrawComparing,
        Self::WithdrawComparingAndAgreeAgain,
    ];

    /// Do all calls of this purpose have to be taken back after it?
    fn takes_back(self, purpose: &str) -> bool {
        self == Self::Erase || self == Self::WithdrawTraining && purpose == "train"
    }
}

/// A whole house with a turnstile before its database.
pub struct Stage {
    pub app: App,
    turnstile: Turnstile,
    fal: QuickFal,
    services: Arc<Services>,
    worker: PgPool,
    person: PgPool,
    provider: PgPool,
}

/// What came of a play.
pub struct Played {
    /// Everything that should not be.
    pub wrong: Vec<String>,
    /// Was anything recorded that the act takes away or forbids from then on?
    pub recorded: bool,
    pub turns: Vec<usize>,
}

/// Ids of one play.
#[derive(Clone)]
pub struct Cast {
    pub ann: Person,
    pub batch: Uuid,
    pub order: Uuid,
    pub photo: Uuid,
    pub model: Uuid,
    pub image: Uuid,
    pub call: Uuid,
}

impl Stage {
    pub async fn set() -> Self {
        let mut app = App::spawn().await;
        sqlx::raw_sql(concat!(include_str!("ledger.sql"), include_str!("scene.sql"))).execute(&app.db).await.unwrap();
        let turnstile = Turnstile::new(3);
        let fal = QuickFal::start(turnstile.clone()).await;
        let mut pools = Vec::new();
        for (actor, role) in [Role::Worker, Role::Api, Role::Api].into_iter().enumerate() {
            let pool = db::connect(&turnstile.line(actor, &app.database_url).await, role, 6).await.unwrap();
            // Connected before anybody has to wait for a turn.
            let opened = futures::future::join_all((0..6).map(|_| pool.acquire())).await;
            drop(opened);
            pools.push(pool);
        }
        let [worker, person, provider] = <[PgPool; 3]>::try_from(pools).unwrap();
        let services = Arc::get_mut(&mut app.services).expect("nobody else has them yet");
        services.fal = Fal::new(&FalConfig {
            queue_url: fal.url().to_owned(),
            platform_url: fal.url().to_owned(),
            files_hosts: vec![fal.url().trim_start_matches("http://").to_owned()],
            key: Secret::new("key"),
            admin_key: None,
            file_life: std::time::Duration::from_secs(60),
            file_access: FileAccess::Anyone,
            timeout: std::time::Duration::from_secs(20),
            download_timeout: std::time::Duration::from_secs(20),
        })
        .unwrap();
        // One photo is enough here.
        let text = include_str!("../../policies/koselfie.toml").replace("photos_min = 10", "photos_min = 1");
        services.policies = Policies::new([Policy::parse(&text).unwrap()]);
        let services = app.services.clone();
        Self { app, turnstile, fal, services, worker, person, provider }
    }

    async fn cast(&self, kind: Kind) -> Cast {
        let id = Uuid::new_v4;
        let ann = self.app.person("koselfie").await;
        let cast = Cast { ann, batch: id(), order: id(), photo: id(), model: id(), image: id(), call: id() };
        sqlx::query("select races.set($1, $2, $3, $4, $5, $6, $7, $8, $9)")
            .bind(cast.ann.id.uuid())
            .bind(cast.batch)
            .bind(cast.order)
            .bind(kind.name())
            .bind(cast.photo)
            .bind(cast.model)
            .bind(cast.image)
            .bind(cast.call)
            .bind(token_sha256(&cast.call.to_string()))
            .execute(&self.app.db)
            .await
            .unwrap();
        let folder = format!("koselfie/{}", cast.ann.id.uuid().simple());
        let (path, bytes) = match kind {
            Kind::TrainModel => (format!("{folder}/upload/{}", cast.photo.simple()), vec![1]),
            Kind::MeasureSelfies => (format!("{folder}/upload/{}", cast.photo.simple()), photos()[0].bytes.clone()),
            // Not a picture: "unreadable" is a verdict about a person's image all the same, and costs nothing.
            _ => (format!("{folder}/image/{}", cast.image.simple()), vec![1]),
        };
        self.app.sandbox.supabase.put("safelight", &path, "image/jpeg", bytes.into()).await.unwrap();
        cast
    }

    /// Play one scene against one act.
    pub async fn plays(&self, kind: Kind, act: Act, dice: &mut StdRng) -> Played {
        let cast = self.cast(kind).await;
        self.fal.begins(dice.gen_ratio(1, 5));
        let calls_back = dice.gen_ratio(4, 5);
        let over = CancellationToken::new();
        let work = self.works(kind, &cast).await;
        let actors: Vec<BoxFuture<'static, ()>> = vec![
            Box::pin({
                let over = over.clone();
                async move {
                    work.await;
                    over.cancel();
                }
            }),
            Box::pin(acts(self.person.clone(), act, cast.clone())),
            Box::pin(self.reports(kind, cast.clone(), calls_back, over)),
        ];
        let not_before = [0, dice.gen_range(0..50), dice.gen_range(0..50)];
        let turns = self.turnstile.play(dice, &self.app.db, &not_before, actors).await;
        let accepted = self.fal.accepted();
        self.collects_what_was_told(&cast).await;
        let mut wrong: Vec<String> = sqlx::query_scalar("select races.wrong($1)")
            .bind(cast.ann.id.uuid())
            .fetch_all(&self.app.db)
            .await
            .unwrap();
        wrong.extend(self.left_at_fal(&accepted, act, calls_back).await);
        if act == Act::Erase {
            wrong.extend(self.work_left(&cast).await);
        }
        let recorded: bool = sqlx::query_scalar(
            "select exists (select from races.said where subject_id = $1 and what <> 'erased' and what not like 'withdrawn%')",
        )
        .bind(cast.ann.id.uuid())
        .fetch_one(&self.app.db)
        .await
        .unwrap();
        sqlx::query("delete from safelight.jobs where subject_id = $1")
            .bind(cast.ann.id.uuid())
            .execute(&self.app.db)
            .await
            .unwrap();
        Played { wrong, recorded, turns }
    }

    /// One attempt of the scene's job.
    async fn works(&self, kind: Kind, cast: &Cast) -> BoxFuture<'static, ()> {
        let (order, image) = (Id::<Order>::from(cast.order), Id::<Artifact>::from(cast.image));
        let call = cast.call.into();
        let queue = match kind {
            Kind::TrainModel => self.wants(&TrainModel { order }).await,
            Kind::CollectModel => self.wants(&CollectModel { call }).await,
            Kind::GenerateBatch => self.wants(&GenerateBatch { order }).await,
            Kind::CollectImage => self.wants(&CollectImage { call }).await,
            Kind::CheckImage => self.wants(&CheckImage { image }).await,
            Kind::CompareFaces => self.wants(&CompareFaces { image }).await,
            Kind::MeasureSelfies => self.wants(&MeasureSelfies { order }).await,
            Kind::Forgetful => return Box::pin(forgets(self.worker.clone(), self.provider.clone(), cast.clone())),
        };
        let claimed = self.app.dequeues(queue).await;
        let (pool, services) = (self.worker.clone(), self.services.clone());
        Box::pin(async move {
            // An attempt that the turnstile kept from its database for too long is one more that ends without a word.
            let performed = safelight_worker::perform(&pool, &services, &claimed).await;
            assert!(performed.as_ref().err().is_none_or(db::is_outage), "{performed:?}");
        })
    }

    async fn wants<J: safelight_jobs::job::Job>(&self, job: &J) -> Queue {
        self.app.wants(job).await;
        J::QUEUE
    }

    /// Fal reports, twice; or never.
    fn reports(
        &self,
        kind: Kind,
        cast: Cast,
        calls_back: bool,
        over: CancellationToken,
    ) -> impl Future<Output = ()> + use<> {
        let (fal, pool, bell) = (self.fal.clone(), self.provider.clone(), self.app.bell());
        async move {
            let about = match kind {
                _ if !calls_back => return,
                Kind::CollectModel | Kind::CollectImage => {
                    Some(Accepted { token: cast.call.to_string(), request: cast.call.to_string() })
                }
                _ => tokio::select! {
                    accepted = fal.takes_one() => Some(accepted),
                    () = over.cancelled() => fal.accepted().into_iter().next(),
                },
            };
            let Some(about) = about else { return };
            let said = json!({ "request_id": about.request, "status": "OK", "payload": {} });
            let event: FalEvent = serde_json::from_value(said).expect("a report");
            for _ in 0..2 {
                // What is not taken comes again.
                while !is_taken(&pool, &bell, &about.token, &event).await {}
            }
        }
    }

    /// What Fal's reports have put into the queue runs now: behind its gates, too.
    async fn collects_what_was_told(&self, cast: &Cast) {
        for queue in [Queue::Training, Queue::Generation] {
            for job in queue::claim(&self.app.worker, queue, "afterwards", 8, 60.0).await.unwrap() {
                assert_eq!(job.subject, Some(cast.ann.id), "one play leaves no work to the next");
                safelight_worker::perform(&self.app.worker, &self.services, &job).await.unwrap();
            }
        }
    }

    /// Every request that Fal has accepted is known here, and is to be purged if the act asks for it.
    async fn left_at_fal(&self, accepted: &[Accepted], act: Act, called_back: bool) -> Vec<String> {
        let mut wrong = Vec::new();
        for accepted in accepted {
            let (purpose, request, purge): (String, Option<String>, String) = sqlx::query_as(
                "select purpose, request_id, purge from safelight.provider_calls where token_sha256 = $1",
            )
            .bind(token_sha256(&accepted.token))
            .fetch_one(&self.app.db)
            .await
            .expect("an intent before every request");
            if request.as_ref() != Some(&accepted.request) && (called_back || !self.fal.loses_answers()) {
                wrong.push(format!("the request to {purpose} is lost: {request:?}"));
            }
            if act.takes_back(&purpose) && purge == "none" {
                wrong.push(format!("the request to {purpose} stays at Fal"));
            }
        }
        wrong
    }

    /// Work of an erased person that waits in the queue.
    async fn work_left(&self, cast: &Cast) -> Vec<String> {
        sqlx::query_scalar(
            "select kind || ' is enqueued for an erased person' from safelight.jobs
            where subject_id = $1 and kind not in ('delete_data', 'purge_call')",
        )
        .bind(cast.ann.id.uuid())
        .fetch_all(&self.app.db)
        .await
        .unwrap()
    }
}
