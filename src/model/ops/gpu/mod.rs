//! What runs on accelerators: kernels of our own, products, copies; each counted.
//!
//! The kernels are one text (`kernels/kernels.h`) that CUDA's compiler, Metal's and, for tests, the machine's C++ compiler
//! read. A call of one is a [`Launch`], the same whatever runs it, so that tests on the host go through the very arguments
//! that a GPU would get. Tensors are contiguous; those that a kernel writes must not be shared with anybody.

mod count;
#[cfg(feature = "cuda")]
mod cuda;
pub mod dropout;
#[cfg(test)]
pub mod host;
mod launch;
#[cfg(feature = "metal")]
mod metal;
mod product;
pub mod tally;

use candle_core::{DType, Device, Result, Tensor, bail};

pub use count::{Traffic, traffic};
pub use launch::Launch;
pub use product::{Operand, product};

/// Whether this tensor is on a device that the kernels run on, in a format they know.
pub fn serves(x: &Tensor) -> bool {
    !is_host(x.device()) && matches!(x.dtype(), DType::F32 | DType::BF16 | DType::F16)
}

/// Whether the CPU's own kernels are to work on what is on this device.
pub fn is_host(device: &Device) -> bool {
    #[cfg(test)]
    if host::plays_device() {
        return false;
    }
    device.is_cpu()
}

/// The dtype of matrix products of `x` whose result is not to be rounded to that of `x`; where products can have another
/// dtype than their operands.
pub fn unrounded(x: &Tensor) -> DType {
    if x.device().is_metal() { x.dtype() } else { DType::F32 }
}

/// Whether products there can have one left operand for a batch of right ones.
pub fn shares_operands(device: &Device) -> bool {
    !is_host(device) && !device.is_metal()
}

/// The part of a kernel's name that says its dtype.
fn suffix(dtype: DType) -> Result<&'static str> {
    match dtype {
        DType::F32 => Ok("f32"),
        DType::BF16 => Ok("bf16"),
        DType::F16 => Ok("f16"),
        other => bail!("there is no kernel for {other:?}"),
    }
}

/// The name of a kernel for these dtypes.
pub fn named(kernel: &str, dtypes: &[DType]) -> Result<String> {
    let mut name = kernel.to_owned();
    for &dtype in dtypes {
        name.extend(["_", suffix(dtype)?]);
    }
    Ok(name)
}

/// A tensor to be written whole.
pub fn empty(shape: impl Into<candle_core::Shape>, dtype: DType, device: &Device) -> Result<Tensor> {
    if device.is_cpu() {
        return Tensor::zeros(shape, dtype, device);
    }
    // SAFETY: numbers of any bits are numbers, and nobody reads them before a kernel has written them all.
    unsafe { Tensor::empty(shape, dtype, device) }
}

/// Numbers of the host, on the device.
pub fn upload<T: candle_core::WithDType>(
    values: &[T],
    shape: impl Into<candle_core::Shape>,
    device: &Device,
) -> Result<Tensor> {
    count::uploaded(size_of_val(values));
    Tensor::from_slice(values, shape, device)
}

/// The numbers of an f32 tensor, on the host.
pub fn download(x: &Tensor) -> Result<Vec<f32>> {
    count::downloaded(x.elem_count() * x.dtype().size_in_bytes());
    x.flatten_all()?.to_vec1()
}

/// Counts launches of operations that are candle's.
pub fn noted(launches: usize) {
    (0..launches).for_each(|_| count::launched());
}

/// A tensor of its own.
pub fn copy(x: &Tensor) -> Result<Tensor> {
    count::launched();
    x.force_contiguous()
}

/// The same numbers in another dtype.
pub fn cast(x: &Tensor, dtype: DType) -> Result<Tensor> {
    if x.dtype() != dtype {
        count::launched();
    }
    x.to_dtype(dtype)
}

/// candle's fused RMSNorm: sums in f32.
///
/// # Shapes
/// `x` `[N, D]`, `w` `[D]` of the same dtype; returns `[N, D]`.
pub fn rms_norm(x: &Tensor, w: &Tensor, eps: f64) -> Result<Tensor> {
    count::launched();
    candle_nn::ops::rms_norm(x, w, eps as f32)
}

/// `sum += x`, in the memory of `sum`.
///
/// # Errors
/// If shapes differ, or there is no kernel for the dtypes.
pub fn add(sum: &Tensor, x: &Tensor) -> Result<()> {
    if sum.shape() != x.shape() {
        bail!("{:?} cannot be added to {:?}", x.shape(), sum.shape());
    }
    let n = sum.elem_count();
    let kernel = named("add", &[x.dtype(), sum.dtype()])?;
    Launch::new(&kernel, n.div_ceil(2)).input(x).output(sum).size(n)?.number(1.0).run()
}

/// `[B, X, Y, E]` -> `[B, Y, X, E]`.
pub fn swapped(x: &Tensor) -> Result<Tensor> {
    let (b, xs, ys, e) = x.dims4()?;
    if xs == 1 || ys == 1 {
        return x.reshape((b, ys, xs, e));
    }
    let out = empty((b, ys, xs, e), x.dtype(), x.device())?;
    let width = e * x.dtype().size_in_bytes();
    // 16 bytes a thread where they fit
    let (kernel, unit) = if width.is_multiple_of(16) { ("swap_16", 16) } else { ("swap_2", 2) };
    let total = b * xs * ys * width / unit;
    Launch::new(kernel, total).input(x).output(&out).size(total)?.size(xs)?.size(ys)?.size(width / unit)?.run()?;
    Ok(out)
}

#[cfg(test)]
mod tests;
