//! A likelihood of every token: the weighted sum of its log-probabilities under the masks that hide it.
//!
//! One full mask of weight 1 gives the one-step estimate of d1 (arXiv 2504.12216), one partial mask that of UniGRPO, and a
//! full mask, a set and its complement give the coupled estimate of DiffuCoder (arXiv 2506.20639).

use crate::objective::ScoredTokens;
use crate::objective::terms::Terms;

/// One term a token that any mask hides, by ascending position: `sum_m w_m lp_i,m`.
pub(super) fn terms(scored: &ScoredTokens) -> Terms {
    // positions that are scored, numbered
    let mut number = vec![None; scored.completion_len()];
    scored.samples().iter().flatten().for_each(|token| number[token.position] = Some(0));
    let mut count = 0;
    for slot in number.iter_mut().flatten() {
        *slot = count;
        count += 1;
    }

    let mut values = vec![0.0; count];
    let mut d_lp = scored.zeros();
    let mut owner = Vec::with_capacity(d_lp.len());
    for ((sample, &weight), slopes) in scored.samples().iter().zip(scored.weights()).zip(&mut d_lp) {
        slopes.fill(weight);
        // every position of a sample has its number by now
        let numbers: Vec<usize> = sample.iter().filter_map(|token| number[token.position]).collect();
        numbers.iter().zip(sample).for_each(|(&value, token)| values[value] += weight * token.lp);
        owner.push(numbers);
    }
    Terms { values, tokens: 1.0, bounds: None, d_lp, owner }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objective::testing::tokens;

    #[test]
    fn a_token_gathers_what_all_masks_say_about_it() {
        let scored = tokens(5, &[&[(0, -1.0), (1, -2.0), (4, -3.0)], &[(1, -4.0)], &[(4, -5.0)]]);
        let terms = terms(&scored.weighted(vec![0.5, 2.0, 3.0]));
        assert_eq!(terms.values, [-0.5, -9.0, -16.5]);
        assert_eq!(terms.tokens, 1.0);
        assert_eq!(terms.pull_back(&[1.0, 10.0, 100.0]), [vec![0.5, 5.0, 50.0], vec![20.0], vec![300.0]]);
    }
}
