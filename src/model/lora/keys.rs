//! Every key of PEFT's `adapter_config.json`, and what is done with it.
//!
//! A key that changes what the adapter computes and that this crate does not follow must not be passed over: the
//! numbers would be wrong without a word. So a key that is not in the table must be null, false or empty, too.

use anyhow::{Result, bail, ensure};
use serde_json::{Map, Value};

/// What is done with a key.
enum Use {
    /// It is followed, and written again when the adapter is saved.
    Kept,
    /// It is followed, or known to change nothing: values that would are refused by a function of their own.
    Checked(fn(&Value) -> Option<&'static str>),
    /// It says how the adapter was trained or stored, and changes nothing of what these models compute with it.
    Idle,
    /// It must be null, false or empty. The text says what it does in PEFT.
    Neutral(&'static str),
}

use Use::{Checked, Idle, Kept, Neutral};

/// The keys of PEFT 0.21 and of the versions before it.
const KEYS: [(&str, Use); 44] = [
    ("peft_type", Checked(|_| None)), // looked at before all others
    ("r", Kept),
    ("lora_alpha", Kept),
    ("rank_pattern", Kept),
    ("alpha_pattern", Kept),
    ("use_rslora", Kept),
    ("target_modules", Kept),
    ("exclude_modules", Kept),
    ("layers_to_transform", Kept),
    ("layers_pattern", Kept),
    ("target_parameters", Kept),
    ("lora_dropout", Checked(|_| None)), // of training; what a run trains with is its own
    ("base_model_name_or_path", Checked(|_| None)),
    ("bias", Checked(bias)),
    ("init_lora_weights", Checked(init_lora_weights)),
    ("arrow_config", Neutral("routes between several adapters")),
    ("alora_invocation_tokens", Neutral("switches the adapter on only after these tokens")),
    ("enable_lora", Neutral("adapts parts of a merged layer")),
    ("kasa_config", Neutral("changes the base weights and puts singular values between the factors")),
    ("layer_replication", Neutral("repeats layers of the base model")),
    ("lora_bias", Neutral("adds a bias to the update")),
    ("megatron_config", Neutral("adapts the layers of Megatron")),
    ("modules_to_save", Neutral("holds whole modules beside the adapters")),
    ("monteclora_config", Neutral("samples the factors")),
    ("trainable_token_indices", Neutral("holds rows of the embedding beside the adapters")),
    ("use_bdlora", Neutral("has block-diagonal factors")),
    ("use_dora", Neutral("is DoRA, which also trains the magnitudes of the adapted weights")),
    ("use_qalora", Neutral("pools the input of the adapters")),
    ("velora_config", Neutral("compresses the input of the adapters")),
    ("auto_mapping", Idle),
    ("corda_config", Idle),        // read where init_lora_weights says so
    ("ensure_weight_tying", Idle), // of embeddings, which have no adapter here
    ("eva_config", Idle),
    ("fan_in_fan_out", Idle), // PEFT itself sets it to false for linear layers
    ("inference_mode", Idle),
    ("loftq_config", Idle),
    ("lora_ga_config", Idle),
    ("megatron_core", Idle), // the package that megatron_config is for
    ("merge_weights", Idle),
    ("peft_version", Idle),
    ("qalora_group_size", Idle), // goes with use_qalora
    ("revision", Idle),
    ("runtime_config", Idle),
    ("task_type", Idle),
];

/// Checks all keys of a config, and returns those that describe the adapter.
///
/// # Errors
/// Another kind of adapter than LoRA; all keys that ask for something that is not implemented, with their values.
pub(super) fn check(config: &Map<String, Value>) -> Result<Map<String, Value>> {
    match config.get("peft_type").and_then(Value::as_str) {
        Some("LORA") => {}
        Some(other) => bail!("peft_type = {other:?} is not implemented, only \"LORA\" is; {MERGE}"),
        None => bail!("peft_type is missing: is it PEFT's adapter_config.json?"),
    }
    let (mut kept, mut refused) = (Map::new(), Vec::new());
    for (key, value) in config {
        let problem = match KEYS.iter().find(|(name, _)| name == key) {
            Some((_, Kept)) => {
                kept.insert(key.clone(), value.clone());
                None
            }
            Some((_, Checked(problem))) => problem(value),
            Some((_, Idle)) => None,
            Some((_, Neutral(_))) if is_neutral(value) => None,
            Some((_, Neutral(what))) => Some(*what),
            None if is_neutral(value) => None,
            None => Some("is an unknown key, which may change what the adapter computes"),
        };
        refused.extend(problem.map(|what| format!("  {} = {} {what}", key.escape_debug(), shortened(value))));
    }
    ensure!(refused.is_empty(), "it asks for what is not implemented:\n{}\n  {MERGE}", refused.join("\n"));
    Ok(kept)
}

const MERGE: &str = "a way out: PEFT can merge most kinds of adapters into their model (merge_and_unload, then \
                     save_pretrained); use that folder as the model";

/// Whether a value says no more than a missing key.
fn is_neutral(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    }
}

/// Biases that were trained would be tensors of the file, which are refused with the other unknown ones.
fn bias(value: &Value) -> Option<&'static str> {
    let known = value.is_null() || matches!(value.as_str(), Some("none" | "all" | "lora_only"));
    (!known).then_some("is none of \"none\", \"all\" and \"lora_only\"")
}

