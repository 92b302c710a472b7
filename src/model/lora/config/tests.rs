//! What is read from `adapter_config.json`, refused of it, and written again.

use super::*;

const Q: &str = "model.transformer.blocks.0.q_proj";
const V: &str = "model.transformer.blocks.0.v_proj";

fn config(more: Value) -> Result<AdapterConfig> {
    let mut json = json!({ "peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"] });
    let map = json.as_object_mut().expect("an object");
    map.extend(more.as_object().expect("an object").clone());
    AdapterConfig::read(map)
}

fn shape(config: &AdapterConfig, path: &str) -> (usize, f64) {
    let Shape { rank, scale } = config.shape(path).expect("cheap").expect("a target");
    (rank, scale)
}

#[test]
fn every_scale_was_lora_alpha_over_r() -> Result<()> {
    let plain = config(json!({}))?;
    assert_eq!((shape(&plain, Q), shape(&plain, V)), ((4, 2.0), (4, 2.0)));
    assert_eq!(plain.shape("model.transformer.blocks.0.k_proj")?, None);
    let alpha = config(json!({ "alpha_pattern": { "q_proj": 64 } }))?;
    assert_eq!((shape(&alpha, Q), shape(&alpha, V)), ((4, 16.0), (4, 2.0)));
    let both = config(json!({ "alpha_pattern": { "q_proj": 32 }, "rank_pattern": { "q_proj": 2 } }))?;
    assert_eq!((shape(&both, Q), shape(&both, V)), ((2, 16.0), (4, 2.0)));
    let stable = config(json!({ "use_rslora": true, "rank_pattern": { "v_proj": 16 } }))?;
    assert_eq!((shape(&stable, Q), shape(&stable, V)), ((4, 4.0), (16, 2.0)));
    Ok(())
}

#[test]
fn a_value_that_cannot_be_used_is_named_with_its_key() {
    for (more, expected) in [
        (json!({ "r": 0 }), "r = 0 is not a whole number, 1 or above"),
        (json!({ "r": 4.0 }), "r = 4.0 is not"),
        (json!({ "r": null }), "r is missing"),
        (json!({ "lora_alpha": 0 }), "lora_alpha = 0 is not a number above 0"),
        (json!({ "lora_alpha": -8.0 }), "lora_alpha = -8.0"),
        (json!({ "lora_alpha": "8" }), "lora_alpha = \"8\""),
        (json!({ "lora_alpha": null }), "lora_alpha is missing"),
        (json!({ "rank_pattern": { "q_proj": 0 } }), "rank_pattern: \"q_proj\" has 0 instead of a whole number"),
        (json!({ "alpha_pattern": { "q_proj": null } }), "alpha_pattern: \"q_proj\" has null"),
        (json!({ "use_rslora": 1 }), "use_rslora = 1 is not true or false"),
        (json!({ "lora_dropout": 2 }), "lora_dropout = 2 is not a number from 0 to 1"),
    ] {
        let text = config(more).expect_err("unusable").to_string();
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn what_a_config_says_is_written_again_as_it_was() -> Result<()> {
    let more = json!({
        "alpha_pattern": { r".*\.0\.v_proj": 1.1, "v_proj": 3 }, "rank_pattern": { "q_proj": 2 }, "use_rslora": true,
        "exclude_modules": ["1.q_proj"], "layers_to_transform": [0, 1], "layers_pattern": "blocks",
    });
    let json = config(more.clone())?.to_json(0.05, "some/base", None);
    for (key, value) in more.as_object().expect("an object") {
        assert_eq!(json.get(key), Some(value), "{key}");
    }
    assert_eq!(
        (json["lora_dropout"].clone(), json["base_model_name_or_path"].clone()),
        (json!(0.05), json!("some/base"))
    );
    assert_eq!(shape(&AdapterConfig::read(&json)?, V), (4, 1.1 / 2.0));
    // PEFT refuses dropout beside target_parameters
    let weights = config(json!({ "target_modules": [], "target_parameters": ["q_proj.weight"] }))?;
    assert_eq!(weights.to_json(0.05, "", None)["lora_dropout"], json!(0.0));
    Ok(())
}

#[test]
fn an_adapter_of_another_base_was_added_without_a_word() -> Result<()> {
    let of = |name: Value| config(json!({ "base_model_name_or_path": name }));
    assert_eq!(of(json!("some/base"))?.made_for_another("some/base"), None);
    assert_eq!(of(json!("some/base"))?.made_for_another("other/base"), Some("some/base"));
    assert_eq!(of(json!("src"))?.made_for_another("./src/"), None, "one folder, written in two ways");
    assert_eq!(of(json!(null))?.made_for_another("x"), None);
    assert_eq!(of(json!(""))?.made_for_another("x"), None);
    Ok(())
}
