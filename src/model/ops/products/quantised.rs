//! Weights in GGML's block formats, as right-hand sides of products.
//!
//! On the CPU rows are unpacked a few at a time and multiplied as any other weight would be, forward and backward: so
//! rollouts and updates see the same numbers, and activations are not quantised. (candle's own product quantises
//! them, which is faster in f32 but off by 7e-3, and has no backward.) Blocks of Q8_0 beside bf16 are unpacked by the
//! kernel itself, where it can. Elsewhere candle's product goes forward, and the whole weight is unpacked to go back.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use anyhow::ensure;
use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{DType, Device, Result, Tensor};
use half::f16;
use rayon::prelude::*;

use super::super::cpu;
use super::{activations_are_f32, rounded};

/// Numbers that are unpacked at once: 8 MiB.
const UNPACKED: usize = 1 << 21;
/// Rows a thread unpacks, or packs, at a time.
const ROWS: usize = 16;

/// A block of Q8_0: a factor in f16, then as many numbers of 8 bits.
pub const Q8_0_NUMBERS: usize = 32;
/// Bytes of a block of Q8_0.
pub const Q8_0_BYTES: usize = 2 + Q8_0_NUMBERS;

cpu::wide! {
    /// Straight from the bytes: candle's way takes a buffer and a copy more, as long as the product of a few rows.
    fn unpack_q8_0(to: &mut [f32], blocks: &[u8]) {
        for (to, block) in to.chunks_exact_mut(Q8_0_NUMBERS).zip(blocks.chunks_exact(Q8_0_BYTES)) {
            let factor = f16::from_le_bytes([block[0], block[1]]).to_f32();
            for (to, &number) in to.iter_mut().zip(&block[2..]) {
                *to = factor * (number as i8) as f32;
            }
        }
    }
}

/// A number of blocks of Q8_0.
pub fn q8_0_number(blocks: &[u8], at: usize) -> f32 {
    let block = &blocks[at / Q8_0_NUMBERS * Q8_0_BYTES..][..Q8_0_BYTES];
    f16::from_le_bytes([block[0], block[1]]).to_f32() * (block[2 + at % Q8_0_NUMBERS] as i8) as f32
}

/// A frozen weight `[out, in]` in blocks along `in`, or some of its rows.
#[derive(Clone, Debug)]
pub struct Quantised {
    tensor: Arc<QTensor>,
    dtype: DType,
    rows: Range<usize>,
    width: usize,
}

impl Quantised {
    /// A weight whose products are those of a model in `dtype`.
    ///
    /// # Errors
    /// If it is no matrix.
    pub fn new(tensor: QTensor, dtype: DType) -> Result<Self> {
        let (rows, width) = tensor.shape().dims2()?;
        Ok(Self { tensor: Arc::new(tensor), dtype, rows: 0..rows, width })
    }

    /// Packs a weight `[out, in]` for `device`; `load(start, len)` gives some of its rows in f32.
    ///
    /// # Errors
    /// If `in` is no multiple of the format's block, the device refuses, or `load` fails.
    pub fn pack(
        dims: (usize, usize),
        load: impl Fn(usize, usize) -> anyhow::Result<Tensor> + Sync,
        format: GgmlDType,
        dtype: DType,
        device: &Device,
    ) -> anyhow::Result<Self> {
        let (rows, columns) = dims;
        let block = format.block_size();
        ensure!(columns.is_multiple_of(block), "rows of {columns} numbers do not divide into blocks of {block}");
        let starts: Vec<usize> = (0..rows).step_by(ROWS).collect();
        let pack = |start| -> anyhow::Result<Vec<u8>> {
            let part = load(start, ROWS.min(rows - start))?;
            Ok(QTensor::quantize(&part, format)?.data()?.into_owned())
        };
        let parts: Vec<Vec<u8>> = starts.into_par_iter().map(pack).collect::<anyhow::Result<_>>()?;
        let storage = QStorage::from_data(parts.concat().into(), device, format)?;
        Ok(Self::new(QTensor::new(storage, (rows, columns))?, dtype)?)
    }

    /// `(out, in)`.
    pub fn dims2(&self) -> (usize, usize) {
        (self.rows.len(), self.width)
    }

    /// Rows `start..start + len`, in the same memory.
    ///
    /// # Errors
    /// If there are not as many.
    pub fn narrow(&self, start: usize, len: usize) -> Result<Self> {
        if start + len > self.rows.len() {
            candle_core::bail!("{len} rows from {start} on of {}", self.rows.len());
        }
        let start = self.rows.start + start;
        Ok(Self { rows: start..start + len, ..self.clone() })
    }

    /// Whether products on this machine read the blocks as they are.
    pub fn is_read_as_it_is(&self) -> bool {
        let rounds = activations_are_f32(self.dtype, &self.device());
        rounds && self.tensor.dtype() == GgmlDType::Q8_0 && rounded::is_native()
    }

