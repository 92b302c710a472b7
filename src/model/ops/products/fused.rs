//! All products of a sum into one buffer, on the CPU.

use candle_core::{Layout, Result, Storage, StorageRef, Tensor};
use half::bf16;

use super::super::cpu;
use super::rounded::{self, Left, Numbers, Out, Values};
use super::{Product, Quantised, Right};
use crate::profile;

/// `start + sum of products`, `[n, m]`.
pub fn fused(start: Option<&Tensor>, products: &[Product<'_>], n: usize, m: usize) -> Result<Tensor> {
    let mut out: Vec<f32> = Vec::with_capacity(n * m);
    if let Some(start) = start {
        if start.dims() != [n, m] {
            candle_core::bail!("start is {:?}, the products [{n}, {m}]", start.dims());
        }
        out.extend_from_slice(&cpu::View::new(start)?);
    }
    for (i, product) in products.iter().enumerate() {
        let sizes = product.sizes()?;
        if [sizes[0], sizes[2]] != [n, m] {
            candle_core::bail!("a product is [{}, {}] instead of [{n}, {m}]", sizes[0], sizes[2]);
        }
        let to = Out {
            start: out.as_mut_ptr(),
            stride: m,
            scale: product.scale as f32,
            accumulate: start.is_some() || i > 0,
        };
        // SAFETY: `out` has room for `n * m` numbers, of which all are initialised when `accumulate` reads them.
        profile::product(sizes, product.a.device(), || unsafe { multiply(to, sizes, product) })?;
        // SAFETY: the product wrote every element.
        unsafe { out.set_len(n * m) };
    }
    cpu::tensor(out, (n, m))
}

/// `out += product`; `out` holds as many numbers.
pub fn add(out: &mut [f32], product: &Product<'_>) -> Result<()> {
    let sizes = product.sizes()?;
    let to = Out { start: out.as_mut_ptr(), stride: sizes[2], scale: product.scale as f32, accumulate: true };
    // SAFETY: the caller checked the size of `out`, which is borrowed mutably.
    profile::product(sizes, product.a.device(), || unsafe { multiply(to, sizes, product) })
}

/// # Safety
/// `out` has room for `n` rows of `m` numbers, initialised when it accumulates.
unsafe fn multiply(out: Out, [n, k, m]: [usize; 3], product: &Product<'_>) -> Result<()> {
    let values = cpu::View::new(product.a)?;
    let left = Left { values: &values, stride: product.a.dim(1)?, transposed: product.a_transposed };
    let kernel = if product.rounded { multiply_rounded } else { multiply_f32 };
    // SAFETY: the caller's; views of contiguous tensors hold all rows and columns.
    unsafe {
        match product.b {
            Right::Dense(b) if cpu::serves(b) => {
                kernel(out, [n, k, m], left, &cpu::View::new(b)?, product.b_transposed);
            }
            Right::Dense(b) => {
                let (guard, layout) = b.storage_and_layout();
                let numbers = Numbers::Rows(Values::Bf16(bf16s(&guard, layout)?));
                let right = rounded::Right { numbers, transposed: product.b_transposed };
                rounded::multiply(out, [n, k, m], left, right);
            }
            Right::Panels(panels) => {
                let numbers = Numbers::Panels(panels.lines());
                let right = rounded::Right { numbers, transposed: product.b_transposed };
                rounded::multiply(out, [n, k, m], left, right);
            }
            Right::Quantised(weight) => return multiply_unpacked(kernel, out, n, left, weight, product.b_transposed),
        }
    }
    Ok(())
}

/// Multiplies with `[k, m]` numbers, or `[m, k]` if the last argument says that they lie transposed.
type Kernel = unsafe fn(Out, [usize; 3], Left<'_>, &[f32], bool);

/// A product with a weight that is unpacked some rows at a time: these are columns of the output going forward, and
/// a part of the sum going back.
///
/// # Safety
/// As for [`multiply`].
unsafe fn multiply_unpacked(
    kernel: Kernel,
    out: Out,
    n: usize,
    left: Left<'_>,
    weight: &Quantised,
    transposed: bool,
) -> Result<()> {
    let (rows, width) = weight.dims2();
    let step = weight.rows_at_once();
    let mut unpacked = vec![0f32; step.min(rows) * width];
    for start in (0..rows).step_by(step) {
        let count = step.min(rows - start);
        let unpacked = &mut unpacked[..count * width];
        weight.unpack(start, unpacked)?;
        // SAFETY: the caller's; every number of `out` is written by the first part at the latest.
        unsafe {
            match transposed {
                true => kernel(Out { start: out.start.add(start), ..out }, [n, width, count], left, unpacked, true),
                false => {
                    let out = Out { accumulate: out.accumulate || start > 0, ..out };
                    kernel(out, [n, count, width], left.from(start), unpacked, false);
                }
            }
        }
    }
    Ok(())
}

/// The product of numbers that are rounded on the way.
///
/// # Safety
/// As for [`multiply`].
unsafe fn multiply_rounded(out: Out, sizes: [usize; 3], a: Left<'_>, b: &[f32], transposed: bool) {
    // SAFETY: the caller's.
    unsafe { rounded::multiply(out, sizes, a, rounded::Right { numbers: Numbers::Rows(Values::F32(b)), transposed }) };
}

/// The product in f32.
///
/// # Safety
/// As for [`multiply`].
///
/// # Panics
/// If the operands do not hold the numbers of their sizes.
unsafe fn multiply_f32(out: Out, [n, k, m]: [usize; 3], a: Left<'_>, b: &[f32], transposed: bool) {
    assert!(a.holds(n, k) && b.len() == k * m);
    let (a_row, a_column) = a.strides();
    let (b_row, b_column) = if transposed { (1, k as isize) } else { (m as isize, 1) };
    // SAFETY: the caller's for `out`; the operands hold `n * k` and `k * m` numbers in these strides.
    unsafe {
        gemm::gemm(
            n,
            m,
            k,
            out.start,
            1,
            out.stride as isize,
            out.accumulate,
            a.values.as_ptr(),
            a_column,
            a_row,
            b.as_ptr(),
            b_column,
            b_row,
            1.0,
            out.scale,
            false,
            false,
            false,
            gemm::Parallelism::Rayon(0),
        );
    }
}

/// The numbers of a contiguous bf16 tensor in main memory.
fn bf16s<'a>(storage: &'a StorageRef<'_>, layout: &Layout) -> Result<&'a [bf16]> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        candle_core::bail!("a weight of shape {:?} is not contiguous", layout.shape())
    };
    match &**storage {
        Storage::Cpu(cpu) => Ok(&cpu.as_slice::<bf16>()?[start..end]),
        _ => candle_core::bail!("a weight is not in main memory"),
    }
}
