//! Steps that take rows: what goes, what is counted afterwards, and what of it rests on a consent that was given anew.
//!
//! Never: believes that nothing is left because a statement deleted nothing. Each step counts behind it, in its own transaction.

use sqlx::PgConnection;

use super::{DeletionRow, carry_out::Carried};
use crate::{
    data_map::{DataMap, TakenBy},
    run::Run,
    stop::Stop,
};

/// By the data map, nothing of the person is left that this step of an erasure takes.
pub(super) async fn none_left(tx: &mut PgConnection, deletion: &DeletionRow, taken_by: TakenBy) -> Result<(), Stop> {
    let map = DataMap::bundled().map_err(|error| Stop::retry("data_map", error))?;
    match map.left(tx, deletion.subject).await?.into_iter().find(|found| found.taken_by == taken_by) {
        None => Ok(()),
        Some(found) => Err(left(found.rows, &found.table)),
    }
}

fn left(rows: i64, what: &str) -> Stop {
    Stop::retry("rows_left", anyhow::anyhow!("{rows} rows of {what} are still there"))
}

fn none(rows: i64, what: &str) -> Result<(), Stop> {
    if rows == 0 { Ok(()) } else { Err(left(rows, what)) }
}

/// Another deletion has taken on what this one was about: then it is not there any more.
pub(super) async fn nothing(run: &Run, deletion: &DeletionRow) -> Result<Carried, Stop> {
    let there: i64 = sqlx::query_scalar!(
        r#"select count(*) as "n!" from safelight.artifacts where deletion_id = $1"#,
        deletion.id.uuid()
    )
    .fetch_one(&mut *run.reads().await?)
    .await?;
    none(there, "safelight.artifacts")?;
    Ok(Carried::verified(0, "counted: nothing that this deletion has taken on is there"))
}

/// Vectors. A withdrawal takes those that rest on a grant from before it: who has agreed again keeps the new ones.
pub(super) async fn embeddings(run: &Run, deletion: &DeletionRow) -> Result<Carried, Stop> {
    let (subject, all) = (deletion.subject.uuid(), deletion.trigger == "erasure");
    let mut tx = run.begin().await?;
    let gone = sqlx::query!(
        "delete from safelight.embeddings e where e.subject_id = $1 and ($2 or safelight.rests_on_withdrawn(e.subject_id, e.grants))",
        subject,
        all
    )
    .execute(&mut *tx)
    .await?;
    let there: i64 = sqlx::query_scalar!(
        r#"select count(*) as "n!" from safelight.embeddings e
        where e.subject_id = $1 and ($2 or safelight.rests_on_withdrawn(e.subject_id, e.grants))"#,
        subject,
        all
    )
    .fetch_one(&mut *tx)
    .await?;
    none(there, "safelight.embeddings")?;
    let evidence =
        if all { "counted: no vector left" } else { "counted: no vector left that rests on a withdrawn consent" };
    Ok(Carried::counted(tx, gone.rows_affected(), evidence))
}

/// Scores. After a withdrawal one stays where its order has vectors that rest on a new consent.
pub(super) async fn scores(run: &Run, deletion: &DeletionRow) -> Result<Carried, Stop> {
    let (subject, all) = (deletion.subject.uuid(), deletion.trigger == "erasure");
    let mut tx = run.begin().await?;
    let gone = sqlx::query!(
        r#"delete from safelight.similarities s using safelight.artifacts a where a.id = s.image_id and a.subject_id = $1
            and ($2 or not exists (select from safelight.embeddings e
                where e.order_id = s.order_id and not safelight.rests_on_withdrawn(e.subject_id, e.grants)))"#,
        subject,
        all
    )
    .execute(&mut *tx)
    .await?;
    let there: i64 = sqlx::query_scalar!(
        r#"select count(*) as "n!" from safelight.similarities s join safelight.artifacts a on a.id = s.image_id
        where a.subject_id = $1 and ($2 or not exists (select from safelight.embeddings e
            where e.order_id = s.order_id and not safelight.rests_on_withdrawn(e.subject_id, e.grants)))"#,
        subject,
        all
    )
    .fetch_one(&mut *tx)
    .await?;
    none(there, "safelight.similarities")?;
    Ok(Carried::counted(tx, gone.rows_affected(), "counted: scores went here or with their images"))
}

/// Labels of images that were made before this deletion was asked for.
pub(super) async fn labels(run: &Run, deletion: &DeletionRow) -> Result<Carried, Stop> {
    let mut tx = run.begin().await?;
    let gone = sqlx::query!(
        r#"delete from safelight.image_checks c using safelight.artifacts a, safelight.deletions d
        where a.id = c.image_id and d.id = $1 and a.subject_id = d.subject_id and c.created_at <= d.requested_at"#,
        deletion.id.uuid()
    )
    .execute(&mut *tx)
    .await?;
    let there: i64 = sqlx::query_scalar!(
        r#"select count(*) as "n!" from safelight.image_checks c join safelight.artifacts a on a.id = c.image_id
            join safelight.deletions d on d.id = $1 and d.subject_id = a.subject_id
        where c.created_at <= d.requested_at"#,
        deletion.id.uuid()
    )
    .fetch_one(&mut *tx)
    .await?;
    none(there, "safelight.image_checks")?;
    Ok(Carried::counted(tx, gone.rows_affected(), "counted: no label left"))
}

/// The vectors that were measured for one order.
pub(super) async fn vectors_of_an_order(run: &Run, order: uuid::Uuid) -> Result<Carried, Stop> {
    let mut tx = run.begin().await?;
    let gone = sqlx::query!("delete from safelight.embeddings where order_id = $1", order).execute(&mut *tx).await?;
    let there: i64 =
        sqlx::query_scalar!(r#"select count(*) as "n!" from safelight.embeddings where order_id = $1"#, order)
            .fetch_one(&mut *tx)
            .await?;
    none(there, "safelight.embeddings")?;
    Ok(Carried::counted(tx, gone.rows_affected(), "counted: no vector left that was measured for the order"))
}

/// Events of consent stay as proof, for as long as the tenant's policy says; then the fiscal sweep takes them.
pub(super) async fn consents(run: &Run, deletion: &DeletionRow) -> Result<Carried, Stop> {
    let kept: i64 = sqlx::query_scalar!(
        r#"select count(*) as "n!" from safelight.consents where subject_id = $1"#,
        deletion.subject.uuid()
    )
    .fetch_one(&mut *run.reads().await?)
    .await?;
    if kept == 0 {
        return Ok(Carried::verified(0, "counted: there never was a consent event"));
    }
    let until = match run.services.policies.of(&deletion.tenant)?.proof_years() {
        Some(years) => format!(" until {years} years after the erasure"),
        None => String::new(),
    };
    Ok(Carried {
        state: "retained_by_law",
        ..Carried::verified(
            0,
            format!(
                "{kept} consent events stay as proof (GDPR Art. 7(1)){until}, tied to a random id that names nobody"
            ),
        )
    })
}
