//! How a canvas is filled: its length, its blocks, the steps a block takes and what is committed at each.

use std::num::NonZeroUsize;

use super::filter::Filter;
use super::grid::Grid;
use crate::config::{CacheKind, Commit, Confidence, Remasking, RolloutTable, Setting};
use crate::model::Sight;

/// Where the time line of Dream's sampler ends.
const LAST_TIME: f64 = 1e-3;

/// A checked decoding schedule.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoding {
    /// Tokens of the canvas, `L`.
    pub canvas: usize,
    /// Tokens of a block.
    pub block_length: usize,
    /// Denoising steps of one block, with [`Commit::Schedule`].
    pub steps_per_block: usize,
    /// Sampling temperature; 0 is greedy.
    pub temperature: f64,
    /// Which tokens can be sampled.
    pub filter: Filter,
    /// Which candidates are committed first.
    pub remasking: Remasking,
    /// The distribution that they are ranked by.
    pub confidence: Confidence,
    /// By how much their order is drawn; 0: not at all.
    pub ranking_temperature: f64,
    /// Classifier-free guidance; 0 is off.
    pub cfg_scale: f64,
    /// What later steps of a block reuse of its first one.
    pub cache: CacheKind,
    /// Steps of a block between two passes over the whole canvas; 0: one such pass a block.
    pub cache_refresh_steps: usize,
    /// How many candidates a step commits.
    pub commit: Commit,
    /// Whether a completion is left alone after the block in which it ends.
    pub early_stop: bool,
}

/// Numbers that do not divide evenly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {large} is not a multiple of {by} {small}")]
pub struct UnevenSplit {
    what: &'static str,
    large: usize,
    by: &'static str,
    small: usize,
}

/// What a model cannot be decoded with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// Other blocks than the model was trained with.
    #[error(
        "block_length is {given} (of [rollout] or [eval]), but the model is block-causal with blocks of {blocks} \
         (block_size of its config.json, or model.block_size): set block_length = {blocks}"
    )]
    BlockLength {
        /// What is asked for.
        given: usize,
        /// The model's.
        blocks: usize,
    },
    /// An approximation, where what it saves can be had exactly.
    #[error("rollout.cache = {0:?} is for models that see everything: the model is block-causal, use \"blocks\"")]
    Approximate(&'static str),
    /// Exact caches of a model that sees everything.
    #[error(
        "rollout.cache = \"blocks\" is for block-causal models: this one sees everything, use \"prefix\" or \"dual\""
    )]
    NoBlocks,
}

impl Decoding {
    /// Greedy low-confidence decoding of `canvas` tokens in blocks, `steps` denoising steps in all.
    ///
    /// # Errors
    /// When blocks do not fill the canvas, or steps cannot be shared out evenly over the blocks.
    pub fn greedy(canvas: usize, block_length: usize, steps: usize) -> Result<Self, UnevenSplit> {
        if block_length == 0 || !canvas.is_multiple_of(block_length) {
            return Err(UnevenSplit {
                what: "max_completion_length",
                large: canvas,
                by: "block_length",
                small: block_length,
            });
        }
        let blocks = canvas / block_length;
        if steps == 0 || !steps.is_multiple_of(blocks) {
            return Err(UnevenSplit {
                what: "diffusion_steps",
                large: steps,
                by: "the number of blocks",
                small: blocks,
            });
        }
        Ok(Self::greedy_by_block(canvas, block_length, steps / blocks))
    }

    /// Greedy low-confidence decoding of `canvas` tokens in blocks, of which the last may be cut, with so many denoising
    /// steps each.
    pub fn greedy_by_block(canvas: usize, block_length: usize, steps_per_block: usize) -> Self {
        Self {
            canvas,
            block_length,
            steps_per_block,
            temperature: 0.0,
            filter: Filter { top_p: 1.0, top_k: None },
            remasking: Remasking::LowConfidence,
            confidence: Confidence::Model,
            ranking_temperature: 0.0,
            cfg_scale: 0.0,
            cache: CacheKind::None,
            cache_refresh_steps: 0,
            commit: Commit::Schedule,
            early_stop: false,
        }
    }

    /// The schedule of a config.
    ///
    /// # Errors
    /// As [`Decoding::greedy`].
    pub fn from_table(table: &RolloutTable) -> Result<Self, UnevenSplit> {
        let canvas = table.max_completion_length.get();
        let schedule = Self::greedy(canvas, table.block_length.get(), table.diffusion_steps.get())?;
        Ok(Self { temperature: table.temperature.get(), remasking: table.remasking, ..schedule.accelerated(table) })
    }

    /// The decoding of an evaluation at a setting.
    ///
    /// # Errors
    /// As [`Decoding::greedy`].
    pub fn at(setting: &Setting, table: &RolloutTable) -> Result<Self, UnevenSplit> {
        let Setting { max_completion_length, block_length, diffusion_steps, temperature, remasking, .. } = *setting;
        let schedule = Self::greedy(max_completion_length, block_length, diffusion_steps)?;
        Ok(Self { temperature, remasking, ..schedule.accelerated(table) })
    }

    /// This schedule with the filter and guidance of a config and its ways to save work.
    #[must_use]
    fn accelerated(self, table: &RolloutTable) -> Self {
        Self {
            filter: Filter { top_p: table.top_p.get(), top_k: table.top_k.map(NonZeroUsize::get) },
            confidence: table.confidence,
            ranking_temperature: table.ranking_temperature.get(),
            cfg_scale: table.cfg_scale.get(),
            cache: table.cache,
            cache_refresh_steps: table.cache_refresh_steps,
            commit: table.commit,
            early_stop: table.early_stop,
            ..self
        }
    }

