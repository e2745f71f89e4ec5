//! One batch of entries into the log: one transaction.

use safelight_evidence::{Checkpoint, Hash, Signer, Tree, Verifier, tiles::Node};
use sqlx::{PgConnection, PgPool, types::Json};

use super::{
    SealError, Sealer,
    row::{Row, row},
};
use crate::db;

/// When to sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// When the interval is over and the log has grown.
    AtInterval,
    /// When the log has grown.
    Now,
}

/// What one transaction did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Sealed {
    /// Entries that were sealed.
    pub entries: u64,
    /// There is more to seal now.
    pub more: bool,
    /// A checkpoint was signed.
    pub signed: bool,
}

/// The log's head, locked.
struct Head {
    size: i64,
    peaks: Vec<u8>,
    /// None: everything that has no leaf is new.
    done: Option<String>,
    target: String,
    /// An earlier batch began this target.
    going_on: bool,
    /// The last entry of `target` that is sealed.
    after_xid: String,
    after_seq: i64,
    signed_size: i64,
    due: bool,
}

impl Head {
    fn tree(&self) -> Result<Tree, SealError> {
        let peaks = self.peaks.chunks(32).map(Hash::try_from).collect::<Result<_, _>>().map_err(|_| SealError::Head)?;
        Tree::from_peaks(u64::try_from(self.size).unwrap_or(0), peaks).ok_or(SealError::Head)
    }
}

/// Take up to `most` committed entries into the log, and sign when it is time.
///
/// # Errors
/// [`SealError`]; then nothing was written.
pub async fn seal(pool: &PgPool, sealer: &Sealer, most: u32, sign: Sign) -> Result<Sealed, SealError> {
    let mut tx = db::begin(pool).await?;
    // What is given up is rolled back before it is said: a lock that goes later would keep the next pass from its work.
    let Some(head) = take_head(&mut tx, sealer, sign).await? else {
        tx.rollback().await?;
        return Ok(Sealed::default()); // another process is at it
    };
    let rows = new_entries(&mut tx, &head, most).await?;
    let more = rows.len() as u64 >= u64::from(most);
    let to_sign = head.due && head.size > head.signed_size;
    if rows.is_empty() && head.done.is_some() && !to_sign && !head.going_on {
        tx.rollback().await?;
        return Ok(Sealed::default());
    }
    let mut tree = head.tree()?;
    let entries = append(&mut tx, &mut tree, rows, &head, more).await?;
    let signed = head.due && tree.size() > u64::try_from(head.signed_size).unwrap_or(0) && !more;
    if signed {
        swear(&mut tx, sealer, &tree).await?;
    }
    tx.commit().await?;
    // Behind a target that an earlier batch began there may be what was committed since.
    Ok(Sealed { entries, more: more || head.going_on, signed })
}

async fn take_head(tx: &mut PgConnection, sealer: &Sealer, sign: Sign) -> Result<Option<Head>, SealError> {
    let Some(row) = sqlx::query!(
        r#"select home, done::text as done, target::text as target, after_xid::text as "after_xid!", after_seq, size, peaks, signed_size,
            ($2 or signed_at is null or signed_at + make_interval(secs => $1) <= clock_timestamp()) as "due!",
            (select system_identifier from pg_control_system())
                || '/' || (select oid from pg_database where datname = current_database()) as "here!"
        from safelight.audit_log for update skip locked"#,
        sealer.interval.as_secs_f64(),
        sign == Sign::Now,
    )
    .fetch_optional(&mut *tx)
    .await?
    else {
        return Ok(None);
    };
    let at_home = row.home.as_deref() == Some(row.here.as_str());
    if !at_home {
        // Another cluster or database: its transactions have other numbers. Everything without a leaf is new, once.
        sqlx::query!("update safelight.audit_log set home = $1, done = null, target = null", row.here)
            .execute(&mut *tx)
            .await?;
    }
    let going_on = at_home.then_some(row.target).flatten();
    let fresh = going_on.is_none();
    // A statement of its own, behind the lock: what it shows as committed is there for every later statement.
    let target = match going_on {
        Some(target) => target,
        None => sqlx::query_scalar!(r#"select pg_current_snapshot()::text as "target!""#).fetch_one(&mut *tx).await?,
    };
    Ok(Some(Head {
        size: row.size,
        peaks: row.peaks,
        done: at_home.then_some(row.done).flatten(),
        target,
        going_on: !fresh,
        after_xid: if fresh { "0".to_owned() } else { row.after_xid },
        after_seq: if fresh { 0 } else { row.after_seq },
        signed_size: row.signed_size,
        due: row.due,
    }))
}

/// What is visible in `target` and was not in `done`, in the order of its transactions.
async fn new_entries(tx: &mut PgConnection, head: &Head, most: u32) -> Result<Vec<(String, Row)>, SealError> {
    let Some(done) = &head.done else { return entries_without_leaf(tx, most).await };
    let rows = sqlx::query!(
        r#"with late as (
            select e.* from safelight.audit_entries e
            where e.xid = any (array(select pg_snapshot_xip($1::text::pg_snapshot)))
                and (e.xid, e.seq) > ($3::text::xid8, $4)
                and pg_visible_in_snapshot(e.xid, $2::text::pg_snapshot)
                and not exists (select from safelight.audit_leaves l where l.entry = e.seq)
            order by e.xid, e.seq limit $5
        ), fresh as (
            select e.* from safelight.audit_entries e
            where e.xid >= pg_snapshot_xmax($1::text::pg_snapshot) and e.xid < pg_snapshot_xmax($2::text::pg_snapshot)
                and (e.xid, e.seq) > ($3::text::xid8, $4)
                and pg_visible_in_snapshot(e.xid, $2::text::pg_snapshot)
                and not exists (select from safelight.audit_leaves l where l.entry = e.seq)
            order by e.xid, e.seq limit $5
        )
        select xid::text as "xid!", seq as "row!", at as "at!", tenant, actor as "actor!", action as "action!", job_kind, job_id, order_id,
            alias, purpose, grants as "grants!", outcome as "outcome!", counts as "counts!: Json<serde_json::Value>", codes as "codes!: Json<serde_json::Value>",
            policy_version, commitment, class, processor, deletion_id
        from (select * from late union all select * from fresh) new order by xid, seq limit $5"#,
        done,
        head.target,
        head.after_xid,
        head.after_seq,
        i64::from(most)
    )
    .fetch_all(tx)
    .await?;
    Ok(rows
        .into_iter()
        .map(|r| {
            let row = row!(r, row);
            (r.xid, row)
        })
        .collect())
}

