//! What is read from files, rows and names that somebody else may have written: policies, payloads, photos, results of models, the
//! audit log with its checkpoints and proofs, certificates, names in the erasure ledger, and places in lists.

use std::path::{Path, PathBuf};

use chrono::DateTime;
use proptest::prelude::{Strategy, any};
use safelight_evidence::{
    Entry, Signer, Tree, Verdict, certificate,
    check::{self, Question},
    checkpoint::Checkpoint,
    merkle::{self, Hash},
    note::Verifier,
    tiles,
};
use safelight_faces::{Limits, decode};
use safelight_jobs::{
    id::Id,
    intake::Ground,
    place::Place,
    policy::{Policy, Purpose},
    providers::{
        fal,
        ledger::{Act, LedgerEntry},
    },
    registry,
};
use serde_json::{Value, json};

use super::{each, near, near_json};

#[test]
fn a_policy_near_a_good_one_is_read_or_refused() {
    let good = ["koselfie", "haloprofile"].map(|tenant| {
        std::fs::read(format!("{}/policies/{tenant}.toml", env!("CARGO_MANIFEST_DIR"))).expect("a policy")
    });
    each(near(good.to_vec()), 300, |bytes| {
        if let Ok(text) = std::str::from_utf8(&bytes) {
            let _ = Policy::parse(text);
        }
    });
}

#[test]
fn a_payload_near_a_good_one_is_read_or_refused() {
    let order = "order_019a8f2e6c5d7b1290f3a4b5c6d7e8f9";
    let good = [
        json!({ "order": order }),
        json!({ "order": order, "event": "evt_1" }),
        json!({ "image": "artifact_019a8f2e6c5d7b1290f3a4b5c6d7e8f9" }),
        json!({ "because": "cron:1", "grace_seconds": 0, "hours": 3 }),
        json!({ "deletion": "deletion_019a8f2e6c5d7b1290f3a4b5c6d7e8f9" }),
        json!({ "intent": "intent_019a8f2e6c5d7b1290f3a4b5c6d7e8f9", "call": 1 }),
    ];
    each(near_json(&good), 2000, |bytes| {
        if let Ok(payload) = serde_json::from_slice::<Value>(&bytes) {
            for known in registry::ALL {
                let _ = registry::wish(known.name, payload.clone());
            }
        }
    });
}

#[test]
fn a_models_result_near_a_good_one_is_read_or_refused() {
    let file = json!({ "url": "https://v3.fal.media/files/a/b.safetensors", "content_type": "application/octet-stream", "file_size": 89_000_000 });
    let image = json!({ "url": "https://v3.fal.media/files/a/b.png", "width": 1024, "height": 1024, "content_type": "image/png" });
    let good = [
        json!({ "diffusers_lora_file": file, "config_file": file }),
        json!({ "images": [image, image], "has_nsfw_concepts": [false, true], "seed": 7, "prompt": "x" }),
        json!({ "nsfw_probability": 0.01 }),
    ];
    each(near_json(&good), 2000, |bytes| {
        if let Ok(result) = serde_json::from_slice(&bytes) {
            let _ = fal::trained_model(&result);
            let _ = fal::images(&result);
            if let Ok(probability) = fal::nsfw_probability(&result) {
                assert!((0.0..=1.0).contains(&probability), "{probability}");
            }
        }
    });
}

#[test]
fn a_photo_near_a_good_one_is_decoded_or_refused_within_its_limits() {
    let mut good = Vec::new();
    for format in [image::ImageFormat::Png, image::ImageFormat::Jpeg, image::ImageFormat::WebP] {
        let mut bytes = std::io::Cursor::new(Vec::new());
        image::RgbImage::from_fn(32, 24, |x, y| image::Rgb([(x * 7) as u8, (y * 9) as u8, 90]))
            .write_to(&mut bytes, format)
            .expect("a picture");
        good.push(bytes.into_inner());
    }
    let limits = Limits::default();
    each(near(good), 1500, |bytes| {
        if let Ok(photo) = decode(&bytes, &limits) {
            assert_eq!(photo.rgb().len(), photo.width() as usize * photo.height() as usize * 3);
        }
    });
}

