//! What is read, and what is refused by name.

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
        let message = format!("{:#}", Description::from_json(&json).expect_err(key));
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn reads_the_golden_config() {
    let Description { shape, ids, .. } = Description::from_json(&golden()).expect("supported");
    assert_eq!((shape.width, shape.heads, shape.kv_heads, shape.head_dim), (64, 4, 2, 16));
    assert_eq!((ids.mask, ids.fill(), ids.pad, shape.vocabulary), (158, 1, 1, 160));
}

#[test]
fn shapes_are_those_of_published_models() {
    let description = Description::from(PublishedShape::Llada8b);
    assert_eq!(keys::problems(&description, llada::SIZE_KEYS), Vec::<String>::new());
    let count: usize = description.tensors().iter().map(|tensor| tensor.dims.iter().product::<usize>()).sum();
    assert_eq!(count, 8_015_581_184);
}

#[test]
fn every_problem_is_named() {
    let mut json = golden();
    json.insert("weight_tying".into(), true.into());
    json.insert("attention_layer_norm".into(), true.into());
    json.insert("n_layers".into(), (-1).into());
    json.remove("rope_theta");
    let text = Description::from_json(&json).expect_err("unsupported").to_string();
    for part in ["weight_tying is true", "attention_layer_norm", "n_layers is -1", "rope_theta is missing"] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
}

#[test]
fn families_are_told_apart_by_their_class() {
    for found in [serde_json::json!(["LLaDAMoEModelLM"]), Value::Null, serde_json::json!(["LLaDAModelLM", "Other"])] {
        let mut json = golden();
        json.insert("architectures".into(), found.clone());
        let text = Description::from_json(&json).expect_err("unknown").to_string();
        assert!(text.contains(&format!("architectures is {found}: only [\"LLaDAModelLM\"]")), "{text}");
    }
}

#[test]
fn missing_kv_heads_mean_one_for_every_query_head() {
    let mut json = golden();
    json.insert("n_kv_heads".into(), Value::Null);
    assert_eq!(Description::from_json(&json).expect("supported").shape.kv_heads, 4);
    json.insert("n_kv_heads".into(), 3.into());
    assert!(Description::from_json(&json).expect_err("3 of 4").to_string().contains("does not divide"));
}
