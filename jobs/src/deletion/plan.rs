//! The plan: computed once, persisted whole before the first delete.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{DeletionRow, Object, Targets, confirmation, part};
use crate::{
    data_map::{DataMap, Found},
    id::Id,
    intake::UPLOAD_LINK_LIFE,
    services::Services,
    stop::Stop,
    vault::{Vault, VaultError},
};

/// A worker or a browser that began to write before the fence may take this long, in minutes: the longest that one request
/// to the store may take, and some.
const LONGEST_WRITE_MINUTES: i32 = 15;

/// Which objects a plan takes.
enum Which<'a> {
    /// Everything of the person.
    All,
    /// What a sweep marked for this deletion.
    Marked,
    /// What this purpose makes and the withdrawal ended: not what is made on a consent that was given anew since.
    MadeFor(&'a str),
}

/// Which calls a plan takes.
enum Calls<'a> {
    /// Everything of the person.
    All,
    /// Of this order.
    Of(Option<Uuid>),
    /// Of this purpose, marked when it was closed: not one that was made on a consent that was given anew since.
    MarkedFor(&'a str),
}

/// Write the steps of a deletion, in the order in which they are carried out.
pub(crate) async fn plan(tx: &mut PgConnection, deletion: &DeletionRow, services: &Services) -> Result<usize, Stop> {
    let vault = &services.vault;
    let mut steps: Vec<(&str, &str, Targets, usize)> = Vec::new();
    // First, so that a backup which is restored soon afterwards does not bring back what was asked to go.
    if services.ledger.is_some() {
        match deletion.trigger.as_str() {
            "erasure" | "withdrawal" | "objection" => {
                steps.push(("backup", "self", Targets::Ledger { photo: None }, 1))
            }
            "one_photo" => {
                if let Some(photo) = part::photo(tx, deletion).await? {
                    steps.push(("backup", "self", Targets::Ledger { photo: Some(photo) }, 1));
                }
            }
            _ => {}
        }
    }
    match (deletion.trigger.as_str(), deletion.purpose.as_deref()) {
        ("erasure", _) => {
            // Asked before anything goes: afterwards nobody knows when the last link was made.
            let until = last_write(tx, deletion).await?;
            calls(tx, deletion, &Calls::All, &mut steps).await?;
            objects(tx, deletion, vault, Which::All, &mut steps).await?;
            steps.push(("upload", "supabase", Targets::Prefix, 0));
            steps.push(("embedding", "self", Targets::Embeddings, count_embeddings(tx, deletion).await?));
            steps.push(("verdict", "self", Targets::Verdicts, 0));
            steps.push(("notice", "self", Targets::Notices, 0));
            let orders: Vec<Uuid> =
                sqlx::query_scalar!("select id from safelight.orders where subject_id = $1", deletion.subject.uuid())
                    .fetch_all(&mut *tx)
                    .await?;
            let count = orders.len();
            steps.push(("order", "self", Targets::Orders { ids: orders }, count));
            let user = sqlx::query_scalar!(
                "select auth_user from safelight.accounts where subject_id = $1",
                deletion.subject.uuid()
            )
            .fetch_optional(&mut *tx)
            .await?
            .flatten();
            steps.push(("account", "supabase", Targets::AuthUser { user }, usize::from(user.is_some())));
            steps.push(("account", "self", Targets::Account, 1));
            steps.push(("job", "self", Targets::Jobs, 0));
            steps.push(("consent", "self", Targets::Consents, 0));
            if let Some(to) = confirmation::address(tx, deletion).await? {
                steps.push(("account", "resend", Targets::Confirmation { to: Some(to), began: None }, 1));
            }
            steps.push(("account", "self", Targets::Key, 1));
            steps.push(("upload", "supabase", Targets::SecondLook { until }, 0));
            whole(tx, deletion, &steps).await?;
        }
        ("withdrawal", Some("compare")) => {
            steps.push(("embedding", "self", Targets::Embeddings, count_embeddings(tx, deletion).await?));
            steps.push(("verdict", "self", Targets::Verdicts, 0));
        }
        ("withdrawal", Some(purpose)) => {
            calls(tx, deletion, &Calls::MarkedFor(purpose), &mut steps).await?;
            let until = objects(tx, deletion, vault, Which::MadeFor(purpose), &mut steps).await?;
            labels(purpose, &mut steps);
            late_writers(tx, until, &mut steps).await?;
        }
        ("objection", Some(purpose)) => {
            calls(tx, deletion, &Calls::MarkedFor(purpose), &mut steps).await?;
            labels(purpose, &mut steps);
        }
        ("one_photo", _) => {
            part::calls_of_a_photo(tx, deletion, &mut steps).await?;
            let until = objects(tx, deletion, vault, Which::Marked, &mut steps).await?;
            late_writers(tx, until, &mut steps).await?;
        }
        ("failed_order", _) => {
            let order = deletion.order.map(Id::uuid);
            calls(tx, deletion, &Calls::Of(order), &mut steps).await?;
            let until = objects(tx, deletion, vault, Which::Marked, &mut steps).await?;
            if let Some(order) = order {
                part::rows_of_an_order(tx, order, &mut steps).await?;
            }
            late_writers(tx, until, &mut steps).await?;
        }
        // A term is longer than any link lives: nobody writes any more.
        _ => {
            objects(tx, deletion, vault, Which::Marked, &mut steps).await?;
        }
    }
    if steps.is_empty() {
        // Another deletion, an erasure most likely, has taken everything on meanwhile.
        steps.push(("upload", "self", Targets::Nothing, 0));
    }
    let count = steps.len();
    for (seq, (class, processor, targets, planned)) in (1_i32..).zip(steps) {
        sqlx::query!(
            r#"insert into safelight.deletion_steps (deletion_id, seq, class, processor, targets, planned)
            values ($1, $2, $3, $4, $5, $6)"#,
            deletion.id.uuid(),
            seq,
            class,
            processor,
            serde_json::to_value(&targets).map_err(|error| Stop::retry("plan_unwritable", error))?,
            i32::try_from(planned).unwrap_or(i32::MAX)
        )
        .execute(&mut *tx)
        .await?;
    }
    Ok(count)
}

