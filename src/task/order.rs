//! The order in which training records are visited.
//!
//! Records are visited in epochs; every epoch is its own permutation, a pure function of the seed and the
//! epoch's number, so a resumed run continues the order from its position alone.

use crate::rng::{Key, Purpose};

/// Visits the records `0..n` epoch by epoch, holding the permutation of the epoch asked for last.
#[derive(Clone, Debug)]
pub struct PromptOrder {
    seed: u64,
    epoch: u64,
    permutation: Vec<usize>,
}

impl PromptOrder {
    /// The order of `n` records in the run with this seed.
    ///
    /// # Panics
    /// If `n` is zero: a task without records is refused when it is built.
    pub fn new(seed: u64, n: usize) -> Self {
        assert!(n > 0, "an order of no records");
        let mut order = Self { seed, epoch: 0, permutation: (0..n).collect() };
        order.permute(0);
        order
    }

    /// The record to visit at a position; position `n` is the first of the second epoch.
    pub fn at(&mut self, position: u64) -> usize {
        let n = self.permutation.len() as u64;
        if position / n != self.epoch {
            self.permute(position / n);
        }
        self.permutation[(position % n) as usize]
    }

    fn permute(&mut self, epoch: u64) {
        self.epoch = epoch;
        // Start from the identity: the result must not depend on the epoch visited before.
        for (i, record) in self.permutation.iter_mut().enumerate() {
            *record = i;
        }
        Key::new(self.seed, Purpose::PromptOrder).step(epoch).rng().shuffle(&mut self.permutation);
    }
}

/// The record to visit at one position; for many positions keep a [`PromptOrder`].
///
/// # Panics
/// If `n` is zero.
pub fn record_at(seed: u64, position: u64, n: usize) -> usize {
    PromptOrder::new(seed, n).at(position)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_epoch_visits_every_record_once(seed: u64, epoch in 0u64..1000, n in 1usize..40) {
            let mut order = PromptOrder::new(seed, n);
            let mut seen: Vec<usize> = (0..n as u64).map(|i| order.at(epoch * n as u64 + i)).collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..n).collect::<Vec<_>>());
        }

        #[test]
        fn a_position_does_not_depend_on_where_the_order_was_before(
            seed: u64, positions in prop::collection::vec(0u64..500, 1..20), n in 1usize..40,
        ) {
            let mut order = PromptOrder::new(seed, n);
            for position in positions {
                prop_assert_eq!(order.at(position), record_at(seed, position, n));
            }
        }
    }

    #[test]
    fn epochs_and_seeds_differ() {
        let epoch = |seed, epoch: u64| (0..50).map(|i| record_at(seed, epoch * 50 + i, 50)).collect::<Vec<_>>();
        assert_ne!(epoch(1, 0), epoch(1, 1));
        assert_ne!(epoch(1, 0), epoch(2, 0));
    }
}
