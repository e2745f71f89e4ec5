//! `safelight report`: every clause of both privacy policies as kept, unkept or not software.
//!
//! A clause is kept by tests that ran and passed, and by nothing else: their names begin with the clause's id (`k23_…`; a
//! test that proves two begins with both). A row whose test failed, or that has none, is unkept. Below the rows stands what is done
//! although a policy's text does not list it, with who accepted that, when and why (D7).

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::Context;
use clap::Args;
use serde::Serialize;

use crate::{config, process::say};

/// Id, how far software can keep it, and the promise in our words.
const CLAUSES: &str = include_str!("clauses.tsv");

#[derive(Debug, Args)]
pub(crate) struct Report {
    /// What `cargo test` printed. Without it nothing is proven
    #[arg(long)]
    tests: Option<PathBuf>,
    /// A folder of policies, one `<tenant>.toml` each; without it the ones in the binary
    #[arg(long, env = "SAFELIGHT_POLICIES")]
    policies: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// How one row stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Kept,
    Unkept,
    NotSoftware,
}

#[derive(Debug, Serialize)]
struct Row {
    id: &'static str,
    promise: &'static str,
    /// Kept by people and contracts as well; the software half is what is shown here.
    partly: bool,
    verdict: Verdict,
    proven_by: Vec<String>,
    failed: Vec<String>,
}

/// Of one tenant: what its text does not list.
#[derive(Debug, Serialize)]
struct Gap {
    tenant: String,
    accepted: String,
}

/// All of it, as JSON.
#[derive(Debug, Serialize)]
struct Whole {
    rows: Vec<Row>,
    accepted_gaps: Vec<Gap>,
}

impl Report {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let printed = match &self.tests {
            Some(file) => {
                std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?
            }
            None => String::new(),
        };
        let policies = config::policies(self.policies.as_deref())?;
        let gaps = policies.iter().flat_map(|policy| {
            policy
                .accepted_gaps()
                .iter()
                .map(|gap| Gap { tenant: policy.tenant().to_owned(), accepted: gap.to_string() })
        });
        let whole = Whole { rows: rows(&printed), accepted_gaps: gaps.collect() };
        if self.json {
            say(serde_json::to_string_pretty(&whole)?);
            return Ok(());
        }
        let Whole { rows, accepted_gaps } = whole;
        let count = |verdict| rows.iter().filter(|row| row.verdict == verdict).count();
        for row in &rows {
            let word = match row.verdict {
                Verdict::Kept if row.partly => "kept*",
                Verdict::Kept => "kept",
                Verdict::Unkept => "UNKEPT",
                Verdict::NotSoftware => "not software",
            };
            say(format_args!("{:<4} {word:<13} {}", row.id, row.promise));
            for test in &row.proven_by {
                say(format_args!("                     {test}"));
            }
            for test in &row.failed {
                say(format_args!("              FAILED {test}"));
            }
        }
        say(format_args!(
            "\n{} rows: {} kept, {} unkept, {} not software.  * the software half of a promise that people and contracts keep too",
            rows.len(),
            count(Verdict::Kept),
            count(Verdict::Unkept),
            count(Verdict::NotSoftware)
        ));
        if !accepted_gaps.is_empty() {
            say("\nDone although the published text does not list it:");
        }
        for gap in &accepted_gaps {
            say(format_args!("{:<12} {}", gap.tenant, gap.accepted));
        }
        Ok(())
    }
}

fn rows(printed: &str) -> Vec<Row> {
    let tests = results(printed);
    let mut by_clause: BTreeMap<String, Vec<(&str, bool)>> = BTreeMap::new();
    for (name, passed) in &tests {
        for id in clauses_of(name) {
            by_clause.entry(id).or_default().push((name, *passed));
        }
    }
    CLAUSES
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let mut parts = line.split('\t');
            let (id, kind, promise) = (parts.next()?, parts.next()?, parts.next()?);
            let of = by_clause.get(&id.to_lowercase()).map(Vec::as_slice).unwrap_or_default();
            let names = |wanted: bool| {
                of.iter()
                    .filter(|(_, passed)| *passed == wanted)
                    .map(|(name, _)| (*name).to_owned())
                    .collect::<Vec<_>>()
            };
            let (proven_by, failed) = (names(true), names(false));
            let verdict = match kind {
                "not_software" => Verdict::NotSoftware,
                _ if failed.is_empty() && !proven_by.is_empty() => Verdict::Kept,
                _ => Verdict::Unkept,
            };
            Some(Row { id, promise, partly: kind == "partly", verdict, proven_by, failed })
        })
        .collect()
}

/// Lines of cargo's test runner: `test path::name ... ok`.
fn results(printed: &str) -> Vec<(String, bool)> {
    printed
        .lines()
        .filter_map(|line| {
            let (path, result) = line.trim().strip_prefix("test ")?.split_once(" ... ")?;
            let name = path.split(" - ").next()?.rsplit("::").next()?;
            let passed = match result.trim() {
                "ok" => true,
                failed if failed.starts_with("FAILED") => false,
                _ => return None,
            };
            Some((name.to_owned(), passed))
        })
        .collect()
}

/// The ids that a test's name begins with.
fn clauses_of(name: &str) -> Vec<String> {
    name.split('_')
        .take_while(|part| {
            let mut letters = part.chars();
            matches!(letters.next(), Some('h' | 'k' | 'n' | 'd'))
                && part.len() > 1
                && letters.all(|letter| letter.is_ascii_digit())
        })
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_has_all_82_rows_and_7_of_them_are_not_software() {
        let rows = rows("");
        assert_eq!(rows.len(), 82);
        assert_eq!(rows.iter().filter(|row| row.verdict == Verdict::NotSoftware).count(), 7);
        assert_eq!(rows.iter().filter(|row| row.partly).count(), 13);
    }

    #[test]
    fn a_row_without_a_passing_test_is_unkept_and_one_failure_outweighs_a_pass() {
        let printed = "test clauses::clocks::k23_selfies_go ... ok\ntest clauses::clocks::k24_images_stay ... ok\n\
            test clauses::clocks::k24_images_go ... FAILED\ntest x::h6_k12_no_card_number ... ok\ntest other ... ok\n";
        let verdict = |id: &str| rows(printed).into_iter().find(|row| row.id == id).unwrap().verdict;
        assert_eq!(verdict("K23"), Verdict::Kept);
        assert_eq!(verdict("K24"), Verdict::Unkept);
        assert_eq!(verdict("K25"), Verdict::Unkept);
        assert_eq!(verdict("H6"), Verdict::Kept);
        assert_eq!(verdict("K12"), Verdict::Kept);
        assert_eq!(verdict("H2"), Verdict::NotSoftware);
    }
}
