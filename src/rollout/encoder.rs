//! The forward passes of one block: over the whole canvas, or over a part of it against kept keys and values.
//!
//! Equal canvases are run once, which changes no bit: the completions of a prompt begin as one, and where a model is
//! sure of itself they part late.

use std::collections::HashMap;
use std::ops::Range;

use anyhow::Result;
use candle_core::Tensor;

use super::grid::Grid;
use super::offer::{Hidden, Place};
use super::row::Row;
use super::sampler::Sampler;
use crate::config::CacheKind;
use crate::model::ops::gpu;
use crate::model::{Batch, Cache, Sight, Window};

/// Makes hidden states of a block's places, step after step.
pub struct Encoder<'a> {
    sampler: Sampler<'a>,
    /// Columns of the longest prompt.
    prompt: usize,
    /// Tokens of the canvas that are encoded: all, or where nobody sees what lies behind the block, up to its end.
    tokens: usize,
    /// The block in the canvas.
    block: Range<usize>,
    /// Tokens of the prompt that belong to the block.
    begun: usize,
    /// What earlier blocks left.
    finished: Option<Finished>,
    kept: Option<Kept>,
}

/// Keys and values of finished blocks, and of all that is before them, which nothing that comes later changes.
pub struct Finished {
    kept: Kept,
    /// Columns of them.
    columns: usize,
    /// Of these, the ones that the longest prompt took.
    prompt: usize,
}

/// Number of a row, and whether this is its unconditional twin.
type Name = (usize, bool);

/// What the last pass left.
#[derive(Clone)]
struct Kept {
    cache: Cache,
    /// Rows of the cache.
    rows: usize,
    /// Which of them a canvas is of.
    source: HashMap<Name, usize>,
}

impl<'a> Encoder<'a> {
    /// For rows with prompts of at most `prompt` tokens.
    pub fn new(sampler: Sampler<'a>, prompt: usize, (grid, block): (Grid, usize), finished: Option<Finished>) -> Self {
        let (begun, block) = (if block == 0 { grid.begun } else { 0 }, grid.span(block));
        let tokens = match sampler.model.shape().sight {
            Sight::Full => sampler.decoding.canvas,
            Sight::Blocks(_) => block.end,
        };
        // rows that have left are still in the columns that are kept
        let prompt = finished.as_ref().map_or(prompt, |finished| finished.prompt);
        Self { sampler, prompt, tokens, block, begun, finished, kept: None }
    }

    /// What the next block can use, if there is anything.
    pub fn into_finished(self) -> Option<Finished> {
        self.finished
    }

    /// Columns of the batch.
    fn columns(&self) -> usize {
        self.prompt + self.tokens
    }

