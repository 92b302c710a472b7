//! Sums of matrix products, the work horse of the linear layers: `start + sum_i scale_i a_i b_i`.
//!
//! On the CPU all products of a sum go into one buffer: the adapter's part and the residual need neither a buffer
//! nor a pass of their own, and the output is not filled with zeros first. Operands there are f32, or rounded to bf16
//! ([`rounded`]) where the weights are.

#[cfg(target_arch = "x86_64")]
mod avx512;
mod fused;
mod operands;
mod panels;
mod plain;
mod quantised;
mod rounded;

use candle_core::{DType, Device, Result, Tensor};

use super::{cpu, gpu};
use crate::profile;
use fused::fused;
pub use panels::{PANEL, Panels};
pub use quantised::Quantised;

/// A right-hand side as it lies in memory, contiguous.
#[derive(Clone, Copy)]
pub enum Right<'a> {
    /// Numbers.
    Dense(&'a Tensor),
    /// Numbers in panels.
    Panels(&'a Panels),
    /// Blocks to be unpacked.
    Quantised(&'a Quantised),
}

impl<'a> From<&'a Panels> for Right<'a> {
    fn from(panels: &'a Panels) -> Self {
        Self::Panels(panels)
    }
}

impl<'a> From<&'a Tensor> for Right<'a> {
    fn from(tensor: &'a Tensor) -> Self {
        Self::Dense(tensor)
    }
}

impl Right<'_> {
    fn dims2(self) -> Result<(usize, usize)> {
        match self {
            Self::Dense(tensor) => tensor.dims2(),
            Self::Panels(panels) => Ok(panels.dims2()),
            Self::Quantised(weight) => Ok(weight.dims2()),
        }
    }

    /// Whether operands beside this one are rounded to bf16, on the CPU.
    fn rounds(self) -> bool {
        match self {
            Self::Dense(tensor) => activations_are_f32(tensor.dtype(), tensor.device()),
            Self::Panels(_) => true,
            Self::Quantised(weight) => activations_are_f32(weight.dtype(), &weight.device()),
        }
    }
}

/// One product, `scale * a * b`.
#[derive(Clone, Copy)]
pub struct Product<'a> {
    /// Contiguous; `[N, K]`, or `[K, N]` if `a_transposed`.
    a: &'a Tensor,
    a_transposed: bool,
    /// `[K, M]`, or `[M, K]` if `b_transposed`.
    b: Right<'a>,
    b_transposed: bool,
    scale: f64,
    /// Whether the operands are rounded to bf16 (on the CPU; elsewhere their dtypes say what is computed).
    rounded: bool,
    /// Whether accelerators that have TF32 may round f32 operands to it.
    fast: bool,
}

/// Products of at most this many elements go through a kernel of their own in the `gemm` crate, and so do
/// those with at most [`SMALL_SIDE`] rows and columns: they add up in another order.
const SMALL_PRODUCT: usize = 256;
const SMALL_SIDE: usize = 64;

/// Whether activations beside weights of this dtype are f32: on the CPU, where bf16 is a matter of weights and products.
/// Elsewhere activations have the dtype of the weights.
pub fn activations_are_f32(dtype: DType, device: &Device) -> bool {
    gpu::is_host(device) && dtype == DType::BF16
}

impl<'a> Product<'a> {
    /// `x W^T`, the forward of a linear layer: `x` `[N, in]`, `w` `[out, in]`.
    pub fn forward(x: &'a Tensor, w: impl Into<Right<'a>>) -> Self {
        Self::new(x, false, w.into(), true)
    }

    /// `dy W`, the gradient of its input: `dy` `[N, out]`, `w` `[out, in]`.
    pub fn backward(dy: &'a Tensor, w: impl Into<Right<'a>>) -> Self {
        Self::new(dy, false, w.into(), false)
    }

    /// `dy^T x`, the gradient of its weight: `dy` `[N, out]`, `x` `[N, in]`.
    pub fn gradient(dy: &'a Tensor, x: &'a Tensor) -> Self {
        Self::new(dy, true, Right::Dense(x), false)
    }

    fn new(a: &'a Tensor, a_transposed: bool, b: Right<'a>, b_transposed: bool) -> Self {
        Self { a, a_transposed, b, b_transposed, scale: 1.0, rounded: b.rounds(), fast: false }
    }

