//! The gradient of one update: the meeting point of model and objective.
//!
//! Whoever calls says which completions there are, how each is masked, and what its terms are under the policies that do
//! not change: a run draws these, a check against reference numbers is given them.

use std::ops::Range;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::likelihood::{MicroBatches, Policy, accumulate, score};
use super::views::Views;
use crate::config::Recipe;
use crate::meter;
use crate::model::{Decoder, Gradients};
use crate::objective::ScoredTokens;
use crate::objective::loss::{Anchor, CompletionLoss, Objective};
use crate::objective::weights::{Stake, Standing, stable_weights};
use crate::signal::Stop;

/// How gradients of a recipe are computed.
#[derive(Clone, Debug)]
pub struct Update {
    objective: Objective,
    micro_batches: MicroBatches,
}

/// What an update reads of one completion.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The completion under its masks.
    pub views: Views,
    /// Its terms under the policies that do not change.
    pub anchor: Anchor,
}

/// Which completions of a step a gradient is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// All of them.
    All,
    /// Those whose likelihood is to rise.
    Raised,
    /// Those whose likelihood is to fall.
    Lowered,
}

impl Side {
    fn holds(self, stake: &Stake) -> bool {
        match self {
            Self::All => true,
            Self::Raised => stake.signal > 0.0,
            Self::Lowered => stake.signal < 0.0,
        }
    }
}

/// A portion of a step: which of its completions a gradient is of.
#[derive(Clone, Debug)]
pub struct Portion<'a> {
    /// Places in the step.
    pub places: Range<usize>,
    /// Whether their likelihood is to rise.
    pub side: Side,
    /// What the stake of every completion of the step is multiplied with.
    pub emphases: &'a [f64],
}

/// What an update was made of.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct StepLoss {
    /// The completions that took part: their place in the step and their part of the loss, without slopes.
    pub completions: Vec<(usize, CompletionLoss)>,
    /// Log-probabilities that were computed.
    pub tokens: usize,
    /// Sums over these of the entropies of the predictions, nats, one a micro-batch.
    pub entropies: Vec<f64>,
    /// Parts of the loss, one a micro-batch.
    pub losses: Vec<f64>,
}

impl StepLoss {
    /// Adds what later completions of the step add.
    pub fn extend(&mut self, later: Self) {
        self.completions.extend(later.completions);
        self.tokens += later.tokens;
        self.entropies.extend(later.entropies);
        self.losses.extend(later.losses);
    }

    /// The loss.
    pub fn loss(&self) -> f64 {
        self.losses.iter().fold(0.0, |sum, loss| sum + loss)
    }
}

impl Update {
    /// The gradient of a recipe's loss, a micro-batch at a time.
    pub fn new(recipe: &Recipe, micro_batches: MicroBatches) -> Self {
        Self { objective: Objective::new(recipe), micro_batches }
    }

    /// The objective.
    pub fn objective(&self) -> &Objective {
        &self.objective
    }

    /// Adds the gradient of what a portion of a step adds to its loss; `prepare` is asked for the completions that take
    /// part.
    ///
    /// The `M` views of a completion stand in one micro-batch: bounds weigh them against each other, so that one at a
    /// time would take a second forward pass. With checkpointing a view is small beside the weights (LLaDA-8B: 0.2 GB to
    /// 16 GB), and that pass would save less than it costs.
    ///
    /// # Errors
    /// If the maths fails, or `stop` asks to leave it between two micro-batches.
    pub fn gradients(
        &self,
        model: &Decoder,
        step: &[Standing],
        portion: Portion<'_>,
        prepare: &impl Fn(usize) -> Prepared,
        gradients: &mut Gradients,
        stop: &Stop,
    ) -> Result<StepLoss> {
        let Portion { places, side, emphases } = portion;
        let objective = &self.objective;
        let stakes = objective.stakes(step);
        let takes_part = |c: &usize| side.holds(&stakes[*c]) && objective.needs_backward(&stakes[*c]);
        let live: Vec<usize> = places.filter(takes_part).collect();
        let mut found = StepLoss::default();
        let MicroBatches { size, checkpointing } = self.micro_batches;
        let mut meter = meter::count("update", "completions", live.len());
        for (i, micro_batch) in live.chunks(size.get()).enumerate() {
            meter.at((i * size.get()) as u64);
            stop.check()?;
            let prepared: Vec<Prepared> = micro_batch.iter().map(|&c| prepare(c)).collect();
            let (rows, rest): (Vec<_>, Vec<_>) = split(prepared);
            let entropy = accumulate(model, &rows, checkpointing, gradients, |log_probs| {
                let mut lps = log_probs.iter().map(|&lp| lp as f64);
                let mut d_lp = Vec::with_capacity(log_probs.len());
                let mut loss = 0.0;
                for (&c, Prepared { views, anchor }) in micro_batch.iter().zip(&rest) {
                    let scored = joined(views, &mut lps)?;
                    let mut part = objective.loss(&stakes[c], emphases[c], &scored, anchor);
                    loss += part.loss;
                    d_lp.extend(std::mem::take(&mut part.d_lp).into_iter().flatten());
                    found.completions.push((c, part));
                }
                found.losses.push(loss);
                found.tokens += log_probs.len();
                Ok(d_lp)
            })?;
            found.entropies.push(entropy);
        }
        Ok(found)
    }

