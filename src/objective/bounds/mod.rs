//! Per-token estimates of a completion's log-likelihood: below it, above it, and a mixture.

mod elbo;
mod eubo;
mod mixture;
#[cfg(test)]
mod parts;
#[cfg(test)]
mod places;
#[cfg(test)]
mod sandwich;

pub use elbo::elbo;
pub use eubo::eubo;
pub use mixture::mixture;

use super::{LpGradient, ScoredTokens};

/// The bound of a completion in parts: of each of its `len` tokens it says as much as the bound of that token's part does,
/// `sum_b (n_b / len) bound_b` nats per token. The log-likelihood is the sum of those of the parts given what stands before
/// them, so bounds of these add up to one of all (block-causal models: arXiv 2510.06303, 2503.09573).
pub fn of_parts(tokens: &ScoredTokens, bound: impl Fn(&ScoredTokens) -> Bound) -> Bound {
    if let [_] = tokens.parts() {
        return bound(tokens);
    }
    let mut all = Bound { value: 0.0, d_lp: vec![Vec::new(); tokens.samples().len()] };
    for part in tokens.parts() {
        let share = part.len() as f64 / tokens.completion_len() as f64;
        let Bound { value, d_lp } = bound(&tokens.part(part));
        all.value += share * value;
        // positions ascend, and so do parts
        for (all, part) in all.d_lp.iter_mut().zip(d_lp) {
            all.extend(part.into_iter().map(|slope| share * slope));
        }
    }
    all
}

/// A bound and its gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    /// Nats per token.
    pub value: f64,
    /// `d value / d lp`, `[M][|V_m|]`.
    pub d_lp: LpGradient,
}
