//! Logits of the base model.

use anyhow::Result;

use super::Item;
use super::golden::{Golden, worst};
use crate::model::{Batch, Pass};

/// Every logit of every position.
pub fn check(golden: &Golden) -> Result<Item> {
    let tensors = golden.tensors("logits")?;
    let model = golden.base()?;
    let batch = Batch::left_padded(&tensors.ids("input_ids")?, model.config().eos_token_id);
    let hidden = model.hidden(&batch, 0..batch.columns(), Pass::BASE)?;
    let logits = model.head().logits(&hidden)?;
    Ok(Item::new("logits", worst(&logits, tensors.get("logits")?)?, 1e-4, format!("{} logits", logits.elem_count())))
}
