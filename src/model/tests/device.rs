//! The path of accelerators through the whole model, with main memory as the device: its numbers and its costs.

use super::*;
use crate::model::layer::Projections;
use crate::model::ops::gpu::host::as_device;
use crate::model::ops::gpu::{Traffic, traffic};

fn every_layer() -> ActivationCheckpointing {
    ActivationCheckpointing::Every(std::num::NonZeroUsize::MIN)
}

/// Adapters as in [`adapted`] on weights in bf16, which lie as on a device.
fn adapted_in_bf16_on_device(name: &str) -> Result<Decoder> {
    let mut model = as_device(|| Decoder::load(&golden(name), DType::BF16, &Device::Cpu, Weights::Frozen))?;
    model.attach_lora(&lora_table(0.0), 5)?;
    for (i, (_, var)) in model.trainable().iter().enumerate() {
        var.set(&(super::ops::testing::random(100 + i, var.shape())? * 0.2)?)?;
    }
    Ok(model)
}

pub(super) fn off(found: &Tensor, expected: &Tensor) -> Result<f32> {
    let size = |x: &Tensor| -> Result<f32> { Ok(x.sqr()?.sum_all()?.to_scalar::<f32>()?.sqrt()) };
    Ok(size(&(expected - found)?)? / size(expected)?)
}

/// Whether the weights of projections that have one input are one buffer.
fn are_together(model: &Decoder) -> bool {
    let layer = &model.layers[0];
    let mlp = layer.mlp.of_all().is_some_and(|mlp| mlp.gate_up.is_some());
    mlp && matches!(&layer.qkv, Projections::Apart(apart) if apart.stack.is_some())
}

#[test]
fn gradients_on_a_device_are_those_of_the_cpu_under_the_same_dropout() -> Result<()> {
    let trained = || Decoder::load(&golden("gqa_small"), DType::F32, &Device::Cpu, Weights::Trainable);
    let models: [&dyn Fn() -> Result<Decoder>; 3] =
        [&|| adapted("gqa_small", 0.0), &|| adapted("mha_small", 0.3), &trained];
    for load in models {
        // the device has frozen weights in stacks
        let (model, on_device) = (load()?, as_device(load)?);
        assert_eq!(are_together(&on_device), on_device.adapter_config().is_some());
        for gradients in [Probe::gradients, Probe::gradients_of_places] {
            let probe = Probe::new();
            let expected = gradients(&probe, &model, ActivationCheckpointing::Off)?;
            for way in [ActivationCheckpointing::Off, every_layer()] {
                let found = as_device(|| gradients(&probe, &on_device, way))?;
                assert_eq!(found.by_name().len(), model.trainable().len());
                for (name, gradient) in expected.by_name() {
                    let off = off(&found.by_name()[name], gradient)?;
                    assert!(off < 1e-4, "{name} is off by {off}");
                }
            }
        }
    }
    Ok(())
}

#[test]
fn sixteen_bits_on_a_device_change_numbers_by_their_rounding_only() -> Result<()> {
    let (probe, exact) = (Probe::new(), adapted("gqa_small", 0.0)?);
    let model = adapted_in_bf16_on_device("gqa_small")?;
    let expected = probe.gradients(&exact, ActivationCheckpointing::Off)?;
    let found = as_device(|| probe.gradients(&model, ActivationCheckpointing::Off))?;
    for (name, gradient) in expected.by_name() {
        let off = off(&found.by_name()[name], gradient)?;
        assert!(off > 0.0 && off < 0.15, "{name} is off by {off}");
    }
    let hidden = exact.hidden(&probe.batch, 4..9, Pass::INFERENCE)?;
    let sampled = as_device(|| -> Result<Tensor> {
        let model = model.for_sampling(false)?;
        assert_eq!(model.trainable().len(), 0);
        Ok(model.hidden(&probe.batch, 4..9, Pass::INFERENCE)?.to_dtype(DType::F32)?)
    })?;
    assert!(off(&sampled, &hidden)? < 0.03, "{}", off(&sampled, &hidden)?);
    Ok(())
}

