//! The domain of Safelight: what a job is, the queue, the gates, the deletion engine, the provider clients, and one file a
//! job. Knows neither axum nor apalis.
//!
//! Six words. *Subject*: a person, by random id. *Artifact*: one stored thing about a person. *Grant*: one consent event.
//! *Gate*: the check that hands a proof to the code that needs it. *Intent*: a provider call, written down before it is
//! made. *Deletion*: a plan of steps, each seen to be done.
//!
//! Read first: [`job`], then [`train_model`], then [`queue`].

pub mod act_on_jobs;
pub mod audit;
pub mod book_money;
pub mod bulk;
mod bundle;
pub mod calls;
pub mod check_image;
mod client_errors;
pub mod close_checkout;
mod collect;
pub mod collect_image;
pub mod collect_model;
pub mod compare_faces;
pub mod confirm_payment;
pub mod correct_sign_in;
pub mod data_map;
pub mod db;
pub mod delete_data;
mod deletion;
pub mod deliver_order;
mod delivery;
pub mod due;
pub mod expire_consents;
pub mod export_data;
pub mod gate;
pub mod generate_batch;
pub mod held;
pub mod id;
pub mod images;
pub mod intake;
pub mod job;
pub mod keys;
pub mod late_orders;
mod links;
pub mod look;
pub mod measure_selfies;
mod money;
pub mod operate;
pub mod orders;
pub mod payload;
pub mod place;
pub mod policy;
pub mod policy_rows;
pub mod providers;
pub mod prune_history;
pub mod purge_call;
pub mod queue;
pub mod reconcile_calls;
pub mod reconcile_money;
pub mod refund_payment;
pub mod register;
pub mod resolve_call;
pub mod restore;
pub mod run;
pub mod schedule;
pub mod sealer;
pub mod send_notice;
pub mod services;
mod standstill;
pub mod stays;
pub mod stop;
pub mod sweep;
pub mod sweep_deletions;
pub mod sweep_fiscal;
pub mod sweep_orphans;
pub mod sweep_retention;
pub mod sweeps;
pub mod tell_policies;
pub mod timeline;
pub mod traces;
pub mod train_model;
pub mod vault;
pub mod webhooks;

/// The one list of all jobs. A job that is not in it does not exist.
#[macro_export]
macro_rules! for_each_job {
    ($use:path) => {
        $use! {
            confirm_payment::ConfirmPayment,
            close_checkout::CloseCheckout,
            book_money::BookMoney,
            refund_payment::RefundPayment,
            train_model::TrainModel,
            collect_model::CollectModel,
            generate_batch::GenerateBatch,
            collect_image::CollectImage,
            check_image::CheckImage,
            measure_selfies::MeasureSelfies,
            compare_faces::CompareFaces,
            deliver_order::DeliverOrder,
            send_notice::SendNotice,
            correct_sign_in::CorrectSignIn,
            export_data::ExportData,
            sweep_retention::SweepRetention,
            sweep_deletions::SweepDeletions,
            sweep_orphans::SweepOrphans,
            sweep_fiscal::SweepFiscal,
            reconcile_calls::ReconcileCalls,
            reconcile_money::ReconcileMoney,
            expire_consents::ExpireConsents,
            prune_history::PruneHistory,
            act_on_jobs::ActOnJobs,
            tell_policies::TellPolicies,
            purge_call::PurgeCall,
            resolve_call::ResolveCall,
            delete_data::DeleteData,
        }
    };
}

pub mod registry {
    //! From a stored name to a typed job: made from the one list.

    use std::{pin::Pin, sync::Arc, time::Duration};

    use sqlx::PgPool;

    use crate::{
        job::{Effect, Job, Queue, Retry, Undecodable},
        policy::Processor,
        queue::{Bell, Claimed, Wish},
        run::Run,
        services::Services,
        stop::{Done, Stop},
    };

    /// What the engine knows of a job by its name: its declarations in [`Job`].
    #[derive(Debug, Clone, Copy)]
    pub struct Known {
        /// Stored name.
        pub name: &'static str,
        /// Its queue.
        pub queue: Queue,
        /// Backoff.
        pub retry: Retry,
        /// What a second attempt may do.
        pub effect: Effect,
        /// Version of the payload.
        pub version: i16,
        /// Whom its attempts ask.
        pub provider: Option<Processor>,
        /// How long one attempt may take.
        pub timeout: Duration,
        /// How long the whole job is tried.
        pub deadline: Option<Duration>,
        /// How many of one lane run at once.
        pub lane_most: Option<i16>,
        /// How long it stays in the archive.
        pub keep_days: i16,
    }

