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
use std::ops::Range;
use std::time::Instant;

use anyhow::Result;

use super::completions::{Completion, Generator};
use super::drive::{Method, Phase};
use super::likelihood::{MicroBatches, Policy};
use super::parts::GradientParts;
use super::policy::Reference;
use super::summation::Summation;
use super::tally::Tally;
use super::trainer::Trainer;
use super::update::{Portion, Prepared, Side, StepLoss, Update};
use super::views::Viewer;
use crate::config::{Recipe, RunConfig};
use crate::model::{Decoder, Gradients};
use crate::objective::loss::Anchor;
use crate::objective::weights::Standing;
use crate::report::Row;
use crate::session::Session;
use crate::signal::Stop;
use crate::terminal::log_width;

/// The method of `[algorithm.<name>]`.
pub struct Reinforce {
    generator: Generator,
    update: PolicyUpdate,
    reference: Reference,
    num_iterations: usize,
    /// Updates between two looks at the parts of the gradient; 0: none.
    gradient_parts_steps: usize,
    /// Whether completions are kept.
    log_completions: bool,
    /// Updates between two looks at a few completions; 0: none.
    log_completions_steps: usize,
    num_completions_to_print: usize,
}

/// The updates of a phase on its completions.
#[derive(Clone, Debug)]
pub struct PolicyUpdate {
    update: Update,
    viewer: Viewer,
    summation: Summation,
    num_generations: NonZeroUsize,
    num_iterations: usize,
}

/// What the policies that do not change in a phase say.
#[derive(Clone, Debug)]
pub struct Anchors {
    phase: usize,
    /// `[mu][completions]`.
    of_updates: Vec<Vec<Anchor>>,
}

impl Reinforce {
    /// Sets up sampling and the objective. The session's model is the base model: what a checkpoint changes comes later.
    ///
    /// # Errors
    /// If no training prompt fits; no memory for a copy of the base model, if one is kept.
    pub fn new(config: &RunConfig, session: &Session) -> Result<Self> {
        let (name, recipe) = (config.algorithm()?.name(), config.algorithm()?.recipe());
        if recipe.has_one_bound() && session.world.is_first() {
            tracing::warn!(
                "algorithm.{name}.num_t = 1: of one mask the upper bound has the gradient of the lower one, so that \
                 negative_estimator mix, eubo and elbo are the same, and mix_weight and beta change the figures alone"
            );
        }
        let summation = Summation::new(&session.world, config.train().gradient_sum);
        let update =
            PolicyUpdate::new(&recipe, config.rollout().block_length, config.train().into(), config.run().seed);
        Ok(Self {
            generator: Generator::new(config, &recipe, session)?,
            update: update.summed_by(summation),
            reference: Reference::of(config, &session.model)?,
            num_iterations: recipe.num_iterations.get(),
            gradient_parts_steps: config.train().gradient_parts_steps,
            log_completions: config.train().log_completions,
            log_completions_steps: config.train().log_completions_steps,
            num_completions_to_print: config.train().num_completions_to_print.get(),
        })
    }
}

impl Method for Reinforce {
    fn phase(&mut self, trainer: &mut Trainer, step: usize, stop: &Stop) -> Result<Phase> {
        let phase = step / self.num_iterations;
        let completions = self.generator.phase(&trainer.session, phase, stop)?;
        let table = || completions.table(step + 1, trainer.session.encoder.tokenizer());
        let kept = self.log_completions.then(table);
        let every = self.log_completions_steps;
        if every > 0 && (step + 1..=step + self.num_iterations).any(|update| update.is_multiple_of(every)) {
            tracing::info!("{}", table().preview(self.num_completions_to_print, log_width()));
        }
        let model = &trainer.session.model;
        let anchors = self.update.anchors(model, self.reference.model(model), &completions.all, phase, stop)?;
        let mut rows = Vec::with_capacity(self.num_iterations);
        for inner in 0..self.num_iterations {
            let model = &trainer.session.model;
            let mut row = Row::new(step + inner + 1);
            row.set("iteration", phase + 1);
            completions.report(&mut row);
            // before the update and for itself: its sums are added in another order
            if self.gradient_parts_steps > 0 && row.step().is_multiple_of(self.gradient_parts_steps) {
                self.update.gradient_parts(model, &completions.all, &anchors, inner, stop)?.report(&mut row);
            }
            let started = Instant::now();
            let (gradients, tally) = self.update.gradients(model, &completions.all, &anchors, inner, stop)?;
            tally.report(&mut row);
            trainer.update(step + inner, &gradients, &mut row)?;
            row.set("update_seconds", started.elapsed().as_secs_f64());
            rows.push(row);
        }
        Ok(Phase { rows, completions: kept })
    }

