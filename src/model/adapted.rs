//! Which layers have adapters, and how these are scaled: what the trained tensors alone do not tell.

use anyhow::Result;

use super::llada::Llada;
use super::lora::AdapterConfig;

impl Llada {
    /// Layer (`blocks.0.q_proj`), rank and scale of every adapter; none if the model has no adapters.
    pub fn adapters(&self) -> Vec<(String, usize, f64)> {
        let linears = self.blocks.iter().enumerate().flat_map(|(i, b)| b.linears().map(|(leaf, l)| (i, leaf, l)));
        linears
            .filter_map(|(i, leaf, linear)| {
                let adapter = linear.adapter.as_ref()?;
                let r = adapter.a.value().dims().first().copied()?;
                Some((format!("blocks.{i}.{leaf}"), r, adapter.scale))
            })
            .collect()
    }
}

impl AdapterConfig {
    /// Rank and scale of the adapter of a layer as [`Llada::adapters`] names it, if it has one.
    ///
    /// # Errors
    /// A pattern that takes too long to match.
    pub fn of_layer(&self, layer: &str) -> Result<Option<(usize, f64)>> {
        Ok(self.shape(&format!("model.transformer.{layer}"))?.map(|shape| (shape.rank, shape.scale)))
    }
}
