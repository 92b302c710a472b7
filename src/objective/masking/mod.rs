//! Which tokens of a completion are hidden to estimate its likelihood, and how much each mask counts.
//!
//! A draw is a pure function of its key, of the completion's shape and of the update within its phase: the policy that
//! sampled, the reference and the current policy are asked under the same masks, whenever that is.

mod forward;
mod halves;
mod nodes;
mod pairs;
mod rising;

use std::num::NonZeroUsize;
use std::ops::Range;

use crate::config::{Masks, Scope};
use crate::rng::Key;
use forward::Forward;

/// The lengths of a prompt and its completion, in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Canvas {
    /// Prompt length, P.
    pub prompt_length: usize,
    /// Length of the completion canvas, L.
    pub completion_length: usize,
    /// Tokens of the completion up to and including its first EOS; L if there is none.
    pub len: usize,
    /// Tokens of the completion's first block that are the prompt's.
    pub begun: usize,
}

/// The place of an update among those of its phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Round {
    /// From 0.
    pub inner: usize,
    /// How many there are, mu.
    pub of: usize,
}

/// How masks are drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Masking {
    masks: Masks,
    block_length: NonZeroUsize,
}

/// One mask of one completion.
#[derive(Clone, Debug, PartialEq)]
pub struct MaskSample {
    /// Over the `T = P + L` input tokens: true where the input is the mask token.
    pub masked: Vec<bool>,
    /// The same of the past that every block of a block-causal model is predicted from, all blocks in one pass; none where
    /// the past is the input itself.
    pub past: Option<Vec<bool>>,
    /// The chosen block; none for the kinds that know no blocks.
    pub block: Option<usize>,
    /// What its log-probabilities count in a weighted sum over masks; 1 where the surrogate weighs for itself.
    pub weight: f64,
    /// Where the completion starts, P.
    prompt_length: usize,
    /// Tokens of the completion that may be scored.
    len: usize,
    /// Completion positions of the chosen block's real tokens; all real tokens without blocks.
    window: Range<usize>,
}

impl Masking {
    /// The masks of a recipe; `block_length` is the rollout's.
    pub fn new(masks: &Masks, block_length: NonZeroUsize) -> Self {
        Self { masks: *masks, block_length }
    }

    /// Masks per completion, M, at most.
    pub fn num_samples(&self) -> usize {
        match &self.masks {
            Masks::Forward(masks) => Forward::new(masks, self.block_length).num_samples(),
            Masks::Rising => 1,
            Masks::Halves { .. } => 3,
            Masks::Pairs { num_t } | Masks::Nodes { num_t } => num_t.get(),
        }
    }

    /// Which masked tokens are scored.
    pub fn scope(&self) -> Scope {
        match self.masks {
            Masks::Forward(masks) => masks.scope,
            _ => Scope::AllMasked,
        }
    }

    /// The parts that the log-likelihood of a completion is a sum over, hidden apart, each given those before it: its blocks
    /// where every one of them is scored in each draw, else one. They end with its last real token, or with the canvas
    /// where what follows the EOS is scored like the rest.
    pub fn parts(&self, canvas: Canvas) -> Vec<Range<usize>> {
        let length = match &self.masks {
            Masks::Forward(masks) if self.masks.are_paired() => {
                return Forward::new(masks, self.block_length).spans(canvas);
            }
            Masks::Pairs { .. } => canvas.completion_length,
            _ => canvas.len,
        };
        std::iter::once(0..length).collect()
    }

    /// The masks of one completion in one update.
    ///
    /// `key` must name the completion: run seed, iteration ([`Key::step`]) and completion ([`Key::prompt`]); the update
    /// is added here. Sample `m` is drawn from its own [`Key::sample`].
    ///
    /// # Panics
    /// If `len` is not in `1..=L`: a bug of the caller.
    pub fn draw(&self, canvas: Canvas, round: Round, key: Key) -> Vec<MaskSample> {
        assert!((1..=canvas.completion_length).contains(&canvas.len), "{canvas:?}");
        let update = key.part(round.inner);
        match &self.masks {
            Masks::Forward(masks) => Forward::new(masks, self.block_length).draw(canvas, update),
            Masks::Rising => vec![rising::draw(canvas, round, key)],
            Masks::Halves { min_t, max_t } => halves::draw(canvas, min_t.get()..max_t.get(), update),
            Masks::Pairs { num_t } => pairs::draw(canvas, num_t.get() / 2, update),
            Masks::Nodes { num_t } => nodes::draw(canvas, num_t.get(), update),
        }
    }
}

impl MaskSample {
    /// A mask over all `L = completion_length` tokens of a completion, drawn elsewhere.
    pub(super) fn whole(masked: Vec<bool>, prompt_length: usize) -> Self {
        let len = masked.len() - prompt_length;
        Self::given(masked, prompt_length, len, 1.0)
    }

    /// A mask drawn elsewhere, of which at most the first `len` completion tokens are scored.
    pub fn given(masked: Vec<bool>, prompt_length: usize, len: usize, weight: f64) -> Self {
        Self { masked, past: None, block: None, weight, prompt_length, len, window: 0..len }
    }

    /// The completion positions whose log-prob enters the surrogate, ascending: `V_m` of the bounds. All are masked and,
    /// but for masks over whole canvases, none lies behind the end; [`Scope::Block`] keeps only those of the chosen
    /// block.
    pub fn scored(&self, scope: Scope) -> Vec<usize> {
        let range = match scope {
            Scope::AllMasked => 0..self.len,
            Scope::Block => self.window.clone(),
        };
        range.filter(|i| self.masked[self.prompt_length + i]).collect()
    }
}

/// A clean prompt, and a completion that is hidden where `hidden` says so.
fn over_completion(canvas: Canvas, hidden: impl Fn(usize) -> bool) -> Vec<bool> {
    let completion = (0..canvas.completion_length).map(hidden);
    std::iter::repeat_n(false, canvas.prompt_length).chain(completion).collect()
}

/// The mask of `places` and of all that follows the end, which is scored at `places`.
fn up_to_the_end(canvas: Canvas, places: &[usize], weight: f64) -> MaskSample {
    let mut masked = over_completion(canvas, |i| i >= canvas.len);
    places.iter().for_each(|place| masked[canvas.prompt_length + place] = true);
    MaskSample::given(masked, canvas.prompt_length, canvas.len, weight)
}

/// `round(t * n)`, at least one and at most all.
fn part_of(n: usize, t: f64) -> usize {
    ((t * n as f64).round() as usize).clamp(1, n)
}

#[cfg(test)]
mod testing {
    use super::*;
    use crate::rng::Purpose;

    pub const CANVAS: Canvas = Canvas { prompt_length: 3, completion_length: 12, len: 8, begun: 0 };

    pub fn key(completion: usize) -> Key {
        Key::new(42, Purpose::Mask).step(3).prompt(completion)
    }

    /// Hidden completion places, as a string of 0 and 1.
    pub fn hidden(sample: &MaskSample) -> String {
        assert!(sample.masked[..3].iter().all(|&m| !m), "the prompt stays clean");
        sample.masked[3..].iter().map(|&m| if m { '1' } else { '0' }).collect()
    }
}
