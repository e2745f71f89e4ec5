//! Which inner hashes of the tree are kept, and proofs made of them: the cost of a proof does not grow with the log.
//!
//! Every subtree of 256, 65,536, ... leaves is kept by its root, as in <https://c2sp.org/tlog-tiles> (height 8): one hash more
//! for 255 leaves. A proof then needs at most two rows of 256 hashes a level: the row that the leaf is in, and the row at the
//! right edge.

use std::collections::BTreeSet;

use crate::merkle::{Hash, node_hash};

/// Binary levels between two kept ones.
const HEIGHT: u32 = 8;

/// A kept hash: the root over the leaves `index * 256^level ..`. On level 0 it is a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node {
    /// How many times 256 leaves were folded into one.
    pub level: u8,
    /// Which one, from the left.
    pub index: u64,
}

impl Node {
    /// The node of this binary height that `leaf` completes, if that height is kept.
    pub(crate) fn ending_at(leaf: u64, height: u32) -> Option<Self> {
        height.is_multiple_of(HEIGHT).then_some(Self { level: (height / HEIGHT) as u8, index: leaf >> height })
    }

    /// The node over exactly `from..to`, if it is kept.
    fn over(from: u64, to: u64) -> Option<Self> {
        let length = to - from;
        let height = length.trailing_zeros();
        (length.is_power_of_two() && height.is_multiple_of(HEIGHT))
            .then_some(Self { level: (height / HEIGHT) as u8, index: from >> height })
    }
}

/// Audit path of leaf `index` in the tree over the first `size` leaves, lowest sibling first. `None`: there is no such leaf, or
/// `kept` lacks a hash.
pub fn inclusion_proof(index: u64, size: u64, mut kept: impl FnMut(Node) -> Option<Hash>) -> Option<Vec<Hash>> {
    if index >= size {
        return None;
    }
    let mut path = Vec::new();
    let (mut from, mut to) = (0, size);
    while to - from > 1 {
        let middle = from + split(to - from);
        if index < middle {
            path.push(root(middle, to, &mut kept)?);
            to = middle;
        } else {
            path.push(root(from, middle, &mut kept)?);
            from = middle;
        }
    }
    path.reverse();
    Some(path)
}

/// Proof that the tree over `new` leaves is the one over the first `old` with more appended. `None`: there are fewer, or
/// `kept` lacks a hash.
pub fn consistency_proof(old: u64, new: u64, mut kept: impl FnMut(Node) -> Option<Hash>) -> Option<Vec<Hash>> {
    if old > new {
        return None;
    }
    let mut proof = Vec::new();
    if old > 0 && old < new {
        let (mut from, mut to, mut whole) = (0, new, true);
        while old < to {
            let middle = from + split(to - from);
            if old <= middle {
                proof.push(root(middle, to, &mut kept)?);
                to = middle;
            } else {
                proof.push(root(from, middle, &mut kept)?);
                from = middle;
                whole = false;
            }
        }
        if !whole {
            proof.push(root(from, to, &mut kept)?);
        }
        proof.reverse();
    }
    Some(proof)
}

/// The kept hashes that the inclusion proofs of these leaves ask for.
#[must_use]
pub fn wanted_for_inclusion(indexes: &[u64], size: u64) -> BTreeSet<Node> {
    let mut wanted = BTreeSet::new();
    for &index in indexes {
        inclusion_proof(index, size, |node| {
            wanted.insert(node);
            Some([0; 32])
        });
    }
    wanted
}

/// The kept hashes that a consistency proof asks for.
#[must_use]
pub fn wanted_for_consistency(old: u64, new: u64) -> BTreeSet<Node> {
    let mut wanted = BTreeSet::new();
    consistency_proof(old, new, |node| {
        wanted.insert(node);
        Some([0; 32])
    });
    wanted
}

fn root(from: u64, to: u64, kept: &mut impl FnMut(Node) -> Option<Hash>) -> Option<Hash> {
    if let Some(node) = Node::over(from, to) {
        return kept(node);
    }
    let middle = from + split(to - from);
    let left = root(from, middle, kept)?;
    let right = root(middle, to, kept)?;
    Some(node_hash(&left, &right))
}

/// The largest power of two below `n`; `n` is at least 2.
fn split(n: u64) -> u64 {
    1 << (n - 1).ilog2()
}
