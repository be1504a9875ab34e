// SPDX-License-Identifier: GPL-2.0

//! Two nodes of one tree: the kind of value, what is done to them, and their bytes, of which the first has as many as the
//! input says.

use super::{Bytes, Target};
use stor_pure::pure::thin::block::Block;
use stor_pure::pure::thin::node::{self, check, Node, NodeMut, Value, LEAF};
use stor_pure::pure::thin::space::IndexEntry;
use stor_pure::pure::thin::value::Details;
use zerocopy::little_endian::{U32, U64};
use zerocopy::FromZeros;

pub(super) const TARGET: Target =
    Target { name: "node", about: "nodes of B-trees with every kind of value", most: 8210, seeds, run };

fn seeds() -> Vec<Vec<u8>> {
    fn pair<V: Value + FromZeros>(kind: u8) -> Vec<u8> {
        let mut blocks = [[0; 4096]; 2];
        for (number, block) in blocks.iter_mut().enumerate() {
            NodeMut::<V>::format(block, LEAF);
            if let Some(mut node) = NodeMut::<V>::of(block) {
                for key in 0..2 {
                    let _ = node.insert(key, (number * 10 + key) as u64, V::new_zeroed());
                }
            }
        }
        let [left, right] = blocks;
        // Only as far as the keys.
        let short = |block: &Block| block.get(..64).unwrap_or_default().to_vec();
        [vec![kind, 5, 1, 2, 3, 4, 64, 0], short(&left), short(&right)].concat()
    }
    vec![pair::<U64>(0), pair::<U32>(1), pair::<Details>(2), pair::<IndexEntry>(3)]
}

fn run(input: &[u8]) {
    let mut bytes = Bytes(input);
    match bytes.byte() % 4 {
        0 => with::<U64>(bytes),
        1 => with::<U32>(bytes),
        2 => with::<Details>(bytes),
        _ => with::<IndexEntry>(bytes),
    }
}

fn with<V: Value + FromZeros + PartialEq + std::fmt::Debug>(mut bytes: Bytes<'_>) {
    let (room, count, index, key) =
        (bytes.byte(), usize::from(bytes.byte()), usize::from(bytes.byte()), bytes.number(2));
    let length = bytes.number(2) as usize % 4097;
    let mut left: Block = Bytes(bytes.take(length)).block();
    let mut right = bytes.block();
    // Whatever it is, looking at it does no harm.
    look::<V>(&left, key);
    if room & 1 == 1 {
        // Kinds of nodes are told apart before: with the right ones, more is reached.
        for block in [&mut left, &mut right] {
            let (max, size) = (V::MAX as u32, std::mem::size_of::<V>() as u32);
            block.get_mut(20..24).into_iter().for_each(|place| place.copy_from_slice(&max.to_le_bytes()));
            block.get_mut(24..28).into_iter().for_each(|place| place.copy_from_slice(&size.to_le_bytes()));
            block.get_mut(4..8).into_iter().for_each(|place| place.copy_from_slice(&LEAF.to_le_bytes()));
        }
    }
    for block in [&left, &right] {
        look::<V>(block, key);
    }
    if let Err(malformed) = check::<V>(&left) {
        drop(malformed.to_string());
        return;
    }
    if node::is_internal(&left) {
        return;
    }
    change::<V>(&mut left, &mut right, index, count, key);
}

fn look<V: Value>(block: &Block, key: u64) {
    let node = Node::<V>::of(block);
    let _ =
        (node::value_size(block), node.lower_bound(key), node.floor(key), node.key(node.len()), node.value(node.len()));
    if node::check::<V>(block).is_ok() {
        assert!(node.len() <= V::MAX.max(252));
        if node::is_internal(block) {
            let node = Node::<U64>::of(block);
            assert!(!node.is_empty() && node.keys.is_sorted_by(|a, b| a.get() < b.get()));
            let _ = node.child(0);
        } else {
            assert!(node.keys.is_sorted_by(|a, b| a.get() < b.get()));
            assert_eq!(node.floor(u64::MAX), node.len().checked_sub(1));
            assert_eq!(node.lower_bound(0), 0);
        }
    }
}

fn change<V: Value + FromZeros + PartialEq + std::fmt::Debug>(
    left: &mut Block,
    right: &mut Block,
    index: usize,
    count: usize,
    key: u64,
) {
    let Some(mut node) = NodeMut::<V>::of(left) else { return };
    let before: Vec<u64> = node.view().keys.iter().map(|key| key.get()).collect();
    // Insert where the key belongs, and take it out again.
    let at = node.view().lower_bound(key);
    if before.get(at) != Some(&key) && node.insert(at, key, V::new_zeroed()) {
        assert_eq!((node.len(), node.view().key(at)), (before.len() + 1, Some(key)));
        node.remove(at..at + 1);
        assert!(node.view().keys.iter().map(|key| key.get()).eq(before.iter().copied()));
    }
    if node.open(index, count) {
        assert_eq!(node.len(), before.len() + count);
        node.remove(index..index + count);
        assert!(node.view().keys.iter().map(|key| key.get()).eq(before.iter().copied()));
    }
    node.remove(index..index.saturating_add(count));
    let left_now: Vec<(u64, V)> = entries(&node.view());
    assert!(check::<V>(left).is_ok());
    if check::<V>(right).is_err() || node::is_internal(right) {
        return;
    }
    let (Some(mut left), Some(mut right)) = (NodeMut::<V>::of(left), NodeMut::<V>::of(right)) else { return };
    let all = [left_now, entries(&right.view())].concat();
    if NodeMut::balance(&mut left, &mut right, count) {
        assert_eq!(left.len(), count);
    }
    assert_eq!([entries(&left.view()), entries(&right.view())].concat(), all);
}

fn entries<V: Value>(node: &Node<'_, V>) -> Vec<(u64, V)> {
    node.keys.iter().map(|key| key.get()).zip(node.values.iter().copied()).collect()
}
