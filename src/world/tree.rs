//! Sums whose bits do not depend on how many processes share the summands.
//!
//! `n` leaves are added up along a fixed binary tree: node `(l, k)`, the `k`-th of level `l`, holds the leaves from
//! `floor(k n / 2^l)` up to `floor((k + 1) n / 2^l)`, its children `(l + 1, 2k)` and `(l + 1, 2k + 1)` those of its halves;
//! a node of one leaf has no children. A process adds up the largest nodes that lie in its share; of 2, 4, 8 processes
//! each has a single one. What is left is done by pairs of processes, whose shares lie beside each other: the right one
//! sends its nodes, the left one adds those whose sibling it has. A leaf without a value is none, and not zero.

use std::ops::Range;

use anyhow::{Context, Result};

use super::collective::Collective;

/// A node of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    level: u32,
    place: usize,
}

/// What a node holds: the sum over its leaves, if any of them has a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Partial<T> {
    /// The node.
    pub node: Node,
    /// Its sum.
    pub sum: Option<T>,
}

impl Node {
    const ROOT: Self = Self { level: 0, place: 0 };

    /// The leaves, of `n`, that it holds.
    pub fn leaves(self, n: usize) -> Range<usize> {
        // levels end before a node is as narrow as one leaf: 2^level <= 2 n
        (self.place * n) >> self.level..((self.place + 1) * n) >> self.level
    }

    fn children(self) -> [Self; 2] {
        let child = |right: usize| Self { level: self.level + 1, place: 2 * self.place + right };
        [child(0), child(1)]
    }

    /// The largest nodes that lie in a range of the leaves, from left to right.
    fn covering(self, n: usize, range: &Range<usize>, found: &mut Vec<Self>) {
        let own = self.leaves(n);
        if own.is_empty() || own.end <= range.start || range.end <= own.start {
        } else if range.start <= own.start && own.end <= range.end {
            found.push(self);
        } else {
            self.children().into_iter().for_each(|child| child.covering(n, range, found));
        }
    }
}

fn covering(n: usize, range: &Range<usize>) -> Vec<Node> {
    let mut found = Vec::new();
    Node::ROOT.covering(n, range, &mut found);
    found
}

/// Adds up the leaves of a range as the tree has it: the sums of the largest nodes in it, from left to right. `leaf`
/// makes the value of a leaf, if it has one; `add` adds the second to the first.
///
/// # Errors
/// Those of `leaf` and `add`.
pub fn partial_sums<T>(
    n: usize,
    range: &Range<usize>,
    leaf: &mut impl FnMut(usize) -> Result<Option<T>>,
    add: &mut impl FnMut(&mut T, T) -> Result<()>,
) -> Result<Vec<Partial<T>>> {
    let sum = |node| Ok(Partial { node, sum: sum_of(n, node, leaf, add)? });
    covering(n, range).into_iter().map(sum).collect()
}

fn sum_of<T>(
    n: usize,
    node: Node,
    leaf: &mut impl FnMut(usize) -> Result<Option<T>>,
    add: &mut impl FnMut(&mut T, T) -> Result<()>,
) -> Result<Option<T>> {
    let leaves = node.leaves(n);
    if leaves.len() <= 1 {
        return if leaves.is_empty() { Ok(None) } else { leaf(leaves.start) };
    }
    let [left, right] = node.children();
    let left = sum_of(n, left, leaf, add)?;
    let right = sum_of(n, right, leaf, add)?;
    plus(left, right, add)
}

fn plus<T>(left: Option<T>, right: Option<T>, add: &mut impl FnMut(&mut T, T) -> Result<()>) -> Result<Option<T>> {
    Ok(match (left, right) {
        (Some(mut left), Some(right)) => {
            add(&mut left, right)?;
            Some(left)
        }
        (left, right) => left.or(right),
    })
}

