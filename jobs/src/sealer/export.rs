//! What an outsider takes away: entries, proofs and the database's copies of the checkpoints, as files.
//!
//! The form is read by `evidence/src/check.rs`. Written through one snapshot, so that the files belong together.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::Path,
};

use futures::TryStreamExt;
use safelight_evidence::tiles;
use sqlx::{PgPool, types::Json};

use super::{SealError, certificates::kept, row::row};
use crate::{db, providers::witness::file_name};

/// How much was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exported {
    /// Lines of `entries.txt`.
    pub entries: u64,
    /// Files in `checkpoints/`.
    pub checkpoints: u64,
    /// Entries that are committed and not sealed yet: they are not in the files.
    pub unsealed: i64,
}

/// Said in the folder itself.
const README: &str = "An export of Safelight's audit log.

entries.txt   one line an entry: the hash it was sealed with, and what it says today
checkpoints/  the database's own copies of its signed checkpoints. They prove nothing in its favour
proofs.txt    one line a pair of checkpoints: smaller size, larger size, hashes of the consistency proof (RFC 6962)

Check it with the public key and with checkpoints that you kept elsewhere:

    safelight-verify THIS_FOLDER --key KEY --checkpoints YOUR_FOLDER

docs/audit.md tells how, also by hand.
";

/// Write the log into a folder that is empty or does not exist.
///
/// # Errors
/// [`SealError`].
pub async fn export(pool: &PgPool, folder: &Path) -> Result<Exported, SealError> {
    let cannot = |error: std::io::Error| SealError::Write { what: "the export", why: error.to_string() };
    let own = folder.join("checkpoints");
    fs::create_dir_all(&own).map_err(cannot)?;
    if fs::read_dir(folder).map_err(cannot)?.count() > 1 {
        return Err(SealError::Write {
            what: "the export",
            why: format!("{} is not empty; name another folder", folder.display()),
        });
    }
    fs::write(folder.join("README.txt"), README).map_err(cannot)?;
    let mut tx = db::begin(pool).await?;
    sqlx::query("set transaction isolation level repeatable read, read only").execute(&mut *tx).await?;

    let mut out = BufWriter::new(File::create(folder.join("entries.txt")).map_err(cannot)?);
    let mut entries = 0;
    let mut rows = sqlx::query!(
        r#"select l.seq as place, l.leaf, e.seq, e.at, e.tenant, e.actor, e.action, e.job_kind, e.job_id, e.order_id, e.alias, e.purpose,
            e.grants, e.outcome, e.counts as "counts: Json<serde_json::Value>", e.codes as "codes: Json<serde_json::Value>", e.policy_version, e.commitment, e.class, e.processor,
            e.deletion_id
        from safelight.audit_leaves l join safelight.audit_entries e on e.seq = l.entry order by l.seq"#
    )
    .fetch(&mut *tx);
    while let Some(r) = rows.try_next().await? {
        let row = row!(r, seq);
        // As it stands, also if it was edited into something without a canonical form: the checker is to see that.
        let entry = serde_json::to_string(&row.entry(u64::try_from(r.place).unwrap_or(0)))
            .map_err(|error| SealError::Write { what: "the export", why: error.to_string() })?;
        writeln!(out, "{} {entry}", hex::encode(&r.leaf)).map_err(cannot)?;
        entries += 1;
    }
    drop(rows);
    out.flush().map_err(cannot)?;

    let checkpoints =
        sqlx::query!("select size, note from safelight.audit_checkpoints order by size").fetch_all(&mut *tx).await?;
    let mut proofs = BufWriter::new(File::create(folder.join("proofs.txt")).map_err(cannot)?);
    let mut before: Option<u64> = None;
    for checkpoint in &checkpoints {
        let size = u64::try_from(checkpoint.size).unwrap_or(0);
        fs::write(own.join(file_name(size)), &checkpoint.note).map_err(cannot)?;
        if let Some(old) = before {
            let wanted: Vec<_> = tiles::wanted_for_consistency(old, size).into_iter().collect();
            let kept = kept(&mut tx, &wanted).await?;
            // A hash that is missing was taken out: the proof is left out, and the checker says what is wrong with the entries.
            if let Some(proof) = tiles::consistency_proof(old, size, |node| kept.get(&node).copied()) {
                let hashes: Vec<String> = proof.iter().map(hex::encode).collect();
                writeln!(proofs, "{old} {size} {}", hashes.join(" ")).map_err(cannot)?;
            }
        }
        before = Some(size);
    }
    proofs.flush().map_err(cannot)?;
    let unsealed = super::look::lag_within(&mut tx).await?.unsealed;
    tx.commit().await?;
    Ok(Exported { entries, checkpoints: checkpoints.len() as u64, unsealed })
}
