//! What the fused CPU kernels share: f32 views of tensors, row-parallel loops, vectorisable maths.
//!
//! The kernels are plain loops that the compiler vectorises; [`wide`] compiles them for AVX2 as well, some for AVX-512
//! too, and picks what the machine has at run time. They use no fused multiply-add and sum in a fixed number of lanes, so a row's result
//! depends neither on the instruction set nor on the other rows of the batch.

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::ops::Deref;

use candle_core::{
    CpuStorage, DType, Device, InplaceOp1, InplaceOp2, Layout, Result, Storage, StorageRef, Tensor, bail,
};
use rayon::prelude::*;

use super::gpu;

/// Partial sums kept by reductions; a multiple of every vector width in use.
pub const LANES: usize = 16;

/// Elements a parallel task should have at least, so that starting it is worth it.
const TASK_ELEMENTS: usize = 16 * 1024;

/// Whether the fused kernels serve this tensor: f32 in main memory.
pub fn serves(x: &Tensor) -> bool {
    gpu::is_host(x.device()) && x.dtype() == DType::F32
}

/// A contiguous f32 CPU tensor seen as a slice.
pub struct View<'a> {
    guard: StorageRef<'a>,
    start: usize,
    len: usize,
}

impl<'a> View<'a> {
    /// Locks the tensor for reading. Strided tensors are refused: kernels are written for rows.
    pub fn new(x: &'a Tensor) -> Result<Self> {
        let (guard, layout) = x.storage_and_layout();
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!("kernel input of shape {:?} is not contiguous", x.shape())
        };
        match &*guard {
            Storage::Cpu(cpu) if cpu.as_slice::<f32>().is_ok() => {}
            _ => bail!("kernel input is not an f32 tensor in main memory"),
        }
        Ok(Self { guard, start, len: end - start })
    }
}

impl Deref for View<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &*self.guard {
            Storage::Cpu(cpu) => match cpu.as_slice::<f32>() {
                Ok(all) => &all[self.start..self.start + self.len],
                Err(_) => &[],
            },
            _ => &[],
        }
    }
}

/// Lets `f` change the numbers of a contiguous f32 tensor in main memory, which nobody else may share.
pub fn modify(x: &Tensor, f: impl FnOnce(&mut [f32])) -> Result<()> {
    struct Modify<F>(Cell<Option<F>>);
    impl<F: FnOnce(&mut [f32])> InplaceOp1 for Modify<F> {
        fn name(&self) -> &'static str {
            "modify"
        }

        fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
            match (storage, layout.contiguous_offsets(), self.0.take()) {
                (CpuStorage::F32(values), Some((start, end)), Some(f)) => f(&mut values[start..end]),
                _ => bail!("a contiguous f32 tensor was expected"),
            }
            Ok(())
        }
    }
    x.inplace_op1(&Modify(Cell::new(Some(f))))
}

/// Lets `f(first, a, b)` change the same places of two tensors, parts in parallel, as [`modify`] does with one.
pub fn modify_both(a: &Tensor, b: &Tensor, f: impl Fn(usize, &mut [f32], &mut [f32]) + Sync) -> Result<()> {
    if a.shape() != b.shape() {
        bail!("{:?} and {:?} have no places in common", a.shape(), b.shape());
    }
    let mut inner = Ok(());
    modify(a, |a| {
        inner = modify(b, |b| {
            let parts = a.par_chunks_mut(TASK_ELEMENTS).zip(b.par_chunks_mut(TASK_ELEMENTS)).enumerate();
            parts.for_each(|(i, (a, b))| f(i * TASK_ELEMENTS, a, b));
        });
    })?;
    inner
}

/// What an in-place operation reads.
pub fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&values[start..end]),
        _ => bail!("a contiguous f32 tensor was expected"),
    }
}

/// What an in-place operation writes.
pub fn slice_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&mut values[start..end]),
        _ => bail!("a contiguous f32 tensor was expected"),
    }
}

/// `a + b`, in the memory of `a` where kernels serve it, which nobody else may share.
pub fn sum(a: Tensor, b: &Tensor) -> Result<Tensor> {
    if gpu::serves(&a) {
        return gpu::add(&a, b).map(|()| a);
    }
    if !serves(&a) || !serves(b) {
        return a + b;
    }
    add_in_place(&a, b)?;
    Ok(a)
}

