//! What models take on one GPU, by their sizes: the table of the README, the heads of the shipped configurations.

use serde_json::json;

use super::*;
use crate::config::{ModelFacts, Overrides, PublishedShape, from_text, shipped};
use crate::model::Description;
use crate::model::ops::gpu::host::as_device;
use crate::model::testing::hollow;

const GB: f64 = 1e9;
/// Tokens of the longest prompts of GSM8K with the chat template, about.
const PROMPTS: Prompts = Prompts { longest_train: 200, longest_held_out: 200, held_out: 1000, processes: 1 };

/// Bytes of an update of the shipped configuration's micro-batch, and of a rollout: of the weights, and of all else.
fn peaks(model: &mut Decoder, checkpointing: &str) -> Result<(usize, usize)> {
    let set = vec![format!("train.activation_checkpointing={checkpointing}").parse().expect("an assignment")];
    let overrides = Overrides { set, ..Overrides::default() };
    let text = shipped("gsm8k").expect("shipped");
    let config = from_text("a.toml".as_ref(), text, &overrides, Command::Train).expect("a config");
    if model.adapter_config().is_none() {
        model.attach_lora(config.lora().expect("adapters"), 0)?;
    }
    let memory = Memory::new(&config, model, PROMPTS)?;
    assert_eq!((memory.micro_batch_size, memory.views), (6, 2));
    let weights = model.weight_bytes();
    let peak = memory.update_peak(6)?.max(memory.rollout_peak(memory.batch_size)?);
    Ok((weights, CUDA_BYTES + peak - weights))
}

/// Bytes of weights in blocks: all matrices; norms are too few to count.
fn packed(model: &Decoder, bytes: usize, of: usize) -> usize {
    model.parameter_count() / of * bytes
}

#[test]
fn llada_8b_fits_where_the_readme_says() -> Result<()> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md"))?;
    let lines = as_device(|| -> Result<Vec<String>> {
        let mut model = hollow(Description::from(PublishedShape::Llada8b), DType::BF16)?;
        let mut lines = Vec::new();
        for checkpointing in ["off", "every-layer"] {
            let (bf16, beside) = peaks(&mut model, checkpointing)?;
            // going back a weight in blocks is unpacked, to f32 and to bf16: the widest is the head
            let (out, input) = (model.shape().vocabulary, model.shape().width);
            let unpacked = out * input * 6;
            let all = [bf16, packed(&model, 34, 32) + unpacked, packed(&model, 144, 256) + unpacked];
            let [bf16, q8_0, q4k] = all.map(|weights| (weights + beside) as f64 / GB);
            lines.push(format!("| `{checkpointing}` | {bf16:.0} | {q8_0:.0} | {q4k:.0} |"));
        }
        Ok(lines)
    })?;
    let missing: Vec<String> = lines.into_iter().filter(|line| !text.contains(line)).collect();
    assert!(missing.is_empty(), "the README does not have {missing:#?}");
    Ok(())
}

#[test]
fn a_run_that_cannot_fit_is_refused_with_what_would() -> Result<()> {
    // as on a device: in main memory matrices are packed, which takes memory
    let model = as_device(|| hollow(Description::from(PublishedShape::Llada8b), DType::BF16))?;
    let text = shipped("gsm8k").expect("shipped");
    let config = from_text("a.toml".as_ref(), text, &Overrides::default(), Command::Train).expect("a config");
    let memory = Memory::new(&config, &model, PROMPTS)?;
    memory.check(1 << 40)?;
    let error = memory.check(24 << 30).expect_err("too much");
    let text = error.to_string();
    assert!(error.downcast_ref::<Usage>().is_some() && text.contains("there are 24.0:"), "{text}");
    assert!(text.contains("train.micro_batch_size = ") && text.contains("is the largest for 24 GiB"), "{text}");
    assert!(text.ends_with("or start it anyway with --force"), "{text}");
    Ok(())
}

