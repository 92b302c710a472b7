//! Weights in GGML's block formats, as right-hand sides of products.
//!
//! On the CPU rows are unpacked a few at a time and multiplied as any other weight would be, forward and backward: so
//! rollouts and updates see the same numbers, and activations are not quantised. (candle's own product quantises
//! them, which is faster in f32 but off by 7e-3, and has no backward.) Elsewhere candle's product goes forward, and
//! the whole weight is unpacked to go back.

use anyhow::ensure;
use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{DType, Device, Result, Tensor};
use half::f16;
use rayon::prelude::*;

use super::super::cpu;

/// Numbers that are unpacked at once: 8 MiB.
const UNPACKED: usize = 1 << 21;
/// Rows a thread unpacks, or packs, at a time.
const ROWS: usize = 16;

/// A block of Q8_0: a factor in f16, then as many numbers of 8 bits.
const Q8_0_NUMBERS: usize = 32;
const Q8_0_BYTES: usize = 2 + Q8_0_NUMBERS;

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

/// A frozen weight `[out, in]` in blocks along `in`.
#[derive(Debug)]
pub struct Quantised {
    tensor: QTensor,
    dtype: DType,
    dims: (usize, usize),
}

impl Quantised {
    /// A weight whose products are those of a model in `dtype`.
    ///
    /// # Errors
    /// If it is no matrix.
    pub fn new(tensor: QTensor, dtype: DType) -> Result<Self> {
        let dims = tensor.shape().dims2()?;
        Ok(Self { tensor, dtype, dims })
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
        self.dims
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
        self.tensor.storage_size_in_bytes()
    }

    /// Chosen rows, unpacked: f32 `[N, in]`.
    ///
    /// # Errors
    /// An id that is no row.
    pub fn rows(&self, ids: &Tensor) -> Result<Tensor> {
        self.tensor.embedding(ids)
    }

    /// Rows that are unpacked together.
    pub fn rows_at_once(&self) -> usize {
        (UNPACKED / self.dims.1.max(1)).next_multiple_of(ROWS).min(self.dims.0.max(1))
    }

    /// The rows from `start` on into `to`, which they fill.
    ///
    /// # Errors
    /// If there are not as many.
    pub fn unpack(&self, start: usize, to: &mut [f32]) -> Result<()> {
        let width = self.dims.1;
        if self.tensor.dtype() == GgmlDType::Q8_0 {
            let (bytes, row) = (self.tensor.data()?, width / Q8_0_NUMBERS * Q8_0_BYTES);
            let Some(rows) = bytes.get(start * row..start * row + to.len() / width * row) else {
                candle_core::bail!("{} rows from {start} on of {}", to.len() / width, self.dims.0)
            };
            let each = to.par_chunks_mut(ROWS * width).zip(rows.par_chunks(ROWS * row));
            each.for_each(|(to, blocks)| unpack_q8_0(to, blocks));
            return Ok(());
        }
        to.par_chunks_mut(ROWS * width).enumerate().try_for_each(|(i, to)| {
            let first = (start + i * ROWS) as u32;
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
        let mut rows = vec![0f32; len * self.dims.1];
        self.unpack(start, &mut rows)?;
        cpu::tensor(rows, (len, self.dims.1))
    }

    /// `x W^T`, or `x W` unless `transposed`, by candle's own operations, in the dtype of `x`.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn product(&self, x: &Tensor, transposed: bool) -> Result<Tensor> {
        match transposed {
            true => x.to_dtype(DType::F32)?.apply_op1_no_bwd(&self.tensor)?.to_dtype(x.dtype()),
            false => x.matmul(&self.tensor.dequantize(x.device())?.to_dtype(x.dtype())?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::random;
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
        }
        Ok(())
    }
}
