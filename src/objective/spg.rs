//! The loss of Sandwiched Policy Gradient.

use super::bounds::{elbo, eubo, mixture};
use super::{LpGradient, ScoredTokens};
use crate::config::{NegativeEstimator, SpgTable};

/// The objective of arXiv 2510.09541:
///
/// ```text
/// L_c  = ELBO                               if A_c > 0
///      = omega * EUBO + (1 - omega) * ELBO  if A_c < 0 (omega 1 for "eubo", 0 for "elbo"; L_c = 0 for "zero")
/// loss = sum_c ( -A_c * L_c * len_c ) / sum_c len_c
/// ```
///
/// What was better than its group is raised through a lower bound of its likelihood, what was worse is lowered
/// through an upper bound. No probability ratio, no clipping, no KL term.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spg {
    negative_estimator: NegativeEstimator,
    mix_weight: f64,
    beta: f64,
}

/// What one completion adds to the loss of its step.
#[derive(Clone, Debug, PartialEq)]
pub struct CompletionLoss {
    /// `-A_c * L_c * len_c / sum len`.
    pub loss: f64,
    /// `L_c` in nats per token; zero where the completion is ignored.
    pub bound: f64,
    /// The lower bound, whatever `L_c` is.
    pub elbo: f64,
    /// The upper bound, whatever `L_c` is.
    pub eubo: f64,
    /// `d loss / d lp`, `[M][|V_m|]`.
    pub d_lp: LpGradient,
}

/// What some completions of a step add to its loss.
#[derive(Clone, Debug, PartialEq)]
pub struct SpgLoss {
    /// Sum over these completions.
    pub loss: f64,
    /// One by one, in the order given.
    pub completions: Vec<CompletionLoss>,
}

impl Spg {
    /// The objective of a configuration.
    pub fn new(table: &SpgTable) -> Self {
        Self {
            negative_estimator: table.negative_estimator,
            mix_weight: table.mix_weight.get(),
            beta: table.beta.get(),
        }
    }

    /// The weight of the upper bound in `L_c`; none if `L_c` does not depend on the model.
    fn upper_weight(&self, advantage: f64) -> Option<f64> {
        if advantage == 0.0 {
            return None;
        }
        if advantage > 0.0 {
            return Some(0.0);
        }
        match self.negative_estimator {
            NegativeEstimator::Mix => Some(self.mix_weight),
            NegativeEstimator::Eubo => Some(1.0),
            NegativeEstimator::Elbo => Some(0.0),
            NegativeEstimator::Zero => None,
        }
    }

    /// Whether a completion has a gradient at all; if not, its forward pass can be skipped. Its length still
    /// counts in the step's.
    pub fn needs_forward(&self, advantage: f64) -> bool {
        self.upper_weight(advantage).is_some()
    }

    /// The loss of some completions of an optimiser step, as `(A_c, scored tokens)`.
    ///
    /// `step_length` is the sum of the lengths of *all* completions of the step, over every micro-batch and
    /// including those that are skipped, so that the parts of a step add up to the same loss and gradient.
    pub fn loss(&self, completions: &[(f64, &ScoredTokens)], step_length: usize) -> SpgLoss {
        let each = completions.iter().map(|&(advantage, tokens)| self.completion_loss(advantage, tokens, step_length));
        let completions: Vec<CompletionLoss> = each.collect();
        SpgLoss { loss: completions.iter().map(|completion| completion.loss).sum(), completions }
    }

