//! Which layers have adapters, and how these are scaled: what the trained tensors alone do not tell.

use super::llada::Llada;

impl Llada {
    /// Module path, rank and scale (`alpha / r`) of every adapter; none if the model has no adapters.
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
