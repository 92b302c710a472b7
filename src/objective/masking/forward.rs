//! The forward process of SPG. Block-wise masking shows the model what it sees while decoding block by block: a clean past, one block
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

use super::{Canvas, MaskSample};
use crate::config::{ForwardMasks, ForwardType};
use crate::rng::{Key, Rng};

/// The stream of a completion's key that orders its blocks; its samples use their own keys.
const BLOCK_STREAM: u64 = 1;

/// Masks of random blocks, of random tokens, or of everything.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Forward {
    forward_type: ForwardType,
    block_length: usize,
    num_samples: usize,
    min_t: f64,
    max_t: f64,
    p_mask_prompt: f64,
}

impl Forward {
    /// The forward process of a configuration; `block_length` is the rollout's.
    pub(super) fn new(masks: &ForwardMasks, block_length: NonZeroUsize) -> Self {
        Self {
            forward_type: masks.forward_type,
            block_length: block_length.get(),
            num_samples: masks.num_t.get(),
            min_t: masks.min_t.get(),
            max_t: masks.max_t.get(),
            p_mask_prompt: masks.p_mask_prompt.get(),
        }
    }

    /// Masks per completion, M. With everything masked every sample would be the same: one is drawn.
    pub(super) fn num_samples(&self) -> usize {
        if self.forward_type == ForwardType::All { 1 } else { self.num_samples }
    }

    /// The `M` masks of one completion.
    ///
    /// `key` names the completion and the inner update. Sample `m` is drawn from `key.sample(m)` and does not depend on `M`.
    ///
    /// With blocks, samples `0..used` take the used blocks in random order, the next `used` samples take them in
    /// a new random order, and so on: distinct while `M <= used`, balanced beyond, each sample uniform by itself.
    pub(super) fn draw(&self, canvas: Canvas, key: Key) -> Vec<MaskSample> {
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
        MaskSample { masked, block, prompt_length, len, window, weight: 1.0 }
    }

    /// `k ~ U{max(1, floor(n * min_t)) .. min(n, floor(n * max_t))}`, at least one token whatever the rounding.
    fn count_hidden(&self, n: usize, rng: &mut Rng) -> usize {
        let part = |t: f64| (n as f64 * t).floor() as usize;
        let least = part(self.min_t).max(1);
        let most = part(self.max_t).min(n).max(least);
        least + rng.below(most - least + 1)
    }
}