    /// The same, times `scale`.
    pub fn scaled(self, scale: f64) -> Self {
        Self { scale, ..self }
    }

    /// The same, computed as precisely as products with `weight` are.
    pub fn like(self, weight: impl Into<Right<'a>>) -> Self {
        Self { rounded: weight.into().rounds(), ..self }
    }

    /// The same; accelerators may round f32 operands to TF32 if `fast`.
    pub fn fast(self, fast: bool) -> Self {
        Self { fast, ..self }
    }

    /// `[n, k, m]` of `[n, k] x [k, m]`.
    fn sizes(&self) -> Result<[usize; 3]> {
        let turned = |(rows, columns), transposed| if transposed { (columns, rows) } else { (rows, columns) };
        let (n, k) = turned(self.a.dims2()?, self.a_transposed);
        let (rows, m) = turned(self.b.dims2()?, self.b_transposed);
        if k != rows {
            candle_core::bail!("[{n}, {k}] times [{rows}, {m}] is no product");
        }
        Ok([n, k, m])
    }

    fn timed_matmul(&self) -> Result<Tensor> {
        let turned = |x: &Tensor, transposed| if transposed { x.t() } else { Ok(x.clone()) };
        profile::product(self.sizes()?, self.a.device(), || {
            let a = turned(self.a, self.a_transposed)?;
            let product = match self.b {
                Right::Dense(b) => a.matmul(&turned(b, self.b_transposed)?)?,
                Right::Panels(panels) => {
                    a.matmul(&turned(&panels.unpacked()?.to_dtype(a.dtype())?, self.b_transposed)?)?
                }
                Right::Quantised(weight) => weight.product(&a, self.b_transposed)?,
            };
            if self.scale == 1.0 { Ok(product) } else { product * self.scale }
        })
    }

    /// The product, added to `sum` in its memory if there is one, on an accelerator.
    fn added(&self, sum: Option<Tensor>, dtype: DType) -> Result<Tensor> {
        let times = |b: &Tensor, sum, dtype| {
            let a = gpu::Operand { x: self.a, transposed: self.a_transposed };
            let b = gpu::Operand { x: b, transposed: self.b_transposed };
            gpu::product(sum, a, b, self.scale, dtype, self.fast)
        };
        let apart = match self.b {
            Right::Dense(b) if self.a.dtype() == dtype => return times(b, sum, dtype),
            Right::Dense(b) => times(b, None, self.a.dtype())?,
            Right::Panels(_) => candle_core::bail!("panels are for the CPU"),
            Right::Quantised(weight) => {
                let product = weight.product(self.a, self.b_transposed)?;
                if self.scale == 1.0 { product } else { (product * self.scale)? }
            }
        };
        match sum {
            Some(sum) => gpu::add(&sum, &apart).map(|()| sum),
            None => gpu::cast(&apart, dtype),
        }
    }

