//! One transformer block of LLaDA (`LLaDALlamaBlock` upstream).
//!
//! ```text
//! h = rms(x; attn_norm);  a = attention(rope(q h), rope(k h), v h);  mid = x + attn_out(a)
//! g = rms(mid; ff_norm);  y = mid + ff_out(silu(ff_proj g) * up_proj g)
//! ```
//! A block may be asked for some places only: keys and values are computed for all of them, queries, `attn_out` and the
//! MLP just for the places. Attention itself goes by columns, with queries of zero where a row has no place. The last
//! block of every pass is run so.

mod backward;
mod fed;

use candle_core::{Result, Tensor};

use super::batch::Span;
use super::config::LladaConfig;
#[cfg(test)]
use super::linear::Low;
use super::linear::{Linear, Projected};
use super::ops::{attention, rms_norm, rope, swiglu};
use super::param::Param;
use super::stack::{Stack, forward_all};
use crate::profile::{self, Part};
use rope::{Positions, Turn};

/// Weights of a block, named as in the checkpoint.
#[derive(Clone, Debug)]
pub struct Block {
    /// RMSNorm before attention.
    pub attn_norm: Param,
    /// Query projection.
    pub q_proj: Linear,
    /// Key projection.
    pub k_proj: Linear,
    /// Value projection.
    pub v_proj: Linear,
    /// Output projection of attention.
    pub attn_out: Linear,
    /// RMSNorm before the MLP.
    pub ff_norm: Param,
    /// Gate of the MLP.
    pub ff_proj: Linear,
    /// The gated branch of the MLP.
    pub up_proj: Linear,
    /// Output projection of the MLP.
    pub ff_out: Linear,
    /// Where an accelerator has the weights of query, key and value projections, if together.
    pub qkv: Option<Stack>,
    /// The same of the MLP's gate and gated branch.
    pub gate_up: Option<Stack>,
}

/// What a block keeps for its backward: what it would cost a product to compute again. Norms, probabilities and the
/// activation are recomputed.
#[derive(Debug)]
pub struct Saved {
    x: Tensor,   // [B*T, D]
    mid: Tensor, // [N, D]
    attention: AttentionSaved,
    mlp: MlpSaved,
}

#[cfg(test)]
impl Saved {
    /// What is held, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let AttentionSaved { q, k, v, attended, q_low, k_low, v_low, out_low } = &self.attention;
        let MlpSaved { gate, up, gate_low, up_low, down_low } = &self.mlp;
        let always = [&self.x, &self.mid, q, k, v, gate, up];
        let tensors = always.into_iter().chain(attended);
        let low = [q_low, k_low, v_low, out_low, gate_low, up_low, down_low];
        let bytes = |t: &Tensor| t.elem_count() * t.dtype().size_in_bytes();
        tensors.map(bytes).sum::<usize>() + low.into_iter().flatten().map(Low::bytes).sum::<usize>()
    }
}

/// The part of [`Saved`] that attention makes.
#[derive(Debug)]
struct AttentionSaved {
    q: Tensor,                // [B, W, H, E], rotated
    k: Tensor,                // [B, T, K, E], rotated
    v: Tensor,                // [B, T, K, E]
    attended: Option<Tensor>, // [N, H*E], if attn_out needs it
    q_low: Projected,         // [.., R] each
    k_low: Projected,
    v_low: Projected,
    out_low: Projected,
}

/// The part of [`Saved`] that the MLP makes.
#[derive(Debug)]
struct MlpSaved {
    gate: Tensor, // [N, F]
    up: Tensor,   // [N, F]
    gate_low: Projected,
    up_low: Projected,
    down_low: Projected,
}

/// What all blocks of a pass share.
#[derive(Clone, Copy, Debug)]
pub struct Shared<'a> {
    /// Sizes.
    pub config: &'a LladaConfig,
    /// Rotary tables.
    pub tables: &'a rope::Tables,
    /// All columns of the batch.
    pub full: Span<'a>,
    /// The columns of the places.
    pub window: Span<'a>,
    /// The places this block is asked for, `N` of them.
    pub picked: Span<'a>,
}

impl Shared<'_> {
    /// `[B*columns, heads*E]` -> rotated `[B, columns, heads, E]`.
    fn rotate(&self, x: Tensor, heads: usize, span: &Span<'_>, turn: Turn) -> Result<Tensor> {
        let x = x.reshape((span.pad.len(), span.width, heads, self.config.head_dim()))?;
        self.tables.rotate(x, Positions { start: span.start, pad: span.padding() }, turn)
    }
}

impl Block {
    /// # Shapes
    /// `x` `[B*T, D]`; returns `[N, D]`, and what [`Block::backward`] needs when `keep`.
    pub fn forward(&self, x: &Tensor, shared: &Shared<'_>, keep: bool) -> Result<(Tensor, Option<Saved>)> {
        let device = x.device();
        let (mid, attention) = profile::measure(Part::Attention, device, || self.attention_forward(x, shared))?;
        let attention = keep.then_some(attention); // else freed before the MLP, whose activations are the larger ones
        let (y, mlp) = profile::measure(Part::Mlp, device, || self.mlp_forward(&mid, shared, keep))?;
        let saved = attention.zip(mlp).map(|(attention, mlp)| Saved { x: x.clone(), mid, attention, mlp });
        Ok((y, saved))
    }

