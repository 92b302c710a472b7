//! The loss of a completion, put together from the pieces of a recipe.

use serde::{Deserialize, Serialize};

use super::link::{self, Clipped, Sloped};
use super::terms::{Bounds, Terms};
use super::weights::{Stake, Standing, stakes};
use super::{LpGradient, ScoredTokens, surrogate};
use crate::config::{Aggregation, Recipe};

/// An objective: what a recipe makes of log-probabilities.
///
/// ```text
/// loss = sum_c share_c * sum_n [ link(term_c,n) + penalty(term_c,n) ]
/// ```
///
/// A group whose completions all earned the same teaches nothing: its completions are left out, from the penalty too,
/// and still count in the lengths and numbers that a step is divided by.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    recipe: Recipe,
}

/// The terms of a completion under policies that do not change in the update, one value a term.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Anchor {
    /// Under the policy that sampled. None if it is the current one: before the first update of a phase.
    pub old: Option<Vec<f64>>,
    /// Under the reference; none if nothing is paid for leaving it.
    pub reference: Option<Vec<f64>>,
}

/// What one completion adds to the loss of its step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CompletionLoss {
    /// The completion's part of the loss.
    pub loss: f64,
    /// What it is raised by; lowered if below zero.
    pub signal: f64,
    /// The likelihood that is raised or lowered, nats per token; zero where it is ignored.
    pub likelihood: f64,
    /// Both bounds, whichever is used, where the surrogate is made of them.
    pub bounds: Option<Bounds>,
    /// How many terms there are.
    pub terms: usize,
    /// Terms whose ratio is clipped from below.
    pub clipped_low: usize,
    /// Terms whose ratio is clipped from above.
    pub clipped_high: usize,
    /// Sum over terms of the distance to the reference, without its weight.
    pub kl: f64,
    /// `d loss / d lp`, `[M][|V_m|]`.
    pub d_lp: LpGradient,
}

impl Objective {
    /// The objective of a recipe.
    pub fn new(recipe: &Recipe) -> Self {
        Self { recipe: recipe.clone() }
    }

    /// The recipe.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// What every completion of a step has at stake.
    pub fn stakes(&self, step: &[Standing]) -> Vec<Stake> {
        stakes(&self.recipe.aggregation, step)
    }

    /// Whether a completion has a gradient; if not, it need not be run through the model.
    pub fn needs_backward(&self, stake: &Stake) -> bool {
        !stake.flat && (self.recipe.link.kl.is_some() || surrogate::moves(&self.recipe.surrogate, stake.signal))
    }

    /// Whether a completion's terms under the policy that sampled are asked for: not where only the penalty is paid.
    pub fn needs_old(&self, stake: &Stake) -> bool {
        match self.stable_cap() {
            Some(_) => !stake.flat,
            None => self.recipe.link.ratio.is_some() && !stake.flat && stake.signal != 0.0,
        }
    }

    /// Whether a completion's terms under the reference are asked for.
    pub fn needs_reference(&self, stake: &Stake) -> bool {
        self.recipe.link.kl.is_some() && self.needs_backward(stake)
    }

    /// The cap of weights that need the current bounds of whole groups before the pass; none if there are no such weights.
    pub fn stable_cap(&self) -> Option<f64> {
        match self.recipe.aggregation {
            Aggregation::StableLength { cap } => Some(cap),
            _ => None,
        }
    }

    /// The terms of a completion.
    pub fn terms(&self, stake: &Stake, scored: &ScoredTokens) -> Terms {
        surrogate::terms(&self.recipe.surrogate, scored, stake.signal)
    }

    /// What a completion adds to the loss, `emphasis` times its stake.
    ///
    /// # Panics
    /// If `anchor` has another number of terms: a bug of the caller.
    pub fn loss(&self, stake: &Stake, emphasis: f64, scored: &ScoredTokens, anchor: &Anchor) -> CompletionLoss {
        let terms = self.terms(stake, scored);
        let count = terms.values.len();
        for values in [&anchor.old, &anchor.reference].into_iter().flatten() {
            assert_eq!(values.len(), count, "terms of one completion under the same masks");
        }
        let mut found = CompletionLoss {
            loss: 0.0,
            signal: stake.signal,
            likelihood: terms.per_token(),
            bounds: terms.bounds,
            terms: count,
            clipped_low: 0,
            clipped_high: 0,
            kl: 0.0,
            d_lp: LpGradient::new(),
        };
        let mut slopes = Vec::with_capacity(count);
        for (n, &new) in terms.values.iter().enumerate() {
            let mut term = match self.recipe.link.ratio {
                // one product, so that a completion's weight is the same for all of its tokens
                None => {
                    let weight = stake.share(-stake.signal, count) * emphasis;
                    Sloped { value: weight * new, slope: weight }
                }
                Some(clip) => {
                    let old = anchor.old.as_ref().map_or(new, |old| old[n]);
                    let (loss, clipped) = link::ratio(clip, stake.signal, terms.tokens, new, old);
                    found.clipped_low += usize::from(clipped == Some(Clipped::Low));
                    found.clipped_high += usize::from(clipped == Some(Clipped::High));
                    let share = |x| stake.share(x, count) * emphasis;
                    Sloped { value: share(loss.value), slope: share(loss.slope) }
                }
            };
            if let (Some(kl), Some(reference)) = (self.recipe.link.kl, &anchor.reference) {
                let paid = link::penalty(kl, terms.tokens, new, reference[n]);
                found.kl += paid.value / kl.weight;
                term.value += stake.share(paid.value, count);
                term.slope += stake.share(paid.slope, count);
            }
            found.loss += term.value;
            slopes.push(term.slope);
        }
        found.d_lp = terms.pull_back(&slopes);
        found
    }
}

#[cfg(test)]
mod tests;
