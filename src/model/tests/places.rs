//! Asking for places of a window only changes no bit of them, and no gradient.

use super::*;

/// Places of the window in order, and in disorder.
fn probes() -> [Probe; 2] {
    [Probe::new(), Probe { places: vec![9, 2, 3, 0, 7], ..Probe::new() }]
}

#[test]
fn places_have_the_bits_of_the_whole_window() -> Result<()> {
    let exact = [adapted("gqa_small", 0.0)?, adapted("mha_small", 0.3)?];
    let rounded = [adapted_in_bf16("gqa_small")?, adapted_on_blocks("gqa_small", DType::BF16)?];
    for model in exact.into_iter().chain(rounded) {
        for probe in probes() {
            let places = Tensor::from_slice(&probe.places, probe.places.len(), &Device::Cpu)?;
            let all = model.hidden(&probe.batch, probe.window.clone(), probe.pass())?;
            let expected = values(&all.index_select(&places, 0)?)?;
            let alone = model.hidden(&probe.batch, probe.picked(), probe.pass())?;
            assert_eq!(values(&alone)?, expected, "{:?}", probe.places);
            let off = ActivationCheckpointing::Off;
            let (kept, _) = model.hidden_with_tape(&probe.batch, probe.picked(), probe.pass(), off)?;
            assert_eq!(values(&kept)?, expected, "{:?}, with a tape", probe.places);
        }
    }
    Ok(())
}

/// Up to the order of sums.
#[test]
fn gradients_of_places_are_those_of_the_window_with_zeros_elsewhere() -> Result<()> {
    let trained = Decoder::load(&golden("gqa_small"), DType::F32, &Device::Cpu, Weights::Trainable)?;
    for model in [adapted("gqa_small", 0.0)?, adapted("gqa_small", 0.3)?, adapted("mha_small", 0.3)?, trained] {
        for probe in probes() {
            let expected = probe.gradients(&model, ActivationCheckpointing::Off)?;
            let found = probe.gradients_of_places(&model, ActivationCheckpointing::Off)?;
            assert_eq!(found.by_name().len(), model.trainable().len());
            for (name, gradient) in expected.by_name() {
                let size = |x: &Tensor| -> Result<f32> { Ok(x.sqr()?.sum_all()?.to_scalar::<f32>()?.sqrt()) };
                let off = size(&(gradient - &found.by_name()[name])?)? / size(gradient)?;
                assert!(off < 1e-6, "{name} is off by {off}");
            }
        }
    }
    Ok(())
}
