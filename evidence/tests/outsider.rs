//! N23 as an outsider meets it: files, a public key, and the program `safelight-verify`.

#![expect(clippy::unwrap_used, reason = "a test fails where it is wrong")]

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering},
};

use safelight_evidence::{
    Certificate, Checkpoint, Entry, Signer, Tree,
    certificate::{Line, SCHEMA, Step},
    merkle::{consistency_proof, inclusion_proof},
};

static NUMBER: AtomicU32 = AtomicU32::new(0);

fn signer(seed: u8) -> Signer {
    Signer::new("photos.example/audit", &[seed; 32]).unwrap()
}

fn entry(seq: u64, action: &str) -> Entry {
    Entry {
        action: action.into(),
        actor: "worker".into(),
        alias: None,
        at: "2026-05-25T08:00:00.000001Z".into(),
        class: Some("upload".into()),
        codes: BTreeMap::new(),
        commitment: None,
        counts: match action {
            "deletion.planned" => BTreeMap::from([("steps".into(), 1)]),
            "deletion.complete" => BTreeMap::from([("deleted".into(), 3)]),
            _ => BTreeMap::from([("deleted".into(), 3), ("step".into(), 1)]),
        },
        deletion_id: Some("0198f6a0-0000-7000-8000-00000000000d".into()),
        grants: Vec::new(),
        job_id: None,
        job_kind: Some("delete_data".into()),
        order_id: None,
        outcome: if action == "deletion.object" { "gone" } else { "verified" }.into(),
        policy_version: None,
        processor: Some("supabase".into()),
        purpose: None,
        seq,
        tenant: Some("koselfie".into()),
    }
}

/// Six entries about one deletion; an export with checkpoints of 3 and 6 entries, kept outside as well.
struct Files {
    folder: PathBuf,
    lines: Vec<String>,
    notes: BTreeMap<u64, String>,
    certificate: Certificate,
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Files {
    fn write() -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("safelight-outsider-{}-{number}", std::process::id()));
        let actions = ["deletion.planned", "deletion.object", "deletion.object", "deletion.object", "deletion.step"];
        let actions = actions.into_iter().chain(["deletion.complete"]);
        let entries: Vec<Entry> = actions.zip(0..).map(|(action, seq)| entry(seq, action)).collect();
        let leaves: Vec<_> = entries.iter().map(|entry| entry.leaf().unwrap()).collect();
        let lines = entries
            .iter()
            .zip(&leaves)
            .map(|(entry, leaf)| {
                format!("{} {}", hex::encode(leaf), String::from_utf8(entry.canonical().unwrap()).unwrap())
            })
            .collect();
        let note = |size: usize| {
            let tree: Tree = leaves[..size].iter().copied().collect();
            Checkpoint::sign(&tree, &signer(1)).unwrap()
        };
        let notes = BTreeMap::from([(3, note(3)), (6, note(6))]);
        let step = Step {
            class: "upload".into(),
            deleted: 3,
            evidence: "looked: the store has none of 3 objects; their rows are gone".into(),
            planned: 3,
            processor: "supabase".into(),
            seq: 1,
            state: "verified".into(),
            verified_at: "2026-05-25T08:00:00.000001Z".into(),
        };
        let certificate = Certificate {
            accepted_gaps: Vec::new(),
            answer_due: "2026-06-25T08:00:00.000001Z".into(),
            checkpoint: notes[&6].clone(),
            completed_at: "2026-05-25T08:00:00.000001Z".into(),
            contact: Some("privacy@koselfie.example".into()),
            controller: "KoSelfie".into(),
            deletion: "0198f6a0-0000-7000-8000-00000000000d".into(),
            issued_at: "2026-05-25T08:00:00.000001Z".into(),
            lines: entries
                .iter()
                .zip(0..)
                .map(|(entry, at)| Line {
                    entry: entry.clone(),
                    proof: inclusion_proof(&leaves, at).unwrap().iter().map(hex::encode).collect(),
                })
                .collect(),
            purpose: None,
            requested_at: "2026-05-25T08:00:00.000001Z".into(),
            schema: SCHEMA.into(),
            stays: None,
            steps: vec![step],
            tenant: "koselfie".into(),
            trigger: "retention".into(),
        };
        let files = Self { folder, lines, notes, certificate };
        fs::create_dir_all(files.folder.join("export/checkpoints")).unwrap();
        fs::create_dir_all(files.folder.join("outside")).unwrap();
        files.export(&files.lines);
        for (size, note) in &files.notes {
            fs::write(files.folder.join(format!("export/checkpoints/{size}")), note).unwrap();
            fs::write(files.folder.join(format!("outside/{size}")), note).unwrap();
        }
        let proof: Vec<String> = consistency_proof(&leaves, 3).unwrap().iter().map(hex::encode).collect();
        fs::write(files.folder.join("export/proofs.txt"), format!("3 6 {}\n", proof.join(" "))).unwrap();
        files.certify(&files.certificate, 1);
        files
    }

    fn export(&self, lines: &[String]) {
        fs::write(
            self.folder.join("export/entries.txt"),
            lines.iter().map(|line| format!("{line}\n")).collect::<String>(),
        )
        .unwrap();
    }

    /// As somebody does who owns the database and not the key.
    fn forget_inside(&self) {
        fs::remove_dir_all(self.folder.join("export/checkpoints")).unwrap();
        fs::remove_file(self.folder.join("export/proofs.txt")).unwrap();
    }

    fn certify(&self, certificate: &Certificate, seed: u8) {
        let signed = certificate.clone().sign(&signer(seed)).unwrap();
        fs::write(self.folder.join("certificate.json"), serde_json::to_string_pretty(&signed).unwrap()).unwrap();
    }

    fn ask(&self, words: &[&str]) -> (i32, String) {
        let output: Output = Command::new(env!("CARGO_BIN_EXE_safelight-verify"))
            .args(words)
            .current_dir(&self.folder)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(said).unwrap())
    }

    fn log(&self, outside: bool) -> (i32, String) {
        let key = signer(1).verifier().to_string();
        let mut words = vec!["export", "--key", &key];
        if outside {
            words.extend(["--checkpoints", "outside"]);
        }
        self.ask(&words)
    }

    fn paper(&self, outside: bool) -> (i32, String) {
        let key = signer(1).verifier().to_string();
        let mut words = vec!["--certificate", "certificate.json", "--key", &key];
        if outside {
            words.extend(["--checkpoints", "outside"]);
        }
        self.ask(&words)
    }
}

