//! Clipping by the global norm.

use candle_core::{CpuStorage, DType, Device, Storage, Tensor};
use rayon::prelude::*;

use super::finite::sum_by_rows;
use super::{Named, OptimError, Result};

/// Summands added up in sequence; part of the result's bits, so independent of the number of threads.
const CHUNK: usize = 1 << 14;

/// The norm of all gradients together and what it asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clip {
    /// Euclidean norm before clipping.
    pub norm: f64,
    /// Factor for every gradient, at most one.
    pub scale: f64,
}

/// The global norm of some gradients and the factor that brings it down to `max_norm`:
/// `min(1, max_norm / (norm + 1e-6))`, as `torch.nn.utils.clip_grad_norm_` has it. A `max_norm` of 0 turns
/// clipping off. The gradients are left alone; [`super::AdamW::step`] takes the factor.
///
/// Squares are summed in f64 in name order (on Metal, which has no f64, in f32 within a tensor). All gradients live
/// on one device.
///
/// # Errors
/// [`OptimError::NonFinite`] if the norm is infinite or not a number.
pub fn clip(gradients: &Named, max_norm: f64) -> Result<Clip> {
    let squares = sums_of_squares(gradients)?;
    let norm = squares.iter().sum::<f64>().sqrt();
    if !norm.is_finite() {
        let first = gradients.keys().zip(&squares).find(|(_, square)| !square.is_finite());
        let name = first.map(|(name, _)| name.clone()).unwrap_or_default();
        return Err(OptimError::NonFinite { norm, name });
    }
    let scale = if max_norm > 0.0 { (max_norm / (norm + 1e-6)).min(1.0) } else { 1.0 };
    Ok(Clip { norm, scale })
}

/// One sum a gradient, in name order.
fn sums_of_squares(gradients: &Named) -> candle_core::Result<Vec<f64>> {
    let mut sums = Vec::with_capacity(gradients.len());
    let mut on_device = Vec::new();
    for gradient in gradients.values() {
        match gradient.device() {
            Device::Cpu => sums.push(sum_of_squares_cpu(gradient)?),
            Device::Cuda(_) => on_device.push(sum_by_rows(&gradient.to_dtype(DType::F64)?.sqr()?)?),
            Device::Metal(_) => on_device.push(sum_by_rows(&gradient.to_dtype(DType::F32)?.sqr()?)?),
        }
    }
    if !on_device.is_empty() {
        // One transfer for all of them: each would wait for the device.
        let stacked = Tensor::stack(&on_device, 0)?; // [gradients]
        sums.extend(stacked.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.to_vec1::<f64>()?);
    }
    Ok(sums)
}

fn sum_of_squares_cpu(gradient: &Tensor) -> candle_core::Result<f64> {
    let gradient = gradient.to_dtype(DType::F32)?.contiguous()?;
    let (storage, layout) = gradient.storage_and_layout();
    let (Storage::Cpu(CpuStorage::F32(values)), Some((start, end))) = (&*storage, layout.contiguous_offsets()) else {
        candle_core::bail!("a contiguous f32 tensor on the CPU was expected")
    };
    let sum = |chunk: &[f32]| chunk.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>();
    let chunks: Vec<f64> = values[start..end].par_chunks(CHUNK).map(sum).collect();
    Ok(chunks.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(gradients: &[(&str, &[f32])]) -> Named {
        let tensor = |values: &[f32]| Tensor::new(values, &Device::Cpu).unwrap();
        gradients.iter().map(|&(name, values)| (name.to_owned(), tensor(values))).collect()
    }

    #[test]
    fn scales_down_to_the_largest_norm_and_never_up() {
        let gradients = named(&[("a", &[3.0]), ("b", &[0.0, 4.0])]);
        assert_eq!(clip(&gradients, 0.2).unwrap(), Clip { norm: 5.0, scale: 0.2 / (5.0 + 1e-6) });
        assert_eq!(clip(&gradients, 5.1).unwrap(), Clip { norm: 5.0, scale: 1.0 });
    }

    #[test]
    fn zero_turns_clipping_off() {
        assert_eq!(clip(&named(&[("a", &[3.0, 4.0])]), 0.0).unwrap(), Clip { norm: 5.0, scale: 1.0 });
    }

    #[test]
    fn no_gradient_or_a_zero_one_is_not_divided_by() {
        assert_eq!(clip(&named(&[]), 0.2).unwrap(), Clip { norm: 0.0, scale: 1.0 });
        assert_eq!(clip(&named(&[("a", &[0.0])]), 0.2).unwrap(), Clip { norm: 0.0, scale: 1.0 });
    }

    #[test]
    fn squares_beyond_f32_are_no_error() {
        let clip = clip(&named(&[("a", &[1e30])]), 1.0).unwrap();
        assert!((clip.norm / 1e30 - 1.0).abs() < 1e-6, "{clip:?}");
    }

    #[test]
    fn a_gradient_that_is_not_finite_is_named() {
        for broken in [f32::NAN, f32::INFINITY] {
            let error = clip(&named(&[("a", &[1.0]), ("b", &[broken]), ("c", &[broken])]), 0.2).unwrap_err();
            assert!(matches!(&error, OptimError::NonFinite { name, .. } if name == "b"), "{error}");
        }
    }

    #[test]
    fn views_and_many_chunks_are_summed_right() {
        let long = Tensor::full(0.5f32, (3, CHUNK), &Device::Cpu).unwrap();
        let ramp = Tensor::arange(0f32, 6.0, &Device::Cpu).unwrap().reshape((2, 3)).unwrap();
        let ramp = ramp.t().unwrap().narrow(0, 1, 2).unwrap(); // [2, 2]: 1 4 / 2 5
        let gradients = Named::from([("a".to_owned(), long), ("b".to_owned(), ramp)]);
        let expected = (3.0 * CHUNK as f64 * 0.25 + 1.0 + 16.0 + 4.0 + 25.0).sqrt();
        assert!((clip(&gradients, 0.0).unwrap().norm - expected).abs() < 1e-12);
    }
}
