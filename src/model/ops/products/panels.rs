//! Weights in bf16, in the order in which the kernel for AVX-512 reads them.
//!
//! A panel holds [`PANEL`] rows of a weight `[out, in]`, which are columns of `x W^T`. It is made of pairs of neighbours
//! in `in`: two lines of 16 words, a word for each row, with the earlier number in its lower half. Weights of a frozen
//! model are put into panels once, when they are loaded; otherwise every product would have to. They take the same
//! memory, up to the zeros that fill the last panel.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor, bail};
use half::bf16;
use rayon::prelude::*;

use super::super::{cpu, gpu};
#[cfg(target_arch = "x86_64")]
use super::avx512;
use super::rounded;
use crate::runtime;

/// Rows of a weight in a panel.
pub const PANEL: usize = 32;
/// Lines of a pair.
pub const LINES: usize = PANEL / Line::WORDS;

/// A word of each of 16 rows: a cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Line([u32; Self::WORDS]);

impl Line {
    /// Words of a line.
    pub const WORDS: usize = 16;
    /// A line of zeros.
    pub const ZERO: Self = Self([0; Self::WORDS]);
}

/// A frozen weight `[out, in]`, or some of its panels.
#[derive(Clone, Debug)]
pub struct Panels {
    lines: Arc<Vec<Line>>,
    rows: Range<usize>,
    width: usize,
}

impl Panels {
    /// Whether products on this machine are the faster for them.
    pub fn serve(dtype: DType, device: &Device) -> bool {
        gpu::is_host(device) && dtype == DType::BF16 && rounded::is_native()
    }

    /// Puts a weight `[out, in]` into panels; `load(start, len)` gives some of its rows in f32, which are rounded.
    ///
    /// # Errors
    /// Those of `load`.
    pub fn pack<E: From<candle_core::Error> + Send>(
        (rows, width): (usize, usize),
        load: impl Fn(usize, usize) -> std::result::Result<Tensor, E> + Sync,
    ) -> std::result::Result<Self, E> {
        let lines_of_panel = lines(PANEL, width);
        let count = lines(rows, width);
        let mut lines = runtime::with_large_pages(count);
        lines.resize(count, Line::ZERO);
        let panels = lines.par_chunks_mut(lines_of_panel.max(1)).enumerate();
        panels.try_for_each(|(panel, lines)| {
            let start = panel * PANEL;
            fill(lines, &cpu::View::new(&load(start, PANEL.min(rows - start))?)?, width);
            Ok::<(), E>(())
        })?;
        Ok(Self { lines: Arc::new(lines), rows: 0..rows, width })
    }

    /// The same of a tensor `[out, in]`.
    ///
    /// # Errors
    /// If it is no matrix in main memory.
    pub fn of(weight: &Tensor) -> Result<Self> {
        Self::pack(weight.dims2()?, |start, len| weight.narrow(0, start, len)?.to_dtype(DType::F32)?.contiguous())
    }

    /// `(out, in)`.
    pub fn dims2(&self) -> (usize, usize) {
        (self.rows.len(), self.width)
    }

    /// Bytes it takes.
    pub fn bytes(&self) -> usize {
        size_of_val(self.lines())
    }

    /// The lines of its panels.
    pub fn lines(&self) -> &[Line] {
        let panel = lines(PANEL, self.width);
        &self.lines[self.rows.start / PANEL * panel..][..lines(self.rows.len(), self.width)]
    }

    /// Rows `start..start + len`, in the same memory.
    ///
    /// # Errors
    /// If there are not as many, or they do not begin and end with a panel (or the weight).
    pub fn narrow(&self, start: usize, len: usize) -> Result<Self> {
        let end = start + len;
        let whole = start.is_multiple_of(PANEL) && (end.is_multiple_of(PANEL) || end == self.rows.len());
        if !whole || end > self.rows.len() {
            bail!("rows {start}..{end} of {} are no whole panels of {PANEL}", self.rows.len());
        }
        let rows = self.rows.start + start..self.rows.start + end;
        Ok(Self { lines: self.lines.clone(), rows, width: self.width })
    }

    /// Chosen rows: f32 `[N, in]`.
    ///
    /// # Errors
    /// An id that is no row.
    pub fn rows(&self, ids: &Tensor) -> Result<Tensor> {
        let ids = ids.to_vec1::<u32>()?;
        let mut values = Vec::with_capacity(ids.len() * self.width);
        for &id in &ids {
            if id as usize >= self.rows.len() {
                bail!("row {id} of {}", self.rows.len());
            }
            values.extend((0..self.width).map(|i| number(self.lines(), self.width, id as usize, i).to_f32()));
        }
        cpu::tensor(values, (ids.len(), self.width))
    }

