//! Sandwiched Policy Gradient: the loop of method.md (arXiv 2510.09541, algorithm 1).
//!
//! What differs from the paper's code, and why:
//! - masks and dropout are keyed by (seed, iteration, inner update, completion, sample), so they depend neither on
//!   the micro-batch size nor on what ran before; the released code repeats masks under accumulation;
//! - the loss is normalised by the total length of the whole optimiser step, so accumulation is exact;
//! - completions that have no gradient (zero advantage) are not run through the model.

use std::num::NonZeroUsize;
use std::time::Instant;

use anyhow::{Context, Result};

use super::completions::{Completion, Generator};
use super::drive::Method;
use super::likelihood::{MicroBatches, Row as TokenRow, accumulate};
use super::trainer::Trainer;
use crate::config::{AlgorithmTable, RunConfig, Scope, SpgTable};
use crate::model::{Gradients, Llada};
use crate::objective::ScoredTokens;
use crate::objective::masking::{Canvas, Masking};
use crate::objective::spg::Spg;
use crate::report::Row;
use crate::rng::{Key, Purpose};
use crate::session::Session;
use crate::signal::Stop;

/// The method of `[algorithm.spg]`.
pub struct SpgMethod {
    generator: Generator,
    update: SpgUpdate,
    num_iterations: usize,
}

/// The gradient of one optimiser update.
#[derive(Clone, Debug)]
pub struct SpgUpdate {
    objective: Spg,
    masking: Masking,
    scope: Scope,
    micro_batches: MicroBatches,
    seed: u64,
}

/// Sums over the completions of an update, for the metrics.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    loss: f64,
    positive: (f64, usize),
    negative: (f64, usize),
    elbo: f64,
    eubo: f64,
    scored_completions: usize,
    tokens: usize,
}

impl SpgMethod {
    /// Sets up sampling and the objective.
    ///
    /// # Errors
    /// If no training prompt fits.
    pub fn new(config: &RunConfig, session: &Session) -> Result<Self> {
        let AlgorithmTable::Spg(table) = config.algorithm()?;
        Ok(Self {
            generator: Generator::new(config, table, session)?,
            update: SpgUpdate::new(table, config.rollout().block_length, config.train().into(), config.run().seed),
            num_iterations: table.num_iterations.get(),
        })
    }
}

impl Method for SpgMethod {
    fn phase(&mut self, trainer: &mut Trainer, step: usize, stop: &Stop) -> Result<Vec<Row>> {
        let phase = step / self.num_iterations;
        let completions = self.generator.phase(&trainer.session, phase, stop)?;
        let mut rows = Vec::with_capacity(self.num_iterations);
        for inner in 0..self.num_iterations {
            let started = Instant::now();
            let mut row = Row::new(step + inner + 1);
            row.set("iteration", phase + 1);
            completions.report(&mut row);
            let mut gradients = Gradients::new();
            let model = &trainer.session.model;
            let tally = self.update.gradients(model, &completions.all, phase, inner, &mut gradients, stop)?;
            tally.report(&mut row);
            trainer.update(step + inner, &gradients, &mut row)?;
            row.set("update_seconds", started.elapsed().as_secs_f64());
            rows.push(row);
        }
        Ok(rows)
    }

    fn headline(&self, row: &Row) -> String {
        format!("reward {:.3}", row.number("reward").unwrap_or(f64::NAN))
    }
}

impl SpgUpdate {
    /// The objective of a table, for completions in blocks of `block_length`.
    pub fn new(table: &SpgTable, block_length: NonZeroUsize, micro_batches: MicroBatches, seed: u64) -> Self {
        Self {
            objective: Spg::new(table),
            masking: Masking::new(table, block_length),
            scope: table.scope,
            micro_batches,
            seed,
        }
    }

