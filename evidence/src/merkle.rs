//! Merkle tree hashing and its two proofs, as RFC 6962 section 2.1 has them, with SHA-256.
//!
//! A leaf is hashed behind a 0x00 and a node behind a 0x01, so that neither can pass for the other. The checks of proofs
//! follow RFC 9162 sections 2.1.3.2 and 2.1.4.2 (read 2026-11-21), which state them as algorithms; the hashes are the same.

use sha2::{Digest, Sha256};

/// SHA-256 of a leaf, a node or a tree.
pub type Hash = [u8; 32];

/// Hash of one entry's bytes.
#[must_use]
pub fn leaf_hash(bytes: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(bytes).finalize().into()
}

/// Hash of two neighbouring subtrees.
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// A tree that only grows. Keeps one hash per full subtree, so it takes 64 hashes at most however many leaves there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    size: u64,
    /// Roots of the full subtrees, largest first: one for each bit that is set in `size`.
    peaks: Vec<Hash>,
}

impl Tree {
    /// A tree as it was, from its size and [`Tree::peaks`]. `None`: they do not belong together.
    #[must_use]
    pub fn from_peaks(size: u64, peaks: Vec<Hash>) -> Option<Self> {
        (peaks.len() == size.count_ones() as usize).then_some(Self { size, peaks })
    }

    /// Roots of the full subtrees, largest first; with the size they are the whole tree.
    #[must_use]
    pub fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    /// Append a leaf's hash.
    pub fn push(&mut self, leaf: Hash) {
        self.push_and_note(leaf, |_, _| {});
    }

    /// Append a leaf's hash, and hear of each full subtree that it completed whose root is worth keeping: see [`tiles`].
    ///
    /// [`tiles`]: crate::tiles
    pub fn push_and_note(&mut self, leaf: Hash, mut note: impl FnMut(crate::tiles::Node, Hash)) {
        let mut top = leaf;
        for height in 1..=self.size.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                top = node_hash(&left, &top);
            }
            if let Some(node) = crate::tiles::Node::ending_at(self.size, height) {
                note(node, top);
            }
        }
        self.peaks.push(top);
        self.size += 1;
    }

    /// Number of leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Root over all leaves so far; of an empty tree, the hash of nothing.
    #[must_use]
    pub fn root(&self) -> Hash {
        let folded = self.peaks.iter().rev().copied().reduce(|right, left| node_hash(&left, &right));
        folded.unwrap_or_else(|| Sha256::digest([]).into())
    }
}

impl FromIterator<Hash> for Tree {
    fn from_iter<I: IntoIterator<Item = Hash>>(leaves: I) -> Self {
        let mut tree = Self::default();
        leaves.into_iter().for_each(|leaf| tree.push(leaf));
        tree
    }
}

/// Root over a list of leaf hashes.
#[must_use]
pub fn root(leaves: &[Hash]) -> Hash {
    leaves.iter().copied().collect::<Tree>().root()
}

/// Audit path of leaf `index`, lowest sibling first. `None`: there is no such leaf.
#[must_use]
pub fn inclusion_proof(leaves: &[Hash], index: usize) -> Option<Vec<Hash>> {
    if index >= leaves.len() {
        return None;
    }
    let mut path = Vec::new();
    let (mut part, mut at) = (leaves, index);
    while part.len() > 1 {
        let (left, right) = part.split_at(split(part.len()));
        if at < left.len() {
            path.push(root(right));
            part = left;
        } else {
            path.push(root(left));
            at -= left.len();
            part = right;
        }
    }
    path.reverse();
    Some(path)
}

/// Does `path` show that `leaf` is at `index` of the tree with this size and root?
#[must_use]
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, path: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut at, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            hash = node_hash(sibling, &hash);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// Proof that the tree over all `leaves` is the tree over the first `old` with more appended. `None`: there are fewer.
#[must_use]
pub fn consistency_proof(leaves: &[Hash], old: usize) -> Option<Vec<Hash>> {
    if old > leaves.len() {
        return None;
    }
    let mut proof = Vec::new();
    if old > 0 && old < leaves.len() {
        let (mut part, mut old, mut whole) = (leaves, old, true);
        while old < part.len() {
            let (left, right) = part.split_at(split(part.len()));
            if old <= left.len() {
                proof.push(root(right));
                part = left;
            } else {
                proof.push(root(left));
                old -= left.len();
                part = right;
                whole = false;
            }
        }
        if !whole {
            proof.push(root(part)); // the checker does not know this subtree, unless it is the whole old tree
        }
        proof.reverse();
    }
    Some(proof)
}

/// Does `proof` show that the tree `(old, old_root)` grew into `(new, new_root)` by appending only?
#[must_use]
pub fn verify_consistency(old: u64, old_root: &Hash, new: u64, new_root: &Hash, proof: &[Hash]) -> bool {
    if old == new {
        return proof.is_empty() && old_root == new_root;
    }
    if old == 0 {
        return proof.is_empty() && *old_root == root(&[]); // everything grows out of nothing
    }
    if old > new {
        return false;
    }
    let (mut at, mut last) = (old - 1, new - 1);
    while at & 1 == 1 {
        at >>= 1;
        last >>= 1;
    }
    let mut path = proof.iter();
    // A power of two: the old tree is itself the first subtree and is not repeated in the proof.
    let first = if old.is_power_of_two() { Some(old_root) } else { path.next() };
    let Some(first) = first else { return false };
    let (mut old_hash, mut new_hash) = (*first, *first);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            old_hash = node_hash(sibling, &old_hash);
            new_hash = node_hash(sibling, &new_hash);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = node_hash(&new_hash, sibling);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && old_hash == *old_root && new_hash == *new_root
}

/// The largest power of two below `n`; `n` is at least 2.
fn split(n: usize) -> usize {
    1 << (n - 1).ilog2()
}
