//! What the tensors of a decoder are called in the files of a family.

use std::collections::BTreeMap;

use super::shape::Shape;

/// A matrix of a gated MLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MlpPart {
    /// Gate.
    Gate,
    /// The gated branch.
    Up,
    /// Output projection.
    Down,
}

impl MlpPart {
    /// In the order in which they are made.
    pub const ALL: [Self; 3] = [Self::Gate, Self::Up, Self::Down];
}

/// A tensor of a decoder, in our words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// The embedding.
    Embedding,
    /// RMSNorm before attention.
    AttentionNorm,
    /// The projections of queries, keys and values in one matrix.
    Qkv,
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
    /// Of the MLP.
    Mlp(MlpPart),
    /// What makes a logit for every expert.
    Router,
    /// What is added to the scores of experts before some are chosen.
    RouterBias,
    /// Of the expert of this number.
    Expert(usize, MlpPart),
    /// Of the expert of all tokens.
    SharedExpert(MlpPart),
    /// RMSNorm before the head.
    FinalNorm,
    /// The head.
    Head,
}

impl Slot {
    /// Whether it is a linear layer, which can have an adapter.
    pub fn is_linear(self) -> bool {
        use Slot::*;
        matches!(self, Qkv | Q | K | V | O | Mlp(_) | SharedExpert(_))
    }

    /// Whether it is added to an output.
    pub fn is_bias(self) -> bool {
        matches!(self, Self::QBias | Self::KBias | Self::VBias | Self::RouterBias)
    }

    /// Whether it is a router's, which computes in f32 whatever the rest of the model does.
    pub fn is_of_router(self) -> bool {
        matches!(self, Self::Router | Self::RouterBias)
    }

    /// Whether its output is added to the residual stream.
    pub fn is_into_residual(self) -> bool {
        use MlpPart::Down;
        matches!(self, Self::O | Self::Mlp(Down) | Self::Expert(_, Down) | Self::SharedExpert(Down))
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
    /// Projections of queries, keys and values, and of what was attended to; one that is all three has one name.
    pub attention: [&'static str; 4],
    /// RMSNorms of every head of queries and of keys, in families that have them.
    pub head_norms: [&'static str; 2],
    /// RMSNorm before the MLP.
    pub mlp_norm: &'static str,
    /// Gate, gated branch and output of the MLP; experts have the last names of these paths.
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
    /// Whether it is the weight of large products. The rows of an embedding are looked up; one that is the head's as well
    /// is multiplied.
    pub is_multiplied: bool,
}

impl Named {
    /// Whether it is a matrix that may be kept in blocks.
    pub fn is_packed(&self) -> bool {
        self.dims.len() == 2 && self.slot != Slot::Router
    }
}

impl Names {
    /// A tensor of these names.
    pub fn tensor(&self, shape: &Shape, slot: Slot, layer: Option<usize>) -> Named {
        let last = |part| self.part(part).rsplit('.').next().unwrap_or_default();
        let leaf = match slot {
            Slot::Embedding => self.embedding.into(),
            Slot::AttentionNorm => self.attention_norm.into(),
            Slot::Qkv | Slot::Q | Slot::QBias => self.attention[0].into(),
            Slot::K | Slot::KBias => self.attention[1].into(),
            Slot::V | Slot::VBias => self.attention[2].into(),
            Slot::QNorm => self.head_norms[0].into(),
            Slot::KNorm => self.head_norms[1].into(),
            Slot::O => self.attention[3].into(),
            Slot::MlpNorm => self.mlp_norm.into(),
            Slot::Mlp(part) => self.part(part).into(),
            Slot::Router => "mlp.gate".to_owned(),
            Slot::RouterBias => "mlp.gate.expert_bias".to_owned(),
            Slot::Expert(expert, part) => format!("mlp.experts.{expert}.{}", last(part)),
            Slot::SharedExpert(part) => format!("mlp.shared_experts.{}", last(part)),
            Slot::FinalNorm => self.final_norm.into(),
            Slot::Head => self.head.into(),
        };
        let path = layer.map_or(leaf.clone(), |layer| format!("{}.{layer}.{leaf}", self.layers));
        let end = match slot {
            Slot::RouterBias => "",
            slot if slot.is_bias() => ".bias",
            _ => ".weight",
        };
        let dims = shape.dims(slot);
        let is_multiplied = dims.len() == 2 && (slot != Slot::Embedding || shape.tied) && slot != Slot::Router;
        Named { slot, layer, name: path + end, dims, is_multiplied }
    }

    /// The name of a matrix of the MLP.
    fn part(&self, part: MlpPart) -> &'static str {
        match part {
            MlpPart::Gate => self.mlp[0],
            MlpPart::Up => self.mlp[1],
            MlpPart::Down => self.mlp[2],
        }
    }

    /// A tensor that files may have although nothing reads it: the head's own name, where the embedding is the head.
    pub fn idle(&self, shape: &Shape) -> Option<String> {
        shape.tied.then(|| self.tensor(shape, Slot::Head, None).name)
    }

    /// All tensors of a decoder of this shape, in the order in which they are made.
    pub fn tensors(&self, shape: &Shape) -> Vec<Named> {
        let mut all = vec![self.tensor(shape, Slot::Embedding, None)];
        for layer in 0..shape.layers {
            all.extend(shape.of_layer(layer).into_iter().map(|slot| self.tensor(shape, slot, Some(layer))));
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
