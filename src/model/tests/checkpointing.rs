//! Activation checkpointing changes memory and time, and no gradient.

use std::num::NonZeroUsize;

use super::*;

/// Off, every layer, every second and third, and more than there are.
fn ways() -> impl Iterator<Item = ActivationCheckpointing> {
    let every = [1, 2, 3, 9].map(|n| ActivationCheckpointing::Every(NonZeroUsize::new(n).expect("above zero")));
    [ActivationCheckpointing::Off].into_iter().chain(every)
}

/// The gradients have the same bits whatever is kept, over windows of one column (behind which the head is so small that
/// the last layers are kept), of some and of all (where they are run again).
pub(super) fn check(model: &Decoder) -> Result<()> {
    let narrow =
        Probe { window: 8..9, places: vec![0, 1], targets: vec![3, 99], weights: vec![1.0, -0.5], ..Probe::new() };
    let all = Probe { window: 0..9, places: vec![0, 3, 6, 14, 17], ..Probe::new() };
    for probe in [narrow, Probe::new(), all] {
        for gradients in [Probe::gradients, Probe::gradients_of_places] {
            let whole = gradients(&probe, model, ActivationCheckpointing::Off)?;
            assert_eq!(whole.by_name().len(), model.trainable().len());
            for way in ways() {
                let again = gradients(&probe, model, way)?;
                assert_eq!(again.by_name().keys().collect::<Vec<_>>(), whole.by_name().keys().collect::<Vec<_>>());
                for (name, gradient) in again.by_name() {
                    assert_eq!(values(gradient)?, values(&whole.by_name()[name])?, "{name}, {way}, {:?}", probe.window);
                }
            }
        }
    }
    Ok(())
}

#[test]
fn gradients_have_the_same_bits_whatever_is_kept() -> Result<()> {
    check(&adapted("gqa_small", 0.0)?)?;
    check(&adapted("mha_small", 0.0)?)
}

#[test]
fn dropout_is_the_same_when_layers_are_run_again() -> Result<()> {
    check(&adapted("gqa_small", 0.3)?)?;
    check(&adapted("mha_small", 0.3)?)
}

/// The projections of a layer's last product were rounded in a forward pass, and not when they were made again.
#[test]
fn so_are_gradients_on_weights_in_bf16() -> Result<()> {
    check(&adapted_in_bf16("gqa_small")?)
}

#[test]
fn so_are_the_gradients_of_all_weights() -> Result<()> {
    check(&Decoder::load(&golden("mha_small"), DType::F32, &Device::Cpu, Weights::Trainable)?)
}

/// A tape holds the inputs of segments and, at most, the activations of the last one.
#[test]
fn a_tape_keeps_what_was_asked_for() -> Result<()> {
    let model = adapted("mha_small", 0.0)?; // three layers
    let probe = Probe::new();
    let kept = |way, window: std::ops::Range<usize>| -> Result<(usize, usize)> {
        Ok(model.hidden_with_tape(&probe.batch, window, probe.pass(), way)?.1.kept())
    };
    let every = |n| ActivationCheckpointing::Every(NonZeroUsize::new(n).expect("above zero"));
    assert_eq!(kept(ActivationCheckpointing::Off, 0..9)?, (0, 3));
    assert_eq!(kept(every(1), 0..9)?, (3, 0));
    assert_eq!(kept(every(1), 8..9)?, (2, 1));
    assert_eq!(kept(every(2), 0..9)?, (1, 1), "one layer beside the head is less than two on the way back");
    assert_eq!(kept(every(2), 8..9)?, (1, 1));
    assert_eq!(kept(every(9), 0..9)?, (1, 0));
    Ok(())
}

/// The footprint counts every tensor of a tape.
#[test]
fn the_footprint_of_a_tape_is_exact() -> Result<()> {
    let probe = Probe::new();
    let mut paper = base("gqa_small")?;
    paper.attach_lora(
        &LoraTable { target_modules: Some(TargetModules::Preset(TargetPreset::Paper)), ..lora_table(0.1) },
        1,
    )?;
    let all = Decoder::load(&golden("gqa_small"), DType::F32, &Device::Cpu, Weights::Trainable)?;
    let others = [adapted("llada2", 0.1)?, adapted("llada_moe", 0.0)?, adapted("sdar", 0.0)?];
    for model in [paper, adapted("gqa_small", 0.1)?, adapted("mha_small", 0.0)?, all].into_iter().chain(others) {
        for (way, window) in ways().flat_map(|way| [0..9, 8..9].map(|window| (way, window))) {
            let extent = Extent { rows: 2, columns: 9, window: window.len() };
            let (_, tape) = model.hidden_with_tape(&probe.batch, window, probe.pass(), way)?;
            assert_eq!(model.training_bytes(extent, way, false)?.kept, tape.bytes(), "{way}, {extent:?}");
        }
        // places of the columns 4 to 8, half of them
        let extent = Extent { rows: 2, columns: 9, window: 5 };
        let off = ActivationCheckpointing::Off;
        let (_, tape) = model.hidden_with_tape(&probe.batch, probe.picked(), probe.pass(), off)?;
        assert!(tape.bytes() < model.training_bytes(extent, off, false)?.kept, "some places keep less than all");
    }
    Ok(())
}
