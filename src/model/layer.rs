//! One layer of the decoder.
//!
//! ```text
//! h = rms(x; attn_norm);  a = attention(rope(q h), rope(k h), v h);  mid = x + o(a)
//! g = rms(mid; mlp_norm);  y = mid + down(silu(gate g) * up g)
//! ```
//! Some families normalise every head of queries and keys before it is rotated. A layer may be asked for some places only: keys and values are computed for all of them, queries, `o` and the MLP
//! just for the places. Attention itself goes by columns, with queries of zero where a row has no place. The last
//! layer of every pass is run so.

mod backward;
mod fed;

use candle_core::{Result, Tensor};

use super::batch::Span;
#[cfg(test)]
use super::linear::Low;
use super::linear::{Linear, Projected};
use super::ops::{attention, rms_norm, rope, swiglu};
use super::param::Param;
use super::shape::Shape;
use super::stack::{Stack, forward_all};
use super::weight::Part;
use crate::profile::{self, Part as Timed};
use rope::{Positions, Turn};

/// Weights of a layer.
#[derive(Clone, Debug)]
pub struct Layer {
    /// RMSNorm before attention.
    pub attn_norm: Param,
    /// Query projection.
    pub q: Linear,
    /// Key projection.
    pub k: Linear,
    /// Value projection.
    pub v: Linear,
    /// RMSNorm of every query head, before it is rotated.
    pub q_norm: Option<Param>,
    /// RMSNorm of every key head, before it is rotated.
    pub k_norm: Option<Param>,
    /// Output projection of attention.
    pub o: Linear,
    /// RMSNorm before the MLP.
    pub mlp_norm: Param,
    /// Gate of the MLP.
    pub gate: Linear,
    /// The gated branch of the MLP.
    pub up: Linear,
    /// Output projection of the MLP.
    pub down: Linear,
    /// Where an accelerator has the weights of query, key and value projections, if together.
    pub qkv: Option<Stack>,
    /// The same of the MLP's gate and gated branch.
    pub gate_up: Option<Stack>,
}

/// What a layer keeps for its backward: what it would cost a product to compute again. Norms, probabilities and the
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
    q: Tensor,                // [B, W, H, E], rotated; with a norm of heads [B*W, H*E] before it
    k: Tensor,                // [B, T, K, E], rotated; with a norm of heads [B*T, K*E] before it
    v: Tensor,                // [B, T, K, E]
    attended: Option<Tensor>, // [N, H*E], if o needs it
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

/// What all layers of a pass share.
#[derive(Clone, Copy, Debug)]
pub struct Shared<'a> {
    /// Sizes.
    pub shape: &'a Shape,
    /// Rotary tables.
    pub tables: &'a rope::Tables,
    /// All columns of the batch.
    pub full: Span<'a>,
    /// The columns of the places.
    pub window: Span<'a>,
    /// The places this layer is asked for, `N` of them.
    pub picked: Span<'a>,
}

impl Shared<'_> {
    /// `[B*columns, heads*E]` -> rotated `[B, columns, heads, E]`.
    fn rotate(&self, x: Tensor, heads: usize, span: &Span<'_>, turn: Turn) -> Result<Tensor> {
        let x = x.reshape((span.rows(), span.width, heads, self.shape.head_dim))?;
        self.tables.rotate(x, Positions { start: span.start, pad: span.padding(), half: span.at.half }, turn)
    }

    /// `[B*columns, heads*E]` -> `[B, columns, heads, E]`, through the norm of heads if there is one, rotated; and what
    /// [`Shared::turned_again`] makes the same of.
    fn turned(&self, x: Tensor, heads: usize, norm: Option<&Param>, span: &Span<'_>) -> Result<(Tensor, Tensor)> {
        let given = if norm.is_some() { Some(x.clone()) } else { None };
        let normed = norm.map(|norm| self.normed(&x, norm)).transpose()?.unwrap_or(x);
        let turned = self.rotate(normed, heads, span, Turn::Forward)?;
        Ok((turned.clone(), given.unwrap_or(turned)))
    }

    /// Rotated heads of what was kept of them.
    fn turned_again(&self, kept: &Tensor, heads: usize, norm: Option<&Param>, span: &Span<'_>) -> Result<Tensor> {
        match norm {
            Some(norm) => self.rotate(self.normed(kept, norm)?, heads, span, Turn::Forward),
            None => Ok(kept.clone()),
        }
    }

    /// Every head through the norm: `[.., heads*E]`.
    fn normed(&self, x: &Tensor, norm: &Param) -> Result<Tensor> {
        let by_heads = x.reshape(((), self.shape.head_dim))?;
        rms_norm::forward(&by_heads, norm.value(), self.shape.eps)?.reshape(x.shape())
    }
}

impl Layer {
    /// # Shapes
    /// `x` `[B*T, D]`; returns `[N, D]`, and what [`Layer::backward`] needs when `keep`.
    pub fn forward(&self, x: &Tensor, shared: &Shared<'_>, keep: bool) -> Result<(Tensor, Option<Saved>)> {
        let device = x.device();
        let (mid, attention) = profile::measure(Timed::Attention, device, || self.attention_forward(x, shared))?;
        let attention = keep.then_some(attention); // else freed before the MLP, whose activations are the larger ones
        let (y, mlp) = profile::measure(Timed::Mlp, device, || self.mlp_forward(&mid, shared, keep))?;
        let saved = attention.zip(mlp).map(|(attention, mlp)| Saved { x: x.clone(), mid, attention, mlp });
        Ok((y, saved))
    }

