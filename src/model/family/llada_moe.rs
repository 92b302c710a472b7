//! LLaDA-MoE (arXiv 2509.24389), read as `modeling_lladamoe.py` of `inclusionAI/LLaDA-MoE-7B-A1B-Base` reads it: full attention
//! with norms of heads, and a mixture of experts in every layer but, where `moe_layer_freq` says so, the first ones.
//!
//! The weights of a token's experts are those of a softmax over all of them, not divided by their sum: upstream takes no
//! notice of `norm_topk_prob` and `routed_scaling_factor`.

use serde_json::Value;

use super::ids::FoundIds;
use super::keys::Keys;
use super::qwen::{self, NAMES};
use super::{Family, Grid};
use crate::model::gguf::Converted;
use crate::model::routing::Routing;
use crate::model::shape::{Mixture, Shape};
use crate::model::sight::Sight;
use crate::text::SpecialIds;

pub(super) static FAMILY: Family = Family {
    architectures: &["LLaDAMoEModelLM", "LLaDAMoEModel"],
    name: "LLaDA-MoE",
    names: &NAMES,
    sizes: qwen::QWEN2_SIZES,
    grid: Grid::None,
    gguf: Some(Converted { architecture: "llada-moe", interleaved: false }),
    read,
};

fn read(keys: &mut Keys<'_>) -> (Shape, FoundIds) {
    keys.must_be("hidden_act", "silu");
    for key in ["attention_dropout", "embedding_dropout", "output_dropout"] {
        keys.may_be_zero(key);
    }
    keys.must_be("qk_layernorm", true);
    keys.must_be("moe_router_score_function", "softmax");
    for key in ["tie_word_embeddings", "attention_bias", "moe_router_enable_expert_bias", "norm_topk_prob"] {
        keys.may_be_false(key);
    }
    for key in ["clip_qkv", "shared_expert_intermediate_size", "router_num_group", "router_topk_group"] {
        keys.may_be(key, Value::Null);
    }
    keys.may_be_one("partial_rotary_factor");
    keys.may_be_one("routed_scaling_factor");
    let (width, heads, layers) =
        (keys.size("hidden_size"), keys.size("num_attention_heads"), keys.size("num_hidden_layers"));
    let first = dense_layers(keys, layers);
    let routing = Routing::softmax(keys.size("num_experts"), keys.size("num_experts_per_tok"));
    let shape = Shape {
        width,
        layers,
        heads,
        kv_heads: if keys.is_set("num_key_value_heads") { keys.size("num_key_value_heads") } else { heads },
        head_dim: width / heads.max(1),
        rotated: width / heads.max(1),
        ffn: if first > 0 { keys.size("dense_intermediate_size") } else { 0 },
        experts: Some(Mixture { first, routing, ffn: keys.size("expert_intermediate_size"), shared_ffn: 0 }),
        vocabulary: keys.size("vocab_size"),
        positions: keys.size("max_position_embeddings"),
        rope_theta: qwen::theta(keys),
        eps: keys.number("rms_norm_eps"),
        fused_qkv: false,
        qkv_bias: false,
        qk_norm: true,
        tied: false,
        shifted: false,
        sight: Sight::Full,
    };
    (shape, FoundIds::read(keys))
}

/// How many layers have an MLP instead of experts, which must be the first ones: `moe_layer_freq` has a 0 for each.
fn dense_layers(keys: &mut Keys<'_>, layers: usize) -> usize {
    let found = keys.value("moe_layer_freq");
    let each: Option<Vec<u64>> = found.as_array().and_then(|list| list.iter().map(Value::as_u64).collect());
    match each {
        Some(each) if each.len() == layers && each.is_sorted() && each.iter().all(|&one| one <= 1) => {
            each.iter().filter(|&&one| one == 0).count()
        }
        _ => {
            keys.refuse(format!(
                "moe_layer_freq is {found}: expected a list of {layers} numbers, 0 for the first layers, then 1"
            ));
            0
        }
    }
}

/// LLaDA-MoE-7B-A1B, Base and Instruct.
pub(super) fn llada_moe_7b() -> (&'static Family, Shape, SpecialIds) {
    let routing = Routing::softmax(64, 8);
    let shape = Shape {
        width: 2_048,
        layers: 16,
        heads: 16,
        kv_heads: 16,
        head_dim: 128,
        rotated: 128,
        ffn: 0,
        experts: Some(Mixture { first: 0, routing, ffn: 1_024, shared_ffn: 0 }),
        vocabulary: 157_184,
        positions: 8_192,
        rope_theta: 50_000.0,
        eps: 1e-5,
        fused_qkv: false,
        qkv_bias: false,
        qk_norm: true,
        tied: false,
        shifted: false,
        sight: Sight::Full,
    };
    (&FAMILY, shape, SpecialIds::new(156_895, 156_892, 156_892, &[]))
}
