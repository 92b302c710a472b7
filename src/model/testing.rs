//! Models for tests: of sizes alone, and small ones of families that have no golden numbers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use serde_json::{Map, Value, json};

use super::decoder::Decoder;
use super::family::Description;
use super::gguf::Loaded;
use super::load::{Weights, write_safetensors};
use super::ops::testing::random;

/// A model of these sizes whose every weight is one zero, seen everywhere: it takes no memory.
pub fn hollow(description: Description, dtype: DType) -> Result<Decoder> {
    Decoder::build(description, Weights::Frozen, dtype, |tensor| {
        Ok(Loaded::Dense(Tensor::zeros(1, dtype, &Device::Cpu)?.broadcast_as(tensor.dims.as_slice())?))
    })
}

/// The `config.json` of a small model of a family that has no golden numbers, with the keys of the published one. Behind a
/// name with `-of-all` tokens go to all experts, whatever their scores: such a model is smooth.
pub fn config_of(name: &str) -> Map<String, Value> {
    if let Some(name) = name.strip_suffix("-of-all") {
        let mut config = config_of(name);
        config.extend([("num_experts_per_tok", 8), ("topk_group", 4)].map(|(key, n)| (key.to_owned(), n.into())));
        return config;
    }
    let common = json!({
        "vocab_size": 160, "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
        "hidden_act": "silu", "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "rope_scaling": null, "mask_token_id": 158, "pad_token_id": 1, "eos_token_id": 1,
    });
    let own = match name {
        "llada_moe" => json!({
            "architectures": ["LLaDAMoEModelLM"], "model_type": "llada", "qk_layernorm": true, "num_experts": 8,
            "num_experts_per_tok": 3, "expert_intermediate_size": 20, "dense_intermediate_size": 64,
            "moe_layer_freq": [1, 1, 1], "moe_router_score_function": "softmax", "norm_topk_prob": null,
            "moe_router_enable_expert_bias": false, "partial_rotary_factor": 1, "routed_scaling_factor": 1,
            "shared_expert_intermediate_size": null, "tie_word_embeddings": false, "attention_bias": false,
        }),
        "llada2" => json!({
            "architectures": ["LLaDA2MoeModelLM"], "model_type": "llada2_moe", "head_dim": 16, "use_qk_norm": true,
            "use_bias": false, "use_qkv_bias": false, "partial_rotary_factor": 0.5, "intermediate_size": 64,
            "first_k_dense_replace": 1, "num_experts": 8, "num_experts_per_tok": 3, "num_shared_experts": 1,
            "n_group": 4, "topk_group": 2, "routed_scaling_factor": 2.5, "moe_intermediate_size": 32, "block_size": 4,
        }),
        _ => json!({
            "architectures": ["ILLaDAForCausalLM"], "intermediate_size": 64, "tie_word_embeddings": true,
            "attention_bias": false, "mlp_bias": false, "layer_norm_eps": null,
        }),
    };
    let object = |json: Value| json.as_object().cloned().unwrap_or_default();
    object(common).into_iter().chain(object(own)).collect()
}

/// The folder of a small model of [`config_of`] with weights of some size, made once for all tests of a process.
pub fn folder_of(name: &str) -> Result<PathBuf> {
    static MADE: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(folder) = made.get(name) {
        return Ok(folder.clone());
    }
    let dir = tempfile::Builder::new().prefix(name).tempdir()?.keep();
    write_model(&dir, &config_of(name))?;
    made.insert(name.to_owned(), dir.clone());
    Ok(dir)
}

/// Writes a model with this `config.json`.
pub fn write_model(dir: &Path, config: &Map<String, Value>) -> Result<()> {
    std::fs::write(dir.join("config.json"), Value::from(config.clone()).to_string())?;
    let mut tensors = BTreeMap::new();
    for (i, tensor) in Description::read(dir)?.tensors().into_iter().enumerate() {
        let numbers = random(1_000 + i, tensor.dims.as_slice())?;
        let numbers = match tensor.dims.as_slice() {
            [_] if tensor.slot.is_bias() => (numbers * 0.1)?,
            [_] => ((numbers * 0.2)? + 1.0)?,
            [.., input] => (numbers / (*input as f64).sqrt())?,
            [] => numbers,
        };
        tensors.insert(tensor.name, numbers);
    }
    write_safetensors(&dir.join("model.safetensors"), &tensors, &[])
}