/// What merging puts in the place of a weight is not in the stack, which holds the old one.
#[test]
fn merged_adapters_are_not_missed_by_stacked_weights() -> Result<()> {
    let batch = Batch::left_padded(&rows(&[9, 6]), 1);
    let apart = adapted("mha_small", 0.0)?.hidden(&batch, 4..9, Pass::INFERENCE)?;
    let merged = as_device(|| -> Result<Tensor> {
        let model = adapted("mha_small", 0.0)?;
        assert!(are_together(&model));
        Ok(model.for_sampling(true)?.hidden(&batch, 4..9, Pass::INFERENCE)?)
    })?;
    assert!(off(&merged, &apart)? < 1e-5, "{}", off(&merged, &apart)?);
    Ok(())
}

#[test]
fn cached_passes_on_a_device_are_those_of_the_cpu() -> Result<()> {
    let (model, batch) = (adapted("gqa_small", 0.0)?, Batch::left_padded(&rows(&[12, 7, 9]), 1));
    let pass = |columns, fed: std::ops::Range<usize>| -> Result<Tensor> {
        let (_, cache) = model.hidden_keeping(&batch, 6..9, Pass::INFERENCE, columns)?;
        let cache = cache.select(&[0, 2, 1])?;
        let batch = Batch {
            ids: [&batch.ids[..12], &batch.ids[24..], &batch.ids[12..24]].concat(),
            pad: vec![0, 3, 5],
            ..Batch::default()
        };
        Ok(model.hidden_cached(&batch, fed, 6..9, Pass::INFERENCE, &cache)?)
    };
    for (columns, fed) in [(6, 6..12), (12, 6..9)] {
        let (expected, found) = (pass(columns, fed.clone())?, as_device(|| pass(columns, fed))?);
        assert!(off(&found, &expected)? < 1e-5, "{}", off(&found, &expected)?);
    }
    Ok(())
}

/// The costs of a layer in the middle of a stack: what three layers cost more than two.
fn of_a_layer(model: &Decoder, pass: impl Fn(&Decoder) -> Result<()>) -> Result<Traffic> {
    let costs = |layers: usize| -> Result<Traffic> {
        let mut stack = model.clone();
        stack.layers = model.layers.iter().cycle().take(layers).cloned().collect();
        let before = traffic();
        as_device(|| pass(&stack))?;
        Ok(traffic().since(before))
    };
    Ok(costs(3)?.since(costs(2)?))
}

/// A step of a rollout starts 27 things a layer (with adapters on the published four of seven linears: q of its own, k and v
/// together, six for their adapters, two for the rotation, four to go to heads and back, three of attention, two of the
/// output, two norms, three of gate and up, one activation, two of the last product), one less where q is as wide as k, and
/// brings nothing to the device in it: about 91 and 20 uploads it was.
#[test]
fn a_layer_of_a_rollout_takes_27_launches_and_no_upload() -> Result<()> {
    for (name, launches) in [("gqa_small", 27), ("mha_small", 26)] {
        let mut model = adapted_in_bf16_on_device(name)?;
        model.attach_lora(&LoraTable { r: std::num::NonZeroUsize::new(3), ..LoraTable::default() }, 5)?;
        let batch = Batch::left_padded(&rows(&[9, 6]), 1);
        let traffic = of_a_layer(&model, |model| {
            let model = model.for_sampling(false)?;
            model.hidden(&batch, Window::of(vec![(0, 5), (1, 7)]), Pass::INFERENCE)?;
            Ok(())
        })?;
        assert_eq!(traffic, Traffic { launches, ..Traffic::default() }, "{name}");
    }
    Ok(())
}

#[test]
fn an_update_with_dropout_brings_no_mask_to_the_device() -> Result<()> {
    let mut model = adapted_in_bf16_on_device("gqa_small")?;
    model.set_dropout(0.05);
    let probe = Probe::new();
    for way in [ActivationCheckpointing::Off, every_layer()] {
        let traffic = of_a_layer(&model, |model| {
            probe.gradients_of_places(model, way)?;
            Ok(())
        })?;
        assert_eq!((traffic.uploads, traffic.bytes_to_device, traffic.bytes_to_host), (0, 0, 0), "{way}");
    }
    // ids, padding and places of a pass, keys and rows of its dropout, there and back
    let before = traffic();
    as_device(|| probe.gradients_of_places(&model, ActivationCheckpointing::Off))?;
    let bytes = traffic().since(before).bytes_to_device;
    assert!(bytes < 1024, "{bytes}");
    Ok(())
}
