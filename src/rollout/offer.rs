//! Candidates for masked places: from hidden states over logits to tokens and what they are ranked by.

use anyhow::{Result, ensure};
use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use super::candidate::{Candidate, candidate};
use super::decoding::Decoding;
use super::sampler::Sampler;
use crate::config::{Commit, Remasking};
use crate::model::ops::cpu;
use crate::profile::{self, Part};

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
        let excluded = self.model.config().mask_token_id as usize;
        let Decoding { temperature, remasking, commit, .. } = *self.decoding;
        let entropy = matches!(commit, Commit::EntropyBound(_));
        let device = self.model.device();
        let mut offers = Vec::with_capacity(places.len());
        let chunk = self.model.head().chunk_rows()?;
        for (start, places) in places.chunks(chunk).enumerate().map(|(i, c)| (i * chunk, c)) {
            let logits = profile::measure(Part::Head, device, || self.logits(hidden, start, places.len()))?;
            let candidates: Vec<Candidate> = profile::measure(Part::Sampling, device, || -> Result<_> {
                let view = cpu::View::new(&logits)?;
                let rows = (view.par_chunks_exact(logits.dim(1)?), places).into_par_iter();
                let of = |(row, place): (_, &Place)| {
                    candidate(row, excluded, temperature, place.uniform, remasking, entropy)
                };
                Ok(rows.map(of).collect())
            })?;
            for (&Place { row, position, uniform, order }, found) in places.iter().zip(candidates) {
                ensure!(
                    !found.confidence.is_nan(),
                    "the model's logits are not finite: check the weights and model.dtype"
                );
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

    /// Guided logits of some rows, f32 in main memory: `un + (w + 1)(cond - un)`.
    fn logits(&self, hidden: &Hidden, start: usize, n: usize) -> Result<Tensor> {
        let of = |x: &Tensor| self.model.head().logits(&x.narrow(0, start, n)?)?.to_dtype(DType::F32);
        let cond = of(&hidden.cond)?;
        let logits = match &hidden.uncond {
            None => cond,
            Some(uncond) => {
                let uncond = of(uncond)?;
                (&uncond + ((cond - &uncond)? * (self.decoding.cfg_scale + 1.0))?)?
            }
        };
        Ok(logits.to_device(&Device::Cpu)?.contiguous()?)
    }
}