    fn longest_prompt(&self) -> usize {
        self.generator.longest_prompt()
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
            summation: Summation::default(),
            num_generations: recipe.num_generations,
            num_iterations: recipe.num_iterations.get(),
        }
    }

    /// With the gradients of its parts added up in another way than one after the other in one process.
    pub fn summed_by(self, summation: Summation) -> Self {
        Self { summation, ..self }
    }

    /// The terms of this process's completions under the current policy, which is about to become the old one, and under the
    /// reference, for all updates of the phase. `reference` is asked without adapters: the model itself, where adapters
    /// are all that is trained of it.
    ///
    /// # Errors
    /// If the maths fails, or `stop` asks to leave it.
    pub fn anchors(
        &self,
        model: &Decoder,
        reference: &Decoder,
        completions: &[Completion],
        phase: usize,
        stop: &Stop,
    ) -> Result<Anchors> {
        let objective = self.update.objective();
        let stakes = objective.stakes(&self.standings(completions));
        let groups = self.groups(completions);
        let own = self.places(self.summation.world().share(groups), completions);
        let compared: Vec<usize> = own.clone().filter(|&c| objective.needs_old(&stakes[c])).collect();
        let held: Vec<usize> = own.filter(|&c| objective.needs_reference(&stakes[c])).collect();
        let mut of_updates = Vec::with_capacity(self.num_iterations);
        for inner in 0..self.num_iterations {
            let views = |c: usize| self.viewer.views(model, &completions[c], c, phase, inner);
            let mut anchors = vec![Anchor::default(); completions.len()];
            // the first update starts at the old policy itself
            if inner > 0 {
                let old = self.update.terms(model, Policy::Current, &stakes, &compared, views, stop)?;
                compared.iter().zip(old).for_each(|(&c, values)| anchors[c].old = Some(values));
            }
            let values = self.update.terms(reference, Policy::Reference, &stakes, &held, views, stop)?;
            held.iter().zip(values).for_each(|(&c, values)| anchors[c].reference = Some(values));
            of_updates.push(anchors);
        }
        Ok(Anchors { phase, of_updates })
    }

    /// The gradient of the loss over all completions in update `inner` of the anchors' phase.
    ///
    /// # Errors
    /// If the maths fails, or `stop` asks to leave it.
    pub fn gradients(
        &self,
        model: &Decoder,
        completions: &[Completion],
        anchors: &Anchors,
        inner: usize,
        stop: &Stop,
    ) -> Result<(Gradients, Tally)> {
        self.side(Side::All, model, completions, anchors, inner, stop)
    }

    /// The gradients of the likelihoods that are raised and of those that are lowered: together the work of one update.
    ///
    /// # Errors
    /// If the maths fails, or `stop` asks to leave it.
    pub fn gradient_parts(
        &self,
        model: &Decoder,
        completions: &[Completion],
        anchors: &Anchors,
        inner: usize,
        stop: &Stop,
    ) -> Result<GradientParts> {
        let (raised, _) = self.side(Side::Raised, model, completions, anchors, inner, stop)?;
        let (lowered, _) = self.side(Side::Lowered, model, completions, anchors, inner, stop)?;
        GradientParts::of(raised.by_name(), lowered.by_name())
    }

    fn side(
        &self,
        side: Side,
        model: &Decoder,
        completions: &[Completion],
        anchors: &Anchors,
        inner: usize,
        stop: &Stop,
    ) -> Result<(Gradients, Tally)> {
        let prepare = |c: usize| Prepared {
            views: self.viewer.views(model, &completions[c], c, anchors.phase, inner),
            anchor: anchors.of_updates[inner][c].clone(),
        };
        let (world, groups, step) = (self.summation.world(), self.groups(completions), self.standings(completions));
        let places = self.places(world.share(groups), completions);
        let mut moved = self.update.moved(model, &step, places, &prepare, stop)?;
        if self.update.objective().stable_cap().is_some() {
            moved = world.join(moved)?;
        }
        let (emphases, capped) = self.update.emphases(&step, &moved);
        let (mut found, mut present) = (StepLoss::default(), vec![false; groups]);
        let own = self.summation.own(groups, |groups, gradients| {
            let places = self.places(groups.clone(), completions);
            let portion = Portion { places, side, emphases: &emphases };
            found.extend(self.update.gradients(model, &step, portion, &prepare, gradients, stop)?);
            present[groups].fill(!gradients.is_empty());
            Ok(())
        })?;
        let told = world.gather((found, present[world.share(groups)].to_vec()))?;
        let (mut found, mut present) = (StepLoss::default(), Vec::with_capacity(groups));
        for (theirs, there) in told {
            found.extend(theirs);
            present.extend(there);
        }
        let gradients = self.summation.all(model, groups, own, &present)?;
        Ok((gradients, Tally::of(self.update.objective().recipe(), &found, capped)))
    }

    /// Completions of one prompt are a group.
    fn groups(&self, completions: &[Completion]) -> usize {
        completions.len().div_ceil(self.num_generations.get())
    }

    /// The places, in the step, of the completions of some groups.
    fn places(&self, groups: Range<usize>, completions: &[Completion]) -> Range<usize> {
        let g = self.num_generations.get();
        (groups.start * g).min(completions.len())..(groups.end * g).min(completions.len())
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
