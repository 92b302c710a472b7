//! How many of a row's offers a step commits.

use super::decoding::Decoding;
use super::offer::Offer;
use crate::config::Commit;

impl Decoding {
    /// How many of a row's `offers` are committed at `step` of a block of `tokens`; `offers` stand best first.
    ///
    /// Threshold and factor are those of Fast-dLLM (arXiv 2505.22618), the entropy bound that of EB-Sampler
    /// (arXiv 2505.24857): `sum H - max H` bounds what tokens chosen at once can tell about each other.
    pub(super) fn commit_count(&self, offers: &[Offer], tokens: usize, step: usize) -> usize {
        match self.commit {
            // every row had as many masks when the block began
            Commit::Schedule | Commit::Timeline => self.planned(tokens, offers.len(), step),
            Commit::Threshold(least) => offers.iter().take_while(|o| o.confidence >= least.get()).count().max(1),
            Commit::Factor(factor) => {
                let confident = |&n: &usize| offers[n - 1].confidence >= 1.0 - factor.get() / (n + 1) as f64;
                (1..=offers.len()).rev().find(confident).unwrap_or(1)
            }
            Commit::EntropyBound(bound) => {
                let (mut sum, mut largest) = (0.0, 0f64);
                let within = |offer: &&Offer| {
                    sum += offer.entropy;
                    largest = largest.max(offer.entropy);
                    sum - largest <= bound.get()
                };
                offers.iter().take_while(within).count().max(1)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn offers(confidences: &[f64], entropies: &[f64]) -> Vec<Offer> {
        let of = |(position, (&confidence, &entropy)): (usize, (&f64, &f64))| Offer {
            row: 0,
            position,
            token: 0,
            confidence,
            entropy,
            uniform: 0.0,
        };
        confidences.iter().zip(entropies).enumerate().map(of).collect()
    }

    fn count(commit: Commit, confidences: &[f64], entropies: &[f64]) -> usize {
        let decoding = Decoding { commit, ..Decoding::greedy(8, 8, 4).expect("one block") };
        decoding.commit_count(&offers(confidences, entropies), 8, 0)
    }

    fn threshold(x: f64) -> Commit {
        Commit::Threshold(x.try_into().expect("in range"))
    }

    fn factor(x: f64) -> Commit {
        Commit::Factor(x.try_into().expect("in range"))
    }

    fn bound(x: f64) -> Commit {
        Commit::EntropyBound(x.try_into().expect("in range"))
    }

    #[test]
    fn every_rule_commits_what_it_says() {
        let p = [0.99, 0.95, 0.9, 0.6, 0.2];
        let h = [0.0, 0.05, 0.1, 0.5, 1.0];
        assert_eq!(count(Commit::Schedule, &p, &h), 2);
        assert_eq!(count(threshold(0.9), &p, &h), 3, "the threshold itself is enough");
        assert_eq!(count(threshold(1.0), &p, &h), 1, "the best one goes whatever it is");
        assert_eq!(count(threshold(0.0), &p, &h), 5);
        // 1 - 0.4/3 = 0.87 of the second, 1 - 0.4/4 = 0.9 of the third, 1 - 0.4/5 = 0.92 of the fourth
        assert_eq!(count(factor(0.4), &p, &h), 3);
        assert_eq!(count(factor(0.001), &p, &h), 1);
        // the fourth falls short (1 - 2.4/5 = 0.52 is met, 1 - 2.4/6 = 0.6 of the fifth is not)
        assert_eq!(count(factor(2.4), &p, &h), 4);
        // sums without the largest: 0, 0, 0.05, 0.15, 0.65
        assert_eq!(count(bound(0.1), &p, &h), 3);
        assert_eq!(count(bound(0.15 + 1e-9), &p, &h), 4);
        assert_eq!(count(bound(0.0), &p, &h), 2);
        assert_eq!(count(bound(9.0), &p, &h), 5);
    }

    #[test]
    fn the_factor_takes_the_largest_number_that_fits_even_past_one_that_does_not() {
        // one: 0.4 < 1 - 1/2; two: 0.4 < 1 - 1/3; and so on: nothing fits but the best is committed
        assert_eq!(count(factor(1.0), &[0.4, 0.4, 0.4], &[0.0; 3]), 1);
        // one alone would need 0.75, two 0.833, three 0.875
        assert_eq!(count(factor(0.5), &[0.88, 0.88, 0.88], &[0.0; 3]), 3);
    }

    proptest! {
        #[test]
        fn at_least_one_and_at_most_all(
            mut p in prop::collection::vec(0.0f64..=1.0, 1..9),
            strictness in 0.0f64..1.0,
        ) {
            p.sort_by(|a, b| b.total_cmp(a));
            let h: Vec<f64> = p.iter().map(|p| 1.0 - p).collect();
            for commit in [Commit::Schedule, threshold(strictness), factor(strictness + 0.01), bound(strictness)] {
                let n = count(commit, &p, &h);
                prop_assert!((1..=p.len()).contains(&n), "{:?}: {}", commit, n);
            }
        }
    }
}
