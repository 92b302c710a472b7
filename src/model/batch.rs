//! What goes into a forward pass: token rows with left padding, the window of interest, and how to run.

use std::ops::Range;

use candle_core::{Device, Result, Tensor};

use super::ops::attention::Keys;
use super::ops::gpu::{self, dropout::Rows};
use super::ops::padding::Padding;
use super::ops::rope::MOST_POSITIONS;
use super::sight::Columns;
use super::uploaded::{Made, Sights, Uploaded};
use super::window::{Place, Window};
use crate::rng::Key;

/// Token rows of equal length; shorter prompts are padded on the left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Token ids, row after row: `[B, T]`.
    pub ids: Vec<u32>,
    /// Padding columns at the left of every row; the length is `B`.
    pub pad: Vec<usize>,
    /// Tokens that the first block of every row lacks; nothing where no row lacks any.
    pub lead: Vec<usize>,
    /// Whether rows are pairs, `[x_t ; x_0]`, of two halves that are padded alike.
    pub paired: bool,
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
        Self { ids, pad, ..Self::default() }
    }

    /// Pairs of rows that were padded alike: `[x_t ; x_0]`.
    pub fn of_pairs(noisy: Self, clean: &Self) -> Self {
        let columns = noisy.columns().max(1);
        let halves = noisy.ids.chunks(columns).zip(clean.ids.chunks(columns));
        Self { ids: halves.flat_map(|(noisy, clean)| [noisy, clean].concat()).collect(), paired: true, ..noisy }
    }

    /// This batch, of rows whose first blocks lack so many tokens.
    pub fn with_lead(self, lead: Vec<usize>) -> Self {
        Self { lead, ..self }
    }

    /// Where its columns stand.
    pub fn at(&self) -> Columns<'_> {
        Columns { pad: &self.pad, lead: &self.lead, half: self.paired.then(|| self.columns() / 2) }
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

/// The part of a batch that the `N` rows of a tensor stand for, and how the pass treats them.
#[derive(Clone, Copy, Debug)]
pub struct Span<'a> {
    /// Adapters and dropout.
    pub pass: Pass<'a>,
    /// Where the columns of the batch stand.
    pub at: Columns<'a>,
    /// First column.
    pub start: usize,
    /// Number of columns.
    pub width: usize,
    /// Places in these columns; none for all of them, row after row.
    pub places: Option<&'a [Place]>,
    /// The same for an accelerator's kernels; none on the host.
    pub uploaded: Option<&'a Uploaded>,
    /// What the queries of the pass see; none for everything.
    pub sights: Option<&'a Sights>,
}

impl<'a> Span<'a> {
    /// All columns of a batch.
    pub fn full(batch: &'a Batch, pass: Pass<'a>) -> Self {
        Self { pass, at: batch.at(), start: 0, width: batch.columns(), places: None, uploaded: None, sights: None }
    }

    /// The columns of `window` only.
    pub fn window(self, window: &Range<usize>) -> Self {
        Self { start: window.start, width: window.len(), ..self }
    }

    /// The places of `window` only.
    pub fn pick(self, window: &'a Window) -> Self {
        Self { places: window.places.as_deref(), ..self.window(&window.columns) }
    }

    /// This span with what was made for its pass.
    pub fn with(self, made: &'a Made) -> Self {
        Self { uploaded: made.uploaded.as_ref(), sights: made.sights.as_ref(), ..self }
    }

    /// Rows, `B`.
    pub fn rows(&self) -> usize {
        self.at.pad.len()
    }