/// Initialisations that left the base model as it was; those that did not (PiSSA, OLoRA, CorDA, LoftQ, LoRA-GA) make
/// adapters for another base than the one they are added to.
fn init_lora_weights(value: &Value) -> Option<&'static str> {
    const HARMLESS: [&str; 4] = ["gaussian", "orthogonal", "eva", "mica"];
    let harmless = match value {
        Value::Null | Value::Bool(_) => true,
        Value::String(name) => HARMLESS.iter().any(|known| name.eq_ignore_ascii_case(known)),
        _ => false,
    };
    (!harmless).then_some(
        "may have changed the base model when training began: save the adapter as plain LoRA with PEFT \
         (save_pretrained with path_initial_model_for_weight_conversion)",
    )
}

/// A value as JSON, cut where it is long.
fn shortened(value: &Value) -> String {
    const SHOWN: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}..", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn with(key: &str, value: Value) -> Result<Map<String, Value>> {
        let Value::Object(mut config) = json!({ "peft_type": "LORA", "r": 4 }) else { unreachable!() };
        config.insert(key.into(), value);
        check(&config)
    }

    #[test]
    fn a_key_that_changes_the_numbers_was_passed_over() {
        for (key, _) in KEYS.iter().filter(|(_, use_)| matches!(use_, Neutral(_))).chain([&("key_of_tomorrow", Kept)]) {
            for neutral in [json!(null), json!(false), json!([]), json!({}), json!("")] {
                assert!(with(key, neutral.clone()).is_ok(), "{key} = {neutral}");
            }
            for value in [json!(true), json!(3.0), json!(0), json!([5, 6]), json!({ "a": 1 }), json!("x")] {
                let text = with(key, value.clone()).expect_err("not implemented").to_string();
                assert!(text.contains(&format!("{key} = {value} ")) && text.contains("merge_and_unload"), "{text}");
            }
        }
    }

    #[test]
    fn factors_that_had_changed_the_base_were_added_onto_the_full_base() {
        for name in ["pissa", "pissa_niter_4", "olora", "OLoRA", "corda", "loftq", "lora_ga", "unheard-of"] {
            let text = with("init_lora_weights", json!(name)).expect_err("another base").to_string();
            assert!(text.contains(&format!("init_lora_weights = {:?} ", name)), "{text}");
            assert!(text.contains("path_initial_model_for_weight_conversion"), "{text}");
        }
        for value in [json!(true), json!(false), json!(null), json!("gaussian"), json!("orthogonal"), json!("eva")] {
            assert!(with("init_lora_weights", value.clone()).is_ok(), "{value}");
        }
    }

    #[test]
    fn all_that_is_refused_is_named_at_once_and_the_rest_is_taken() {
        let Value::Object(config) = json!({
            "peft_type": "LORA", "use_dora": true, "inference_mode": true, "modules_to_save": ["x".repeat(99)],
            "bias": "some", "task_type": "CAUSAL_LM", "megatron_core": "megatron.core", "qalora_group_size": 16,
            "lora_dropout": 0.1, "eva_config": { "rho": 2.0 }
        }) else {
            unreachable!()
        };
        let text = check(&config).expect_err("three keys").to_string();
        for part in ["use_dora = true is DoRA", "modules_to_save = [\"xxx", "xx.. holds", "bias = \"some\" is none of"]
        {
            assert!(text.contains(part), "{part} is not in:\n{text}");
        }
        assert_eq!(text.lines().count(), 5, "{text}");
    }

    #[test]
    fn other_kinds_of_adapters_were_told_that_a_field_is_missing() {
        let of = |json: Value| check(json.as_object().expect("an object")).expect_err("refused").to_string();
        let text = of(json!({ "peft_type": "IA3", "feedforward_modules": ["ff_out"] }));
        assert!(text.contains("peft_type = \"IA3\"") && text.contains("merge_and_unload"), "{text}");
        assert!(of(json!({ "peft_type": "LOHA", "alpha": 8 })).contains("\"LOHA\""));
        assert!(of(json!({ "r": 4 })).contains("peft_type is missing"));
    }

    #[test]
    fn no_key_is_in_the_table_twice() {
        let names: std::collections::BTreeSet<&str> = KEYS.iter().map(|(name, _)| *name).collect();
        assert_eq!(names.len(), KEYS.len());
    }
}
