//! What the chaos test writes down beside the queue, in the same transactions: every wish that a producer got an answer to,
//! every cancellation, and, by triggers as witnesses, every lease that was given or ended, every lease that was asked for in a
//! transaction, and every effect. No part of Safelight reads or writes these tables.

use std::time::Duration;

use rand::{Rng, SeedableRng, rngs::StdRng};
use safelight_jobs::{db, expire_consents::ExpireConsents, queue, sweep_retention::SweepRetention};
use sqlx::{PgConnection, PgPool};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::app::App;

/// The tenant whose jobs are many, and the one whose are few.
pub const LOUD: &str = "koselfie";
pub const QUIET: &str = "haloprofile";
const FLOOD: i32 = 500;
const PRODUCERS: u64 = 3;

/// The tables and their witnesses.
pub async fn lay(db: &PgPool) {
    sqlx::raw_sql(
        "create schema chaos;
        create table chaos.wishes (
            seq bigint generated always as identity, key text not null, because text not null, job_id uuid, already boolean not null,
            conflict boolean not null, expects_conflict boolean not null default false, tenant text,
            later boolean not null default false);
        create index on chaos.wishes (job_id);
        create table chaos.cancels (job_id uuid primary key);
        create table chaos.leases (
            seq bigint generated always as identity, job_id uuid not null, was uuid, now uuid, gone boolean not null, worker text,
            xid xid8 not null default pg_current_xact_id(), at timestamptz not null default clock_timestamp());
        create index on chaos.leases (job_id, seq);
        create table chaos.effects (
            asked_by text not null, xid xid8 not null default pg_current_xact_id(), at timestamptz not null default clock_timestamp());
        create table chaos.proofs (
            job_id uuid not null, token uuid not null, xid xid8 not null default pg_current_xact_id());
        create index on chaos.proofs (xid);
        alter function safelight.holds_lease(uuid, uuid) rename to holds_lease_itself;
        create function safelight.holds_lease(p_job uuid, p_token uuid) returns boolean language plpgsql volatile security definer as $$
        begin
            insert into chaos.proofs (job_id, token) values (p_job, p_token);
            return safelight.holds_lease_itself(p_job, p_token);
        end $$;
        grant execute on function safelight.holds_lease(uuid, uuid) to safelight_worker;
        create function chaos.sees_lease() returns trigger language plpgsql security definer as $$
        begin
            if tg_op = 'DELETE' then
                insert into chaos.leases (job_id, was, now, gone, worker) values (old.id, old.lease_token, null, true, old.worker);
            else
                insert into chaos.leases (job_id, was, now, gone, worker)
                    values (old.id, old.lease_token, new.lease_token, false, coalesce(new.worker, old.worker));
            end if;
            return null;
        end $$;
        create trigger z_witness_changes after update on safelight.jobs for each row
            when (old.lease_token is distinct from new.lease_token) execute function chaos.sees_lease();
        create trigger z_witness_ends after delete on safelight.jobs for each row execute function chaos.sees_lease();
        create function chaos.sees_effect() returns trigger language plpgsql security definer as $$
        begin
            insert into chaos.effects (asked_by) values (new.asked_by);
            return null;
        end $$;
        create trigger z_witness_effects after insert on safelight.sweeps for each row execute function chaos.sees_effect();",
    )
    .execute(db)
    .await
    .expect("the ledger");
}

/// Many jobs of one tenant, in one transaction, before anybody of the other tenant wishes anything.
pub async fn flood(db: &PgPool) {
    sqlx::query(
        "insert into chaos.wishes (key, because, job_id, already, conflict, tenant)
        select 'sweep_retention:chaos flood ' || n, 'chaos flood ' || n, (e).job_id, (e).already, (e).conflict, $2
        from (select n, safelight.enqueue(p_kind => 'sweep_retention', p_payload => jsonb_build_object('because', 'chaos flood ' || n),
            p_queue => 'sweeps', p_key => 'sweep_retention:chaos flood ' || n, p_tenant => $2) as e
            from generate_series(1, $1) n offset 0) x",
    )
    .bind(FLOOD)
    .bind(LOUD)
    .execute(db)
    .await
    .expect("a flood");
}

/// Running producers.
pub struct Producers {
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Producers {
    pub async fn stop(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("a producer that panicked");
        }
    }
}

/// Start them. Each has its own dice.
pub fn produce(app: &App, seed: u64) -> Producers {
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    for number in 0..PRODUCERS {
        let (db, stop) = (app.db.clone(), stop.clone());
        let mut dice = StdRng::seed_from_u64(seed ^ (0x5eed << number));
        tasks.spawn(async move {
            for count in 0_u32.. {
                if stop.is_cancelled() {
                    return;
                }
                let wish = Wish::throw(&mut dice, number, count);
                // The ledger's line and the job are one commit: when the answer is lost, asking again is the same wish.
                while wish.make(&db).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                tokio::time::sleep(Duration::from_millis(dice.gen_range(5..80))).await;
            }
        });
    }
    Producers { stop, tasks }
}

