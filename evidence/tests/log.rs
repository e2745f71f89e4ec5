//! N23: edit, removal, insertion, reorder, cut tail, rewritten chain; each detected, the last two only from outside.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as they do")]

use std::collections::BTreeMap;

use safelight_evidence::{
    Checkpoint, Entry, EntryError, Finding, NoteError, Sealed, Signer, Tree, Verdict, Verifier, verify,
};

const LOG: &str = "log.example.com/audit";

fn signer() -> Signer {
    Signer::new(LOG, &[42; 32]).unwrap()
}

fn entry(seq: u64) -> Entry {
    Entry {
        action: "train_model.submitted".into(),
        actor: "worker".into(),
        alias: Some("7c2d9f58-6f1c-4c1e-9d3b-0a3f6a1d2e4b".into()),
        at: "2026-05-25T08:00:00.000001Z".into(),
        class: None,
        codes: BTreeMap::new(),
        commitment: None,
        counts: BTreeMap::from([("photos".into(), 12)]),
        deletion_id: None,
        grants: vec!["0198f6a0-0000-7000-8000-000000000001".into()],
        job_id: None,
        job_kind: Some("train_model".into()),
        order_id: None,
        outcome: "ok".into(),
        policy_version: Some("2026-05-25".into()),
        processor: None,
        purpose: Some("train".into()),
        seq,
        tenant: Some("koselfie".into()),
    }
}

fn seal(entry: Entry) -> Sealed {
    Sealed { leaf: entry.leaf().unwrap(), entry }
}

fn log(n: u64) -> Vec<Sealed> {
    (0..n).map(|seq| seal(entry(seq))).collect()
}

fn checkpoint(log: &[Sealed]) -> String {
    Checkpoint::sign(&log.iter().map(|sealed| sealed.leaf).collect::<Tree>(), &signer()).unwrap()
}

fn findings(log: &[Sealed], outside: &[String]) -> Vec<Finding> {
    let report = verify(log, outside, &[signer().verifier()]);
    assert_eq!(report.verdict == Verdict::Broken, !report.findings.is_empty());
    report.findings
}

#[test]
fn an_untouched_log_is_verified_up_to_the_last_outside_checkpoint() {
    let log = log(7);
    let report = verify(&log, &[checkpoint(&log[..5]), checkpoint(&log[..2])], &[signer().verifier()]);
    assert_eq!((report.verdict, report.entries, report.covered), (Verdict::Verified, 7, 5));
}

#[test]
fn without_an_outside_checkpoint_a_log_is_unverified_never_ok() {
    let none: [&str; 0] = [];
    assert_eq!(verify(&log(7), &none, &[signer().verifier()]).verdict, Verdict::Unverified);
    assert_eq!(verify(&log(7), &[checkpoint(&[])], &[signer().verifier()]).verdict, Verdict::Unverified);
}

#[test]
fn n23_an_edited_entry_is_named() {
    let mut log = log(7);
    let outside = [checkpoint(&log)];
    log[3].entry.outcome = "refused".into();
    assert_eq!(findings(&log, &outside), [Finding::Edit { seq: 3 }]);
    assert_eq!(findings(&log, &[]), [Finding::Edit { seq: 3 }]);
}

#[test]
fn n23_an_entry_edited_into_free_text_is_named_too() {
    let mut log = log(2);
    log[1].entry.outcome = "ann@example.com".into();
    assert_eq!(findings(&log, &[]), [Finding::Edit { seq: 1 }]);
}

#[test]
fn n23_removed_entries_are_named() {
    let mut log = log(7);
    let outside = [checkpoint(&log[..6])];
    log.drain(2..4);
    log.remove(0);
    let gaps = [Finding::Removal { from: 0, to: 0 }, Finding::Removal { from: 2, to: 3 }];
    assert_eq!(findings(&log, &[]), gaps);
    assert!(findings(&log, &outside).starts_with(&gaps));
}

#[test]
fn n23_an_inserted_entry_is_named() {
    let mut log = log(7);
    let mut extra = entry(4);
    extra.action = "delete.verified".into();
    log.insert(5, seal(extra));
    assert_eq!(findings(&log, &[]), [Finding::Insertion { seq: 4 }]);
}

#[test]
fn n23_a_displaced_entry_is_named() {
    let mut log = log(7);
    log.swap(2, 3);
    assert_eq!(findings(&log, &[]), [Finding::Reorder { seq: 2 }]);
}

#[test]
fn n23_a_cut_tail_shows_only_from_outside() {
    let mut log = log(7);
    let outside = [checkpoint(&log), checkpoint(&log[..3])];
    log.truncate(5);
    assert_eq!(findings(&log, &outside), [Finding::CutTail { have: 5, signed: 7 }]);
    assert_eq!(findings(&log, &[]), []);
}

#[test]
fn n23_a_recomputed_log_shows_only_from_outside_and_between_which_checkpoints() {
    let mut log = log(9);
    let outside = [checkpoint(&log[..3]), checkpoint(&log[..6]), checkpoint(&log)];
    let mut other = entry(4);
    other.outcome = "refused".into();
    log[4] = seal(other);
    assert_eq!(findings(&log, &outside), [Finding::Rewritten { after: 3, until: 6 }]);
    assert_eq!(findings(&log, &[]), []);
    // Taking one out and renumbering the rest is the same act, and the log is shorter than what was sworn to.
    let shorter: Vec<Sealed> =
        log[1..].iter().map(|s| seal(Entry { seq: s.entry.seq - 1, ..s.entry.clone() })).collect();
    let both = [Finding::Rewritten { after: 0, until: 3 }, Finding::CutTail { have: 8, signed: 9 }];
    let sworn = [checkpoint(&self::log(9)[..3]), checkpoint(&self::log(9))];
    let mut first_differs = shorter;
    first_differs[0] = seal(Entry { outcome: "refused".into(), ..entry(0) });
    assert_eq!(findings(&first_differs, &sworn), both);
}

