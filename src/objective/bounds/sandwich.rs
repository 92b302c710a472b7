//! Tests: the bounds against exact any-order models of two and three tokens.
//!
//! The true likelihood of such a model is the average over the orders in which the tokens may be revealed
//! of the product of the conditionals; every mask is enumerated with the probability that the `random`
//! forward type gives it (`k ~ U{1..n}`, then `k` uniform places). The theorem (arXiv 2510.09541) promises
//! `ELBO <= log p <= EUBO` without a constant for `beta >= n`. Ours are means over tokens: times `n`.

use super::{elbo, eubo};
use crate::objective::testing::tokens;
use proptest::prelude::*;

/// `log p(x_i | the tokens outside `masked` are known)` of a toy: `table[i][masked]`, `masked` a bit set.
type Toy<const N: usize> = [[f64; 8]; N];

/// The scored tokens of every mask of the toy, each repeated as often as its probability asks for.
fn all_masks<const N: usize>(toy: &Toy<N>) -> crate::objective::ScoredTokens {
    let mut samples = Vec::new();
    for masked in (0..1usize << N).skip(1) {
        let hidden = masked.count_ones() as usize;
        let sample: Vec<(usize, f64)> = (0..N).filter(|i| masked >> i & 1 == 1).map(|i| (i, toy[i][masked])).collect();
        // every number hidden is equally likely: 1 of (n choose k) masks; n is 2 or 3, so (n choose k) is 1 or n
        let copies = if hidden == N { N } else { 1 };
        samples.extend(std::iter::repeat_n(sample, copies));
    }
    let samples: Vec<&[(usize, f64)]> = samples.iter().map(Vec::as_slice).collect();
    tokens(N, &samples)
}

/// `log p` as the average over all orders.
fn log_likelihood<const N: usize>(toy: &Toy<N>) -> f64 {
    fn orders(toy: &[[f64; 8]], masked: usize) -> f64 {
        if masked == 0 {
            return 1.0;
        }
        let hidden: Vec<usize> = (0..toy.len()).filter(|i| masked >> i & 1 == 1).collect();
        let next = hidden.iter().map(|&i| toy[i][masked].exp() * orders(toy, masked & !(1 << i)));
        next.sum::<f64>() / hidden.len() as f64
    }
    orders(toy, (1 << N) - 1).ln()
}

#[test]
fn two_tokens_in_closed_form() {
    // a: the other token is known; b: both are masked
    let (a, b) = ([0.7f64, 0.2], [0.4f64, 0.05]);
    let toy: Toy<2> = [0, 1].map(|i| {
        let mut row = [f64::NAN; 8];
        row[1 << i] = a[i].ln();
        row[0b11] = b[i].ln();
        row
    });
    let masks = all_masks(&toy);
    assert!((log_likelihood(&toy) - ((b[0] * a[1] + b[1] * a[0]) / 2.0).ln()).abs() < 1e-15);
    let lower: f64 = (0..2).map(|i| (a[i].ln() + b[i].ln()) / 2.0).sum();
    assert!((2.0 * elbo(&masks).value - lower).abs() < 1e-14);
    for beta in [1.0, 1.5, 2.0, 5.0] {
        let upper: f64 = (0..2).map(|i| ((a[i].powf(beta) + b[i].powf(beta)) / 2.0).ln() / beta).sum();
        assert!((2.0 * eubo(&masks, beta).value - upper).abs() < 1e-14, "beta {beta}");
    }
}

fn toy<const N: usize>() -> impl Strategy<Value = Toy<N>> {
    prop::array::uniform(prop::array::uniform8(-12.0..-1e-3f64))
}

fn assert_sandwich<const N: usize>(toy: &Toy<N>, beta: f64) -> Result<(), TestCaseError> {
    let masks = all_masks(toy);
    let log_p = log_likelihood(toy);
    let (lower, upper) = (N as f64 * elbo(&masks).value, N as f64 * eubo(&masks, beta).value);
    prop_assert!(lower <= log_p + 1e-12 && log_p <= upper + 1e-12, "{lower} <= {log_p} <= {upper}");
    Ok(())
}

proptest! {
    #[test]
    fn two_tokens_lie_between_the_bounds(toy in toy::<2>(), beta in 2.0..6.0) {
        assert_sandwich(&toy, beta)?;
    }

    #[test]
    fn three_tokens_lie_between_the_bounds(toy in toy::<3>(), beta in 3.0..8.0) {
        assert_sandwich(&toy, beta)?;
    }
}
