//! The forward passes of one block: over the whole canvas, or over a part of it against kept keys and values.
//!
//! Equal canvases are run once, which changes no bit: the completions of a prompt begin as one, and where a model is
//! sure of itself they part late.

use std::collections::HashMap;
use std::ops::Range;

use anyhow::Result;
use candle_core::Tensor;

use super::offer::{Hidden, Place};
use super::row::Row;
use super::sampler::Sampler;
use crate::config::CacheKind;
use crate::model::ops::gpu;
use crate::model::{Batch, Cache, Window};

/// Makes hidden states of a block's places, step after step.
pub struct Encoder<'a> {
    sampler: Sampler<'a>,
    /// Columns of the batch: the longest prompt and the canvas.
    columns: usize,
    /// The block in the canvas.
    block: Range<usize>,
    kept: Option<Kept>,
}

/// Number of a row, and whether this is its unconditional twin.
type Name = (usize, bool);

/// What the last pass left.
struct Kept {
    cache: Cache,
    /// Rows of the cache.
    rows: usize,
    /// Which of them a canvas is of.
    source: HashMap<Name, usize>,
}

impl<'a> Encoder<'a> {
    /// For rows of at most `columns` tokens, canvas included.
    pub fn new(sampler: Sampler<'a>, columns: usize, block: Range<usize>) -> Self {
        Self { sampler, columns, block, kept: None }
    }

    /// Hidden states of `places`, which are in `rows`, at `step` of the block. Rows may leave from step to step.
    ///
    /// # Panics
    /// If there is no place.
    pub fn hidden(&mut self, rows: &[&mut Row<'_>], places: &[Place], step: usize) -> Result<Hidden> {
        let refresh = self.sampler.decoding.cache_refresh_steps;
        let kept = self.kept.take().filter(|_| refresh == 0 || !step.is_multiple_of(refresh));
        let inputs = self.inputs(rows);
        let source = |name| kept.as_ref().map_or(0, |kept| kept.source[name]);
        // canvases are equal if the tokens are, and what is kept of them is of the same canvas
        let (first, at) = distinct(inputs.iter().map(|(name, ids)| (source(name), ids)));
        let sources: Vec<usize> = first.iter().map(|&i| source(&inputs[i].0)).collect();
        let ids: Vec<&Vec<u32>> = first.iter().map(|&i| &inputs[i].1).collect();
        let batch = Batch::left_padded_to(self.columns, &ids, self.sampler.model.ids().pad);
        let (asked, like) = self.asked(&at, rows.len(), places);
        let window = Window::of(asked);
        let (hidden, cache) = match kept {
            None => self.encode(&batch, window)?,
            Some(kept) => self.go_on(&batch, window, kept, &sources)?,
        };
        self.kept = cache.map(|cache| {
            let source = inputs.iter().map(|(name, _)| *name).zip(at.iter().copied()).collect();
            Kept { cache, rows: first.len(), source }
        });
        let pick = |like: &[u32]| hidden.index_select(&gpu::upload(like, like.len(), hidden.device())?, 0);
        let (cond, uncond) = like.split_at(places.len());
        let uncond = (!uncond.is_empty()).then(|| pick(uncond)).transpose()?;
        Ok(Hidden { cond: pick(cond)?, uncond })
    }

    /// Where the batch has the states of `places`, with guidance followed by the same of the unconditional rows: every
    /// row and column once, and which of them each place is. `at` has the batch's row of every canvas, `rows` of them
    /// with their prompts.
    fn asked(&self, at: &[usize], rows: usize, places: &[Place]) -> (Vec<(usize, usize)>, Vec<u32>) {
        let prompt = self.columns - self.sampler.decoding.canvas;
        let of = |first: usize| places.iter().map(move |p| (at[first + p.row], prompt + p.position));
        let all: Vec<(usize, usize)> = (0..at.len()).step_by(rows).flat_map(of).collect();
        // canvases that are run once are asked for a place once
        let (unlike, like) = distinct(all.iter());
        (unlike.into_iter().map(|i| all[i]).collect(), like.into_iter().map(|i| i as u32).collect())
    }

    /// Prompts and canvases, with guidance followed by the same with the prompts masked.
    fn inputs(&self, rows: &[&mut Row<'_>]) -> Vec<(Name, Vec<u32>)> {
        let mask = self.sampler.model.ids().mask;
        let cond = rows.iter().map(|row| ((row.index, false), [row.prompt.ids.as_slice(), &row.canvas].concat()));
        let hidden = |row: &&mut Row<'_>| [vec![mask; row.prompt.ids.len()].as_slice(), &row.canvas].concat();
        let uncond = rows.iter().map(|row| ((row.index, true), hidden(row)));
        if self.sampler.decoding.cfg_scale == 0.0 { cond.collect() } else { cond.chain(uncond).collect() }
    }

    /// A pass over whole canvases, and what later steps can use of it.
    fn encode(&self, batch: &Batch, window: Window) -> Result<(Tensor, Option<Cache>)> {
        let Sampler { model, decoding, pass, .. } = self.sampler;
        let columns = match decoding.cache {
            CacheKind::Prefix => self.block_columns().start,
            CacheKind::Dual => self.columns,
            CacheKind::None => 0,
        };
        if columns == 0 || decoding.cache_refresh_steps == 1 {
            return Ok((model.hidden(batch, window, pass)?, None));
        }
        let (hidden, cache) = model.hidden_keeping(batch, window, pass, columns)?;
        Ok((hidden, Some(cache)))
    }

    /// A pass over what is not kept; `sources` are the rows of the cache that the batch's rows go on from.
    fn go_on(&self, batch: &Batch, window: Window, kept: Kept, sources: &[usize]) -> Result<(Tensor, Option<Cache>)> {
        let Sampler { model, decoding, pass, .. } = self.sampler;
        let block = self.block_columns();
        let fed = if decoding.cache == CacheKind::Prefix { block.start..self.columns } else { block };
        let as_it_is = sources.iter().copied().eq(0..kept.rows);
        let cache = if as_it_is { kept.cache } else { kept.cache.select(sources)? };
        let hidden = model.hidden_cached(batch, fed, window, pass, &cache)?;
        Ok((hidden, Some(cache)))
    }

    /// The block's columns.
    fn block_columns(&self) -> Range<usize> {
        let prompt = self.columns - self.sampler.decoding.canvas;
        prompt + self.block.start..prompt + self.block.end
    }
}

/// The first of every group of equal items, and the group of every item.
fn distinct<T: Eq + std::hash::Hash>(items: impl Iterator<Item = T>) -> (Vec<usize>, Vec<usize>) {
    let (mut groups, mut first, mut group_of) = (HashMap::new(), Vec::new(), Vec::new());
    for (i, item) in items.enumerate() {
        group_of.push(*groups.entry(item).or_insert_with(|| {
            first.push(i);
            first.len() - 1
        }));
    }
    (first, group_of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_items_are_one_group() {
        assert_eq!(distinct(["b", "a", "b", "c", "a"].iter()), (vec![0, 1, 3], vec![0, 1, 0, 2, 1]));
        assert_eq!(distinct(std::iter::empty::<u8>()), (vec![], vec![]));
    }
}