    /// The residual stream behind attention, `[N, D]`.
    fn attention_forward(&self, x: &Tensor, shared: &Shared<'_>) -> Result<(Tensor, AttentionSaved)> {
        let Shared { shape, full, window, picked, .. } = shared;
        let h = rms_norm::forward(x, self.attn_norm.value(), shape.eps)?;
        let [(q, q_low), (k, k_low), (v, v_low)] = self.project(&h, shared)?;
        drop(h);
        let (q, kept_q) = shared.turned(picked.put(&q, window)?, shape.heads, self.q_norm.as_ref(), window)?;
        let (k, kept_k) = shared.turned(k, shape.kv_heads, self.k_norm.as_ref(), full)?;
        let v = v.reshape(k.shape())?;
        let attended = picked.take(&attention::forward(&q, &k, &v, window.keys())?.flatten(0, 1)?, window)?; // [N, H*E]
        let (mid, out_low) = self.o.forward(Some(&picked.take(x, full)?), &attended, picked)?;
        let attended = self.o.needs_input(picked).then_some(attended);
        Ok((mid, AttentionSaved { q: kept_q, k: kept_k, v, attended, q_low, k_low, v_low, out_low }))
    }

    /// Queries of the places, keys and values of all columns, not rotated.
    ///
    /// # Shapes
    /// `h` `[B*T, D]`; returns `[N, H*E]` and twice `[B*T, K*E]`, and the projections to keep.
    fn project(&self, h: &Tensor, shared: &Shared<'_>) -> Result<[(Tensor, Projected); 3]> {
        let (Shared { full, picked, .. }, stack) = (shared, self.qkv.as_ref());
        if picked.places.is_none() && picked.width == full.width {
            return forward_all(stack, [&self.q, &self.k, &self.v], h, full);
        }
        let [k, v] = forward_all(stack, [&self.k, &self.v], h, full)?;
        Ok([self.q.forward(None, &picked.take(h, full)?, picked)?, k, v])
    }

    fn mlp_forward(&self, mid: &Tensor, shared: &Shared<'_>, keep: bool) -> Result<(Tensor, Option<MlpSaved>)> {
        let picked = &shared.picked;
        let mut saved = self.gate_and_up(mid, shared)?;
        if !keep {
            let MlpSaved { gate, up, .. } = saved;
            let activated = swiglu::forward_in_place(gate, &up)?;
            drop(up);
            return Ok((self.down.forward(Some(mid), &activated, picked)?.0, None));
        }
        let (y, down_low) = self.down.forward(Some(mid), &swiglu::forward(&saved.gate, &saved.up)?, picked)?;
        saved.down_low = down_low;
        Ok((y, Some(saved)))
    }

    fn gate_and_up(&self, mid: &Tensor, shared: &Shared<'_>) -> Result<MlpSaved> {
        let h = rms_norm::forward(mid, self.mlp_norm.value(), shared.shape.eps)?;
        let linears = [&self.gate, &self.up];
        let [(gate, gate_low), (up, up_low)] = forward_all(self.gate_up.as_ref(), linears, &h, &shared.picked)?;
        Ok(MlpSaved { gate, up, gate_low, up_low, down_low: None })
    }

    /// What [`Layer::backward`] needs, without the layer's output: its last product is left out.
    ///
    /// # Shapes
    /// `x` `[B*T, D]`.
    pub fn save(&self, x: Tensor, shared: &Shared<'_>) -> Result<Saved> {
        let (mid, attention) = self.attention_forward(&x, shared)?;
        let mut mlp = self.gate_and_up(&mid, shared)?;
        if self.down.needs_input(&shared.picked) {
            mlp.down_low = self.down.project(&swiglu::forward(&mlp.gate, &mlp.up)?, &shared.picked)?;
        }
        Ok(Saved { x, mid, attention, mlp })
    }

    /// The linear layers, in the order in which they are numbered.
    pub fn linears(&self) -> [&Linear; 7] {
        [&self.q, &self.k, &self.v, &self.o, &self.gate, &self.up, &self.down]
    }

    /// As [`Layer::linears`], to attach adapters.
    pub fn linears_mut(&mut self) -> [&mut Linear; 7] {
        [&mut self.q, &mut self.k, &mut self.v, &mut self.o, &mut self.gate, &mut self.up, &mut self.down]
    }

    /// The weights, in the order in which they are made.
    pub fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        let [q, k, v, o, gate, up, down] = self.linears().map(Linear::parts);
        let norm = |norm| [Part::Vector(norm)].into_iter();
        let head_norms = [&self.q_norm, &self.k_norm].into_iter().flatten().map(Part::Vector);
        let attention = norm(&self.attn_norm).chain(q).chain(k).chain(v).chain(head_norms).chain(o);
        attention.chain(norm(&self.mlp_norm)).chain(gate).chain(up).chain(down)
    }
}
