//! Holding the database against the erasure ledger outside it, both ways: what the ledger has and the database does not know, and
//! what the database has noted there and the ledger does not have.
//!
//! Never writes.

use std::collections::{HashMap, HashSet};

use sqlx::PgPool;
use uuid::Uuid;

use super::RestoreError;
use crate::providers::ledger::{Act, Ledger, LedgerEntry};

/// Entries that one statement compares.
const AT_ONCE: usize = 2000;

/// How database and ledger compare.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compared {
    /// What happened and the database does not know of.
    pub missing: Vec<LedgerEntry>,
    /// What the database has noted in the ledger and the ledger does not have. Entries that are older than its oldest one may
    /// be taken out of it, with the backups that they were for; the newest that the database knows stays.
    pub lost: usize,
    /// Entries about persons whom the database does not have: they came after the backup. The sweep of the store takes what
    /// lies under their folder.
    pub strangers: usize,
    /// Entries in all.
    pub entries: usize,
}

impl Compared {
    /// The database knows what the ledger knows, and the ledger has what the database has noted there.
    #[must_use]
    pub fn agree(&self) -> bool {
        self.missing.is_empty() && self.lost == 0
    }
}

/// Compare, both ways.
///
/// # Errors
/// [`RestoreError`]: then nothing is known.
pub async fn compare(pool: &PgPool, ledger: &Ledger) -> Result<Compared, RestoreError> {
    let entries = ledger.entries().await?;
    let mut compared = Compared { entries: entries.len(), lost: lost(pool, &entries).await?, ..Compared::default() };
    for entries in entries.chunks(AT_ONCE) {
        let known = known(pool, entries).await?;
        for (entry, known) in entries.iter().zip(known) {
            match known {
                Some(true) => {}
                Some(false) => compared.missing.push(entry.clone()),
                None => compared.strangers += 1,
            }
        }
    }
    // A restriction that was over before the database was lost is not set again, and of one person an erasure comes last, also
    // where all of it happened within the same second.
    let mut released: HashMap<Uuid, i64> = HashMap::new();
    for entry in entries.iter().filter(|entry| entry.act == Act::Release) {
        released.insert(entry.subject.uuid(), entry.at);
    }
    let over = |entry: &LedgerEntry| released.get(&entry.subject.uuid()).is_some_and(|at| *at >= entry.at);
    compared.missing.retain(|entry| !(matches!(entry.act, Act::Restriction(_)) && over(entry)));
    compared.missing.sort_by_key(|entry| entry.act == Act::Erasure);
    Ok(compared)
}

/// For each of them whether the database knows of it; none: it does not know the person.
async fn known(pool: &PgPool, entries: &[LedgerEntry]) -> Result<Vec<Option<bool>>, sqlx::Error> {
    let subjects: Vec<Uuid> = entries.iter().map(|entry| entry.subject.uuid()).collect();
    let times: Vec<i64> = entries.iter().map(|entry| entry.at).collect();
    let (mut acts, mut purposes, mut photos) = (Vec::new(), Vec::new(), Vec::new());
    for entry in entries {
        let (act, purpose, photo) = match entry.act {
            Act::Erasure => ("erasure", None, None),
            Act::Withdrawal(purpose) => ("withdrawal", Some(purpose), None),
            Act::Objection(purpose) => ("objection", Some(purpose), None),
            Act::Photo(photo) => ("photo", None, Some(photo.uuid())),
            Act::Restriction(_) => ("restriction", None, None),
            Act::Release => ("release", None, None),
        };
        acts.push(act.to_owned());
        purposes.push(purpose.map(|purpose| purpose.as_str().to_owned()));
        photos.push(photo);
    }
    // A withdrawal is asked of its deletion, whose instant is the one that the ledger has; the event beside it was written some
    // statements earlier, which may be a second earlier. Where no consent was ever given there is nothing to withdraw.
    let rows = sqlx::query!(
        r#"select s.id as "subject?", s.state in ('erasing', 'erased')
            or w.act = 'withdrawal' and (
                exists (select from safelight.deletions d where d.subject_id = s.id and d.trigger = 'withdrawal' and d.purpose = w.purpose
                    and floor(extract(epoch from d.requested_at)) >= w.at)
                or not exists (select from safelight.consents c where c.subject_id = s.id and c.purpose = w.purpose and c.event = 'granted'))
            or w.act = 'objection' and exists (select from safelight.objections o
                where o.subject_id = s.id and o.purpose = w.purpose and o.state = 'upheld')
            or w.act = 'photo' and not exists (select from safelight.artifacts a where a.id = w.photo and a.deletion_id is null)
            or w.act = 'restriction' and exists (select from safelight.restrictions r
                where r.subject_id = s.id and floor(extract(epoch from r.set_at)) >= w.at)
            or w.act = 'release' and not exists (select from safelight.restrictions r
                where r.subject_id = s.id and r.lifted_at is null and floor(extract(epoch from r.set_at)) <= w.at) as known
        from unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::uuid[]) with ordinality w (subject, at, act, purpose, photo, n)
        left join safelight.subjects s on s.id = w.subject order by w.n"#,
        &subjects,
        &times,
        &acts,
        &purposes as &[Option<String>],
        &photos as &[Option<Uuid>]
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|row| row.subject.map(|_| row.known.unwrap_or(false))).collect())
}

/// How many entries the database has noted in the ledger that are not there.
async fn lost(pool: &PgPool, entries: &[LedgerEntry]) -> Result<usize, sqlx::Error> {
    let noted = sqlx::query!(
        r#"select floor(extract(epoch from d.requested_at))::bigint as "at!", d.tenant, d.subject_id, d.trigger, d.purpose
        from safelight.deletions d, safelight.restore_gate g
        where d.trigger in ('erasure', 'withdrawal', 'objection', 'one_photo') and (g.noted_from is null or d.requested_at >= g.noted_from)
            and exists (select from safelight.deletion_steps s
                where s.deletion_id = d.id and s.class = 'backup' and s.processor = 'self' and s.state = 'verified')
        order by d.requested_at"#
    )
    .fetch_all(pool)
    .await?;
    let there: HashSet<(i64, Uuid, &str, Option<&str>)> = entries
        .iter()
        .map(|entry| {
            let (trigger, purpose) = match &entry.act {
                Act::Erasure => ("erasure", None),
                Act::Withdrawal(purpose) => ("withdrawal", Some(purpose.as_str())),
                Act::Objection(purpose) => ("objection", Some(purpose.as_str())),
                // Which photo it was, the database has forgotten with it.
                Act::Photo(_) => ("one_photo", None),
                // No deletion's.
                Act::Restriction(_) => ("restriction", None),
                Act::Release => ("release", None),
            };
            (entry.at, entry.subject.uuid(), trigger, purpose)
        })
        .collect();
    let oldest = entries.first().map_or(i64::MIN, |entry| entry.at);
    let newest = noted.len();
    let lacks = noted.iter().zip(1..).filter(|(row, place)| {
        (row.at >= oldest || *place == newest)
            && !there.contains(&(row.at, row.subject_id, row.trigger.as_str(), row.purpose.as_deref()))
    });
    Ok(lacks.count())
}
