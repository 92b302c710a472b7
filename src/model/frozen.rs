//! A copy of a model that stays what it is while the model is trained.

use candle_core::Result;

use super::decoder::Decoder;
use super::param::Param;
use super::weight::Weight;

impl Decoder {
    /// The base model's weights as they are now, frozen, in their dtype and layout, hence with the same bits out of every
    /// pass; without adapters. Weights that are frozen already are shared.
    ///
    /// # Errors
    /// A device without memory left.
    pub fn frozen_copy(&self) -> Result<Self> {
        let mut copy = self.clone();
        copy.adapters = None;
        copy.embedding.iter_mut().try_for_each(freeze)?;
        for layer in &mut copy.layers {
            layer.attn_norm = layer.attn_norm.frozen_copy()?;
            layer.mlp_norm = layer.mlp_norm.frozen_copy()?;
            for norm in [&mut layer.q_norm, &mut layer.k_norm].into_iter().flatten() {
                *norm = norm.frozen_copy()?;
            }
            for linear in layer.all_linears_mut() {
                linear.adapter = None;
                linear.bias = linear.bias.as_ref().map(Param::frozen_copy).transpose()?;
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