    /// The decoding that this one stands in for: every step encodes the whole canvas, and commits by schedule.
    #[must_use]
    pub fn reference(&self) -> Self {
        let commit = if self.commit.is_planned() { self.commit } else { Commit::Schedule };
        Self { cache: CacheKind::None, cache_refresh_steps: 0, commit, ..self.clone() }
    }

    /// Whether the completions are those of [`Decoding::reference`], whatever the model.
    pub fn is_reference(&self) -> bool {
        self.cache.is_exact() && self.commit.is_planned()
    }

    /// Whether some tokens are left out when tokens are sampled, or the ranking is of what they are sampled from: whole rows
    /// of logits are needed for both.
    pub fn is_filtered(&self) -> bool {
        self.confidence == Confidence::Sampled || (self.temperature > 0.0 && self.filter.acts())
    }

    /// The blocks of the canvas behind a prompt, for a model that sees so much.
    pub fn grid(&self, prompt: usize, sight: Sight) -> Grid {
        Grid::of(self.canvas, self.block_length, prompt, sight)
    }

    /// Whether a model that sees so much can be decoded so.
    ///
    /// # Errors
    /// Names the key that does not fit.
    pub fn check(&self, sight: Sight) -> Result<(), Misfit> {
        match (sight, self.cache) {
            (Sight::Blocks(blocks), _) if blocks.length != self.block_length => {
                Err(Misfit::BlockLength { given: self.block_length, blocks: blocks.length })
            }
            (Sight::Blocks(_), CacheKind::Prefix | CacheKind::Dual) => Err(Misfit::Approximate(self.cache.name())),
            (Sight::Full, CacheKind::Blocks) => Err(Misfit::NoBlocks),
            _ => Ok(()),
        }
    }

    /// The most steps a block can take.
    pub fn most_steps(&self) -> usize {
        match self.commit {
            Commit::Schedule | Commit::Timeline => self.steps_per_block,
            // at least one token a step
            Commit::Threshold(_) | Commit::Factor(_) | Commit::EntropyBound(_) => self.block_length,
        }
    }

    /// The stream of random numbers of a step: no two steps of a completion share one.
    pub fn stream(&self, block: usize, step: usize) -> u64 {
        (block * self.most_steps() + step) as u64
    }

    /// Tokens of a block that the plan commits at `step`, of which it had `masks` and has `left`.
    pub fn planned(&self, masks: usize, left: usize, step: usize) -> usize {
        match self.commit {
            Commit::Timeline => self.on_the_line(left, step),
            _ => self.commits(masks, step).min(left),
        }
    }

    /// Of the `left` masks those that Dream's sampler commits at `step`: time goes from 1 to [`LAST_TIME`] in equal steps,
    /// and from `t` to `s` the share `1 - s / t` is committed, at the last step all.
    fn on_the_line(&self, left: usize, step: usize) -> usize {
        let steps = self.steps_per_block;
        if step + 1 >= steps {
            return left;
        }
        let time = |i: usize| 1.0 - i as f64 * (1.0 - LAST_TIME) / steps as f64;
        (left as f64 * (1.0 - time(step + 1) / time(step))).floor() as usize
    }

    /// Tokens that the schedule commits at `step` of a block with `masks` masks: an even share, the first steps one more.
    pub fn commits(&self, masks: usize, step: usize) -> usize {
        masks / self.steps_per_block + usize::from(step < masks % self.steps_per_block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn uneven_splits_name_both_numbers() {
        let error = Decoding::greedy(40, 16, 20).expect_err("40 / 16").to_string();
        assert_eq!(error, "max_completion_length 40 is not a multiple of block_length 16");
        let error = Decoding::greedy(40, 8, 18).expect_err("18 / 5").to_string();
        assert_eq!(error, "diffusion_steps 18 is not a multiple of the number of blocks 5");
    }

    #[test]
    fn the_time_line_commits_what_the_share_of_a_step_is_of_what_is_left() {
        let decoding = Decoding { commit: Commit::Timeline, ..Decoding::greedy(8, 8, 4).expect("one block") };
        let (mut left, mut found) = (8, Vec::new());
        for step in 0..4 {
            found.push(decoding.planned(8, left, step));
            left -= found[step];
        }
        // 8 * 0.24975 = 1.998, 7 * 0.3329 = 2.33, 5 * 0.499 = 2.495, the rest
        assert_eq!((found, left), (vec![1, 2, 2, 3], 0));
        assert!(decoding.is_reference() && decoding.most_steps() == 4);
    }

    proptest! {
        #[test]
        fn a_block_is_committed_exactly_and_evenly(masks in 0usize..64, steps in 1usize..64) {
            let decoding = Decoding::greedy(64, 64, steps).expect("one block");
            let commits: Vec<usize> = (0..steps).map(|i| decoding.commits(masks, i)).collect();
            prop_assert_eq!(commits.iter().sum::<usize>(), masks);
            prop_assert!(commits.windows(2).all(|w| w[0] == w[1] || w[0] == w[1] + 1));
        }

        #[test]
        fn no_two_steps_share_a_stream(block_length in 1usize..9, blocks in 1usize..5, steps in 1usize..9) {
            let schedule = Decoding::greedy(block_length * blocks, block_length, blocks * steps).expect("even");
            let threshold = Commit::Threshold(0.9.try_into().expect("in range"));
            for decoding in [schedule.clone(), Decoding { commit: threshold, ..schedule }] {
                let places = (0..blocks).flat_map(|b| (0..decoding.most_steps()).map(move |s| (b, s)));
                let streams: Vec<u64> = places.map(|(b, s)| decoding.stream(b, s)).collect();
                prop_assert!(streams.windows(2).all(|w| w[1] == w[0] + 1), "{:?}", streams);
            }
        }
    }
}
