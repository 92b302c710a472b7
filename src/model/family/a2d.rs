//! Tiny-A2D (dllm): Qwen2 and Qwen3 made bidirectional, read as `modeling_qwen3.py` and `modeling_qwen2.py` of
//! `dllm/pipelines/a2d` read them.
//!
//! The head is the embedding. The mask is a token that was added for it, so that its id stands in the tokenizer's files.
//! Models trained with `mdlm` see everything, those of `bd3lm` are block-causal from the answer on; nothing in their files
//! tells the two apart.

use super::ids::FoundIds;
use super::keys::Keys;
use super::qwen::{self, Kind, NAMES};
use super::{Family, Grid};
use crate::model::shape::Shape;
use crate::model::sight::Sight;
use crate::text::SpecialIds;

pub(super) static QWEN3: Family = Family {
    architectures: &["A2DQwen3LMHeadModel"],
    name: "A2D (Qwen3)",
    names: &NAMES,
    sizes: qwen::QWEN3_SIZES,
    grid: Grid::OfAnswer,
    gguf: None,
    read: |keys| read(keys, Kind::Qwen3),
};

pub(super) static QWEN2: Family = Family {
    architectures: &["A2DQwen2LMHeadModel"],
    name: "A2D (Qwen2)",
    names: &NAMES,
    sizes: qwen::QWEN2_SIZES,
    grid: Grid::OfAnswer,
    gguf: None,
    read: |keys| read(keys, Kind::Qwen2),
};

fn read(keys: &mut Keys<'_>, kind: Kind) -> (Shape, FoundIds) {
    qwen::read(keys, kind, true)
}

/// Qwen3-0.6B made bidirectional.
pub(super) fn qwen3_0_6b() -> (&'static Family, Shape, SpecialIds) {
    let shape = Shape {
        width: 1_024,
        layers: 28,
        heads: 16,
        kv_heads: 8,
        head_dim: 128,
        rotated: 128,
        ffn: 3_072,
        vocabulary: 151_936,
        positions: 40_960,
        rope_theta: 1e6,
        eps: 1e-6,
        experts: None,
        fused_qkv: false,
        qkv_bias: false,
        qk_norm: true,
        tied: true,
        shifted: false,
        sight: Sight::Full,
    };
    (&QWEN3, shape, SpecialIds::new(151_669, 151_643, 151_645, &[]))
}
