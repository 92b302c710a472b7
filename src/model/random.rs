//! Models of random weights, made in the form in which they are kept.
//!
//! Every row of a matrix has a stream of random words of its own, so that any of its rows can be made by themselves, on
//! any thread: all cores make them, a few rows at a time, and each part is rounded, put into panels or packed before the
//! next is made. A whole f32 copy exists only of what is kept in f32.
//!
//! Normal numbers come in pairs from two words of 32 bits (Box and Muller, "A note on the generation of random normal
//! deviates", 1958), in f32 and in straight-line code that the compiler makes vectors of. It holds nothing but sums,
//! products, quotients and roots, which are rounded alike everywhere: a seed means the same bits on every machine. None
//! is further from zero than 5.8 standard deviations, for 24 bits of a word count.

use std::f32::consts::{FRAC_1_SQRT_2, LN_2, TAU};
use std::path::Path;

use anyhow::{Context, Result, bail};
use candle_core::{DType, Device, Tensor, WithDType};
use half::{bf16, f16};

use super::decoder::Decoder;
use super::family::Description;
use super::gguf::Loaded;
use super::load::{Weights, check_blocks, ggml_dtype, kept_dtype};
use super::names::Named;
use super::ops::cpu;
use super::ops::products::{Panels, Quantised};
use super::room;
use crate::config::BlockFormat;
use crate::rng::{Key, Purpose};
use crate::runtime;

/// Standard deviation of the weights.
const STD: f64 = 0.02;
/// Words that become numbers together; some vectors of any width.
const WORDS: usize = 128;
/// Of these the first half become distances, the second half angles.
const HALF: usize = WORDS / 2;

impl Decoder {
    /// A model of the size that `dir/config.json` describes, as [`Decoder::random_sized`].
    ///
    /// # Errors
    /// As for the config in [`Decoder::load`]; no memory for a matrix.
    pub fn random(dir: &Path, seed: u64, dtype: DType, device: &Device, weights: Weights) -> Result<Self> {
        Self::random_sized(Description::read(dir)?, seed, dtype, device, weights)
    }

    /// A model with random weights keyed by `seed`: normal with standard deviation 0.02, projections into the residual
    /// stream divided by the square root of twice the number of layers, norms at one, biases at zero.
    ///
    /// # Errors
    /// No memory for a matrix.
    pub fn random_sized(
        description: Description,
        seed: u64,
        dtype: DType,
        device: &Device,
        weights: Weights,
    ) -> Result<Self> {
        room::check_weights(&description, dtype, None, device)?;
        let in_panels = weights == Weights::Frozen && Panels::serve(dtype, device);
        Self::build_random(description, seed, (dtype, device), weights, |tensor, matrix| {
            if in_panels && tensor.is_multiplied {
                let rows = |start, len| matrix.rows(start, len);
                return Ok(Loaded::Panels(Panels::pack((matrix.rows, matrix.width), rows)?));
            }
            Ok(Loaded::Dense(matrix.dense(dtype, device)?))
        })
    }

    /// As [`Decoder::random_sized`], frozen, with matrices in blocks.
    ///
    /// # Errors
    /// Matrices whose rows do not divide into blocks.
    pub fn random_quantised(
        description: Description,
        seed: u64,
        dtype: DType,
        device: &Device,
        format: BlockFormat,
    ) -> Result<Self> {
        check_blocks(&description.tensors(), format)?;
        room::check_weights(&description, dtype, Some(ggml_dtype(format)), device)?;
        Self::build_random(description, seed, (dtype, device), Weights::Frozen, |_, matrix| {
            let rows = |start, len| Ok(matrix.rows(start, len)?);
            let packed = Quantised::pack((matrix.rows, matrix.width), rows, ggml_dtype(format), dtype, device)?;
            Ok(Loaded::Quantised(packed))
        })
    }

    fn build_random(
        description: Description,
        seed: u64,
        (dtype, device): (DType, &Device),
        weights: Weights,
        keep: impl Fn(&Named, &Matrix) -> Result<Loaded>,
    ) -> Result<Self> {
        let residual = 1.0 / (2.0 * description.shape.layers as f64).sqrt();
        let mut part = 0;
        Self::build(description, weights, dtype, |tensor| {
            part += 1;
            let &[rows, width] = tensor.dims.as_slice() else {
                let (dims, dtype) = (tensor.dims.as_slice(), kept_dtype(tensor, dtype, device));
                return Ok(Loaded::Dense(match tensor.slot.is_bias() {
                    true => Tensor::zeros(dims, dtype, device)?,
                    false => Tensor::ones(dims, dtype, device)?,
                }));
            };
            let std = (STD * if tensor.slot.is_into_residual() { residual } else { 1.0 }) as f32;
            let matrix = Matrix { key: Key::new(seed, Purpose::ModelInit).part(part), rows, width, std };
            if tensor.slot.is_of_router() {
                return Ok(Loaded::Dense(matrix.dense(kept_dtype(tensor, dtype, device), device)?));
            }
            keep(tensor, &matrix).with_context(|| format!("cannot make random numbers for {}", tensor.name))
        })
    }
}

/// A matrix `[rows, width]` of normal numbers, of which nothing is there yet.
struct Matrix {
    key: Key,
    rows: usize,
    width: usize,
    std: f32,
}

