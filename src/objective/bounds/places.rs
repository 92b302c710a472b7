//! Tests: what the places of a completion weigh in either bound, whatever their log-probabilities.
//!
//! Good completions are raised by one bound and bad ones lowered by the other, so what all completions share, the form of an
//! answer above all, is left alone only if its places weigh the same in both. With block-wise masks they do not:
//! `examples/reproductions/README.md` shows what comes of it.

use std::num::NonZeroUsize;

use super::{Bound, elbo, eubo};
use crate::config::{ForwardType, Fraction, Scope, SpgTable};
use crate::objective::ScoredTokens;
use crate::objective::masking::{Canvas, Masking, Round};
use crate::rng::{Key, Purpose};

/// A block of six tokens and one of two.
const CANVAS: Canvas = Canvas { prompt_length: 0, completion_length: 12, len: 8, begun: 0 };
const FIRST_BLOCK: usize = 6;

/// What the first block weighs in the lower and in the upper bound, under the masks of one draw.
fn weights(forward_type: ForwardType, scope: Scope, draw: usize) -> [f64; 2] {
    let table = SpgTable { forward_type, scope, p_mask_prompt: Fraction::ZERO, ..SpgTable::default() };
    let masking = Masking::new(&table.recipe().masks, NonZeroUsize::new(FIRST_BLOCK).unwrap());
    let key = Key::new(7, Purpose::Mask).prompt(draw);
    let samples = masking.draw(CANVAS, Round { inner: 0, of: 1 }, key);
    let positions: Vec<Vec<usize>> = samples.iter().map(|sample| sample.scored(scope)).collect();
    // any log-probabilities do: a place divides its weight among its masks as they say, and weighs the same
    let mut lps = (0..).map(|i| -f64::from(i % 5));
    let tokens = ScoredTokens::from_positions(CANVAS.len, &positions, &mut lps).unwrap();
    [elbo(&tokens), eubo(&tokens, 1.5)].map(|Bound { d_lp, .. }| {
        let slopes = tokens.samples().iter().flatten().zip(d_lp.iter().flatten());
        slopes.filter(|(token, _)| token.position < FIRST_BLOCK).map(|(_, slope)| slope).sum()
    })
}

fn mean_weights(forward_type: ForwardType, scope: Scope) -> [f64; 2] {
    const DRAWS: usize = 4000;
    let mut sum = [0.0; 2];
    for draw in 0..DRAWS {
        let weights = weights(forward_type, scope, draw);
        sum.iter_mut().zip(weights).for_each(|(sum, weight)| *sum += weight);
    }
    sum.map(|sum| sum / DRAWS as f64)
}

#[test]
fn under_block_wise_masks_the_first_block_weighs_twice_in_the_upper_bound() {
    // the first block is hidden in one mask of two: half of its mean over masks, all of its mean over tokens
    for draw in 0..100 {
        let [lower, upper] = weights(ForwardType::BlockRandom, Scope::AllMasked, draw);
        assert!((upper - 2.0 * lower).abs() < 1e-12, "{lower} {upper}");
    }
    // k of six tokens, and the two behind them: the mean of k / (k + 2)
    let expected: f64 = (1..=6).map(|k| f64::from(k) / f64::from(k + 2)).sum::<f64>() / 6.0;
    let [lower, upper] = mean_weights(ForwardType::BlockRandom, Scope::AllMasked);
    assert!((lower - expected / 2.0).abs() < 0.005 && (upper - expected).abs() < 0.01, "{lower} {upper} {expected}");
}

#[test]
fn with_the_block_alone_it_weighs_a_third_more() {
    let [lower, upper] = mean_weights(ForwardType::BlockRandom, Scope::Block);
    // k of six, and l of two
    let share = |k: u32, l: u32| f64::from(k) / f64::from(k + l);
    let expected: f64 = (1..=6).flat_map(|k| (1..=2).map(move |l| share(k, l))).sum::<f64>() / 12.0;
    assert!((lower - 0.5).abs() < 1e-12, "{lower}");
    assert!((upper - expected).abs() < 0.01 && expected > 0.65, "{upper} {expected}");
}

#[test]
fn under_random_masks_every_place_weighs_the_same_in_both() {
    for weight in mean_weights(ForwardType::Random, Scope::AllMasked) {
        assert!((weight - 0.75).abs() < 0.01, "{weight}");
    }
}
