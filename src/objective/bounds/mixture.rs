//! The mixture of both bounds: less biased than the lower, less noisy than the upper.

use super::Bound;

/// `omega * EUBO + (1 - omega) * ELBO` (arXiv 2510.09541, the mixture of bounds for negative advantages).
///
/// The variance of its gradient is a convex quadratic in `omega` whose minimum lies below both ends.
/// At `omega` 0 and 1 it is exactly the one bound, whatever the other one is.
pub fn mixture(elbo: &Bound, eubo: &Bound, omega: f64) -> Bound {
    if omega == 0.0 {
        return elbo.clone();
    }
    if omega == 1.0 {
        return eubo.clone();
    }
    let mix = |lower: f64, upper: f64| omega * upper + (1.0 - omega) * lower;
    let d_lp = elbo.d_lp.iter().zip(&eubo.d_lp);
    let d_lp = d_lp.map(|(lower, upper)| lower.iter().zip(upper).map(|(&l, &u)| mix(l, u)).collect()).collect();
    Bound { value: mix(elbo.value, eubo.value), d_lp }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objective::ScoredTokens;
    use crate::objective::bounds::{elbo, eubo};
    use crate::objective::testing::{assert_gradient, random_tokens, tokens};
    use proptest::prelude::*;

    fn mixed(tokens: &ScoredTokens, beta: f64, omega: f64) -> Bound {
        mixture(&elbo(tokens), &eubo(tokens, beta), omega)
    }

    #[test]
    fn the_ends_are_the_bounds() {
        let tokens = tokens(3, &[&[(0, -1.0), (2, -3.0)], &[(2, -0.5)]]);
        assert_eq!(mixed(&tokens, 2.0, 0.0), elbo(&tokens));
        assert_eq!(mixed(&tokens, 2.0, 1.0), eubo(&tokens, 2.0));
    }

    proptest! {
        #[test]
        fn the_gradient_is_the_finite_difference(seed: u64, beta in 1.0..4.0, omega in 0.0..1.0) {
            assert_gradient(&random_tokens(seed), |tokens| mixed(tokens, beta, omega));
        }
    }
}
