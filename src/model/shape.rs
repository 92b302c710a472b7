//! What a decoder looks like: sizes and flags, whatever the family it is of.

use super::names::Slot;
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
    /// Width of the gated MLP, `F`.
    pub ffn: usize,
    /// Rows of the embedding and of the head, `V`.
    pub vocabulary: usize,
    /// Longest sequence.
    pub positions: usize,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Added to the mean square in RMSNorm.
    pub eps: f64,
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

impl Shape {
    /// Width of all query heads, `H E`.
    pub fn queries(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Width of all key heads, `K E`.
    pub fn keys(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// The tensors of a layer, in the order in which they are made.
    pub fn of_layer(&self) -> Vec<Slot> {
        use Slot::*;
        let is_there = |slot: &Slot| match slot {
            QBias | KBias | VBias => self.qkv_bias,
            QNorm | KNorm => self.qk_norm,
            _ => true,
        };
        let all = [AttentionNorm, Q, QBias, K, KBias, V, VBias, QNorm, KNorm, O, MlpNorm, Gate, Up, Down];
        all.into_iter().filter(is_there).collect()
    }

    /// The dimensions of a tensor, `[out, in]` of a matrix.
    pub fn dims(&self, slot: Slot) -> Vec<usize> {
        let (d, f) = (self.width, self.ffn);
        match slot {
            Slot::Embedding | Slot::Head => vec![self.vocabulary, d],
            Slot::AttentionNorm | Slot::MlpNorm | Slot::FinalNorm => vec![d],
            Slot::Q => vec![self.queries(), d],
            Slot::K | Slot::V => vec![self.keys(), d],
            Slot::QBias => vec![self.queries()],
            Slot::KBias | Slot::VBias => vec![self.keys()],
            Slot::QNorm | Slot::KNorm => vec![self.head_dim],
            Slot::O => vec![d, self.queries()],
            Slot::Gate | Slot::Up => vec![f, d],
            Slot::Down => vec![d, f],
        }
    }
}
