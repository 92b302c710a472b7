//! Tests: bounds of completions whose blocks are hidden apart.

use proptest::prelude::*;

use super::{elbo, eubo, of_parts};
use crate::objective::testing::{assert_gradient, random_tokens, tokens};

#[test]
fn blocks_counted_by_how_many_of_their_tokens_were_hidden() {
    // one of two tokens hidden in the first block, both in the second: each block is half of the completion
    let scored = tokens(4, &[&[(0, -1.0), (2, -3.0), (3, -5.0)]]).in_parts(vec![0..2, 2..4]);
    let bound = of_parts(&scored, elbo);
    assert_eq!(bound.value, (-1.0 - 4.0) / 2.0);
    assert_eq!(bound.d_lp, [vec![0.5, 0.25, 0.25]]);
}

#[test]
fn a_short_last_block_counts_as_much_as_it_has_tokens() {
    let scored = tokens(3, &[&[(1, -2.0), (2, -8.0)]]).in_parts(vec![0..2, 2..3]);
    let bound = of_parts(&scored, elbo);
    assert!((bound.value - (2.0 * -2.0 - 8.0) / 3.0).abs() < 1e-15, "{}", bound.value);
    // of the upper bound too, whose t is that of the block: one of two hidden, one of one
    let upper = of_parts(&scored, |tokens| eubo(tokens, 2.0));
    let expected = (2.0 * (-2.0 + 0.5 * 2f64.ln()) - 8.0) / 3.0;
    assert!((upper.value - expected).abs() < 1e-14, "{} {expected}", upper.value);
}

proptest! {
    #[test]
    fn the_gradient_is_the_finite_difference(seed: u64, beta in 1.0..4.0) {
        let scored = random_tokens(seed);
        let len = scored.completion_len();
        let scored = scored.in_parts(vec![0..len / 2, len / 2..len]);
        assert_gradient(&scored, |tokens| of_parts(tokens, elbo));
        assert_gradient(&scored, |tokens| of_parts(tokens, |part| eubo(part, beta)));
    }

    #[test]
    fn one_part_is_the_whole(seed: u64, beta in 1.0..4.0) {
        let scored = random_tokens(seed);
        prop_assert_eq!(of_parts(&scored, elbo), elbo(&scored));
        prop_assert_eq!(of_parts(&scored, |part| eubo(part, beta)), eubo(&scored, beta));
    }
}