/// The sum of the whole tree on every process, from the [`partial_sums`] of each one's share; `is_there` says which leaves
/// have a value, `len` how many numbers one has.
pub(super) fn sum(
    collective: &dyn Collective,
    n: usize,
    shares: &[Range<usize>],
    mine: Vec<Partial<Vec<f32>>>,
    is_there: &dyn Fn(usize) -> bool,
    len: usize,
) -> Result<Option<Vec<f32>>> {
    let (rank, size) = (collective.rank(), collective.size());
    let mut held = mine;
    let mut step = 1;
    while step < size {
        if rank % (2 * step) == step {
            for partial in &held {
                if let Some(sum) = &partial.sum {
                    collective.send(rank - step, sum)?;
                }
            }
            break;
        }
        if rank.is_multiple_of(2 * step) && rank + step < size {
            let theirs = shares[rank + step].start..shares[(rank + 2 * step).min(size) - 1].end;
            for node in covering(n, &theirs) {
                let sum = match node.leaves(n).any(is_there) {
                    true => {
                        let mut values = vec![0.0; len];
                        collective.receive(rank + step, &mut values)?;
                        Some(values)
                    }
                    false => None,
                };
                held.push(Partial { node, sum });
            }
            let both = shares[rank].start..theirs.end;
            held = covering(n, &both).into_iter().map(|node| joined(n, node, &mut held)).collect::<Result<_>>()?;
        }
        step *= 2;
    }
    if !(0..n).any(is_there) {
        return Ok(None);
    }
    let root = held.into_iter().find(|partial| partial.node == Node::ROOT).and_then(|partial| partial.sum);
    let mut root = match root {
        Some(root) => root,
        None if rank == 0 => anyhow::bail!("the sum of the first process is not whole"),
        None => vec![0.0; len],
    };
    collective.broadcast(&mut root)?;
    Ok(Some(root))
}

/// A node's sum, taken out of those held, or added up from its children's.
fn joined(n: usize, node: Node, held: &mut Vec<Partial<Vec<f32>>>) -> Result<Partial<Vec<f32>>> {
    if let Some(place) = held.iter().position(|partial| partial.node == node) {
        return Ok(held.swap_remove(place));
    }
    if node.leaves(n).len() <= 1 {
        return Err(anyhow::Error::msg("a leaf of a sum is missing"));
    }
    let [left, right] = node.children();
    let (left, right) = (joined(n, left, held)?, joined(n, right, held)?);
    let mut add = |left: &mut Vec<f32>, right: Vec<f32>| {
        left.iter_mut().zip(right).for_each(|(left, right)| *left += right);
        Ok(())
    };
    Ok(Partial { node, sum: plus(left.sum, right.sum, &mut add).context("adding up")? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{in_threads, share};
    use super::*;

    /// The sum that every one of `size` processes gets over leaves that are there or not.
    fn sums(values: &[Option<f32>], size: usize) -> Vec<Option<Vec<f32>>> {
        let n = values.len();
        in_threads(size, |world| {
            let mut leaf = |i: usize| Ok(values[i].map(|value| vec![value, -value]));
            let mut add = |left: &mut Vec<f32>, right: Vec<f32>| {
                left.iter_mut().zip(right).for_each(|(left, right)| *left += right);
                Ok(())
            };
            let mine = partial_sums(n, &world.share(n), &mut leaf, &mut add).expect("sums");
            world.sum_tree(n, mine, |i| values[i].is_some(), 2).expect("summed")
        })
    }

    #[test]
    fn of_a_power_of_two_of_processes_each_has_one_node() {
        for (size, level) in [(1, 0), (2, 1), (4, 2), (8, 3)] {
            for n in size..40 {
                for rank in 0..size {
                    assert_eq!(
                        covering(n, &share(rank, size, n)),
                        [Node { level, place: rank }],
                        "{rank} of {size}, {n}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_leaf_that_is_not_there_is_no_zero() {
        let sums = sums(&[None, Some(-0.0), None], 2);
        assert!(sums.iter().all(|sum| sum.as_ref().is_some_and(|sum| sum[0].is_sign_negative())), "{sums:?}");
        assert_eq!(super::tests::sums(&[None, None, None], 2), [None, None]);
        assert_eq!(super::tests::sums(&[], 2), [None, None]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
        #[test]
        fn a_sum_has_the_same_bits_for_any_number_of_processes(
            values in prop::collection::vec(prop::option::weighted(0.7, -1e3f32..1e3), 1..20),
            size in 1usize..7,
        ) {
            let alone = sums(&values, 1).remove(0);
            for sum in sums(&values, size) {
                let bits = |sum: &Option<Vec<f32>>| sum.as_ref().map(|s| s.iter().map(|x| x.to_bits()).collect::<Vec<_>>());
                prop_assert_eq!(bits(&sum), bits(&alone));
            }
            let exact: f64 = values.iter().flatten().map(|&x| f64::from(x)).sum();
            let found = alone.map_or(0.0, |sum| f64::from(sum[0]));
            prop_assert!((found - exact).abs() < 1e-2, "{} {}", found, exact);
        }

        #[test]
        fn nodes_cover_a_range_once_and_only_it(n in 1usize..60, a in 0usize..60, b in 0usize..60) {
            let range = a.min(b).min(n)..a.max(b).min(n);
            let covered: Vec<usize> = covering(n, &range).into_iter().flat_map(|node| node.leaves(n)).collect();
            prop_assert_eq!(covered, range.collect::<Vec<_>>());
        }
    }
}
