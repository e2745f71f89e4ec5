//! Carrying out one step: delete, look, and say how it was seen.

use std::time::Duration;

use sqlx::PgConnection;
use uuid::Uuid;

use super::{DeletionRow, Object, Step, Targets, confirmation::confirm, orders, part, rows, second_look::second_look};
use crate::{
    calls::{self, Call},
    data_map::TakenBy,
    keys,
    providers::{
        auth::UserDeletion,
        ledger::{Act, LedgerEntry},
        storage::{Key, Prefix},
    },
    purge_call::purge,
    run::{Run, Tx},
    stop::Stop,
};

/// How a step ended.
pub(crate) struct Carried {
    /// `verified` or `retained_by_law`.
    pub(crate) state: &'static str,
    /// What went now.
    pub(crate) deleted: u64,
    /// How absence was seen, or by which law something stays.
    pub(crate) evidence: String,
    /// The transaction in which rows went, not committed yet: what is said of them is a part of it. Said afterwards, a crash in
    /// between would leave a step that finds nothing, and says of sold orders that nothing was sold.
    pub(crate) within: Option<Tx>,
}

impl Carried {
    pub(super) fn verified(deleted: u64, evidence: impl Into<String>) -> Self {
        Self { state: "verified", deleted, evidence: evidence.into(), within: None }
    }

    /// The same, of rows that went in this transaction.
    pub(super) fn counted(within: Tx, deleted: u64, evidence: impl Into<String>) -> Self {
        Self { within: Some(within), ..Self::verified(deleted, evidence) }
    }
}

/// Carry out one step. May be called again after any crash: what is gone stays gone and is counted as found gone.
pub(crate) async fn carry_out(run: &Run, deletion: &DeletionRow, step: &Step) -> Result<Carried, Stop> {
    let subject = deletion.subject.uuid();
    match &step.targets {
        Targets::Calls { ids, let_run } => calls_at_fal(run, ids, *let_run).await,
        Targets::Objects { objects } => stored_objects(run, deletion, step, objects).await,
        Targets::Ledger { photo } => ledger(run, deletion, *photo).await,
        Targets::Prefix => prefix(run, deletion).await,
        Targets::SecondLook { until } => second_look(run, deletion, *until).await,
        Targets::Nothing => rows::nothing(run, deletion).await,
        Targets::Embeddings => rows::embeddings(run, deletion).await,
        Targets::Verdicts => rows::scores(run, deletion).await,
        Targets::Labels => rows::labels(run, deletion).await,
        Targets::Notices => {
            let mut tx = run.begin().await?;
            let gone =
                sqlx::query!("delete from safelight.notices where subject_id = $1", subject).execute(&mut *tx).await?;
            rows::none_left(&mut tx, deletion, TakenBy::Notices).await?;
            Ok(Carried::counted(tx, gone.rows_affected(), "counted: no notice left"))
        }
        Targets::Orders { ids } => orders::all(run, deletion, ids).await,
        Targets::OrderVectors { order } => rows::vectors_of_an_order(run, *order).await,
        Targets::FailedOrder { order } => orders::failed(run, *order).await,
        Targets::AuthUser { user: None } => Ok(Carried::verified(0, "the account never had a sign-in user")),
        Targets::AuthUser { user: Some(user) } => {
            let first = run.services.auth.delete_user(*user).await?;
            // Success is a claim: asked again, the answer must be that there is nobody.
            match run.services.auth.delete_user(*user).await? {
                UserDeletion::AlreadyGone => {
                    Ok(Carried::verified(u64::from(first == UserDeletion::Deleted), "asked again: no such user"))
                }
                UserDeletion::Deleted => Err(Stop::retry(
                    "auth_user_kept",
                    anyhow::anyhow!("{}: the sign-in user was there again", deletion.id),
                )),
            }
        }
        Targets::Account => {
            let mut tx = run.begin().await?;
            let gone =
                sqlx::query!("delete from safelight.accounts where subject_id = $1", subject).execute(&mut *tx).await?;
            rows::none_left(&mut tx, deletion, TakenBy::Account).await?;
            Ok(Carried::counted(tx, gone.rows_affected(), "counted: no account row left"))
        }
        Targets::Jobs => jobs(run, deletion).await,
        Targets::Consents => rows::consents(run, deletion).await,
        Targets::Confirmation { to, began } => confirm(run, deletion, step, to.as_deref(), *began).await,
        Targets::Key => {
            let mut tx = run.begin().await?;
            let gone = sqlx::query!("delete from safelight.subject_keys where subject_id = $1", subject)
                .execute(&mut *tx)
                .await?;
            rows::none_left(&mut tx, deletion, TakenBy::Key).await?;
            Ok(Carried::counted(tx, gone.rows_affected(), "counted: no key left; what it sealed opens nowhere"))
        }
    }
}

