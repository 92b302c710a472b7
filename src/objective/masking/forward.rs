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
use std::ops::Range;

use super::{Canvas, MaskSample};
use crate::config::{ForwardMasks, ForwardType};
use crate::rng::{Key, Rng};
use crate::rollout::Grid;

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
        let blocks = self.choose_blocks(self.grid(canvas).blocks(), key.sample(0).stream(BLOCK_STREAM));
        let samples = blocks.into_iter().enumerate();
        samples.map(|(m, block)| self.draw_sample(canvas, block, key.sample(m).rng())).collect()
    }

    /// The blocks of a completion's real tokens.
    fn grid(&self, canvas: Canvas) -> Grid {
        Grid { canvas: canvas.len, length: self.block_length, begun: canvas.begun }
    }

    /// The completion positions of the used blocks' real tokens.
    pub(super) fn spans(&self, canvas: Canvas) -> Vec<Range<usize>> {
        let grid = self.grid(canvas);
        (0..grid.blocks()).map(|block| grid.span(block)).collect()
    }

    fn choose_blocks(&self, used: usize, mut rng: Rng) -> Vec<Option<usize>> {
        match self.forward_type {
            ForwardType::Random | ForwardType::All | ForwardType::EveryBlock => vec![None; self.num_samples()],
            ForwardType::BlockRandom | ForwardType::BlockAll => {
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
        let Canvas { prompt_length, completion_length, len, .. } = canvas;
        if self.forward_type == ForwardType::EveryBlock {
            return self.draw_every_block(canvas, rng);
        }
        let window = match block {
            Some(block) => self.grid(canvas).span(block),
            None => 0..len,
        };
        let hidden = match self.forward_type {
            ForwardType::BlockAll | ForwardType::All => window.len(),
            _ => self.count_hidden(window.len(), &mut rng),
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
        MaskSample { masked, past: None, block, prompt_length, len, window, weight: 1.0 }
    }

    /// Some tokens of every used block hidden, and of the past of all of them what the perturbation hides.
    fn draw_every_block(&self, canvas: Canvas, mut rng: Rng) -> MaskSample {
        let Canvas { prompt_length, completion_length, len, .. } = canvas;
        let mut masked = vec![false; prompt_length + completion_length];
        for span in self.spans(canvas) {
            let hidden = self.count_hidden(span.len(), &mut rng);
            for place in rng.choose(span.len(), hidden) {
                masked[prompt_length + span.start + place] = true;
            }
        }
        masked[prompt_length + len..].fill(true);
        let mut past: Vec<bool> = (0..prompt_length + len).map(|_| rng.bernoulli(self.p_mask_prompt)).collect();
        past.resize(masked.len(), true); // nothing that is scored lies behind the end
        MaskSample { masked, past: Some(past), block: None, prompt_length, len, window: 0..len, weight: 1.0 }
    }

    /// `k ~ U{max(1, floor(n * min_t)) .. min(n, floor(n * max_t))}`, at least one token whatever the rounding.
    fn count_hidden(&self, n: usize, rng: &mut Rng) -> usize {
        let part = |t: f64| (n as f64 * t).floor() as usize;
        let least = part(self.min_t).max(1);
        let most = part(self.max_t).min(n).max(least);
        least + rng.below(most - least + 1)
    }
}