    /// The terms of some completions under a policy, in their order, without gradients.
    ///
    /// # Errors
    /// If the maths fails, or `stop` asks to leave it between two micro-batches.
    pub fn terms(
        &self,
        model: &Decoder,
        policy: Policy,
        stakes: &[Stake],
        which: &[usize],
        views: impl Fn(usize) -> Views,
        stop: &Stop,
    ) -> Result<Vec<Vec<f64>>> {
        let mut found = Vec::with_capacity(which.len());
        let mut meter = meter::count("score", "completions", which.len());
        for micro_batch in which.chunks(self.micro_batches.size.get()) {
            meter.at(found.len() as u64);
            stop.check()?;
            let views: Vec<Views> = micro_batch.iter().map(|&c| views(c)).collect();
            let rows: Vec<_> = views.iter().flat_map(|v| v.rows.iter().cloned()).collect();
            let log_probs = score(model, &rows, policy)?;
            let mut lps = log_probs.into_iter().map(f64::from);
            for (&c, views) in micro_batch.iter().zip(&views) {
                found.push(self.objective.terms(&stakes[c], &joined(views, &mut lps)?).values);
            }
        }
        Ok(found)
    }

    /// How far the bounds of some completions, by their places in the step, are above those under the policy that sampled
    /// them, nats per token. None for most methods, which do not ask, and before the first update of a phase.
    ///
    /// # Errors
    /// If the maths fails, or `stop` asks to leave it between two micro-batches.
    pub fn moved(
        &self,
        model: &Decoder,
        step: &[Standing],
        places: Range<usize>,
        prepare: &impl Fn(usize) -> Prepared,
        stop: &Stop,
    ) -> Result<Vec<(usize, f64)>> {
        if self.objective.stable_cap().is_none() {
            return Ok(Vec::new());
        }
        let stakes = self.objective.stakes(step);
        let (mut which, mut old) = (Vec::new(), Vec::new());
        for c in places.filter(|&c| self.objective.needs_old(&stakes[c])) {
            if let Some(values) = prepare(c).anchor.old {
                which.push(c);
                old.push(values);
            }
        }
        let new = self.terms(model, Policy::Current, &stakes, &which, |c| prepare(c).views, stop)?;
        let moved = |((&c, new), old): ((&usize, &Vec<f64>), &Vec<f64>)| Some((c, new.first()? - old.first()?));
        Ok(which.iter().zip(&new).zip(&old).filter_map(moved).collect())
    }

    /// What each completion's stake is multiplied with, from what has [`moved`](Self::moved) in the whole step, and how
    /// many were capped, where there is such a thing; all 1 for most methods.
    pub fn emphases(&self, step: &[Standing], moved: &[(usize, f64)]) -> (Vec<f64>, Option<usize>) {
        let Some(cap) = self.objective.stable_cap() else { return (vec![1.0; step.len()], None) };
        let mut by_place = vec![None; step.len()];
        moved.iter().for_each(|&(c, moved)| by_place[c] = Some(moved));
        let capped = moved.iter().filter(|(_, moved)| *moved > cap.ln()).count();
        (stable_weights(cap, step, &by_place), Some(capped))
    }
}

/// The rows of a micro-batch, and what stays of its completions.
fn split(prepared: Vec<Prepared>) -> (Vec<super::likelihood::Row>, Vec<Prepared>) {
    let mut rows = Vec::new();
    let rest = prepared.into_iter().map(|mut p| {
        rows.append(&mut p.views.rows);
        p
    });
    let rest = rest.collect();
    (rows, rest)
}

fn joined(views: &Views, lps: &mut impl Iterator<Item = f64>) -> Result<ScoredTokens> {
    views.scored(lps).context("the model returned fewer log-probabilities than were asked for")
}