    /// Hidden states of `places`, which are in `rows`, at `step` of the block. Rows may leave from step to step.
    ///
    /// # Panics
    /// If there is no place.
    pub fn hidden(&mut self, rows: &[&mut Row<'_>], places: &[Place], step: usize) -> Result<Hidden> {
        let refresh = self.sampler.decoding.cache_refresh_steps;
        let finished = self.finished.take_if(|_| step == 0);
        let first_fed = finished.as_ref().map(|finished| finished.columns);
        let kept = self.kept.take().filter(|_| refresh == 0 || !step.is_multiple_of(refresh));
        let kept = finished.map(|finished| finished.kept).or(kept);
        let inputs = self.inputs(rows);
        let source = |name| kept.as_ref().map_or(0, |kept| kept.source[name]);
        // canvases are equal if the tokens are, and what is kept of them is of the same canvas
        let (first, at) = distinct(inputs.iter().map(|(name, ids)| (source(name), ids)));
        let sources: Vec<usize> = first.iter().map(|&i| source(&inputs[i].0)).collect();
        let ids: Vec<&Vec<u32>> = first.iter().map(|&i| &inputs[i].1).collect();
        let batch = self.batch(&ids);
        // canvases that are run once are asked for a place once
        let predictions = self.sampler.model.predictions(&self.asked(&at, rows.len(), places), &batch);
        let window = predictions.window().clone();
        let (hidden, cache) = match kept {
            None => self.encode(&batch, window)?,
            Some(kept) => self.go_on(&batch, window, kept, &sources, first_fed)?,
        };
        self.kept = cache.map(|cache| {
            let source = inputs.iter().map(|(name, _)| *name).zip(at.iter().copied()).collect();
            Kept { cache, rows: first.len(), source }
        });
        if step == 0 && self.sampler.decoding.cache == CacheKind::Blocks {
            // later steps write the block's own columns only
            let columns = self.prompt + self.block.start - self.begun;
            self.finished = self.kept.clone().map(|kept| Finished { kept, columns, prompt: self.prompt });
        }
        let pick = |like: &[u32]| hidden.index_select(&gpu::upload(like, like.len(), hidden.device())?, 0);
        let (cond, uncond) = predictions.index().split_at(places.len());
        let uncond = (!uncond.is_empty()).then(|| pick(uncond)).transpose()?;
        Ok(Hidden { cond: pick(cond)?, uncond })
    }

    /// Where the batch has `places`, with guidance followed by the same of the unconditional rows. `at` has the batch's
    /// row of every canvas, `rows` of them with their prompts.
    fn asked(&self, at: &[usize], rows: usize, places: &[Place]) -> Vec<(usize, usize)> {
        let prompt = self.prompt;
        let of = |first: usize| places.iter().map(move |p| (at[first + p.row], prompt + p.position));
        (0..at.len()).step_by(rows).flat_map(of).collect()
    }

    /// Prompts and canvases, padded to the longest.
    fn batch(&self, ids: &[&Vec<u32>]) -> Batch {
        let batch = Batch::left_padded_to(self.columns(), ids, self.sampler.model.ids().pad);
        match self.sampler.model.shape().sight {
            Sight::Full => batch,
            Sight::Blocks(blocks) => {
                batch.with_lead(ids.iter().map(|ids| blocks.lead(ids.len() - self.tokens)).collect())
            }
        }
    }

    /// Prompts and canvases, with guidance followed by the same with the prompts masked.
    fn inputs(&self, rows: &[&mut Row<'_>]) -> Vec<(Name, Vec<u32>)> {
        let (mask, tokens) = (self.sampler.model.ids().mask, self.tokens);
        let cond = rows.iter().map(|row| ((row.index, false), [&row.prompt.ids[..], &row.canvas[..tokens]].concat()));
        let hidden = |row: &&mut Row<'_>| [&vec![mask; row.prompt.ids.len()][..], &row.canvas[..tokens]].concat();
        let uncond = rows.iter().map(|row| ((row.index, true), hidden(row)));
        if self.sampler.decoding.cfg_scale == 0.0 { cond.collect() } else { cond.chain(uncond).collect() }
    }

    /// A pass over whole canvases, and what later steps can use of it.
    fn encode(&self, batch: &Batch, window: Window) -> Result<(Tensor, Option<Cache>)> {
        let Sampler { model, decoding, pass, .. } = self.sampler;
        let columns = match decoding.cache {
            CacheKind::Prefix => self.fed_columns().start,
            CacheKind::Dual | CacheKind::Blocks => self.columns(),
            CacheKind::None => 0,
        };
        if columns == 0 || decoding.cache_refresh_steps == 1 {
            return Ok((model.hidden(batch, window, pass)?, None));
        }
        let (hidden, cache) = model.hidden_keeping(batch, window, pass, columns)?;
        Ok((hidden, Some(cache)))
    }

    /// A pass over what is not kept, from the column `first` on if there is one; `sources` are the rows of the cache that the
    /// batch's rows go on from.
    fn go_on(
        &self,
        batch: &Batch,
        window: Window,
        kept: Kept,
        sources: &[usize],
        first: Option<usize>,
    ) -> Result<(Tensor, Option<Cache>)> {
        let Sampler { model, decoding, pass, .. } = self.sampler;
        let fed = self.fed_columns();
        let end = if decoding.cache == CacheKind::Prefix { self.columns() } else { fed.end };
        let fed = first.unwrap_or(fed.start).min(fed.start)..end;
        let as_it_is = sources.iter().copied().eq(0..kept.rows);
        let cache = if as_it_is { kept.cache } else { kept.cache.select(sources)? };
        let cache = if decoding.cache == CacheKind::Blocks { cache.widened(self.columns())? } else { cache };
        let hidden = model.hidden_cached(batch, fed, window, pass, &cache)?;
        Ok((hidden, Some(cache)))
    }

    /// The block's columns, and the one before it where its first prediction is read there.
    fn fed_columns(&self) -> Range<usize> {
        let before = self.begun + usize::from(self.sampler.model.shape().shifted);
        (self.prompt + self.block.start).saturating_sub(before)..self.prompt + self.block.end
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
