//! What a pass has to know beside its tensors, made once a pass: what its queries see, and what an accelerator's kernels
//! are told.

use candle_core::{Device, Result, Tensor};

use super::batch::{Span, index};
use super::ops::gpu::{
    self,
    dropout::{PADDING, Rows},
};
use super::ops::padding;
use super::sight::{Seen, Sight};
use super::window::Window;

/// All that is made for a pass.
#[derive(Debug)]
pub struct Made {
    /// For an accelerator; none on the host.
    pub uploaded: Option<Uploaded>,
    /// Where queries do not see everything.
    pub sights: Option<Sights>,
}

impl Made {
    /// For a pass over `full`, whose keys are those of all columns up to its last, that is asked for `window`.
    pub fn of(sight: Sight, full: &Span<'_>, window: &Window, device: &Device) -> Result<Self> {
        Ok(Self { uploaded: Uploaded::of(full, window, device)?, sights: Sights::of(sight, full, window, device)? })
    }
}

/// What the queries of a pass see: those of all its columns, and those of its window.
#[derive(Debug)]
pub struct Sights {
    columns: (usize, usize),
    all: Seen,
    inner: Seen,
}

impl Sights {
    fn of(sight: Sight, full: &Span<'_>, window: &Window, device: &Device) -> Result<Option<Self>> {
        let Sight::Blocks(blocks) = sight else { return Ok(None) };
        let columns = full.start + full.width;
        let seen = |queries| Seen::of(blocks, full.at, queries, columns, device);
        let all = seen(full.start..columns)?;
        Ok(Some(Self { columns: (full.start, full.width), all, inner: seen(window.columns.clone())? }))
    }

    /// What the queries of some columns see.
    pub fn seen(&self, start: usize, width: usize) -> &Seen {
        if (start, width) == self.columns { &self.all } else { &self.inner }
    }
}

/// Padding, places and keys of a pass.
#[derive(Debug)]
pub struct Uploaded {
    /// Padding columns of every row, u32 `[B]`.
    pub(super) pad: Tensor,
    /// First column and number of columns of the whole.
    columns: (usize, usize),
    /// With dropout, where the words of the rows of the whole are, and those of the places.
    all: Option<Rows>,
    picked: Option<Rows>,
    /// The places among the rows of these columns: first, number, u32 `[N]`.
    indices: Vec<(usize, usize, Tensor)>,
}

impl Uploaded {
    /// For a pass over `full` that is asked for `window`; nothing on the host.
    fn of(full: &Span<'_>, window: &Window, device: &Device) -> Result<Option<Self>> {
        if gpu::is_host(device) {
            return Ok(None);
        }
        let (inner, picked) = (full.window(&window.columns), full.pick(window));
        let mut indices = Vec::new();
        if let Some(places) = picked.places {
            for span in [full, &inner] {
                indices.push((span.start, span.width, index(places, span.start, span.width, device)?));
            }
        }
        let (mut all, mut of_places) = (None, None);
        if let Some(keys) = full.pass.dropout.filter(|_| full.pass.adapters) {
            let words: Vec<u32> = keys.iter().flat_map(|key| key.words()).collect();
            let keys = gpu::upload(&words, (keys.len(), words.len() / keys.len().max(1)), device)?;
            all = Some(rows(full, &keys, device)?);
            of_places = Some(rows(&picked, &keys, device)?);
        }
        let pad = padding::uploaded(full.at.pad, device)?;
        Ok(Some(Self { pad, columns: (full.start, full.width), all, picked: of_places, indices }))
    }

    /// Where the dropout of a span's rows is drawn.
    pub(super) fn rows(&self, span: &Span<'_>) -> Option<&Rows> {
        let is_all = span.places.is_none() && (span.start, span.width) == self.columns;
        if is_all { self.all.as_ref() } else { self.picked.as_ref() }
    }

    /// The places among the rows of some columns.
    pub(super) fn index(&self, start: usize, width: usize) -> Option<&Tensor> {
        let found = self.indices.iter().find(|(first, columns, _)| (*first, *columns) == (start, width));
        found.map(|(_, _, index)| index)
    }
}

fn rows(span: &Span<'_>, keys: &Tensor, device: &Device) -> Result<Rows> {
    let (mut row_of, mut column_of) = (Vec::new(), Vec::new());
    for (row, columns) in span.runs() {
        for column in columns {
            row_of.push(row as u32);
            column_of.push(span.drawn_at(row, column).map_or(PADDING, |column| column as u32));
        }
    }
    let upload = |values: Vec<u32>| gpu::upload(&values, values.len(), device);
    Ok(Rows { keys: keys.clone(), row_of: upload(row_of)?, column_of: upload(column_of)? })
}
