//! The certificate of a finished deletion: what went, how many, when, at which processor, how its absence was seen, what
//! stays by which law; with the log's own lines and the proof that each of them is in the log.
//!
//! Signed over one form only ([`Certificate::canonical`]: keys in alphabetical order, no whitespace, as RFC 8785 has it).
//! Published as `docs/schemas/deletion-certificate.schema.json`. Holds no personal data: ids, codes, numbers, times, and
//! sentences that the program wrote; targets are salted hashes.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::checkpoint::Checkpoint;
use crate::entry::Entry;
pub use crate::flaw::Flaw;
use crate::merkle::{Hash, verify_inclusion};
use crate::note::{NoteError, Signer, Verifier, open_by_any};
use crate::verify::Verdict;

/// Name and version of the form.
pub const SCHEMA: &str = "safelight.deletion-certificate/1";

/// What is signed. Fields stand in the order in which they are written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// What the service does although its published policy does not list it: which decision, who accepted it, when and why.
    /// Nothing where the policy has no such gap, and in certificates of older versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accepted_gaps: Vec<String>,
    /// The legal deadline of the answer.
    pub answer_due: String,
    /// The checkpoint that the proofs lead to, as a signed note.
    pub checkpoint: String,
    /// When everything was seen to be gone.
    pub completed_at: String,
    /// Where to write to whoever answers for it; none: a certificate of an older version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
    /// Who answers for the deletion.
    pub controller: String,
    /// Which deletion.
    pub deletion: String,
    /// When the certificate was made.
    pub issued_at: String,
    /// The log's lines about this deletion.
    pub lines: Vec<Line>,
    /// Of a withdrawal or an objection: for which purpose.
    pub purpose: Option<String>,
    /// When it was asked for.
    pub requested_at: String,
    /// [`SCHEMA`].
    pub schema: String,
    /// What no step takes, where it stays, and why; none: a certificate of an older version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stays: Option<Vec<Stays>>,
    /// What was done, class by class.
    pub steps: Vec<Step>,
    /// Which tenant.
    pub tenant: String,
    /// Why: `erasure`, `retention`, `withdrawal`, `objection`, `one_photo`, `failed_order`.
    pub trigger: String,
}

/// What a deletion does not take: rows that are kept, and copies that no call of the service reaches. Drawn from the service's data
/// map, for everybody alike: it says what may be there, not what there is of this person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stays {
    /// Which kinds of data; none: it names nobody.
    pub classes: Vec<String>,
    /// A table, or what the copy is.
    pub place: String,
    /// At whom.
    pub processor: String,
    /// Why, and until when.
    pub why: String,
}

/// One class of data at one processor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// What kind of data.
    pub class: String,
    /// How many went.
    pub deleted: u64,
    /// How absence was seen; for what stays, by which law.
    pub evidence: String,
    /// How many were to go.
    pub planned: u64,
    /// Where.
    pub processor: String,
    /// Its place in the plan.
    pub seq: u64,
    /// `verified`, or `retained_by_law`.
    pub state: String,
    /// When.
    pub verified_at: String,
}

/// One entry of the log and the way from it to the checkpoint's root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// The entry.
    pub entry: Entry,
    /// Hashes beside the way from the leaf to the root, lowest first, in hex.
    pub proof: Vec<String>,
}

/// The file: what is signed, and the signature over it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedCertificate {
    /// What is signed.
    pub certificate: Certificate,
    /// A signed note: the name of the form, and the SHA-256 of [`Certificate::canonical`] in hex.
    pub signature: String,
}

/// The checker's answer about one certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CertificateReport {
    /// `verified`: signature and proofs hold, and the checkpoint is one that was kept outside. `unverified`: they hold, and
    /// nothing from outside says that this log was shown to others, too.
    pub verdict: Verdict,
    /// Which deletion.
    pub deletion: Option<String>,
    /// What is wrong, if anything.
    pub findings: Vec<Flaw>,
}

