//! The projections of queries, keys and values: three layers, or one whose rows are theirs, one after the other.

use candle_core::{Result, Tensor};

use super::{Shared, wanted};
use crate::model::batch::Span;
use crate::model::linear::{Linear, Projected};
use crate::model::ops::cpu;
use crate::model::param::Gradients;
use crate::model::stack::{Stack, forward_all};

/// What makes queries, keys and values of a layer's input.
#[derive(Clone, Debug)]
pub enum Projections {
    /// A layer for each.
    Apart(Box<Apart>),
    /// One layer for all.
    Fused(Box<Linear>),
}

/// Three layers.
#[derive(Clone, Debug)]
pub struct Apart {
    /// Query projection.
    pub q: Linear,
    /// Key projection.
    pub k: Linear,
    /// Value projection.
    pub v: Linear,
    /// Where an accelerator has their weights, if together.
    pub stack: Option<Stack>,
}

impl Projections {
    /// Puts the weights together where that is of use.
    pub fn apart(mut q: Linear, mut k: Linear, mut v: Linear) -> Result<Self> {
        let stack = Stack::of(&mut [&mut q, &mut k, &mut v])?;
        Ok(Self::Apart(Box::new(Apart { q, k, v, stack })))
    }

    /// Queries of the places, keys and values of all columns, not rotated; and the projections to keep.
    ///
    /// # Shapes
    /// `h` `[B*T, D]`; returns `[N, H*E]` and twice `[B*T, K*E]`.
    pub fn forward(&self, h: &Tensor, shared: &Shared<'_>) -> Result<([Tensor; 3], [Projected; 3])> {
        let Shared { full, picked, .. } = shared;
        match self {
            Self::Apart(apart) if picked.places.is_none() && picked.width == full.width => {
                let Apart { q, k, v, stack } = &**apart;
                let [q, k, v] = forward_all(stack.as_ref(), [q, k, v], h, full)?;
                Ok(([q.0, k.0, v.0], [q.1, k.1, v.1]))
            }
            Self::Apart(apart) => {
                let Apart { q, k, v, stack } = &**apart;
                let [k, v] = forward_all(stack.as_ref(), [k, v], h, full)?;
                let q = q.forward(None, &picked.take(h, full)?, picked)?;
                Ok(([q.0, k.0, v.0], [q.1, k.1, v.1]))
            }
            Self::Fused(all) => {
                let (y, low) = all.forward(None, h, full)?;
                let (queries, keys) = (shared.shape.queries(), shared.shape.keys());
                let part = |start, width| y.narrow(1, start, width)?.contiguous();
                let q = picked.take(&part(0, queries)?, full)?;
                Ok(([q, part(queries, keys)?, part(queries + keys, keys)?], [low, None, None]))
            }
        }
    }

    /// Whether [`Projections::backward`] needs the input.
    pub fn needs_input(&self, full: &Span<'_>) -> bool {
        self.linears().iter().any(|linear| linear.needs_input(full))
    }

    /// Adds the gradients of what is trained; returns that of the input, if wanted.
    ///
    /// # Shapes
    /// `h` `[B*T, D]` (only read when [`Projections::needs_input`]), the gradients as [`Projections::forward`] returns what
    /// they are of; returns `[B*T, D]`.
    pub fn backward(
        &self,
        h: Option<&Tensor>,
        lows: &[Projected; 3],
        [dq, dk, dv]: [Tensor; 3],
        shared: &Shared<'_>,
        want_dx: bool,
        gradients: &mut Gradients,
    ) -> Result<Option<Tensor>> {
        let Shared { full, picked, .. } = shared;
        let [q_low, k_low, v_low] = lows;
        match self {
            Self::Apart(apart) => {
                let Apart { q, k, v, .. } = &**apart;
                let hq = h.map(|h| picked.take(h, full)).transpose()?;
                let through_q = q.backward(hq.as_ref(), q_low, &dq, picked, want_dx, gradients)?;
                let through_k = k.backward(h, k_low, &dk, full, want_dx, gradients)?;
                let through_v = v.backward(h, v_low, &dv, full, want_dx, gradients)?;
                if !want_dx {
                    return Ok(None);
                }
                let through_kv = cpu::sum(wanted(through_k)?, &wanted(through_v)?)?;
                cpu::sum(through_kv, &picked.put(&wanted(through_q)?, full)?).map(Some)
            }
            Self::Fused(all) => {
                let dy = Tensor::cat(&[picked.put(&dq, full)?, dk, dv], 1)?;
                all.backward(h, q_low, &dy, full, want_dx, gradients)
            }
        }
    }

    /// The linear layers, in the order in which they are numbered.
    pub fn linears(&self) -> Vec<&Linear> {
        match self {
            Self::Apart(apart) => vec![&apart.q, &apart.k, &apart.v],
            Self::Fused(all) => vec![all],
        }
    }

    /// As [`Projections::linears`], to be changed.
    pub fn linears_mut(&mut self) -> Vec<&mut Linear> {
        match self {
            Self::Apart(apart) => vec![&mut apart.q, &mut apart.k, &mut apart.v],
            Self::Fused(all) => vec![all],
        }
    }
}