/// The data map knows every table that may hold something of the person: what is there has a step that takes it.
async fn whole(tx: &mut PgConnection, deletion: &DeletionRow, steps: &Steps<'_>) -> Result<(), Stop> {
    let map = DataMap::bundled().map_err(|error| Stop::retry("data_map", error))?;
    let holds = map.holds(tx, deletion.subject).await?;
    match untaken(&holds, steps) {
        None => Ok(()),
        Some(found) => Err(Stop::retry(
            "plan_incomplete",
            anyhow::anyhow!(
                "{}: {} rows of {}, and no step `{}` in the plan takes them",
                deletion.id,
                found.rows,
                found.table,
                found.taken_by.as_str()
            ),
        )),
    }
}

fn untaken<'f>(holds: &'f [Found], steps: &Steps<'_>) -> Option<&'f Found> {
    holds.iter().find(|found| !steps.iter().any(|(_, _, targets, _)| targets.taken_by() == Some(found.taken_by)))
}

/// Until when something may be written that began before the fence: by an upload link, by a request under way.
async fn last_write(tx: &mut PgConnection, deletion: &DeletionRow) -> Result<DateTime<Utc>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select greatest(d.requested_at, (select max(created_at) from safelight.artifacts where subject_id = d.subject_id and class = 'upload')
            + make_interval(secs => $2)) + make_interval(mins => $3) as "until!"
        from safelight.deletions d where d.id = $1"#,
        deletion.id.uuid(),
        UPLOAD_LINK_LIFE.as_secs_f64(),
        LONGEST_WRITE_MINUTES
    )
    .fetch_one(tx)
    .await
}

pub(super) type Steps<'a> = Vec<(&'a str, &'a str, Targets, usize)>;

async fn calls(
    tx: &mut PgConnection,
    deletion: &DeletionRow,
    which: &Calls<'_>,
    steps: &mut Steps<'_>,
) -> Result<(), sqlx::Error> {
    let (order, purpose) = match which {
        Calls::All => (None, None),
        Calls::Of(order) => (*order, None),
        Calls::MarkedFor(purpose) => (None, Some(*purpose)),
    };
    // A call that a person declared not made, and that was made all the same, has a request id and lies at Fal as any other.
    let ids = sqlx::query_scalar!(
        r#"select id from safelight.provider_calls where subject_id = $1 and (state <> 'refused' or request_id is not null)
            and ($2::text is null or purpose = $2 and (cancel_wanted or purge <> 'none')) and ($3::uuid is null or order_id = $3)
        order by id"#,
        deletion.subject.uuid(),
        purpose,
        order
    )
    .fetch_all(&mut *tx)
    .await?;
    let count = ids.len();
    steps.push(("processor_copy", "fal", Targets::Calls { ids, let_run: false }, count));
    Ok(())
}