    /// The weight as it was: bf16 `[out, in]`.
    ///
    /// # Errors
    /// None in practice.
    pub fn unpacked(&self) -> Result<Tensor> {
        let (rows, width) = self.dims2();
        let mut values = vec![bf16::ZERO; rows * width];
        values.par_chunks_mut(width.max(1)).enumerate().for_each(|(row, values)| {
            values.iter_mut().enumerate().for_each(|(i, value)| *value = number(self.lines(), width, row, i));
        });
        Tensor::from_vec(values, (rows, width), &Device::Cpu)
    }
}

/// Lines of the panels of a weight `[rows, width]`.
pub fn lines(rows: usize, width: usize) -> usize {
    rows.div_ceil(PANEL) * width.div_ceil(2) * LINES
}

/// A number of a weight whose rows are `width` numbers wide.
pub fn number(lines: &[Line], width: usize, row: usize, column: usize) -> bf16 {
    let pair = row / PANEL * width.div_ceil(2) + column / 2;
    let word = lines[pair * LINES + row % PANEL / Line::WORDS].0[row % Line::WORDS];
    bf16::from_bits((word >> (16 * (column % 2))) as u16)
}

/// Puts up to [`PANEL`] rows into a panel of zeros.
fn fill(lines: &mut [Line], values: &[f32], width: usize) {
    #[cfg(target_arch = "x86_64")]
    if avx512::is_available() {
        // SAFETY: the instructions are there.
        return unsafe { avx512::pack_rows(lines, values, width) };
    }
    fill_plainly(lines, values, width);
}

/// [`fill`] on any machine.
fn fill_plainly(lines: &mut [Line], values: &[f32], width: usize) {
    /// Pairs of all rows that are put in their place together: read and written they fit the first cache.
    const PAIRS: usize = 16;
    let word = |pair: &[f32]| {
        let bits = |x: f32| bf16::from_f32(x).to_bits() as u32;
        bits(pair[0]) | pair.get(1).map_or(0, |&x| bits(x) << 16)
    };
    for (block, lines) in lines.chunks_mut(PAIRS * LINES).enumerate() {
        for (row, values) in values.chunks(width).enumerate() {
            let pairs = values[block * 2 * PAIRS..].chunks(2);
            for (pair, lines) in pairs.zip(lines.chunks_exact_mut(LINES)) {
                lines[row / Line::WORDS].0[row % Line::WORDS] = word(pair);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::random;
    use super::*;

    #[test]
    fn numbers_come_back_as_they_were_put_in() -> Result<()> {
        for (rows, width) in [(1, 1), (32, 64), (70, 33), (100, 200)] {
            let weight = random(1, (rows, width))?.to_dtype(DType::BF16)?;
            let panels = Panels::of(&weight)?;
            let plain = weight.to_dtype(DType::F32)?;
            let same = |a: Tensor, b: &Tensor| -> Result<bool> {
                Ok(a.to_dtype(DType::F32)?.to_vec2::<f32>()? == b.to_vec2::<f32>()?)
            };
            assert!(same(panels.unpacked()?, &plain)?, "[{rows}, {width}]");
            let ids = Tensor::new(&[rows as u32 - 1, 0, rows as u32 / 2], &Device::Cpu)?;
            assert!(same(panels.rows(&ids)?, &plain.index_select(&ids, 0)?)?, "[{rows}, {width}]");
            assert!(panels.rows(&Tensor::new(&[rows as u32], &Device::Cpu)?).is_err());
            assert_eq!(panels.bytes(), rows.next_multiple_of(PANEL) * width.next_multiple_of(2) * 2);
        }
        Ok(())
    }

    #[test]
    fn every_way_to_fill_a_panel_is_the_same() -> Result<()> {
        for (rows, width) in [(1, 1), (32, 64), (20, 33), (31, 200)] {
            let weight = random(1, (rows, width))?;
            let mut plain = vec![Line::ZERO; lines(rows, width)];
            let mut filled = plain.clone();
            fill_plainly(&mut plain, &cpu::View::new(&weight)?, width);
            fill(&mut filled, &cpu::View::new(&weight)?, width);
            assert!(plain.iter().zip(&filled).all(|(a, b)| a.0 == b.0), "[{rows}, {width}]");
        }
        Ok(())
    }

    #[test]
    fn parts_begin_and_end_with_a_panel() -> Result<()> {
        let weight = random(1, (100, 10))?.to_dtype(DType::BF16)?;
        let panels = Panels::of(&weight)?;
        let expected = weight.narrow(0, 64, 36)?.to_dtype(DType::F32)?.to_vec2::<f32>()?;
        let part = panels.narrow(32, 68)?.narrow(32, 36)?;
        assert_eq!(part.dims2(), (36, 10));
        assert_eq!(part.unpacked()?.to_dtype(DType::F32)?.to_vec2::<f32>()?, expected);
        for (start, len) in [(1, 32), (0, 33), (64, 37), (32, 96)] {
            assert!(panels.narrow(start, len).is_err(), "{start} {len}");
        }
        Ok(())
    }
}