#[test]
fn an_evaluation_decodes_no_more_than_it_has() -> Result<()> {
    // as on a device: in main memory matrices are packed, which takes memory
    let model = as_device(|| hollow(Description::from(PublishedShape::Llada8b), DType::BF16))?;
    let set = vec!["eval.batch_size=1000000".parse().expect("an assignment")];
    let text = shipped("gsm8k").expect("shipped");
    let overrides = Overrides { set, ..Overrides::default() };
    let config = from_text("a.toml".as_ref(), text, &overrides, Command::Train).expect("a config");
    let memory = Memory::new(&config, &model, Prompts { held_out: 7, ..PROMPTS })?;
    assert_eq!(memory.evaluation.rows, 7);
    Ok(())
}

/// The model of a shipped configuration, by its published sizes.
fn described(config: &RunConfig, name: &str) -> Result<Description> {
    let table = config.model();
    let sizes = match name {
        "gsm8k-llada-moe" => return Ok(PublishedShape::LladaMoe7b.into()),
        "gsm8k-llada2" => return Ok(PublishedShape::Llada2Mini.into()),
        "gsm8k-dream" => json!({
            "architectures": ["DreamModel"], "hidden_size": 3584, "num_hidden_layers": 28, "num_attention_heads": 28,
            "num_key_value_heads": 4, "intermediate_size": 18944, "vocab_size": 152064, "tie_word_embeddings": false,
            "mask_token_id": 151666, "eos_token_id": 151643,
        }),
        "gsm8k-sdar" => json!({
            "architectures": ["SDARForCausalLM"], "hidden_size": 2048, "num_hidden_layers": 28, "head_dim": 128,
            "num_attention_heads": 16, "num_key_value_heads": 8, "intermediate_size": 6144, "vocab_size": 151936,
            "tie_word_embeddings": false, "mask_token_id": 151669, "eos_token_id": 151645, "block_size": 4,
        }),
        _ => json!({
            "architectures": ["A2DQwen3LMHeadModel"], "hidden_size": 1024, "num_hidden_layers": 28, "head_dim": 128,
            "num_attention_heads": 16, "num_key_value_heads": 8, "intermediate_size": 3072, "vocab_size": 151936,
            "tie_word_embeddings": true, "mask_token_id": 151669, "eos_token_id": 151645,
        }),
    };
    let common = json!({
        "hidden_act": "silu", "use_sliding_window": false, "rope_theta": 1e6, "rms_norm_eps": 1e-6,
        "max_position_embeddings": 32768,
    });
    let all = [sizes, common].into_iter().filter_map(|part| part.as_object().cloned()).flatten();
    let dir = tempfile::tempdir()?;
    std::fs::write(dir.path().join("config.json"), serde_json::Value::from_iter(all).to_string())?;
    Description::read_with(dir.path(), &ModelFacts { block_size: table.block_size, ..ModelFacts::default() })
}

#[test]
fn shipped_configurations_say_what_they_take() -> Result<()> {
    let mut missing = Vec::new();
    for name in ["gsm8k-a2d", "gsm8k-a2d-blocks", "gsm8k-dream", "gsm8k-sdar", "gsm8k-llada-moe", "gsm8k-llada2"] {
        let text = shipped(name).expect("shipped");
        let peak = |checkpointing: &str| -> Result<f64> {
            let set = vec![format!("train.activation_checkpointing={checkpointing}").parse().expect("an assignment")];
            let overrides = Overrides { set, ..Overrides::default() };
            let config = from_text("a.toml".as_ref(), text, &overrides, Command::Train).expect("a config");
            let mut model = hollow(described(&config, name)?, DType::BF16)?;
            model.attach_lora(config.lora().expect("adapters"), 0)?;
            let memory = Memory::new(&config, &model, PROMPTS)?;
            let peak = memory.update_peak(memory.micro_batch_size)?.max(memory.rollout_peak(memory.batch_size)?);
            Ok((CUDA_BYTES + peak) as f64 / GB)
        };
        let (off, every) = as_device(|| Ok::<_, anyhow::Error>((peak("off")?, peak("every-layer")?)))?;
        let key = "train.activation_checkpointing";
        // what the file has comes first
        let line = match text.contains("activation_checkpointing = \"every-layer\"\n") {
            true => format!("# Estimated peak on a GPU: {every:.0} GB; {off:.0} GB with {key} = \"off\"."),
            false => format!("# Estimated peak on a GPU: {off:.0} GB; {every:.0} GB with {key} = \"every-layer\"."),
        };
        if !text.contains(&line) {
            missing.push(format!("{name}: {line}"));
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
    Ok(())
}
