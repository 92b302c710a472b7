//! Which layers have adapters, and how these are scaled: what the trained tensors alone do not tell.

use anyhow::Result;

use super::decoder::Decoder;
use super::linear::Linear;
use super::lora::AdapterConfig;
use super::names::{lengthened, shortened};

impl Decoder {
    /// Layer (`blocks.0.q_proj`), rank and scale of every adapter; none if the model has no adapters.
    pub fn adapters(&self) -> Vec<(String, usize, f64)> {
        let of = |linear: &Linear| {
            let adapter = linear.adapter.as_ref()?;
            let r = adapter.a.value().dims().first().copied()?;
            Some((shortened(linear.path()).to_owned(), r, adapter.scale))
        };
        self.linears().filter_map(of).collect()
    }
}

impl AdapterConfig {
    /// Rank and scale of the adapter of a layer as [`Decoder::adapters`] names it, if it has one.
    ///
    /// # Errors
    /// A pattern that takes too long to match.
    pub fn of_layer(&self, layer: &str) -> Result<Option<(usize, f64)>> {
        Ok(self.shape(&lengthened(layer))?.map(|shape| (shape.rank, shape.scale)))
    }
}
