//! What follows the second norm of a layer: an MLP, or a mixture of experts.

use candle_core::{Result, Tensor};

use super::experts::{Experts, ExpertsSaved};
use super::gated::{Gated, GatedSaved};
use crate::model::batch::Span;
use crate::model::linear::Linear;
use crate::model::param::Gradients;
use crate::model::weight::Part;

/// One of the two.
#[derive(Clone, Debug)]
pub enum Mlp {
    /// An MLP.
    Gated(Box<Gated>),
    /// A mixture of experts.
    Experts(Box<Experts>),
}

/// What it keeps for its backward.
#[derive(Debug)]
pub enum MlpSaved {
    /// Of an MLP.
    Gated(GatedSaved),
    /// Of a mixture.
    Experts(ExpertsSaved),
}

#[cfg(test)]
impl MlpSaved {
    /// What is held, in bytes.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Gated(saved) => saved.bytes(),
            Self::Experts(saved) => saved.bytes(),
        }
    }
}

impl Mlp {
    /// `start` plus the output, and what [`Mlp::backward`] needs when `keep`.
    ///
    /// # Shapes
    /// `start`, `h` `[N, D]`; returns `[N, D]`.
    pub fn forward(
        &self,
        start: &Tensor,
        h: Tensor,
        span: &Span<'_>,
        keep: bool,
    ) -> Result<(Tensor, Option<MlpSaved>)> {
        match self {
            Self::Gated(mlp) => {
                let (y, saved) = mlp.forward(Some(start), h, None, span, keep)?;
                Ok((y, saved.map(MlpSaved::Gated)))
            }
            Self::Experts(mlp) => {
                let (y, saved) = mlp.forward(start, &h, span, keep)?;
                Ok((y, saved.map(MlpSaved::Experts)))
            }
        }
    }

    /// What [`Mlp::backward`] needs, without the output.
    ///
    /// # Shapes
    /// `h` `[N, D]`.
    pub fn save(&self, h: &Tensor, span: &Span<'_>) -> Result<MlpSaved> {
        match self {
            Self::Gated(mlp) => mlp.save(h, None, span).map(MlpSaved::Gated),
            Self::Experts(mlp) => mlp.save(h, span).map(MlpSaved::Experts),
        }
    }

    /// Adds the gradients of what is trained; returns that of the input. `h` is asked for if it is needed.
    ///
    /// # Shapes
    /// `dy` `[N, D]`; returns `[N, D]`.
    ///
    /// # Errors
    /// What was kept by another kind.
    pub fn backward(
        &self,
        h: impl FnOnce() -> Result<Tensor>,
        dy: &Tensor,
        saved: MlpSaved,
        span: &Span<'_>,
        gradients: &mut Gradients,
    ) -> Result<Tensor> {
        match (self, saved) {
            (Self::Gated(mlp), MlpSaved::Gated(saved)) => {
                mlp.backward(h, None, dy, saved, span, gradients).map(|(dh, _)| dh)
            }
            (Self::Experts(mlp), MlpSaved::Experts(saved)) => mlp.backward(&h()?, dy, saved, span, gradients),
            _ => candle_core::bail!("what was kept is of another kind of MLP"),
        }
    }

    /// The MLP of every token, if there is one: the only part with adapters.
    pub fn of_all(&self) -> Option<&Gated> {
        match self {
            Self::Gated(mlp) => Some(mlp),
            Self::Experts(mlp) => mlp.shared.as_ref(),
        }
    }

    /// The linear layers that can have adapters, in the order in which they are numbered.
    pub fn linears(&self) -> Vec<&Linear> {
        self.of_all().map(|mlp| mlp.linears().to_vec()).unwrap_or_default()
    }

    /// As [`Mlp::linears`], to be changed.
    pub fn linears_mut(&mut self) -> Vec<&mut Linear> {
        let mlp = match self {
            Self::Gated(mlp) => Some(&mut **mlp),
            Self::Experts(mlp) => mlp.shared.as_mut(),
        };
        mlp.map(|mlp| mlp.linears_mut().into()).unwrap_or_default()
    }

    /// All linear layers, to be changed.
    pub fn all_linears_mut(&mut self) -> Vec<&mut Linear> {
        match self {
            Self::Gated(mlp) => mlp.linears_mut().into(),
            Self::Experts(mlp) => {
                let Experts { router, each, shared, .. } = &mut **mlp;
                [router].into_iter().chain(each.iter_mut().chain(shared).flat_map(Gated::linears_mut)).collect()
            }
        }
    }

    /// The weights, in the order in which they are made.
    pub fn parts(&self) -> Vec<Part<'_>> {
        match self {
            Self::Gated(mlp) => mlp.parts(),
            Self::Experts(mlp) => {
                let router = mlp.router.parts().chain(mlp.bias.iter().map(Part::Vector));
                router.chain(mlp.each.iter().chain(&mlp.shared).flat_map(Gated::parts)).collect()
            }
        }
    }
}
