//! Matrix products on accelerators, alone or in batches, that may be added to what is there.

#[cfg(any(test, feature = "cuda"))]
use candle_core::Device;
use candle_core::{DType, Result, Tensor, bail};

use super::count;

/// A factor: `[N, K]`, or `[batch, N, K]`, contiguous, read as its transpose or as it is.
#[derive(Clone, Copy, Debug)]
pub struct Operand<'a> {
    /// The numbers.
    pub x: &'a Tensor,
    /// Whether rows and columns change places.
    pub transposed: bool,
}

/// A product as cuBLAS is asked for it. To cuBLAS, which counts by columns, a matrix of ours is its own transpose, so it
/// computes `out^T = b^T a^T`: `[m, n] = [m, k] [k, n]`, the factors in that order.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "cuda"), expect(dead_code))] // nobody to read it
pub(super) struct ByColumns {
    pub batch: usize,
    pub m: usize,
    pub n: usize,
    pub k: usize,
    /// Whether a factor is transposed to be multiplied.
    pub transposed: [bool; 2],
    /// Numbers from column to column of a factor.
    pub widths: [usize; 2],
    /// Numbers from matrix to matrix of a factor.
    pub steps: [usize; 2],
    pub scale: f32,
    /// Whether the product is added to what is there.
    pub adds: bool,
    /// Whether f32 operands may be rounded to TF32.
    pub fast: bool,
}

impl<'a> Operand<'a> {
    /// As it is.
    pub fn plain(x: &'a Tensor) -> Self {
        Self { x, transposed: false }
    }

    /// Its transpose.
    pub fn transposed(x: &'a Tensor) -> Self {
        Self { x, transposed: true }
    }

    /// `(batch, rows, columns)`, turned.
    fn dims(self) -> Result<(usize, usize, usize)> {
        let (batch, rows, columns) = match *self.x.dims() {
            [rows, columns] => (1, rows, columns),
            [batch, rows, columns] => (batch, rows, columns),
            _ => bail!("{:?} is no matrix", self.x.shape()),
        };
        Ok(if self.transposed { (batch, columns, rows) } else { (batch, rows, columns) })
    }

    fn turned(self) -> Result<Tensor> {
        if self.transposed {
            self.x.transpose(candle_core::D::Minus2, candle_core::D::Minus1)
        } else {
            Ok(self.x.clone())
        }
    }
}

/// `scale * a b`, added to `sum` in its memory if there is one; then nobody else may share that. Sums are f32 whatever the
/// dtypes; `fast` lets products of f32 numbers round them to TF32 where the device has it.
///
/// # Shapes
/// `a` `[N, K]`, `b` `[K, M]`, both with the same number of matrices in front or none; returns `[N, M]` likewise. Where
/// [`super::shares_operands`], `a` may be one matrix for all of `b`.
///
/// # Errors
/// If operands do not fit, or their dtypes differ; if `dtype` is neither theirs nor f32.
pub fn product(
    sum: Option<Tensor>,
    a: Operand<'_>,
    b: Operand<'_>,
    scale: f64,
    dtype: DType,
    fast: bool,
) -> Result<Tensor> {
    let ((matrices, n, k), (batch, rows, m)) = (a.dims()?, b.dims()?);
    let one_for_all = a.x.rank() < b.x.rank() && super::shares_operands(a.x.device());
    let alike = a.x.rank() == b.x.rank() && matrices == batch;
    if k != rows || !(alike || one_for_all) || a.x.dtype() != b.x.dtype() {
        bail!("{:?} of {:?} times {:?} of {:?} is no product", a.x.dtype(), a, b.x.dtype(), b);
    }
    if !a.x.is_contiguous() || !b.x.is_contiguous() {
        bail!("an operand of a product is not contiguous");
    }
    let shape = if b.x.rank() == 2 { vec![n, m] } else { vec![batch, n, m] };
    if sum.as_ref().is_some_and(|sum| sum.dims() != shape || sum.dtype() != dtype || !sum.is_contiguous()) {
        bail!("a product of {shape:?} in {dtype:?} cannot be added to {sum:?}");
    }
    count::launched();
    let operands = (a, b);
    let pick = |operand: Operand<'_>, plain, turned| if operand.transposed { turned } else { plain };
    let by_columns = ByColumns {
        batch,
        m,
        n,
        k,
        transposed: [b.transposed, a.transposed],
        widths: [pick(b, m, k), pick(a, k, n)],
        steps: [k * m, if one_for_all { 0 } else { n * k }],
        scale: scale as f32,
        adds: sum.is_some(),
        fast,
    };
    let into = |sum: Option<Tensor>| sum.map_or_else(|| super::empty(shape, dtype, a.x.device()), Ok);
    match a.x.device() {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => {
            let out = into(sum)?;
            super::cuda::product(device, &out, operands, by_columns)?;
            Ok(out)
        }
        #[cfg(test)]
        Device::Cpu => {
            let out = into(sum)?;
            super::host::product(&out, operands, by_columns)?;
            Ok(out)
        }
        _ => {
            let _ = (operands, by_columns, into);
            let product = a.turned()?.matmul(&b.turned()?)?;
            let product = if scale == 1.0 { product } else { (product * scale)? }.to_dtype(dtype)?;
            match sum {
                Some(sum) => super::add(&sum, &product).map(|()| sum),
                None => Ok(product),
            }
        }
    }
}
