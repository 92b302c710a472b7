//! LLaDA (arXiv 2502.09992), read as `modeling_llada.py` of `GSAI-ML/LLaDA-8B-Base` reads it.
//!
//! Upstream's defaults for missing keys are GPT-2's, so every key that changes the maths must be there, and a
//! value this crate does not implement is refused by name rather than ignored.

use serde_json::Value;

use super::ids::FoundIds;
use super::keys::{Keys, SizeKeys};
use super::{Family, Grid};
use crate::model::gguf::Converted;
use crate::model::names::Names;
use crate::model::shape::Shape;
use crate::model::sight::Sight;
use crate::text::SpecialIds;

pub(super) static FAMILY: Family = Family {
    architectures: &["LLaDAModelLM"],
    name: "LLaDA",
    names: &NAMES,
    sizes: SIZES,
    grid: Grid::None,
    gguf: Some(Converted { architecture: "llada", interleaved: true }),
    read,
};

static NAMES: Names = Names {
    positions: "max_sequence_length",
    layers: "model.transformer.blocks",
    embedding: "model.transformer.wte",
    attention_norm: "attn_norm",
    attention: ["q_proj", "k_proj", "v_proj", "attn_out"],
    head_norms: ["q_norm", "k_norm"],
    mlp_norm: "ff_norm",
    mlp: ["ff_proj", "up_proj", "ff_out"],
    final_norm: "model.transformer.ln_f",
    head: "model.transformer.ff_out",
};

const SIZES: SizeKeys =
    SizeKeys { width: "d_model", heads: "n_heads", kv_heads: "n_kv_heads", layers: "n_layers", head_dim: None };

fn read(keys: &mut Keys<'_>) -> (Shape, FoundIds) {
    for key in ["attention_dropout", "residual_dropout", "embedding_dropout"] {
        keys.may_be_zero(key);
    }
    for (key, value) in [("layer_norm_type", "rms"), ("activation_type", "silu"), ("block_type", "llama")] {
        keys.must_be(key, value);
    }
    keys.must_be("rope", true);
    keys.must_be("weight_tying", false);
    keys.must_be("include_bias", false);
    for key in ["include_qkv_bias", "attention_layer_norm", "alibi", "scale_logits", "input_emb_norm"] {
        keys.may_be(key, false);
    }
    keys.may_be("rope_full_precision", true);
    keys.may_be("block_group_size", 1);
    keys.may_be("clip_qkv", Value::Null);

    let (width, heads) = (keys.size("d_model"), keys.size("n_heads"));
    let shape = Shape {
        width,
        layers: keys.size("n_layers"),
        heads,
        kv_heads: if keys.is_set("n_kv_heads") { keys.size("n_kv_heads") } else { heads },
        head_dim: width / heads.max(1),
        rotated: width / heads.max(1),
        ffn: keys.size("mlp_hidden_size"),
        vocabulary: keys.size(if keys.is_set("embedding_size") { "embedding_size" } else { "vocab_size" }),
        positions: keys.size("max_sequence_length"),
        rope_theta: keys.number("rope_theta"),
        eps: keys.number("rms_norm_eps"),
        experts: None,
        fused_qkv: false,
        qkv_bias: false,
        qk_norm: false,
        tied: false,
        shifted: false,
        sight: Sight::Full,
    };
    let (mask, end) = (keys.optional_id("mask_token_id"), keys.optional_id("eos_token_id"));
    (shape, FoundIds { mask, pad: end, ends: end.into_iter().collect(), ..FoundIds::default() })
}

/// LLaDA-8B, Base and Instruct.
pub(super) fn llada_8b() -> (&'static Family, Shape, SpecialIds) {
    let shape = Shape {
        width: 4_096,
        layers: 32,
        heads: 32,
        kv_heads: 32,
        head_dim: 128,
        rotated: 128,
        ffn: 12_288,
        vocabulary: 126_464,
        positions: 4_096,
        rope_theta: 500_000.0,
        eps: 1e-5,
        experts: None,
        fused_qkv: false,
        qkv_bias: false,
        qk_norm: false,
        tied: false,
        shifted: false,
        sight: Sight::Full,
    };
    (&FAMILY, shape, SpecialIds::new(126_336, 126_081, 126_081, &[]))
}
