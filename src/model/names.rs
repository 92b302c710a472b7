//! What the tensors of a decoder are called in the files of a family.

use std::collections::BTreeMap;

use super::shape::Shape;

/// A tensor of a decoder, in our words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// The embedding.
    Embedding,
    /// RMSNorm before attention.
    AttentionNorm,
    /// Query projection.
    Q,
    /// Key projection.
    K,
    /// Value projection.
    V,
    /// Output projection of attention.
    O,
    /// RMSNorm before the MLP.
    MlpNorm,
    /// Gate of the MLP.
    Gate,
    /// The gated branch of the MLP.
    Up,
    /// Output projection of the MLP.
    Down,
    /// RMSNorm before the head.
    FinalNorm,
    /// The head.
    Head,
}

impl Slot {
    /// Whether it is a linear layer, which can have an adapter.
    pub fn is_linear(self) -> bool {
        use Slot::*;
        matches!(self, Q | K | V | O | Gate | Up | Down)
    }

    /// Whether its output is added to the residual stream.
    pub fn is_into_residual(self) -> bool {
        matches!(self, Self::O | Self::Down)
    }
}

/// The names of a family: paths without `.weight`.
#[derive(Debug)]
pub struct Names {
    /// The key of `config.json` that has the longest sequence.
    pub positions: &'static str,
    /// What a layer's number stands behind.
    pub layers: &'static str,
    /// The embedding.
    pub embedding: &'static str,
    /// RMSNorm before attention, in a layer; so are the following.
    pub attention_norm: &'static str,
    /// Projections of queries, keys and values, and of what was attended to.
    pub attention: [&'static str; 4],
    /// RMSNorm before the MLP.
    pub mlp_norm: &'static str,
    /// Gate, gated branch and output of the MLP.
    pub mlp: [&'static str; 3],
    /// RMSNorm before the head.
    pub final_norm: &'static str,
    /// The head.
    pub head: &'static str,
}

/// A tensor of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// What it is.
    pub slot: Slot,
    /// Of which layer, if of one.
    pub layer: Option<usize>,
    /// Its name in files.
    pub name: String,
    /// Its dimensions.
    pub dims: Vec<usize>,
}

impl Names {
    /// A tensor of these names.
    pub fn tensor(&self, shape: &Shape, slot: Slot, layer: Option<usize>) -> Named {
        let leaf = match slot {
            Slot::Embedding => self.embedding,
            Slot::AttentionNorm => self.attention_norm,
            Slot::Q => self.attention[0],
            Slot::K => self.attention[1],
            Slot::V => self.attention[2],
            Slot::O => self.attention[3],
            Slot::MlpNorm => self.mlp_norm,
            Slot::Gate => self.mlp[0],
            Slot::Up => self.mlp[1],
            Slot::Down => self.mlp[2],
            Slot::FinalNorm => self.final_norm,
            Slot::Head => self.head,
        };
        let path = layer.map_or(leaf.to_owned(), |layer| format!("{}.{layer}.{leaf}", self.layers));
        Named { slot, layer, name: path + ".weight", dims: shape.dims(slot) }
    }

    /// All tensors of a decoder of this shape, in the order in which they are made.
    pub fn tensors(&self, shape: &Shape) -> Vec<Named> {
        let mut all = vec![self.tensor(shape, Slot::Embedding, None)];
        for layer in 0..shape.layers {
            all.extend(shape.of_layer().into_iter().map(|slot| self.tensor(shape, slot, Some(layer))));
        }
        all.extend([Slot::FinalNorm, Slot::Head].map(|slot| self.tensor(shape, slot, None)));
        all
    }
}

/// Names and dimensions.
pub fn dims_by_name(tensors: &[Named]) -> BTreeMap<String, Vec<usize>> {
    tensors.iter().map(|tensor| (tensor.name.clone(), tensor.dims.clone())).collect()
}

/// A layer's path without what all layers share: `blocks.0.q_proj`.
pub fn shortened(path: &str) -> &str {
    ROOTS.iter().find_map(|root| path.strip_prefix(root)).unwrap_or(path)
}

/// What [`shortened`] shortened.
pub fn lengthened(short: &str) -> String {
    format!("{}{short}", ROOTS[usize::from(!short.starts_with("blocks."))])
}

/// What paths begin with: LLaDA's and the others', the longer one first.
const ROOTS: [&str; 2] = ["model.transformer.", "model."];
