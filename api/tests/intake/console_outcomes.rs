//! What a page says was done a moment ago: the words of the console's own redirects, and no words that a stranger put into an address.

use std::{collections::BTreeSet, fs};

use safelight_api::tokens::Scope;
use safelight_jobs::{operate::Act, sweeps::Sweep};

use crate::{browser::Browser, house::House};

const SAYS: &str = "<p class=\"done\"";

/// The closed list, as the source has it.
fn outcomes() -> BTreeSet<String> {
    let source = include_str!("../../src/console/act.rs");
    let list = source.split("const OUTCOMES: &[&str] = &[").nth(1).and_then(|rest| rest.split(']').next());
    words(list.expect("the list"))
}

/// The words in quotation marks.
fn words(source: &str) -> BTreeSet<String> {
    source.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The source of every page.
fn pages() -> Vec<(String, String)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/console");
    let files = fs::read_dir(folder).expect("the pages").map(|file| file.expect("a file").path());
    files
        .filter(|path| path.extension().is_some_and(|end| end == "rs"))
        .map(|path| (path.display().to_string(), fs::read_to_string(&path).expect("a source")))
        .collect()
}

#[test]
fn whatever_a_redirect_says_was_done_is_on_the_list() {
    let known = outcomes();
    assert!(known.len() > 20, "{known:?}");
    let mut used = 0;
    for (path, source) in pages() {
        // One function writes that word into an address.
        let writes = source.matches("?done={").count();
        assert_eq!(writes, usize::from(path.ends_with("/act.rs")), "{path} redirects by `act::done`");
        for call in source.split("act::done(").skip(1) {
            used += 1;
            let call = call.split(";\n").next().unwrap_or_default().split(",\n").next().unwrap_or_default();
            let said = call.rsplit_once(", \"").and_then(|(_, word)| word.split('"').next());
            if let Some(word) = said {
                assert!(known.contains(word), "{path} says {word}");
            }
        }
    }
    assert!(used > 15, "{used}");
    for act in Act::ALL {
        assert!(known.contains(act.outcome()), "{}", act.outcome());
    }
    let everywhere: String =
        pages().into_iter().filter(|(path, _)| !path.ends_with("/act.rs")).map(|(_, s)| s).collect();
    let of_acts: BTreeSet<&str> = Act::ALL.iter().map(|act| act.outcome()).collect();
    for word in &known {
        let whole = word.strip_suffix("_and_restricted_as_before").unwrap_or(word);
        let used = everywhere.contains(&format!("\"{whole}\"")) || of_acts.contains(word.as_str());
        assert!(used, "no page says {word}");
    }
}

#[tokio::test]
async fn a_page_says_what_was_done_and_nothing_that_somebody_wrote_into_its_address() {
    let house = House::build().await;
    let operator = Browser::of(&house, None, &[Scope::Operate]).await;
    let mut ours: Vec<String> = outcomes().into_iter().collect();
    ours.extend(["1_redriven", "1000_discarded"].map(str::to_owned));
    ours.extend(Sweep::ALL.map(|sweep| format!("{}_started", sweep.as_str())));
    for word in ours {
        let shown = operator.opens(&format!("/console/controls?done={word}")).await.text;
        let says = format!("{SAYS} role=\"status\">Done: {}.", word.replace('_', " "));
        assert!(shown.contains(&says), "{word}: {shown}");
    }
    for word in [
        "your_account_is_closed_call_0900_1234",
        "paused_by_mistake",
        "_redriven",
        "12345_redriven",
        "many_redriven",
        "call_us_redriven",
        "everything_started",
        "_started",
        "",
        "Paused",
    ] {
        let shown = operator.opens(&format!("/console/controls?done={word}")).await.text;
        assert!(!shown.contains(SAYS), "{word}: {shown}");
    }
}
