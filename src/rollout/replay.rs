//! How far a fast way to decode drifts from the exact one: its completions, replayed step by step.
//!
//! A policy that is trained on its own completions can grow over-confident under approximate decoding: more is
//! committed at a step than its predictions support. So a completion's tokens are taken in the order in which they
//! were committed, at the pace of the schedule, and the exact forward pass is asked, with the same random numbers,
//! whether it would have chosen them too.

use std::iter::Sum;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::offer::Place;
use super::row::{Decoded, Prompt, Row};
use super::sampler::Sampler;

/// Tokens of completions that the exact decoding would have chosen as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agreement {
    /// Tokens chosen by both.
    pub agreed: usize,
    /// Tokens of the completions, each up to and including its first EOS.
    pub tokens: usize,
}

impl Agreement {
    /// The part of the tokens that agree, 0 to 1.
    pub fn fraction(self) -> f64 {
        if self.tokens == 0 { 1.0 } else { self.agreed as f64 / self.tokens as f64 }
    }
}

impl Sum for Agreement {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        let plus = |a: Self, b: Self| Self { agreed: a.agreed + b.agreed, tokens: a.tokens + b.tokens };
        parts.fold(Self::default(), plus)
    }
}

impl Sampler<'_> {
    /// Compares completions that this sampler made of `prompts` with its reference decoding.
    ///
    /// # Errors
    /// As [`Sampler::complete`].
    pub fn agreement(&self, prompts: &[Prompt], decoded: &[Decoded], batch_size: usize) -> Result<Agreement> {
        let reference = Sampler { decoding: &self.decoding.reference(), ..*self };
        let part = |batch: Vec<usize>| {
            let of_batch = batch.into_iter().map(|i| (&prompts[i], &decoded[i]));
            let (prompts, decoded): (Vec<&Prompt>, Vec<&Decoded>) = of_batch.unzip();
            reference.replay(&prompts, &decoded)
        };
        self.batches(prompts, batch_size).into_iter().map(part).sum()
    }

    fn replay(&self, prompts: &[&Prompt], decoded: &[&Decoded]) -> Result<Agreement> {
        let Some(grid) = prompts.first().map(|prompt| self.grid(prompt)) else { return Ok(Agreement::default()) };
        let ends: Vec<usize> = decoded.iter().map(|d| self.model.ids().length(&d.canvas)).collect();
        let mut rows = self.rows(prompts)?;
        let mut agreed = 0;
        for block in 0..grid.blocks() {
            let span = grid.span(block);
            // what comes after the end of a completion is of no interest
            let mut rows: Vec<&mut Row<'_>> = rows.iter_mut().filter(|row| ends[row.index] > span.start).collect();
            if rows.is_empty() {
                break;
            }
            let mut encoder = self.encoder(&rows, (grid, block), None);
            let mut next = span.start; // blocks are traced one after another
            for step in 0..self.decoding.steps_per_block {
                self.stop.check()?;
                let last = next + self.decoding.planned(span.len(), span.end - next, step);
                let choices = |(i, row): (usize, &&mut Row<'_>)| {
                    let place =
                        move |c: &super::Choice| Place { row: i, position: c.position, uniform: c.uniform, order: 0.0 };
                    decoded[row.index].trace[next..last].iter().map(place).collect::<Vec<_>>()
                };
                let places: Vec<Place> = rows.iter().enumerate().flat_map(choices).collect();
                if places.is_empty() {
                    continue;
                }
                let hidden = encoder.hidden(&rows, &places, step)?;
                for offer in self.offers(&hidden, &places)? {
                    let row = &mut rows[offer.row];
                    let (at, token) = (row.index, decoded[row.index].canvas[offer.position]);
                    agreed += usize::from(offer.position < ends[at] && offer.token == token);
                    row.canvas[offer.position] = token;
                }
                next = last;
            }
        }
        Ok(Agreement { agreed, tokens: ends.iter().sum() })
    }
}