impl Certificate {
    /// The bytes that are signed.
    ///
    /// # Errors
    /// Those of the encoder; it has none for this form.
    pub fn canonical(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    /// The text of the note that stands for it.
    fn sworn(&self) -> Result<String, serde_json::Error> {
        Ok(format!("{SCHEMA}\n{}\n", hex::encode(Sha256::digest(self.canonical()?))))
    }

    /// Sign it.
    ///
    /// # Errors
    /// [`NoteError::Form`].
    pub fn sign(self, signer: &Signer) -> Result<SignedCertificate, NoteError> {
        let signature = signer.sign(&self.sworn().map_err(|_| NoteError::Form)?)?;
        Ok(SignedCertificate { certificate: self, signature })
    }

    /// Whether the log says of itself what the certificate says.
    fn flaws(&self, checkpoint: &Checkpoint) -> Vec<Flaw> {
        let mut flaws = Vec::new();
        for line in &self.lines {
            let seq = line.entry.seq;
            if line.entry.deletion_id.as_deref() != Some(self.deletion.as_str())
                || line.entry.tenant.as_ref().is_some_and(|tenant| *tenant != self.tenant)
            {
                flaws.push(Flaw::ForeignLine { seq });
            }
            let proof: Option<Vec<Hash>> = line.proof.iter().map(|hash| hash_of(hash)).collect();
            let holds = match (line.entry.leaf(), proof) {
                (Ok(leaf), Some(proof)) => verify_inclusion(&leaf, seq, checkpoint.size, &proof, &checkpoint.root),
                _ => false,
            };
            if !holds {
                flaws.push(Flaw::NotInTheLog { seq });
            }
        }
        flaws.extend(self.steps.iter().filter_map(|step| self.flaw_of(step)));
        if self.steps.is_empty() || !self.lines.iter().any(|line| line.entry.action == "deletion.complete") {
            flaws.push(Flaw::Incomplete);
        }
        flaws.extend(self.lacks().map(|why| Flaw::NotWhole { why }));
        flaws
    }

    /// Whether anything was left out: of the lines, or of the steps that the log planned.
    fn lacks(&self) -> Option<&'static str> {
        let of = |action: &'static str| self.lines.iter().map(|line| &line.entry).filter(move |e| e.action == action);
        let seqs: BTreeSet<u64> = self.steps.iter().map(|step| step.seq).collect();
        let numbers: BTreeSet<u64> = self.lines.iter().map(|line| line.entry.seq).collect();
        let total: u64 = self.steps.iter().map(|step| step.deleted).sum();
        if seqs.len() != self.steps.len() || numbers.len() != self.lines.len() {
            return Some("a step or a line stands there twice");
        }
        if of("deletion.planned").any(|entry| entry.counts.get("steps") != Some(&(seqs.len() as u64)))
            || of("deletion.planned").next().is_none()
        {
            return Some("the log planned another number of steps than are shown");
        }
        let foreign = |entry: &Entry| entry.counts.get("step").is_some_and(|step| !seqs.contains(step));
        if of("deletion.step").chain(of("deletion.object")).any(foreign) {
            return Some("the log speaks of a step that is not shown");
        }
        if of("deletion.complete").any(|entry| entry.counts.get("deleted") != Some(&total)) {
            return Some("the log counts another number of what went, in all, than the steps do");
        }
        None
    }

    fn flaw_of(&self, step: &Step) -> Option<Flaw> {
        let flaw = |why: &str| Some(Flaw::Step { seq: step.seq, why: why.to_owned() });
        if !matches!(step.state.as_str(), "verified" | "retained_by_law") {
            return flaw("it is neither verified nor retained by law");
        }
        let of_step = |line: &&Line| line.entry.counts.get("step") == Some(&step.seq);
        let says_so = |line: &Line| {
            let entry = &line.entry;
            entry.action == "deletion.step"
                && entry.outcome == step.state
                && entry.class.as_deref() == Some(step.class.as_str())
                && entry.processor.as_deref() == Some(step.processor.as_str())
                && entry.counts.get("deleted") == Some(&step.deleted)
        };
        if !self.lines.iter().filter(of_step).any(says_so) {
            return flaw("the log says nothing, or something else, of it");
        }
        // What has lines of its own has one for each.
        let objects = self.lines.iter().filter(of_step).filter(|line| line.entry.action == "deletion.object").count();
        if objects > 0 && objects as u64 != step.deleted {
            return flaw("the log has another number of objects than it counts");
        }
        None
    }
}

/// Check a certificate's file with the log's public keys and checkpoints kept outside the database.
#[must_use]
pub fn verify_certificate(file: &[u8], outside: &[impl AsRef<str>], keys: &[Verifier]) -> CertificateReport {
    let broken = |deletion: Option<String>, flaw: Flaw| CertificateReport {
        verdict: Verdict::Broken,
        deletion,
        findings: vec![flaw],
    };
    let SignedCertificate { certificate, signature } = match serde_json::from_slice(file) {
        Ok(signed) => signed,
        Err(error) => return broken(None, Flaw::Form { why: error.to_string() }),
    };
    let deletion = Some(certificate.deletion.clone());
    if certificate.schema != SCHEMA {
        return broken(deletion, Flaw::Form { why: format!("this checker knows {SCHEMA}") });
    }
    let sworn = certificate.sworn().unwrap_or_default();
    match open_by_any(&signature, keys) {
        Ok(text) if text == sworn => {}
        Ok(_) => {
            let why = "it is the signature of another certificate, or the certificate was changed".to_owned();
            return broken(deletion, Flaw::Signature { why });
        }
        Err(why) => return broken(deletion, Flaw::Signature { why: why.to_string() }),
    }
    let checkpoint = match Checkpoint::open_by_any(&certificate.checkpoint, keys) {
        Ok(checkpoint) => checkpoint,
        Err(why) => return broken(deletion, Flaw::Checkpoint { why: why.to_string() }),
    };
    let mut findings = certificate.flaws(&checkpoint);
    let mut known: BTreeMap<u64, Hash> = BTreeMap::new();
    for note in outside {
        match Checkpoint::open_by_any(note.as_ref(), keys) {
            Ok(outside) => {
                let root = *known.entry(outside.size).or_insert(outside.root);
                if root != outside.root {
                    findings.push(Flaw::Split { size: outside.size });
                }
            }
            Err(why) => findings.push(Flaw::Checkpoint { why: format!("one from outside proves nothing: {why}") }),
        }
    }
    let kept_outside = known.get(&checkpoint.size);
    if kept_outside.is_some_and(|root| *root != checkpoint.root) {
        findings.push(Flaw::OtherLog { size: checkpoint.size });
    }
    let verdict = match (findings.is_empty(), kept_outside) {
        (false, _) => Verdict::Broken,
        (true, None) => Verdict::Unverified,
        (true, Some(_)) => Verdict::Verified,
    };
    CertificateReport { verdict, deletion, findings }
}

fn hash_of(text: &str) -> Option<Hash> {
    hex::decode(text).ok()?.try_into().ok()
}