/// Names of one entry of each act and ground. A new one does not compile before it is named here.
fn names_in_the_ledger() -> Vec<Vec<u8>> {
    let until = DateTime::from_timestamp(1_800_000_000, 0).expect("a time");
    let acts = [
        Act::Erasure,
        Act::Withdrawal(Purpose::Train),
        Act::Objection(Purpose::Nsfw),
        Act::Photo(Id::new()),
        Act::Restriction(Ground::Accuracy),
        Act::Restriction(Ground::Objection),
        Act::Restriction(Ground::Unlawful(until)),
        Act::Restriction(Ground::Claims(until)),
        Act::Release,
    ];
    let kind = |act: &Act| match act {
        Act::Erasure => 0,
        Act::Withdrawal(_) => 1,
        Act::Objection(_) => 2,
        Act::Photo(_) => 3,
        Act::Restriction(Ground::Accuracy) => 4,
        Act::Restriction(Ground::Objection) => 5,
        Act::Restriction(Ground::Unlawful(_)) => 6,
        Act::Restriction(Ground::Claims(_)) => 7,
        Act::Release => 8,
    };
    assert_eq!(acts.iter().map(kind).collect::<Vec<_>>(), (0..9).collect::<Vec<_>>(), "one of each");
    let entry = |act| LedgerEntry { at: 1_790_000_000, tenant: "koselfie".to_owned(), subject: Id::new(), act };
    acts.map(|act| entry(act).to_string().into_bytes()).to_vec()
}

#[test]
fn a_name_near_one_of_the_erasure_ledger_is_read_as_what_it_says_or_refused() {
    each(near(names_in_the_ledger()), 3000, |bytes| {
        let Ok(name) = std::str::from_utf8(&bytes) else { return };
        if let Ok(entry) = name.parse::<LedgerEntry>() {
            assert_eq!(entry.to_string().parse(), Ok(entry), "{name} is not what is written of it");
        }
    });
}

#[test]
fn a_place_in_a_list_near_a_good_one_is_read_as_what_it_says_or_refused() {
    let good = b"1790000000123456.019a8f2e6c5d7b1290f3a4b5c6d7e8f9".to_vec();
    each(near(vec![good]), 3000, |bytes| {
        let Ok(text) = std::str::from_utf8(&bytes) else { return };
        if let Ok(place) = text.parse::<Place>() {
            assert_eq!(place.to_string().parse(), Ok(place), "{text} is not what is written of it");
        }
    });
}

#[test]
fn evidence_near_good_evidence_is_read_or_refused() {
    let log = Log::new();
    let certificate = json!({ "certificate": { "version": 1, "deletion": "deletion_019a8f2e6c5d7b1290f3a4b5c6d7e8f9", "steps": [] }, "signature": "AA==" });
    let good = vec![
        log.notes[1].clone().into_bytes(),
        log.entries[1].canonical().expect("an entry"),
        certificate.to_string().into_bytes(),
        log.key.clone().into_bytes(),
        log.signer.secret_text().into_bytes(),
    ];
    each(near(good), 2000, |bytes| {
        let _ = Entry::from_canonical(&bytes);
        let _ = certificate::verify_certificate(&bytes, &[] as &[&str], &[]);
        if let Ok(text) = std::str::from_utf8(&bytes) {
            let _ = text.parse::<Verifier>();
            let _ = Signer::from_secret_text(text);
            let _ = Checkpoint::peek(text);
            let _ = Checkpoint::open_by_any(text, &[log.signer.verifier()]);
        }
    });
}

/// A small log as an export has it.
struct Log {
    signer: Signer,
    key: String,
    entries: Vec<Entry>,
    leaves: Vec<Hash>,
    notes: Vec<String>,
}

