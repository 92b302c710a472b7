//! The explicit backward of a layer.

use candle_core::{Result, Tensor};

use super::super::ops::cpu;
use super::{AttentionSaved, Layer, MlpSaved, Saved, Shared, Turn, attention, rms_norm, wanted};
use crate::model::batch::Span;
use crate::model::param::{Gradients, Param};

impl Layer {
    /// Adds the layer's gradients to `gradients`; returns the gradient of its input, if wanted.
    ///
    /// # Shapes
    /// `dy` `[N, D]`; returns `[B*T, D]`.
    pub fn backward(
        &self,
        dy: &Tensor,
        saved: Saved,
        shared: &Shared<'_>,
        want_dx: bool,
        gradients: &mut Gradients,
    ) -> Result<Option<Tensor>> {
        let Shared { full, window, picked, .. } = shared;
        let Saved { x, mid, attention, mlp } = saved;
        let d_mid = cpu::sum(self.mlp_backward(dy, &mid, mlp, shared, gradients)?, dy)?;
        drop(mid);
        let AttentionSaved { attended, out_low, .. } = &attention;
        let d_heads = self.o.backward(attended.as_ref(), out_low, &d_mid, picked, true, gradients)?;
        let d_heads = picked.put(&wanted(d_heads)?, window)?; // [B*W, H*E]
        let dh = self.attention_backward(d_heads, &x, attention, shared, want_dx, gradients)?;
        let Some(dh) = dh else { return Ok(None) };
        let eps = shared.shape.eps;
        if self.attn_norm.is_trainable() {
            gradients.add(self.attn_norm.name(), rms_norm::weight_gradient(&x, eps, &dh)?)?;
        }
        let through = rms_norm::backward(&x, self.attn_norm.value(), eps, &dh)?;
        cpu::sum(through, &picked.put(&d_mid, full)?).map(Some)
    }

    /// From the gradient of the MLP branch's output to that of `mid` through the branch.
    fn mlp_backward(
        &self,
        dy: &Tensor,
        mid: &Tensor,
        saved: MlpSaved,
        shared: &Shared<'_>,
        gradients: &mut Gradients,
    ) -> Result<Tensor> {
        let eps = shared.shape.eps;
        let h = || rms_norm::forward(mid, self.mlp_norm.value(), eps);
        let dh = self.mlp.backward(h, dy, saved, &shared.picked, gradients)?;
        if self.mlp_norm.is_trainable() {
            gradients.add(self.mlp_norm.name(), rms_norm::weight_gradient(mid, eps, &dh)?)?;
        }
        rms_norm::backward(mid, self.mlp_norm.value(), eps, &dh)
    }

    /// From the gradient of the attended values to that of the first norm's output.
    fn attention_backward(
        &self,
        d_heads: Tensor,
        x: &Tensor,
        saved: AttentionSaved,
        shared: &Shared<'_>,
        want_dx: bool,
        gradients: &mut Gradients,
    ) -> Result<Option<Tensor>> {
        let Shared { shape, full, window, picked, .. } = shared;
        let (b, w) = (full.rows(), window.width);
        let d_heads = d_heads.reshape((b, w, shape.queries()))?;
        let AttentionSaved { q: kept_q, k: kept_k, v, lows, .. } = saved;
        let (q_norm, k_norm) = (self.q_norm.as_ref(), self.k_norm.as_ref());
        let q = shared.turned_again(&kept_q, shape.heads, q_norm, window)?;
        let k = shared.turned_again(&kept_k, shape.kv_heads, k_norm, full)?;
        let (dq, dk, dv) = attention::backward(&q, &k, &v, window.keys(), &d_heads)?;
        drop((d_heads, q, k, v));
        let dq = shared.turned_back(dq, kept_q, q_norm, window, gradients)?;
        let dq = picked.take(&dq, window)?; // [N, H*E]
        let dk = shared.turned_back(dk, kept_k, k_norm, full, gradients)?;
        let dv = dv.flatten_from(2)?.flatten(0, 1)?;
        let h = match self.qkv.needs_input(full) {
            true => Some(rms_norm::forward(x, self.attn_norm.value(), shape.eps)?),
            false => None,
        };
        self.qkv.backward(h.as_ref(), &lows, [dq, dk, dv], shared, want_dx, gradients)
    }
}

impl Shared<'_> {
    /// The transpose of [`Shared::turned`], of which `kept` was kept.
    ///
    /// # Shapes
    /// `dx` `[B, columns, heads, E]`; returns `[B*columns, heads*E]`.
    fn turned_back(
        &self,
        dx: Tensor,
        kept: Tensor,
        norm: Option<&Param>,
        span: &Span<'_>,
        gradients: &mut Gradients,
    ) -> Result<Tensor> {
        let heads = dx.dim(2)?;
        let dx = self.rotate(dx, heads, span, Turn::Back)?.flatten_from(2)?.flatten(0, 1)?;
        let Some(norm) = norm else { return Ok(dx) };
        let by_heads = |x: &Tensor| x.reshape(((), self.shape.head_dim));
        let (x, dy, eps) = (by_heads(&kept)?, by_heads(&dx)?, self.shape.eps);
        if norm.is_trainable() {
            gradients.add(norm.name(), rms_norm::weight_gradient(&x, eps, &dy)?)?;
        }
        rms_norm::backward(&x, norm.value(), eps, &dy)?.reshape(dx.shape())
    }
}
