//! SPG's likelihood (arXiv 2510.09541): a lower bound of what did better than its group, an upper bound, or a mixture, of
//! what did worse.

use crate::config::NegativeEstimator;
use crate::objective::ScoredTokens;
use crate::objective::bounds::{elbo, eubo, mixture, of_parts};
use crate::objective::terms::{Bounds, Terms};

/// The weight of the upper bound in the likelihood; none if bad completions are ignored. What is neither good nor bad
/// has its lower bound.
pub(super) fn upper_weight(negative: NegativeEstimator, mix_weight: f64, advantage: f64) -> Option<f64> {
    if advantage >= 0.0 {
        return Some(0.0);
    }
    match negative {
        NegativeEstimator::Mix => Some(mix_weight),
        NegativeEstimator::Eubo => Some(1.0),
        NegativeEstimator::Elbo => Some(0.0),
        NegativeEstimator::Zero => None,
    }
}

/// One term, nats per token: `omega * EUBO + (1 - omega) * ELBO`; without a weight, nothing that has a gradient.
pub(super) fn terms(scored: &ScoredTokens, omega: Option<f64>, beta: f64) -> Terms {
    let (lower, upper) = (of_parts(scored, elbo), of_parts(scored, |part| eubo(part, beta)));
    let bounds = Bounds { elbo: lower.value, eubo: upper.value };
    let (value, d_lp) = match omega {
        Some(omega) => {
            let bound = mixture(&lower, &upper, omega);
            (bound.value, bound.d_lp)
        }
        None => (0.0, scored.zeros()),
    };
    Terms { bounds: Some(bounds), ..Terms::one(value, 1.0, d_lp) }
}
