//! Candidates for masked places: from hidden states over logits to tokens and what they are ranked by.

use std::ops::Range;

use anyhow::{Result, ensure};
use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use super::candidate::{Candidate, Cut, Rule, Tally};
use super::decoding::Decoding;
use super::sampler::Sampler;
use crate::config::{Commit, Confidence, Remasking};
use crate::model::ops::{cpu, gpu};
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
        let head = self.model.head();
        let chunk = if self.decoding.is_filtered() { head.chunk_rows()? } else { head.rows_at_once()? };
        for (start, places) in places.chunks(chunk).enumerate().map(|(i, c)| (i * chunk, c)) {
            let candidates = self.candidates(&hidden.part(start, places.len())?, places)?;
            for (&Place { row, position, uniform, order }, found) in places.iter().zip(candidates) {
                ensure!(!found.confidence.is_nan(), LogitsNotFinite);
                let confidence = match remasking {
                    Remasking::Random => order,
                    Remasking::LowConfidence | Remasking::Margin | Remasking::NegEntropy => found.confidence,
                };
                let confidence = self.drawn(confidence, order);
                let Candidate { token, entropy, .. } = found;
                offers.push(Offer { row, position, token, confidence, entropy, uniform });
            }
        }
        Ok(offers)
    }

    /// What a candidate is ranked by where the order is drawn: with Gumbel noise, so that the first places are those of draws
    /// without replacement by the softmax of the confidence over the temperature.
    fn drawn(&self, confidence: f64, uniform: f64) -> f64 {
        match self.decoding.ranking_temperature {
            0.0 => confidence,
            temperature => confidence / temperature - (-uniform.max(f64::MIN_POSITIVE).ln()).ln(),
        }
    }

    /// Candidates for a few places, in one pass over the vocabulary.
    fn candidates(&self, hidden: &Hidden, places: &[Place]) -> Result<Vec<Candidate>> {
        let Decoding { temperature, remasking, commit, .. } = *self.decoding;
        let excluded = self.model.ids().mask as usize;
        let with_entropy = matches!(commit, Commit::EntropyBound(_));
        let (head, device) = (self.model.head(), self.model.device());
        let rule = Rule { excluded, temperature, remasking, with_entropy };
        if self.decoding.is_filtered() {
            return self.filtered(rule, hidden, places);
        }
        if gpu::serves(&hidden.cond) {
            let logits =
                hidden.both().into_iter().map(|x| head.logits_on_device(x)).collect::<candle_core::Result<Vec<_>>>()?;
            return profile::measure(Part::Sampling, device, || on_device(rule, self.guided(&logits)?, places));
        }
        let mut tallies = vec![Tally::new(rule); places.len()];
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

    /// Candidates from the most likely tokens only, in one pass over whole rows of logits.
    fn filtered(&self, rule: Rule, hidden: &Hidden, places: &[Place]) -> Result<Vec<Candidate>> {
        let (head, device) = (self.model.head(), self.model.device());
        let on_host = |x: &Tensor| head.logits(x)?.to_dtype(DType::F32)?.to_device(&Device::Cpu)?.contiguous();
        let logits = hidden.both().into_iter().map(on_host).collect::<candle_core::Result<Vec<_>>>()?;
        profile::measure(Part::Sampling, device, || {
            let logits = self.guided(&logits)?;
            let (view, words) = (cpu::View::new(&logits)?, logits.dim(1)?);
            let of = |(row, place): (&[f32], &Place)| {
                if self.decoding.confidence == Confidence::Sampled {
                    return self.decoding.filter.candidate(row, rule, place.uniform);
                }
                let mut tally = Tally::new(rule);
                tally.pass(row);
                tally.settled(self.decoding.filter.sample(row, rule, place.uniform))
            };
            Ok(view.par_chunks_exact(words).zip(places).map(of).collect())
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

/// Candidates for places whose logits, f32 `[N, V]`, are on an accelerator and stay there: sums of their parts come to the
/// host, then those of the grains of one part a row, then the logits of one grain a row.
fn on_device(rule: Rule, logits: Tensor, places: &[Place]) -> Result<Vec<Candidate>> {
    let words = logits.dim(1)?;
    let inverse = if rule.temperature > 0.0 { (1.0 / rule.temperature) as f32 } else { 0.0 };
    let rows = gpu::tally::Rows::of(logits, rule.excluded, inverse)?;
    let tallies: Vec<Tally> = (0..places.len()).map(|row| Tally::of_parts(rule, words, rows.parts(row))).collect();
    let parts: Vec<Option<Cut>> = tallies.iter().zip(places).map(|(t, place)| t.choose_part(place.uniform)).collect();
    if parts.iter().all(Option::is_none) {
        return Ok(tallies.iter().map(|tally| tally.settled(None)).collect());
    }
    // rows that want nothing are asked for what comes first
    let chosen = |cuts: &[Option<Cut>]| cuts.iter().map(|cut| cut.map_or(0, Cut::chosen)).collect::<Vec<_>>();
    let sums = rows.grains(&chosen(&parts))?;
    let grain =
        |((tally, part), sums): ((&Tally, &Option<Cut>), Vec<f32>)| tally.choose_grain((*part)?, sums.into_iter());
    let grains: Vec<Option<Cut>> = tallies.iter().zip(&parts).zip(sums).map(grain).collect();
    let firsts: Vec<usize> =
        tallies.iter().zip(&grains).map(|(t, grain)| grain.map_or(0, |grain| t.words_of(grain).start)).collect();
    let logits = rows.logits(&firsts)?;
    let settle = |((tally, grain), logits): ((&Tally, &Option<Cut>), Vec<f32>)| {
        tally.settled(grain.map(|grain| tally.choose_word(grain, &logits)))
    };
    Ok(tallies.iter().zip(&grains).zip(logits).map(settle).collect())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ops::gpu::host::as_device;
    use crate::model::ops::testing::random;

    const ORDERS: [Remasking; 4] =
        [Remasking::LowConfidence, Remasking::Random, Remasking::Margin, Remasking::NegEntropy];

    fn places(n: usize) -> Vec<Place> {
        let place = |row| Place { row, position: 0, uniform: (row as f64 + 0.5) / n as f64, order: 0.0 };
        (0..n).map(place).collect()
    }

    fn rows(logits: &Tensor) -> Vec<Vec<f32>> {
        logits.to_vec2().expect("f32")
    }

    /// On the CPU and on a device.
    fn both(rule: Rule, logits: &Tensor, places: &[Place]) -> (Vec<Candidate>, Vec<Candidate>) {
        let settle = |(row, place): (Vec<f32>, &Place)| {
            let mut tally = Tally::new(rule);
            tally.pass(&row);
            tally.settle(place.uniform, |words| Ok(row[words].to_vec())).expect("logits are there")
        };
        let expected = rows(logits).into_iter().zip(places).map(settle).collect();
        (expected, as_device(|| on_device(rule, logits.clone(), places)).expect("a kernel"))
    }

    #[test]
    fn a_device_offers_what_the_cpu_offers() {
        let (n, words) = (40, 2700);
        let drawn = rows(&(random(1, (n, words)).unwrap() * 3.0).unwrap());
        for (i, remasking) in ORDERS.into_iter().enumerate() {
            for temperature in [0.0, 0.4, 1.3] {
                // the likeliest of all, once in the first part, once in the last, which is not full
                let excluded = if i % 2 == 0 { 17 } else { words - 1 };
                let mut logits = drawn.clone();
                logits.iter_mut().for_each(|row| row[excluded] = 12.0);
                let logits = Tensor::new(logits, &Device::Cpu).unwrap();
                let rule = Rule { excluded, temperature, remasking, with_entropy: i < 2 };
                let (expected, found) = both(rule, &logits, &places(n));
                for (row, (e, f)) in expected.iter().zip(&found).enumerate() {
                    assert_eq!(e.token, f.token, "row {row}, {rule:?}");
                    assert!((e.confidence - f.confidence).abs() < 1e-5, "row {row}, {rule:?}: {e:?} {f:?}");
                    assert!((e.entropy - f.entropy).abs() < 1e-4, "row {row}, {rule:?}: {e:?} {f:?}");
                }
            }
        }
    }

    #[test]
    fn equal_logits_and_impossible_words_are_taken_alike() {
        let rule = |temperature| Rule { excluded: 1, temperature, remasking: Remasking::Margin, with_entropy: false };
        let mut row = vec![f32::NEG_INFINITY; 2100];
        for word in [1, 700, 1030, 1031, 2099] {
            row[word] = 4.0;
        }
        let logits = Tensor::from_vec(row, (1, 2100), &Device::Cpu).unwrap();
        for temperature in [0.0, 1.0] {
            let (expected, found) =
                both(rule(temperature), &logits, &[Place { row: 0, position: 0, uniform: 0.3, order: 0.0 }]);
            assert_eq!(expected, found);
        }
    }

    #[test]
    fn logits_that_are_no_numbers_have_no_confidence_on_a_device() {
        let rule = Rule { excluded: 1, temperature: 0.0, remasking: Remasking::LowConfidence, with_entropy: false };
        for broken in [f32::NAN, f32::INFINITY] {
            let mut row = vec![0.5; 1500];
            row[1200] = broken;
            let logits = Tensor::from_vec(row, (1, 1500), &Device::Cpu).unwrap();
            let (expected, found) = both(rule, &logits, &places(1));
            assert!(expected[0].confidence.is_nan() && found[0].confidence.is_nan(), "{broken}");
        }
    }

    /// A step of six rows with a block of 32 masks each once brought 97 MB of logits to the host.
    #[test]
    fn less_than_a_megabyte_comes_to_the_host() {
        let rule = Rule { excluded: 1, temperature: 0.9, remasking: Remasking::LowConfidence, with_entropy: false };
        let (n, words) = (2, 126_464);
        let logits = random(1, (n, words)).unwrap();
        let before = gpu::traffic();
        as_device(|| on_device(rule, logits, &places(n))).unwrap();
        let bytes = gpu::traffic().since(before).bytes_to_host as usize;
        assert!(bytes > 0 && bytes / n * 6 * 32 < 1_000_000, "{bytes}");
    }
}
