//! The gated MLP, `down(silu(gate h) * up h)`, of a layer or of one expert.

use candle_core::{DType, Result, Tensor};

#[cfg(test)]
use super::super::linear::Low;
use super::wanted;
use crate::model::batch::Span;
use crate::model::linear::{Linear, Projected};
use crate::model::ops::{cpu, gpu, swiglu};
use crate::model::param::Gradients;
use crate::model::stack::{Stack, forward_all};
use crate::model::weight::Part;

/// Weights of a gated MLP.
#[derive(Clone, Debug)]
pub struct Gated {
    /// Gate.
    pub gate: Linear,
    /// The gated branch.
    pub up: Linear,
    /// Output projection.
    pub down: Linear,
    /// Where an accelerator has the weights of gate and gated branch, if together.
    pub gate_up: Option<Stack>,
}

/// What an MLP keeps for its backward.
#[derive(Debug)]
pub struct GatedSaved {
    gate: Tensor, // [N, F]
    up: Tensor,   // [N, F]
    gate_low: Projected,
    up_low: Projected,
    down_low: Projected,
}

#[cfg(test)]
impl GatedSaved {
    /// What is held, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let Self { gate, up, gate_low, up_low, down_low } = self;
        let low = [gate_low, up_low, down_low].into_iter().flatten().map(Low::bytes);
        [gate, up].map(|t| t.elem_count() * t.dtype().size_in_bytes()).iter().sum::<usize>() + low.sum::<usize>()
    }
}

impl Gated {
    /// Puts the weights together where that is of use.
    pub fn new(mut gate: Linear, mut up: Linear, down: Linear) -> Result<Self> {
        let gate_up = Stack::of(&mut [&mut gate, &mut up])?;
        Ok(Self { gate, up, down, gate_up })
    }

    /// `start` plus the output, and what [`Gated::backward`] needs when `keep`. Rows may have weights, which their outputs
    /// are multiplied with.
    ///
    /// # Shapes
    /// `start` `[N, D]` or nothing, `h` `[N, D]`, `weights` `[N, 1]`; returns `[N, D]`.
    pub fn forward(
        &self,
        start: Option<&Tensor>,
        h: Tensor,
        weights: Option<&Tensor>,
        span: &Span<'_>,
        keep: bool,
    ) -> Result<(Tensor, Option<GatedSaved>)> {
        let mut saved = self.gate_and_up(&h, span)?;
        drop(h);
        if !keep {
            let GatedSaved { gate, up, .. } = saved;
            let activated = times(swiglu::forward_in_place(gate, &up)?, weights)?;
            drop(up);
            return Ok((self.down.forward(start, &activated, span)?.0, None));
        }
        let activated = times(swiglu::forward(&saved.gate, &saved.up)?, weights)?;
        let (y, down_low) = self.down.forward(start, &activated, span)?;
        saved.down_low = down_low;
        Ok((y, Some(saved)))
    }

    /// What [`Gated::backward`] needs, without the output: the last product is left out.
    ///
    /// # Shapes
    /// As [`Gated::forward`].
    pub fn save(&self, h: &Tensor, weights: Option<&Tensor>, span: &Span<'_>) -> Result<GatedSaved> {
        let mut saved = self.gate_and_up(h, span)?;
        if self.down.needs_input(span) {
            let activated = times(swiglu::forward(&saved.gate, &saved.up)?, weights)?;
            saved.down_low = self.down.project(&activated, span)?;
        }
        Ok(saved)
    }

    fn gate_and_up(&self, h: &Tensor, span: &Span<'_>) -> Result<GatedSaved> {
        let linears = [&self.gate, &self.up];
        let [(gate, gate_low), (up, up_low)] = forward_all(self.gate_up.as_ref(), linears, h, span)?;
        Ok(GatedSaved { gate, up, gate_low, up_low, down_low: None })
    }

    /// Adds the gradients of what is trained; returns that of the input, and that of the rows' weights if they have some.
    /// `h` is asked for if it is needed.
    ///
    /// # Shapes
    /// `dy` `[N, D]`; returns `[N, D]` and f32 `[N]`.
    pub fn backward(
        &self,
        h: impl FnOnce() -> Result<Tensor>,
        weights: Option<&Tensor>,
        dy: &Tensor,
        saved: GatedSaved,
        span: &Span<'_>,
        gradients: &mut Gradients,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let GatedSaved { gate, up, gate_low, up_low, down_low } = saved;
        let activated = match self.down.needs_input(span) || weights.is_some() {
            true => Some(swiglu::forward(&gate, &up)?),
            false => None,
        };
        let weighted = activated.as_ref().map(|activated| times(activated.clone(), weights)).transpose()?;
        let down = wanted(self.down.backward(weighted.as_ref(), &down_low, dy, span, true, gradients)?)?;
        drop(weighted);
        // the output is `down (w a)`: the gradient of `w a` is that of `w` times `a`, and the other way round
        let d_weights = match (weights, activated) {
            (Some(_), Some(a)) => Some((gpu::cast(&down, DType::F32)? * gpu::cast(&a, DType::F32)?)?.sum(1)?),
            _ => None,
        };
        let (d_gate, d_up) = swiglu::backward(&gate, up, times(down, weights)?)?;
        drop(gate);
        let h = match self.gate.needs_input(span) || self.up.needs_input(span) {
            true => Some(h()?),
            false => None,
        };
        let through_gate = self.gate.backward(h.as_ref(), &gate_low, &d_gate, span, true, gradients)?;
        let through_up = self.up.backward(h.as_ref(), &up_low, &d_up, span, true, gradients)?;
        Ok((cpu::sum(wanted(through_gate)?, &wanted(through_up)?)?, d_weights))
    }

    /// Adds zeros to the gradients of what is trained, of an MLP that no row went through: a step moves all that is
    /// trained, whatever the rows.
    pub fn no_gradients(&self, gradients: &mut Gradients) -> Result<()> {
        for weight in self.linears().into_iter().filter_map(|linear| linear.weight.dense()).filter(|w| w.is_trainable())
        {
            gradients.add(weight.name(), weight.value().zeros_like()?)?;
        }
        Ok(())
    }

    /// The linear layers, in the order in which they are numbered.
    pub fn linears(&self) -> [&Linear; 3] {
        [&self.gate, &self.up, &self.down]
    }

    /// As [`Gated::linears`], to be changed.
    pub fn linears_mut(&mut self) -> [&mut Linear; 3] {
        [&mut self.gate, &mut self.up, &mut self.down]
    }

    /// The weights, in the order in which they are made.
    pub fn parts(&self) -> Vec<Part<'_>> {
        self.linears().into_iter().flat_map(Linear::parts).collect()
    }
}

/// Rows times their weights, if they have some.
fn times(x: Tensor, weights: Option<&Tensor>) -> Result<Tensor> {
    match weights {
        Some(weights) => x.broadcast_mul(&gpu::cast(weights, x.dtype())?),
        None => Ok(x),
    }
}
