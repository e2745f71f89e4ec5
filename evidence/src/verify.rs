//! The checker: entries as the database gives them, held against checkpoints that were kept outside it.
//!
//! What the entries alone show: an edited entry (its leaf was sealed with another hash), a number that is missing, there
//! twice, or out of order. What only a checkpoint shows: a cut tail, and a log that was recomputed in whole. Entries behind
//! the last checkpoint are not covered by anything yet; the report counts them.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::checkpoint::Checkpoint;
use crate::entry::Entry;
use crate::merkle::{Hash, Tree, root};
use crate::note::{NoteError, Verifier};
use crate::ranges::Ranges;

/// Among more edited entries than this nobody asks whether two of them changed places.
const MOST_COMPARED: usize = 100;

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

impl Verdict {
    /// How a checking program ends: 0, 3, 4. (1 is "could not check", 2 is "not asked correctly".) A contract.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Verified => 0,
            Self::Unverified => 3,
            Self::Broken => 4,
        }
    }

    /// The word that reports use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Unverified => "unverified",
            Self::Broken => "broken",
        }
    }

    /// Of two answers, the one that says less good.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Broken, _) | (_, Self::Broken) => Self::Broken,
            (Self::Unverified, _) | (_, Self::Unverified) => Self::Unverified,
            _ => Self::Verified,
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "finding")]
#[non_exhaustive]
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
    /// The entry does not stand where it was sealed.
    Reorder {
        /// Where it stands now, by its number.
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
    /// A row lies among the entries that the log passed by without sealing it: it was put there afterwards.
    NeverSealed {
        /// The row's own number.
        row: i64,
    },
    /// A line of the file is not a leaf hash and an entry in canonical form.
    Unreadable {
        /// Which line, from 1.
        line: u64,
    },
    /// A proof that one checkpoint grew into another does not hold.
    BadProof {
        /// Size of the smaller one.
        old: u64,
        /// Size of the larger one.
        new: u64,
    },
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Edit { seq } => write!(f, "edit: entry {seq} no longer says what it said when it was sealed"),
            Self::Removal { from, to } if from == to => write!(f, "removal: entry {from} is missing"),
            Self::Removal { from, to } => write!(f, "removal: entries {from} to {to} are missing"),
            Self::Insertion { seq } => write!(f, "insertion: number {seq} is there twice"),
            Self::Reorder { seq } => write!(f, "reorder: entry {seq} was sealed in another place"),
            Self::CutTail { have, signed } => {
                write!(f, "cut tail: {have} entries are there, {signed} were sworn to")
            }
            Self::Rewritten { after, until } => write!(
                f,
                "rewritten: the first {after} entries are the ones that were sworn to, the first {until} are not: the log was recomputed"
            ),
            Self::Split { size } => write!(f, "split: the log swore to two different trees of {size} entries"),
            Self::BadCheckpoint { number, why } => write!(f, "checkpoint {number} proves nothing: {why}"),
            Self::NeverSealed { row } => {
                write!(f, "insertion: row {row} was put among entries that had been sealed without it")
            }
            Self::Unreadable { line } => write!(f, "edit: line {line} is no leaf hash and entry in canonical form"),
            Self::BadProof { old, new } => {
                write!(f, "proof: that the checkpoint of {old} grew into the one of {new} is not shown")
            }
        }
    }
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
/// notes, in any order) and the log's public keys.
#[must_use]
pub fn verify(entries: &[Sealed], checkpoints: &[impl AsRef<str>], keys: &[Verifier]) -> Report {
    let none: [&str; 0] = [];
    let mut checker = Checker::new(checkpoints, &none, keys);
    entries.iter().for_each(|sealed| checker.take(sealed));
    checker.finish()
}

/// The same, one entry at a time: holds no more than the gaps and the findings.
#[derive(Debug)]
pub struct Checker {
    sworn: BTreeMap<u64, Sworn>,
    tree: Tree,
    seen: Ranges,
    highest: Option<u64>,
    edited: Vec<Sealed>,
    edits: Vec<u64>,
    displaced: Vec<Finding>,
    at_checkpoints: Vec<Finding>,
    other: Vec<Finding>,
    /// Up to here the tree is one that was sworn to, inside or outside.
    agreed: u64,
    covered: u64,
    rewritten: Option<(u64, u64)>,
}

#[derive(Debug)]
struct Sworn {
    root: Hash,
    outside: bool,
}

