//! Compare the store and its rows, both ways: objects that no row knows go, rows without an object are shown.
//!
//! Life: enqueued by cron, by the HTTP sweep endpoint or by the CLI -> tenant by tenant, page by page in the store's order, from
//! where the last run ended -> an object without a row is deleted and looked for again -> a row without an object is noted -> what is
//! left is counted. A run looks at so many objects of each tenant; behind the last key the next round begins at the first one.
//! Input: none.  Output: deleted objects, rows in `missing_objects`. Overlapping runs are harmless: deleting twice is deleting.
//! A row is written before its object, so an object without one is nobody's promise: it came by an upload link that was used
//! late, or its row went in a deletion that a lie of the store survived. Of a person who is gone it goes at once, else after a
//! grace that is longer than any upload. A store that cannot be asked leaves the residue unknown, which is not zero.
//! Source: erasure-notes 6, N10.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    job::Retry,
    providers::storage::{Key, Listed, Prefix, StorageError},
    run::{Run, Tx},
    stop::Stop,
    sweep::{Sweep, Swept},
};

/// Objects of one page: as many as the store lists at once.
const PAGE: usize = 1000;
/// Objects of one tenant that one run looks at: what comes back from a store in a good part of [`Sweep::TIMEOUT`].
const MOST: u32 = 500_000;
/// The grace of an object of somebody who is there. No upload link lives that long.
const GRACE: chrono::Duration = chrono::Duration::hours(24);

/// One comparison.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SweepOrphans {
    /// Which tick of the schedule, or who asks.
    pub because: String,
    /// How many objects of each tenant; half a million if none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most: Option<u32>,
}

impl Sweep for SweepOrphans {
    const NAME: &'static str = "sweep_orphans";
    const KIND: &'static str = "orphans";
    const RETRY: Retry = Retry { attempts: 5, first: Duration::from_secs(60), most: Duration::from_secs(1800) };
    const TIMEOUT: Duration = Duration::from_secs(3600);

    fn because(&self) -> &str {
        &self.because
    }

    async fn sweep(&self, run: &Run) -> Result<(Tx, Swept), Stop> {
        let start = sqlx::query!(
            r#"select safelight.now() as "now!", array(select id from safelight.tenants order by id) as "tenants!""#
        )
        .fetch_one(&mut *run.reads().await?)
        .await?;
        let (mut tally, mut left) = (Tally::default(), Some(0));
        let most = usize::try_from(self.most.unwrap_or(MOST).max(1)).unwrap_or(PAGE);
        for tenant in &start.tenants {
            match compare(run, tenant, start.now, most, &mut tally).await {
                Ok(of_tenant) => left = left.zip(of_tenant).map(|(all, one)| all + one),
                Err(Trouble::Store(error)) => {
                    tracing::warn!(%error, tenant, "the store could not be compared; nothing is known of the rest of it");
                    tally.unchecked += 1;
                }
                Err(Trouble::Stop(stop)) => return Err(stop),
            }
        }
        let mut tx = run.begin().await?;
        let swept = Swept {
            found: tally.strays + tally.missing,
            acted: tally.deleted,
            residue: left.filter(|_| tally.unchecked == 0),
            began: Some(start.now),
        };
        if swept.found > 0 || tally.unchecked > 0 {
            let outcome = match (tally.unchecked, tally.in_part) {
                (0, 0) => "looked",
                (0, _) => "looked_in_part",
                _ => "could_not_check",
            };
            run.note("sweep.orphans", outcome)
                .count("strays", tally.strays)
                .count("of_erased", tally.of_erased)
                .count("deleted", tally.deleted)
                .count("missing", tally.missing)
                .count("unchecked", tally.unchecked)
                .count("in_part", tally.in_part)
                .write(&mut tx)
                .await?;
        }
        Ok((tx, swept))
    }
}

#[derive(Default)]
struct Tally {
    /// Objects without a row, past their grace.
    strays: i64,
    /// Of them, those of somebody who is gone: an incident.
    of_erased: i64,
    /// Gone, and looked for.
    deleted: i64,
    /// Rows without an object.
    missing: i64,
    /// Tenants whose folder could not be read to its end.
    unchecked: i64,
    /// Tenants of whose folder more is left than one run looks at.
    in_part: i64,
}

impl Tally {
    /// What stays: objects that did not go, and rows without one.
    fn left(&self) -> i64 {
        self.strays - self.deleted + self.missing
    }
}

enum Trouble {
    Store(StorageError),
    Stop(Stop),
}

