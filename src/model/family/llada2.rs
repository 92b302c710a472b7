//! LLaDA2 (arXiv 2512.15745), read as `modeling_llada2_moe.py` of `inclusionAI/LLaDA2.0-mini` reads it: block-causal on a grid
//! that is counted from the beginning of a row, one projection for queries, keys and values, half of every head rotated, and
//! behind some layers with an MLP a mixture of experts with one for all tokens.
//!
//! Its `config.json` names neither the mask nor the length of a block.

use super::ids::FoundIds;
use super::keys::Keys;
use super::qwen::{QWEN3_SIZES, theta};
use super::{Family, Grid};
use crate::model::names::Names;
use crate::model::routing::{Routing, Score};
use crate::model::shape::{Mixture, Shape};
use crate::model::sight::{BlockGrid, Sight};
use crate::text::SpecialIds;

pub(super) static FAMILY: Family = Family {
    architectures: &["LLaDA2MoeModelLM"],
    name: "LLaDA2",
    names: &NAMES,
    sizes: QWEN3_SIZES,
    grid: Grid::OfRow,
    gguf: None,
    read,
};

static NAMES: Names = Names {
    positions: "max_position_embeddings",
    layers: "model.layers",
    embedding: "model.word_embeddings",
    attention_norm: "input_layernorm",
    attention: [
        "attention.query_key_value",
        "attention.query_key_value",
        "attention.query_key_value",
        "attention.dense",
    ],
    head_norms: ["attention.query_layernorm", "attention.key_layernorm"],
    mlp_norm: "post_attention_layernorm",
    mlp: ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"],
    final_norm: "model.norm",
    head: "lm_head",
};

fn read(keys: &mut Keys<'_>) -> (Shape, FoundIds) {
    keys.must_be("hidden_act", "silu");
    for key in ["attention_dropout", "embedding_dropout", "output_dropout"] {
        keys.may_be_zero(key);
    }
    keys.must_be("use_qk_norm", true);
    keys.must_be("use_bias", false); // upstream's default is true
    for key in ["tie_word_embeddings", "use_qkv_bias", "norm_head", "use_sliding_window"] {
        keys.may_be_false(key);
    }
    keys.may_be("score_function", "sigmoid");
    for key in ["norm_topk_prob", "moe_router_enable_expert_bias"] {
        keys.may_be(key, true);
    }
    let (width, heads) = (keys.size("hidden_size"), keys.size("num_attention_heads"));
    let head_dim = if keys.is_set("head_dim") { keys.size("head_dim") } else { width / heads.max(1) };
    let shape = Shape {
        width,
        layers: keys.size("num_hidden_layers"),
        heads,
        kv_heads: keys.size("num_key_value_heads"),
        head_dim,
        rotated: rotated(keys, head_dim),
        ffn: keys.size("intermediate_size"),
        experts: Some(mixture(keys)),
        vocabulary: keys.size("vocab_size"),
        positions: keys.size("max_position_embeddings"),
        rope_theta: theta(keys),
        eps: keys.number("rms_norm_eps"),
        fused_qkv: true,
        qkv_bias: false,
        qk_norm: true,
        tied: false,
        shifted: false,
        sight: keys.blocks_of_rows(),
    };
    (shape, FoundIds { end_tokens: &["<|endoftext|>"], ..FoundIds::read(keys) })
}

/// Numbers of a head that are rotated.
fn rotated(keys: &mut Keys<'_>, head_dim: usize) -> usize {
    let factor = keys.number("partial_rotary_factor");
    let rotated = (head_dim as f64 * factor) as usize;
    if factor > 0.0 && (rotated > head_dim || rotated == 0 || !rotated.is_multiple_of(2)) {
        keys.refuse(format!(
            "partial_rotary_factor is {factor}: of {head_dim} numbers of a head an even number must be rotated"
        ));
    }
    rotated
}

fn mixture(keys: &mut Keys<'_>) -> Mixture {
    let routing = Routing {
        experts: keys.size("num_experts"),
        chosen: keys.size("num_experts_per_tok"),
        score: Score::Sigmoid,
        biased: true,
        groups: keys.size("n_group"),
        kept_groups: keys.size("topk_group"),
        // upstream divides where there is something to divide
        normalised: *keys.value("num_experts_per_tok") != 1,
        scale: keys.number("routed_scaling_factor"),
    };
    let ffn = keys.size("moe_intermediate_size");
    let shared = match keys.value("num_shared_experts").as_u64() {
        Some(0) => 0,
        _ if !keys.is_set("num_shared_experts") => 0,
        _ => keys.size("num_shared_experts"),
    };
    let shared_ffn = ffn.saturating_mul(shared);
    if keys.is_set("moe_shared_expert_intermediate_size") {
        keys.may_be("moe_shared_expert_intermediate_size", ffn);
    }
    let first = match keys.value("first_k_dense_replace").as_u64() {
        Some(0) => 0,
        _ => keys.size("first_k_dense_replace"),
    };
    Mixture { first, routing, ffn, shared_ffn }
}

/// LLaDA2.0-mini.
pub(super) fn llada2_mini() -> (&'static Family, Shape, SpecialIds) {
    let routing = Routing {
        experts: 256,
        chosen: 8,
        score: Score::Sigmoid,
        biased: true,
        groups: 8,
        kept_groups: 4,
        normalised: true,
        scale: 2.5,
    };
    let shape = Shape {
        width: 2_048,
        layers: 20,
        heads: 16,
        kv_heads: 4,
        head_dim: 128,
        rotated: 64,
        ffn: 5_120,
        experts: Some(Mixture { first: 1, routing, ffn: 512, shared_ffn: 512 }),
        vocabulary: 157_184,
        positions: 32_768,
        rope_theta: 600_000.0,
        eps: 1e-6,
        fused_qkv: true,
        qkv_bias: false,
        qk_norm: true,
        tied: false,
        shifted: false,
        sight: Sight::Blocks(BlockGrid { length: 32, from_answer: false }),
    };
    (&FAMILY, shape, SpecialIds::new(156_895, 156_892, 156_892, &[]))
}
