//! What is read, and what is refused by name.

use super::*;
use crate::model::testing::config_of;

fn golden_of(name: &str) -> Map<String, Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden").join(name).join("config.json");
    serde_json::from_str(&std::fs::read_to_string(path).expect("fixture")).expect("json")
}

fn golden() -> Map<String, Value> {
    golden_of("gqa_small")
}

/// What a folder with this `config.json` describes, which has further files.
fn described(json: &Map<String, Value>, files: &[(&str, Value)], facts: &ModelFacts) -> Result<Description> {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("config.json"), Value::from(json.clone()).to_string()).expect("write");
    for (name, value) in files {
        std::fs::write(dir.path().join(name), value.to_string()).expect("write");
    }
    Description::read_with(dir.path(), facts)
}

/// What is said of a folder with this `config.json` alone.
#[track_caller]
fn refused(json: &Map<String, Value>) -> String {
    let text = format!("{:#}", described(json, &[], &ModelFacts::default()).expect_err("refused"));
    assert!(text.contains("config.json"), "{text}");
    text
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
        let message = refused(&json);
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn reads_the_golden_config() {
    let Description { shape, ids, .. } = described(&golden(), &[], &ModelFacts::default()).expect("supported");
    assert_eq!((shape.width, shape.heads, shape.kv_heads, shape.head_dim), (64, 4, 2, 16));
    assert_eq!((ids.mask, ids.fill(), ids.pad, shape.vocabulary), (158, 1, 1, 160));
}

#[test]
fn shapes_are_those_of_published_models() {
    for (published, numbers) in [
        (PublishedShape::Llada8b, 8_015_581_184),
        (PublishedShape::A2d06b, 596_049_920),
        (PublishedShape::LladaMoe7b, 7_356_880_896),
        (PublishedShape::Llada2Mini, 16_255_643_392),
    ] {
        let description = Description::from(published);
        let family = FAMILIES.into_iter().find(|family| family.name == description.family).expect("of a family");
        assert_eq!(keys::problems(&description.shape, family.names, family.sizes), Vec::<String>::new());
        assert_eq!(ids::outside(&description.ids, description.shape.vocabulary), Vec::<String>::new());
        let count: usize = description.tensors().iter().map(|tensor| tensor.dims.iter().product::<usize>()).sum();
        assert_eq!(count, numbers);
    }
}

#[test]
fn every_problem_is_named() {
    let mut json = golden();
    json.insert("weight_tying".into(), true.into());
    json.insert("attention_layer_norm".into(), true.into());
    json.insert("n_layers".into(), (-1).into());
    json.remove("rope_theta");
    let text = refused(&json);
    for part in ["weight_tying is true", "attention_layer_norm", "n_layers is -1", "rope_theta is missing"] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
}

#[test]
fn families_are_told_apart_by_their_class() {
    for found in [serde_json::json!(["LlamaForCausalLM"]), Value::Null, serde_json::json!(["LLaDAModelLM", "Other"])] {
        let mut json = golden();
        json.insert("architectures".into(), found.clone());
        let text = refused(&json);
        assert!(
            text.contains(&format!("architectures is {found}: only one of LLaDAModelLM, DreamModel, A2D")),
            "{text}"
        );
    }
}

#[test]
fn missing_kv_heads_mean_one_for_every_query_head() {
    let mut json = golden();
    json.insert("n_kv_heads".into(), Value::Null);
    assert_eq!(described(&json, &[], &ModelFacts::default()).expect("supported").shape.kv_heads, 4);
    json.insert("n_kv_heads".into(), 3.into());
    assert!(refused(&json).contains("does not divide"));
}

#[test]
fn a_qwen3_made_bidirectional_is_read() {
    let Description { shape, ids, family, .. } =
        described(&golden_of("a2d_qwen3"), &[], &ModelFacts::default()).expect("supported");
    assert_eq!((family, shape.width, shape.heads, shape.kv_heads, shape.head_dim), ("A2D (Qwen3)", 48, 4, 2, 16));
    assert!(shape.qk_norm && shape.tied && !shape.qkv_bias);
    assert_eq!((ids.mask, ids.fill(), shape.positions), (158, 1, 256));
}

#[test]
fn a_qwen2_has_biases_and_heads_that_share_the_width() {
    let mut json = golden_of("a2d_qwen3");
    json.insert("architectures".into(), serde_json::json!(["A2DQwen2LMHeadModel"]));
    assert!(refused(&json).contains("head_dim is 16: only 12 is supported"));
    json.remove("head_dim");
    let shape = described(&json, &[], &ModelFacts::default()).expect("supported").shape;
    assert!(shape.qkv_bias && !shape.qk_norm && shape.head_dim == 12);
}

#[test]
fn what_the_qwens_can_do_and_this_cannot_is_named() {
    for (key, value, part) in [
        ("use_sliding_window", Value::from(true), "use_sliding_window is true"),
        ("sliding_window", 4096.into(), "sliding_window is 4096"),
        ("layer_types", serde_json::json!(["full_attention", "sliding_attention"]), "\"sliding_attention\""),
        (
            "rope_scaling",
            serde_json::json!({"rope_type": "yarn", "factor": 4.0}),
            "rope_scaling is {\"rope_type\":\"yarn\"",
        ),
        ("rope_parameters", serde_json::json!({"rope_type": "linear", "rope_theta": 1e6}), "rope_parameters is"),
        ("tie_word_embeddings", false.into(), "tie_word_embeddings is false"),
        ("attention_bias", true.into(), "attention_bias is true"),
        ("hidden_act", "gelu".into(), "hidden_act is \"gelu\""),
        ("head_dim", 15.into(), "head_dim 15 is not even"),
        ("num_key_value_heads", 3.into(), "num_key_value_heads 3 does not divide num_attention_heads 4"),
        ("eos_token_id", 160.into(), "eos_token_id 160 is outside the 160 embeddings"),
    ] {
        let mut json = golden_of("a2d_qwen3");
        json.insert(key.into(), value);
        assert!(refused(&json).contains(part), "{}", refused(&json));
    }
}

#[test]
fn dropouts_of_a_base_model_were_left_out() {
    let llada = ["attention_dropout", "residual_dropout", "embedding_dropout"].map(|key| (golden(), key));
    let others = ["a2d_qwen3", "dream", "sdar"].map(|name| (golden_of(name), "attention_dropout"));
    let made = ["llada_moe", "llada2", "illada"].map(|name| (config_of(name), "attention_dropout"));
    for (mut json, key) in llada.into_iter().chain(others).chain(made) {
        json.insert(key.into(), 0.0.into());
        let facts = ModelFacts { mask_token_id: Some(158), block_size: None, ..ModelFacts::default() };
        described(&json, &[], &facts).expect("without dropout");
        json.insert(key.into(), 0.1.into());
        assert!(refused(&json).contains(&format!("{key} is 0.1: only 0 is supported")), "{}", refused(&json));
    }
}

#[test]
fn keys_of_transformers_5_are_read() {
    let mut json = golden_of("a2d_qwen3");
    json.remove("rope_theta");
    assert!(refused(&json).contains("rope_theta is missing"));
    json.insert("rope_parameters".into(), serde_json::json!({"rope_type": "default", "rope_theta": 5e5}));
    json.insert("use_sliding_window".into(), false.into());
    json.insert("sliding_window".into(), 4096.into());
    json.insert("layer_types".into(), serde_json::json!(["full_attention", "full_attention"]));
    let shape = described(&json, &[], &ModelFacts::default()).expect("supported").shape;
    assert_eq!(shape.rope_theta, 5e5);
}

#[test]
fn ids_that_the_config_lacks_come_from_the_tokenizer_or_the_user() {
    let mut json = golden_of("a2d_qwen3");
    json.remove("mask_token_id");
    json.remove("pad_token_id");
    json.insert("eos_token_id".into(), serde_json::json!([1, 3]));
    let text = refused(&json);
    assert!(text.contains("mask_token_id") && text.contains("set model.mask_token_id"), "{text}");
    let added = ("added_tokens.json", serde_json::json!({"<|mask|>": 77}));
    let ids = described(&json, std::slice::from_ref(&added), &ModelFacts::default()).expect("a mask").ids;
    assert_eq!((ids.mask, ids.pad, ids.fill(), ids.is_end(3)), (77, 1, 1, true));
    let facts = ModelFacts { mask_token_id: Some(78), end_token_ids: Some(vec![5]), block_size: None };
    let ids = described(&json, &[added], &facts).expect("given").ids;
    assert_eq!((ids.mask, ids.fill(), ids.is_end(1)), (78, 5, false));
    let empty = ModelFacts { end_token_ids: Some(Vec::new()), ..facts.clone() };
    let text = described(&json, &[], &empty).expect_err("no end").to_string();
    assert!(text.contains("model.end_token_ids is empty"), "{text}");
    // of any family: eos_token_id was asked of most, whatever the user said
    for mut json in ["a2d_qwen3", "gqa_small", "sdar"].map(golden_of).into_iter().chain(["llada_moe"].map(config_of)) {
        json.remove("mask_token_id");
        json.remove("eos_token_id");
        json.remove("pad_token_id");
        let text = refused(&json);
        assert!(text.contains("set model.mask_token_id"), "{text}");
        let ids = described(&json, &[], &facts).expect("given").ids;
        assert_eq!((ids.mask, ids.pad, ids.fill()), (78, 5, 5));
        let mask = ModelFacts { end_token_ids: None, ..facts.clone() };
        let text = described(&json, &[], &mask).expect_err("no end").to_string();
        assert!(text.contains("set model.end_token_ids"), "{text}");
    }
}

#[test]
fn a_dream_is_shifted_and_ends_a_turn_with_a_token_of_the_tokenizer() {
    let json = golden_of("dream");
    let added = ("added_tokens.json", serde_json::json!({"<|im_end|>": 9}));
    let Description { shape, ids, family, .. } = described(&json, &[added], &ModelFacts::default()).expect("supported");
    assert_eq!((family, shape.head_dim, shape.vocabulary), ("Dream", 12, 160));
    assert!(shape.shifted && shape.qkv_bias && !shape.qk_norm && !shape.tied);
    assert_eq!((ids.mask, ids.fill(), ids.is_end(9)), (158, 1, true));
    assert!(!described(&json, &[], &ModelFacts::default()).expect("supported").ids.is_end(9));
}

#[test]
fn blocks_are_those_of_the_config_or_of_the_user() {
    let given = |n: usize| ModelFacts { block_size: NonZeroUsize::new(n), ..ModelFacts::default() };
    let blocks = |length, from_answer| Sight::Blocks(BlockGrid { length, from_answer });
    let sight = |json: &Map<String, Value>, facts: &ModelFacts| described(json, &[], facts).map(|d| d.shape.sight);
    let (mut sdar, a2d) = (golden_of("sdar"), golden_of("a2d_qwen3"));
    assert_eq!(sight(&sdar, &ModelFacts::default()).expect("its own"), blocks(4, false));
    assert_eq!(sight(&sdar, &given(4)).expect("the same"), blocks(4, false));
    assert_eq!(sight(&a2d, &given(32)).expect("bd3lm"), blocks(32, true));
    assert_eq!(sight(&a2d, &ModelFacts::default()).expect("mdlm"), Sight::Full);
    let text = sight(&sdar, &given(8)).expect_err("another").to_string();
    assert!(text.contains("model.block_size 8 is not block_size 4 of") && text.contains("config.json"), "{text}");
    sdar.remove("block_size");
    assert_eq!(sight(&sdar, &given(8)).expect("given"), blocks(8, false));
    assert!(sight(&sdar, &ModelFacts::default()).expect_err("nowhere").to_string().contains("set model.block_size"));
    for name in ["gqa_small", "dream"] {
        let text = sight(&golden_of(name), &given(8)).expect_err("no blocks").to_string();
        assert!(text.contains("model.block_size") && text.contains("leave it out"), "{text}");
    }
}

#[test]
fn a_mixture_of_experts_is_read() {
    let Description { shape, family, ids, .. } =
        described(&config_of("llada_moe"), &[], &ModelFacts::default()).expect("supported");
    let mixture = shape.experts.expect("experts");
    assert_eq!((family, mixture.first, mixture.ffn, mixture.shared_ffn), ("LLaDA-MoE", 0, 20, 0));
    assert_eq!((ids.mask, ids.fill(), shape.rotated, shape.sight), (158, 1, 12, Sight::Full));
    let mut json = config_of("llada2");
    for key in ["mask_token_id", "eos_token_id", "block_size"] {
        json.remove(key);
    }
    let added = |mask: u32| {
        let tokens = serde_json::json!({"<|mask|>": mask, "<|endoftext|>": 2});
        vec![("added_tokens.json", tokens)]
    };
    let facts = ModelFacts { block_size: NonZeroUsize::new(4), ..ModelFacts::default() };
    let Description { shape, family, ids, .. } = described(&json, &added(150), &facts).expect("supported");
    let mixture = shape.experts.expect("experts");
    assert_eq!((family, mixture.first, mixture.ffn, mixture.shared_ffn), ("LLaDA2", 1, 32, 32));
    assert_eq!((ids.mask, ids.fill(), shape.rotated), (150, 2, 8));
    assert_eq!(shape.sight, Sight::Blocks(BlockGrid { length: 4, from_answer: false }));
    let message = |files: &[(&str, Value)], facts: &ModelFacts| {
        format!("{:#}", described(&json, files, facts).expect_err("something is missing"))
    };
    assert!(message(&added(150), &ModelFacts::default()).contains("set model.block_size"));
    assert!(message(&[], &facts).contains("set model.mask_token_id"));
    let facts = ModelFacts { mask_token_id: Some(3), ..facts };
    assert!(message(&[], &facts).contains("set model.end_token_ids"));
}

#[test]
fn what_mixtures_can_do_and_this_cannot_is_named() {
    use crate::model::testing::config_of;
    for (name, key, value, part) in [
        ("llada_moe", "moe_layer_freq", serde_json::json!([1, 0, 1]), "moe_layer_freq is [1,0,1]: expected"),
        ("llada_moe", "moe_layer_freq", Value::Null, "moe_layer_freq is null: expected a list of 3 numbers"),
        ("llada_moe", "norm_topk_prob", true.into(), "norm_topk_prob is true"),
        ("llada_moe", "moe_router_enable_expert_bias", true.into(), "moe_router_enable_expert_bias is true"),
        ("llada_moe", "moe_router_score_function", "sigmoid".into(), "moe_router_score_function is \"sigmoid\""),
        ("llada_moe", "shared_expert_intermediate_size", 20.into(), "shared_expert_intermediate_size is 20"),
        ("llada_moe", "partial_rotary_factor", 0.5.into(), "partial_rotary_factor is 0.5"),
        ("llada_moe", "rope_scaling", serde_json::json!({"type": "yarn"}), "rope_scaling is"),
        ("llada2", "use_bias", true.into(), "use_bias is true"),
        ("llada2", "use_qkv_bias", true.into(), "use_qkv_bias is true"),
        ("llada2", "use_sliding_window", true.into(), "use_sliding_window is true"),
        ("llada2", "score_function", "softmax".into(), "score_function is \"softmax\""),
        ("llada2", "partial_rotary_factor", 0.45.into(), "partial_rotary_factor is 0.45: of 16 numbers"),
        ("llada2", "n_group", 3.into(), "n_group 3 does not divide num_experts 8"),
        ("llada2", "topk_group", 5.into(), "topk_group 5 is more than n_group 4"),
        ("llada2", "num_experts_per_tok", 5.into(), "num_experts_per_tok 5 is more than there are"),
        ("llada2", "first_k_dense_replace", 4.into(), "first_k_dense_replace 4 is more than num_hidden_layers 3"),
        ("llada2", "num_experts", 1_000_000.into(), "num_experts 1000000 is more than 10000"),
        ("illada", "mlp_bias", true.into(), "mlp_bias is true"),
        ("illada", "layer_norm_eps", 1e-5.into(), "layer_norm_eps is 0.00001"),
    ] {
        let mut json = config_of(name);
        json.insert(key.into(), value);
        assert!(refused(&json).contains(part), "{}", refused(&json));
    }
}