    impl Known {
        /// How many attempts it may spend; without end for one that is tried until verified.
        pub const fn max_attempts(&self) -> i32 {
            match self.effect {
                Effect::UntilVerified => i32::MAX,
                Effect::Reconcile | Effect::Repeatable => self.retry.attempts,
            }
        }
    }

    /// Why a foreign payload was not taken as a job.
    #[derive(Debug, thiserror::Error)]
    pub enum BadWish {
        /// No job of this name.
        #[error("no job is named `{0}`; GET /v1/jobs/kinds lists the names")]
        UnknownKind(String),
        /// The payload does not fit.
        #[error("the payload of `{kind}` does not fit: {source}")]
        Payload {
            /// The name.
            kind: &'static str,
            /// What does not fit.
            source: serde_json::Error,
        },
    }

    type Performing<'a> = Pin<Box<dyn Future<Output = Result<Result<Done, Stop>, Undecodable>> + Send + 'a>>;

    /// On the heap from its first moment: the frame that chooses among all jobs would hold each of their futures.
    fn started<J: Job>(claimed: &Claimed, pool: PgPool, bell: Bell, services: Arc<Services>) -> Performing<'_> {
        Box::pin(async move {
            let job: J = serde_json::from_value(claimed.payload.clone()).map_err(|source| Undecodable::Payload {
                job: claimed.lease.job.uuid(),
                kind: J::NAME,
                source,
            })?;
            let run = Run::new(J::NAME, claimed, pool, bell, services);
            Ok(tokio::select! {
                biased;
                ended = Box::pin(perform_one(job, &run)) => ended,
                stop = run.silent() => Err(stop),
            })
        })
    }

    async fn perform_one<J: Job>(job: J, run: &Run) -> Result<Done, Stop> {
        let ended = match job.gate(run).await {
            Ok(pass) => job.run(pass, run).await,
            Err(stop) => Err(stop),
        };
        match ended {
            // The order was stopped, by a refund for example, and says so itself: its work is over, not dead.
            Err(Stop::GiveUp { code: "order_stopped", .. }) => {
                let mut tx = run.begin().await?;
                run.note("job.over", "order_stopped").write(&mut tx).await?;
                run.finish(tx).await
            }
            ended => ended,
        }
    }

    macro_rules! registry {
        ($($module:ident::$job:ident,)*) => {
            /// All jobs.
            pub const ALL: &[Known] = &[$(Known {
                name: <crate::$module::$job as Job>::NAME,
                queue: <crate::$module::$job as Job>::QUEUE,
                retry: <crate::$module::$job as Job>::RETRY,
                effect: <crate::$module::$job as Job>::EFFECT,
                version: <crate::$module::$job as Job>::VERSION,
                provider: <crate::$module::$job as Job>::PROVIDER,
                timeout: <crate::$module::$job as Job>::TIMEOUT,
                deadline: <crate::$module::$job as Job>::DEADLINE,
                lane_most: <crate::$module::$job as Job>::LANE_MOST,
                keep_days: <crate::$module::$job as Job>::KEEP_DAYS,
            }),*];

            /// Decode a claimed job, ask its gate, and run it.
            pub async fn perform(
                claimed: &Claimed,
                pool: PgPool,
                bell: Bell,
                services: Arc<Services>,
            ) -> Result<Result<Done, Stop>, Undecodable> {
                match claimed.kind.as_str() {
                    $(<crate::$module::$job as Job>::NAME => {
                        started::<crate::$module::$job>(claimed, pool, bell, services).await
                    })*
                    _ => Err(Undecodable::UnknownKind { job: claimed.lease.job.uuid(), kind: claimed.kind.clone() }),
                }
            }

            /// Read a foreign payload as a typed job.
            pub fn wish(kind: &str, payload: serde_json::Value) -> Result<Wish, BadWish> {
                match kind {
                    $(<crate::$module::$job as Job>::NAME => {
                        let kind = <crate::$module::$job as Job>::NAME;
                        let bad = |source| BadWish::Payload { kind, source };
                        let job: crate::$module::$job = serde_json::from_value(payload).map_err(bad)?;
                        Wish::of(&job).map_err(bad)
                    })*
                    other => Err(BadWish::UnknownKind(other.to_owned())),
                }
            }
        };
    }
    for_each_job!(registry);

    /// A kind by its stored name.
    pub fn known(kind: &str) -> Option<&'static Known> {
        ALL.iter().find(|known| known.name == kind)
    }

    /// The stored backoff of a job by name; a moderate one for a name that this version does not know.
    pub fn retry_of(kind: &str) -> Retry {
        known(kind)
            .map_or(Retry { attempts: 5, first: Duration::from_secs(10), most: Duration::from_secs(600) }, |known| {
                known.retry
            })
    }
}