/// Note outside the database that it was asked for, so that no restored backup brings back what went.
async fn ledger(run: &Run, deletion: &DeletionRow, photo: Option<Uuid>) -> Result<Carried, Stop> {
    let Some(ledger) = &run.services.ledger else {
        return Err(Stop::wait(
            Duration::from_secs(300),
            "no_ledger: the plan was made by a process with an erasure ledger; set SAFELIGHT_LEDGER_DIR or _BUCKET here, too",
        ));
    };
    let at: i64 = sqlx::query_scalar!(
        r#"select floor(extract(epoch from requested_at))::bigint as "at!" from safelight.deletions where id = $1"#,
        deletion.id.uuid()
    )
    .fetch_one(&mut *run.reads().await?)
    .await?;
    let act = match (photo, deletion.purpose.as_deref().map(str::parse)) {
        (Some(photo), _) => Act::Photo(photo.into()),
        (None, None) => Act::Erasure,
        (None, Some(Ok(purpose))) if deletion.trigger == "objection" => Act::Objection(purpose),
        (None, Some(Ok(purpose))) => Act::Withdrawal(purpose),
        (None, Some(Err(_))) => {
            return Err(Stop::give_up("unknown_purpose", format!("{} withdraws what is no purpose", deletion.id)));
        }
    };
    let entry = LedgerEntry { at, tenant: deletion.tenant.clone(), subject: deletion.subject, act };
    ledger.write(&entry).await.map_err(|error| Stop::retry("ledger_unreachable", error))?;
    Ok(Carried::verified(1, format!("noted outside the database: {}", ledger.places().join(", "))))
}

/// Each call for itself: one whose outcome nobody knows, or that Fal does not let go, keeps no other one running there.
async fn calls_at_fal(run: &Run, ids: &[Uuid], let_run: bool) -> Result<Carried, Stop> {
    let (mut files, mut earlier) = (0, 0);
    let mut open: Option<Stop> = None;
    for &id in ids {
        let purged = async {
            let mut tx = run.begin().await?;
            let call = calls::load(&mut tx, id.into()).await?;
            tx.commit().await?;
            Ok::<_, Stop>((call.purge == "purged", purge_unless_let_run(run, &call, let_run).await?))
        };
        match purged.await {
            Ok((before, went)) => {
                earlier += usize::from(before);
                files += went;
            }
            Err(stop @ Stop::Retry { code: "lease_lost", .. }) => return Err(stop),
            Err(stop) => open = Some(sooner(open, stop)),
        }
    }
    if let Some(stop) = open {
        return Err(stop);
    }
    Ok(Carried::verified(
        ids.len() as u64,
        format!(
            "Fal answered for {} requests: {earlier} purged when they were collected, {files} files named as deleted now",
            ids.len()
        ),
    ))
}

async fn purge_unless_let_run(run: &Run, call: &Call, let_run: bool) -> Result<usize, Stop> {
    if let_run && matches!(call.state.as_str(), "intended" | "unknown" | "submitted") {
        return Err(Stop::wait(
            Duration::from_secs(300),
            "fal_works: it was given a copy before, which goes with the end of that work",
        ));
    }
    purge(run, call).await
}

/// Of two reasons to come back the one that comes back sooner: a fault before a wait, a short wait before a long one.
pub(crate) fn sooner(one: Option<Stop>, other: Stop) -> Stop {
    match (one, other) {
        (Some(Stop::Wait { at_least, why }), Stop::Wait { at_least: longer, .. }) if at_least <= longer => {
            Stop::Wait { at_least, why }
        }
        (Some(fault @ (Stop::Retry { .. } | Stop::GiveUp { .. })), _) => fault,
        (_, other) => other,
    }
}

