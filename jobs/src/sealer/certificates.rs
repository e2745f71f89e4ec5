//! Certificates of finished deletions: written once, when a checkpoint covers everything that the log says of the deletion.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, Utc};
use safelight_evidence::{
    Hash, SignedCertificate, Verdict,
    certificate::{Certificate, Flaw, Line, SCHEMA, Stays, Step},
    tiles::{self, Node},
    verify_certificate,
};
use sqlx::{PgConnection, PgPool, types::Json};
use uuid::Uuid;

use super::{SealError, Sealer, row::row, seal::signed};
use crate::{
    db,
    id::{Deletion, Id},
    stays::{self, StaysError},
};

/// Certificates of one pass.
const AT_ONCE: i64 = 50;

/// Issue the certificates that can be issued now. One that cannot be drawn up, or that the checker would not believe, keeps no
/// other one from being issued, however many there are of it: it is said, stays due, and the next pass begins behind it.
///
/// # Errors
/// [`SealError::Database`]; certificates that were issued before it stay.
pub async fn issue(pool: &PgPool, sealer: &Sealer) -> Result<u64, SealError> {
    // A checkpoint that is outside already, where there is an outside: the certificate can then be held against it.
    let checkpoint = sqlx::query!(
        r#"select size, note from safelight.audit_checkpoints
        where not exists (select from safelight.audit_destinations) or size <= (select max(delivered) from safelight.audit_destinations)
        order by size desc limit 1"#
    )
    .fetch_optional(pool)
    .await?;
    let Some(checkpoint) = checkpoint else { return Ok(0) };
    let begun = sqlx::query_scalar!(
        r#"select deletion_id from safelight.deletion_certificates where document is null and ($1::uuid is null or deletion_id > $1)
        order by deletion_id limit $2"#,
        sealer.looked(),
        AT_ONCE
    )
    .fetch_all(pool)
    .await?;
    // The last of a full page; else the next pass begins anew.
    sealer.looks_on(begun.get(usize::try_from(AT_ONCE - 1).unwrap_or(usize::MAX)).copied());
    let mut issued = 0;
    for deletion in begun {
        match issue_one(pool, sealer, deletion, checkpoint.size, &checkpoint.note).await {
            Ok(written) => issued += written,
            Err(SealError::Database(error)) => return Err(error.into()),
            Err(error) => {
                tracing::error!(deletion.id = %Id::<Deletion>::from(deletion), %error, "a certificate is not issued");
            }
        }
    }
    Ok(issued)
}