impl Log {
    fn new() -> Self {
        let signer = Signer::new("safelight.example/log", &[7; 32]).expect("a name");
        let (mut tree, mut entries, mut leaves, mut notes) = (Tree::default(), Vec::new(), Vec::new(), Vec::new());
        for seq in 0..9 {
            let entry: Entry = serde_json::from_value(json!({
                "action": "artifact.deleted", "actor": "worker", "alias": null, "at": "2026-11-27T00:00:00.000000Z", "class": "upload",
                "codes": { "why": "retention" }, "commitment": null, "counts": { "objects": seq }, "deletion_id": null, "grants": [],
                "job_id": null, "job_kind": "delete_data", "order_id": null, "outcome": "verified", "policy_version": "2026-05-25",
                "processor": "supabase", "purpose": null, "seq": seq, "tenant": "koselfie",
            }))
            .expect("an entry");
            leaves.push(entry.leaf().expect("a leaf"));
            tree.push(leaves[leaves.len() - 1]);
            entries.push(entry);
            if [5, 9].contains(&tree.size()) {
                notes.push(Checkpoint::sign(&tree, &signer).expect("a checkpoint"));
            }
        }
        Self { key: signer.verifier().to_string(), signer, entries, leaves, notes }
    }

    /// Each file of the export by its name, and the checkpoint that was kept outside.
    fn files(&self) -> Vec<(&'static str, String)> {
        let line = |(entry, leaf): (&Entry, &Hash)| {
            let entry = entry.canonical().expect("an entry");
            format!("{} {}\n", hex::encode(leaf), String::from_utf8(entry).expect("a text"))
        };
        let proof = merkle::consistency_proof(&self.leaves, 5).expect("a proof");
        let proof: Vec<String> = proof.iter().map(hex::encode).collect();
        vec![
            ("export/entries.txt", self.entries.iter().zip(&self.leaves).map(line).collect()),
            ("export/proofs.txt", format!("5 9 {}\n", proof.join(" "))),
            ("export/checkpoints/5.txt", self.notes[0].clone()),
            ("export/checkpoints/9.txt", self.notes[1].clone()),
            ("outside/9.txt", self.notes[1].clone()),
            ("keys.txt", format!("# of the log\n{}\n", self.key)),
        ]
    }
}

fn asked(folder: &Path) -> Result<check::Answer, check::CannotCheck> {
    check::check(&Question {
        export: Some(folder.join("export")),
        outside: vec![folder.join("outside")],
        keys: vec![folder.join("keys.txt").display().to_string()],
        certificates: Vec::new(),
    })
}

/// Gone at the end, also of a test that fails.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn an_export_with_one_file_near_the_good_one_is_checked_or_cannot_be_and_never_covers_more() {
    let folder = Folder(std::env::temp_dir().join(format!("safelight-near-{}", uuid::Uuid::new_v4().simple())));
    for sub in ["export/checkpoints", "outside"] {
        std::fs::create_dir_all(folder.0.join(sub)).expect("a folder");
    }
    let files = Log::new().files();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.0.join(name), bytes).expect("a file");
    files.iter().for_each(|(name, text)| write(name, text.as_bytes()));
    let good = asked(&folder.0).expect("an answer");
    assert_eq!((good.verdict, good.log.map(|log| log.covered)), (Verdict::Verified, Some(9)));
    for (name, text) in &files {
        each(near(vec![text.clone().into_bytes()]), 150, |bytes| {
            write(name, &bytes);
            if let Ok(answer) = asked(&folder.0) {
                let (shown, covered) = (answer.to_string(), answer.log.map(|log| log.covered));
                assert!(covered <= Some(9) && shown.len() < 1_000_000, "{name}: {shown}");
            }
        });
        write(name, text.as_bytes());
    }
}

/// Small numbers, and those at the edges of what a number holds.
fn places() -> impl Strategy<Value = u64> {
    any::<(u64, u8)>().prop_map(|(number, shift)| number >> (shift % 64))
}

#[test]
fn proofs_of_any_sizes_hold_or_do_not() {
    let log = Log::new();
    let proofs = (places(), places(), any::<Vec<[u8; 32]>>(), any::<[u8; 32]>());
    each(proofs, 2000, |(one, other, proof, root)| {
        assert!(!merkle::verify_inclusion(&root, one, other, &proof, &log.leaves[0]), "a proof of dice");
        let same = one == other && proof.is_empty();
        assert!(same || one == 0 || !merkle::verify_consistency(one, &root, other, &log.leaves[0], &proof));
        assert!(tiles::wanted_for_inclusion(&[one], other).len() < 40_000);
        assert!(tiles::wanted_for_consistency(one, other).len() < 40_000);
        let _ = Tree::from_peaks(one, proof).map(|tree| tree.root());
    });
}