    fn completion_loss(&self, advantage: f64, tokens: &ScoredTokens, step_length: usize) -> CompletionLoss {
        let (lower, upper) = (elbo(tokens), eubo(tokens, self.beta));
        let (elbo, eubo) = (lower.value, upper.value);
        let Some(omega) = self.upper_weight(advantage) else {
            return CompletionLoss { loss: 0.0, bound: 0.0, elbo, eubo, d_lp: tokens.zeros() };
        };
        let mut bound = mixture(&lower, &upper, omega);
        let weight = -advantage * tokens.completion_len() as f64 / step_length as f64;
        bound.d_lp.iter_mut().flatten().for_each(|slope| *slope *= weight);
        CompletionLoss { loss: weight * bound.value, bound: bound.value, elbo, eubo, d_lp: bound.d_lp }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objective::bounds::Bound;
    use crate::objective::testing::{Golden, assert_gradient, random_tokens, tokens};
    use crate::rng::{Key, Purpose};
    use proptest::prelude::*;

    fn spg(negative_estimator: NegativeEstimator) -> Spg {
        Spg { negative_estimator, mix_weight: 0.3, beta: 1.5 }
    }

    const ESTIMATORS: [NegativeEstimator; 4] =
        [NegativeEstimator::Mix, NegativeEstimator::Eubo, NegativeEstimator::Elbo, NegativeEstimator::Zero];

    #[test]
    fn the_sign_of_the_advantage_chooses_the_bound() {
        let tokens = tokens(4, &[&[(0, -1.0), (1, -3.0)], &[(1, -2.0)]]);
        let bound = |negative, advantage| spg(negative).loss(&[(advantage, &tokens)], 4).completions[0].clone();
        for negative in ESTIMATORS {
            let better = bound(negative, 0.5);
            assert_eq!(better.bound, better.elbo);
            assert_eq!(better.loss, -0.5 * better.elbo);
            assert!(better.d_lp.iter().flatten().all(|&slope| slope < 0.0), "descent raises the log-probs");
        }
        let worse = ESTIMATORS.map(|negative| bound(negative, -0.5));
        let (lower, upper) = (worse[0].elbo, worse[0].eubo);
        assert_ne!(lower, upper);
        assert_eq!(worse.map(|w| w.bound), [0.3 * upper + 0.7 * lower, upper, lower, 0.0]);
    }

    #[test]
    fn only_completions_with_a_gradient_need_a_forward() {
        for (negative, worse) in ESTIMATORS.into_iter().zip([true, true, true, false]) {
            let spg = spg(negative);
            assert_eq!([1.0, 0.0, -1.0].map(|a| spg.needs_forward(a)), [true, false, worse], "{negative:?}");
            for advantage in [1.0, 0.0, -1.0] {
                let part = spg.loss(&[(advantage, &random_tokens(1))], 10);
                let moves = part.completions[0].d_lp.iter().flatten().any(|&slope| slope != 0.0);
                assert_eq!(moves, spg.needs_forward(advantage));
                assert_eq!(part.loss != 0.0, moves);
            }
        }
    }

    #[test]
    fn golden_losses_follow_from_the_golden_bounds() {
        for golden in Golden::all() {
            let step_length = golden.lengths.iter().sum();
            for case in &golden.cases {
                let spg = Spg::new(&case.table);
                // One full mask with the same log-prob everywhere: both bounds equal that log-prob.
                let flat = |&len: &usize, lp: f64| {
                    let sample: Vec<(usize, f64)> = (0..len).map(|i| (i, lp)).collect();
                    tokens(len, &[&sample])
                };
                let completions = golden.lengths.iter().zip(&case.bounds).map(|(len, &lp)| flat(len, lp));
                let completions: Vec<ScoredTokens> = completions.collect();
                let pairs: Vec<_> = golden.advantages.iter().copied().zip(&completions).collect();
                let step = spg.loss(&pairs, step_length);
                assert!((step.loss - case.loss).abs() < 1e-5 * case.loss.abs(), "{} {}", step.loss, case.loss);
                for ((ours, &golden_bound), &advantage) in
                    step.completions.iter().zip(&case.bounds).zip(&golden.advantages)
                {
                    assert!((ours.bound - golden_bound).abs() < 1e-12);
                    assert_eq!(golden_bound != 0.0, spg.needs_forward(advantage));
                }
            }
        }
    }

    /// Some completions with random advantages, one in four of them zero.
    fn random_step(seed: u64) -> Vec<(f64, ScoredTokens)> {
        let mut rng = Key::new(seed, Purpose::Rollout).rng();
        let count = 1 + rng.below(9);
        let mut completion =
            |i| (if rng.below(4) == 0 { 0.0 } else { rng.normal() }, random_tokens(seed.wrapping_add(i)));
        (0..count as u64).map(&mut completion).collect()
    }

    proptest! {
        #[test]
        fn the_gradient_is_the_finite_difference(seed: u64, advantage in -2.0..2.0, estimator in 0..4usize) {
            assert_gradient(&random_tokens(seed), |tokens| {
                let part = spg(ESTIMATORS[estimator]).loss(&[(advantage, tokens)], 7);
                Bound { value: part.loss, d_lp: part.completions[0].d_lp.clone() }
            });
        }

        #[test]
        fn any_split_of_a_step_adds_up_to_the_same_loss(seed: u64, cut in 1..9usize, estimator in 0..4usize) {
            let spg = spg(ESTIMATORS[estimator]);
            let step = random_step(seed);
            let step: Vec<(f64, &ScoredTokens)> = step.iter().map(|(a, tokens)| (*a, tokens)).collect();
            let step_length = step.iter().map(|(_, tokens)| tokens.completion_len()).sum();
            let whole = spg.loss(&step, step_length);

            let (mut loss, mut gradients) = (0.0, Vec::new());
            for part in step.chunks(cut) {
                // what needs no forward may be left out
                let run: Vec<_> = part.iter().copied().filter(|&(a, _)| spg.needs_forward(a)).collect();
                let part = spg.loss(&run, step_length);
                loss += part.loss;
                gradients.extend(part.completions.into_iter().map(|completion| completion.d_lp));
            }
            prop_assert!((loss - whole.loss).abs() < 1e-12);
            let run = step.iter().zip(&whole.completions).filter(|((a, _), _)| spg.needs_forward(*a));
            let run: Vec<LpGradient> = run.map(|(_, completion)| completion.d_lp.clone()).collect();
            prop_assert_eq!(gradients, run);
        }
    }
}