    /// The padding of the rows.
    pub fn padding(&self) -> Padding<'a> {
        Padding { columns: self.at.pad, uploaded: self.uploaded.map(|uploaded| &uploaded.pad) }
    }

    /// The keys of queries in these columns.
    pub fn keys(&self) -> Keys<'a> {
        Keys { pad: self.padding(), seen: self.sights.map(|sights| sights.seen(self.start, self.width)) }
    }

    /// Which number of its row's stream of dropout a column has; none for padding. Padding moves none, and the halves of a
    /// pair share none.
    pub fn drawn_at(&self, row: usize, column: usize) -> Option<usize> {
        let (column, skipped) = match self.at.half {
            Some(half) if column >= half => (column - half, MOST_POSITIONS),
            _ => (column, 0),
        };
        column.checked_sub(self.at.pad[row]).map(|place| place + skipped)
    }

    /// Where the dropout of the tensor's rows is drawn, if an accelerator draws it.
    pub fn keyed_rows(&self) -> Option<&'a Rows> {
        self.uploaded?.rows(self)
    }

    /// Picks this span's rows out of those of `all`, whole columns that it lies in: `[B * all.width, D]` -> `[N, D]`.
    pub fn take(&self, x: &Tensor, all: &Span<'_>) -> Result<Tensor> {
        if let Some(places) = self.places {
            gpu::noted(1);
            return x.index_select(&self.index(places, all, x.device())?, 0);
        }
        if self.width == all.width {
            return Ok(x.clone());
        }
        let (b, d) = (self.rows(), x.dim(1)?);
        let columns = x.reshape((b, all.width, d))?.narrow(1, self.start - all.start, self.width)?;
        gpu::noted(1);
        columns.contiguous()?.reshape((b * self.width, d))
    }

    /// The transpose of [`Span::take`]: zeros elsewhere.
    pub fn put(&self, x: &Tensor, all: &Span<'_>) -> Result<Tensor> {
        let (b, d) = (self.rows(), x.dim(1)?);
        if let Some(places) = self.places {
            gpu::noted(3); // zeros, their copy, and what is added
            let zeros = Tensor::zeros((b * all.width, d), x.dtype(), x.device())?;
            return zeros.index_add(&self.index(places, all, x.device())?, x, 0);
        }
        if self.width == all.width {
            return Ok(x.clone());
        }
        let before = self.start - all.start;
        let after = all.width - before - self.width;
        gpu::noted(3);
        x.reshape((b, self.width, d))?.pad_with_zeros(1, before, after)?.reshape((b * all.width, d))
    }

    /// The rows of the places among those of the columns of `all`.
    fn index(&self, places: &[Place], all: &Span<'_>, device: &Device) -> Result<Tensor> {
        match self.uploaded.and_then(|uploaded| uploaded.index(all.start, all.width)) {
            Some(index) => Ok(index.clone()),
            None => index(places, all.start, all.width, device),
        }
    }

    /// What the tensor's rows stand for, in order: rows of the batch with neighbouring columns of one half.
    pub fn runs(&self) -> Vec<(usize, Range<usize>)> {
        let Some(places) = self.places else {
            let (start, end) = (self.start, self.start + self.width);
            let cut = self.at.half.filter(|cut| (start + 1..end).contains(cut));
            let (first, second) = cut.map_or((start..end, None), |cut| (start..cut, Some(cut..end)));
            let halves = || [first.clone()].into_iter().chain(second.clone());
            return (0..self.rows()).flat_map(|row| halves().map(move |half| (row, half))).collect();
        };
        let mut runs: Vec<(usize, Range<usize>)> = Vec::new();
        for &(row, column) in places {
            match runs.last_mut() {
                Some((last, columns)) if *last == row && columns.end == column && self.at.half != Some(column) => {
                    columns.end += 1;
                }
                _ => runs.push((row, column..column + 1)),
            }
        }
        runs
    }
}

/// The rows of `places` among those of `width` columns from `start` on.
pub fn index(places: &[Place], start: usize, width: usize, device: &Device) -> Result<Tensor> {
    let index: Vec<u32> = places.iter().map(|(row, column)| (row * width + column - start) as u32).collect();
    gpu::upload(&index, places.len(), device)
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

#[cfg(test)]
mod tests {
    use super::super::ops::testing::random;
    use super::*;

    fn sum_of_products(a: &Tensor, b: &Tensor) -> Result<f32> {
        (a * b)?.sum_all()?.to_scalar()
    }

    #[test]
    fn taking_and_putting_are_transposes() -> Result<()> {
        let batch = Batch { ids: vec![0; 3 * 7], pad: vec![0, 2, 1], ..Batch::default() };
        let all = Span::full(&batch, Pass::BASE).window(&(1..7));
        let x = random(1, (3 * 6, 2))?;
        for window in [Window::from(1..7), Window::from(2..5), Window::of(vec![(2, 6), (0, 3), (0, 4), (2, 2)])] {
            let span = all.pick(&window);
            let taken = span.take(&x, &all)?;
            let y = random(2, taken.shape())?;
            let (one, other) = (sum_of_products(&taken, &y)?, sum_of_products(&x, &span.put(&y, &all)?)?);
            assert!((one - other).abs() < 1e-5, "{window:?}: {one} is not {other}");
            let columns = span.runs().into_iter().flat_map(|(row, columns)| columns.map(move |c| row * 6 + c - 1));
            for (i, row) in columns.enumerate() {
                assert_eq!(taken.get(i)?.to_vec1::<f32>()?, x.get(row)?.to_vec1::<f32>()?, "{window:?}");
            }
        }
        Ok(())
    }
}
