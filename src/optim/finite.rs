//! Whether numbers are numbers.

use candle_core::{D, DType, Device, Result, Tensor};
use rayon::prelude::*;

use crate::model::ops::cpu::View;

/// Elements a thread looks at at once.
const CHUNK: usize = 1 << 14;

/// Whether all elements of an f32 tensor are finite.
///
/// # Errors
/// Whatever the tensor library reports.
pub fn is_finite(tensor: &Tensor) -> Result<bool> {
    match tensor.device() {
        Device::Cpu if tensor.dtype() == DType::F32 => {
            let contiguous = tensor.contiguous()?;
            let view = View::new(&contiguous)?;
            Ok(view.par_chunks(CHUNK).all(|chunk| chunk.iter().all(|x| x.is_finite())))
        }
        _ => Ok(residue(tensor)?.to_scalar::<f32>()?.is_finite()),
    }
}

/// A scalar on the tensor's device: zero if all elements are finite, else not a number.
pub(super) fn residue(tensor: &Tensor) -> Result<Tensor> {
    sum_by_rows(&(tensor.to_dtype(DType::F32)? * 0.0)?)
}

/// The sum of all elements. An accelerator adds up one sum with one of its blocks of threads, so rows go first.
pub(super) fn sum_by_rows(x: &Tensor) -> Result<Tensor> {
    if x.rank() > 1 { x.sum(D::Minus1)?.sum_all() } else { x.sum_all() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_by_rows_are_sums() {
        for shape in [vec![6], vec![2, 3], vec![1, 2, 3]] {
            let x = Tensor::arange(0f32, 6.0, &Device::Cpu).unwrap().reshape(shape).unwrap();
            assert_eq!(sum_by_rows(&x).unwrap().to_scalar::<f32>().unwrap(), 15.0);
        }
    }

    #[test]
    fn one_element_is_enough() {
        let mut values = vec![f32::MAX; 3 * CHUNK];
        let of = |values: &[f32]| {
            let tensor = Tensor::new(values, &Device::Cpu).unwrap();
            let residue = residue(&tensor).unwrap().to_scalar::<f32>().unwrap();
            assert_eq!(residue.is_finite(), is_finite(&tensor).unwrap());
            residue.is_finite()
        };
        assert!(of(&values));
        for broken in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            values[2 * CHUNK + 5] = broken;
            assert!(!of(&values), "{broken}");
        }
    }
}