impl Matrix {
    /// Some rows: f32 `[len, width]`.
    fn rows(&self, start: usize, len: usize) -> candle_core::Result<Tensor> {
        let mut values = vec![0.0; len * self.width];
        for (row, values) in (start..).zip(values.chunks_mut(self.width)) {
            self.fill(row, values);
        }
        cpu::tensor(values, (len, self.width))
    }

    /// The whole matrix, in main memory in `dtype` before it goes to `device`.
    fn dense(&self, dtype: DType, device: &Device) -> Result<Tensor> {
        match dtype {
            DType::F32 => self.cast(|x| x, device),
            DType::BF16 => self.cast(bf16::from_f32, device),
            DType::F16 => self.cast(f16::from_f32, device),
            other => bail!("random weights are f32, bf16 or f16, not {other:?}"),
        }
    }

    fn cast<T: WithDType>(&self, cast: impl Fn(f32) -> T + Sync, device: &Device) -> Result<Tensor> {
        let numbers = self.rows * self.width;
        let mut values = runtime::try_with_large_pages(numbers)
            .with_context(|| format!("no memory for {numbers} numbers in {:?}", T::DTYPE))?;
        cpu::for_rows(&mut values.spare_capacity_mut()[..numbers], self.width, |first, rows| {
            let mut row_f32 = vec![0.0; self.width];
            for (row, values) in (first..).zip(rows.chunks_mut(self.width)) {
                self.fill(row, &mut row_f32);
                for (to, &x) in values.iter_mut().zip(&row_f32) {
                    to.write(cast(x));
                }
            }
        });
        // SAFETY: every number has been written.
        unsafe { values.set_len(numbers) };
        Ok(Tensor::from_vec(values, (self.rows, self.width), device)?)
    }

    /// One row.
    fn fill(&self, row: usize, values: &mut [f32]) {
        let mut rng = self.key.stream(row as u64);
        let (mut words, mut numbers) = ([0; WORDS], [0.0; WORDS]);
        for part in values.chunks_mut(WORDS) {
            rng.fill_u32(&mut words);
            normal(&words, self.std, &mut numbers);
            part.copy_from_slice(&numbers[..part.len()]);
        }
    }
}

cpu::wide! {
    /// Normal numbers with this standard deviation, `numbers[i]` and `numbers[HALF + i]` from the words there.
    fn normal(words: &[u32; WORDS], std: f32, numbers: &mut [f32; WORDS]) {
        for i in 0..HALF {
            let distance = std * (-2.0 * ln_of_uniform(words[i])).sqrt();
            let (sin, cos) = sin_cos_of_turn(words[HALF + i]);
            numbers[i] = distance * cos;
            numbers[HALF + i] = distance * sin;
        }
    }
}

/// `ln u` where `1 - u`, in `[0, 1)`, has the word's upper 24 bits: `u` is never 0.
///
/// `u = 2^e m` with `m` between the roots of 1/2 and 2; then `ln m = 2 artanh(s)`, `s = (m - 1) / (m + 1)`, by its series.
#[inline(always)]
fn ln_of_uniform(word: u32) -> f32 {
    const VALUES: i32 = 1 << 24;
    const MANTISSA_BITS: u32 = f32::MANTISSA_DIGITS - 1;
    let u = (VALUES - (word >> 8) as i32) as f32 * (1.0 / VALUES as f32);
    let e = (u.to_bits().wrapping_sub(FRAC_1_SQRT_2.to_bits()) as i32) >> MANTISSA_BITS;
    let m = f32::from_bits(u.to_bits().wrapping_sub((e << MANTISSA_BITS) as u32));
    let s = (m - 1.0) / (m + 1.0);
    let z = s * s;
    let series = 1.0 + z * (1.0 / 3.0 + z * (1.0 / 5.0 + z * (1.0 / 7.0 + z * (1.0 / 9.0))));
    e as f32 * LN_2 + 2.0 * s * series
}

/// Sine and cosine of `word / 2^32` of a full turn.
///
/// The nearest quarter turn is taken off; what remains is within an eighth, where the Taylor series are short.
#[inline(always)]
fn sin_cos_of_turn(word: u32) -> (f32, f32) {
    const QUARTER: u32 = 1 << 30;
    const RADIANS: f32 = TAU / (1u64 << 32) as f32;
    let quarters = word.wrapping_add(QUARTER / 2) / QUARTER;
    let t = word.wrapping_sub(quarters * QUARTER) as i32 as f32 * RADIANS;
    let z = t * t;
    let sin = t * (1.0 + z * (-1.0 / 6.0 + z * (1.0 / 120.0 + z * (-1.0 / 5_040.0 + z * (1.0 / 362_880.0)))));
    let cos = 1.0
        + z * (-1.0 / 2.0 + z * (1.0 / 24.0 + z * (-1.0 / 720.0 + z * (1.0 / 40_320.0 + z * (-1.0 / 3_628_800.0)))));
    // a quarter turn more makes (sin, cos) to (cos, -sin)
    let (sin, cos) = if quarters & 1 == 1 { (cos, sin) } else { (sin, cos) };
    let negative = |x: f32, bit: u32| f32::from_bits(x.to_bits() ^ bit << 31);
    (negative(sin, quarters >> 1 & 1), negative(cos, quarters.wrapping_add(1) >> 1 & 1))
}

#[cfg(test)]
mod tests;