    /// The blocks of its rows.
    ///
    /// # Errors
    /// If they cannot be read from the device.
    pub fn blocks(&self) -> Result<Cow<'_, [u8]>> {
        let row = self.tensor.storage_size_in_bytes() / self.tensor.shape().dim(0)?.max(1);
        let part = self.rows.start * row..self.rows.end * row;
        Ok(match self.tensor.data()? {
            Cow::Borrowed(all) => Cow::Borrowed(&all[part]),
            Cow::Owned(all) => Cow::Owned(all[part].to_vec()),
        })
    }

    /// Bytes of the rows that a product on the CPU unpacks at once.
    pub fn unpacked_bytes(&self) -> usize {
        if self.is_read_as_it_is() { 0 } else { self.rows_at_once() * self.width * size_of::<f32>() }
    }

    /// The precision of its products.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Where it is.
    pub fn device(&self) -> Device {
        self.tensor.device()
    }

    /// Bytes it takes.
    pub fn bytes(&self) -> usize {
        self.tensor.storage_size_in_bytes() * self.rows.len() / self.tensor.shape().dims()[0].max(1)
    }

    /// Chosen rows, unpacked: f32 `[N, in]`.
    ///
    /// # Errors
    /// An id that is no row of the whole weight.
    pub fn rows(&self, ids: &Tensor) -> Result<Tensor> {
        self.tensor.embedding(&(ids + self.rows.start as f64)?)
    }

    /// Rows that are unpacked together.
    pub fn rows_at_once(&self) -> usize {
        (UNPACKED / self.width.max(1)).next_multiple_of(ROWS).min(self.rows.len().max(1))
    }

    /// The rows from `start` on into `to`, which they fill.
    ///
    /// # Errors
    /// If there are not as many.
    pub fn unpack(&self, start: usize, to: &mut [f32]) -> Result<()> {
        let width = self.width;
        let rows = self.narrow(start, to.len() / width)?;
        if self.tensor.dtype() == GgmlDType::Q8_0 {
            let (blocks, row) = (rows.blocks()?, width / Q8_0_NUMBERS * Q8_0_BYTES);
            let each = to.par_chunks_mut(ROWS * width).zip(blocks.par_chunks(ROWS * row));
            each.for_each(|(to, blocks)| unpack_q8_0(to, blocks));
            return Ok(());
        }
        to.par_chunks_mut(ROWS * width).enumerate().try_for_each(|(i, to)| {
            let first = (rows.rows.start + i * ROWS) as u32;
            let ids = Tensor::arange(first, first + (to.len() / width) as u32, &Device::Cpu)?;
            let rows = self.tensor.embedding(&ids)?;
            to.copy_from_slice(&cpu::View::new(&rows)?);
            Ok(())
        })
    }

    /// The rows from `start` on, in main memory: f32 `[len, in]`.
    ///
    /// # Errors
    /// If there are not as many.
    pub fn unpacked(&self, start: usize, len: usize) -> Result<Tensor> {
        let mut rows = cpu::zeros(len * self.width);
        self.unpack(start, &mut rows)?;
        cpu::tensor(rows, (len, self.width))
    }

    /// `x W^T`, or `x W` unless `transposed`, by candle's own operations, in the dtype of `x`.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn product(&self, x: &Tensor, transposed: bool) -> Result<Tensor> {
        let is_whole = self.rows.len() == self.tensor.shape().dim(0)?;
        match transposed {
            _ if !is_whole => {
                let w = self.unpacked(0, self.rows.len())?.to_device(x.device())?.to_dtype(x.dtype())?;
                x.matmul(&if transposed { w.t()? } else { w })
            }
            true => x.to_dtype(DType::F32)?.apply_op1_no_bwd(&*self.tensor)?.to_dtype(x.dtype()),
            false => x.matmul(&self.tensor.dequantize(x.device())?.to_dtype(x.dtype())?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{assert_close, random};
    use super::*;

    #[test]
    fn rows_are_unpacked_as_candle_unpacks_them() -> anyhow::Result<()> {
        let weight = random(1, (70, 512))?;
        for format in [GgmlDType::Q8_0, GgmlDType::Q6K, GgmlDType::Q4K] {
            let load = |start, len| Ok(weight.narrow(0, start, len)?.force_contiguous()?);
            let packed = Quantised::pack((70, 512), load, format, DType::F32, &Device::Cpu)?;
            let unpacked = packed.unpacked(3, 40)?.to_vec2::<f32>()?;
            assert!(unpacked == packed.rows(&Tensor::arange(3u32, 43, &Device::Cpu)?)?.to_vec2::<f32>()?, "{format:?}");
            assert!(packed.unpacked(60, 11).is_err(), "{format:?}");
            let part = packed.narrow(2, 50)?.narrow(1, 40)?;
            assert!(part.unpacked(0, 40)?.to_vec2::<f32>()? == unpacked, "{format:?}");
            assert!(part.rows(&Tensor::arange(0u32, 40, &Device::Cpu)?)?.to_vec2::<f32>()? == unpacked, "{format:?}");
            assert_eq!((part.dims2(), part.bytes() * 70), ((40, 512), packed.bytes() * 40));
            let x = random(2, (5, 512))?;
            assert_close(&part.product(&x, true)?, &x.matmul(&packed.unpacked(3, 40)?.t()?)?, 1e-4);
        }
        Ok(())
    }
}
