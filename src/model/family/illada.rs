//! iLLaDA, read as `modeling_illada.py` of `GSAI-ML/iLLaDA-8B-Base` reads it: full attention without biases and norms of heads,
//! and a head that is the embedding. Its `config.json` does not name the mask.

use serde_json::Value;

use super::ids::FoundIds;
use super::keys::Keys;
use super::qwen::{self, NAMES};
use super::{Family, Grid};
use crate::model::shape::Shape;
use crate::model::sight::Sight;

pub(super) static FAMILY: Family = Family {
    architectures: &["ILLaDAForCausalLM"],
    name: "iLLaDA",
    names: &NAMES,
    sizes: qwen::QWEN2_SIZES,
    grid: Grid::None,
    gguf: None,
    read,
};

fn read(keys: &mut Keys<'_>) -> (Shape, FoundIds) {
    keys.must_be("hidden_act", "silu");
    keys.may_be_zero("attention_dropout");
    keys.must_be("tie_word_embeddings", true);
    keys.must_be("attention_bias", false);
    keys.must_be("mlp_bias", false);
    keys.may_be("layer_norm_eps", Value::Null); // else norms are of another kind
    let (width, heads) = (keys.size("hidden_size"), keys.size("num_attention_heads"));
    let shape = Shape {
        width,
        layers: keys.size("num_hidden_layers"),
        heads,
        kv_heads: keys.size("num_key_value_heads"),
        head_dim: width / heads.max(1),
        rotated: width / heads.max(1),
        ffn: keys.size("intermediate_size"),
        experts: None,
        vocabulary: keys.size("vocab_size"),
        positions: keys.size("max_position_embeddings"),
        rope_theta: qwen::theta(keys),
        eps: keys.number("rms_norm_eps"),
        fused_qkv: false,
        qkv_bias: false,
        qk_norm: false,
        tied: true,
        shifted: false,
        sight: Sight::Full,
    };
    (shape, FoundIds { mask_token: Some("<[MASK]>"), ..FoundIds::read(keys) })
}
