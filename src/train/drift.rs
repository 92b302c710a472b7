//! Rollouts that are decoded another way than the exact one, and the guard that falls back to that one.
//!
//! A phase is a function of seed, phase and policy: the guard looks at completions of this phase alone, always the
//! same ones, and remembers nothing.

use anyhow::Result;

use crate::config::RolloutTable;
use crate::model::{Llada, Pass};
use crate::report::Row;
use crate::rollout::{Agreement, Decoded, Decoding, Prompt, Sampler};

/// Decodes the completions of phases.
pub struct Decoder {
    decoding: Decoding,
    batch_size: usize,
    drift_check: usize,
    min_agreement: f64,
}

/// What was noticed while a phase was decoded another way than the exact one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drift {
    /// The part of a sample's tokens that the exact decoding would have chosen, if a sample was compared.
    pub agreement: Option<f64>,
    /// Whether that was too little, so that the phase was decoded exactly.
    pub exact: bool,
    /// Tokens committed a run of the model, mean over the completions that are used.
    pub tokens_per_step: f64,
}

impl Decoder {
    /// The decoding of a config.
    pub fn new(decoding: Decoding, table: &RolloutTable) -> Self {
        Self {
            decoding,
            batch_size: table.batch_size.get(),
            drift_check: table.drift_check,
            min_agreement: table.min_agreement.get(),
        }
    }

    /// Decodes a phase; [`Drift`] if the decoding of the config is not the exact one.
    ///
    /// # Errors
    /// If decoding fails.
    pub fn decode(&self, model: &Llada, prompts: &[Prompt]) -> Result<(Vec<Decoded>, Option<Drift>)> {
        let complete = |decoding: &Decoding, prompts: &[Prompt]| {
            Sampler { model, decoding, pass: Pass::INFERENCE }.complete(prompts, self.batch_size, |_| ())
        };
        if self.decoding.is_reference() {
            return Ok((complete(&self.decoding, prompts)?, None));
        }
        let sample = spread(self.drift_check, prompts.len());
        let (checked, others) = split(prompts, &sample);
        let decoded = complete(&self.decoding, &checked)?;
        let agreement = match sample.is_empty() {
            true => None,
            false => Some(self.agreement(model, &checked, &decoded)?.fraction()),
        };
        let exact = agreement.is_some_and(|agreement| agreement < self.min_agreement);
        let decoded = match exact {
            true => {
                tracing::warn!(
                    "the exact decoding agrees with {:.3} of the tokens of {} completions, rollout.min_agreement is \
                     {}: decoding this phase exactly",
                    agreement.unwrap_or_default(),
                    sample.len(),
                    self.min_agreement
                );
                complete(&self.decoding.reference(), prompts)?
            }
            // a completion does not depend on what is decoded beside it: those of the sample are used as they are
            false => merge(&sample, decoded, complete(&self.decoding, &others)?),
        };
        let tokens_per_step = tokens_per_step(&decoded);
        Ok((decoded, Some(Drift { agreement, exact, tokens_per_step })))
    }

    fn agreement(&self, model: &Llada, prompts: &[Prompt], decoded: &[Decoded]) -> Result<Agreement> {
        let sampler = Sampler { model, decoding: &self.decoding, pass: Pass::INFERENCE };
        sampler.agreement(prompts, decoded, self.batch_size)
    }
}

impl Drift {
    /// Adds the figures to a metrics row.
    pub fn report(&self, row: &mut Row) {
        if let Some(agreement) = self.agreement {
            row.set("rollout/agreement", agreement);
        }
        row.set("rollout/tokens_per_step", self.tokens_per_step).set("rollout/exact", usize::from(self.exact));
    }
}

/// `n` of `0..all`, as evenly spread as can be, so that they are of different prompts: all of them if there are fewer.
fn spread(n: usize, all: usize) -> Vec<usize> {
    let n = n.min(all);
    (0..n).map(|i| i * all / n).collect()
}

/// The items at the places of `chosen`, which rise, and all others.
fn split<T: Clone>(items: &[T], chosen: &[usize]) -> (Vec<T>, Vec<T>) {
    let (mut yes, mut no) = (Vec::new(), Vec::new());
    for (i, item) in items.iter().enumerate() {
        if chosen.binary_search(&i).is_ok() { yes.push(item.clone()) } else { no.push(item.clone()) }
    }
    (yes, no)
}

/// Undoes [`split`].
fn merge<T>(chosen: &[usize], yes: Vec<T>, no: Vec<T>) -> Vec<T> {
    let all = yes.len() + no.len();
    let (mut yes, mut no) = (yes.into_iter(), no.into_iter());
    (0..all).filter_map(|i| if chosen.binary_search(&i).is_ok() { yes.next() } else { no.next() }).collect()
}

fn tokens_per_step(decoded: &[Decoded]) -> f64 {
    let tokens: usize = decoded.iter().map(|d| d.trace.len()).sum();
    tokens as f64 / decoded.iter().map(|d| d.steps).sum::<usize>() as f64
}
