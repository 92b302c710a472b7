//! What can go wrong between a gradient and a weight.

use candle_core::DType;

/// The result of an operation of the optimiser.
pub type Result<T> = std::result::Result<T, OptimError>;

/// Errors a trainer can act on.
#[derive(Debug, thiserror::Error)]
pub enum OptimError {
    /// The gradients are infinite or not a number; no step was taken with them.
    #[error("the gradient norm is {norm} (first at `{name}`)")]
    NonFinite {
        /// The norm.
        norm: f64,
        /// The first gradient, in name order, that is not finite (or whose squares overflow).
        name: String,
    },
    /// A step would make a weight or a moment infinite or not a number; it was not taken.
    #[error("an update at learning rate {learning_rate:e} makes `{name}` infinite or not a number")]
    NonFiniteStep {
        /// The first parameter, in name order, to which this would happen.
        name: String,
        /// The rate of the step.
        learning_rate: f64,
    },
    /// A parameter was given no gradient.
    #[error("no gradient for parameter `{0}`")]
    MissingGradient(String),
    /// A gradient belongs to no parameter.
    #[error("gradient `{0}` belongs to no parameter of the optimiser")]
    UnknownGradient(String),
    /// A gradient of the wrong shape or type.
    #[error("gradient `{name}` is {got_dtype:?} {got:?}, expected F32 {expected:?}")]
    BadGradient {
        /// The parameter.
        name: String,
        /// Its shape.
        expected: Vec<usize>,
        /// The gradient's shape.
        got: Vec<usize>,
        /// The gradient's type.
        got_dtype: DType,
    },
    /// A saved state that does not fit the parameters.
    #[error("the optimiser state does not fit the parameters: {}", .0.join("; "))]
    BadState(
        /// Every missing, extra or mis-shaped tensor.
        Vec<String>,
    ),
    /// Anything the tensor library reports.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

impl OptimError {
    /// Whether the numbers are at fault, and not who gave them.
    pub fn is_numeric(&self) -> bool {
        matches!(self, Self::NonFinite { .. } | Self::NonFiniteStep { .. })
    }
}
