//! `config.json` of a LLaDA checkpoint, field for field as `modeling_llada.py` reads it.
//!
//! Upstream's defaults for missing keys are GPT-2's, so every key that changes the maths must be there, and a
//! value this crate does not implement is refused by name rather than ignored.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

use super::ops::rope::MOST_POSITIONS;
use crate::config::Shape;

/// The sizes and special ids of a LLaDA model.
#[derive(Clone, Debug, PartialEq)]
pub struct LladaConfig {
    /// Width of the residual stream, `D`.
    pub d_model: usize,
    /// Query heads, `H`.
    pub n_heads: usize,
    /// Key/value heads, `K`; divides `n_heads`.
    pub n_kv_heads: usize,
    /// Transformer blocks.
    pub n_layers: usize,
    /// Width of the gated MLP, `F`.
    pub mlp_hidden_size: usize,
    /// Rows of the embedding and of the head, `V`.
    pub embedding_size: usize,
    /// Longest sequence.
    pub max_sequence_length: usize,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Added to the mean square in RMSNorm.
    pub rms_norm_eps: f64,
    /// The id of `[MASK]`.
    pub mask_token_id: u32,
    /// The id that ends a completion and fills the canvas after it.
    pub eos_token_id: u32,
}

impl LladaConfig {
    /// Width of a head, `E`.
    pub fn head_dim(&self) -> usize {
        self.d_model / self.n_heads
    }

    /// Reads and checks `dir/config.json`.
    ///
    /// # Errors
    /// Names the file and all keys that are missing, malformed or not supported.
    pub fn load(dir: &Path) -> Result<Self> {
        let path = dir.join("config.json");
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}: a model folder needs a config.json", path.display()))?;
        let json: Map<String, Value> =
            serde_json::from_str(&text).with_context(|| format!("{} is not a JSON object", path.display()))?;
        Self::from_json(&json).with_context(|| format!("{} describes a model that cannot be loaded", path.display()))
    }

    fn from_json(json: &Map<String, Value>) -> Result<Self> {
        let mut keys = Keys { json, problems: Vec::new() };
        if !json.get("architectures").is_some_and(|a| a == &serde_json::json!(["LLaDAModelLM"])) {
            let found = json.get("architectures").unwrap_or(&Value::Null);
            keys.problems.push(format!("architectures is {found}: only [\"LLaDAModelLM\"] is supported"));
        }
        for (key, value) in [("layer_norm_type", "rms"), ("activation_type", "silu"), ("block_type", "llama")] {
            keys.must_be(key, &Value::from(value), None);
        }
        keys.must_be("rope", &Value::from(true), None);
        keys.must_be("weight_tying", &Value::from(false), None);
        keys.must_be("include_bias", &Value::from(false), None);
        for key in ["include_qkv_bias", "attention_layer_norm", "alibi", "scale_logits", "input_emb_norm"] {
            keys.must_be(key, &Value::from(false), Some(()));
        }
        keys.must_be("rope_full_precision", &Value::from(true), Some(()));
        keys.must_be("block_group_size", &Value::from(1), Some(()));
        keys.must_be("clip_qkv", &Value::Null, Some(()));

        let n_heads = keys.size("n_heads");
        let config = Self {
            d_model: keys.size("d_model"),
            n_heads,
            n_kv_heads: if keys.is_set("n_kv_heads") { keys.size("n_kv_heads") } else { n_heads },
            n_layers: keys.size("n_layers"),
            mlp_hidden_size: keys.size("mlp_hidden_size"),
            embedding_size: keys.size(if keys.is_set("embedding_size") { "embedding_size" } else { "vocab_size" }),
            max_sequence_length: keys.size("max_sequence_length"),
            rope_theta: keys.number("rope_theta"),
            rms_norm_eps: keys.number("rms_norm_eps"),
            mask_token_id: keys.id("mask_token_id"),
            eos_token_id: keys.id("eos_token_id"),
        };
        if keys.problems.is_empty() {
            config.check(&mut keys.problems);
        }
        if !keys.problems.is_empty() {
            bail!("{}", keys.problems.join("\n"));
        }
        Ok(config)
    }

    fn check(&self, problems: &mut Vec<String>) {
        let divides = |small: usize, large: usize| small > 0 && large.is_multiple_of(small);
        if !divides(self.n_heads, self.d_model) || !self.head_dim().is_multiple_of(2) {
            problems.push(format!("d_model {} must be n_heads {} times an even number", self.d_model, self.n_heads));
        }
        if !divides(self.n_kv_heads, self.n_heads) {
            problems.push(format!("n_kv_heads {} does not divide n_heads {}", self.n_kv_heads, self.n_heads));
        }
        for (key, size, most, why) in [
            ("n_layers", self.n_layers, DEEPEST, "no model has as many"),
            ("max_sequence_length", self.max_sequence_length, MOST_POSITIONS, "f32 cannot count as many positions"),
        ] {
            if size > most {
                problems.push(format!("{key} {size} is more than {most}: {why}"));
            }
        }
        for (key, id) in [("mask_token_id", self.mask_token_id), ("eos_token_id", self.eos_token_id)] {
            if id as usize >= self.embedding_size {
                problems.push(format!("{key} {id} is outside the {} embeddings", self.embedding_size));
            }
        }
    }
}

