//! One likelihood of the whole completion: the weighted sum over masks and the tokens they hide.
//!
//! One full mask of weight 1 gives WD1's sum (arXiv 2507.08838); sets and complements weighed by their sizes the ELBO of
//! ESPO (arXiv 2512.03759), the nodes of a quadrature that of GDPO (arXiv 2510.08554).

use crate::objective::ScoredTokens;
use crate::objective::terms::Terms;

/// One term: `sum_m w_m sum_{i in V_m} lp_i,m`, of as many tokens as the completion has.
pub(super) fn terms(scored: &ScoredTokens) -> Terms {
    let mut value = 0.0;
    let mut d_lp = scored.zeros();
    for ((sample, &weight), slopes) in scored.samples().iter().zip(scored.weights()).zip(&mut d_lp) {
        value += weight * sample.iter().map(|token| token.lp).sum::<f64>();
        slopes.fill(weight);
    }
    Terms::one(value, scored.completion_len() as f64, d_lp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objective::testing::tokens;

    #[test]
    fn masks_add_up_by_their_weights() {
        let scored = tokens(4, &[&[(0, -1.0), (2, -2.0)], &[(1, -4.0)]]).weighted(vec![0.5, 2.0]);
        let terms = terms(&scored);
        assert_eq!((&terms.values[..], terms.tokens), (&[-9.5][..], 4.0));
        assert_eq!(terms.per_token(), -9.5 / 4.0);
        assert_eq!(terms.pull_back(&[10.0]), [vec![5.0, 5.0], vec![20.0]]);
    }
}
