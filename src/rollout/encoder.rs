//! The forward passes of one block: over the whole canvas, or over a part of it against kept keys and values.
//!
//! A pass over whole canvases runs equal ones once: the first step of all completions of a prompt is one row.

use std::collections::HashMap;
use std::ops::Range;

use anyhow::Result;
use candle_core::Tensor;

use super::offer::{Hidden, Place};
use super::row::Row;
use super::sampler::Sampler;
use crate::config::CacheKind;
use crate::model::{Batch, Cache};

/// Makes hidden states of a block's places, step after step.
pub struct Encoder<'a> {
    sampler: Sampler<'a>,
    /// Columns of the batch: the longest prompt and the canvas.
    columns: usize,
    /// The block in the canvas.
    block: Range<usize>,
    kept: Option<Kept>,
}

/// What an earlier pass left.
struct Kept {
    cache: Cache,
    /// The rows it is of; with guidance their unconditional twins follow.
    rows: Vec<usize>,
}

impl<'a> Encoder<'a> {
    /// For rows of at most `columns` tokens, canvas included.
    pub fn new(sampler: Sampler<'a>, columns: usize, block: Range<usize>) -> Self {
        Self { sampler, columns, block, kept: None }
    }

    /// Hidden states of `places`, which are in `rows`, at `step` of the block. Rows may leave from step to step.
    pub fn hidden(&mut self, rows: &[&mut Row<'_>], places: &[Place], step: usize) -> Result<Hidden> {
        let refresh = self.sampler.decoding.cache_refresh_steps;
        let whole = self.kept.is_none() || (refresh > 0 && step.is_multiple_of(refresh));
        let inputs = self.inputs(rows);
        let numbers: Vec<usize> = rows.iter().map(|row| row.index).collect();
        // [U W, D], and which of its U rows an input is
        let (hidden, at) = if whole { self.encode(&inputs, numbers)? } else { self.go_on(&inputs, numbers)? };
        let pick = |first: usize| -> Result<Tensor> {
            let width = self.block.len();
            let index = |p: &Place| (at[first + p.row] * width + p.position - self.block.start) as u32;
            let ids: Vec<u32> = places.iter().map(index).collect();
            let ids = Tensor::from_vec(ids, places.len(), hidden.device())?;
            Ok(hidden.index_select(&ids, 0)?)
        };
        let uncond = (at.len() > rows.len()).then(|| pick(rows.len())).transpose()?;
        Ok(Hidden { cond: pick(0)?, uncond })
    }

    /// Prompts and canvases, with guidance followed by the same with the prompts masked.
    fn inputs(&self, rows: &[&mut Row<'_>]) -> Vec<Vec<u32>> {
        let mask = self.sampler.model.config().mask_token_id;
        let cond = rows.iter().map(|row| [row.prompt.ids.as_slice(), &row.canvas].concat());
        if self.sampler.decoding.cfg_scale == 0.0 {
            return cond.collect();
        }
        let uncond = rows.iter().map(|row| [vec![mask; row.prompt.ids.len()].as_slice(), &row.canvas].concat());
        cond.chain(uncond).collect()
    }

    /// A pass over whole canvases, equal ones once; keeps what later steps can use.
    fn encode(&mut self, inputs: &[Vec<u32>], rows: Vec<usize>) -> Result<(Tensor, Vec<usize>)> {
        let (mut seen, mut distinct) = (HashMap::with_capacity(inputs.len()), Vec::new());
        let mut at = Vec::with_capacity(inputs.len());
        for ids in inputs {
            at.push(*seen.entry(ids).or_insert_with(|| {
                distinct.push(ids);
                distinct.len() - 1
            }));
        }
        let Sampler { model, decoding, pass } = self.sampler;
        let (batch, window) = (self.batch(&distinct), self.window());
        let columns = match decoding.cache {
            CacheKind::Prefix => window.start,
            CacheKind::Dual => self.columns,
            CacheKind::None => 0,
        };
        if columns == 0 || decoding.cache_refresh_steps == 1 {
            return Ok((model.hidden(&batch, window, pass)?, at));
        }
        self.kept = None; // the old one goes before the new one comes
        let (hidden, cache) = model.hidden_keeping(&batch, window, pass, columns)?;
        let cache = if distinct.len() == inputs.len() { cache } else { cache.select(&at)? };
        self.kept = Some(Kept { cache, rows });
        Ok((hidden, at))
    }

    /// A pass over what is not kept.
    fn go_on(&mut self, inputs: &[Vec<u32>], rows: Vec<usize>) -> Result<(Tensor, Vec<usize>)> {
        let Sampler { model, decoding, pass } = self.sampler;
        let (batch, window) = (self.batch(inputs), self.window());
        let fed = if decoding.cache == CacheKind::Prefix { window.start..self.columns } else { window.clone() };
        let all = (0..inputs.len()).collect();
        let Some(kept) = &mut self.kept else { return Ok((model.hidden(&batch, window, pass)?, all)) };
        if kept.rows != rows {
            let place = |number: &usize| kept.rows.iter().position(|n| n == number).unwrap_or_default();
            let places: Vec<usize> = rows.iter().map(place).collect();
            let twins = places.iter().map(|place| kept.rows.len() + place);
            let twins = if inputs.len() > rows.len() { twins.collect() } else { Vec::new() };
            *kept = Kept { cache: kept.cache.select(&[places.as_slice(), &twins].concat())?, rows };
        }
        Ok((model.hidden_cached(&batch, fed, window, pass, &kept.cache)?, all))
    }

    fn batch(&self, inputs: &[impl AsRef<[u32]>]) -> Batch {
        Batch::left_padded_to(self.columns, inputs, self.sampler.model.config().eos_token_id)
    }

    /// The block's columns.
    fn window(&self) -> Range<usize> {
        let prompt = self.columns - self.sampler.decoding.canvas;
        prompt + self.block.start..prompt + self.block.end
    }
}
