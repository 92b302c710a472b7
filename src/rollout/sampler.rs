//! The block loop: every step re-encodes the canvas and commits the best candidates of the current block.
//!
//! Only the block's masked rows reach the head, and the last layer computes queries for the block only; both
//! leave the result as it is. Each completion draws from its own stream, one per step, at places fixed by the
//! position in the block, so that neither the batch nor its order changes a token.

use anyhow::{Result, ensure};
use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use super::candidate::{Candidate, candidate};
use super::decoding::Decoding;
use crate::config::Remasking;
use crate::model::ops::cpu;
use crate::model::{Batch, Llada, Pass};
use crate::profile::{self, Part};
use crate::rng::Key;

/// A prompt to complete, and the randomness of its completion.
#[derive(Clone, Debug)]
pub struct Prompt {
    /// Token ids.
    pub ids: Vec<u32>,
    /// Where this completion's random numbers come from.
    pub key: Key,
}

/// A completed canvas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// The completion, `L` tokens.
    pub canvas: Vec<u32>,
    /// Denoising steps it took: how often the model was run on it (with guidance, on it and its unconditional twin).
    pub steps: usize,
}

/// Decodes completions with a model.
#[derive(Clone, Copy, Debug)]
pub struct Sampler<'a> {
    /// The model.
    pub model: &'a Llada,
    /// The schedule.
    pub decoding: &'a Decoding,
    /// With or without adapters.
    pub pass: Pass<'a>,
}

/// A row of the batch with the candidate for one of its columns.
struct Offer {
    row: usize,
    column: usize,
    token: u32,
    confidence: f64,
}

