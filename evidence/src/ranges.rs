//! A set of numbers that mostly follow each other: as small as its gaps are few.

use std::collections::BTreeMap;

/// First number of each run, and the number behind its last.
#[derive(Debug, Default)]
pub(crate) struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    /// Put it in. `false`: it was there.
    pub(crate) fn insert(&mut self, number: u64) -> bool {
        let end = number.saturating_add(1);
        let before = self.0.range(..=number).next_back().map(|(&from, &to)| (from, to));
        if before.is_some_and(|(_, to)| to > number) {
            return false;
        }
        let from = match before {
            Some((from, to)) if to == number => from,
            _ => number,
        };
        let to = self.0.remove(&end).unwrap_or(end);
        self.0.insert(from, to);
        true
    }

    /// What is missing below the highest: first and last number of each gap.
    pub(crate) fn gaps(&self) -> Vec<(u64, u64)> {
        let mut next = 0;
        let mut gaps = Vec::new();
        for (&from, &to) in &self.0 {
            if from > next {
                gaps.push((next, from - 1));
            }
            next = to;
        }
        gaps
    }
}
