//! A matrix of the model: numbers, frozen or trained, as they are or in panels, or blocks of a quantised format.

use candle_core::{Result, Tensor, Var};

use super::ops::products::{Panels, Quantised, Right};
use super::ops::vocabulary::{Slice, Words};
use super::param::Param;

/// The weight of a linear layer, of the head or of the embedding, `[out, in]`.
#[derive(Clone, Debug)]
pub enum Weight {
    /// Numbers.
    Dense(Param),
    /// Numbers in panels, always frozen.
    Panels {
        /// The checkpoint's name of the weight.
        name: String,
        /// The panels.
        panels: Panels,
    },
    /// Blocks, always frozen.
    Quantised {
        /// The checkpoint's name of the weight.
        name: String,
        /// The blocks.
        blocks: Quantised,
    },
}

/// A weight of the base model.
#[derive(Clone, Copy, Debug)]
pub enum Part<'a> {
    /// Of a linear layer, the embedding or the head.
    Matrix(&'a Weight),
    /// A norm.
    Vector(&'a Param),
}

impl<'a> Part<'a> {
    /// The matrix, if it is one.
    pub fn matrix(self) -> Option<&'a Weight> {
        if let Self::Matrix(weight) = self { Some(weight) } else { None }
    }

    /// The vector, if it is one.
    pub fn vector(self) -> Option<&'a Param> {
        if let Self::Vector(param) = self { Some(param) } else { None }
    }
}

impl Weight {
    /// A frozen weight that is multiplied: in panels where products are the faster for it.
    ///
    /// # Errors
    /// If `value` is no matrix.
    pub fn frozen(name: impl Into<String>, value: Tensor) -> Result<Self> {
        if !Panels::serve(value.dtype(), value.device()) {
            return Ok(Self::Dense(Param::frozen(name, value)));
        }
        Ok(Self::Panels { name: name.into(), panels: Panels::of(&value)? })
    }

    /// The checkpoint's name of the weight.
    pub fn name(&self) -> &str {
        match self {
            Self::Dense(param) => param.name(),
            Self::Panels { name, .. } | Self::Quantised { name, .. } => name,
        }
    }

    /// `(out, in)`.
    pub fn dims2(&self) -> Result<(usize, usize)> {
        match self {
            Self::Dense(param) => param.value().dims2(),
            Self::Panels { panels, .. } => Ok(panels.dims2()),
            Self::Quantised { blocks, .. } => Ok(blocks.dims2()),
        }
    }

    /// Bytes it takes.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Dense(param) => param.bytes(),
            Self::Panels { panels, .. } => panels.bytes(),
            Self::Quantised { blocks, .. } => blocks.bytes(),
        }
    }

    /// Bytes of the rows that a product unpacks at once on the CPU.
    pub fn unpacked_bytes(&self) -> usize {
        match self {
            Self::Dense(_) | Self::Panels { .. } => 0,
            Self::Quantised { blocks, .. } => blocks.unpacked_bytes(),
        }
    }

    /// The numbers, if they lie as they are.
    pub fn dense(&self) -> Option<&Param> {
        match self {
            Self::Dense(param) => Some(param),
            Self::Panels { .. } | Self::Quantised { .. } => None,
        }
    }

    /// The numbers, unless it is quantised: `[out, in]`.
    ///
    /// # Errors
    /// None in practice.
    pub fn numbers(&self) -> Result<Option<Tensor>> {
        match self {
            Self::Dense(param) => Ok(Some(param.value().clone())),
            Self::Panels { panels, .. } => panels.unpacked().map(Some),
            Self::Quantised { .. } => Ok(None),
        }
    }

    /// Whether it is in blocks.
    pub fn is_quantised(&self) -> bool {
        matches!(self, Self::Quantised { .. })
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
            Self::Panels { panels, .. } => panels.rows(ids),
            Self::Quantised { blocks, .. } => blocks.rows(ids),
        }
    }
}

impl Words for Weight {
    fn dims2(&self) -> Result<(usize, usize)> {
        Self::dims2(self)
    }

    fn slice(&self, start: usize, len: usize) -> Result<Slice> {
        match self {
            Self::Dense(param) => param.value().narrow(0, start, len).map(Slice::Dense),
            Self::Panels { panels, .. } => panels.narrow(start, len).map(Slice::Panels),
            Self::Quantised { blocks, .. } if blocks.is_read_as_it_is() => {
                blocks.narrow(start, len).map(Slice::Quantised)
            }
            // a slice is multiplied twice going back
            Self::Quantised { blocks, .. } => blocks.unpacked(start, len).map(Slice::Dense),
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
            Weight::Panels { panels, .. } => Self::Panels(panels),
            Weight::Quantised { blocks, .. } => Self::Quantised(blocks),
        }
    }
}
