//! AdamW with f32 master weights and named state.
//!
//! candle's own AdamW updates the working copy directly, so that a bf16 weight at a small learning rate never
//! moves, and it keeps its state private, so that a run cannot be resumed.

mod state;
#[cfg(test)]
mod tests;
mod update;

use std::collections::BTreeMap;

use candle_core::{DType, Tensor, Var};

use super::{Named, OptimError, Result};
use crate::config::TrainTable;
use update::Coefficients;

/// Hyper-parameters that stay the same over a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWParams {
    /// Decay of the first moment, in `[0, 1)`.
    pub beta1: f64,
    /// Decay of the second moment, in `[0, 1)`.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay, for every parameter.
    pub weight_decay: f64,
}

impl From<&TrainTable> for AdamWParams {
    fn from(table: &TrainTable) -> Self {
        Self {
            beta1: table.adam_beta1.get(),
            beta2: table.adam_beta2.get(),
            eps: table.adam_epsilon.get(),
            weight_decay: table.weight_decay.get(),
        }
    }
}

/// Adam with decoupled weight decay (arXiv 1711.05101), step for step `torch.optim.AdamW`:
///
/// ```text
/// p <- p (1 - lr wd)
/// m <- m + (1 - beta1) (g - m)
/// v <- beta2 v + (1 - beta2) g^2
/// p <- p - lr / (1 - beta1^s) * m / ( sqrt(v) / sqrt(1 - beta2^s) + eps )
/// ```
///
/// `s` counts the steps from one. Everything is held and computed in f32, element by element, hence bit-identical
/// from run to run. A parameter that is not f32 has an f32 master copy here and gets its rounding.
#[derive(Debug)]
pub struct AdamW {
    params: AdamWParams,
    step: u64,
    slots: BTreeMap<String, Slot>,
}

/// One parameter and its state.
#[derive(Debug)]
struct Slot {
    var: Var,
    /// The f32 weights, if `var` is not f32 itself.
    master: Option<Tensor>,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
}

impl AdamW {
    /// An optimiser at step zero. It shares the parameters' storage: whoever else holds a [`Var`] sees its updates.
    ///
    /// # Errors
    /// Whatever the tensor library reports, for instance a device without memory left.
    pub fn new(vars: BTreeMap<String, Var>, params: AdamWParams) -> Result<Self> {
        let slot = |(name, var): (String, Var)| {
            let zeros = || Tensor::zeros(var.shape(), DType::F32, var.device());
            let master = match var.dtype() {
                DType::F32 => None,
                _ => Some(var.as_detached_tensor().to_dtype(DType::F32)?),
            };
            let (exp_avg, exp_avg_sq) = (zeros()?, zeros()?);
            Ok((name, Slot { var, master, exp_avg, exp_avg_sq }))
        };
        Ok(Self { params, step: 0, slots: vars.into_iter().map(slot).collect::<Result<_>>()? })
    }

    /// Steps taken so far.
    pub fn step_count(&self) -> u64 {
        self.step
    }

    /// Takes one step with the gradients times `gradient_scale` (see [`super::clip`]) at learning rate `lr`.
    ///
    /// # Shapes
    /// One f32 gradient a parameter, of its shape and on its device.
    ///
    /// # Errors
    /// A missing, unknown, mis-shaped or not-f32 gradient, by name, and a step to numbers that are not finite; then
    /// nothing has changed.
    pub fn step(&mut self, gradients: &Named, lr: f64, gradient_scale: f64) -> Result<()> {
        self.check(gradients)?;
        let coefficients = Coefficients::new(&self.params, self.step + 1, lr, gradient_scale);
        self.check_outcome(gradients, &coefficients, lr)?;
        self.step += 1;
        for (name, slot) in &mut self.slots {
            slot.update(&gradients[name], &coefficients)?;
        }
        Ok(())
    }

    /// Computes the step without taking it: a weight that is lost cannot be brought back, and a copy of all of them
    /// would cost more than the sums.
    fn check_outcome(&self, gradients: &Named, coefficients: &Coefficients, learning_rate: f64) -> Result<()> {
        for (name, slot) in &self.slots {
            if !slot.stays_finite(&gradients[name], coefficients)? {
                return Err(OptimError::NonFiniteStep { name: name.clone(), learning_rate });
            }
        }
        Ok(())
    }

    fn check(&self, gradients: &Named) -> Result<()> {
        for (name, slot) in &self.slots {
            let gradient = gradients.get(name).ok_or_else(|| OptimError::MissingGradient(name.clone()))?;
            if gradient.shape() != slot.var.shape() || gradient.dtype() != DType::F32 {
                return Err(OptimError::BadGradient {
                    name: name.clone(),
                    expected: slot.var.dims().to_vec(),
                    got: gradient.dims().to_vec(),
                    got_dtype: gradient.dtype(),
                });
            }
        }
        match gradients.keys().find(|name| !self.slots.contains_key(*name)) {
            Some(name) => Err(OptimError::UnknownGradient(name.clone())),
            None => Ok(()),
        }
    }
}
