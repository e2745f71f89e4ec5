//! Proofs from kept hashes are the proofs from all leaves, and need few of them.

use std::collections::BTreeMap;

use safelight_evidence::{
    Hash, Tree,
    merkle::{self, leaf_hash, verify_consistency, verify_inclusion},
    tiles::{self, Node},
};

/// A log as it is stored: its leaves and the kept hashes.
fn grown(size: u64) -> (Tree, Vec<Hash>, BTreeMap<Node, Hash>) {
    let (mut tree, mut leaves, mut kept) = (Tree::default(), Vec::new(), BTreeMap::new());
    for number in 0..size {
        let leaf = leaf_hash(&number.to_be_bytes());
        kept.insert(Node { level: 0, index: number }, leaf);
        tree.push_and_note(leaf, |node, hash| {
            kept.insert(node, hash);
        });
        leaves.push(leaf);
    }
    (tree, leaves, kept)
}

#[test]
fn inclusion_proofs_from_kept_hashes_are_those_from_all_leaves() {
    for size in [1, 2, 255, 256, 257, 511, 512, 513, 700] {
        let (_, leaves, kept) = grown(size);
        for index in (0..size).step_by(7).chain([size - 1]) {
            let proof = tiles::inclusion_proof(index, size, |node| kept.get(&node).copied());
            assert_eq!(proof, merkle::inclusion_proof(&leaves, usize::try_from(index).unwrap()), "{index} of {size}");
        }
        assert_eq!(tiles::inclusion_proof(size, size, |node| kept.get(&node).copied()), None);
    }
}

#[test]
fn consistency_proofs_from_kept_hashes_are_those_from_all_leaves() {
    for new in [1, 256, 257, 600] {
        let (_, leaves, kept) = grown(new);
        for old in (0..=new).step_by(13).chain([new - 1, new]) {
            let proof = tiles::consistency_proof(old, new, |node| kept.get(&node).copied());
            assert_eq!(proof, merkle::consistency_proof(&leaves, usize::try_from(old).unwrap()), "{old} to {new}");
        }
    }
}

#[test]
fn a_proof_in_a_long_log_asks_for_few_hashes_and_keeps_one_more_in_255() {
    let size = 256 * 256 + 256 * 3 + 17;
    let (tree, leaves, kept) = grown(size);
    let above = kept.keys().filter(|node| node.level > 0).count() as u64;
    assert_eq!(above, size / 256 + size / (256 * 256));
    for index in [0, 70_000, 65_535, 65_536, size - 1] {
        let index = index.min(size - 1);
        let wanted = tiles::wanted_for_inclusion(&[index], size);
        assert!(wanted.len() < 3 * 2 * 256, "{} hashes for {index}", wanted.len());
        let fetched: BTreeMap<_, _> = wanted.into_iter().map(|node| (node, kept[&node])).collect();
        let proof = tiles::inclusion_proof(index, size, |node| fetched.get(&node).copied()).unwrap();
        let leaf = leaves[usize::try_from(index).unwrap()];
        assert!(verify_inclusion(&leaf, index, size, &proof, &tree.root()));
    }
    let old = 65_600;
    let before: Tree = leaves[..old].iter().copied().collect();
    let old = old as u64;
    let fetched: BTreeMap<_, _> =
        tiles::wanted_for_consistency(old, size).into_iter().map(|node| (node, kept[&node])).collect();
    let proof = tiles::consistency_proof(old, size, |node| fetched.get(&node).copied()).unwrap();
    assert!(verify_consistency(old, &before.root(), size, &tree.root(), &proof));
}

#[test]
fn a_tree_goes_on_from_its_peaks() {
    let (tree, _, _) = grown(77);
    let mut again = Tree::from_peaks(77, tree.peaks().to_vec()).unwrap();
    let (longer, ..) = grown(78);
    again.push(leaf_hash(&77_u64.to_be_bytes()));
    assert_eq!(again, longer);
    assert_eq!(Tree::from_peaks(78, tree.peaks().to_vec()).map(|tree| tree.size()), Some(78), "both have four peaks");
    assert_eq!(Tree::from_peaks(64, tree.peaks().to_vec()), None);
}
