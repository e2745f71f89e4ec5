//! The list of codes, and its page in the documents.

use std::{fmt::Write, path::Path};

use safelight_api::codes::CODES;

/// What `docs/errors.md` says.
fn page() -> String {
    let mut page = String::from(
        "# Error codes\n\n\
        Every refusal of the intake is a problem (RFC 9457, `application/problem+json`) with `type`, `title`, `status`, `detail`,\n\
        `code` and `request_id`. Branch on `code`: it never changes its meaning. `detail` is a sentence for a person and may change.\n\
        A request that was refused changed nothing; only of `outcome_unknown` nobody knows, and the same request may be sent again with\n\
        the same idempotency key. This page is the table of `api/src/codes.rs`; a test holds it to it and writes it\n\
        with `SAFELIGHT_WRITE_DOCS=1 cargo test -p safelight-api codes`.\n\n\
        | code | status | what it means |\n|---|---|---|\n",
    );
    for (code, status, title) in CODES {
        let _ = writeln!(page, "| `{code}` | {status} | {title} |");
    }
    page
}

#[test]
fn the_page_of_codes_is_the_table_in_the_code() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/errors.md");
    if std::env::var_os("SAFELIGHT_WRITE_DOCS").is_some() {
        std::fs::write(&file, page()).expect("written");
    }
    assert_eq!(std::fs::read_to_string(file).expect("docs/errors.md"), page());
}

#[test]
fn the_table_is_sorted_and_names_no_code_twice() {
    assert!(CODES.windows(2).all(|two| two[0].0 < two[1].0), "sorted by code");
    assert!(CODES.iter().all(|(_, status, _)| (400..=503).contains(status)));
}

#[test]
fn every_code_that_the_domain_answers_with_is_in_the_table() {
    let jobs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../jobs/src/intake");
    let mut found = 0;
    for file in std::fs::read_dir(jobs).expect("the intake's sources") {
        let text = std::fs::read_to_string(file.expect("a file").path()).expect("its text");
        let without_space: String = text.split_whitespace().collect();
        for start in ["code:\"", "IntakeError::invalid(\""] {
            for rest in without_space.split(start).skip(1) {
                let code = rest.split('"').next().expect("a code");
                assert!(CODES.iter().any(|(known, ..)| *known == code), "`{code}` is missing from api/src/codes.rs");
                found += 1;
            }
        }
    }
    assert!(found > 8, "the sources were read: {found}");
    for code in safelight_jobs::gate::CODES {
        assert!(CODES.iter().any(|(known, ..)| known == code), "`{code}` is missing from api/src/codes.rs");
    }
}
