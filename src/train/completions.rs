//! The first half of a phase: decode completions of a batch of prompts and score them.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::drift::{Drift, GuardedSampler, Portion};
use crate::config::{AdvantageKind, Recipe, RunConfig, Split};
use crate::objective::advantage::{group_advantages, reward_stats};
use crate::report::{CompletionTable, Origin, Row, Values};
use crate::rng::{Key, Purpose};
use crate::rollout::{Decoding, Prompt};
use crate::session::{CANVAS_KEY, Example, Session, longest_prompt};
use crate::signal::Stop;
use crate::task::{Attempt, PromptOrder, Reward, mean_parts};
use crate::text::Tokenizer;

/// What a process finds out about a completion.
#[derive(Serialize, Deserialize)]
struct Sampled {
    canvas: Vec<u32>,
    len: usize,
    text: String,
    reward: Reward,
}

/// A sampled completion.
#[derive(Clone, Debug)]
pub struct Completion {
    /// Prompt ids.
    pub prompt: Arc<[u32]>,
    /// The whole canvas, `L` tokens.
    pub canvas: Vec<u32>,
    /// Tokens up to and including the first EOS.
    pub len: usize,
    /// What it earned.
    pub reward: Reward,
    /// What it earned beside its group.
    pub advantage: f64,
}

/// The completions of one phase, groups one after another.
#[derive(Clone, Debug)]
pub struct Completions {
    /// `P * G` completions.
    pub all: Vec<Completion>,
    /// What was rewarded of each: the text up to its end, without special tokens.
    texts: Vec<String>,
    /// What was noticed if they were not decoded exactly.
    pub drift: Option<Drift>,
    num_generations: NonZeroUsize,
    seconds: f64,
}

/// Draws the completions of every phase.
pub struct Generator {
    examples: Vec<Example>,
    order: PromptOrder,
    decoder: GuardedSampler,
    num_generations: NonZeroUsize,
    advantage: AdvantageKind,
    prompts_per_step: usize,
    merge_adapters: bool,
    seed: u64,
}

impl Generator {
    /// Encodes the training prompts.
    ///
    /// # Errors
    /// If none fits.
    pub fn new(config: &RunConfig, recipe: &Recipe, session: &Session) -> Result<Self> {
        let decoding = Decoding::from_table(config.rollout())?;
        let examples = session.examples(session.task.records(Split::Train)?, (CANVAS_KEY, decoding.canvas))?;
        Ok(Self {
            order: PromptOrder::new(config.run().seed, examples.len()),
            examples,
            decoder: GuardedSampler::new(decoding, config.rollout()),
            num_generations: recipe.num_generations,
            advantage: recipe.advantage,
            prompts_per_step: config.train().prompts_per_step.get(),
            merge_adapters: config.rollout().merge_adapters,
            seed: config.run().seed,
        })
    }

    /// Tokens of the longest prompt.
    pub fn longest_prompt(&self) -> usize {
        longest_prompt(&self.examples)
    }

