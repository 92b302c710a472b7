//! A completion in the making, and the completion it becomes.

use std::ops::Range;

use super::offer::{Offer, Place};
use crate::rng::Key;
use crate::text::SpecialIds;

/// A prompt to complete, and the randomness of its completion.
#[derive(Clone, Debug)]
pub struct Prompt {
    /// Token ids.
    pub ids: Vec<u32>,
    /// Where this completion's random numbers come from.
    pub key: Key,
}

/// A completed canvas.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// The completion, `L` tokens.
    pub canvas: Vec<u32>,
    /// Denoising steps it took: how often the model was run on it (with guidance, on it and its unconditional twin).
    pub steps: usize,
    /// The tokens that were decoded, in the order in which they were committed: all but those behind an early stop.
    pub trace: Vec<Choice>,
}

/// A token of a completion was committed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// Where, in the canvas.
    pub position: usize,
    /// The random number that chose the token.
    pub uniform: f64,
    /// The denoising step of the completion at which it was committed, from 0.
    pub step: usize,
    /// What the token was ranked by: see [`Remasking`](crate::config::Remasking). It is rounded in other places when other
    /// rows are encoded beside.
    pub confidence: f64,
}

/// A completion in the making.
pub struct Row<'a> {
    /// Number of the row in its batch.
    pub index: usize,
    /// What it completes.
    pub prompt: &'a Prompt,
    /// The completion so far.
    pub canvas: Vec<u32>,
    steps: usize,
    trace: Vec<Choice>,
    stopped: bool,
}

impl<'a> Row<'a> {
    /// A canvas of `length` masks.
    pub fn new(index: usize, prompt: &'a Prompt, length: usize, mask: u32) -> Self {
        let (canvas, trace) = (vec![mask; length], Vec::with_capacity(length));
        Self { index, prompt, canvas, steps: 0, trace, stopped: false }
    }

    /// Whether the row needs no more decoding.
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// The masked places of a block; `row` is their row's number among those that are decoded.
    ///
    /// Two numbers are drawn for every place of the block, masked or not: what was committed before changes no draw.
    pub fn places(&self, row: usize, block: Range<usize>, mask: u32, stream: u64) -> Vec<Place> {
        let mut rng = self.prompt.key.stream(stream);
        let draw = |position| Place { row, position, uniform: rng.uniform_f64(), order: rng.uniform_f64() };
        block.map(draw).filter(|place| self.canvas[place.position] == mask).collect()
    }

    /// Takes an offer.
    pub fn commit(&mut self, offer: &Offer) {
        self.canvas[offer.position] = offer.token;
        let Offer { position, uniform, confidence, .. } = *offer;
        self.trace.push(Choice { position, uniform, step: self.steps, confidence });
    }

    /// Counts a run of the model.
    pub fn count_step(&mut self) {
        self.steps += 1;
    }

    /// Ends the row if the first `decoded` tokens, which are final, hold an end; the rest is filled up.
    pub fn stop_at_end(&mut self, decoded: usize, ids: &SpecialIds) {
        if !self.stopped && ids.ended(&self.canvas[..decoded]) {
            self.canvas[decoded..].fill(ids.fill());
            self.stopped = true;
        }
    }

    /// The completion.
    pub fn into_decoded(self) -> Decoded {
        Decoded { canvas: self.canvas, steps: self.steps, trace: self.trace }
    }
}
