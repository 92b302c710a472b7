//! Keys and values that outlive a forward pass, so that a later pass feeds some of the columns only.
//!
//! In a model that sees everything this is an approximation: what a fed column holds now would have changed the hidden
//! states, and with them the keys and values, of all the others. In a block-causal one it is exact for the columns before
//! the first block that changed.

use std::ops::Range;

use candle_core::{Result, Tensor, bail};

use super::batch::{Batch, Pass, Span};
use super::decoder::Decoder;
use super::ops::gpu;
use super::window::Window;

/// Rotated keys, and values, of one layer: `[B, C, K, E]` each, of the first `C` columns.
#[derive(Clone, Debug)]
pub struct KeyValues {
    /// The keys.
    pub k: Tensor,
    /// The values.
    pub v: Tensor,
}

/// Keys and values of every layer.
#[derive(Clone, Debug)]
pub struct Cache(Vec<KeyValues>);

impl KeyValues {
    /// These with `fed` from column `start` on: written in place where these columns are kept, else appended.
    ///
    /// # Shapes
    /// `fed` `[B, F, K, E]` each; returns `[B, max(C, start + F), K, E]` each.
    pub(super) fn joined(&self, fed: &Self, start: usize) -> Result<Self> {
        let join = |kept: &Tensor, fed: &Tensor| -> Result<Tensor> {
            let (kept_columns, fed_columns) = (kept.dim(1)?, fed.dim(1)?);
            if start + fed_columns <= kept_columns {
                kept.slice_set(fed, 1, start)?;
                Ok(kept.clone())
            } else if start == kept_columns {
                Tensor::cat(&[kept, fed], 1)?.contiguous()
            } else {
                bail!("columns {start}..{} do not follow the {kept_columns} kept ones", start + fed_columns)
            }
        };
        Ok(Self { k: join(&self.k, &fed.k)?, v: join(&self.v, &fed.v)? })
    }

    /// The first `columns` columns, in memory of their own unless these are all.
    fn first(&self, columns: usize) -> Result<Self> {
        let cut =
            |x: &Tensor| if x.dim(1)? == columns { Ok(x.clone()) } else { x.narrow(1, 0, columns)?.force_contiguous() };
        Ok(Self { k: cut(&self.k)?, v: cut(&self.v)? })
    }
}

impl Cache {
    /// The same with room for the keys and values of all of the first `columns` columns, which are to be written.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn widened(self, columns: usize) -> Result<Self> {
        let wide = |x: Tensor| match columns.saturating_sub(x.dim(1)?) {
            0 => Ok(x),
            more => x.pad_with_zeros(1, 0, more)?.contiguous(),
        };
        self.0
            .into_iter()
            .map(|KeyValues { k, v }| Ok(KeyValues { k: wide(k)?, v: wide(v)? }))
            .collect::<Result<_>>()
            .map(Self)
    }

    /// The batch rows `rows`, in that order; a row may be missing, or be there more than once.
    ///
    /// # Errors
    /// If there is no such row.
    pub fn select(&self, rows: &[usize]) -> Result<Self> {
        let Some(first) = self.0.first() else { return Ok(self.clone()) };
        let rows: Vec<u32> = rows.iter().map(|&r| r as u32).collect();
        let rows = gpu::upload(&rows, rows.len(), first.k.device())?;
        let select = |layer: &KeyValues| {
            Ok(KeyValues { k: layer.k.index_select(&rows, 0)?, v: layer.v.index_select(&rows, 0)? })
        };
        self.0.iter().map(select).collect::<Result<_>>().map(Self)
    }
}

impl Decoder {
    /// As [`Decoder::hidden`], with the keys and values of the first `columns` columns.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn hidden_keeping(
        &self,
        batch: &Batch,
        window: impl Into<Window>,
        pass: Pass<'_>,
        columns: usize,
    ) -> Result<(Tensor, Cache)> {
        let mut kept = Vec::with_capacity(self.layers.len());
        let hidden = self.run_fed(batch, 0..batch.columns(), &window.into(), pass, |_, all| {
            kept.push(all.first(columns)?);
            Ok(all)
        })?;
        Ok((hidden, Cache(kept)))
    }

    /// Hidden states of the places in `window` from a pass over those of `fed`, which see the `cache` in place of the
    /// other columns. Where the cache holds fed columns, it holds their new keys and values afterwards.
    ///
    /// # Shapes
    /// Returns `[N, D]`, `[B * W, D]` if `window` is all of some columns.
    ///
    /// # Errors
    /// If `window` is not in `fed`, or cache and `fed` together leave a gap.
    pub fn hidden_cached(
        &self,
        batch: &Batch,
        fed: Range<usize>,
        window: impl Into<Window>,
        pass: Pass<'_>,
        cache: &Cache,
    ) -> Result<Tensor> {
        let window = window.into();
        let columns = &window.columns;
        if columns.start < fed.start || columns.end > fed.end {
            bail!("the window {columns:?} is not in the columns {fed:?} that are fed");
        }
        let start = fed.start;
        self.run_fed(batch, fed, &window, pass, |layer, new| cache.0[layer].joined(&new, start))
    }

    /// The blocks on some columns; `join(layer, new)` makes the keys and values that they attend to of the new ones.
    fn run_fed(
        &self,
        batch: &Batch,
        fed: Range<usize>,
        window: &Window,
        pass: Pass<'_>,
        mut join: impl FnMut(usize, KeyValues) -> Result<KeyValues>,
    ) -> Result<Tensor> {
        let columns = batch.columns().max(1);
        let ids: Vec<u32> = batch.ids.chunks(columns).flat_map(|row| &row[fed.clone()]).copied().collect();
        let ids = gpu::upload(&ids, batch.len() * fed.len(), self.device())?;
        let full = Span::full(batch, pass).window(&fed);
        let made = self.made(&full, window)?;
        let full = full.with(&made);
        let mut x = self.embed(&ids)?; // [B*F, D]
        for (i, block) in self.layers.iter().enumerate() {
            x = block.forward_fed(&x, &self.shared(full, window, i), |new| join(i, new))?;
        }
        Ok(x)
    }
}

#[cfg(test)]
mod tests;
