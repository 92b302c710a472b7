//! A matrix of the model: numbers, frozen or trained, or blocks of a quantised format.

use std::sync::Arc;

use candle_core::{Result, Tensor, Var};

use super::ops::products::{Quantised, Right};
use super::ops::vocabulary::Words;
use super::param::Param;

/// The weight of a linear layer, of the head or of the embedding, `[out, in]`.
#[derive(Clone, Debug)]
pub enum Weight {
    /// Numbers.
    Dense(Param),
    /// Blocks, always frozen.
    Quantised {
        /// The checkpoint's name of the weight.
        name: String,
        /// The blocks.
        blocks: Arc<Quantised>,
    },
}

impl Weight {
    /// The checkpoint's name of the weight.
    pub fn name(&self) -> &str {
        match self {
            Self::Dense(param) => param.name(),
            Self::Quantised { name, .. } => name,
        }
    }

    /// `(out, in)`.
    pub fn dims2(&self) -> Result<(usize, usize)> {
        match self {
            Self::Dense(param) => param.value().dims2(),
            Self::Quantised { blocks, .. } => Ok(blocks.dims2()),
        }
    }

    /// Bytes it takes.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Dense(param) => param.bytes(),
            Self::Quantised { blocks, .. } => blocks.bytes(),
        }
    }

    /// Bytes of the rows that a product unpacks at once on the CPU.
    pub fn unpacked_bytes(&self) -> usize {
        match self {
            Self::Dense(_) => 0,
            Self::Quantised { blocks, .. } => blocks.rows_at_once() * blocks.dims2().1 * size_of::<f32>(),
        }
    }

    /// The numbers, unless it is quantised.
    pub fn dense(&self) -> Option<&Param> {
        match self {
            Self::Dense(param) => Some(param),
            Self::Quantised { .. } => None,
        }
    }

    /// The variable behind a trainable weight.
    pub fn var(&self) -> Option<&Var> {
        self.dense()?.var()
    }

    /// Whether gradients are wanted.
    pub fn is_trainable(&self) -> bool {
        self.var().is_some()
    }

    /// Chosen rows: `[N, in]`, in whatever dtype they are kept.
    pub fn rows(&self, ids: &Tensor) -> Result<Tensor> {
        match self {
            Self::Dense(param) => param.value().index_select(ids, 0),
            Self::Quantised { blocks, .. } => blocks.rows(ids),
        }
    }
}

impl Words for Weight {
    fn dims2(&self) -> Result<(usize, usize)> {
        Self::dims2(self)
    }

    fn slice(&self, start: usize, len: usize) -> Result<Tensor> {
        match self {
            Self::Dense(param) => param.value().narrow(0, start, len),
            Self::Quantised { blocks, .. } => blocks.unpacked(start, len),
        }
    }

    fn right(&self) -> Right<'_> {
        self.into()
    }
}

impl<'a> From<&'a Weight> for Right<'a> {
    fn from(weight: &'a Weight) -> Self {
        match weight {
            Weight::Dense(param) => Self::Dense(param.value()),
            Weight::Quantised { blocks, .. } => Self::Quantised(blocks),
        }
    }
}
