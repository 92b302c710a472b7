//! What holds of LLaDA holds of every family's decoder: gradients, bits, the path of accelerators.

use super::*;
use crate::model::ops::gpu::host::as_device;

/// Models of other families, without jumps: where another expert is chosen there is no derivative.
const SMOOTH: [&str; 6] = ["a2d_qwen3", "dream", "sdar", "illada", "llada_moe-of-all", "llada2-of-all"];
/// Models of other families.
const OTHERS: [&str; 6] = ["a2d_qwen3", "dream", "sdar", "illada", "llada_moe", "llada2"];

fn trained(name: &str) -> Result<Decoder> {
    Decoder::load(&golden(name), DType::F32, &Device::Cpu, Weights::Trainable)
}

#[test]
fn gradients_match_finite_differences() -> Result<()> {
    for name in SMOOTH {
        for model in [adapted(name, 0.0)?, adapted(name, 0.3)?, trained(name)?] {
            check_directions(&model)?;
        }
    }
    Ok(())
}

#[test]
fn layers_that_are_run_again_change_no_bit() -> Result<()> {
    for name in OTHERS {
        for model in [adapted(name, 0.3)?, trained(name)?] {
            checkpointing::check(&model)?;
        }
    }
    Ok(())
}

#[test]
fn rows_and_places_do_not_depend_on_what_is_beside_them() -> Result<()> {
    for name in OTHERS {
        let model = adapted(name, 0.0)?;
        let rows = rows(&[12, 7, 9]);
        let batch = Batch::left_padded(&rows, 1);
        let together = model.hidden(&batch, 8..12, Pass::INFERENCE)?.reshape((3, 4, ()))?;
        for (i, row) in rows.iter().enumerate() {
            let (alone, end) = (Batch::left_padded(std::slice::from_ref(row), 1), row.len());
            let alone = model.hidden(&alone, end - 4..end, Pass::INFERENCE)?;
            assert_eq!(values(&alone)?, values(&together.get(i)?)?, "{name}, row {i}");
        }
        let some = model.hidden(&batch, Window::of(vec![(2, 11), (0, 8)]), Pass::INFERENCE)?;
        assert_eq!(values(&some.get(0)?)?, values(&together.get(2)?.get(3)?)?, "{name}");
        assert_eq!(values(&some.get(1)?)?, values(&together.get(0)?.get(0)?)?, "{name}");
    }
    Ok(())
}

#[test]
fn accelerators_compute_the_same() -> Result<()> {
    for name in OTHERS {
        let loads: [&dyn Fn() -> Result<Decoder>; 2] = [&|| adapted(name, 0.3), &|| trained(name)];
        for load in loads {
            let (model, on_device, probe) = (load()?, as_device(load)?, Probe::new());
            let expected = probe.gradients_of_places(&model, ActivationCheckpointing::Off)?;
            let found = as_device(|| probe.gradients_of_places(&on_device, ActivationCheckpointing::Off))?;
            assert_eq!(found.by_name().len(), model.trainable().len());
            for (parameter, gradient) in expected.by_name() {
                let found = &found.by_name()[parameter];
                if gradient.sqr()?.sum_all()?.to_scalar::<f32>()? == 0.0 {
                    assert!(found.sqr()?.sum_all()?.to_scalar::<f32>()? == 0.0, "{name}: {parameter}, without tokens");
                    continue;
                }
                let off = device::off(found, gradient)?;
                assert!(off < 1e-4, "{name}: {parameter} is off by {off}");
            }
        }
    }
    Ok(())
}

#[test]
fn a_tied_head_is_counted_saved_and_moved_once() -> Result<()> {
    let (model, embedding) = (trained("a2d_qwen3")?, "model.embed_tokens.weight");
    let matrices = model.matrices();
    assert_eq!(matrices.iter().filter(|weight| weight.name() == embedding).count(), 1);
    let numbers: usize = Description::read(&golden("a2d_qwen3"))?
        .tensors()
        .iter()
        .map(|tensor| tensor.dims.iter().product::<usize>())
        .sum();
    assert_eq!(model.parameter_count(), numbers);
    let dir = tempfile::tempdir()?;
    std::fs::copy(golden("a2d_qwen3").join("config.json"), dir.path().join("config.json"))?;
    model.save(dir.path())?;
    let again = Decoder::load(dir.path(), DType::F32, &Device::Cpu, Weights::Frozen)?;
    let batch = Batch::left_padded(&rows(&[9, 6]), 1);
    let logits =
        |m: &Decoder| -> Result<Vec<f32>> { values(&m.head().logits(&m.hidden(&batch, 4..9, Pass::INFERENCE)?)?) };
    assert_eq!(logits(&again)?, logits(&model)?);
    // what one writes, the other reads
    let var = &model.trainable()[embedding];
    var.set(&(var.as_tensor() * 0.5)?)?;
    assert_ne!(logits(&again)?, logits(&model)?);
    let copy = model.frozen_copy()?;
    assert!(copy.trainable().is_empty() && copy.matrices().len() == matrices.len());
    assert_eq!(logits(&copy)?, logits(&model)?);
    Ok(())
}

#[test]
fn formats_of_fewer_bits_change_numbers_by_their_rounding_only() -> Result<()> {
    let batch = Batch::left_padded(&rows(&[12, 7, 9]), 1);
    for name in OTHERS {
        let hidden = |model: &Decoder| -> Result<Tensor> { Ok(model.hidden(&batch, 8..12, Pass::INFERENCE)?) };
        let exact = hidden(&adapted(name, 0.0)?)?;
        let off = device::off(&hidden(&adapted_in_bf16(name)?)?, &exact)?;
        // rounding sends some tokens to other experts
        let tolerance = if name.starts_with("llada") { 0.2 } else { 0.05 };
        assert!(off > 0.0 && off < tolerance, "{name}: {off}");
    }
    Ok(())
}

/// Files of a tied model may hold the head beside the embedding, which it then is.
#[test]
fn a_head_that_is_the_embedding_may_be_in_the_files_too() -> Result<()> {
    let (dir, name) = (tempfile::tempdir()?, "lm_head.weight");
    std::fs::copy(golden("a2d_qwen3").join("config.json"), dir.path().join("config.json"))?;
    let tensors = candle_core::safetensors::load(golden("a2d_qwen3").join("model.safetensors"), &Device::Cpu)?;
    let mut tensors: std::collections::BTreeMap<String, Tensor> = tensors.into_iter().collect();
    tensors.insert(name.to_owned(), tensors["model.embed_tokens.weight"].zeros_like()?);
    write_safetensors(&dir.path().join("model.safetensors"), &tensors, &[])?;
    let model = Decoder::load(dir.path(), DType::F32, &Device::Cpu, Weights::Frozen)?;
    assert!(model.matrices().iter().all(|weight| weight.name() != name));
    tensors.insert("lm_head.bias".to_owned(), tensors[name].clone());
    write_safetensors(&dir.path().join("model.safetensors"), &tensors, &[])?;
    let text = Decoder::load(dir.path(), DType::F32, &Device::Cpu, Weights::Frozen).expect_err("unknown").to_string();
    assert!(text.contains("unknown (1): lm_head.bias"), "{text}");
    Ok(())
}
