//! A layer run on some columns only, against keys and values of all of them; no backward follows.

use candle_core::{Result, Tensor};

use super::super::cache::KeyValues;
use super::{Layer, Shared, attention, rms_norm};
use crate::profile::{self, Part};

impl Layer {
    /// `shared.full` are the columns that are fed, `F` of them, `shared.picked` places in these; `join` adds what is kept
    /// of the other columns to their keys and values.
    ///
    /// # Shapes
    /// `x` `[B*F, D]`; returns `[N, D]`.
    pub fn forward_fed(
        &self,
        x: &Tensor,
        shared: &Shared<'_>,
        join: impl FnOnce(KeyValues) -> Result<KeyValues>,
    ) -> Result<Tensor> {
        let device = x.device();
        let mid = profile::measure(Part::Attention, device, || self.attend_fed(x, shared, join))?;
        let (y, _) = profile::measure(Part::Mlp, device, || self.mlp_forward(&mid, shared, false))?;
        Ok(y)
    }

    fn attend_fed(
        &self,
        x: &Tensor,
        shared: &Shared<'_>,
        join: impl FnOnce(KeyValues) -> Result<KeyValues>,
    ) -> Result<Tensor> {
        let Shared { shape, full: fed, window, picked, .. } = shared;
        let h = rms_norm::forward(x, self.attn_norm.value(), shape.eps)?;
        let ([q, k, v], _) = self.qkv.forward(&h, shared)?;
        let (q, _) = shared.turned(picked.put(&q, window)?, shape.heads, self.q_norm.as_ref(), window)?;
        let (k, _) = shared.turned(k, shape.kv_heads, self.k_norm.as_ref(), fed)?;
        let v = v.reshape(k.shape())?;
        let all = join(KeyValues { k, v })?; // [B, T, K, E]
        let attended = attention::forward(&q, &all.k, &all.v, window.keys())?.flatten(0, 1)?; // [B*W, H*E]
        let attended = picked.take(&attended, window)?; // [N, H*E]
        let (mid, _) = self.o.forward(Some(&picked.take(x, fed)?), &attended, picked)?;
        Ok(mid)
    }
}
