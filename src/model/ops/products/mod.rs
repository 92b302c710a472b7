//! Sums of matrix products, the work horse of the linear layers: `start + sum_i scale_i a_i b_i`.
//!
//! On the CPU all products of a sum go into one buffer: the adapter's part and the residual need neither a buffer
//! nor a pass of their own, and the output is not filled with zeros first. Operands there are f32, or rounded to bf16
//! ([`rounded`]) where the weights are.

#[cfg(target_arch = "x86_64")]
mod avx512;
mod rounded;

use candle_core::{DType, Device, Result, Storage, StorageRef, Tensor};
use half::bf16;

use super::cpu;
use crate::profile;

/// A matrix as it lies in memory, contiguous.
#[derive(Clone, Copy)]
pub enum Operand<'a> {
    /// Used as it is.
    Plain(&'a Tensor),
    /// Used transposed.
    Transposed(&'a Tensor),
}

/// One product, `scale * a * b`.
#[derive(Clone, Copy)]
pub struct Product<'a> {
    a: Operand<'a>,
    b: Operand<'a>,
    scale: f64,
    /// Whether the operands are rounded to bf16 (on the CPU; elsewhere their dtypes say what is computed).
    rounded: bool,
}

/// Products of at most this many elements go through a kernel of their own in the `gemm` crate, and so do
/// those with at most [`SMALL_SIDE`] rows and columns: they add up in another order.
const SMALL_PRODUCT: usize = 256;
const SMALL_SIDE: usize = 64;

/// Whether activations beside weights like this one are f32: on the CPU, where bf16 weights only save memory and time
/// in products. Elsewhere activations have the dtype of the weights.
pub fn activations_are_f32(dtype: DType, device: &Device) -> bool {
    device.is_cpu() && dtype == DType::BF16
}

impl<'a> Operand<'a> {
    fn tensor(self) -> &'a Tensor {
        match self {
            Self::Plain(x) | Self::Transposed(x) => x,
        }
    }

    /// Another tensor, used in the same way.
    fn replaced(self, tensor: &'a Tensor) -> Self {
        if self.is_transposed() { Self::Transposed(tensor) } else { Self::Plain(tensor) }
    }

    fn is_transposed(self) -> bool {
        matches!(self, Self::Transposed(_))
    }

    /// Rows and columns as used.
    fn dims(self) -> Result<(usize, usize)> {
        let (rows, columns) = self.tensor().dims2()?;
        Ok(if self.is_transposed() { (columns, rows) } else { (rows, columns) })
    }

    /// Strides of rows and columns as used.
    fn strides(self) -> Result<(isize, isize)> {
        let stride = self.tensor().dim(1)? as isize;
        Ok(if self.is_transposed() { (1, stride) } else { (stride, 1) })
    }

    fn used(self) -> Result<Tensor> {
        match self {
            Self::Plain(x) => Ok(x.clone()),
            Self::Transposed(x) => x.t(),
        }
    }
}

impl<'a> Product<'a> {
    /// `x W^T`, the forward of a linear layer: `x` `[N, in]`, `w` `[out, in]`.
    pub fn forward(x: &'a Tensor, w: &'a Tensor) -> Self {
        Self::new(Operand::Plain(x), Operand::Transposed(w))
    }

    /// `dy W`, the gradient of its input: `dy` `[N, out]`, `w` `[out, in]`.
    pub fn backward(dy: &'a Tensor, w: &'a Tensor) -> Self {
        Self::new(Operand::Plain(dy), Operand::Plain(w))
    }

    /// `dy^T x`, the gradient of its weight: `dy` `[N, out]`, `x` `[N, in]`.
    pub fn gradient(dy: &'a Tensor, x: &'a Tensor) -> Self {
        Self::new(Operand::Transposed(dy), Operand::Plain(x))
    }

    fn new(a: Operand<'a>, b: Operand<'a>) -> Self {
        let rounded = activations_are_f32(b.tensor().dtype(), b.tensor().device());
        Self { a, b, scale: 1.0, rounded }
    }

    /// The same, times `scale`.
    pub fn scaled(self, scale: f64) -> Self {
        Self { scale, ..self }
    }

    /// The same, computed as precisely as products with `weight` are.
    pub fn like(self, weight: &Tensor) -> Self {
        Self { rounded: activations_are_f32(weight.dtype(), weight.device()), ..self }
    }

