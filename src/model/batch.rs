//! What goes into a forward pass: token rows with left padding, the window of interest, and how to run.

use std::ops::Range;

use candle_core::{Result, Tensor};

use crate::rng::Key;

/// Token rows of equal length; shorter prompts are padded on the left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Token ids, row after row: `[B, T]`.
    pub ids: Vec<u32>,
    /// Padding columns at the left of every row; the length is `B`.
    pub pad: Vec<usize>,
}

impl Batch {
    /// Pads rows of any lengths on the left with `fill` to the longest of them.
    ///
    /// # Panics
    /// If there is no row.
    pub fn left_padded(rows: &[impl AsRef<[u32]>], fill: u32) -> Self {
        let longest = rows.iter().map(|r| r.as_ref().len()).max().expect("a batch has rows");
        Self::left_padded_to(longest, rows, fill)
    }

    /// Pads rows on the left with `fill` to `columns`.
    ///
    /// # Panics
    /// If a row is longer.
    pub fn left_padded_to(columns: usize, rows: &[impl AsRef<[u32]>], fill: u32) -> Self {
        let mut ids = Vec::with_capacity(rows.len() * columns);
        let mut pad = Vec::with_capacity(rows.len());
        for row in rows.iter().map(AsRef::as_ref) {
            pad.push(columns - row.len());
            ids.resize(ids.len() + columns - row.len(), fill);
            ids.extend_from_slice(row);
        }
        Self { ids, pad }
    }

    /// Number of rows, `B`.
    pub fn len(&self) -> usize {
        self.pad.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.pad.is_empty()
    }

    /// Columns, padding included: `T`.
    pub fn columns(&self) -> usize {
        self.ids.len() / self.pad.len().max(1)
    }
}

/// The columns of a batch that a tensor of `B * width` rows stands for, and how the pass treats them.
#[derive(Clone, Copy, Debug)]
pub struct Span<'a> {
    /// Adapters and dropout.
    pub pass: Pass<'a>,
    /// Padding columns at the left of every row.
    pub pad: &'a [usize],
    /// All columns, `T`.
    pub columns: usize,
    /// First column.
    pub start: usize,
    /// Number of columns.
    pub width: usize,
}

impl<'a> Span<'a> {
    /// All columns of a batch.
    pub fn full(batch: &'a Batch, pass: Pass<'a>) -> Self {
        Self { pass, pad: &batch.pad, columns: batch.columns(), start: 0, width: batch.columns() }
    }

    /// The columns of `window` only.
    pub fn window(self, window: &Range<usize>) -> Self {
        Self { start: window.start, width: window.len(), ..self }
    }

    fn is_full(&self) -> bool {
        self.width == self.columns
    }

    /// Picks the window's rows: `[B * T, D]` -> `[B * W, D]`.
    pub fn take(&self, x: &Tensor) -> Result<Tensor> {
        if self.is_full() {
            return Ok(x.clone());
        }
        let (b, d) = (self.pad.len(), x.dim(1)?);
        x.reshape((b, self.columns, d))?.narrow(1, self.start, self.width)?.contiguous()?.reshape((b * self.width, d))
    }

    /// The transpose of [`Span::take`]: zeros outside the window.
    pub fn put(&self, x: &Tensor) -> Result<Tensor> {
        if self.is_full() {
            return Ok(x.clone());
        }
        let (b, d) = (self.pad.len(), x.dim(1)?);
        let after = self.columns - self.start - self.width;
        x.reshape((b, self.width, d))?.pad_with_zeros(1, self.start, after)?.reshape((b * self.columns, d))
    }
}

/// How a forward pass is run.
#[derive(Clone, Copy, Debug)]
pub struct Pass<'a> {
    /// Whether the adapters take part; without them the model is the frozen base.
    pub adapters: bool,
    /// A key per batch row that turns the adapters' dropout on.
    pub dropout: Option<&'a [Key]>,
}

impl Pass<'_> {
    /// With adapters, without dropout: sampling and evaluation.
    pub const INFERENCE: Pass<'static> = Pass { adapters: true, dropout: None };
    /// The frozen base model.
    pub const BASE: Pass<'static> = Pass { adapters: false, dropout: None };
}