/// The first time, and after a restore into another database.
async fn entries_without_leaf(tx: &mut PgConnection, most: u32) -> Result<Vec<(String, Row)>, SealError> {
    let rows = sqlx::query_as!(
        Row,
        r#"select seq as row, at, tenant, actor, action, job_kind, job_id, order_id, alias, purpose, grants, outcome,
            counts as "counts: Json<serde_json::Value>", codes as "codes: Json<serde_json::Value>", policy_version, commitment, class, processor, deletion_id
        from safelight.audit_entries e
        where not exists (select from safelight.audit_leaves l where l.entry = e.seq) order by seq limit $1"#,
        i64::from(most)
    )
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(|row| ("0".to_owned(), row)).collect())
}

/// Leaves, kept hashes, begun certificates and the head.
async fn append(
    tx: &mut PgConnection,
    tree: &mut Tree,
    rows: Vec<(String, Row)>,
    head: &Head,
    more: bool,
) -> Result<u64, SealError> {
    let count = rows.len() as u64;
    let (mut seqs, mut entries, mut leaves) = (Vec::new(), Vec::new(), Vec::new());
    let (mut levels, mut indexes, mut hashes) = (Vec::new(), Vec::new(), Vec::new());
    let mut ended = Vec::new();
    let (mut last_xid, mut last_seq) = (head.after_xid.clone(), head.after_seq);
    for (xid, row) in rows {
        let (number, deletion, seq) = (row.row, row.deletion_id, tree.size());
        let entry = row.entry(seq);
        if let (Some(deletion), "deletion.complete") = (deletion, entry.action.as_str()) {
            ended.push(deletion);
        }
        let leaf = entry.leaf().map_err(|source| SealError::Entry { row: number, source })?;
        tree.push_and_note(leaf, |Node { level, index }, hash| {
            levels.push(i16::from(level));
            indexes.push(signed(index));
            hashes.push(hash.to_vec());
        });
        seqs.push(signed(seq));
        entries.push(number);
        leaves.push(leaf.to_vec());
        (last_xid, last_seq) = (xid, number);
    }
    if !seqs.is_empty() {
        sqlx::query!(
            "insert into safelight.audit_leaves (seq, entry, leaf) select * from unnest($1::bigint[], $2::bigint[], $3::bytea[])",
            &seqs,
            &entries,
            &leaves
        )
        .execute(&mut *tx)
        .await?;
    }
    if !levels.is_empty() {
        sqlx::query!(
            "insert into safelight.audit_nodes (level, index, hash) select * from unnest($1::smallint[], $2::bigint[], $3::bytea[])",
            &levels,
            &indexes,
            &hashes
        )
        .execute(&mut *tx)
        .await?;
    }
    if !ended.is_empty() {
        sqlx::query!(
            "insert into safelight.deletion_certificates (deletion_id) select * from unnest($1::uuid[]) on conflict do nothing",
            &ended
        )
        .execute(&mut *tx)
        .await?;
    }
    // With everything of `target` sealed it becomes `done`; otherwise the next batch goes on behind the last entry. The size is
    // compared once more: whoever did not hold the lock changes nothing.
    let whole = !more;
    let changed = sqlx::query!(
        r#"update safelight.audit_log set size = $1, peaks = $2,
            done = case when $3 then $4::text::pg_snapshot else done end,
            target = case when $3 or done is null then null else $4::text::pg_snapshot end,
            after_xid = case when $3 then '0'::xid8 else $5::text::xid8 end, after_seq = case when $3 then 0::bigint else $6::bigint end
        where size = $7"#,
        signed(tree.size()),
        tree.peaks().concat(),
        whole,
        head.target,
        last_xid,
        last_seq,
        head.size
    )
    .execute(&mut *tx)
    .await?;
    if changed.rows_affected() == 1 { Ok(count) } else { Err(SealError::Head) }
}

async fn swear(tx: &mut PgConnection, sealer: &Sealer, tree: &Tree) -> Result<(), SealError> {
    let keys = &sealer.keys;
    let mut note = Checkpoint::sign(tree, &keys.signer)?;
    if let Some(former) = &keys.former {
        note = former.cosign(&note)?;
    }
    let ids: Vec<String> = std::iter::once(&keys.signer)
        .chain(&keys.former)
        .map(Signer::verifier)
        .map(|key| hex::encode(Verifier::id(&key)))
        .collect();
    sqlx::query!(
        "insert into safelight.audit_checkpoints (size, note, key_ids) values ($1, $2, $3)",
        signed(tree.size()),
        note,
        &ids
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!("update safelight.audit_log set signed_size = size, signed_at = clock_timestamp()")
        .execute(&mut *tx)
        .await?;
    Ok(())
}

/// Sizes and numbers as Postgres has them.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
