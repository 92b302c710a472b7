//! The Rényi upper bound, pushed down for completions that did worse than their group.

use super::Bound;
use crate::objective::ScoredTokens;

/// `EUBO = (1/beta) mean_{i in U} log[ (1/M) sum_{m: i in V_m} exp(beta lp_i,m) / t_m ]`, with `t_m = |V_m| / len`
/// and `U` the union of the `V_m` (arXiv 2510.09541, the evidence upper bound, as a mean over tokens and
/// without its constant).
///
/// Its gradient is `softmax_m(beta lp_i,m - log t_m) / |U|`. Value and gradient are computed in log space:
/// `exp(beta lp)` underflows for unlikely tokens and would drop exactly the tokens the bound is about.
/// Zero, with a zero gradient, if nothing is scored at all.
pub fn eubo(tokens: &ScoredTokens, beta: f64) -> Bound {
    let samples = tokens.samples();
    let len = tokens.completion_len();
    let log_t: Vec<f64> = samples.iter().map(|sample| (sample.len() as f64 / len as f64).ln()).collect();

    // Log-sum-exp over the samples, position by position: the largest exponent, then the sum.
    let mut largest = vec![f64::NEG_INFINITY; len];
    let mut sum = vec![0.0; len];
    let exponents: Vec<Vec<f64>> = samples
        .iter()
        .zip(&log_t)
        .map(|(sample, log_t)| sample.iter().map(|token| beta * token.lp - log_t).collect())
        .collect();
    let scored = || samples.iter().flatten().zip(exponents.iter().flatten());
    for (token, &exponent) in scored() {
        largest[token.position] = largest[token.position].max(exponent);
    }
    for (token, exponent) in scored() {
        sum[token.position] += (exponent - largest[token.position]).exp();
    }

    let union = sum.iter().filter(|&&s| s != 0.0).count();
    if union == 0 {
        return Bound { value: 0.0, d_lp: tokens.zeros() };
    }
    let log_m = (samples.len() as f64).ln();
    let log_sum_exp: Vec<f64> = largest.iter().zip(&sum).map(|(largest, sum)| largest + sum.ln()).collect();
    let total: f64 = log_sum_exp.iter().zip(&sum).filter(|&(_, &s)| s != 0.0).map(|(lse, _)| lse - log_m).sum();

    let mut d_lp = exponents;
    for (sample, gradient) in samples.iter().zip(&mut d_lp) {
        for (token, slot) in sample.iter().zip(gradient) {
            *slot = (*slot - log_sum_exp[token.position]).exp() / union as f64;
        }
    }
    Bound { value: total / (beta * union as f64), d_lp }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objective::testing::{assert_gradient, random_tokens, tokens};
    use proptest::prelude::*;

    #[test]
    fn one_full_mask_gives_the_mean_log_prob() {
        let bound = eubo(&tokens(2, &[&[(0, -1.0), (1, -3.0)]]), 1.5);
        assert!((bound.value + 2.0).abs() < 1e-15);
        assert_eq!(bound.d_lp, [vec![0.5, 0.5]]);
    }

    #[test]
    fn written_out_in_probability_space() {
        let beta = 1.5;
        let bound = eubo(&tokens(4, &[&[(0, -1.0), (1, -3.0)], &[(1, -2.0)]]), beta);
        let first = (-beta).exp() / 0.5 / 2.0;
        let second = ((-3.0 * beta).exp() / 0.5 + (-2.0 * beta).exp() / 0.25) / 2.0;
        assert!((bound.value - (first.ln() + second.ln()) / (2.0 * beta)).abs() < 1e-14, "{}", bound.value);
        let weight = (-3.0 * beta).exp() / 0.5 / (2.0 * second);
        for (ours, written_out) in bound.d_lp.iter().flatten().zip([0.5, weight / 2.0, (1.0 - weight) / 2.0]) {
            assert!((ours - written_out).abs() < 1e-14, "{:?}", bound.d_lp);
        }
    }

    #[test]
    fn very_unlikely_tokens_are_not_dropped() {
        let beta = 2.0;
        let bound = eubo(&tokens(2, &[&[(0, -500.0)], &[(0, -500.0), (1, -1.0)]]), beta);
        // exp(-1000) is zero in f64, its logarithm is not
        assert_eq!((beta * -500.0).exp(), 0.0);
        let first = -1000.0 + (2f64 + 1.0).ln() - 2f64.ln();
        let second = -2.0 - 2f64.ln();
        assert!((bound.value - (first + second) / 4.0).abs() < 1e-10, "{}", bound.value);
        let weights: Vec<f64> = bound.d_lp.into_iter().flatten().collect();
        for (ours, expected) in weights.iter().zip([1.0 / 3.0, 1.0 / 6.0, 0.5]) {
            assert!((ours - expected).abs() < 1e-12, "{weights:?}");
        }
    }

    #[test]
    fn nothing_scored_gives_zero() {
        assert_eq!(eubo(&tokens(3, &[&[], &[]]), 1.5), Bound { value: 0.0, d_lp: vec![vec![], vec![]] });
        assert!(eubo(&tokens(3, &[&[], &[(1, -1.0)]]), 1.5).value.is_finite());
    }

    #[test]
    fn a_broken_log_prob_shows_in_the_value() {
        assert!(eubo(&tokens(2, &[&[(0, f64::NAN), (1, -1.0)]]), 1.5).value.is_nan());
    }

    proptest! {
        #[test]
        fn the_gradient_is_the_finite_difference(seed: u64, beta in 1.0..4.0) {
            assert_gradient(&random_tokens(seed), |tokens| eubo(tokens, beta));
        }

        #[test]
        fn the_gradient_is_the_softmax_over_samples(seed: u64, beta in 1.0..4.0) {
            let tokens = random_tokens(seed);
            let bound = eubo(&tokens, beta);
            let len = tokens.completion_len() as f64;
            let weight = |m: usize, lp: f64| (beta * lp).exp() / (tokens.samples()[m].len() as f64 / len);
            let mut union: Vec<usize> = tokens.samples().iter().flatten().map(|t| t.position).collect();
            union.sort_unstable();
            union.dedup();
            for (m, sample) in tokens.samples().iter().enumerate() {
                for (index, token) in sample.iter().enumerate() {
                    let everywhere: f64 = tokens.samples().iter().enumerate()
                        .flat_map(|(m, sample)| sample.iter().map(move |t| (m, t)))
                        .filter(|(_, t)| t.position == token.position)
                        .map(|(m, t)| weight(m, t.lp))
                        .sum();
                    let softmax = weight(m, token.lp) / everywhere / union.len() as f64;
                    prop_assert!((bound.d_lp[m][index] - softmax).abs() < 1e-12);
                }
            }
            let total: f64 = bound.d_lp.iter().flatten().sum();
            prop_assert!((total - 1.0).abs() < 1e-12, "the weights of a token add up to 1/|U|");
        }
    }
}
