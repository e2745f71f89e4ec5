//! What an outsider runs: files and public keys in, one answer out. The command `safelight audit verify` and the program
//! `safelight-verify` are this and nothing else.
//!
//! An export is a folder: `entries.txt` (a line an entry: its leaf hash in hex, a space, the entry in canonical form),
//! `checkpoints/` (the database's own copies: they can speak against the log, never for it) and `proofs.txt` (a line a pair of
//! checkpoints: smaller size, larger size, hashes in hex). Checkpoints that count are kept elsewhere.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::certificate::{CertificateReport, verify_certificate};
use crate::checkpoint::Checkpoint;
use crate::entry::Entry;
use crate::merkle::{Hash, verify_consistency};
use crate::note::Verifier;
use crate::verify::{Checker, Finding, Report, Sealed, Verdict};

/// The largest file that is taken for a checkpoint, a key or a certificate, in bytes.
const MOST: u64 = 64 * 1024 * 1024;

/// What to check, and with what.
#[derive(Debug, Clone, Default)]
pub struct Question {
    /// The folder of an export.
    pub export: Option<PathBuf>,
    /// Files or folders of checkpoints that were kept outside the database.
    pub outside: Vec<PathBuf>,
    /// Public keys, as text or as files of them, one a line.
    pub keys: Vec<String>,
    /// Files of certificates.
    pub certificates: Vec<PathBuf>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// In one word: the worst of all that was asked.
    pub verdict: Verdict,
    /// About the log.
    pub log: Option<Report>,
    /// About each certificate.
    pub certificates: Vec<CertificateReport>,
}

/// It could not be checked; that says nothing about the log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CannotCheck {
    /// Neither an export nor a certificate.
    #[error("name an export's folder, or a certificate with --certificate")]
    Nothing,
    /// No key.
    #[error("name the log's public key with --key: name+id+base64, or a file of such lines")]
    NoKey,
    /// Keys of more than one log.
    #[error("the keys are of different logs, `{0}` and `{1}`: check one log at a time, with its own keys")]
    SeveralLogs(String, String),
    /// A text that is neither a key nor a file of keys.
    #[error("`{0}` is neither a public key (name+id+base64) nor a file of them")]
    Key(String),
    /// A file cannot be read.
    #[error("{path} cannot be read: {why}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

/// Check all that was asked.
///
/// # Errors
/// [`CannotCheck`]: nothing was asked, or a file cannot be read.
pub fn check(question: &Question) -> Result<Answer, CannotCheck> {
    if question.export.is_none() && question.certificates.is_empty() {
        return Err(CannotCheck::Nothing);
    }
    let keys = keys(&question.keys)?;
    let outside = checkpoints(&question.outside)?;
    let log = question.export.as_deref().map(|folder| check_export(folder, &outside, &keys)).transpose()?;
    let mut certificates = Vec::new();
    for path in &question.certificates {
        certificates.push(verify_certificate(read(path)?.as_bytes(), &outside, &keys));
    }
    let verdicts = log.iter().map(|report| report.verdict).chain(certificates.iter().map(|report| report.verdict));
    let verdict = verdicts.reduce(Verdict::and).unwrap_or(Verdict::Unverified);
    Ok(Answer { verdict, log, certificates })
}

/// Public keys of one log, each as text or as a file of lines.
///
/// # Errors
/// [`CannotCheck::NoKey`], [`CannotCheck::Key`], [`CannotCheck::SeveralLogs`].
pub fn keys(named: &[String]) -> Result<Vec<Verifier>, CannotCheck> {
    let mut keys: Vec<Verifier> = Vec::new();
    for name in named {
        if let Ok(key) = name.trim().parse() {
            keys.push(key);
            continue;
        }
        let lines = read(Path::new(name)).map_err(|_| CannotCheck::Key(name.clone()))?;
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            keys.push(line.parse().map_err(|_| CannotCheck::Key(name.clone()))?);
        }
    }
    let Some(first) = keys.first() else { return Err(CannotCheck::NoKey) };
    match keys.iter().find(|key| key.name() != first.name()) {
        Some(other) => Err(CannotCheck::SeveralLogs(first.name().to_owned(), other.name().to_owned())),
        None => Ok(keys),
    }
}

/// Every checkpoint in these files and folders. All files of a folder are taken for checkpoints: what is none is found.
///
/// # Errors
/// [`CannotCheck::File`].
pub fn checkpoints(places: &[PathBuf]) -> Result<Vec<String>, CannotCheck> {
    let mut files = Vec::new();
    for place in places {
        if !place.is_dir() {
            files.push(place.clone());
            continue;
        }
        for file in fs::read_dir(place).map_err(|error| cannot(place, &error))? {
            let path = file.map_err(|error| cannot(place, &error))?.path();
            // What is hidden, and what a writer that was cut off left half-written (`name#1`), is no checkpoint yet.
            let name = path.file_name().unwrap_or_default().as_encoded_bytes();
            if path.is_file() && !name.starts_with(b".") && !name.contains(&b'#') {
                files.push(path);
            }
        }
    }
    files.sort();
    files.iter().map(|path| read(path)).collect()
}

