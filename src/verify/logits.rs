//! Logits of a model beside those of the reference.

use anyhow::{Result, ensure};

use super::Item;
use super::golden::{Golden, worst};
use crate::model::{Batch, Decoder, Pass, Place};

/// Where token ids and their logits are.
pub const FILE: &str = "logits.safetensors";

/// Every logit of every position of the base model.
pub fn check(golden: &Golden) -> Result<Item> {
    compare(&golden.base()?, golden, "logits", Pass::BASE)
}

/// Every logit that `model` gives on the token ids of `expected`.
///
/// # Errors
/// Token ids that the model does not have, more of them than it takes, logits of another shape.
pub fn compare(model: &Decoder, expected: &Golden, name: &str, pass: Pass<'_>) -> Result<Item> {
    let tensors = expected.tensors("logits")?;
    let (rows, shape) = (tensors.ids("input_ids")?, model.shape());
    let (columns, most) = (rows.first().map_or(0, Vec::len), shape.positions);
    ensure!(
        columns > 0 && columns <= most,
        "{FILE}: input_ids has rows of {columns} tokens, the model takes 1 to {most}"
    );
    let unknown = rows.iter().flatten().find(|&&id| id as usize >= shape.vocabulary);
    ensure!(unknown.is_none(), "{FILE}: input_ids holds {unknown:?}, the model has {} tokens", shape.vocabulary);
    let batch = Batch::left_padded(&rows, model.ids().pad);
    let places: Vec<Place> = (0..rows.len()).flat_map(|row| (0..columns).map(move |column| (row, column))).collect();
    let predictions = model.predictions(&places, &batch);
    let hidden = predictions.spread(model.hidden(&batch, predictions.window().clone(), pass)?)?;
    let logits = model.head().logits(&hidden)?;
    let note = format!("{} logits", logits.elem_count());
    Ok(Item::new(name, worst(&logits, tensors.get("logits")?)?, 1e-4, note))
}
