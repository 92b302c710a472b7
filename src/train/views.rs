//! Completions as the objective shows them to the model: masked, once a Monte-Carlo sample.

use std::num::NonZeroUsize;
use std::ops::Range;

use super::completions::Completion;
use super::likelihood::Row as TokenRow;
use crate::config::{Recipe, Scope};
use crate::model::Decoder;
use crate::objective::ScoredTokens;
use crate::objective::masking::{Canvas, MaskSample, Masking, Round};
use crate::rng::{Key, Purpose};
use crate::rollout::Grid;

/// A completion under its masks.
#[derive(Clone, Debug, PartialEq)]
pub struct Views {
    /// One a mask.
    pub rows: Vec<TokenRow>,
    /// The completion positions each row scores.
    positions: Vec<Vec<usize>>,
    /// What each row counts.
    weights: Vec<f64>,
    /// The parts that the log-likelihood is a sum over, which end with its last token.
    parts: Vec<Range<usize>>,
}

/// Draws the views of every update of a phase. They are functions of their place, so that the policy that sampled and
/// the reference are shown the very same ones, with the same dropout where adapters take part.
#[derive(Clone, Debug)]
pub struct Viewer {
    masking: Masking,
    updates: usize,
    seed: u64,
}

impl Viewer {
    /// The views of a recipe, for completions in blocks of `block_length`.
    pub fn new(recipe: &Recipe, block_length: NonZeroUsize, seed: u64) -> Self {
        Self { masking: Masking::new(&recipe.masks, block_length), updates: recipe.num_iterations.get(), seed }
    }

    /// The views of completion `index` of a phase in its update `inner`.
    pub fn views(&self, model: &Decoder, completion: &Completion, index: usize, phase: usize, inner: usize) -> Views {
        let canvas = Canvas {
            prompt_length: completion.prompt.len(),
            completion_length: completion.canvas.len(),
            len: completion.len,
            begun: Grid::begun(completion.prompt.len(), model.shape().sight),
        };
        let mask_id = model.ids().mask;
        let place = |purpose| Key::new(self.seed, purpose).step(phase as u64).prompt(index);
        let samples = self.masking.draw(canvas, Round { inner, of: self.updates }, place(Purpose::Mask));
        let dropout = |m| place(Purpose::Dropout).part(inner).sample(m);
        let parts = self.masking.parts(canvas);
        Views::of(&completion.prompt, &completion.canvas, mask_id, &samples, self.masking.scope(), parts, dropout)
    }
}

impl Views {
    /// A completion under given masks.
    pub fn of(
        prompt: &[u32],
        canvas: &[u32],
        mask_id: u32,
        samples: &[MaskSample],
        scope: Scope,
        parts: Vec<Range<usize>>,
        dropout: impl Fn(usize) -> Key,
    ) -> Self {
        let clean: Vec<u32> = prompt.iter().chain(canvas).copied().collect();
        let (mut rows, mut positions) = (Vec::with_capacity(samples.len()), Vec::with_capacity(samples.len()));
        for (m, sample) in samples.iter().enumerate() {
            let scored = sample.scored(scope);
            let hide = |(&id, &hidden): (&u32, &bool)| if hidden { mask_id } else { id };
            let under = |masked: &Vec<bool>| clean.iter().zip(masked).map(hide).collect();
            rows.push(TokenRow {
                ids: under(&sample.masked),
                past: sample.past.as_ref().map(under),
                targets: scored.iter().map(|&i| canvas[i]).collect(),
                scored: scored.iter().map(|&i| prompt.len() + i).collect(),
                prompt: prompt.len(),
                dropout: dropout(m),
            });
            positions.push(scored);
        }
        Self { rows, positions, weights: samples.iter().map(|s| s.weight).collect(), parts }
    }

    /// Joins the views with the model's log-probabilities, taken from `lps`; none if that runs out early.
    pub fn scored(&self, lps: &mut impl Iterator<Item = f64>) -> Option<ScoredTokens> {
        let length = self.parts.last().map_or(0, |part| part.end);
        let scored = ScoredTokens::from_positions(length, &self.positions, lps)?;
        Some(scored.weighted(self.weights.clone()).in_parts(self.parts.clone()))
    }
}
