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
    /// Bias of the query projection.
    QBias,
    /// Bias of the key projection.
    KBias,
    /// Bias of the value projection.
    VBias,
    /// RMSNorm of every query head.
    QNorm,
    /// RMSNorm of every key head.
    KNorm,
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

    /// Whether it is the bias of one.
    pub fn is_bias(self) -> bool {
        matches!(self, Self::QBias | Self::KBias | Self::VBias)
    }

    /// Whether its output is added to the residual stream.
    pub fn is_into_residual(self) -> bool {
        matches!(self, Self::O | Self::Down)
    }
}

/// The names of a family: paths without `.weight` or `.bias`.
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
    /// RMSNorms of every head of queries and of keys, in families that have them.
    pub head_norms: [&'static str; 2],
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
    /// Whether it is the weight of products. The rows of an embedding are looked up; one that is the head's as well is
    /// multiplied.
    pub is_multiplied: bool,
}

impl Names {
    /// A tensor of these names.
    pub fn tensor(&self, shape: &Shape, slot: Slot, layer: Option<usize>) -> Named {
        let leaf = match slot {
            Slot::Embedding => self.embedding,
            Slot::AttentionNorm => self.attention_norm,
            Slot::Q | Slot::QBias => self.attention[0],
            Slot::K | Slot::KBias => self.attention[1],
            Slot::V | Slot::VBias => self.attention[2],
            Slot::QNorm => self.head_norms[0],
            Slot::KNorm => self.head_norms[1],
            Slot::O => self.attention[3],
            Slot::MlpNorm => self.mlp_norm,
            Slot::Gate => self.mlp[0],
            Slot::Up => self.mlp[1],
            Slot::Down => self.mlp[2],
            Slot::FinalNorm => self.final_norm,
            Slot::Head => self.head,
        };
        let path = layer.map_or(leaf.to_owned(), |layer| format!("{}.{layer}.{leaf}", self.layers));
        let end = if slot.is_bias() { ".bias" } else { ".weight" };
        let dims = shape.dims(slot);
        let is_multiplied = dims.len() == 2 && (slot != Slot::Embedding || shape.tied);
        Named { slot, layer, name: path + end, dims, is_multiplied }
    }

    /// A tensor that files may have although nothing reads it: the head's own name, where the embedding is the head.
    pub fn idle(&self, shape: &Shape) -> Option<String> {
        shape.tied.then(|| self.tensor(shape, Slot::Head, None).name)
    }

    /// All tensors of a decoder of this shape, in the order in which they are made.
    pub fn tensors(&self, shape: &Shape) -> Vec<Named> {
        let mut all = vec![self.tensor(shape, Slot::Embedding, None)];
        for layer in 0..shape.layers {
            all.extend(shape.of_layer().into_iter().map(|slot| self.tensor(shape, slot, Some(layer))));
        }
        all.push(self.tensor(shape, Slot::FinalNorm, None));
        if !shape.tied {
            all.push(self.tensor(shape, Slot::Head, None));
        }
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