fn check_export(folder: &Path, outside: &[String], keys: &[Verifier]) -> Result<Report, CannotCheck> {
    let own = folder.join("checkpoints");
    let inside = if own.is_dir() { checkpoints(&[own])? } else { Vec::new() };
    let mut checker = Checker::new(outside, &inside, keys);
    let path = folder.join("entries.txt");
    let file = fs::File::open(&path).map_err(|error| cannot(&path, &error))?;
    for (number, line) in (1..).zip(BufReader::new(file).lines()) {
        match sealed(&line.map_err(|error| cannot(&path, &error))?) {
            Some(sealed) => checker.take(&sealed),
            None => checker.note(Finding::Unreadable { line: number }),
        }
    }
    let proofs = folder.join("proofs.txt");
    if proofs.is_file() {
        for finding in bad_proofs(&read(&proofs)?, &inside, keys) {
            checker.note(finding);
        }
    }
    Ok(checker.finish())
}

/// One line of `entries.txt`. An entry that was edited into another form is read all the same: then its leaf speaks.
fn sealed(line: &str) -> Option<Sealed> {
    let (leaf, entry) = line.split_once(' ')?;
    let leaf = hex::decode(leaf).ok()?.try_into().ok()?;
    let entry: Entry = serde_json::from_str(entry).ok()?;
    Some(Sealed { entry, leaf })
}

/// Each proof that does not hold between the checkpoints that it names.
fn bad_proofs(text: &str, inside: &[String], keys: &[Verifier]) -> Vec<Finding> {
    let known: BTreeMap<u64, Hash> = inside
        .iter()
        .filter_map(|note| Checkpoint::open_by_any(note, keys).ok())
        .map(|checkpoint| (checkpoint.size, checkpoint.root))
        .collect();
    let mut findings = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let mut words = line.split(' ').filter(|word| !word.is_empty());
        let sizes = (words.next().and_then(|w| w.parse().ok()), words.next().and_then(|w| w.parse().ok()));
        let proof: Option<Vec<Hash>> = words.map(|hash| hex::decode(hash).ok()?.try_into().ok()).collect();
        let ((Some(old), Some(new)), Some(proof)) = (sizes, proof) else {
            findings.push(Finding::Unreadable { line: number });
            continue;
        };
        let holds = match (known.get(&old), known.get(&new)) {
            (Some(before), Some(after)) => verify_consistency(old, before, new, after, &proof),
            _ => false,
        };
        if !holds {
            findings.push(Finding::BadProof { old, new });
        }
    }
    findings
}

fn read(path: &Path) -> Result<String, CannotCheck> {
    let length = fs::metadata(path).map_err(|error| cannot(path, &error))?.len();
    if length > MOST {
        return Err(CannotCheck::File {
            path: path.to_owned(),
            why: "it is too large for what it should be".to_owned(),
        });
    }
    // What is no text is no checkpoint and no key either: it is found there.
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).map_err(|error| cannot(path, &error))
}

fn cannot(path: &Path, error: &std::io::Error) -> CannotCheck {
    CannotCheck::File { path: path.to_owned(), why: error.to_string() }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(log) = &self.log {
            writeln!(
                f,
                "log: {}, {} entries, {} covered from outside",
                log.verdict.as_str(),
                log.entries,
                log.covered
            )?;
            for finding in &log.findings {
                writeln!(f, "  {finding}")?;
            }
            if log.verdict == Verdict::Verified && log.entries > log.covered {
                writeln!(
                    f,
                    "  {} entries came after the last checkpoint from outside, which says nothing of them: fetch a newer one",
                    log.entries - log.covered
                )?;
            }
            if log.verdict == Verdict::Unverified {
                writeln!(
                    f,
                    "  no checkpoint from outside covers it: who owns the database could have recomputed all of it"
                )?;
            }
        }
        for certificate in &self.certificates {
            let deletion = certificate.deletion.as_deref().unwrap_or("unreadable");
            writeln!(f, "certificate of {deletion}: {}", certificate.verdict.as_str())?;
            for finding in &certificate.findings {
                writeln!(f, "  {finding}")?;
            }
            if certificate.verdict == Verdict::Unverified {
                writeln!(f, "  signature and proofs hold; its checkpoint is not among those kept outside")?;
            }
        }
        write!(f, "{}", self.verdict.as_str())
    }
}
