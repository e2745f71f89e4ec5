//! Keys that a caller gives its wishes beside the kinds' own: the same key again is the same job, whatever became of it, and the
//! same key with another payload is a conflict. A kind's own key goes on to hold: what is one wish by its payload stays one job.
//!
//! Never: lets a wish through whose key is known. All own keys of a request are taken before the kinds' keys, each in the order of
//! the keys, so that two requests that share some never wait for each other in a circle.

use std::collections::HashSet;

use sqlx::PgConnection;
use uuid::Uuid;

use super::{EnqueueError, Enqueued, KEY_LIFETIME_HOURS, Wish};

/// A caller's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnKey {
    /// Whose: a tenant, or none for the house. Two holders' keys never meet.
    pub holder: Option<String>,
    /// The caller's word.
    pub key: String,
}

impl OwnKey {
    /// As it is stored, beside the kinds' own keys. None of those holds a stroke.
    fn stored(&self, kind: &str) -> String {
        format!("{kind}:own/{}/{}", self.holder.as_deref().unwrap_or_default(), self.key)
    }
}

/// What was found under the own keys of some wishes.
pub(super) struct Taken {
    keys: Vec<Option<String>>,
    ours: HashSet<Uuid>,
}

impl Taken {
    /// May this wish, which would be the job of this id, go on to the kind's key?
    pub(super) fn may(&self, item: usize, id: Uuid) -> bool {
        self.keys.get(item).is_none_or(|key| key.is_none() || self.ours.contains(&id))
    }

    fn any(&self) -> bool {
        self.keys.iter().any(Option::is_some)
    }
}

/// Take the own keys that nobody has, for wishes that would be the jobs of these ids.
pub(super) async fn take(
    tx: &mut PgConnection,
    wishes: &[Wish],
    ids: &[Uuid],
    (subjects, orders): (&[Option<Uuid>], &[Option<Uuid>]),
) -> Result<Taken, sqlx::Error> {
    let keys: Vec<Option<String>> =
        wishes.iter().map(|wish| wish.own_key.as_ref().map(|own| own.stored(wish.kind))).collect();
    let mut taken = Taken { keys, ours: HashSet::new() };
    if !taken.any() {
        return Ok(taken);
    }
    let payloads: Vec<serde_json::Value> = wishes.iter().map(|wish| wish.payload.clone()).collect();
    let run_at: Vec<_> = wishes.iter().map(|wish| wish.run_at).collect();
    let known: Vec<String> = taken.keys.iter().flatten().cloned().collect();
    sqlx::query!("delete from safelight.job_keys where key = any ($1) and expires_at <= safelight.now()", &known)
        .execute(&mut *tx)
        .await?;
    let ours = sqlx::query_scalar!(
        r#"insert into safelight.job_keys (key, job_id, payload_sha256, subject_id, expires_at)
        select key, first.id, sha256(convert_to(payload::text, 'UTF8')), coalesce(o.subject_id, subject),
            greatest(at, safelight.now()) + make_interval(hours => $7)
        from (select distinct on (key) key, id, payload, subject, ord, at
            from unnest($1::text[], $2::uuid[], $3::jsonb[], $4::uuid[], $5::uuid[], $6::timestamptz[]) with ordinality
                as w(key, id, payload, subject, ord, at, n)
            where key is not null order by key, n) first
        left join safelight.orders o on o.id = first.ord
        order by key
        on conflict (key) do nothing returning job_id"#,
        &taken.keys as &[Option<String>],
        ids,
        &payloads,
        subjects as &[Option<Uuid>],
        orders as &[Option<Uuid>],
        &run_at as &[Option<chrono::DateTime<chrono::Utc>>],
        KEY_LIFETIME_HOURS
    )
    .fetch_all(tx)
    .await?;
    taken.ours = ours.into_iter().collect();
    Ok(taken)
}

/// Say what became of each wish: where its own key was known, the job of that key; `answers` has the others' at their place. A key
/// that was taken for a wish whose job was there already leads to that job from now on; one whose wish was not stored is free.
pub(super) async fn settle(
    tx: &mut PgConnection,
    wishes: &[Wish],
    ids: &[Uuid],
    taken: &Taken,
    answers: Vec<Option<Result<Enqueued, EnqueueError>>>,
) -> Result<Vec<Result<Enqueued, EnqueueError>>, EnqueueError> {
    if taken.any() {
        let (mut elsewhere, mut found, mut nowhere) = (vec![], vec![], vec![]);
        for ((key, id), answer) in taken.keys.iter().zip(ids).zip(&answers) {
            let (Some(key), Some(answer)) = (key, answer) else { continue };
            match answer {
                Ok(enqueued) if enqueued.id.uuid() != *id => {
                    elsewhere.push(key.clone());
                    found.push(enqueued.id.uuid());
                }
                Ok(_) => {}
                Err(_) => nowhere.push(key.clone()),
            }
        }
        sqlx::query!(
            r#"update safelight.job_keys k set job_id = w.job from unnest($1::text[], $2::uuid[]) as w(key, job) where k.key = w.key"#,
            &elsewhere,
            &found
        )
        .execute(&mut *tx)
        .await?;
        sqlx::query!("delete from safelight.job_keys where key = any ($1)", &nowhere).execute(&mut *tx).await?;
    }
    let mut settled = Vec::with_capacity(wishes.len());
    for (item, (wish, answer)) in wishes.iter().zip(answers).enumerate() {
        settled.push(match (answer, taken.keys.get(item).and_then(Option::as_ref)) {
            (Some(answer), _) => answer,
            (None, key) => earlier(tx, wish, key).await?,
        });
    }
    Ok(settled)
}

/// The job of a known key. A statement of its own: it sees what another transaction committed while this one waited for it.
async fn earlier(
    tx: &mut PgConnection,
    wish: &Wish,
    key: Option<&String>,
) -> Result<Result<Enqueued, EnqueueError>, EnqueueError> {
    let job = sqlx::query_scalar!(
        "select job_id from safelight.job_keys where key = $1 and payload_sha256 = sha256(convert_to($2::jsonb::text, 'UTF8'))",
        key,
        wish.payload
    )
    .fetch_optional(tx)
    .await?;
    let own = || wish.own_key.as_ref().map_or_else(|| wish.key.clone(), |own| own.key.clone());
    Ok(match job {
        Some(id) => Ok(Enqueued { id: id.into(), already: true, queue: wish.queue }),
        None => Err(EnqueueError::Conflict { key: own() }),
    })
}