    /// Samples and scores the completions of a phase, each process those of its share of the prompts; they depend on the
    /// seed, the phase and the policy alone.
    ///
    /// # Errors
    /// If decoding or the reward command fails, or `stop` asks to leave them.
    pub fn phase(&mut self, session: &Session, phase: usize, stop: &Stop) -> Result<Completions> {
        let started = Instant::now();
        let g = self.num_generations.get();
        let first = (phase * self.prompts_per_step) as u64;
        let chosen: Vec<usize> = (0..self.prompts_per_step as u64).map(|p| self.order.at(first + p)).collect();
        let key = Key::new(self.seed, Purpose::Rollout).step(phase as u64);
        let example = |c: usize| &self.examples[chosen[c / g]];
        let prompt = |c: usize| Prompt { ids: example(c).prompt.to_vec(), key: key.prompt(c / g).sample(c % g) };
        let world = &session.world;
        let groups = world.share(chosen.len());
        let own = groups.start * g..groups.end * g;
        let prompts: Vec<Prompt> = own.clone().map(prompt).collect();
        let model = session.model.for_sampling(self.merge_adapters)?;
        let place = Portion { first: own.start, of: chosen.len() * g };
        let (decoded, drift) = self.decoder.decode(&model, &prompts, place, world, stop)?;
        let canvases: Vec<Vec<u32>> = decoded.into_iter().map(|d| d.canvas).collect();

        let (ids, tokenizer) = (session.model.ids(), session.encoder.tokenizer());
        let lengths: Vec<usize> = canvases.iter().map(|canvas| ids.length(canvas)).collect();
        let texts: Vec<String> =
            canvases.iter().zip(&lengths).map(|(canvas, &len)| tokenizer.decode(&canvas[..len])).collect();
        let attempts: Vec<Attempt<'_>> = own.clone().zip(&texts).map(|(c, text)| example(c).attempt(text)).collect();
        let rewards = session.task.rewards(&attempts, stop)?;
        let sampled = canvases.into_iter().zip(lengths).zip(texts).zip(rewards);
        let sampled = sampled.map(|(((canvas, len), text), reward)| Sampled { canvas, len, text, reward }).collect();
        let (mut all, mut texts) = (Vec::with_capacity(place.of), Vec::with_capacity(place.of));
        for (c, Sampled { canvas, len, text, reward }) in world.join(sampled)?.into_iter().enumerate() {
            all.push(Completion { prompt: example(c).prompt.clone(), canvas, len, reward, advantage: 0.0 });
            texts.push(text);
        }
        let rewards: Vec<f64> = all.iter().map(|c| c.reward.total).collect();
        for (completion, advantage) in
            all.iter_mut().zip(group_advantages(&rewards, self.num_generations, self.advantage))
        {
            completion.advantage = advantage;
        }
        let seconds = started.elapsed().as_secs_f64();
        Ok(Completions { all, texts, drift, num_generations: self.num_generations, seconds })
    }
}

impl Completions {
    /// Adds rewards and lengths to a metrics row, under TRL's names, and how many completions of a group differ.
    pub fn report(&self, row: &mut Row) {
        let n = self.all.len() as f64;
        let rewards: Vec<f64> = self.all.iter().map(|c| c.reward.total).collect();
        let stats = reward_stats(&rewards, self.num_generations);
        row.set("reward", stats.reward)
            .set("reward_std", stats.reward_std)
            .set("frac_reward_zero_std", stats.frac_reward_zero_std);
        for (name, mean) in mean_parts(self.all.iter().map(|c| &c.reward)) {
            row.set(&format!("rewards/{name}/mean"), mean);
        }
        let lengths = || self.all.iter().map(|c| c.len);
        let distinct =
            |group: &[Completion]| -> usize { group.iter().map(|c| &c.canvas[..c.len]).collect::<HashSet<_>>().len() };
        let groups = self.all.chunks(self.num_generations.get());
        let group_count = groups.len() as f64;
        let unfinished = self.all.iter().filter(|c| c.len == c.canvas.len()).count();
        row.set("completions/mean_length", lengths().sum::<usize>() as f64 / n)
            .set("completions/min_length", lengths().min().unwrap_or(0))
            .set("completions/max_length", lengths().max().unwrap_or(0))
            .set("completions/clipped_ratio", unfinished as f64 / n)
            .set("completions/distinct", groups.map(distinct).sum::<usize>() as f64 / group_count)
            .set("rollout_seconds", self.seconds)
            .set("rollout_tokens_per_second", self.total_canvas() as f64 / self.seconds);
        if let Some(drift) = self.drift {
            drift.report(row);
        }
    }

    /// All of them, for the updates from `step` on, in TRL's columns.
    pub fn table(&self, step: usize, tokenizer: &Tokenizer) -> CompletionTable {
        let groups = self.all.chunks(self.num_generations.get());
        let prompts = groups.flat_map(|group| vec![tokenizer.decode_raw(&group[0].prompt); group.len()]).collect();
        CompletionTable::new(Origin::Rollout, step, self.all.len())
            .with("prompt", Values::Text(prompts))
            .with("completion", Values::Text(self.texts.clone()))
            .with_rewards(self.all.iter().map(|completion| &completion.reward))
            .with("advantage", Values::Number(self.all.iter().map(|completion| Some(completion.advantage)).collect()))
    }

    fn total_canvas(&self) -> usize {
        self.all.iter().map(|c| c.canvas.len()).sum()
    }
}