impl From<Shape> for LladaConfig {
    fn from(shape: Shape) -> Self {
        match shape {
            Shape::Llada8b => Self {
                d_model: 4_096,
                n_heads: 32,
                n_kv_heads: 32,
                n_layers: 32,
                mlp_hidden_size: 12_288,
                embedding_size: 126_464,
                max_sequence_length: 4_096,
                rope_theta: 500_000.0,
                rms_norm_eps: 1e-5,
                mask_token_id: 126_336,
                eos_token_id: 126_081,
            },
        }
    }
}

/// The largest size that is read: products of two do not overflow.
const LARGEST: u64 = i32::MAX as u64;

/// The most layers that are read; published models have a hundred.
const DEEPEST: usize = 10_000;

/// Reads keys and collects what is wrong with them.
struct Keys<'a> {
    json: &'a Map<String, Value>,
    problems: Vec<String>,
}

impl Keys<'_> {
    fn is_set(&self, key: &str) -> bool {
        self.json.get(key).is_some_and(|v| !v.is_null())
    }

    /// A key with one supported value; `absent_is_fine` where upstream's default is that value.
    fn must_be(&mut self, key: &str, value: &Value, absent_is_fine: Option<()>) {
        match self.json.get(key) {
            None if absent_is_fine.is_some() => {}
            None => self.problems.push(format!("{key} is missing: it must be {value}")),
            Some(found) if found == value => {}
            Some(found) => self.problems.push(format!("{key} is {found}: only {value} is supported")),
        }
    }

    fn take<T: Default>(&mut self, key: &str, what: &str, read: impl Fn(&Value) -> Option<T>) -> T {
        match self.json.get(key).map(|v| (v, read(v))) {
            Some((_, Some(value))) => value,
            Some((found, None)) => {
                self.problems.push(format!("{key} is {found}: expected {what}"));
                T::default()
            }
            None => {
                self.problems.push(format!("{key} is missing: expected {what}"));
                T::default()
            }
        }
    }

    fn size(&mut self, key: &str) -> usize {
        let size = |v: &Value| v.as_u64().filter(|n| (1..=LARGEST).contains(n)).and_then(|n| usize::try_from(n).ok());
        self.take(key, &format!("a whole number from 1 to {LARGEST}"), size)
    }

    fn number(&mut self, key: &str) -> f64 {
        self.take(key, "a number above 0", |v| v.as_f64().filter(|&x| x > 0.0))
    }

    fn id(&mut self, key: &str) -> u32 {
        self.take(key, "a token id", |v| v.as_u64().and_then(|n| u32::try_from(n).ok()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::load::expected_shapes;
    use super::*;

    fn golden() -> Map<String, Value> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/golden/gqa_small/config.json");
        serde_json::from_str(&std::fs::read_to_string(path).expect("fixture")).expect("json")
    }

    #[test]
    fn sizes_that_cannot_be_took_all_memory() {
        for (key, value, part) in [
            ("n_layers", 10_000_000u64, "n_layers 10000000 is more than 10000"),
            ("n_layers", 2_147_483_648, "n_layers is 2147483648: expected a whole number from 1 to 2147483647"),
            ("max_sequence_length", 134_217_728, "max_sequence_length 134217728 is more than 16777216"),
            ("d_model", u64::MAX, "d_model is 18446744073709551615"),
        ] {
            let mut json = golden();
            json.insert(key.into(), value.into());
            let message = format!("{:#}", LladaConfig::from_json(&json).expect_err(key));
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn reads_the_golden_config() {
        let config = LladaConfig::from_json(&golden()).expect("supported");
        assert_eq!((config.d_model, config.n_heads, config.n_kv_heads, config.head_dim()), (64, 4, 2, 16));
        assert_eq!((config.mask_token_id, config.eos_token_id, config.embedding_size), (158, 1, 160));
    }

    #[test]
    fn shapes_are_those_of_published_models() {
        let config = LladaConfig::from(Shape::Llada8b);
        let mut problems = Vec::new();
        config.check(&mut problems);
        assert!(problems.is_empty(), "{problems:?}");
        let count: usize = expected_shapes(&config).values().map(|shape| shape.iter().product::<usize>()).sum();
        assert_eq!(count, 8_015_581_184);
    }

    #[test]
    fn every_problem_is_named() {
        let mut json = golden();
        json.insert("weight_tying".into(), true.into());
        json.insert("attention_layer_norm".into(), true.into());
        json.insert("n_layers".into(), (-1).into());
        json.remove("rope_theta");
        json.insert("architectures".into(), serde_json::json!(["LLaDAMoEModelLM"]));
        let text = LladaConfig::from_json(&json).expect_err("unsupported").to_string();
        for part in ["weight_tying is true", "attention_layer_norm", "n_layers is -1", "rope_theta is missing", "MoE"] {
            assert!(text.contains(part), "{part} is not in:\n{text}");
        }
    }

    #[test]
    fn missing_kv_heads_mean_one_for_every_query_head() {
        let mut json = golden();
        json.insert("n_kv_heads".into(), Value::Null);
        assert_eq!(LladaConfig::from_json(&json).expect("supported").n_kv_heads, 4);
        json.insert("n_kv_heads".into(), 3.into());
        assert!(LladaConfig::from_json(&json).expect_err("3 of 4").to_string().contains("does not divide"));
    }
}
