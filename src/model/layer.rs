//! One layer of the decoder.
//!
//! ```text
//! h = rms(x; attn_norm);  a = attention(rope(q h), rope(k h), v h);  mid = x + o(a)
//! g = rms(mid; mlp_norm);  y = mid + down(silu(gate g) * up g)
//! ```
//! Some families normalise every head of queries and keys before it is rotated, have one projection for all three, or a
//! mixture of experts in the place of the MLP. A layer may be asked for some places only: keys and values are computed for all of them, queries, `o` and the MLP
//! just for the places. Attention itself goes by columns, with queries of zero where a row has no place. The last
//! layer of every pass is run so.

mod backward;
mod experts;
mod fed;
mod gated;
mod mlp;
mod projections;

use candle_core::{Result, Tensor};

use super::batch::Span;
#[cfg(test)]
use super::linear::Low;
use super::linear::{Linear, Projected};
use super::ops::{attention, rms_norm, rope};
use super::param::Param;
use super::shape::Shape;
use super::weight::Part;
use crate::profile::{self, Part as Timed};
pub use experts::Experts;
pub use gated::Gated;
pub use mlp::Mlp;
use mlp::MlpSaved;
pub use projections::Projections;
use rope::{Positions, Turn};

/// Weights of a layer.
#[derive(Clone, Debug)]
pub struct Layer {
    /// RMSNorm before attention.
    pub attn_norm: Param,
    /// What makes queries, keys and values.
    pub qkv: Projections,
    /// RMSNorm of every query head, before it is rotated.
    pub q_norm: Option<Param>,
    /// RMSNorm of every key head, before it is rotated.
    pub k_norm: Option<Param>,
    /// Output projection of attention.
    pub o: Linear,
    /// RMSNorm before the MLP.
    pub mlp_norm: Param,
    /// What follows that norm.
    pub mlp: Mlp,
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
        let AttentionSaved { q, k, v, attended, lows, out_low } = &self.attention;
        let always = [&self.x, &self.mid, q, k, v];
        let bytes = |t: &Tensor| t.elem_count() * t.dtype().size_in_bytes();
        let tensors = always.into_iter().chain(attended).map(bytes).sum::<usize>();
        let low = lows.iter().chain([out_low]).flatten().map(Low::bytes).sum::<usize>();
        tensors + low + self.mlp.bytes()
    }
}

/// The part of [`Saved`] that attention makes.
#[derive(Debug)]
struct AttentionSaved {
    q: Tensor,                // [B, W, H, E], rotated; with a norm of heads [B*W, H*E] before it
    k: Tensor,                // [B, T, K, E], rotated; with a norm of heads [B*T, K*E] before it
    v: Tensor,                // [B, T, K, E]
    attended: Option<Tensor>, // [N, H*E], if o needs it
    lows: [Projected; 3],     // [.., R] each
    out_low: Projected,
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
        let ([q, k, v], lows) = self.qkv.forward(&h, shared)?;
        drop(h);
        let (q, kept_q) = shared.turned(picked.put(&q, window)?, shape.heads, self.q_norm.as_ref(), window)?;
        let (k, kept_k) = shared.turned(k, shape.kv_heads, self.k_norm.as_ref(), full)?;
        let v = v.reshape(k.shape())?;
        let attended = picked.take(&attention::forward(&q, &k, &v, window.keys())?.flatten(0, 1)?, window)?; // [N, H*E]
        let (mid, out_low) = self.o.forward(Some(&picked.take(x, full)?), &attended, picked)?;
        let attended = self.o.needs_input(picked).then_some(attended);
        Ok((mid, AttentionSaved { q: kept_q, k: kept_k, v, attended, lows, out_low }))
    }

    fn mlp_forward(&self, mid: &Tensor, shared: &Shared<'_>, keep: bool) -> Result<(Tensor, Option<MlpSaved>)> {
        let h = rms_norm::forward(mid, self.mlp_norm.value(), shared.shape.eps)?;
        self.mlp.forward(mid, h, &shared.picked, keep)
    }

    /// What [`Layer::backward`] needs, without the layer's output: its last product is left out.
    ///
    /// # Shapes
    /// `x` `[B*T, D]`.
    pub fn save(&self, x: Tensor, shared: &Shared<'_>) -> Result<Saved> {
        let (mid, attention) = self.attention_forward(&x, shared)?;
        let h = rms_norm::forward(&mid, self.mlp_norm.value(), shared.shape.eps)?;
        let mlp = self.mlp.save(&h, &shared.picked)?;
        Ok(Saved { x, mid, attention, mlp })
    }

    /// The linear layers that can have adapters, in the order in which they are numbered.
    pub fn linears(&self) -> Vec<&Linear> {
        let mut all = self.qkv.linears();
        all.push(&self.o);
        all.extend(self.mlp.linears());
        all
    }

    /// As [`Layer::linears`], to attach adapters.
    pub fn linears_mut(&mut self) -> Vec<&mut Linear> {
        let mut all = self.qkv.linears_mut();
        all.push(&mut self.o);
        all.extend(self.mlp.linears_mut());
        all
    }

    /// All linear layers, those of experts as well, to be changed.
    pub fn all_linears_mut(&mut self) -> Vec<&mut Linear> {
        let mut all = self.qkv.linears_mut();
        all.push(&mut self.o);
        all.extend(self.mlp.all_linears_mut());
        all
    }

    /// The weights, in the order in which they are made.
    pub fn parts(&self) -> Vec<Part<'_>> {
        let mut parts = vec![Part::Vector(&self.attn_norm)];
        parts.extend(self.qkv.linears().into_iter().flat_map(Linear::parts));
        parts.extend([&self.q_norm, &self.k_norm].into_iter().flatten().map(Part::Vector));
        parts.extend(self.o.parts());
        parts.push(Part::Vector(&self.mlp_norm));
        parts.extend(self.mlp.parts());
        parts
    }
}

/// The input gradient of a layer that was asked for it.
fn wanted(dx: Option<Tensor>) -> Result<Tensor> {
    dx.ok_or_else(|| candle_core::Error::Msg("a linear layer returned no input gradient".into()))
}