#[derive(Debug)]
enum How {
    Typed,
    Sql,
    /// To run some seconds later.
    Later(f64),
    /// The same key with another payload.
    Conflict,
    /// The caller thinks better of it.
    RolledBack,
}

struct Wish {
    kind: &'static str,
    because: String,
    tenant: Option<&'static str>,
    how: How,
}

impl Wish {
    /// One of the many wishes that there are. Numbers repeat, over producers too: then it is the same wish.
    fn throw(dice: &mut StdRng, producer: u64, count: u32) -> Self {
        let kind = if dice.gen_bool(0.6) { "expire_consents" } else { "sweep_retention" };
        let number = if dice.gen_bool(0.2) { dice.gen_range(0..=count) } else { count };
        let because =
            format!("chaos {number}{}", if dice.gen_bool(0.5) { String::new() } else { format!(" of {producer}") });
        let how = match dice.gen_range(0..20) {
            0..8 => How::Typed,
            8..16 => How::Sql,
            16 => How::Conflict,
            17 => How::RolledBack,
            _ => How::Later(dice.gen_range(0.2..6.0)),
        };
        match how {
            // These keys are cancelled by nobody, so that they stay taken; each producer has its own.
            How::Conflict => Self { kind, because: format!("kept {} of {producer}", count / 8), tenant: None, how },
            How::RolledBack => {
                Self { kind, because: format!("{because} taken back {producer} {count}"), tenant: None, how }
            }
            How::Typed | How::Sql | How::Later(_) => {
                let tenant = [None, Some(LOUD), Some(QUIET)][dice.gen_range(0..3_usize)];
                Self { kind, because, tenant, how }
            }
        }
    }

    fn key(&self) -> String {
        format!("{}:{}", self.kind, self.because)
    }

    async fn make(&self, db: &PgPool) -> Result<(), queue::EnqueueError> {
        let mut tx = db::begin(db).await?;
        match self.how {
            How::Typed => {
                let (id, already) = self.typed(&mut tx).await?;
                self.note(&mut tx, Some(id), already, false).await?;
            }
            How::Sql | How::Later(_) => self.by_sql(&mut tx, &self.because).await?,
            How::Conflict => {
                self.by_sql(&mut tx, &self.because).await?;
                self.by_sql(&mut tx, "something else").await?;
            }
            How::RolledBack => {
                self.typed(&mut tx).await?;
                return Ok(tx.rollback().await?);
            }
        }
        Ok(tx.commit().await?)
    }

    async fn typed(&self, tx: &mut PgConnection) -> Result<(Uuid, bool), queue::EnqueueError> {
        let because = self.because.clone();
        let enqueued = match self.kind {
            "expire_consents" => queue::enqueue(tx, &ExpireConsents { because }).await?,
            _ => queue::enqueue(tx, &SweepRetention { because }).await?,
        };
        Ok((enqueued.id.uuid(), enqueued.already))
    }

    async fn by_sql(&self, tx: &mut PgConnection, payload: &str) -> Result<(), sqlx::Error> {
        let later = if let How::Later(seconds) = self.how { Some(seconds) } else { None };
        let (job, already, conflict): (Option<Uuid>, bool, bool) = sqlx::query_as(
            "select job_id, already, conflict from safelight.enqueue(p_kind => $1, p_payload => jsonb_build_object('because', $2::text),
                p_queue => 'sweeps', p_key => $3, p_tenant => $4, p_run_at => safelight.now() + $5 * interval '1 second')",
        )
        .bind(self.kind)
        .bind(payload)
        .bind(self.key())
        .bind(self.tenant)
        .bind(later)
        .fetch_one(&mut *tx)
        .await?;
        self.note(tx, job, already, conflict).await?;
        if payload != self.because {
            sqlx::query("update chaos.wishes set expects_conflict = true where seq = (select max(seq) from chaos.wishes where key = $1)")
                .bind(self.key())
                .execute(tx)
                .await?;
        }
        Ok(())
    }

    async fn note(
        &self,
        tx: &mut PgConnection,
        job: Option<Uuid>,
        already: bool,
        conflict: bool,
    ) -> Result<(), sqlx::Error> {
        // Typed jobs of the house have no tenant.
        let tenant = if matches!(self.how, How::Typed) { None } else { self.tenant };
        sqlx::query("insert into chaos.wishes (key, because, job_id, already, conflict, tenant, later) values ($1, $2, $3, $4, $5, $6, $7)")
            .bind(self.key())
            .bind(&self.because)
            .bind(job)
            .bind(already)
            .bind(conflict)
            .bind(tenant)
            .bind(matches!(self.how, How::Later(_)))
            .execute(tx)
            .await?;
        Ok(())
    }
}
