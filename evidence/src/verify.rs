//! The checker: entries as the database gives them, held against checkpoints that were kept outside it.
//!
//! What the entries alone show: an edited entry (its leaf was sealed with another hash), a number that is missing, there
//! twice, or out of order. What only a checkpoint shows: a cut tail, and a log that was recomputed in whole. Entries behind
//! the last checkpoint are not covered by anything yet; the report counts them.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::checkpoint::Checkpoint;
use crate::entry::Entry;
use crate::merkle::{Hash, Tree};
use crate::note::{NoteError, Verifier};

/// An entry with the leaf hash that was stored when it was sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// What the log says today.
    pub entry: Entry,
    /// Hash of what it said when it was sealed.
    pub leaf: Hash,
}

/// What can be said about the log as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Everything up to `covered` is what was sworn to at the time.
    Verified,
    /// Nothing speaks against it, and nothing from outside speaks for it.
    Unverified,
    /// Something was changed; the findings say what.
    Broken,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "finding")]
pub enum Finding {
    /// The entry no longer says what it said when it was sealed.
    Edit {
        /// Which entry.
        seq: u64,
    },
    /// Entries are missing from the middle or the start.
    Removal {
        /// First missing number.
        from: u64,
        /// Last missing number.
        to: u64,
    },
    /// Two entries have the same number.
    Insertion {
        /// The number.
        seq: u64,
    },
    /// An entry stands behind one with a higher number.
    Reorder {
        /// The entry that is too late.
        seq: u64,
    },
    /// The log was longer once.
    CutTail {
        /// Entries there are.
        have: u64,
        /// Entries that were sworn to.
        signed: u64,
    },
    /// Entries and leaves agree with each other, and not with what was sworn to: the log was recomputed.
    Rewritten {
        /// Up to this size it still is the old log.
        after: u64,
        /// At this size it no longer is.
        until: u64,
    },
    /// The log swore to two different trees of one size.
    Split {
        /// The size.
        size: u64,
    },
    /// A checkpoint proves nothing.
    BadCheckpoint {
        /// Which one of those given, from 0.
        number: usize,
        /// Why.
        why: String,
    },
}

/// The checker's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// In one word.
    pub verdict: Verdict,
    /// How many entries were looked at.
    pub entries: u64,
    /// How many of them an outside checkpoint covers.
    pub covered: u64,
    /// What is wrong, if anything.
    pub findings: Vec<Finding>,
}

/// Check all entries of a log, from the first, in stored order, against checkpoints kept outside the database (as signed
/// notes, in any order) and the log's public key.
#[must_use]
pub fn verify(entries: &[Sealed], checkpoints: &[impl AsRef<str>], key: &Verifier) -> Report {
    let mut findings: Vec<Finding> = edits(entries).collect();
    let out_of_line = numbering(entries);
    let in_line = out_of_line.is_empty();
    findings.extend(out_of_line);

    let mut sworn: BTreeMap<u64, Hash> = BTreeMap::new();
    for (number, note) in checkpoints.iter().enumerate() {
        match Checkpoint::open(note.as_ref(), key) {
            Ok(c) if sworn.get(&c.size).is_some_and(|root| *root != c.root) => {
                findings.push(Finding::Split { size: c.size })
            }
            Ok(c) => drop(sworn.insert(c.size, c.root)),
            Err(why) => findings.push(bad_checkpoint(number, why)),
        }
    }
    let have = entries.len() as u64;
    let covered = agreement(entries, &sworn, in_line, &mut findings);
    if let Some((&signed, _)) = sworn.last_key_value()
        && signed > have
    {
        findings.push(Finding::CutTail { have, signed });
    }
    let verdict = match (findings.is_empty(), covered) {
        (false, _) => Verdict::Broken,
        (true, 0) => Verdict::Unverified,
        (true, _) => Verdict::Verified,
    };
    Report { verdict, entries: have, covered, findings }
}

fn edits(entries: &[Sealed]) -> impl Iterator<Item = Finding> {
    let changed = entries.iter().filter(|sealed| sealed.entry.leaf() != Ok(sealed.leaf));
    changed.map(|sealed| Finding::Edit { seq: sealed.entry.seq })
}

/// Numbers must run 0, 1, 2 ... in stored order.
fn numbering(entries: &[Sealed]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut seen = BTreeSet::new();
    let mut highest = None;
    for seq in entries.iter().map(|sealed| sealed.entry.seq) {
        if !seen.insert(seq) {
            findings.push(Finding::Insertion { seq });
        } else if highest.is_some_and(|highest| seq < highest) {
            findings.push(Finding::Reorder { seq });
        }
        highest = highest.max(Some(seq));
    }
    let mut next = 0;
    for seq in seen {
        if seq > next {
            findings.push(Finding::Removal { from: next, to: seq - 1 });
        }
        next = seq.saturating_add(1);
    }
    findings
}

/// Grow the tree of the stored leaves past each sworn size; gives the largest size up to which they agree.
fn agreement(entries: &[Sealed], sworn: &BTreeMap<u64, Hash>, in_line: bool, findings: &mut Vec<Finding>) -> u64 {
    let mut tree = Tree::default();
    let mut covered = 0;
    for (&size, root) in sworn.range(..=entries.len() as u64) {
        let grown = usize::try_from(tree.size()).unwrap_or(usize::MAX);
        let until = usize::try_from(size).unwrap_or(usize::MAX);
        entries[grown..until].iter().for_each(|sealed| tree.push(sealed.leaf));
        if tree.root() != *root {
            // What is missing, doubled or displaced explains another root already.
            if in_line {
                findings.push(Finding::Rewritten { after: covered, until: size });
            }
            break;
        }
        covered = size;
    }
    covered
}

fn bad_checkpoint(number: usize, why: NoteError) -> Finding {
    Finding::BadCheckpoint { number, why: why.to_string() }
}
