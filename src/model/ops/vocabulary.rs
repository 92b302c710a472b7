//! Log-probabilities over a large vocabulary, a slice of words at a time: `[N, V]` logits never exist, on the CPU not
//! even for a few rows.
//!
//! A slice of logits stays in the caches: it is made, exponentiated and multiplied with the same words' weights, while
//! a row's maximum, its sum of exponentials, the sum that its entropy needs and the weighted sum of words are carried along
//! and rescaled when the maximum grows (the online softmax of arXiv 1805.02867).

use candle_core::{Device, Result, Tensor};
use rayon::prelude::*;

use super::cpu;
use super::products::{PANEL, Panels, Product, Quantised, Right, add_product, least_rows, sum_of_products};
use crate::profile::{self, Part};

/// Rows that go over the vocabulary together: slices of the weight are read once for all of them.
pub const ROWS: usize = 256;
/// Numbers of the weight in a slice: 8 MiB in f32.
const SLICE: usize = 1 << 21;
/// Most words of a slice.
const WORDS: usize = 4096;
/// Slices hold whole parts of so many words, the grain of sums over a row.
pub const PART: usize = 1024;
const _: () = assert!(PART.is_multiple_of(PANEL));

/// A head's weight, `[V, D]`, that can be read a few words at a time.
pub trait Words {
    /// Words and width: `(V, D)`.
    fn dims2(&self) -> Result<(usize, usize)>;

    /// Words `start..start + len`: `[len, D]`. Slices begin and end with parts (or the vocabulary).
    fn slice(&self, start: usize, len: usize) -> Result<Slice>;

    /// The whole as the right-hand side of a product.
    fn right(&self) -> Right<'_>;
}

/// Some words of a head's weight, contiguous: `[words, D]`.
#[derive(Debug)]
pub enum Slice {
    /// Numbers.
    Dense(Tensor),
    /// Numbers in panels.
    Panels(Panels),
    /// Blocks.
    Quantised(Quantised),
}

impl Slice {
    /// The same on a device, where it can be elsewhere: panels, and blocks that are not unpacked, are of the CPU only.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn moved_to(self, device: &Device) -> Result<Self> {
        match self {
            Self::Dense(tensor) => tensor.to_device(device).map(Self::Dense),
            Self::Panels(_) | Self::Quantised(_) => Ok(self),
        }
    }
}

impl<'a> From<&'a Slice> for Right<'a> {
    fn from(slice: &'a Slice) -> Self {
        match slice {
            Slice::Dense(tensor) => Self::Dense(tensor),
            Slice::Panels(panels) => Self::Panels(panels),
            Slice::Quantised(weight) => Self::Quantised(weight),
        }
    }
}

/// Log-probabilities of tokens, and what they are most sensitive to.
#[derive(Debug)]
pub struct LogProbs {
    /// `log softmax(h W^T)[target]`, a number a row.
    pub log_probs: Vec<f32>,
    /// `-sum_v p_v log p_v` in nats, a number a row.
    pub entropies: Vec<f32>,
    /// `sum_v p_v W_v`, the mean of the words' weights under the row's distribution: f32 `[N, D]`.
    pub mean_words: Tensor,
}

/// Words of a slice, whatever the number of rows, so that a row's numbers do not depend on it. All slices but the last
/// are of this size, and the last is not much smaller.
pub fn slice_words((words, width): (usize, usize)) -> usize {
    let most = (SLICE / width.max(1)).clamp(PART, WORDS);
    words.div_ceil(words.div_ceil(most).max(1)).next_multiple_of(PART).min(words)
}

/// Calls `f(first word, words, logits)` for every slice of the vocabulary in turn: the slice of the weight, and logits
/// `[N, words]` for each of `hs`.
///
/// # Shapes
/// Each of `hs` `[N, D]`, normed hidden states.
pub fn for_slices(
    hs: &[Tensor],
    w: &impl Words,
    mut f: impl FnMut(usize, &Slice, Vec<Tensor>) -> Result<()>,
) -> Result<()> {
    let (words, _) = w.dims2()?;
    let step = slice_words(w.dims2()?);
    for start in (0..words).step_by(step) {
        let (slice, logits) = profile::measure(Part::Head, hs[0].device(), || -> Result<_> {
            let slice = w.slice(start, step.min(words - start))?;
            let logits = |h| sum_of_products(None, &[Product::forward(h, &slice).like(w.right())]);
            let logits: Vec<Tensor> = hs.iter().map(logits).collect::<Result<_>>()?;
            Ok((slice, logits))
        })?;
        f(start, &slice, logits)?;
    }
    Ok(())
}