fn edited(line: &str) -> String {
    line.replace(r#""counts":{"deleted":3"#, r#""counts":{"deleted":4"#)
}

/// The line again, hashed anew, as whoever rewrites the log does.
fn resealed(line: &str) -> String {
    let entry: Entry = serde_json::from_str(line.split_once(' ').unwrap().1).unwrap();
    format!("{} {}", hex::encode(entry.leaf().unwrap()), line.split_once(' ').unwrap().1)
}

#[test]
fn an_untouched_export_is_verified_from_outside_and_unverified_without() {
    let files = Files::write();
    assert_eq!(files.log(true).0, 0, "{}", files.log(true).1);
    let (code, said) = files.log(false);
    assert_eq!(code, 3);
    assert!(said.ends_with("unverified\n"), "{said}");
    let key = signer(1).verifier().to_string();
    let (code, said) = files.ask(&["export", "--key", &key, "--checkpoints", "outside", "--json"]);
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &said["verdict"], &said["log"]["covered"]), (0, &"verified".into(), &6.into()));
}

#[test]
fn n23_every_kind_of_tampering_with_an_export_is_named() {
    let files = Files::write();
    let six = &files.lines;
    let with = |change: &dyn Fn(&mut Vec<String>)| {
        let mut lines = six.clone();
        change(&mut lines);
        lines
    };
    let cases: [(&str, Vec<String>); 6] = [
        ("edit", with(&|lines| lines[2] = edited(&lines[2]))),
        ("edit", with(&|lines| lines[2].push(' '))),
        ("removal", with(&|lines| drop(lines.remove(2)))),
        ("insertion", with(&|lines| lines.insert(3, lines[2].clone()))),
        ("reorder", with(&|lines| lines.swap(1, 2))),
        (
            "reorder",
            with(&|lines| {
                // Each says the number of the other, and keeps its own hash.
                let (one, two) =
                    (lines[1].replace(r#""seq":1"#, r#""seq":2"#), lines[4].replace(r#""seq":4"#, r#""seq":1"#));
                (lines[1], lines[4]) = (two, one.replace(r#""seq":2"#, r#""seq":4"#));
            }),
        ),
    ];
    for (number, (finding, lines)) in cases.iter().enumerate() {
        files.export(lines);
        let expected = if number == 1 { (0, "verified") } else { (4, *finding) };
        let (code, said) = files.log(true);
        assert!(code == expected.0 && said.contains(expected.1), "case {number}: {said}");
        if number != 1 {
            assert_eq!(files.log(false).0, 4, "case {number}, without anything from outside");
        }
    }
}

#[test]
fn n23_a_cut_tail_and_a_rewritten_log_show_only_from_outside() {
    let files = Files::write();
    files.forget_inside();
    files.export(&files.lines[..5]);
    assert_eq!(files.log(false).0, 3);
    let (code, said) = files.log(true);
    assert!(code == 4 && said.contains("cut tail: 5 entries are there, 6 were sworn to"), "{said}");

    let mut lines = files.lines.clone();
    lines[2] = resealed(&edited(&lines[2]));
    files.export(&lines);
    assert_eq!(files.log(false).0, 3);
    let (code, said) = files.log(true);
    assert!(code == 4 && said.contains("rewritten"), "{said}");
}

#[test]
fn the_databases_own_checkpoints_speak_against_the_log_and_never_for_it() {
    let files = Files::write();
    files.export(&files.lines[..5]);
    assert_eq!(files.log(false).0, 4, "its own checkpoint swears to six");
    let files = Files::write();
    let other = fs::read_to_string(files.folder.join("export/proofs.txt")).unwrap().replace("3 6 ", "3 6 00");
    fs::write(files.folder.join("export/proofs.txt"), other).unwrap();
    assert_eq!(files.log(true).0, 4);
    fs::write(files.folder.join("export/proofs.txt"), "3 6\n").unwrap();
    assert!(files.log(true).1.contains("proof: that the checkpoint of 3 grew into the one of 6 is not shown"));
}

#[test]
fn n23_another_key_proves_nothing_and_a_former_key_does() {
    let files = Files::write();
    let other = signer(2).verifier().to_string();
    let (code, said) = files.ask(&["export", "--key", &other, "--checkpoints", "outside"]);
    assert!(code == 4 && said.contains("not signed by the expected key"), "{said}");
    let both = format!("# now and before\n{other}\n{}\n", signer(1).verifier());
    fs::write(files.folder.join("keys.txt"), both).unwrap();
    assert_eq!(files.ask(&["export", "--key", "keys.txt", "--checkpoints", "outside"]).0, 0);
    // While keys are replaced both sign; either one is enough.
    for (size, note) in &files.notes {
        fs::write(files.folder.join(format!("outside/{size}")), signer(2).cosign(note).unwrap()).unwrap();
        fs::write(files.folder.join(format!("export/checkpoints/{size}")), signer(2).cosign(note).unwrap()).unwrap();
    }
    assert_eq!(files.ask(&["export", "--key", &other, "--checkpoints", "outside"]).0, 0);
    assert_eq!(files.log(true).0, 0);
}

#[test]
fn what_cannot_be_checked_is_not_called_broken() {
    let files = Files::write();
    let key = signer(1).verifier().to_string();
    for (words, code) in [
        (vec!["nowhere", "--key", &key], 1),
        (vec!["export", "--key", "nowhere.txt"], 1),
        (vec!["export"], 1),
        (vec!["--key", &key], 1),
        (vec!["export", "--key"], 2),
        (vec!["--what"], 2),
    ] {
        assert_eq!(files.ask(&words).0, code, "{words:?}: {}", files.ask(&words).1);
    }
}

#[test]
fn a_certificate_is_verified_where_its_checkpoint_was_kept_outside() {
    let files = Files::write();
    assert_eq!(files.paper(true).0, 0, "{}", files.paper(true).1);
    assert_eq!(files.paper(false).0, 3);
    fs::remove_file(files.folder.join("outside/6")).unwrap();
    assert_eq!(files.paper(true).0, 3);
    let other: Tree = [[7; 32]; 6].into_iter().collect();
    fs::write(files.folder.join("outside/6"), Checkpoint::sign(&other, &signer(1)).unwrap()).unwrap();
    assert!(files.paper(true).1.contains("another one than here"));
}

#[test]
fn n23_outside_checkpoints_that_disagree_or_are_bent_speak_against_a_certificate_too() {
    let files = Files::write();
    let other: Tree = [[7; 32]; 6].into_iter().collect();
    let other = Checkpoint::sign(&other, &signer(1)).unwrap();
    // Whichever of the two is read last.
    for name in ["outside/0", "outside/9"] {
        fs::write(files.folder.join(name), &other).unwrap();
        let (code, said) = files.paper(true);
        assert!(code == 4 && said.contains("two different trees of 6 entries"), "{name}: {said}");
        assert_eq!(files.log(true).0, 4);
        fs::remove_file(files.folder.join(name)).unwrap();
    }
    let bent = files.notes[&3].replace("\n3\n", "\n2\n");
    fs::write(files.folder.join("outside/3"), bent).unwrap();
    let (code, said) = files.paper(true);
    assert!(code == 4 && said.contains("one from outside proves nothing"), "{said}");
}

#[test]
fn n23_a_key_swears_for_the_log_that_it_is_named_after_and_one_log_is_checked_at_a_time() {
    let files = Files::write();
    let stranger = Signer::new("photos.example/other", &[3; 32]).unwrap();
    let text = files.notes[&6].split("\n\n").next().unwrap().to_owned() + "\n";
    let note = stranger.sign(&text).unwrap();
    let both = [stranger.verifier(), signer(1).verifier()];
    assert!(Checkpoint::open_by_any(&note, &both).is_err(), "signed for a log that is not the key's own");
    assert!(Checkpoint::open_by_any(&files.notes[&6], &both).is_ok());
    let (one, other) = (signer(1).verifier().to_string(), stranger.verifier().to_string());
    let (code, said) = files.ask(&["export", "--key", &one, "--key", &other, "--checkpoints", "outside"]);
    assert!(code == 1 && said.contains("different logs"), "{said}");
}

#[test]
fn what_came_after_the_last_outside_checkpoint_is_said_to_be_uncovered() {
    let files = Files::write();
    assert!(!files.log(true).1.contains("after the last checkpoint"));
    files.forget_inside();
    fs::remove_file(files.folder.join("outside/6")).unwrap();
    let (code, said) = files.log(true);
    assert!(code == 0 && said.contains("3 entries came after the last checkpoint from outside"), "{said}");
}

#[test]
fn n23_a_changed_certificate_is_named_also_when_it_is_signed_anew() {
    let files = Files::write();
    let path = files.folder.join("certificate.json");
    let text = fs::read_to_string(&path).unwrap();
    for (from, to) in [
        (r#""deleted": 3,"#, r#""deleted": 5,"#),
        ("looked: the store", "promised: the store"),
        (r#""trigger": "retention""#, r#""trigger": "erasure""#),
        (r#""schema":"#, r#""more": 1, "schema":"#),
        ("certificate/1\\n", "certificate/2\\n"),
    ] {
        assert!(text.contains(from), "{from}");
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
        assert_eq!(files.paper(true).0, 4, "{from} -> {to}");
    }
    // Whoever has the key can sign anything, and the proofs still have to hold.
    let signed_anew = |change: &dyn Fn(&mut Certificate)| {
        let mut certificate = files.certificate.clone();
        change(&mut certificate);
        files.certify(&certificate, 1);
        files.paper(true)
    };
    type Change<'a> = &'a dyn Fn(&mut Certificate);
    let cases: [(&str, Change<'_>); 15] = [
        ("not in the log", &|c| c.lines[1].entry.at = "2026-05-26T08:00:00.000001Z".into()),
        ("not in the log", &|c| c.lines[1].proof[0] = "00".repeat(32)),
        ("speaks of another deletion", &|c| c.deletion = "0198f6a0-0000-7000-8000-00000000000e".into()),
        ("neither verified nor retained", &|c| c.steps[0].state = "stuck".into()),
        ("says nothing, or something else", &|c| c.steps[0].deleted = 4),
        ("says nothing, or something else", &|c| drop(c.lines.remove(4))),
        ("does not say that the deletion was complete", &|c| drop(c.lines.pop())),
        ("checkpoint", &|c| c.checkpoint = c.checkpoint.replace("\n6\n", "\n7\n")),
        ("speaks of another deletion", &|c| c.tenant = "haloprofile".into()),
        ("another number of objects", &|c| drop(c.lines.remove(2))),
        ("another number of steps", &|c| drop(c.lines.remove(0))),
        ("stands there twice", &|c| c.lines.push(c.lines[1].clone())),
        ("stands there twice", &|c| c.steps.push(c.steps[0].clone())),
        ("speaks of a step that is not shown", &|c| c.steps[0].seq = 2),
        ("another number of steps", &|c| c.steps.push(Step { seq: 2, ..c.steps[0].clone() })),
    ];
    for (said, change) in cases {
        let (code, answer) = signed_anew(change);
        assert!(code == 4 && answer.contains(said), "{said}: {answer}");
    }
    files.certify(&files.certificate, 2);
    assert!(files.paper(true).1.contains("signature"), "signed by another key");
}