impl From<StorageError> for Trouble {
    fn from(error: StorageError) -> Self {
        Self::Store(error)
    }
}
impl From<sqlx::Error> for Trouble {
    fn from(error: sqlx::Error) -> Self {
        Self::Stop(error.into())
    }
}
impl From<Stop> for Trouble {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

/// One tenant's folder, from where the last run ended. Answers what the last whole round left; none: none was whole yet.
async fn compare(
    run: &Run,
    tenant: &str,
    now: DateTime<Utc>,
    most: usize,
    tally: &mut Tally,
) -> Result<Option<i64>, Trouble> {
    let prefix = Prefix::tenant(tenant)?;
    let mut after = begins(run, tenant, now).await?;
    let mut looks = most;
    loop {
        let at_once = looks.min(PAGE);
        let page = run.services.storage.list_after(&prefix, after.as_ref(), at_once).await?;
        let last = (page.len() == at_once).then(|| page.last().map(|listed| listed.key.clone())).flatten();
        let before = tally.left();
        objects_without_rows(run, now, &page, tally).await?;
        let from = after.as_ref().map_or_else(|| format!("{tenant}/"), ToString::to_string);
        // Behind the last key of the folder: `0` follows `/`.
        let to = last.as_ref().map_or_else(|| format!("{tenant}0"), ToString::to_string);
        rows_without_objects(run, &from, &to, &page, tally).await?;
        let whole = ends_page(run, tenant, last.as_ref(), tally.left() - before).await?;
        looks -= page.len();
        match last {
            None => return Ok(whole),
            Some(_) if looks == 0 => {
                tally.in_part += 1;
                return Ok(whole);
            }
            last => after = last,
        }
    }
}

/// Behind which key this run begins; none: a round begins with it.
async fn begins(run: &Run, tenant: &str, now: DateTime<Utc>) -> Result<Option<Key>, Stop> {
    let mut tx = run.begin().await?;
    let after = sqlx::query_scalar!(
        r#"insert into safelight.orphan_rounds as r (tenant, began_at) values ($1, $2)
        on conflict (tenant) do update set began_at = case when r.after_key is null then $2 else r.began_at end,
            left_over = case when r.after_key is null then 0 else r.left_over end
        returning after_key"#,
        tenant,
        now
    )
    .fetch_one(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(after.as_deref().and_then(Key::listed))
}

/// A page is looked at: whoever comes next, also after a crash, begins behind it. With the last page the round is over, and what
/// was missing before it and was not seen missing in it is there again. Answers what the last whole round left.
async fn ends_page(run: &Run, tenant: &str, last: Option<&Key>, left: i64) -> Result<Option<i64>, Stop> {
    let mut tx = run.begin().await?;
    let round = sqlx::query!(
        r#"update safelight.orphan_rounds set after_key = $2, left_over = left_over + $3,
            last_left = case when $2::text is null then left_over + $3 else last_left end
        where tenant = $1 returning began_at, last_left"#,
        tenant,
        last.map(Key::as_str),
        left
    )
    .fetch_one(&mut *tx)
    .await?;
    if last.is_none() {
        sqlx::query!(
            "delete from safelight.missing_objects where tenant = $1 and last_seen_at < $2",
            tenant,
            round.began_at
        )
        .execute(&mut *tx)
        .await?;
    }
    tx.commit().await?;
    Ok(round.last_left)
}

async fn objects_without_rows(
    run: &Run,
    now: DateTime<Utc>,
    page: &[Listed],
    tally: &mut Tally,
) -> Result<(), Trouble> {
    let keys: Vec<String> = page.iter().map(|listed| listed.key.to_string()).collect();
    // The rows are asked after the listing: what has been deleted in between is deleted once more.
    let unknown = sqlx::query!(
        r#"select k.place as "place!", coalesce(s.state in ('erasing', 'erased'), true) as "gone!"
        from unnest($1::text[]) with ordinality k(key, place)
        left join safelight.subjects s on s.id = case when split_part(k.key, '/', 2) ~ '^[0-9a-f]{32}$' then split_part(k.key, '/', 2)::uuid end
        where not exists (select from safelight.artifacts a where a.storage_key = k.key)"#,
        &keys
    )
    .fetch_all(&mut *run.reads().await?)
    .await?;
    let mut strays = Vec::new();
    for row in unknown {
        let Some(listed) = usize::try_from(row.place - 1).ok().and_then(|place| page.get(place)) else { continue };
        if row.gone || now - listed.modified >= GRACE {
            strays.push(listed.key.clone());
            tally.of_erased += i64::from(row.gone);
        }
    }
    run.services.storage.delete_many(&strays).await;
    for key in &strays {
        tally.strays += 1;
        tally.deleted += i64::from(run.services.storage.absent(key).await?);
    }
    Ok(())
}

async fn rows_without_objects(
    run: &Run,
    from: &str,
    to: &str,
    page: &[Listed],
    tally: &mut Tally,
) -> Result<(), Trouble> {
    let keys: Vec<String> = page.iter().map(|listed| listed.key.to_string()).collect();
    let suspects = sqlx::query!(
        r#"select id, storage_key from safelight.artifacts
        where storage_key collate "C" > $1 and storage_key collate "C" <= $2 and state <> 'expected' and deletion_id is null
            and not storage_key = any ($3)"#,
        from,
        to,
        &keys
    )
    .fetch_all(&mut *run.reads().await?)
    .await?;
    let mut missing: Vec<Uuid> = Vec::new();
    for row in suspects {
        // Stored since the listing, or not there: the listing alone does not say.
        if run.services.storage.absent(&crate::keys::stored(&row.storage_key)?).await? {
            missing.push(row.id);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let mut tx = run.begin().await?;
    let noted = sqlx::query!(
        r#"insert into safelight.missing_objects (artifact_id, tenant)
        select id, tenant from safelight.artifacts where id = any ($1) and deletion_id is null
        on conflict (artifact_id) do update set last_seen_at = safelight.now()"#,
        &missing
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    tally.missing += i64::try_from(noted.rows_affected()).unwrap_or(i64::MAX);
    Ok(())
}
