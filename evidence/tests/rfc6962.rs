//! The tree, held to the vectors of the Certificate Transparency reference implementation and to its own definition.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as they do")]

use safelight_evidence::merkle::{
    Hash, Tree, consistency_proof, inclusion_proof, leaf_hash, root, verify_consistency, verify_inclusion,
};

const INPUTS: [&str; 8] =
    ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];

const ROOTS: [&str; 9] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

fn hash(text: &str) -> Hash {
    hex::decode(text).unwrap().try_into().unwrap()
}

fn leaves() -> Vec<Hash> {
    INPUTS.iter().map(|input| leaf_hash(&hex::decode(input).unwrap())).collect()
}

fn many(n: usize) -> Vec<Hash> {
    (0..n).map(|i| leaf_hash(&i.to_be_bytes())).collect()
}

#[test]
fn roots_are_those_of_the_reference_implementation() {
    for (size, want) in ROOTS.iter().enumerate() {
        assert_eq!(root(&leaves()[..size]), hash(want), "size {size}");
    }
}

#[test]
fn inclusion_proofs_are_those_of_the_reference_implementation() {
    let first = [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ];
    assert_eq!(inclusion_proof(&leaves(), 0).unwrap(), first.map(hash));
    let sixth = [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ];
    assert_eq!(inclusion_proof(&leaves(), 5).unwrap(), sixth.map(hash));
    let of_three = ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"];
    assert_eq!(inclusion_proof(&leaves()[..3], 2).unwrap(), of_three.map(hash));
    assert_eq!(inclusion_proof(&leaves()[..1], 0).unwrap(), Vec::<Hash>::new());
}

#[test]
fn consistency_proofs_are_those_of_the_reference_implementation() {
    let six_to_eight = [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ];
    assert_eq!(consistency_proof(&leaves(), 6).unwrap(), six_to_eight.map(hash));
    let two_to_five = [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ];
    assert_eq!(consistency_proof(&leaves()[..5], 2).unwrap(), two_to_five.map(hash));
    assert_eq!(consistency_proof(&leaves(), 8).unwrap(), Vec::<Hash>::new());
}

/// The definition of RFC 6962 section 2.1, word for word.
fn by_definition(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => root(&[]),
        [leaf] => *leaf,
        _ => {
            let k = leaves.len().next_power_of_two() / 2;
            safelight_evidence::merkle::node_hash(&by_definition(&leaves[..k]), &by_definition(&leaves[k..]))
        }
    }
}

#[test]
fn a_growing_tree_has_the_root_of_the_definition_at_every_size() {
    let all = many(260);
    let mut tree = Tree::default();
    for (size, leaf) in all.iter().enumerate() {
        assert_eq!((tree.size(), tree.root()), (size as u64, by_definition(&all[..size])));
        tree.push(*leaf);
    }
}

#[test]
fn every_inclusion_proof_holds_and_none_holds_for_another_leaf_place_size_root_or_path() {
    let all = many(33);
    for size in 1..=all.len() {
        let (part, n) = (&all[..size], size as u64);
        let top = root(part);
        for index in 0..size {
            let (path, at) = (inclusion_proof(part, index).unwrap(), index as u64);
            assert!(verify_inclusion(&part[index], at, n, &path, &top));
            assert!(!verify_inclusion(&[7; 32], at, n, &path, &top));
            assert!(!verify_inclusion(&part[index], at, n, &path, &[7; 32]));
            assert!(!verify_inclusion(&part[index], n, n, &path, &top));
            assert!((0..n).all(|other| other == at || !verify_inclusion(&part[index], other, n, &path, &top)));
            for spot in 0..path.len() {
                let mut bent = path.clone();
                bent[spot][0] ^= 1;
                assert!(!verify_inclusion(&part[index], at, n, &bent, &top));
            }
            assert!(!verify_inclusion(&part[index], at, n, &[path.clone(), vec![top]].concat(), &top));
            assert!(path.is_empty() || !verify_inclusion(&part[index], at, n, &path[1..], &top));
        }
        assert_eq!(inclusion_proof(part, size), None);
    }
}

#[test]
fn every_consistency_proof_holds_and_none_holds_for_another_tree() {
    let all = many(33);
    for new in 0..=all.len() {
        for old in 0..=new {
            let (before, after) = (root(&all[..old]), root(&all[..new]));
            let proof = consistency_proof(&all[..new], old).unwrap();
            let holds =
                |o: usize, b: &Hash, n: usize, a: &Hash, p: &[Hash]| verify_consistency(o as u64, b, n as u64, a, p);
            assert!(holds(old, &before, new, &after, &proof), "{old} to {new}");
            assert!(!holds(old, &[7; 32], new, &after, &proof));
            assert!(old == 0 || !holds(old, &before, new, &[7; 32], &proof));
            assert!(!holds(old, &before, new, &after, &[proof.clone(), vec![after]].concat()));
            assert!(proof.is_empty() || !holds(old, &before, new, &after, &proof[1..]));
            assert!(old == new || !holds(new, &after, old, &before, &proof));
        }
        assert_eq!(consistency_proof(&all[..new], new + 1), None);
    }
}
