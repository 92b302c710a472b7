//! From token rows to log-probabilities and back to gradients of what is trained, a micro-batch at a time.

use std::num::NonZeroUsize;

use anyhow::Result;
use candle_core::DType;

use crate::config::{ActivationCheckpointing, TrainTable};
use crate::model::{Batch, Decoder, Gradients, Pass, Place, Predictions, Scored, Sight};
use crate::profile::{self, Part};
use crate::rng::Key;

/// Where the largest slope of a pass in f16 is put: far above the least number of that dtype, and a thousandth of the largest.
const F16_SLOPE: f32 = 64.0;
/// The largest power of two that slopes are multiplied by: it and its inverse are numbers of f32.
const LARGEST_SCALE: f32 = 126.0;

/// A sequence as the model sees it, and the places whose original token is scored.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Input ids, masked where the objective says so.
    pub ids: Vec<u32>,
    /// What every block of `ids` is predicted from, as far as it is before the block, in one pass; none where a row is its
    /// own past. All rows of a micro-batch have one, or none has.
    pub past: Option<Vec<u32>>,
    /// Tokens of the prompt, which `ids` begins with.
    pub prompt: usize,
    /// Indices into `ids`, ascending.
    pub scored: Vec<usize>,
    /// The token that belongs at each of these places.
    pub targets: Vec<u32>,
    /// Dropout of this row.
    pub dropout: Key,
}

/// How the gradient of an update is split up; the result does not depend on it.
#[derive(Clone, Copy, Debug)]
pub struct MicroBatches {
    /// Completions (or demonstrations) at once.
    pub size: NonZeroUsize,
    /// Which activations are kept from forward to backward.
    pub checkpointing: ActivationCheckpointing,
}

impl From<&TrainTable> for MicroBatches {
    fn from(table: &TrainTable) -> Self {
        Self { size: table.micro_batch_size, checkpointing: table.activation_checkpointing }
    }
}

/// Whose log-probabilities are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// The model with its adapters, and their dropout.
    Current,
    /// The model without its adapters, if it has any.
    Reference,
}

/// The log-probabilities of a micro-batch, row after row, place after place, without gradients. The current policy has
/// those that [`accumulate`] would compute.
///
/// # Errors
/// If the maths fails.
pub fn score(model: &Decoder, rows: &[Row], policy: Policy) -> Result<Vec<f32>> {
    let Some(inputs) = Inputs::of(model, rows) else { return Ok(Vec::new()) };
    let Inputs { batch, keys, predictions, targets } = inputs;
    let pass = match policy {
        Policy::Current => Pass { adapters: true, dropout: Some(&keys) },
        Policy::Reference => Pass::BASE,
    };
    let x = predictions.spread(model.hidden(&batch, predictions.window().clone(), pass)?)?;
    let scored: Scored = profile::measure(Part::Head, model.device(), || model.head().score(&x, &targets))?;
    Ok(scored.log_probs)
}

/// Rows as the model takes them.
struct Inputs {
    batch: Batch,
    keys: Vec<Key>,
    /// Of the places of the padded batch that are scored.
    predictions: Predictions,
    targets: Vec<u32>,
}

impl Inputs {
    /// None if no place is scored.
    fn of(model: &Decoder, rows: &[Row]) -> Option<Self> {
        let inputs: Vec<&[u32]> = rows.iter().map(|r| r.ids.as_slice()).collect();
        let lead = match model.shape().sight {
            Sight::Full => Vec::new(),
            Sight::Blocks(blocks) => rows.iter().map(|row| blocks.lead(row.prompt)).collect(),
        };
        let batch = Batch::left_padded(&inputs, model.ids().pad).with_lead(lead);
        let past: Option<Vec<&[u32]>> = rows.iter().map(|row| row.past.as_deref()).collect();
        let batch = match past {
            Some(past) => Batch::of_pairs(batch, &Batch::left_padded(&past, model.ids().pad)),
            None => batch,
        };
        let places = |(b, (row, &pad)): (usize, (&Row, &usize))| -> Vec<Place> {
            row.scored.iter().map(|&i| (b, i + pad)).collect()
        };
        let places: Vec<Place> = rows.iter().zip(&batch.pad).enumerate().flat_map(places).collect();
        let targets = rows.iter().flat_map(|r| r.targets.iter().copied()).collect();
        let keys = rows.iter().map(|r| r.dropout).collect();
        let predictions = (!places.is_empty()).then(|| model.predictions(&places, &batch))?;
        Some(Self { batch, keys, predictions, targets })
    }
}