/// `sum += x` in the memory of `sum`, which nobody else may share. Both are f32, contiguous and of equal shape.
pub fn add_in_place(sum: &Tensor, x: &Tensor) -> Result<()> {
    struct Add;
    impl InplaceOp2 for Add {
        fn name(&self) -> &'static str {
            "add-in-place"
        }

        fn cpu_fwd(&self, sum: &mut CpuStorage, sum_at: &Layout, x: &CpuStorage, x_at: &Layout) -> Result<()> {
            let x = slice(x, x_at)?;
            for_rows(slice_mut(sum, sum_at)?, 1, |first, sum| {
                sum.iter_mut().zip(&x[first..]).for_each(|(sum, x)| *sum += x);
            });
            Ok(())
        }
    }
    if sum.shape() != x.shape() {
        bail!("{:?} cannot be added to {:?}", x.shape(), sum.shape());
    }
    sum.inplace_op2(x, &Add)
}

/// A tensor from a kernel's output, without a copy.
pub fn tensor<S: Into<candle_core::Shape>>(values: Vec<f32>, shape: S) -> Result<Tensor> {
    Tensor::from_vec(values, shape.into(), &Device::Cpu)
}

/// Defines a function whose loops are compiled once more for AVX2, and runs what the machine has. With `#[avx512]` first
/// they are compiled for AVX-512 as well, which pays where its rotations and masks do: most loops wait for memory.
///
/// Arguments are what the loops need, as slices. (A closure passed to a function with other instructions stays a
/// function of its own, for the oldest processors, unless it is small.)
macro_rules! wide {
    (#[avx512] $($function:tt)*) => { $crate::model::ops::cpu::wide! { @ ["avx512f", "avx2"] $($function)* } };
    (@ $sets:tt $(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $out:ty)? $body:block) => {
        $(#[$doc])*
        $vis fn $name($($arg: $ty),*) $(-> $out)? {
            #[inline(always)]
            fn plain($($arg: $ty),*) $(-> $out)? $body

            $crate::model::ops::cpu::wide! { @run $sets plain ($($arg: $ty),*) ($($out)?) }
            plain($($arg),*)
        }
    };
    (@run [$($set:tt),*] $plain:ident $args:tt $out:tt) => {
        $($crate::model::ops::cpu::wide! { @try $set $plain $args $out })*
    };
    (@try $set:tt $plain:ident ($($arg:ident: $ty:ty),*) ($($out:ty)?)) => {
        #[cfg(target_arch = "x86_64")]
        {
            #[target_feature(enable = $set)]
            fn wide($($arg: $ty),*) $(-> $out)? {
                $plain($($arg),*)
            }
            if std::is_x86_feature_detected!($set) {
                // SAFETY: the instructions are there.
                return unsafe { wide($($arg),*) };
            }
        }
    };
    ($(#[$doc:meta])* $vis:vis fn $($function:tt)*) => {
        $crate::model::ops::cpu::wide! { @ ["avx2"] $(#[$doc])* $vis fn $($function)* }
    };
}
pub(crate) use wide;

/// Calls `f(first_row, rows_of_out)` on chunks of rows of `out`, in parallel when there is enough to do.
pub fn for_rows<T: Send>(out: &mut [T], width: usize, f: impl Fn(usize, &mut [T]) + Sync) {
    if out.is_empty() {
        return;
    }
    let rows = TASK_ELEMENTS.div_ceil(width).max(1);
    if out.len() <= rows * width {
        return f(0, out);
    }
    out.par_chunks_mut(rows * width).enumerate().for_each(|(i, chunk)| f(i * rows, chunk));
}

/// A buffer of rows, zero at first, that `f(first_row, rows)` fills as [`for_rows`] does. Every task clears what it is
/// about to write, where clearing all of it first would keep the other threads waiting.
pub fn made_of_rows(len: usize, width: usize, f: impl Fn(usize, &mut [f32]) + Sync) -> Vec<f32> {
    let write = |first, rows: &mut [MaybeUninit<f32>]| {
        rows.fill(MaybeUninit::new(0.0));
        // SAFETY: they are filled.
        f(first, unsafe { rows.assume_init_mut() });
    };
    // SAFETY: every row is filled.
    unsafe { written_by_rows(len, width, write) }
}

/// As [`made_of_rows`], without clearing anything before.
///
/// # Safety
/// `f` writes every number of the rows it is given.
pub unsafe fn written_by_rows(len: usize, width: usize, f: impl Fn(usize, &mut [MaybeUninit<f32>]) + Sync) -> Vec<f32> {
    let mut buffer = Vec::with_capacity(len);
    for_rows(&mut buffer.spare_capacity_mut()[..len], width, f);
    // SAFETY: every number has been written.
    unsafe { buffer.set_len(len) };
    buffer
}

/// A copy.
pub fn copied(x: &[f32]) -> Vec<f32> {
    let write = |first: usize, part: &mut [MaybeUninit<f32>]| {
        part.write_copy_of_slice(&x[first..][..part.len()]);
    };
    // SAFETY: the slices are of the same length.
    unsafe { written_by_rows(x.len(), 1, write) }
}

/// Zeros.
pub fn zeros(len: usize) -> Vec<f32> {
    made_of_rows(len, 1, |_, _| {})
}

/// Sum of `f(x)` in [`LANES`] running sums.
#[inline(always)]
pub fn sum_of(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for l in 0..LANES {
            lanes[l] += f(chunk[l]);
        }
    }
    lanes.iter_mut().zip(rest).for_each(|(lane, &x)| *lane += f(x));
    lanes.iter().sum()
}

/// Sum of `f(x)` over elements that it changes, as [`sum_of`].
#[inline(always)]
pub fn sum_over(x: &mut [f32], f: impl Fn(&mut f32) -> f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let (chunks, rest) = x.as_chunks_mut::<LANES>();
    for chunk in chunks {
        for l in 0..LANES {
            lanes[l] += f(&mut chunk[l]);
        }
    }
    lanes.iter_mut().zip(rest).for_each(|(lane, x)| *lane += f(x));
    lanes.iter().sum()
}

/// Sum of `f(a, b)` over pairs, as [`sum_of`].
#[inline(always)]
pub fn sum_of_pairs(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for l in 0..LANES {
            lanes[l] += f(a[l], b[l]);
        }
    }
    lanes.iter_mut().zip(a_rest.iter().zip(b_rest)).for_each(|(lane, (&a, &b))| *lane += f(a, b));
    lanes.iter().sum()
}

/// Largest element; `-inf` of an empty slice, NaN is passed over.
#[inline(always)]
pub fn max_of(x: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = x.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, &v) in lanes.iter_mut().zip(chunk) {
            *lane = if v > *lane { v } else { *lane };
        }
    }
    let tail = rest.iter().fold(f32::NEG_INFINITY, |m, &v| if v > m { v } else { m });
    lanes.iter().fold(tail, |m, &v| if v > m { v } else { m })
}

/// `e^x` within 2 units in the last place, in straight-line code that vectorises; NaN stays NaN,
/// and results below the smallest normal number (`x < -87.3`) are zero.
///
/// Cody-Waite reduction to `|r| <= ln(2)/2`, then a polynomial of degree 6 in `r`.
#[inline(always)]
#[allow(clippy::excessive_precision)] // ln 2 in two parts: the first has trailing zero bits so that n * HI is exact
pub fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to an integer in the low bits
    const LN2_HI: f32 = 0.693_359_375;
    const LN2_LO: f32 = -2.121_944_4e-4;
    let vanishes = x < -87.336_54;
    let x = if vanishes { 0.0 } else { x };
    let x = if x > 88.376_26 { 88.376_26 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * LN2_HI - n * LN2_LO;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 5.000_000_1e-1;
    let p = p * r * r + r + 1.0;
    let exponent = (shifted.to_bits() << 23).wrapping_add(0x3f80_0000);
    if vanishes { 0.0 } else { p * f32::from_bits(exponent) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_units_in_the_last_place() {
        let mut worst = 0f64;
        for i in -87_000..88_000 {
            let x = i as f32 * 1e-3 + 1.37e-4;
            let exact = (x as f64).exp();
            worst = worst.max(((exp(x) as f64 - exact) / exact).abs());
        }
        assert!(worst < 2.0 * f32::EPSILON as f64, "{worst}");
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NAN).is_nan());
        assert!(exp(-1e30) == 0.0 && exp(f32::NEG_INFINITY) == 0.0 && exp(1e30) > 1e38);
    }

    #[test]
    fn sums_and_maxima_see_every_element() {
        for n in [0, 1, 15, 16, 17, 100] {
            let x: Vec<f32> = (0..n).map(|i| ((i * 7) % 31) as f32).collect();
            assert_eq!(sum_of(&x, |x| x), x.iter().sum::<f32>());
            assert_eq!(sum_of_pairs(&x, &x, |a, b| a + b), 2.0 * x.iter().sum::<f32>());
            assert_eq!(max_of(&x), x.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        }
    }

    #[test]
    fn buffers_are_made_whole() {
        for len in [0, 1, 37, TASK_ELEMENTS * 3 + 5] {
            let x: Vec<f32> = (0..len).map(|i| i as f32).collect();
            assert_eq!(copied(&x), x);
            assert_eq!(zeros(len), vec![0.0; len]);
        }
    }

    #[test]
    fn rows_are_visited_once_each() {
        let width = 37;
        let mut out = vec![0f32; width * 2000];
        for_rows(&mut out, width, |first, rows| {
            for (i, row) in rows.chunks_mut(width).enumerate() {
                row.iter_mut().for_each(|v| *v += (first + i) as f32 + 1.0);
            }
        });
        assert!(out.chunks(width).enumerate().all(|(i, row)| row.iter().all(|&v| v == i as f32 + 1.0)));
    }
}