    /// `[n, k, m]` of `[n, k] x [k, m]`.
    fn sizes(&self) -> Result<[usize; 3]> {
        let ((n, k), (rows, m)) = (self.a.dims()?, self.b.dims()?);
        if k != rows {
            candle_core::bail!("[{n}, {k}] times [{rows}, {m}] is no product");
        }
        Ok([n, k, m])
    }

    fn timed_matmul(&self) -> Result<Tensor> {
        profile::product(self.sizes()?, self.a.tensor().device(), || {
            let product = self.a.used()?.matmul(&self.b.used()?)?;
            if self.scale == 1.0 { Ok(product) } else { product * self.scale }
        })
    }
}

/// `start + sum of products`; on the CPU a row has the same bits in a batch of one and of a thousand.
///
/// Elsewhere the first product decides the dtype: later ones (adapters, in f32) are cast to it.
///
/// # Shapes
/// Every product `[N, M]`, `start` `[N, M]` or nothing; returns `[N, M]`.
///
/// # Errors
/// If shapes do not fit, or there is no product.
pub fn sum_of_products(start: Option<&Tensor>, products: &[Product<'_>]) -> Result<Tensor> {
    let Some(first) = products.first() else { candle_core::bail!("a sum of no products") };
    let [n, _, m] = first.sizes()?;
    let device = first.a.tensor().device();
    let enough = (SMALL_PRODUCT / m + 1).max(if m <= SMALL_SIDE { SMALL_SIDE + 1 } else { 2 });
    let any_number = products.iter().all(|p| p.rounded) && rounded::rows_are_independent();
    if device.is_cpu() && n > 0 && n < enough && !any_number {
        return padded(start, products, n, enough);
    }
    // with Apple's Accelerate candle's own product is the faster one
    let ours = !cfg!(feature = "accelerate") || products.iter().any(|p| p.rounded);
    if ours && products.iter().all(|p| cpu::serves(p.a.tensor())) && start.is_none_or(cpu::serves) {
        return fused(start, products, n, m);
    }
    let mut sum = first.timed_matmul()?;
    for product in &products[1..] {
        sum = (sum + product.timed_matmul()?.to_dtype(first.a.tensor().dtype())?)?;
    }
    match start {
        Some(start) => start + sum,
        None => Ok(sum),
    }
}

/// Rows of zeros are added until the products are such that the general kernel computes them.
fn padded(start: Option<&Tensor>, products: &[Product<'_>], n: usize, enough: usize) -> Result<Tensor> {
    let pad = |x: &Tensor, along| x.pad_with_zeros(along, 0, enough - n)?.contiguous();
    let start = start.map(|start| pad(start, 0)).transpose()?;
    let lefts: Vec<Tensor> =
        products.iter().map(|p| pad(p.a.tensor(), usize::from(p.a.is_transposed()))).collect::<Result<_>>()?;
    let products: Vec<Product<'_>> =
        products.iter().zip(&lefts).map(|(p, left)| Product { a: p.a.replaced(left), ..*p }).collect();
    sum_of_products(start.as_ref(), &products)?.narrow(0, 0, n)?.contiguous()
}

fn fused(start: Option<&Tensor>, products: &[Product<'_>], n: usize, m: usize) -> Result<Tensor> {
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
        let accumulate = start.is_some() || i > 0;
        profile::product(sizes, product.a.tensor().device(), || {
            // SAFETY: `out` has room for `n * m` numbers, of which all are initialised when `accumulate` reads them.
            unsafe {
                match product.rounded {
                    true => multiply_rounded(out.as_mut_ptr(), sizes, product, accumulate),
                    false => multiply(out.as_mut_ptr(), sizes, product, accumulate),
                }
            }
        })?;
        // SAFETY: the product wrote every element.
        unsafe { out.set_len(n * m) };
    }
    cpu::tensor(out, (n, m))
}

/// # Safety
/// `out` has room for `n * m` numbers, initialised when `accumulate`.
unsafe fn multiply(out: *mut f32, [n, k, m]: [usize; 3], product: &Product<'_>, accumulate: bool) -> Result<()> {
    let (a, b) = (cpu::View::new(product.a.tensor())?, cpu::View::new(product.b.tensor())?);
    let ((a_row, a_column), (b_row, b_column)) = (product.a.strides()?, product.b.strides()?);
    // SAFETY: the views hold `n * k` and `k * m` elements with these strides: they are contiguous.
    unsafe {
        gemm::gemm(
            n,
            m,
            k,
            out,
            1,
            m as isize,
            accumulate,
            a.as_ptr(),
            a_column,
            a_row,
            b.as_ptr(),
            b_column,
            b_row,
            1.0,
            product.scale as f32,
            false,
            false,
            false,
            gemm::Parallelism::Rayon(0),
        );
    }
    Ok(())
}

/// # Safety
/// As for [`multiply`].
unsafe fn multiply_rounded(out: *mut f32, sizes: [usize; 3], product: &Product<'_>, accumulate: bool) -> Result<()> {
    let a = cpu::View::new(product.a.tensor())?;
    let a = rounded::Left { values: &a, transposed: product.a.is_transposed() };
    let (b, transposed) = (product.b.tensor(), product.b.is_transposed());
    let scale = product.scale as f32;
    if cpu::serves(b) {
        let values = cpu::View::new(b)?;
        let b = rounded::Right { values: rounded::Values::F32(&values), transposed };
        // SAFETY: the caller's.
        unsafe { rounded::multiply(out, sizes, a, b, scale, accumulate) };
        return Ok(());
    }
    let (guard, layout) = b.storage_and_layout();
    let values = bf16s(&guard, layout)?;
    let b = rounded::Right { values: rounded::Values::Bf16(values), transposed };
    // SAFETY: the caller's.
    unsafe { rounded::multiply(out, sizes, a, b, scale, accumulate) };
    Ok(())
}

/// The numbers of a contiguous bf16 tensor in main memory.
fn bf16s<'a>(storage: &'a StorageRef<'_>, layout: &candle_core::Layout) -> Result<&'a [bf16]> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        candle_core::bail!("a weight of shape {:?} is not contiguous", layout.shape())
    };
    match &**storage {
        Storage::Cpu(cpu) => Ok(&cpu.as_slice::<bf16>()?[start..end]),
        _ => candle_core::bail!("a weight is not in main memory"),
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::super::testing::*;
    use super::*;

    #[test]
    fn rows_do_not_depend_on_their_number() -> Result<()> {
        for (input, out) in [(64, 3), (600, 16), (128, 64), (128, 128), (40, 300), (3, 64)] {
            let (x, w) = (random(1, (300, input))?, random(2, (out, input))?);
            let (u, b) = (random(3, (300, 4))?, random(4, (out, 4))?);
            let start = random(5, (300, out))?;
            for w in [w.clone(), w.to_dtype(DType::BF16)?] {
                let first = |n: usize| -> Result<Vec<Vec<f32>>> {
                    let (x, u, start) = (x.narrow(0, 0, n)?, u.narrow(0, 0, n)?, start.narrow(0, 0, n)?);
                    let products = [Product::forward(&x, &w), Product::forward(&u, &b).like(&w).scaled(0.5)];
                    sum_of_products(Some(&start), &products)?.to_vec2()
                };
                let all = first(300)?;
                for n in (1..90).chain([200]) {
                    assert_eq!(first(n)?[..], all[..n], "{n} rows of {input} times {out}, {:?}", w.dtype());
                }
            }
        }
        Ok(())
    }

    #[test]
    fn fused_equals_composed() -> Result<()> {
        let (x, w, u, b) = (random(1, (90, 20))?, random(2, (20, 30))?, random(3, (90, 4))?, random(4, (30, 4))?);
        let start = random(5, (90, 30))?;
        let wide = |t: &Tensor| t.to_dtype(DType::F64);
        let (x64, w64, u64, b64) = (wide(&x)?, wide(&w)?, wide(&u)?, wide(&b)?);
        let start64 = wide(&start)?;
        let composed = sum_of_products(
            Some(&start64),
            &[Product::backward(&x64, &w64), Product::forward(&u64, &b64).scaled(1.5)],
        )?;
        let products = [Product::backward(&x, &w), Product::forward(&u, &b).scaled(1.5)];
        assert_close(&sum_of_products(Some(&start), &products)?, &composed, 1e-4);
        let without = (composed - &start64)?;
        assert_close(&sum_of_products(None, &products)?, &without, 1e-4);
        let outer = Product::gradient(&x64, &start64).scaled(0.5);
        let fused = sum_of_products(None, &[Product::gradient(&x, &start).scaled(0.5)])?;
        assert_close(&fused, &sum_of_products(None, &[outer])?, 1e-4);
        assert!(sum_of_products(Some(&x), &products).is_err() && sum_of_products(None, &[]).is_err());
        Ok(())
    }
}
