//! The forward process: which tokens of a completion are hidden to estimate its likelihood.
//!
//! Block-wise masking shows the model what it sees while decoding block by block: a clean past, one block
//! partly revealed, nothing of the future (arXiv 2510.09541, method section on block-wise masking).
//!
//! What differs from the released code, and why:
//! - A draw is a pure function of its key and of the completion's shape. The released code seeds its masks by
//!   micro-step and so reuses them under gradient accumulation.
//! - The blocks of a completion's samples are drawn without replacement among the used ones. The released code
//!   takes a permutation of all blocks modulo the used ones: neither distinct nor uniform for a short completion.

#[cfg(test)]
mod tests;

use std::num::NonZeroUsize;
use std::ops::Range;

use crate::config::{ForwardType, Scope, SpgTable};
use crate::rng::{Key, Rng};

/// The stream of a completion's key that orders its blocks; its samples use their own keys.
const BLOCK_STREAM: u64 = 1;

/// The lengths of a prompt and its completion, in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Canvas {
    /// Prompt length, P.
    pub prompt_length: usize,
    /// Length of the completion canvas, L.
    pub completion_length: usize,
    /// Tokens of the completion up to and including its first EOS; L if there is none.
    pub len: usize,
}

/// How masks are drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Masking {
    forward_type: ForwardType,
    block_length: usize,
    num_samples: usize,
    min_t: f64,
    max_t: f64,
    p_mask_prompt: f64,
}

/// One mask of one completion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaskSample {
    /// Over the `T = P + L` input tokens: true where the input is the mask token.
    pub masked: Vec<bool>,
    /// The chosen block; none for the kinds that know no blocks.
    pub block: Option<usize>,
    /// Where the completion starts, P.
    prompt_length: usize,
    /// Real tokens of the completion.
    len: usize,
    /// Completion positions of the chosen block's real tokens; all real tokens without blocks.
    window: Range<usize>,
}

impl Masking {
    /// The forward process of a configuration; `block_length` is the rollout's.
    pub fn new(table: &SpgTable, block_length: NonZeroUsize) -> Self {
        Self {
            forward_type: table.forward_type,
            block_length: block_length.get(),
            num_samples: table.num_t.get(),
            min_t: table.min_t.get(),
            max_t: table.max_t.get(),
            p_mask_prompt: table.p_mask_prompt.get(),
        }
    }

    /// Masks per completion, M. With everything masked every sample would be the same: one is drawn.
    pub fn num_samples(&self) -> usize {
        if self.forward_type == ForwardType::All { 1 } else { self.num_samples }
    }

    /// The `M` masks of one completion.
    ///
    /// `key` must name the completion: run seed, iteration ([`Key::step`]), completion ([`Key::prompt`]) and
    /// inner update ([`Key::part`]). Sample `m` is drawn from `key.sample(m)` and does not depend on `M`.
    ///
    /// With blocks, samples `0..used` take the used blocks in random order, the next `used` samples take them in
    /// a new random order, and so on: distinct while `M <= used`, balanced beyond, each sample uniform by itself.
    ///
    /// # Panics
    /// If `len` is not in `1..=L`: a bug of the caller.
    pub fn draw(&self, canvas: Canvas, key: Key) -> Vec<MaskSample> {
        assert!((1..=canvas.completion_length).contains(&canvas.len), "{canvas:?}");
        let blocks = self.choose_blocks(canvas.len, key.sample(0).stream(BLOCK_STREAM));
        let samples = blocks.into_iter().enumerate();
        samples.map(|(m, block)| self.draw_sample(canvas, block, key.sample(m).rng())).collect()
    }

    fn choose_blocks(&self, len: usize, mut rng: Rng) -> Vec<Option<usize>> {
        match self.forward_type {
            ForwardType::Random | ForwardType::All => vec![None; self.num_samples()],
            ForwardType::BlockRandom | ForwardType::BlockAll => {
                let used = len.div_ceil(self.block_length);
                let mut blocks = Vec::with_capacity(self.num_samples() + used);
                while blocks.len() < self.num_samples() {
                    blocks.extend(rng.choose(used, used).into_iter().map(Some));
                }
                blocks.truncate(self.num_samples());
                blocks
            }
        }
    }

    fn draw_sample(&self, canvas: Canvas, block: Option<usize>, mut rng: Rng) -> MaskSample {
        let Canvas { prompt_length, completion_length, len } = canvas;
        let window = match block {
            Some(block) => block * self.block_length..len.min((block + 1) * self.block_length),
            None => 0..len,
        };
        let hidden = match self.forward_type {
            ForwardType::BlockAll | ForwardType::All => window.len(),
            ForwardType::BlockRandom | ForwardType::Random => self.count_hidden(window.len(), &mut rng),
        };

        let mut masked = vec![false; prompt_length + completion_length];
        let (before, from_window) = masked.split_at_mut(prompt_length + window.start);
        for place in rng.choose(window.len(), hidden) {
            from_window[place] = true;
        }
        // Behind the window lie the later blocks and, in any case, what follows the EOS.
        from_window[window.len()..].fill(true);
        // The perturbation comes last so that the masks of the window do not depend on the prompt.
        for token in before {
            *token = rng.bernoulli(self.p_mask_prompt);
        }
        MaskSample { masked, block, prompt_length, len, window }
    }

    /// `k ~ U{max(1, floor(n * min_t)) .. min(n, floor(n * max_t))}`, at least one token whatever the rounding.
    fn count_hidden(&self, n: usize, rng: &mut Rng) -> usize {
        let part = |t: f64| (n as f64 * t).floor() as usize;
        let least = part(self.min_t).max(1);
        let most = part(self.max_t).min(n).max(least);
        least + rng.below(most - least + 1)
    }
}

impl MaskSample {
    /// A mask over all `L = completion_length` tokens of a completion, drawn elsewhere.
    pub(super) fn whole(masked: Vec<bool>, prompt_length: usize) -> Self {
        let len = masked.len() - prompt_length;
        Self { masked, block: None, prompt_length, len, window: 0..len }
    }

    /// `V_m`: the completion positions whose log-prob enters the bounds, ascending. All are masked and none lies
    /// behind the end; [`Scope::Block`] keeps only those of the chosen block.
    pub fn scored(&self, scope: Scope) -> Vec<usize> {
        let range = match scope {
            Scope::AllMasked => 0..self.len,
            Scope::Block => self.window.clone(),
        };
        range.filter(|i| self.masked[self.prompt_length + i]).collect()
    }
}