    /// Adds the gradient of the loss over all completions, micro-batch by micro-batch.
    ///
    /// The `M` views of a completion stand in one micro-batch: the upper bound weighs them against each other, so that
    /// one at a time would take a second forward pass. With checkpointing a view is small beside the weights (LLaDA-8B:
    /// 0.2 GB to 16 GB), and that pass would save less than it costs.
    ///
    /// # Errors
    /// If the maths fails, or `stop` asks to leave it between two micro-batches.
    pub fn gradients(
        &self,
        model: &Llada,
        completions: &[Completion],
        phase: usize,
        inner: usize,
        gradients: &mut Gradients,
        stop: &Stop,
    ) -> Result<Tally> {
        let step_length = completions.iter().map(|c| c.len).sum();
        let live: Vec<(usize, &Completion)> =
            completions.iter().enumerate().filter(|(_, c)| self.objective.needs_forward(c.advantage)).collect();
        let mut tally = Tally::default();
        let MicroBatches { size, checkpointing } = self.micro_batches;
        for micro_batch in live.chunks(size.get()) {
            stop.check()?;
            let mut rows = Vec::with_capacity(micro_batch.len() * self.masking.num_samples());
            let mut positions = Vec::with_capacity(micro_batch.len());
            for &(index, completion) in micro_batch {
                let (views, scored) = self.views(model, completion, index, phase, inner);
                rows.extend(views);
                positions.push(scored);
            }
            accumulate(model, &rows, checkpointing, gradients, |log_probs| {
                let mut lps = log_probs.iter().map(|&lp| lp as f64);
                let scored: Vec<ScoredTokens> = (micro_batch.iter().zip(&positions))
                    .map(|((_, c), positions)| ScoredTokens::from_positions(c.len, positions, &mut lps))
                    .collect::<Option<_>>()
                    .context("the model returned fewer log-probabilities than were asked for")?;
                let parts: Vec<(f64, &ScoredTokens)> =
                    micro_batch.iter().zip(&scored).map(|((_, c), tokens)| (c.advantage, tokens)).collect();
                let loss = self.objective.loss(&parts, step_length);
                for ((_, completion), part) in micro_batch.iter().zip(&loss.completions) {
                    tally.add(completion.advantage, part.bound, part.elbo, part.eubo);
                }
                tally.loss += loss.loss;
                tally.tokens += log_probs.len();
                Ok(loss.completions.into_iter().flat_map(|c| c.d_lp).flatten().collect())
            })?;
        }
        Ok(tally)
    }

    /// The masked views of a completion, one a Monte-Carlo sample, and the completion positions each scores.
    fn views(
        &self,
        model: &Llada,
        completion: &Completion,
        index: usize,
        phase: usize,
        inner: usize,
    ) -> (Vec<TokenRow>, Vec<Vec<usize>>) {
        let prompt_length = completion.prompt.len();
        let canvas = Canvas { prompt_length, completion_length: completion.canvas.len(), len: completion.len };
        let place = |purpose| Key::new(self.seed, purpose).step(phase as u64).prompt(index).part(inner);
        let samples = self.masking.draw(canvas, place(Purpose::Mask));
        let clean: Vec<u32> = completion.prompt.iter().chain(&completion.canvas).copied().collect();
        let mask = model.config().mask_token_id;
        let (mut views, mut positions) = (Vec::new(), Vec::new());
        for (m, sample) in samples.iter().enumerate() {
            let scored = sample.scored(self.scope);
            let hide = |(&id, &hidden): (&u32, &bool)| if hidden { mask } else { id };
            views.push(TokenRow {
                ids: clean.iter().zip(&sample.masked).map(hide).collect(),
                targets: scored.iter().map(|&i| completion.canvas[i]).collect(),
                scored: scored.iter().map(|&i| prompt_length + i).collect(),
                dropout: place(Purpose::Dropout).sample(m),
            });
            positions.push(scored);
        }
        (views, positions)
    }
}

impl Tally {
    fn add(&mut self, advantage: f64, bound: f64, elbo: f64, eubo: f64) {
        let side = if advantage > 0.0 { &mut self.positive } else { &mut self.negative };
        side.0 += bound;
        side.1 += 1;
        self.elbo += elbo;
        self.eubo += eubo;
        self.scored_completions += 1;
    }

    fn report(&self, row: &mut Row) {
        let mean = |sum: f64, n: usize| if n == 0 { f64::NAN } else { sum / n as f64 };
        row.set("loss", self.loss)
            .set("bound/positive", mean(self.positive.0, self.positive.1))
            .set("bound/negative", mean(self.negative.0, self.negative.1))
            .set("bound/elbo", mean(self.elbo, self.scored_completions))
            .set("bound/eubo", mean(self.eubo, self.scored_completions))
            .set("scored_completions", self.scored_completions)
            .set("scored_tokens", self.tokens);
    }
}
