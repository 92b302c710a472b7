//! Candidates for masked places: from hidden states over logits to tokens and what they are ranked by.

use std::ops::Range;

use anyhow::{Result, ensure};
use candle_core::Tensor;
use rayon::prelude::*;

use super::candidate::{Candidate, Rule, Tally};
use super::decoding::Decoding;
use super::sampler::Sampler;
use crate::config::{Commit, Remasking};
use crate::model::ops::cpu;
use crate::profile::{self, Part};

/// The model made of its input numbers that are none: its weights are broken, or too large for its precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the model's logits are not finite: check the weights and model.dtype")]
pub struct LogitsNotFinite;

/// A masked place that wants a candidate, with the random numbers of this place and step.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Row among those that are decoded.
    pub row: usize,
    /// Position in the canvas.
    pub position: usize,
    /// Where the token's distribution is cut, in `[0, 1)`.
    pub uniform: f64,
    /// The place in a random order, in `[0, 1)`.
    pub order: f64,
}

/// The candidate for a place.
#[derive(Clone, Copy, Debug)]
pub struct Offer {
    /// Row among those that are decoded.
    pub row: usize,
    /// Position in the canvas.
    pub position: usize,
    /// The token.
    pub token: u32,
    /// What offers are ranked by: more is better.
    pub confidence: f64,
    /// Entropy of the place's distribution in nats, if the rule of the commit asks for it.
    pub entropy: f64,
    /// The random number that chose the token.
    pub uniform: f64,
}

/// Hidden states of places, `[N, D]`; with guidance those of the unconditional rows beside them.
pub struct Hidden {
    /// With the prompt.
    pub cond: Tensor,
    /// Without it.
    pub uncond: Option<Tensor>,
}

impl Sampler<'_> {
    /// A candidate for every place, in the order of the places.
    pub(super) fn offers(&self, hidden: &Hidden, places: &[Place]) -> Result<Vec<Offer>> {
        let remasking = self.decoding.remasking;
        let mut offers = Vec::with_capacity(places.len());
        let chunk = self.model.head().rows_at_once()?;
        for (start, places) in places.chunks(chunk).enumerate().map(|(i, c)| (i * chunk, c)) {
            let candidates = self.candidates(&hidden.part(start, places.len())?, places)?;
            for (&Place { row, position, uniform, order }, found) in places.iter().zip(candidates) {
                ensure!(!found.confidence.is_nan(), LogitsNotFinite);
                let confidence = match remasking {
                    Remasking::Random => order,
                    Remasking::LowConfidence | Remasking::Margin | Remasking::NegEntropy => found.confidence,
                };
                let Candidate { token, entropy, .. } = found;
                offers.push(Offer { row, position, token, confidence, entropy, uniform });
            }
        }
        Ok(offers)
    }

    /// Candidates for a few places, in one pass over the vocabulary.
    fn candidates(&self, hidden: &Hidden, places: &[Place]) -> Result<Vec<Candidate>> {
        let Decoding { temperature, remasking, commit, .. } = *self.decoding;
        let excluded = self.model.config().mask_token_id as usize;
        let with_entropy = matches!(commit, Commit::EntropyBound(_));
        let (head, device) = (self.model.head(), self.model.device());
        let mut tallies = vec![Tally::new(Rule { excluded, temperature, remasking, with_entropy }); places.len()];
        // the last slice is kept: the only one of a small vocabulary
        let mut last = (0, None);
        head.for_slices(&hidden.both(), |start, logits| {
            profile::measure(Part::Sampling, device, || {
                let logits = self.guided(&logits)?;
                let (view, words) = (cpu::View::new(&logits)?, logits.dim(1)?);
                let rows = (view.par_chunks_exact(words), &mut tallies).into_par_iter();
                rows.for_each(|(row, tally)| tally.pass(row));
                drop(view);
                last = (start, Some(logits));
                Ok(())
            })
        })?;
        let logits_of = |i: usize, words: Range<usize>| -> Result<Vec<f32>> {
            let logits = match &last {
                (start, Some(slice)) if *start <= words.start => {
                    slice.narrow(0, i, 1)?.narrow(1, words.start - start, words.len())?
                }
                _ => {
                    let of = |x: &Tensor| head.logits_of(&x.narrow(0, i, 1)?, words.clone());
                    self.guided(&hidden.both().into_iter().map(of).collect::<candle_core::Result<Vec<_>>>()?)?
                }
            };
            Ok(logits.flatten_all()?.to_vec1()?)
        };
        profile::measure(Part::Sampling, device, || {
            let settled = tallies.into_par_iter().zip(places).enumerate();
            settled.map(|(i, (tally, place))| tally.settle(place.uniform, |words| logits_of(i, words))).collect()
        })
    }

    /// The logits to sample from; with guidance `un + (w + 1)(cond - un)`.
    fn guided(&self, logits: &[Tensor]) -> candle_core::Result<Tensor> {
        match logits {
            [cond, uncond] => uncond + ((cond - uncond)? * (self.decoding.cfg_scale + 1.0))?,
            _ => Ok(logits[0].clone()),
        }
    }
}

impl Hidden {
    /// The states of a few places.
    fn part(&self, start: usize, n: usize) -> Result<Self> {
        let uncond = self.uncond.as_ref().map(|x| x.narrow(0, start, n)).transpose()?;
        Ok(Self { cond: self.cond.narrow(0, start, n)?, uncond })
    }

    /// With the prompt, and without if there are any.
    fn both(&self) -> Vec<&Tensor> {
        std::iter::once(&self.cond).chain(&self.uncond).collect()
    }
}
