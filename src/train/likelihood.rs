//! From token rows to log-probabilities and back to gradients of what is trained, a micro-batch at a time.

use std::num::NonZeroUsize;

use anyhow::Result;

use crate::config::{ActivationCheckpointing, TrainTable};
use crate::model::{Batch, Decoder, Gradients, Pass, Place, Predictions, Scored, Sight};
use crate::profile::{self, Part};
use crate::rng::Key;

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
    profile::measure(Part::Backward, device, || {
        let dx = predictions.gathered(model.head().backward(&scored, &d_lp, gradients)?)?;
        drop(scored);
        model.backward(tape, &batch, pass, dx, gradients)?;
        Ok(entropy)
    })
}
