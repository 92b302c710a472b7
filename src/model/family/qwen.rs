//! What the families that began as Qwen2 or Qwen3 share: keys, names, and what of them is not implemented.
//!
//! Keys are read as transformers' `Qwen2Config` and `Qwen3Config` do. Their defaults are those of one model, so keys that
//! change the maths must be there.

use serde_json::Value;

use super::ids::FoundIds;
use super::keys::{Keys, SizeKeys};
use crate::model::names::Names;
use crate::model::shape::Shape;
use crate::model::sight::Sight;

pub(super) static NAMES: Names = Names {
    positions: "max_position_embeddings",
    layers: "model.layers",
    embedding: "model.embed_tokens",
    attention_norm: "input_layernorm",
    attention: ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"],
    head_norms: ["self_attn.q_norm", "self_attn.k_norm"],
    mlp_norm: "post_attention_layernorm",
    mlp: ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"],
    final_norm: "model.norm",
    head: "lm_head",
};

const OF_WIDTH: SizeKeys = SizeKeys {
    width: "hidden_size",
    heads: "num_attention_heads",
    kv_heads: "num_key_value_heads",
    layers: "num_hidden_layers",
    head_dim: None,
};

/// The keys of Qwen2, whose heads share the width out among them.
pub(super) const QWEN2_SIZES: SizeKeys = OF_WIDTH;

/// The keys of Qwen3, whose heads have a width of their own.
pub(super) const QWEN3_SIZES: SizeKeys = SizeKeys { head_dim: Some("head_dim"), ..OF_WIDTH };

/// Which of the two a model began as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Biases in the projections of queries, keys and values.
    Qwen2,
    /// Norms of heads instead.
    Qwen3,
}

/// Sizes and flags, and all ids that `config.json` has.
pub(super) fn read(keys: &mut Keys<'_>, kind: Kind, tied: bool) -> (Shape, FoundIds) {
    keys.must_be("hidden_act", "silu");
    keys.may_be_zero("attention_dropout");
    keys.must_be("tie_word_embeddings", tied);
    refuse_windows(keys);
    let rope_theta = theta(keys);
    if kind == Kind::Qwen3 {
        keys.may_be("attention_bias", false);
    }
    let (width, heads) = (keys.size("hidden_size"), keys.size("num_attention_heads"));
    let head_dim = match kind {
        Kind::Qwen2 => width / heads.max(1),
        Kind::Qwen3 => keys.size("head_dim"),
    };
    let shape = Shape {
        width,
        layers: keys.size("num_hidden_layers"),
        heads,
        kv_heads: keys.size("num_key_value_heads"),
        head_dim,
        rotated: head_dim,
        ffn: keys.size("intermediate_size"),
        vocabulary: keys.size("vocab_size"),
        positions: keys.size("max_position_embeddings"),
        rope_theta,
        eps: keys.number("rms_norm_eps"),
        experts: None,
        fused_qkv: false,
        qkv_bias: kind == Kind::Qwen2,
        qk_norm: kind == Kind::Qwen3,
        tied,
        shifted: false,
        sight: Sight::Full,
    };
    if kind == Kind::Qwen2 && keys.is_set("head_dim") {
        keys.may_be("head_dim", shape.head_dim);
    }
    (shape, FoundIds::read(keys))
}

/// Refuses attention that does not see every place: `sliding_window` counts where `use_sliding_window` is not false, and
/// `layer_types` may name other kinds.
fn refuse_windows(keys: &mut Keys<'_>) {
    match keys.value("use_sliding_window") {
        Value::Bool(false) => {}
        Value::Null => keys.may_be("sliding_window", Value::Null),
        found => keys.refuse(format!("use_sliding_window is {found}: only false is supported")),
    }
    let mut types = keys.value("layer_types").as_array().into_iter().flatten();
    if let Some(other) = types.find(|kind| *kind != "full_attention") {
        keys.refuse(format!("layer_types has {other}: only \"full_attention\" is supported"));
    }
}

/// The base of the rotary frequencies: `rope_theta`, or since transformers 5 `rope_parameters.rope_theta`; nothing scales it.
pub(super) fn theta(keys: &mut Keys<'_>) -> f64 {
    for key in ["rope_scaling", "rope_parameters"] {
        let kind = ["rope_type", "type"].iter().find_map(|name| keys.value(key).get(name));
        let plain = keys.value(key).is_null()
            || (key == "rope_parameters" && kind.is_none())
            || kind.is_some_and(|kind| kind == "default");
        if !plain {
            let found = keys.value(key);
            keys.refuse(format!("{key} is {found}: scaled rotary embeddings are not supported"));
        }
    }
    match keys.value("rope_parameters").get("rope_theta").and_then(Value::as_f64) {
        Some(theta) if theta > 0.0 => theta,
        _ => keys.number("rope_theta"),
    }
}