/// A row on its way over the vocabulary.
#[derive(Clone)]
struct Row {
    /// The largest logit so far.
    top: f32,
    /// `sum exp(logit - top)`.
    total: f64,
    /// `sum exp(logit - top) (logit - top)`.
    below: f64,
    target: usize,
    target_logit: f32,
}

/// Log-probabilities of `targets` under f32 rows in main memory.
///
/// # Shapes
/// `h` `[N, D]`, the normed hidden states; `targets` of length `N`.
pub fn log_probs(h: &Tensor, w: &impl Words, targets: &[u32]) -> Result<LogProbs> {
    let (n, width) = h.dims2()?;
    let mut rows: Vec<Row> = targets.iter().map(|&id| Row::new(id as usize)).collect();
    // rows of zeros, where so few go through another kernel: their numbers are cut off in the end
    let more = least_rows(width).saturating_sub(n);
    let h = if more > 0 { h.pad_with_zeros(0, 0, more)?.contiguous()? } else { h.clone() };
    rows.resize(n + more, Row::new(0));
    let mut sums = vec![0f32; rows.len() * width];
    for_slices(&[h], w, |start, slice, logits| {
        let logits = &logits[0];
        let words = logits.dim(1)?;
        cpu::modify(logits, |logits| {
            let each = logits.par_chunks_exact_mut(words).zip(sums.par_chunks_exact_mut(width));
            each.zip(&mut rows).for_each(|((logits, sums), row)| row.pass(start, logits, sums));
        })?;
        add_product(&mut sums, Product::backward(logits, slice).like(w.right()))
    })?;
    sums.truncate(n * width);
    sums.par_chunks_exact_mut(width).zip(&rows).for_each(|(sums, row)| {
        let inverse = (1.0 / row.total) as f32;
        sums.iter_mut().for_each(|sum| *sum *= inverse);
    });
    let log_prob = |row: &Row| ((row.target_logit - row.top) as f64 - row.total.ln()) as f32;
    Ok(LogProbs {
        log_probs: rows[..n].iter().map(log_prob).collect(),
        entropies: rows[..n].iter().map(Row::entropy).collect(),
        mean_words: cpu::tensor(sums, (n, width))?,
    })
}

impl Row {
    fn new(target: usize) -> Self {
        Self { top: f32::NEG_INFINITY, total: 0.0, below: 0.0, target, target_logit: f32::NAN }
    }

    /// Takes in the logits of the words from `start` on and leaves their exponentials; `sums` shrinks with the others.
    fn pass(&mut self, start: usize, logits: &mut [f32], sums: &mut [f32]) {
        if let Some(&logit) = self.target.checked_sub(start).and_then(|at| logits.get(at)) {
            self.target_logit = logit;
        }
        let top = largest(logits);
        if top > self.top {
            let shrink = cpu::exp(self.top - top);
            // what was seen lies further below the new maximum; of nothing, infinitely far
            if self.total > 0.0 {
                self.below = shrink as f64 * (self.below + (self.top - top) as f64 * self.total);
            }
            self.total *= shrink as f64;
            sums.iter_mut().for_each(|sum| *sum *= shrink);
            self.top = top;
        }
        let (total, below) = exponentiate(logits, self.top);
        self.total += total as f64;
        self.below += below as f64;
    }

    /// `log Z - mean logit`, both from the maximum.
    fn entropy(&self) -> f32 {
        (self.total.ln() - self.below / self.total).max(0.0) as f32
    }
}

cpu::wide! {
    fn largest(x: &[f32]) -> f32 {
        cpu::max_of(x)
    }
}

cpu::wide! {
    /// `x = exp(x - top)`, and the sums of that and of that times `x - top`.
    fn exponentiate(x: &mut [f32], top: f32) -> (f32, f32) {
        let below = cpu::sum_over(x, |x| {
            let from_top = *x - top;
            *x = cpu::exp(from_top);
            *x * from_top
        });
        (cpu::sum_of(x, |x| x), below)
    }
}
