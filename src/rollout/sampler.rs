//! The block loop: every step encodes the canvas and commits the best candidates of the current block.
//!
//! Only the block's masked places reach the head, and the last layer computes no others, keys and values apart; both
//! leave the result as it is. Each completion draws from its own stream, one per step, at places fixed by the
//! position in the block, so that neither the batch nor its order changes a token.

use anyhow::{Result, ensure};

use super::decoding::Decoding;
use super::encoder::Encoder;
use super::offer::{Offer, Place};
use super::row::{Decoded, Prompt, Row};
use crate::model::{Decoder, Pass};
use crate::signal::Stop;

/// How far [`Sampler::complete`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headway {
    /// Completions of finished batches.
    pub completed: usize,
    /// Completions asked for.
    pub prompts: usize,
    /// Denoising steps done; a finished batch counts as if it had taken all it could.
    pub step: usize,
    /// The most steps that all batches can take.
    pub steps: usize,
}

impl Headway {
    /// As part of a longer work: after `before` of `prompts` completions, in batches of `batch_size`.
    #[must_use]
    pub fn after(self, before: usize, prompts: usize, batch_size: usize) -> Self {
        Self {
            completed: before + self.completed,
            prompts,
            step: before / batch_size * self.steps + self.step,
            steps: prompts.div_ceil(batch_size) * self.steps,
        }
    }
}

/// Is shown the number of a denoising step of a batch, from 1, and the rows that it changed.
type Seen<'a> = dyn FnMut(usize, &[&mut Row<'_>]) + 'a;

/// Decodes completions with a model.
#[derive(Clone, Copy, Debug)]
pub struct Sampler<'a> {
    /// The model.
    pub model: &'a Decoder,
    /// The schedule.
    pub decoding: &'a Decoding,
    /// With or without adapters.
    pub pass: Pass<'a>,
    /// Looked at before every denoising step.
    pub stop: &'a Stop,
}

impl Sampler<'_> {
    /// Completes the prompts `batch_size` at a time; `seen` hears how far it is after every
    /// denoising step.
    ///
    /// Returns the canvas of every prompt. A completion does not depend on `batch_size`.
    ///
    /// # Errors
    /// A prompt that leaves no room for the canvas, [`LogitsNotFinite`](super::LogitsNotFinite), and
    /// [`Interrupted`](crate::signal::Interrupted) once someone asks to stop.
    pub fn complete(
        &self,
        prompts: &[Prompt],
        batch_size: usize,
        mut seen: impl FnMut(Headway),
    ) -> Result<Vec<Decoded>> {
        let batches = prompts.chunks(batch_size.max(1));
        let (of_batch, prompts) = (self.decoding.blocks() * self.decoding.most_steps(), prompts.len());
        let mut headway = Headway { completed: 0, prompts, step: 0, steps: batches.len() * of_batch };
        let mut completions = Vec::with_capacity(prompts);
        for batch in batches {
            let first = headway.step;
            completions.extend(self.complete_batch(batch, &mut |step, _| {
                seen(Headway { step: first + step, ..headway });
            })?);
            headway.completed = completions.len();
            headway.step = first + of_batch;
            seen(headway);
        }
        Ok(completions)
    }

    /// Completes one prompt; `seen` is shown the canvas after every denoising step.
    ///
    /// # Errors
    /// As [`Sampler::complete`].
    pub fn complete_watched(&self, prompt: &Prompt, mut seen: impl FnMut(&[u32])) -> Result<Vec<Decoded>> {
        self.complete_batch(std::slice::from_ref(prompt), &mut |_, rows| {
            rows.iter().for_each(|row| seen(&row.canvas));
        })
    }

    /// `seen` is shown the number of every denoising step, and the rows that it changed.
    fn complete_batch(&self, prompts: &[Prompt], seen: &mut Seen<'_>) -> Result<Vec<Decoded>> {
        let mut rows = self.rows(prompts)?;
        for block in 0..self.decoding.blocks() {
            let live: Vec<&mut Row<'_>> = rows.iter_mut().filter(|row| !row.is_stopped()).collect();
            if live.is_empty() {
                break;
            }
            self.fill_block(live, block, seen)?;
            if self.decoding.early_stop {
                let decoded = (block + 1) * self.decoding.block_length;
                rows.iter_mut().for_each(|row| row.stop_at_end(decoded, self.model.ids()));
            }
        }
        Ok(rows.into_iter().map(Row::into_decoded).collect())
    }

    /// Empty canvases for the prompts.
    pub(super) fn rows<'p>(&self, prompts: &'p [Prompt]) -> Result<Vec<Row<'p>>> {
        let (positions, canvas) = (self.model.shape().positions, self.decoding.canvas);
        let longest = prompts.iter().map(|p| p.ids.len()).max().unwrap_or(0);
        ensure!(
            longest + canvas <= positions,
            "a prompt of {longest} tokens and a canvas of {canvas} exceed the model's {} {positions}",
            self.model.positions_key()
        );
        let row = |(index, prompt)| Row::new(index, prompt, canvas, self.model.ids().mask);
        Ok(prompts.iter().enumerate().map(row).collect())
    }

    /// The passes of a block of `rows`.
    pub(super) fn encoder(&self, rows: &[&mut Row<'_>], block: usize) -> Encoder<'_> {
        let length = self.decoding.block_length;
        let longest = rows.iter().map(|row| row.prompt.ids.len()).max().unwrap_or(0);
        Encoder::new(*self, longest + self.decoding.canvas, block * length..(block + 1) * length)
    }

    /// Decodes a block of the rows; one whose block is full leaves, so that the others are encoded without it. `seen` as
    /// for all blocks.
    fn fill_block(&self, mut rows: Vec<&mut Row<'_>>, block: usize, seen: &mut Seen<'_>) -> Result<()> {
        let (length, mask) = (self.decoding.block_length, self.model.ids().mask);
        let span = block * length..(block + 1) * length;
        let mut encoder = self.encoder(&rows, block);
        for step in 0..self.decoding.most_steps() {
            self.stop.check()?;
            rows.retain(|row| row.canvas[span.clone()].contains(&mask));
            if rows.is_empty() {
                break;
            }
            let stream = self.decoding.stream(block, step);
            let places: Vec<Place> =
                rows.iter().enumerate().flat_map(|(i, row)| row.places(i, span.clone(), mask, stream)).collect();
            let hidden = encoder.hidden(&rows, &places, step)?;
            for mut offers in by_row(self.offers(&hidden, &places)?) {
                offers.sort_by(|a, b| b.confidence.total_cmp(&a.confidence).then(a.position.cmp(&b.position)));
                let row = &mut rows[offers[0].row];
                offers[..self.decoding.commit_count(&offers, step)].iter().for_each(|offer| row.commit(offer));
                row.count_step();
            }
            seen(block * self.decoding.most_steps() + step + 1, &rows);
        }
        Ok(())
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
mod fast_tests;
#[cfg(test)]
mod tests;