async fn stored_objects(run: &Run, deletion: &DeletionRow, step: &Step, objects: &[Object]) -> Result<Carried, Stop> {
    let keys: Vec<Key> = objects.iter().map(|object| keys::stored(&object.key)).collect::<Result<_, _>>()?;
    let failed =
        run.services.storage.delete_many(&keys).await.into_iter().filter(|(_, answer)| answer.is_err()).count();
    let mut present = Vec::new();
    for (object, key) in objects.iter().zip(&keys) {
        if !run.services.storage.absent(key).await? {
            present.push(object.id);
        }
    }
    // Rows of objects that are gone go; rows that name surviving objects stay.
    let gone: Vec<Uuid> = objects.iter().map(|object| object.id).filter(|id| !present.contains(id)).collect();
    let mut tx = run.begin().await?;
    let scores = part::drop_what_rests_on(&mut tx, deletion, &gone).await?;
    sqlx::query!("update safelight.provider_calls set artifact_id = null where artifact_id = any ($1)", &gone)
        .execute(&mut *tx)
        .await?;
    let rows = sqlx::query_scalar!("delete from safelight.artifacts where id = any ($1) returning id", &gone)
        .fetch_all(&mut *tx)
        .await?;
    // One line an object, in the commit that takes its row: a second run finds no row and writes no second line.
    let seq = step.seq;
    let targets: Vec<Option<Vec<u8>>> = objects
        .iter()
        .filter(|object| rows.contains(&object.id))
        .map(|object| object.commitment.as_ref().and_then(|text| hex::decode(text).ok()))
        .collect();
    run.note("deletion.object", "gone")
        .deletion(deletion.id)
        .data(&step.class, &step.processor)
        .count("step", seq)
        .write_each(&mut tx, &targets)
        .await?;
    if scores > 0 {
        run.note("deletion.scores", "gone").deletion(deletion.id).count("scores", scores).write(&mut tx).await?;
    }
    if step.class == "image" {
        part::drop_words(&mut tx, deletion).await?;
    }
    let gone_so_far: i64 = sqlx::query_scalar!(
        r#"select count(*) as "n!" from safelight.audit_entries
        where deletion_id = $1 and action = 'deletion.object' and counts -> 'step' = to_jsonb($2::integer)"#,
        deletion.id.uuid(),
        seq
    )
    .fetch_one(&mut *tx)
    .await?;
    tx.commit().await?;
    if !present.is_empty() {
        return Err(Stop::retry(
            "objects_left",
            anyhow::anyhow!(
                "{} of {} objects are still in the store ({failed} deletes were refused)",
                present.len(),
                objects.len()
            ),
        ));
    }
    Ok(Carried::verified(
        u64::try_from(gone_so_far).unwrap_or(0),
        match step.class.as_str() {
            "upload" => format!(
                "looked: the store has none of {} objects; their rows are gone, with the vectors and scores that rested on them",
                objects.len()
            ),
            _ => format!("looked: the store has none of {} objects; their rows are gone", objects.len()),
        },
    ))
}

/// Objects without a row, for example put there by an upload link that was used late.
async fn prefix(run: &Run, deletion: &DeletionRow) -> Result<Carried, Stop> {
    let strays = clear_prefix(run, deletion).await?;
    Ok(Carried::verified(strays as u64, "listed: nothing under the person's prefix"))
}

/// Delete whatever is listed under the person's prefix, list again, and say how many there were.
pub(super) async fn clear_prefix(run: &Run, deletion: &DeletionRow) -> Result<usize, Stop> {
    let prefix = Prefix::subject(&deletion.tenant, deletion.subject)?;
    let strays: Vec<Key> = run.services.storage.list(&prefix).await?.into_iter().map(|listed| listed.key).collect();
    run.services.storage.delete_many(&strays).await;
    let left = run.services.storage.list(&prefix).await?.len();
    if left > 0 {
        return Err(Stop::retry(
            "objects_left",
            anyhow::anyhow!("{left} objects are still listed under the prefix of {}", deletion.subject),
        ));
    }
    Ok(strays.len())
}

async fn jobs(run: &Run, deletion: &DeletionRow) -> Result<Carried, Stop> {
    let mut tx = run.begin().await?;
    let gone = delete_jobs(&mut tx, deletion.subject.uuid(), run.job().uuid()).await?;
    rows::none_left(&mut tx, deletion, TakenBy::Jobs).await?;
    Ok(Carried::counted(
        tx,
        gone,
        "counted: no job, dead letter, attempt or key of the person left but those that delete",
    ))
}

async fn delete_jobs(tx: &mut PgConnection, subject: Uuid, this: Uuid) -> Result<u64, sqlx::Error> {
    let mut gone = 0;
    gone += sqlx::query!("delete from safelight.jobs_archive where subject_id = $1", subject)
        .execute(&mut *tx)
        .await?
        .rows_affected();
    gone += sqlx::query!("delete from safelight.dead_letters where subject_id = $1", subject)
        .execute(&mut *tx)
        .await?
        .rows_affected();
    gone += sqlx::query!("delete from safelight.job_attempts where subject_id = $1 and job_id <> $2", subject, this)
        .execute(&mut *tx)
        .await?
        .rows_affected();
    gone += sqlx::query!(
        r"delete from safelight.job_keys where subject_id = $1 and (job_id <> $2 or key like '%:own/%')",
        subject,
        this
    )
    .execute(&mut *tx)
    .await?
    .rows_affected();
    Ok(gone)
}