impl Checker {
    /// Against checkpoints kept `outside`, which alone can verify, and copies from `inside`, which can only speak against.
    #[must_use]
    pub fn new(outside: &[impl AsRef<str>], inside: &[impl AsRef<str>], keys: &[Verifier]) -> Self {
        let mut checker = Self {
            sworn: BTreeMap::new(),
            tree: Tree::default(),
            seen: Ranges::default(),
            highest: None,
            edited: Vec::new(),
            edits: Vec::new(),
            displaced: Vec::new(),
            at_checkpoints: Vec::new(),
            other: Vec::new(),
            agreed: 0,
            covered: 0,
            rewritten: None,
        };
        let all = outside.iter().map(|note| (note.as_ref(), true)).chain(inside.iter().map(|n| (n.as_ref(), false)));
        for (number, (note, outside)) in all.enumerate() {
            match Checkpoint::open_by_any(note, keys) {
                Ok(checkpoint) => checker.swear(&checkpoint, outside),
                Err(why) => checker.at_checkpoints.push(bad_checkpoint(number, why)),
            }
        }
        checker.compare();
        checker
    }

    fn swear(&mut self, checkpoint: &Checkpoint, outside: bool) {
        match self.sworn.get_mut(&checkpoint.size) {
            Some(known) if known.root != checkpoint.root => {
                self.at_checkpoints.push(Finding::Split { size: checkpoint.size });
            }
            Some(known) => known.outside |= outside,
            None => drop(self.sworn.insert(checkpoint.size, Sworn { root: checkpoint.root, outside })),
        }
    }

    /// The next entry, in stored order.
    pub fn take(&mut self, sealed: &Sealed) {
        let seq = sealed.entry.seq;
        if sealed.entry.leaf() != Ok(sealed.leaf) {
            self.edits.push(seq);
            if self.edited.len() < MOST_COMPARED {
                self.edited.push(sealed.clone());
            }
        }
        if !self.seen.insert(seq) {
            self.displaced.push(Finding::Insertion { seq });
        } else if self.highest.is_some_and(|highest| seq < highest) {
            self.displaced.push(Finding::Reorder { seq });
        }
        self.highest = self.highest.max(Some(seq));
        self.tree.push(sealed.leaf);
        self.compare();
    }

    /// Something that the reader of the entries saw.
    pub fn note(&mut self, finding: Finding) {
        self.other.push(finding);
    }

    /// The tree of the stored leaves against what was sworn at this size.
    fn compare(&mut self) {
        let size = self.tree.size();
        let (Some(sworn), None) = (self.sworn.get(&size), self.rewritten) else { return };
        let same = if size == 0 { sworn.root == root(&[]) } else { sworn.root == self.tree.root() };
        if !same {
            self.rewritten = Some((self.agreed, size));
            return;
        }
        self.agreed = size;
        if sworn.outside {
            self.covered = size;
        }
    }

    /// The answer.
    #[must_use]
    pub fn finish(self) -> Report {
        let mut findings = explained(&self.edits, &self.edited);
        let gaps = self.seen.gaps();
        let in_line = self.displaced.is_empty() && gaps.is_empty();
        findings.extend(self.displaced);
        findings.extend(gaps.into_iter().map(|(from, to)| Finding::Removal { from, to }));
        findings.extend(self.other);
        findings.extend(self.at_checkpoints);
        // What is missing, doubled or displaced explains another root already.
        if let (Some((after, until)), true) = (self.rewritten, in_line) {
            findings.push(Finding::Rewritten { after, until });
        }
        let have = self.tree.size();
        if let Some((&signed, _)) = self.sworn.last_key_value()
            && signed > have
        {
            findings.push(Finding::CutTail { have, signed });
        }
        // Another root with nothing else to say of it must not pass.
        let quiet = findings.is_empty() && self.rewritten.is_none();
        let verdict = match (quiet, self.covered) {
            (false, _) => Verdict::Broken,
            (true, 0) => Verdict::Unverified,
            (true, _) => Verdict::Verified,
        };
        Report { verdict, entries: have, covered: self.covered, findings }
    }
}

/// An edited entry that would fit in the place of another edited one has changed places with it.
fn explained(edits: &[u64], edited: &[Sealed]) -> Vec<Finding> {
    let moved = |sealed: &Sealed| {
        edited.iter().filter(|other| other.entry.seq != sealed.entry.seq).any(|other| {
            let there = Entry { seq: other.entry.seq, ..sealed.entry.clone() }.leaf();
            there == Ok(sealed.leaf) || there == Ok(other.leaf)
        })
    };
    edits
        .iter()
        .map(|&seq| match edited.iter().find(|sealed| sealed.entry.seq == seq) {
            Some(sealed) if moved(sealed) => Finding::Reorder { seq },
            _ => Finding::Edit { seq },
        })
        .collect()
}

fn bad_checkpoint(number: usize, why: NoteError) -> Finding {
    Finding::BadCheckpoint { number, why: why.to_string() }
}
