//! Sums over the completions of an update, for the metrics.

use super::update::StepLoss;
use crate::config::Recipe;
use crate::report::Row;

/// What is reported of an update.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    loss: f64,
    /// Sum and number of the likelihoods that are raised.
    positive: (f64, usize),
    /// Of those that are lowered.
    negative: (f64, usize),
    /// Sums of the lower and of the upper bounds.
    bounds: Option<(f64, f64)>,
    /// Terms whose ratio was clipped, from below and from above.
    clipped: Option<(usize, usize)>,
    /// Sum of the distances to the reference.
    kl: Option<f64>,
    /// Completions whose weight was capped.
    capped: Option<usize>,
    terms: usize,
    scored_completions: usize,
    tokens: usize,
    /// Sum over tokens.
    entropy: f64,
}

impl Tally {
    /// The sums of an update, `capped` of whose completions had their weight held back by its cap; none where there is no
    /// such thing.
    pub fn of(recipe: &Recipe, found: &StepLoss, capped: Option<usize>) -> Self {
        let mut tally = Self {
            loss: found.loss(),
            clipped: recipe.link.ratio.map(|_| (0, 0)),
            kl: recipe.link.kl.map(|_| 0.0),
            capped,
            tokens: found.tokens,
            entropy: found.entropies.iter().sum(),
            ..Self::default()
        };
        for (_, part) in &found.completions {
            // what has no signal only pays the penalty
            if part.signal != 0.0 {
                let side = if part.signal > 0.0 { &mut tally.positive } else { &mut tally.negative };
                side.0 += part.likelihood;
                side.1 += 1;
            }
            if let Some(bounds) = part.bounds {
                let sums = tally.bounds.get_or_insert((0.0, 0.0));
                sums.0 += bounds.elbo;
                sums.1 += bounds.eubo;
            }
            if let Some(clipped) = &mut tally.clipped {
                clipped.0 += part.clipped_low;
                clipped.1 += part.clipped_high;
            }
            tally.kl = tally.kl.map(|kl| kl + part.kl);
            tally.terms += part.terms;
            tally.scored_completions += 1;
        }
        // SPG's metrics have both bounds even where no completion had a gradient
        if matches!(recipe.surrogate, crate::config::Surrogate::Sandwich { .. }) {
            tally.bounds.get_or_insert((0.0, 0.0));
        }
        tally
    }

    /// Adds the figures to a metrics row, under TRL's names where it has them.
    pub fn report(&self, row: &mut Row) {
        let mean = |sum: f64, n: usize| if n == 0 { f64::NAN } else { sum / n as f64 };
        row.set("loss", self.loss)
            .set("bound/positive", mean(self.positive.0, self.positive.1))
            .set("bound/negative", mean(self.negative.0, self.negative.1));
        if let Some((elbo, eubo)) = self.bounds {
            row.set("bound/elbo", mean(elbo, self.scored_completions))
                .set("bound/eubo", mean(eubo, self.scored_completions));
        }
        row.set("entropy", mean(self.entropy, self.tokens))
            .set("scored_completions", self.scored_completions)
            .set("scored_tokens", self.tokens);
        if let Some((low, high)) = self.clipped {
            row.set("clip_ratio/low_mean", mean(low as f64, self.terms))
                .set("clip_ratio/high_mean", mean(high as f64, self.terms))
                .set("clip_ratio/region_mean", mean((low + high) as f64, self.terms));
        }
        if let Some(capped) = self.capped {
            row.set("clip_ratio/high_mean", mean(capped as f64, self.scored_completions));
        }
        if let Some(kl) = self.kl {
            row.set("kl", mean(kl, self.terms));
        }
    }
}
