//! What can go wrong between a gradient and a weight.

use candle_core::DType;

/// The result of an operation of the optimiser.
pub type Result<T> = std::result::Result<T, OptimError>;

/// Errors a trainer can act on.
#[derive(Debug, thiserror::Error)]
pub enum OptimError {
    /// The gradients are infinite or not a number; the weights have not been touched.
    #[error(
        "the gradient norm is {norm} (first at `{name}`): the weights are unchanged; lower learning_rate, or look for broken log-probs"
    )]
    NonFinite {
        /// The norm.
        norm: f64,
        /// The first gradient, in name order, that is not finite (or whose squares overflow).
        name: String,
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