    /// The residual stream behind attention, `[N, D]`.
    fn attention_forward(&self, x: &Tensor, shared: &Shared<'_>) -> Result<(Tensor, AttentionSaved)> {
        let Shared { config, full, window, picked, .. } = shared;
        let h = rms_norm::forward(x, self.attn_norm.value(), config.rms_norm_eps)?;
        let [(q, q_low), (k, k_low), (v, v_low)] = self.project(&h, shared)?;
        drop(h);
        let q = shared.rotate(picked.put(&q, window)?, config.n_heads, window, Turn::Forward)?;
        let k = shared.rotate(k, config.n_kv_heads, full, Turn::Forward)?;
        let v = v.reshape(k.shape())?;
        let attended = picked.take(&attention::forward(&q, &k, &v, full.padding())?.flatten(0, 1)?, window)?; // [N, H*E]
        let (mid, out_low) = self.attn_out.forward(Some(&picked.take(x, full)?), &attended, picked)?;
        let attended = self.attn_out.needs_input(picked).then_some(attended);
        Ok((mid, AttentionSaved { q, k, v, attended, q_low, k_low, v_low, out_low }))
    }

    /// Queries of the places, keys and values of all columns, not rotated.
    ///
    /// # Shapes
    /// `h` `[B*T, D]`; returns `[N, H*E]` and twice `[B*T, K*E]`, and the projections to keep.
    fn project(&self, h: &Tensor, shared: &Shared<'_>) -> Result<[(Tensor, Projected); 3]> {
        let (Shared { full, picked, .. }, stack) = (shared, self.qkv.as_ref());
        if picked.places.is_none() && picked.width == full.width {
            return forward_all(stack, [&self.q_proj, &self.k_proj, &self.v_proj], h, full);
        }
        let [k, v] = forward_all(stack, [&self.k_proj, &self.v_proj], h, full)?;
        Ok([self.q_proj.forward(None, &picked.take(h, full)?, picked)?, k, v])
    }

    fn mlp_forward(&self, mid: &Tensor, shared: &Shared<'_>, keep: bool) -> Result<(Tensor, Option<MlpSaved>)> {
        let picked = &shared.picked;
        let mut saved = self.gate_and_up(mid, shared)?;
        if !keep {
            let MlpSaved { gate, up, .. } = saved;
            let activated = swiglu::forward_in_place(gate, &up)?;
            drop(up);
            return Ok((self.ff_out.forward(Some(mid), &activated, picked)?.0, None));
        }
        let (y, down_low) = self.ff_out.forward(Some(mid), &swiglu::forward(&saved.gate, &saved.up)?, picked)?;
        saved.down_low = down_low;
        Ok((y, Some(saved)))
    }

    fn gate_and_up(&self, mid: &Tensor, shared: &Shared<'_>) -> Result<MlpSaved> {
        let h = rms_norm::forward(mid, self.ff_norm.value(), shared.config.rms_norm_eps)?;
        let linears = [&self.ff_proj, &self.up_proj];
        let [(gate, gate_low), (up, up_low)] = forward_all(self.gate_up.as_ref(), linears, &h, &shared.picked)?;
        Ok(MlpSaved { gate, up, gate_low, up_low, down_low: None })
    }

    /// What [`Block::backward`] needs, without the block's output: its last product is left out.
    ///
    /// # Shapes
    /// `x` `[B*T, D]`.
    pub fn save(&self, x: Tensor, shared: &Shared<'_>) -> Result<Saved> {
        let (mid, attention) = self.attention_forward(&x, shared)?;
        let mut mlp = self.gate_and_up(&mid, shared)?;
        if self.ff_out.needs_input(&shared.picked) {
            mlp.down_low = self.ff_out.project(&swiglu::forward(&mlp.gate, &mlp.up)?, &shared.picked)?;
        }
        Ok(Saved { x, mid, attention, mlp })
    }

    /// The block's linear layers with their leaf names in the checkpoint.
    pub fn linears(&self) -> [(&'static str, &Linear); 7] {
        [
            ("q_proj", &self.q_proj),
            ("k_proj", &self.k_proj),
            ("v_proj", &self.v_proj),
            ("attn_out", &self.attn_out),
            ("ff_proj", &self.ff_proj),
            ("up_proj", &self.up_proj),
            ("ff_out", &self.ff_out),
        ]
    }

    /// As [`Block::linears`], to attach adapters.
    pub fn linears_mut(&mut self) -> [(&'static str, &mut Linear); 7] {
        [
            ("q_proj", &mut self.q_proj),
            ("k_proj", &mut self.k_proj),
            ("v_proj", &mut self.v_proj),
            ("attn_out", &mut self.attn_out),
            ("ff_proj", &mut self.ff_proj),
            ("up_proj", &mut self.up_proj),
            ("ff_out", &mut self.ff_out),
        ]
    }
}