/// Runs a micro-batch forward, lets `objective` turn its log-probabilities (row after row, place after place)
/// into their gradients, and adds what follows for the weights to `gradients`. Returns the sum of the entropies of the
/// model's predictions at the scored places, nats.
///
/// # Errors
/// If the maths fails, or `objective` does.
pub fn accumulate(
    model: &Decoder,
    rows: &[Row],
    checkpointing: ActivationCheckpointing,
    gradients: &mut Gradients,
    objective: impl FnOnce(&[f32]) -> Result<Vec<f64>>,
) -> Result<f64> {
    let Some(inputs) = Inputs::of(model, rows) else { return Ok(0.0) };
    let Inputs { batch, keys, predictions, targets } = inputs;
    let pass = Pass { adapters: true, dropout: Some(&keys) };
    let (x, tape) = model.hidden_with_tape(&batch, predictions.window().clone(), pass, checkpointing)?;
    let x = predictions.spread(x)?;
    let device = model.device();
    let scored: Scored = profile::measure(Part::Head, device, || model.head().score(&x, &targets))?;
    drop(x);
    let entropy = scored.entropies.iter().map(|&h| f64::from(h)).sum();
    let d_lp: Vec<f32> = objective(&scored.log_probs)?.into_iter().map(|g| g as f32).collect();
    let scale = loss_scale(model.activations(), &d_lp);
    let d_lp: Vec<f32> = d_lp.into_iter().map(|slope| slope * scale).collect();
    profile::measure(Part::Backward, device, || {
        let mut scaled = Gradients::new();
        let sums = if scale == 1.0 { &mut *gradients } else { &mut scaled };
        let dx = predictions.gathered(model.head().backward(&scored, &d_lp, sums)?)?;
        drop(scored);
        model.backward(tape, &batch, pass, dx, sums)?;
        gradients.append(scaled.times(1.0 / f64::from(scale))?)?;
        Ok(entropy)
    })
}

/// The power of two that a backward pass in this dtype is multiplied by. The least number of f16 is 6e-8, and a token of a long
/// completion has a slope of 1e-4: what is small beside it would be zero.
fn loss_scale(activations: DType, d_lp: &[f32]) -> f32 {
    let largest = d_lp.iter().fold(0f32, |largest, slope| largest.max(slope.abs()));
    match activations {
        // slopes near the least of f32 would make it infinite
        DType::F16 if largest.is_normal() => (F16_SLOPE / largest).log2().floor().min(LARGEST_SCALE).exp2(),
        _ => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use candle_core::Device;

    use super::*;
    use crate::config::LoraTable;
    use crate::model::Weights;
    use crate::rng::Purpose;

    /// Gradients of a small model in f16 under the slopes of `objective`.
    fn gradients(slope: f64) -> Result<Gradients> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden/gqa_small");
        let mut model = Decoder::load(&dir, DType::F16, &Device::Cpu, Weights::Frozen)?;
        model.attach_lora(&LoraTable { r: NonZeroUsize::new(2), ..LoraTable::default() }, 1)?;
        let mask = model.ids().mask;
        let row = Row {
            ids: vec![5, 6, 7, mask, 9, mask],
            past: None,
            prompt: 3,
            scored: vec![3, 5],
            targets: vec![8, 10],
            dropout: Key::new(1, Purpose::Dropout),
        };
        let mut gradients = Gradients::new();
        let slopes = |lps: &[f32]| Ok(lps.iter().map(|_| slope).collect());
        accumulate(&model, &[row], ActivationCheckpointing::Off, &mut gradients, slopes)?;
        Ok(gradients)
    }

    #[test]
    fn the_scale_is_a_number_whatever_the_slopes() {
        for slope in [f32::MIN_POSITIVE, 1e-30, 1e-4, 1.0, 1e30, f32::MAX] {
            let scale = loss_scale(DType::F16, &[0.0, -slope]);
            assert!(scale.is_normal() && (scale * slope).is_finite() && scale * slope <= F16_SLOPE, "{slope}: {scale}");
            assert_eq!(scale.log2().fract(), 0.0, "{slope}: {scale}");
        }
        assert_eq!((loss_scale(DType::F16, &[0.0]), loss_scale(DType::BF16, &[1e-9])), (1.0, 1.0));
    }

    #[test]
    fn small_slopes_were_zero_in_sixteen_bits() -> Result<()> {
        let factor = f64::from(-30f32).exp2();
        let (large, small) = (gradients(-1.0)?, gradients(-factor)?);
        let mut alive = 0;
        for (name, large) in large.by_name() {
            let numbers = |t: &candle_core::Tensor| t.flatten_all()?.to_vec1::<f32>();
            for (large, small) in numbers(large)?.iter().zip(numbers(&small.by_name()[name])?) {
                // a power of two changes no bit but those of the exponent
                assert_eq!(f64::from(small), f64::from(*large) * factor, "{name}");
                alive += usize::from(*large != 0.0);
            }
        }
        assert!(alive > 100, "{alive}");
        Ok(())
    }
}