impl Sampler<'_> {
    /// Completes the prompts `batch_size` at a time; `done` hears how many are finished.
    ///
    /// Returns the canvas of every prompt. A completion does not depend on `batch_size`.
    ///
    /// # Errors
    /// A prompt that leaves no room for the canvas, or logits that are not finite.
    pub fn complete(&self, prompts: &[Prompt], batch_size: usize, mut done: impl FnMut(usize)) -> Result<Vec<Decoded>> {
        let mut completions = Vec::with_capacity(prompts.len());
        for chunk in prompts.chunks(batch_size.max(1)) {
            completions.extend(self.complete_batch(chunk)?);
            done(completions.len());
        }
        Ok(completions)
    }

    fn complete_batch(&self, prompts: &[Prompt]) -> Result<Vec<Decoded>> {
        let (config, canvas) = (self.model.config(), self.decoding.canvas);
        let masks = vec![config.mask_token_id; canvas];
        let rows: Vec<Vec<u32>> = prompts.iter().map(|p| [p.ids.as_slice(), &masks].concat()).collect();
        let mut batch = Batch::left_padded(&rows, config.eos_token_id);
        let columns = batch.columns();
        ensure!(
            columns <= config.max_sequence_length,
            "a prompt of {} tokens and a canvas of {canvas} exceed the model's max_sequence_length {}",
            columns - canvas,
            config.max_sequence_length
        );
        let mut steps = 0;
        for (n, block) in (columns - canvas..columns).step_by(self.decoding.block_length).enumerate() {
            steps += self.fill_block(&mut batch, prompts, n, block)?;
        }
        let rows = batch.ids.chunks(columns);
        Ok(rows.map(|row| Decoded { canvas: row[columns - canvas..].to_vec(), steps }).collect())
    }

    /// Decodes the block that starts at column `block`; returns the steps it took, the same for every row.
    fn fill_block(&self, batch: &mut Batch, prompts: &[Prompt], n: usize, block: usize) -> Result<usize> {
        let (length, steps) = (self.decoding.block_length, self.decoding.steps_per_block);
        let columns = batch.columns();
        for step in 0..steps {
            let mask = self.model.config().mask_token_id;
            let masked: Vec<(usize, usize)> = (0..batch.len())
                .flat_map(|row| (block..block + length).map(move |column| (row, column)))
                .filter(|&(row, column)| batch.ids[row * columns + column] == mask)
                .collect();
            if masked.is_empty() {
                return Ok(step);
            }
            let stream = (n * steps + step) as u64;
            let offers = self.offers(batch, prompts, &masked, block, stream)?;
            for mut offers in by_row(offers) {
                offers.sort_by(|a, b| b.confidence.total_cmp(&a.confidence).then(a.column.cmp(&b.column)));
                // every row had `length` masks when the block began
                for offer in offers.iter().take(self.decoding.commits(length, step)) {
                    batch.ids[offer.row * columns + offer.column] = offer.token;
                }
            }
        }
        Ok(steps)
    }

    /// A candidate for every masked column of the block.
    fn offers(
        &self,
        batch: &Batch,
        prompts: &[Prompt],
        masked: &[(usize, usize)],
        block: usize,
        stream: u64,
    ) -> Result<Vec<Offer>> {
        let length = self.decoding.block_length;
        // two numbers for every column of the block, masked or not: (token, place in the random order)
        let draws: Vec<Vec<(f64, f64)>> = prompts
            .iter()
            .map(|p| {
                let mut rng = p.key.stream(stream);
                (0..length).map(|_| (rng.uniform_f64(), rng.uniform_f64())).collect()
            })
            .collect();
        let hidden = self.hidden(batch, masked, block)?;
        let excluded = self.model.config().mask_token_id as usize;
        let mut offers = Vec::with_capacity(masked.len());
        let chunk = self.model.head().chunk_rows()?;
        for (start, places) in masked.chunks(chunk).enumerate().map(|(i, c)| (i * chunk, c)) {
            let device = self.model.device();
            let logits = profile::measure(Part::Head, device, || self.logits(&hidden, start, places.len()))?;
            let Decoding { temperature, remasking, .. } = *self.decoding;
            let candidates: Vec<Candidate> = profile::measure(Part::Sampling, device, || -> Result<_> {
                let view = cpu::View::new(&logits)?;
                let rows = (view.par_chunks_exact(logits.dim(1)?), places).into_par_iter();
                let drawn = |r: usize, c: usize| draws[r][c - block].0;
                Ok(rows.map(|(row, &(r, c))| candidate(row, excluded, temperature, drawn(r, c), remasking)).collect())
            })?;
            for (&(row, column), found) in places.iter().zip(candidates) {
                ensure!(
                    !found.confidence.is_nan(),
                    "the model's logits are not finite: check the weights and model.dtype"
                );
                let confidence = match remasking {
                    Remasking::Random => draws[row][column - block].1,
                    Remasking::LowConfidence | Remasking::Margin | Remasking::NegEntropy => found.confidence,
                };
                offers.push(Offer { row, column, token: found.token, confidence });
            }
        }
        Ok(offers)
    }

    /// Hidden states of the masked columns, `[N, D]`; with guidance those of the unconditional rows beside them.
    fn hidden(&self, batch: &Batch, masked: &[(usize, usize)], block: usize) -> Result<(Tensor, Option<Tensor>)> {
        let window = block..block + self.decoding.block_length;
        let places: Vec<u32> = masked.iter().map(|&(r, c)| (r * window.len() + c - block) as u32).collect();
        let places = Tensor::from_vec(places, masked.len(), self.model.device())?;
        if self.decoding.cfg_scale == 0.0 {
            return Ok((self.model.hidden(batch, window, self.pass)?.index_select(&places, 0)?, None));
        }
        let hidden = self.model.hidden(&self.with_unconditional(batch), window, self.pass)?; // [2 B W, D]
        let half = hidden.dim(0)? / 2;
        let pick = |from: usize| hidden.narrow(0, from, half)?.index_select(&places, 0);
        Ok((pick(0)?, Some(pick(half)?)))
    }

    /// The rows, followed by the same rows with the prompt masked.
    fn with_unconditional(&self, batch: &Batch) -> Batch {
        let (columns, canvas) = (batch.columns(), self.decoding.canvas);
        let mut both = batch.clone();
        for (row, &pad) in batch.ids.chunks(columns).zip(&batch.pad) {
            let start = both.ids.len();
            both.ids.extend_from_slice(row);
            both.ids[start + pad..start + columns - canvas].fill(self.model.config().mask_token_id);
            both.pad.push(pad);
        }
        both
    }

    /// Guided logits of some rows, f32 in main memory: `un + (w + 1)(cond - un)`.
    fn logits(&self, (cond, uncond): &(Tensor, Option<Tensor>), start: usize, n: usize) -> Result<Tensor> {
        let of = |x: &Tensor| self.model.head().logits(&x.narrow(0, start, n)?)?.to_dtype(DType::F32);
        let cond = of(cond)?;
        let logits = match uncond {
            None => cond,
            Some(uncond) => {
                let uncond = of(uncond)?;
                (&uncond + ((cond - &uncond)? * (self.decoding.cfg_scale + 1.0))?)?
            }
        };
        Ok(logits.to_device(&Device::Cpu)?.contiguous()?)
    }
}

/// Splits offers, which come row after row.
fn by_row(offers: Vec<Offer>) -> Vec<Vec<Offer>> {
    let mut rows: Vec<Vec<Offer>> = Vec::new();
    for offer in offers {
        match rows.last_mut() {
            Some(row) if row[0].row == offer.row => row.push(offer),
            _ => rows.push(vec![offer]),
        }
    }
    rows
}

#[cfg(test)]
mod tests;
