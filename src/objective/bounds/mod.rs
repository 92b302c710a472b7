//! Per-token estimates of a completion's log-likelihood: below it, above it, and a mixture.

mod elbo;
mod eubo;
mod mixture;
#[cfg(test)]
mod places;
#[cfg(test)]
mod sandwich;

pub use elbo::elbo;
pub use eubo::eubo;
pub use mixture::mixture;

use super::LpGradient;

/// A bound and its gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    /// Nats per token.
    pub value: f64,
    /// `d value / d lp`, `[M][|V_m|]`.
    pub d_lp: LpGradient,
}