    /// Whether the fused products of the CPU can compute it.
    fn is_served(&self) -> bool {
        // with Apple's Accelerate candle's own product of f32 numbers is the faster one
        let plain = !self.rounded && matches!(self.b, Right::Dense(_));
        cpu::serves(self.a) && !(plain && cfg!(feature = "accelerate"))
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
    let enough = least_rows(m);
    let any_number = products.iter().all(|p| p.rounded) && rounded::is_native();
    if gpu::serves(first.a) {
        return on_device(start, products);
    }
    if first.a.device().is_cpu() && n > 0 && n < enough && !any_number {
        return padded(start, products, n, enough);
    }
    if products.iter().all(Product::is_served) && start.is_none_or(cpu::serves) {
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

/// [`sum_of_products`] on an accelerator, into one buffer as long as dtypes allow it.
fn on_device(start: Option<&Tensor>, products: &[Product<'_>]) -> Result<Tensor> {
    let mut sum = start.map(gpu::copy).transpose()?;
    let Some(first) = products.first() else { candle_core::bail!("a sum of no products") };
    let dtype = first.a.dtype();
    for product in products {
        sum = Some(profile::product(product.sizes()?, product.a.device(), || product.added(sum, dtype))?);
    }
    sum.ok_or_else(|| candle_core::Error::Msg("a sum of no products".into()))
}

/// `sum + product` on an accelerator, in the memory of `sum`, which nobody else may share.
///
/// # Shapes
/// Both `[N, M]`.
pub fn added_on_device(sum: Tensor, product: Product<'_>) -> Result<Tensor> {
    let dtype = sum.dtype();
    profile::product(product.sizes()?, product.a.device(), || product.added(Some(sum), dtype))
}

/// Rows from which on products with `m` columns go through one kernel whatever their number.
pub fn least_rows(m: usize) -> usize {
    (SMALL_PRODUCT / m.max(1) + 1).max(if m <= SMALL_SIDE { SMALL_SIDE + 1 } else { 2 })
}

/// Adds a product to f32 numbers in main memory.
///
/// # Shapes
/// The product `[N, M]`, with `N` at least [`least_rows`] of `M` if rows are not to depend on their number; `out` holds
/// as many numbers.
///
/// # Errors
/// If sizes do not fit.
pub fn add_product(out: &mut [f32], product: Product<'_>) -> Result<()> {
    let [n, _, m] = product.sizes()?;
    if out.len() != n * m {
        candle_core::bail!("a product of [{n}, {m}] cannot be added to {} numbers", out.len());
    }
    if product.is_served() {
        return fused::add(out, &product);
    }
    let product = product.timed_matmul()?.to_dtype(DType::F32)?;
    out.iter_mut().zip(cpu::View::new(&product)?.iter()).for_each(|(out, x)| *out += x);
    Ok(())
}

/// Rows of zeros are added until the products are such that the general kernel computes them.
fn padded(start: Option<&Tensor>, products: &[Product<'_>], n: usize, enough: usize) -> Result<Tensor> {
    let pad = |x: &Tensor, along| x.pad_with_zeros(along, 0, enough - n)?.contiguous();
    let start = start.map(|start| pad(start, 0)).transpose()?;
    let lefts: Vec<Tensor> = products.iter().map(|p| pad(p.a, usize::from(p.a_transposed))).collect::<Result<_>>()?;
    let products: Vec<Product<'_>> = products.iter().zip(&lefts).map(|(p, a)| Product { a, ..*p }).collect();
    sum_of_products(start.as_ref(), &products)?.narrow(0, 0, n)?.force_contiguous()
}

#[cfg(test)]
mod tests {
    use candle_core::DType;
    use candle_core::quantized::GgmlDType;

    use super::super::testing::*;
    use super::*;

    #[test]
    fn panels_change_no_bit() -> Result<()> {
        for (input, out) in [(64, 3), (128, 64), (33, 70), (1100, 40), (40, 1100)] {
            let (x, dy) = (random(1, (50, input))?, random(2, (50, out))?);
            let w = random(3, (out, input))?.to_dtype(DType::BF16)?;
            let panels = Panels::of(&w)?;
            let bits = |product: Product<'_>| sum_of_products(None, &[product])?.to_vec2::<f32>();
            let forward = |w: Right<'_>| bits(Product::forward(&x, w));
            let backward = |w: Right<'_>| bits(Product::backward(&dy, w));
            assert!(forward(Right::Dense(&w))? == forward(Right::Panels(&panels))?, "[{out}, {input}]");
            let like_f32 = bits(Product::forward(&x, &w).like(&dy))?;
            assert!(like_f32 == bits(Product::forward(&x, &panels).like(&dy))?, "[{out}, {input}]");
            assert!(backward(Right::Dense(&w))? == backward(Right::Panels(&panels))?, "[{out}, {input}]");
        }
        Ok(())
    }

    #[test]
    fn blocks_that_are_read_as_they_are_change_no_bit() -> anyhow::Result<()> {
        let (rows, width) = (70, 1088);
        let (x, dy, w) = (random(1, (50, width))?, random(2, (50, rows))?, random(3, (rows, width))?);
        let load = |start, len| Ok(w.narrow(0, start, len)?.force_contiguous()?);
        let weight = Quantised::pack((rows, width), load, GgmlDType::Q8_0, DType::BF16, &Device::Cpu)?;
        if !weight.is_read_as_it_is() {
            return Ok(());
        }
        let plain = weight.unpacked(0, rows)?.to_dtype(DType::BF16)?;
        let bits = |product: Product<'_>| sum_of_products(None, &[product])?.to_vec2::<f32>();
        assert!(bits(Product::forward(&x, Right::Quantised(&weight)))? == bits(Product::forward(&x, &plain))?);
        assert!(bits(Product::backward(&dy, Right::Quantised(&weight)))? == bits(Product::backward(&dy, &plain))?);
        Ok(())
    }

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