#[test]
fn a_log_that_swore_to_two_trees_of_one_size_is_split() {
    let log = log(4);
    let mut other = log.clone();
    other[3] = seal(Entry { outcome: "refused".into(), ..entry(3) });
    assert_eq!(findings(&log, &[checkpoint(&log), checkpoint(&other)]), [Finding::Split { size: 4 }]);
}

#[test]
fn a_checkpoint_of_a_stranger_or_of_another_log_or_a_bent_one_proves_nothing() {
    let log = log(4);
    let good = checkpoint(&log);
    let stranger = Signer::new(LOG, &[43; 32]).unwrap();
    let tree: Tree = log.iter().map(|sealed| sealed.leaf).collect();
    let foreign = signer().sign("elsewhere.example\n4\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n").unwrap();
    let cases = [
        (Checkpoint::sign(&tree, &stranger).unwrap(), NoteError::Unsigned),
        (foreign, NoteError::NoCheckpoint),
        (good.replace("\n4\n", "\n5\n"), NoteError::Forged),
        (
            signer().sign(&good[..good.find("\n\n").unwrap() + 1].replace("\n4\n", "\n04\n")).unwrap(),
            NoteError::NoCheckpoint,
        ),
        ("no note".to_owned(), NoteError::Form),
    ];
    for (note, why) in cases {
        assert_eq!(findings(&log, &[note]), [Finding::BadCheckpoint { number: 0, why: why.to_string() }]);
    }
}

#[test]
fn a_note_of_the_go_implementation_is_read_and_its_key_too() {
    // From the documentation of golang.org/x/mod/sumdb/note.
    let key = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    let text = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
    let line =
        "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
    let verifier: Verifier = key.parse().unwrap();
    assert_eq!(verifier.open(&format!("{text}\n{line}")), Ok(text));
    assert_eq!(verifier.to_string(), key);
    let witnessed = format!("{text}\n— witness.example AAAAAAA=\n{line}");
    assert_eq!(verifier.open(&witnessed), Ok(text));
    assert_eq!(verifier.open(&format!("{}\n{line}", text.replace("your", "my"))), Err(NoteError::Forged));
    assert_eq!("Peter Neumann+c74f20a3+ARpc".parse::<Verifier>(), Err(NoteError::Name));
    assert_eq!(key.replace("c74f20a3", "c74f20a4").parse::<Verifier>(), Err(NoteError::Key));
}

#[test]
fn the_canonical_form_of_an_entry_never_changes() {
    let bytes = entry(3).canonical().unwrap();
    assert_eq!(
        String::from_utf8(bytes.clone()).unwrap(),
        concat!(
            r#"{"action":"train_model.submitted","actor":"worker","alias":"7c2d9f58-6f1c-4c1e-9d3b-0a3f6a1d2e4b","#,
            r#""at":"2026-05-25T08:00:00.000001Z","class":null,"codes":{},"commitment":null,"counts":{"photos":12},"deletion_id":null,"#,
            r#""grants":["0198f6a0-0000-7000-8000-000000000001"],"job_id":null,"job_kind":"train_model","order_id":null,"#,
            r#""outcome":"ok","policy_version":"2026-05-25","processor":null,"purpose":"train","seq":3,"tenant":"koselfie"}"#
        )
    );
    assert_eq!(Entry::from_canonical(&bytes), Ok(entry(3)));
}

#[test]
fn the_same_entry_in_another_form_is_refused() {
    let text = String::from_utf8(entry(3).canonical().unwrap()).unwrap();
    let again = [
        text.replace("\"seq\":3", "\"seq\": 3"),
        text.replace("\"seq\":3", "\"seq\":3,\"note\":\"x\""),
        text.replace(",\"job_id\":null", ""),
        text.replace("worker", "w\\u006frker"),
        format!("{text}\n"),
    ];
    for other in again {
        assert_eq!(Entry::from_canonical(other.as_bytes()), Err(EntryError::Form), "{other}");
    }
}

#[test]
fn free_text_loose_times_and_endless_numbers_have_no_canonical_form() {
    let mut mail = entry(0);
    mail.alias = Some("ann@example.com".into());
    assert_eq!(mail.canonical(), Err(EntryError::NotACode("alias")));
    let mut path = entry(0);
    path.counts.insert("koselfie/ann/1.jpg".into(), 1);
    assert_eq!(path.canonical(), Err(EntryError::NotACode("counts")));
    let mut why = entry(0);
    why.codes.insert("why".into(), "Ann was unhappy".into());
    assert_eq!(why.canonical(), Err(EntryError::NotACode("codes")));
    let mut local = entry(0);
    local.at = "2026-05-25T08:00:00+02:00".into();
    assert_eq!(local.canonical(), Err(EntryError::Time));
    assert_eq!(entry(1 << 53).canonical(), Err(EntryError::TooLarge("seq")));
}