/// What labelling said of images.
fn labels(purpose: &str, steps: &mut Steps<'_>) {
    if purpose == "nsfw" {
        steps.push(("verdict", "self", Targets::Labels, 0));
    }
}

/// One step a class: uploads first, since nothing may be made from them any more. Answers until when one may be written late.
async fn objects(
    tx: &mut PgConnection,
    deletion: &DeletionRow,
    vault: &Vault,
    which: Which<'_>,
    steps: &mut Steps<'_>,
) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    let (all, purpose) = match which {
        Which::All => (true, None),
        Which::Marked => (false, None),
        Which::MadeFor(purpose) => (false, Some(purpose)),
    };
    // What another deletion has taken on stays that one's, too: it is not complete before it has looked itself.
    let rows = sqlx::query!(
        r#"update safelight.artifacts a set deletion_id = coalesce(a.deletion_id, $2)
        where a.subject_id = $1
            and ($3 or a.class = any (safelight.made_for($4)) and a.delete_after <= safelight.now() or a.deletion_id = $2)
        returning a.id, a.class, a.storage_key, case
            when a.class = 'upload' then a.created_at + make_interval(secs => $5, mins => $6)
            when a.state = 'expected' then safelight.now() + make_interval(mins => $6) end as written_until"#,
        deletion.subject.uuid(),
        deletion.id.uuid(),
        all,
        purpose,
        UPLOAD_LINK_LIFE.as_secs_f64(),
        LONGEST_WRITE_MINUTES
    )
    .fetch_all(&mut *tx)
    .await?;
    // A key that is gone or does not open must not keep anything from being deleted: then the log names no targets.
    let key = match vault.key(tx, deletion.subject).await {
        Ok(key) => Some(key),
        Err(VaultError::Database(error)) => return Err(error),
        Err(_) => None,
    };
    for class in ["upload", "bundle", "model", "image", "export"] {
        let objects: Vec<Object> = rows
            .iter()
            .filter(|row| row.class == class)
            .map(|row| Object {
                id: row.id,
                key: row.storage_key.clone(),
                commitment: key.as_ref().map(|key| hex::encode(key.commit(&row.storage_key))),
            })
            .collect();
        let count = objects.len();
        if count > 0 {
            steps.push((class, "supabase", Targets::Objects { objects }, count));
        }
    }
    Ok(rows.iter().filter_map(|row| row.written_until).max())
}

/// Of a part: somebody may write after it was looked, by the upload link of a young photo or in the middle of a request to the store.
/// Then it is looked once more when nobody can.
async fn late_writers(
    tx: &mut PgConnection,
    until: Option<DateTime<Utc>>,
    steps: &mut Steps<'_>,
) -> Result<(), sqlx::Error> {
    let Some(until) = until else { return Ok(()) };
    let later = sqlx::query_scalar!(r#"select $1 > safelight.now() as "later!""#, until).fetch_one(tx).await?;
    if later {
        steps.push(("upload", "supabase", Targets::SecondLook { until }, 0));
    }
    Ok(())
}

async fn count_embeddings(tx: &mut PgConnection, deletion: &DeletionRow) -> Result<usize, sqlx::Error> {
    let count: i64 = sqlx::query_scalar!(
        r#"select count(*) as "n!" from safelight.embeddings where subject_id = $1"#,
        deletion.subject.uuid()
    )
    .fetch_one(tx)
    .await?;
    Ok(usize::try_from(count).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data_map::TakenBy;

    #[test]
    fn a_plan_without_a_step_for_something_that_is_there_is_not_whole() {
        let found = |taken_by| Found { table: "safelight.t".to_owned(), taken_by, rows: 1 };
        let steps: Steps<'_> = vec![("account", "self", Targets::Account, 1), ("account", "self", Targets::Key, 1)];
        assert_eq!(untaken(&[found(TakenBy::Account), found(TakenBy::Key)], &steps), None);
        let notice = found(TakenBy::Notices);
        assert_eq!(untaken(&[found(TakenBy::Account), notice.clone()], &steps), Some(&notice));
    }
}
