//! Reinforcement learning: decode completions, score them, update on them `mu` times.
//!
//! 1. `g` completions of every prompt of a batch, by the current policy;
//! 2. their rewards, and advantages within each group;
//! 3. what does not change while the phase lasts: the completions' likelihoods under the policy that sampled and under the
//!    reference, for methods that compare with them, under the masks of every update to come;
//! 4. `mu` updates: masks, likelihoods, loss, gradients over micro-batches, clipping, AdamW.
//!
//! What differs from the published programs, and why:
//! - masks and dropout are keyed by (seed, iteration, inner update, completion, sample), so they depend neither on
//!   the micro-batch size nor on what ran before; SPG's released code repeats masks under accumulation;
//! - the loss is normalised over the whole optimiser step, so accumulation is exact;
//! - completions that have no gradient (zero advantage) are not run through the model, and groups that agree are left out
//!   of penalties, too;
//! - the policy that sampled is asked with the dropout of the update it is compared in: a ratio measures what the updates
//!   changed, not what dropout did. So the first update's ratios are 1, and nothing is computed for them.

use std::num::NonZeroUsize;
use std::time::Instant;

use anyhow::Result;

use super::completions::{Completion, Generator};
use super::drive::Method;
use super::likelihood::{MicroBatches, Policy};
use super::tally::Tally;
use super::trainer::Trainer;
use super::update::{Prepared, Update};
use super::views::Viewer;
use crate::config::{Recipe, RunConfig};
use crate::model::{Gradients, Llada};
use crate::objective::loss::Anchor;
use crate::objective::weights::Standing;
use crate::report::Row;
use crate::session::Session;
use crate::signal::Stop;

/// The method of `[algorithm.<name>]`.
pub struct Reinforce {
    generator: Generator,
    update: PolicyUpdate,
    num_iterations: usize,
}

/// The updates of a phase on its completions.
#[derive(Clone, Debug)]
pub struct PolicyUpdate {
    update: Update,
    viewer: Viewer,
    num_generations: NonZeroUsize,
    num_iterations: usize,
}

/// What the policies that do not change in a phase say, `[mu][completions]`.
#[derive(Clone, Debug)]
pub struct Anchors(Vec<Vec<Anchor>>);

impl Reinforce {
    /// Sets up sampling and the objective.
    ///
    /// # Errors
    /// If no training prompt fits.
    pub fn new(config: &RunConfig, session: &Session) -> Result<Self> {
        let recipe = config.algorithm()?.recipe();
        Ok(Self {
            generator: Generator::new(config, &recipe, session)?,
            update: PolicyUpdate::new(&recipe, config.rollout().block_length, config.train().into(), config.run().seed),
            num_iterations: recipe.num_iterations.get(),
        })
    }
}

impl Method for Reinforce {
    fn phase(&mut self, trainer: &mut Trainer, step: usize, stop: &Stop) -> Result<Vec<Row>> {
        let phase = step / self.num_iterations;
        let completions = self.generator.phase(&trainer.session, phase, stop)?;
        let anchors = self.update.anchors(&trainer.session.model, &completions.all, phase, stop)?;
        let mut rows = Vec::with_capacity(self.num_iterations);
        for inner in 0..self.num_iterations {
            let started = Instant::now();
            let mut row = Row::new(step + inner + 1);
            row.set("iteration", phase + 1);
            completions.report(&mut row);
            let mut gradients = Gradients::new();
            let model = &trainer.session.model;
            let tally = self.update.gradients(model, &completions.all, &anchors, phase, inner, &mut gradients, stop)?;
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

impl PolicyUpdate {
    /// The objective of a recipe, for completions in blocks of `block_length`.
    pub fn new(recipe: &Recipe, block_length: NonZeroUsize, micro_batches: MicroBatches, seed: u64) -> Self {
        Self {
            update: Update::new(recipe, micro_batches),
            viewer: Viewer::new(recipe, block_length, seed),
            num_generations: recipe.num_generations,
            num_iterations: recipe.num_iterations.get(),
        }
    }

    /// The terms of all completions under the current policy, which is about to become the old one, and under the
    /// reference, for all updates of the phase.
    ///
    /// # Errors
    /// If the maths fails, or `stop` asks to leave it.
    pub fn anchors(&self, model: &Llada, completions: &[Completion], phase: usize, stop: &Stop) -> Result<Anchors> {
        let objective = self.update.objective();
        let stakes = objective.stakes(&self.standings(completions));
        let all = 0..completions.len();
        let compared: Vec<usize> = all.clone().filter(|&c| objective.needs_old(&stakes[c])).collect();
        let held: Vec<usize> = all.filter(|&c| objective.needs_reference(&stakes[c])).collect();
        let mask_id = model.config().mask_token_id;
        let mut of_phase = Vec::with_capacity(self.num_iterations);
        for inner in 0..self.num_iterations {
            let views = |c: usize| self.viewer.views(mask_id, &completions[c], c, phase, inner);
            let mut anchors = vec![Anchor::default(); completions.len()];
            // the first update starts at the old policy itself
            if inner > 0 {
                let old = self.update.terms(model, Policy::Current, &stakes, &compared, views, stop)?;
                compared.iter().zip(old).for_each(|(&c, values)| anchors[c].old = Some(values));
            }
            let reference = self.update.terms(model, Policy::Reference, &stakes, &held, views, stop)?;
            held.iter().zip(reference).for_each(|(&c, values)| anchors[c].reference = Some(values));
            of_phase.push(anchors);
        }
        Ok(Anchors(of_phase))
    }

    /// Adds the gradient of the loss over all completions.
    ///
    /// # Errors
    /// If the maths fails, or `stop` asks to leave it.
    pub fn gradients(
        &self,
        model: &Llada,
        completions: &[Completion],
        anchors: &Anchors,
        phase: usize,
        inner: usize,
        gradients: &mut Gradients,
        stop: &Stop,
    ) -> Result<Tally> {
        let step = self.standings(completions);
        let mask_id = model.config().mask_token_id;
        let prepare = |c: usize| Prepared {
            views: self.viewer.views(mask_id, &completions[c], c, phase, inner),
            anchor: anchors.0[inner][c].clone(),
        };
        let found = self.update.gradients(model, &step, prepare, gradients, stop)?;
        Ok(Tally::of(self.update.objective().recipe(), &step, &found))
    }

    fn standings(&self, completions: &[Completion]) -> Vec<Standing> {
        let g = self.num_generations;
        let standing = |(c, completion): (usize, &Completion)| Standing {
            group: c / g,
            advantage: completion.advantage,
            len: completion.len,
        };
        completions.iter().enumerate().map(standing).collect()
    }
}

#[cfg(test)]
mod tests;
