//! The block loop: every step encodes the canvas and commits the best candidates of the current block.
//!
//! Only the block's masked places reach the head, and the last layer computes no others, keys and values apart; both
//! leave the result as it is. Each completion draws from its own stream, one per step, at places fixed by the
//! position in the block, so that neither the batch nor its order changes a token.

use anyhow::{Result, ensure};

use super::decoding::Decoding;
use super::encoder::{Encoder, Finished};
use super::grid::Grid;
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
        let batches = self.batches(prompts, batch_size);
        let steps_of = |batch: &Vec<usize>| self.grid(&prompts[batch[0]]).blocks() * self.decoding.most_steps();
        let steps = batches.iter().map(steps_of).sum();
        let mut headway = Headway { completed: 0, prompts: prompts.len(), step: 0, steps };
        let mut completions: Vec<Option<Decoded>> = vec![None; prompts.len()];
        for batch in batches {
            let (first, of_batch) = (headway.step, steps_of(&batch));
            let together: Vec<&Prompt> = batch.iter().map(|&i| &prompts[i]).collect();
            let decoded = self.complete_batch(&together, &mut |step, _| {
                seen(Headway { step: first + step, ..headway });
            })?;
            headway.completed += batch.len();
            batch.into_iter().zip(decoded).for_each(|(i, decoded)| completions[i] = Some(decoded));
            headway.step = first + of_batch;
            seen(headway);
        }
        Ok(completions.into_iter().flatten().collect())
    }

    /// The prompts that are worked on together, by their numbers: in order, but that blocks begin at the same columns for
    /// all rows of a batch.
    pub(super) fn batches(&self, prompts: &[Prompt], batch_size: usize) -> Vec<Vec<usize>> {
        let mut order: Vec<usize> = (0..prompts.len()).collect();
        let begun = |&i: &usize| self.grid(&prompts[i]).begun;
        order.sort_by_key(begun); // stable, and without effect where blocks begin with the canvas
        let alike = order.chunk_by(|a, b| begun(a) == begun(b));
        alike.flat_map(|alike| alike.chunks(batch_size.max(1))).map(<[usize]>::to_vec).collect()
    }

    /// The blocks of a prompt's canvas.
    pub(super) fn grid(&self, prompt: &Prompt) -> Grid {
        self.decoding.grid(prompt.ids.len(), self.model.shape().sight)
    }

    /// Completes one prompt; `seen` is shown the canvas after every denoising step.
    ///
    /// # Errors
    /// As [`Sampler::complete`].
    pub fn complete_watched(&self, prompt: &Prompt, mut seen: impl FnMut(&[u32])) -> Result<Vec<Decoded>> {
        self.complete_batch(&[prompt], &mut |_, rows| {
            rows.iter().for_each(|row| seen(&row.canvas));
        })
    }

    /// `seen` is shown the number of every denoising step, and the rows that it changed.
    fn complete_batch(&self, prompts: &[&Prompt], seen: &mut Seen<'_>) -> Result<Vec<Decoded>> {
        let mut rows = self.rows(prompts)?;
        let Some(grid) = prompts.first().map(|prompt| self.grid(prompt)) else { return Ok(Vec::new()) };
        let mut finished = None;
        for block in 0..grid.blocks() {
            let live: Vec<&mut Row<'_>> = rows.iter_mut().filter(|row| !row.is_stopped()).collect();
            if live.is_empty() {
                break;
            }
            finished = self.fill_block(live, grid, block, finished, seen)?;
            if self.decoding.early_stop {
                let decoded = grid.span(block).end;
                rows.iter_mut().for_each(|row| row.stop_at_end(decoded, self.model.ids()));
            }
        }
        Ok(rows.into_iter().map(Row::into_decoded).collect())
    }

    /// Empty canvases for the prompts.
    pub(super) fn rows<'p>(&self, prompts: &[&'p Prompt]) -> Result<Vec<Row<'p>>> {
        self.decoding.check(self.model.shape().sight)?;
        let (positions, canvas) = (self.model.shape().positions, self.decoding.canvas);
        let longest = prompts.iter().map(|p| p.ids.len()).max().unwrap_or(0);
        ensure!(
            longest + canvas <= positions,
            "a prompt of {longest} tokens and a canvas of {canvas} (max_completion_length) exceed the model's {} {positions}: \
             shorten one",
            self.model.positions_key()
        );
        let row = |(index, prompt)| Row::new(index, prompt, canvas, self.model.ids().mask);
        Ok(prompts.iter().copied().enumerate().map(row).collect())
    }

    /// The passes of a block of `rows`, behind the blocks that are `finished`.
    pub(super) fn encoder(
        &self,
        rows: &[&mut Row<'_>],
        (grid, block): (Grid, usize),
        finished: Option<Finished>,
    ) -> Encoder<'_> {
        let longest = rows.iter().map(|row| row.prompt.ids.len()).max().unwrap_or(0);
        Encoder::new(*self, longest, (grid, block), finished)
    }

    /// Decodes a block of the rows; one whose block is full leaves, so that the others are encoded without it. `seen` as
    /// for all blocks. Returns what the next block can use.
    fn fill_block(
        &self,
        mut rows: Vec<&mut Row<'_>>,
        grid: Grid,
        block: usize,
        finished: Option<Finished>,
        seen: &mut Seen<'_>,
    ) -> Result<Option<Finished>> {
        let (span, mask) = (grid.span(block), self.model.ids().mask);
        let mut encoder = self.encoder(&rows, (grid, block), finished);
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
                offers[..self.decoding.commit_count(&offers, span.len(), step)]
                    .iter()
                    .for_each(|offer| row.commit(offer));
                row.count_step();
            }
            seen(block * self.decoding.most_steps() + step + 1, &rows);
        }
        Ok(encoder.into_finished())
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
mod block_tests;
#[cfg(test)]
mod fast_tests;
#[cfg(test)]
mod tests;
