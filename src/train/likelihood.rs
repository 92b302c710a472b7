//! From token rows to log-probabilities and back to adapter gradients, a micro-batch at a time.

use std::num::NonZeroUsize;

use anyhow::Result;
use candle_core::Tensor;

use crate::config::{ActivationCheckpointing, TrainTable};
use crate::model::{Batch, Gradients, Llada, Pass, Scored};
use crate::profile::{self, Part};
use crate::rng::Key;

/// A sequence as the model sees it, and the places whose original token is scored.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Input ids, masked where the objective says so.
    pub ids: Vec<u32>,
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

/// Runs a micro-batch forward, lets `objective` turn its log-probabilities (row after row, place after place)
/// into their gradients, and adds what follows for the weights to `gradients`.
///
/// # Errors
/// If the maths fails, or `objective` does.
pub fn accumulate(
    model: &Llada,
    rows: &[Row],
    checkpointing: ActivationCheckpointing,
    gradients: &mut Gradients,
    objective: impl FnOnce(&[f32]) -> Result<Vec<f64>>,
) -> Result<()> {
    let inputs: Vec<&[u32]> = rows.iter().map(|r| r.ids.as_slice()).collect();
    let batch = Batch::left_padded(&inputs, model.config().eos_token_id);
    let keys: Vec<Key> = rows.iter().map(|r| r.dropout).collect();
    let pass = Pass { adapters: true, dropout: Some(&keys) };

    // columns of the padded batch that are scored in some row: what the last layer has to compute
    let places = || rows.iter().zip(&batch.pad).flat_map(|(r, &pad)| r.scored.iter().map(move |&i| i + pad));
    let (Some(first), Some(last)) = (places().min(), places().max()) else { return Ok(()) };
    let window = first..last + 1;
    let index: Vec<u32> = (rows.iter().zip(&batch.pad).enumerate())
        .flat_map(|(b, (r, &pad))| r.scored.iter().map(move |&i| (b, i + pad)))
        .map(|(b, column)| (b * window.len() + column - first) as u32)
        .collect();
    let index = Tensor::from_vec(index, places().count(), model.device())?;
    let targets: Vec<u32> = rows.iter().flat_map(|r| r.targets.iter().copied()).collect();

    let (x, tape) = model.hidden_with_tape(&batch, window, pass, checkpointing)?;
    let device = model.device();
    let scored: Scored =
        profile::measure(Part::Head, device, || model.head().score(&x.index_select(&index, 0)?, &targets))?;
    let d_lp: Vec<f32> = objective(&scored.log_probs)?.into_iter().map(|g| g as f32).collect();
    profile::measure(Part::Backward, device, || {
        let d_rows = model.head().backward(&scored, &d_lp, gradients)?;
        let dx = x.zeros_like()?.index_add(&index, &d_rows, 0)?;
        drop((x, scored));
        Ok(model.backward(tape, &batch, pass, dx, gradients)?)
    })
}
