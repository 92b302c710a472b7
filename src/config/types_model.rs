//! How the weights of a model are kept.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

/// What the user says of a model whose folder does not say it; over what it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelFacts {
    /// The id of the mask.
    pub mask_token_id: Option<u32>,
    /// The ids that end a completion; the first one fills canvases behind it.
    pub end_token_ids: Option<Vec<u32>>,
    /// Tokens of a block of a block-causal model.
    pub block_size: Option<NonZeroUsize>,
}

/// Working precision of the frozen weights and activations. Adapters are always f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32-bit floats.
    #[default]
    F32,
    /// bfloat16: for accelerators, and for CPUs that multiply it.
    Bf16,
    /// IEEE half precision.
    F16,
}

/// A block format of GGML for quantised weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BlockFormat {
    /// 8.5 bits a weight, blocks of 32.
    Q8_0,
    /// 6.6 bits a weight, blocks of 256.
    Q6K,
    /// 4.5 bits a weight, blocks of 256.
    Q4K,
}

impl BlockFormat {
    /// The name in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Q8_0 => "q8_0",
            Self::Q6K => "q6k",
            Self::Q4K => "q4k",
        }
    }
}
