//! The evidence lower bound, pushed up for completions that did better than their group.

use super::Bound;
use crate::objective::ScoredTokens;

/// `ELBO = (1/M) sum_m mean_{i in V_m} lp_i,m` (arXiv 2510.09541, the lower bound as a mean over tokens).
///
/// Its gradient is `1 / (M |V_m|)` at every scored token. A sample without scored tokens adds zero and still
/// counts in `M`, as in the released code.
pub fn elbo(tokens: &ScoredTokens) -> Bound {
    let samples = tokens.samples();
    let mut value = 0.0;
    let mut d_lp = tokens.zeros();
    for (sample, gradient) in samples.iter().zip(&mut d_lp) {
        let weight = 1.0 / (samples.len() * sample.len().max(1)) as f64;
        value += weight * sample.iter().map(|token| token.lp).sum::<f64>();
        gradient.fill(weight);
    }
    Bound { value, d_lp }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objective::testing::{assert_gradient, random_tokens, tokens};
    use proptest::prelude::*;

    #[test]
    fn a_sample_counts_the_same_however_many_tokens_it_scores() {
        let bound = elbo(&tokens(4, &[&[(0, -1.0), (1, -3.0)], &[(3, -4.0)]]));
        assert_eq!(bound.value, -3.0);
        assert_eq!(bound.d_lp, [vec![0.25, 0.25], vec![0.5]]);
    }

    #[test]
    fn a_sample_without_tokens_adds_zero() {
        let bound = elbo(&tokens(4, &[&[(0, -2.0)], &[]]));
        assert_eq!(bound.value, -1.0);
        assert_eq!(bound.d_lp, [vec![0.5], vec![]]);
    }

    proptest! {
        #[test]
        fn the_gradient_is_the_finite_difference(seed: u64) {
            assert_gradient(&random_tokens(seed), elbo);
        }
    }
}
