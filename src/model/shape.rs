//! What a decoder looks like: sizes and flags, whatever the family it is of.

use super::names::{MlpPart, Slot};
use super::routing::Routing;
use super::sight::Sight;

/// The sizes of a decoder, and what its layers consist of.
///
/// Only a family fills it (see [`super::family`]), and nothing else knows of families.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// Width of the residual stream, `D`.
    pub width: usize,
    /// Layers.
    pub layers: usize,
    /// Query heads, `H`.
    pub heads: usize,
    /// Key and value heads, `K`; divides `heads`.
    pub kv_heads: usize,
    /// Width of a head, `E`.
    pub head_dim: usize,
    /// Numbers of a head that are rotated: the first ones.
    pub rotated: usize,
    /// Width of the gated MLP, `F`.
    pub ffn: usize,
    /// Which layers have a mixture of experts instead, if some have.
    pub experts: Option<Mixture>,
    /// Rows of the embedding and of the head, `V`.
    pub vocabulary: usize,
    /// Longest sequence.
    pub positions: usize,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Added to the mean square in RMSNorm.
    pub eps: f64,
    /// Whether the projections of queries, keys and values are one matrix.
    pub fused_qkv: bool,
    /// Whether the projections of queries, keys and values have biases.
    pub qkv_bias: bool,
    /// Whether every head of queries and keys goes through an RMSNorm of its own before it is rotated.
    pub qk_norm: bool,
    /// Whether the head multiplies with the embedding.
    pub tied: bool,
    /// Whether the token at a place is predicted from the place before it.
    pub shifted: bool,
    /// What queries see.
    pub sight: Sight,
}

/// The mixtures of experts of a decoder.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mixture {
    /// Layers before this one have an MLP.
    pub first: usize,
    /// How tokens are sent to experts.
    pub routing: Routing,
    /// Width of an expert.
    pub ffn: usize,
    /// Width of the expert of all tokens, or 0 if there is none.
    pub shared_ffn: usize,
}

impl Shape {
    /// Width of all query heads, `H E`.
    pub fn queries(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Width of all key heads, `K E`.
    pub fn keys(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// The mixture of experts of a layer, if it has one.
    pub fn mixture(&self, layer: usize) -> Option<&Mixture> {
        self.experts.as_ref().filter(|mixture| layer >= mixture.first)
    }

    /// Experts of a mixture, 0 without any.
    pub fn expert_count(&self) -> usize {
        self.experts.map_or(0, |mixture| mixture.routing.experts)
    }

    /// The widest input of a layer's matrices.
    pub fn widest(&self) -> usize {
        let dense = self.experts.is_none_or(|mixture| mixture.first > 0).then_some(self.ffn);
        let mixture = self.experts.map(|mixture| mixture.ffn.max(mixture.shared_ffn));
        dense.into_iter().chain(mixture).fold(self.width, usize::max)
    }

    /// The tensors of a layer, in the order in which they are made.
    pub fn of_layer(&self, layer: usize) -> Vec<Slot> {
        use Slot::*;
        let is_there = |slot: &Slot| match slot {
            Qkv => self.fused_qkv,
            Q | K | V => !self.fused_qkv,
            QBias | KBias | VBias => self.qkv_bias,
            QNorm | KNorm => self.qk_norm,
            _ => true,
        };
        let attention = [AttentionNorm, Qkv, Q, QBias, K, KBias, V, VBias, QNorm, KNorm, O, MlpNorm];
        let mut all: Vec<Slot> = attention.into_iter().filter(is_there).collect();
        let Some(Mixture { routing, shared_ffn, .. }) = self.mixture(layer) else {
            all.extend(MlpPart::ALL.map(Mlp));
            return all;
        };
        all.push(Router);
        all.extend(routing.biased.then_some(RouterBias));
        all.extend((0..routing.experts).flat_map(|expert| MlpPart::ALL.map(|part| Expert(expert, part))));
        if *shared_ffn > 0 {
            all.extend(MlpPart::ALL.map(SharedExpert));
        }
        all
    }

    /// The dimensions of a tensor, `[out, in]` of a matrix.
    pub fn dims(&self, slot: Slot) -> Vec<usize> {
        let d = self.width;
        let mlp = |part, f| if part == MlpPart::Down { vec![d, f] } else { vec![f, d] };
        let (expert, shared) = self.experts.map_or((0, 0), |mixture| (mixture.ffn, mixture.shared_ffn));
        match slot {
            Slot::Embedding | Slot::Head => vec![self.vocabulary, d],
            Slot::AttentionNorm | Slot::MlpNorm | Slot::FinalNorm => vec![d],
            Slot::Qkv => vec![self.queries() + 2 * self.keys(), d],
            Slot::Q => vec![self.queries(), d],
            Slot::K | Slot::V => vec![self.keys(), d],
            Slot::QBias => vec![self.queries()],
            Slot::KBias | Slot::VBias => vec![self.keys()],
            Slot::QNorm | Slot::KNorm => vec![self.head_dim],
            Slot::O => vec![d, self.queries()],
            Slot::Mlp(part) => mlp(part, self.ffn),
            Slot::Router => vec![self.expert_count(), d],
            Slot::RouterBias => vec![self.expert_count()],
            Slot::Expert(_, part) => mlp(part, expert),
            Slot::SharedExpert(part) => mlp(part, shared),
        }
    }
}