async fn issue_one(pool: &PgPool, sealer: &Sealer, deletion: Uuid, size: i64, note: &str) -> Result<u64, SealError> {
    let mut tx = db::begin(pool).await?;
    let Some(certificate) = draw_up(&mut tx, deletion, size, note).await? else { return Ok(0) };
    let signed = certificate.sign(&sealer.keys.signer)?;
    let document = serde_json::to_string(&signed)
        .map_err(|error| SealError::Write { what: "a certificate", why: error.to_string() })?;
    // The rows of a deletion may be changed by whoever owns the database, the log may not: what they do not say together is
    // not sworn to.
    let none: [&str; 0] = [];
    let report = verify_certificate(document.as_bytes(), &none, &sealer.verifiers());
    if report.findings.iter().all(|flaw| matches!(flaw, Flaw::Checkpoint { .. })) && report.verdict == Verdict::Broken {
        return Ok(0); // signed by a key of before: it waits for a checkpoint by today's
    }
    if report.verdict == Verdict::Broken {
        let found: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
        return Err(SealError::Untrue { found: found.join("; ") });
    }
    let written = sqlx::query!(
        "update safelight.deletion_certificates set document = $2, issued_at = safelight.now() where deletion_id = $1 and document is null",
        deletion,
        document
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(written.rows_affected())
}

/// The certificate of a deletion, if it is issued; of this tenant only, if one is named.
///
/// # Errors
/// The database did not answer, or the stored document cannot be read.
pub async fn certificate(
    pool: &PgPool,
    deletion: Id<Deletion>,
    tenant: Option<&str>,
) -> Result<Option<SignedCertificate>, SealError> {
    let document = sqlx::query_scalar!(
        r#"select c.document as "document!" from safelight.deletion_certificates c join safelight.deletions d on d.id = c.deletion_id
        where c.deletion_id = $1 and c.document is not null and ($2::text is null or d.tenant = $2)"#,
        deletion.uuid(),
        tenant
    )
    .fetch_optional(pool)
    .await?;
    document
        .map(|text| serde_json::from_str(&text))
        .transpose()
        .map_err(|error| SealError::Write { what: "the stored certificate cannot be read", why: error.to_string() })
}

/// None: not everything that the log says of it is below the checkpoint yet.
async fn draw_up(
    tx: &mut PgConnection,
    deletion: Uuid,
    size: i64,
    note: &str,
) -> Result<Option<Certificate>, SealError> {
    let Some(lines) = lines(tx, deletion, size).await? else { return Ok(None) };
    let row = sqlx::query!(
        r#"select d.tenant, t.controller, t.contact, d.trigger, d.purpose, d.requested_at, d.answer_due, d.completed_at, safelight.now() as "now!"
        from safelight.deletions d join safelight.tenants t on t.id = d.tenant where d.id = $1"#,
        deletion
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let steps = sqlx::query!(
        r#"select seq, class, processor, planned, deleted, state, coalesce(evidence, '') as "evidence!",
            coalesce(verified_at, updated_at) as "verified_at!"
        from safelight.deletion_steps where deletion_id = $1 order by seq"#,
        deletion
    )
    .fetch_all(&mut *tx)
    .await?;
    let stays = stays::after(tx, deletion.into())
        .await?
        .into_iter()
        .map(|one| Stays {
            classes: one.classes.iter().map(ToString::to_string).collect(),
            place: one.place,
            processor: one.processor.to_string(),
            why: one.why,
        })
        .collect();
    // Of the policy that counts now: shown until its text names what is done (D7).
    let accepted_gaps = sqlx::query_scalar!(
        r#"select purpose || ' of ' || string_agg(class, ' and ' order by class) || ' by ' || processor || ': ' || accepted_gap as "gap!"
        from safelight.policy_rules
        where tenant = $1 and version = safelight.policy_in_force($1) and accepted_gap is not null
        group by purpose, processor, accepted_gap order by 1"#,
        row.tenant
    )
    .fetch_all(&mut *tx)
    .await?;
    let count = |number: i32| u64::try_from(number).unwrap_or(0);
    let steps = steps.into_iter().map(|step| Step {
        class: step.class,
        deleted: count(step.deleted),
        evidence: step.evidence,
        planned: count(step.planned),
        processor: step.processor,
        seq: count(step.seq),
        state: step.state,
        verified_at: time(step.verified_at),
    });
    Ok(Some(Certificate {
        accepted_gaps,
        answer_due: time(row.answer_due),
        checkpoint: note.to_owned(),
        completed_at: row.completed_at.map(time).unwrap_or_default(),
        contact: Some(row.contact),
        controller: row.controller,
        deletion: deletion.to_string(),
        issued_at: time(row.now),
        lines,
        purpose: row.purpose,
        requested_at: time(row.requested_at),
        schema: SCHEMA.to_owned(),
        stays: Some(stays),
        steps: steps.collect(),
        tenant: row.tenant,
        trigger: row.trigger,
    }))
}

/// Every entry of the deletion with its proof.
async fn lines(tx: &mut PgConnection, deletion: Uuid, size: i64) -> Result<Option<Vec<Line>>, SealError> {
    let rows = sqlx::query!(
        r#"select l.seq as "place?", e.seq, e.at, e.tenant, e.actor, e.action, e.job_kind, e.job_id, e.order_id, e.alias, e.purpose, e.grants,
            e.outcome, e.counts as "counts: Json<serde_json::Value>", e.codes as "codes: Json<serde_json::Value>", e.policy_version, e.commitment, e.class, e.processor, e.deletion_id
        from safelight.audit_entries e left join safelight.audit_leaves l on l.entry = e.seq
        where e.deletion_id = $1 order by e.seq"#,
        deletion
    )
    .fetch_all(&mut *tx)
    .await?;
    let mut entries = Vec::new();
    for r in rows {
        let Some(place) = r.place.filter(|place| *place < size) else { return Ok(None) };
        let row = row!(r, seq);
        entries.push(row.entry(u64::try_from(place).unwrap_or(0)));
    }
    let places: Vec<u64> = entries.iter().map(|entry| entry.seq).collect();
    let size = u64::try_from(size).unwrap_or(0);
    let wanted: Vec<Node> = tiles::wanted_for_inclusion(&places, size).into_iter().collect();
    let kept = kept(tx, &wanted).await?;
    entries
        .into_iter()
        .map(|entry| {
            let proof =
                tiles::inclusion_proof(entry.seq, size, |node| kept.get(&node).copied()).ok_or(SealError::Head)?;
            Ok(Some(Line { entry, proof: proof.iter().map(hex::encode).collect() }))
        })
        .collect()
}

/// These leaves and kept hashes.
pub(super) async fn kept(tx: &mut PgConnection, wanted: &[Node]) -> Result<BTreeMap<Node, Hash>, SealError> {
    let leaves: Vec<i64> = wanted.iter().filter(|node| node.level == 0).map(|node| signed(node.index)).collect();
    let (levels, indexes): (Vec<i16>, Vec<i64>) =
        wanted.iter().filter(|node| node.level > 0).map(|node| (i16::from(node.level), signed(node.index))).unzip();
    let mut kept = BTreeMap::new();
    let rows = sqlx::query!(
        r#"select 0::smallint as "level!", seq as "index!", leaf as "hash!" from safelight.audit_leaves where seq = any ($1)
        union all
        select n.level, n.index, n.hash from safelight.audit_nodes n join unnest($2::smallint[], $3::bigint[]) w (level, index) using (level, index)"#,
        &leaves,
        &levels,
        &indexes
    )
    .fetch_all(tx)
    .await?;
    for row in rows {
        let node = Node {
            level: u8::try_from(row.level).map_err(|_| SealError::Head)?,
            index: u64::try_from(row.index).map_err(|_| SealError::Head)?,
        };
        kept.insert(node, Hash::try_from(row.hash.as_slice()).map_err(|_| SealError::Head)?);
    }
    Ok(kept)
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

impl From<StaysError> for SealError {
    fn from(error: StaysError) -> Self {
        match error {
            StaysError::Database(error) => Self::Database(error),
            StaysError::Map(error) => Self::Write { what: "what a deletion does not take", why: error.to_string() },
        }
    }
}
