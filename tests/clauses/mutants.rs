//! Which clauses have a rule that `./dev mutants` takes out, and that each rule of the list still stands where the list says. Reads the
//! list; takes nothing out itself.

use std::{collections::BTreeSet, path::Path};

/// A clause's id, as it begins the name of a test.
fn is_id(word: &str) -> bool {
    word.len() > 1 && word.starts_with(['h', 'k', 'n']) && word[1..].bytes().all(|b| b.is_ascii_digit())
}

/// The ids that the tests of the list begin with.
fn taken_out() -> BTreeSet<String> {
    include_str!("../mutants.toml")
        .lines()
        .filter(|line| line.starts_with("test = "))
        .flat_map(|line| line.split('"').skip(1).step_by(2))
        .filter_map(|test| test.rsplit(':').next())
        .flat_map(|name| name.split('_').take_while(|word| is_id(word)))
        .map(str::to_uppercase)
        .collect()
}

#[test]
fn each_clause_that_software_keeps_has_a_rule_that_is_taken_out() {
    let taken_out = taken_out();
    let left: Vec<&str> = include_str!("../../src/clauses.tsv")
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .filter_map(|line| line.split_once('\t'))
        .filter(|(id, rest)| !rest.starts_with("not_software") && !taken_out.contains(*id))
        .map(|(id, _)| id)
        .collect();
    assert_eq!(left, Vec::<&str>::new(), "these clauses have no mutant in tests/mutants.toml");
    assert!(taken_out.len() > 85, "{taken_out:?}");
}

/// Who changes the code of a rule finds out here, and not when the list is run again.
#[test]
fn each_rule_of_the_list_stands_once_where_the_list_says() {
    let list: toml::Table = include_str!("../mutants.toml").parse().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut in_source = 0;
    for mutant in list["mutant"].as_array().unwrap() {
        let said = |name: &str| mutant.get(name).and_then(toml::Value::as_str);
        let rule = said("rule").unwrap_or_default();
        let (Some(file), Some(old)) = (said("file"), said("old")) else { continue };
        let text = std::fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert_eq!(text.matches(old).count(), 1, "{file}: {rule}: {old}");
        in_source += 1;
    }
    assert!(in_source > 30, "{in_source}");
}
