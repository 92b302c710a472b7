//! What a surrogate makes of log-probabilities: values whose gradients an objective chooses, and the way back.

use serde::{Deserialize, Serialize};

use super::LpGradient;

/// The likelihoods of one completion that an objective raises or lowers: one a token, or one alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// Nats, `[N]`.
    pub values: Vec<f64>,
    /// Tokens that each value is a sum over: the ratio of a sequence is taken per token.
    pub tokens: f64,
    /// The two bounds of the completion's likelihood, nats per token, if the surrogate is made of them.
    pub bounds: Option<Bounds>,
    /// `d value / d lp` of the value that the token belongs to, `[M][|V_m|]`.
    pub(super) d_lp: LpGradient,
    /// The value that each token belongs to, `[M][|V_m|]`; it belongs to one.
    pub(super) owner: Vec<Vec<usize>>,
}

/// Bounds of a completion's likelihood, nats per token.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bounds {
    /// The lower one.
    pub elbo: f64,
    /// The upper one.
    pub eubo: f64,
}

impl Terms {
    /// One value that all tokens belong to.
    pub(super) fn one(value: f64, tokens: f64, d_lp: LpGradient) -> Self {
        let owner = d_lp.iter().map(|sample| vec![0; sample.len()]).collect();
        Self { values: vec![value], tokens, bounds: None, d_lp, owner }
    }

    /// Nats per token, mean over the values; zero if there is none.
    pub fn per_token(&self) -> f64 {
        self.values.iter().sum::<f64>() / (self.values.len().max(1) as f64 * self.tokens)
    }

    /// `d loss / d lp` from `d loss / d value`, `[N]`.
    pub fn pull_back(self, slopes: &[f64]) -> LpGradient {
        let Self { mut d_lp, owner, .. } = self;
        for (sample, owner) in d_lp.iter_mut().zip(&owner) {
            for (slope, &value) in sample.iter_mut().zip(owner) {
                *slope *= slopes[value];
            }
        }
        d_lp
    }
}
