//! A copy of a model that stays what it is while the model is trained.

use candle_core::Result;

use super::llada::Llada;
use super::param::Param;
use super::weight::Weight;

impl Llada {
    /// The base model's weights as they are now, frozen, in their dtype and layout, hence with the same bits out of every
    /// pass; without adapters. Weights that are frozen already are shared.
    ///
    /// # Errors
    /// A device without memory left.
    pub fn frozen_copy(&self) -> Result<Self> {
        let mut copy = self.clone();
        copy.adapters = None;
        freeze(&mut copy.wte)?;
        for block in &mut copy.blocks {
            block.attn_norm = block.attn_norm.frozen_copy()?;
            block.ff_norm = block.ff_norm.frozen_copy()?;
            for (_, linear) in block.linears_mut() {
                linear.adapter = None;
                freeze(&mut linear.weight)?;
            }
        }
        copy.head.norm = copy.head.norm.frozen_copy()?;
        freeze(&mut copy.head.weight)?;
        Ok(copy)
    }
}

fn freeze(weight: &mut Weight) -> Result<()> {
    if let Weight::Dense(param) = weight {
        *param = Param::frozen_copy(param)?;
    }
    Ok(())
}
