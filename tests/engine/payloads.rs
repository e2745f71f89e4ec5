//! What is stored is a promise: every job's payload, key and queue as rows of older versions hold them. A change here
//! is a change of a contract: add fields as `Option`, keep old names as aliases, raise `VERSION`.

use std::collections::BTreeMap;

use safelight_jobs::registry;
use serde_json::{Value, json};

const A: &str = "018f2e6c5d7b71290f3aa4b5c6d7e8f9";

/// Payload, key, queue and attempts of every job.
fn stored() -> BTreeMap<&'static str, (Value, String, &'static str, i32)> {
    let order = json!({ "order": format!("order_{A}") });
    let call = json!({ "call": format!("intent_{A}") });
    let image = json!({ "image": format!("artifact_{A}") });
    BTreeMap::from([
        (
            "confirm_payment",
            (
                json!({ "order": format!("order_{A}"), "event": "evt_1" }),
                format!("confirm_payment:order_{A}:evt_1"),
                "payments",
                12,
            ),
        ),
        (
            "close_checkout",
            (
                json!({ "order": format!("order_{A}"), "event": "evt_1" }),
                format!("close_checkout:order_{A}:evt_1"),
                "payments",
                12,
            ),
        ),
        (
            "book_money",
            (
                json!({ "session": "cs_test_1", "event": "evt_1" }),
                "book_money:cs_test_1:evt_1".to_owned(),
                "payments",
                30,
            ),
        ),
        (
            "refund_payment",
            (json!({ "refund": format!("refund_{A}") }), format!("refund_payment:refund_{A}"), "payments", 40),
        ),
        ("reconcile_money", (json!({ "because": "hour:1" }), "reconcile_money:hour:1".to_owned(), "sweeps", 5)),
        ("train_model", (order.clone(), format!("train_model:order_{A}"), "training", 8)),
        ("collect_model", (call.clone(), format!("collect_model:intent_{A}"), "training", 10)),
        ("generate_batch", (order.clone(), format!("generate_batch:order_{A}"), "generation", 10)),
        ("collect_image", (call.clone(), format!("collect_image:intent_{A}"), "generation", 10)),
        ("check_image", (image.clone(), format!("check_image:artifact_{A}"), "generation", 10)),
        ("measure_selfies", (order, format!("measure_selfies:order_{A}"), "faces", 6)),
        ("compare_faces", (image, format!("compare_faces:artifact_{A}"), "faces", 6)),
        (
            "deliver_order",
            (
                json!({ "order": format!("order_{A}"), "because": "grant_1" }),
                format!("deliver_order:order_{A}:grant_1"),
                "generation",
                10,
            ),
        ),
        ("send_notice", (json!({ "notice": format!("notice_{A}") }), format!("send_notice:notice_{A}"), "notices", 12)),
        (
            "correct_sign_in",
            (
                json!({ "subject": format!("subject_{A}"), "because": A }),
                format!("correct_sign_in:subject_{A}:{A}"),
                "notices",
                12,
            ),
        ),
        (
            "export_data",
            (json!({ "export": format!("artifact_{A}") }), format!("export_data:artifact_{A}"), "notices", 10),
        ),
        ("sweep_retention", (json!({ "because": "tick:1" }), "sweep_retention:tick:1".to_owned(), "sweeps", i32::MAX)),
        ("sweep_deletions", (json!({ "because": "tick:1" }), "sweep_deletions:tick:1".to_owned(), "sweeps", 10)),
        ("sweep_orphans", (json!({ "because": "tick:1" }), "sweep_orphans:tick:1".to_owned(), "sweeps", 5)),
        ("sweep_fiscal", (json!({ "because": "tick:1" }), "sweep_fiscal:tick:1".to_owned(), "sweeps", 5)),
        ("reconcile_calls", (json!({ "because": "tick:1" }), "reconcile_calls:tick:1".to_owned(), "sweeps", 5)),
        ("expire_consents", (json!({ "because": "tick:1" }), "expire_consents:tick:1".to_owned(), "sweeps", 5)),
        ("prune_history", (json!({ "because": "tick:1" }), "prune_history:tick:1".to_owned(), "sweeps", 5)),
        ("act_on_jobs", (json!({ "bulk": format!("bulk_{A}") }), format!("act_on_jobs:bulk_{A}"), "sweeps", 10)),
        (
            "resolve_call",
            (
                json!({ "call": format!("intent_{A}"), "outcome": "accepted", "request": "b3f1c7d2-1", "by": "ops_1", "why": "seen_there" }),
                format!("resolve_call:intent_{A}:accepted:b3f1c7d2-1"),
                "sweeps",
                10,
            ),
        ),
        ("tell_policies", (json!({ "because": "tick:1" }), "tell_policies:tick:1".to_owned(), "sweeps", 10)),
        ("purge_call", (call, format!("purge_call:intent_{A}"), "deletion", i32::MAX)),
        (
            "delete_data",
            (json!({ "deletion": format!("deletion_{A}") }), format!("delete_data:deletion_{A}"), "deletion", i32::MAX),
        ),
    ])
}

#[test]
fn every_stored_payload_is_read_and_written_as_it_was() {
    let stored = stored();
    for known in registry::ALL {
        let Some((payload, key, queue, attempts)) = stored.get(known.name) else {
            panic!("`{}` is listed and its payload is not held here: add it", known.name)
        };
        let wish = registry::wish(known.name, payload.clone()).unwrap();
        assert_eq!(&wish.payload, payload, "{}", known.name);
        assert_eq!((wish.kind, &wish.key, wish.queue.as_str()), (known.name, key, *queue));
        assert_eq!((wish.version, wish.max_attempts), (1, *attempts), "{}", known.name);
    }
    assert_eq!(stored.len(), registry::ALL.len(), "a job left the list: rows of it may still be stored");
}

#[test]
fn a_payload_holds_ids_and_codes_and_nothing_about_a_person() {
    for (kind, (payload, ..)) in stored() {
        for (field, value) in payload.as_object().unwrap() {
            let text = value.as_str().unwrap();
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '-');
            assert!(text.len() <= 128 && text.chars().all(plain), "{kind}: {field}");
        }
    }
}
