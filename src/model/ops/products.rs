//! Sums of matrix products, the work horse of the linear layers: `start + sum_i scale_i a_i b_i`.
//!
//! On the CPU all products of a sum go into one buffer: the adapter's part and the residual need neither a buffer
//! nor a pass of their own, and the output is not filled with zeros first.

use candle_core::{Result, Tensor};

use super::cpu;
use crate::profile;

/// One product, `scale * a * b` with `b` given as it lies in memory.
#[derive(Clone, Copy)]
pub struct Product<'a> {
    /// `[N, K]`, contiguous.
    pub a: &'a Tensor,
    /// The right-hand side.
    pub b: Right<'a>,
    /// Factor.
    pub scale: f64,
}

/// A right-hand side, contiguous in memory.
#[derive(Clone, Copy)]
pub enum Right<'a> {
    /// `[K, M]`, used as it is.
    Plain(&'a Tensor),
    /// `[M, K]`, used transposed: the weight of a linear layer.
    Transposed(&'a Tensor),
}

/// Products of at most this many elements go through a kernel of their own in the `gemm` crate, and so do
/// those with at most [`SMALL_SIDE`] rows and columns: they add up in another order.
const SMALL_PRODUCT: usize = 256;
const SMALL_SIDE: usize = 64;

impl<'a> Product<'a> {
    /// `x W^T`, the forward of a linear layer.
    pub fn forward(x: &'a Tensor, w: &'a Tensor) -> Self {
        Self { a: x, b: Right::Transposed(w), scale: 1.0 }
    }

    /// `dy W`, the backward of a linear layer.
    pub fn backward(dy: &'a Tensor, w: &'a Tensor) -> Self {
        Self { a: dy, b: Right::Plain(w), scale: 1.0 }
    }

    /// The same, times `scale`.
    pub fn scaled(self, scale: f64) -> Self {
        Self { scale, ..self }
    }

    fn columns(&self) -> Result<usize> {
        match self.b {
            Right::Plain(b) => b.dim(1),
            Right::Transposed(b) => b.dim(0),
        }
    }

    fn timed_matmul(&self) -> Result<Tensor> {
        let (n, k) = self.a.dims2()?;
        profile::product([n, k, self.columns()?], self.a.device(), || self.matmul())
    }

    fn matmul(&self) -> Result<Tensor> {
        let product = match self.b {
            Right::Plain(b) => self.a.matmul(b)?,
            Right::Transposed(b) => self.a.matmul(&b.t()?)?,
        };
        if self.scale == 1.0 { Ok(product) } else { product * self.scale }
    }
}

/// `start + sum of products`; on the CPU a row has the same bits in a batch of one and of a thousand.
///
/// The first product decides the dtype: later ones (adapters, in f32) are cast to it.
///
/// # Shapes
/// Every product `[N, M]`, `start` `[N, M]` or nothing; returns `[N, M]`.
///
/// # Errors
/// If shapes do not fit, or there is no product.
pub fn sum_of_products(start: Option<&Tensor>, products: &[Product<'_>]) -> Result<Tensor> {
    let Some(first) = products.first() else { candle_core::bail!("a sum of no products") };
    let (n, m) = (first.a.dim(0)?, first.columns()?);
    let enough = (SMALL_PRODUCT / m + 1).max(if m <= SMALL_SIDE { SMALL_SIDE + 1 } else { 2 });
    if first.a.device().is_cpu() && n > 0 && n < enough {
        return padded(start, products, n, enough);
    }
    // with Apple's Accelerate candle's own product is the faster one
    let ours = !cfg!(feature = "accelerate");
    if ours && products.iter().all(|p| cpu::serves(p.a)) && start.is_none_or(cpu::serves) {
        return fused(start, products, n, m);
    }
    let mut sum = first.timed_matmul()?;
    for product in &products[1..] {
        sum = (sum + product.timed_matmul()?.to_dtype(first.a.dtype())?)?;
    }
    match start {
        Some(start) => start + sum,
        None => Ok(sum),
    }
}

/// Rows of zeros are added until the products are such that the general kernel computes them.
fn padded(start: Option<&Tensor>, products: &[Product<'_>], n: usize, enough: usize) -> Result<Tensor> {
    let pad = |x: &Tensor| x.pad_with_zeros(0, 0, enough - n)?.contiguous();
    let start = start.map(pad).transpose()?;
    let lefts: Vec<Tensor> = products.iter().map(|p| pad(p.a)).collect::<Result<_>>()?;
    let products: Vec<Product<'_>> = products.iter().zip(&lefts).map(|(p, a)| Product { a, ..*p }).collect();
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
        let (a, k) = (cpu::View::new(product.a)?, product.a.dim(1)?);
        let (b, rows, row_stride, column_stride) = match product.b {
            Right::Plain(b) => (b, b.dims2()?, b.dim(1)?, 1),
            Right::Transposed(b) => (b, (b.dim(1)?, b.dim(0)?), 1, b.dim(1)?),
        };
        if rows != (k, m) || product.a.dim(0)? != n {
            candle_core::bail!("{:?} times {:?} is not [{n}, {m}]", product.a.dims(), b.dims());
        }
        let b = cpu::View::new(b)?;
        let accumulate = start.is_some() || i > 0;
        profile::product([n, k, m], product.a.device(), || {
            // SAFETY: the views hold `n * k` and `k * m` elements with these strides (checked above, and they are
            // contiguous); `out` has room for `n * m`, of which all are initialised when `accumulate` reads them.
            unsafe {
                gemm::gemm(
                    n,
                    m,
                    k,
                    out.as_mut_ptr(),
                    1,
                    m as isize,
                    accumulate,
                    a.as_ptr(),
                    1,
                    k as isize,
                    b.as_ptr(),
                    column_stride as isize,
                    row_stride as isize,
                    1.0,
                    product.scale as f32,
                    false,
                    false,
                    false,
                    gemm::Parallelism::Rayon(0),
                );
            }
            Ok(())
        })?;
        // SAFETY: the product wrote every element.
        unsafe { out.set_len(n * m) };
    }
    cpu::tensor(out, (n, m))
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
            let first = |n: usize| -> Result<Vec<Vec<f32>>> {
                let (x, u, start) = (x.narrow(0, 0, n)?, u.narrow(0, 0, n)?, start.narrow(0, 0, n)?);
                let products = [Product::forward(&x, &w), Product::forward(&u, &b).scaled(0.5)];
                sum_of_products(Some(&start), &products)?.to_vec2()
            };
            let all = first(300)?;
            for n in (1..90).chain([200]) {
                assert_eq!(first(n)?[..], all[..n], "{n} rows of {input} times {out}");
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
        let composed = sum_of_products(
            Some(&wide(&start)?),
            &[Product::backward(&x64, &w64), Product::forward(&u64, &b64).scaled(1.5)],
        )?;
        let products = [Product::backward(&x, &w), Product::forward(&u, &b).scaled(1.5)];
        assert_close(&sum_of_products(Some(&start), &products)?, &composed, 1e-4);
        let without = (composed - wide(&start)?)?;
        assert_close(&sum_of_products(None, &products)?, &without, 1e-4);
        assert!(sum_of_products(Some(&x), &products).is_err() && sum_of_products(None, &[]).is_err());
        Ok(())
    }
}
