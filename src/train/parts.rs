//! What pulls at the weights: the gradient of the completions that are raised, and of those that are lowered.

use anyhow::Result;
use candle_core::{DType, Tensor};

use crate::optim::{Named, clip};
use crate::report::Row;

/// The two parts of a gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GradientParts {
    /// Norm of the gradient of what is raised.
    pub positive: f64,
    /// Norm of the gradient of what is lowered.
    pub negative: f64,
    /// Cosine of the angle between them: -1 where they cancel; not a number if either is zero.
    pub cosine: f64,
}

impl GradientParts {
    /// Norms and angle of two gradients; what one of them lacks is zero there.
    ///
    /// # Errors
    /// Numbers that are not finite.
    pub fn of(raised: &Named, lowered: &Named) -> Result<Self> {
        let (positive, negative) = (clip(raised, 0.0)?.norm, clip(lowered, 0.0)?.norm);
        let mut product = 0.0;
        for (name, a) in raised {
            if let Some(b) = lowered.get(name) {
                product += dot(a, b)?;
            }
        }
        Ok(Self { positive, negative, cosine: product / (positive * negative) })
    }

    /// Adds the figures to a metrics row.
    pub fn report(&self, row: &mut Row) {
        row.set("grad_norm/positive", self.positive)
            .set("grad_norm/negative", self.negative)
            .set("grad_cosine", self.cosine);
    }
}

/// In f64 where the device has it.
fn dot(a: &Tensor, b: &Tensor) -> candle_core::Result<f64> {
    let dtype = if a.device().is_metal() { DType::F32 } else { DType::F64 };
    (a.to_dtype(dtype)? * b.to_dtype(dtype)?)?.sum_all()?.to_dtype(DType::F64)?.to_scalar()
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn named(gradients: &[(&str, &[f32])]) -> Named {
        let tensor = |values: &[f32]| Tensor::new(values, &Device::Cpu).expect("values");
        gradients.iter().map(|&(name, values)| (name.to_owned(), tensor(values))).collect()
    }

    #[test]
    fn the_angle_is_that_of_all_tensors_together() {
        let raised = named(&[("a", &[3.0, 0.0]), ("b", &[4.0])]);
        let of = |lowered| GradientParts::of(&raised, &named(lowered)).expect("finite");
        assert_eq!(
            of(&[("a", &[-6.0, 0.0]), ("b", &[-8.0])]),
            GradientParts { positive: 5.0, negative: 10.0, cosine: -1.0 }
        );
        assert_eq!(of(&[("a", &[0.0, 2.0]), ("b", &[0.0])]).cosine, 0.0);
        assert_eq!(of(&[("b", &[2.0])]).cosine, 0.8);
        assert!(of(&[]).cosine.is_nan());
    }
}
