//! LoRA adapters (arXiv 2106.09685) on the linear layers of the blocks, stored in PEFT's format.
//!
//! One [`AdapterConfig`] says which modules have an adapter, of which rank and scale: that of a folder, or one made from
//! `[lora]`. It stays with the model and is written again with the tensors, so that nothing is lost on the way.

mod config;
mod keys;
mod load;
mod patterns;
mod save;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeSet;

use anyhow::Result;
use candle_core::{DType, Tensor};
use serde_json::Value;

use super::decoder::Decoder;
use super::linear::{Adapter, Linear};
use super::ops::gpu;
use super::param::Param;
use super::room;
use super::weight::Weight;
use crate::config::{LoraTable, TargetModules, TargetPreset};
use crate::error::Usage;
use crate::rng::{Key, Purpose};

pub use config::{ADAPTER_CONFIG, AdapterConfig};
pub use load::ADAPTER_FILE;
pub(super) use load::AdapterFiles;

impl Decoder {
    /// Attaches fresh adapters: `A` Kaiming-uniform (a = sqrt 5, so within `1 / sqrt(in)`), `B` zero.
    ///
    /// # Errors
    /// A target that matches no linear layer, named with those there are.
    pub fn attach_lora(&mut self, table: &LoraTable, seed: u64) -> Result<()> {
        let rank = table.rank().get();
        let names = self.target_names(&table.targets())?;
        let modules = self.target_modules(&names);
        let config = AdapterConfig::plain(rank, table.alpha().get(), modules)?;
        let device = self.device().clone();
        let mut numbers = 0_usize;
        for linear in self.linears() {
            if config.shape(linear.path())?.is_some() {
                let (out, input) = linear.weight.dims2()?;
                numbers = numbers.saturating_add(rank.saturating_mul(out + input));
            }
        }
        let what = format!("adapters of rank {rank}");
        room::check(&what, numbers.saturating_mul(size_of::<f32>()), &device, "take a lower rank")?;
        for (module, linear) in self.linears_mut().enumerate() {
            linear.adapter = None;
            let Some(shape) = config.shape(linear.path())? else { continue };
            let (out, input) = linear.weight.dims2()?;
            let bound = 1.0 / (input as f64).sqrt();
            let mut rng = Key::new(seed, Purpose::AdapterInit).part(module).rng();
            let a: Vec<f32> = (0..rank * input).map(|_| ((2.0 * rng.uniform_f64() - 1.0) * bound) as f32).collect();
            let a = Tensor::from_vec(a, (rank, input), &device)?;
            let b = Tensor::zeros((out, rank), DType::F32, &device)?;
            let (a_name, b_name) = peft_keys(linear.path());
            linear.adapter = Some(Adapter {
                a: Param::trainable(a_name, &a)?,
                b: Param::trainable(b_name, &b)?,
                scale: shape.scale,
                dropout: table.lora_dropout.get(),
                tf32: table.tf32,
                module: module as u64,
            });
        }
        self.adapters = Some(config);
        Ok(())
    }

    /// What describes the adapters; nothing if the model has none.
    pub fn adapter_config(&self) -> Option<&AdapterConfig> {
        self.adapters.as_ref()
    }

    /// Sets the dropout of all adapters.
    pub fn set_dropout(&mut self, dropout: f64) {
        for linear in self.linears_mut() {
            if let Some(adapter) = &mut linear.adapter {
                adapter.dropout = dropout;
            }
        }
    }

    /// Says whether products of the adapters may be in TF32 where weights have 16 bits.
    pub fn set_tf32(&mut self, tf32: bool) {
        for linear in self.linears_mut() {
            if let Some(adapter) = &mut linear.adapter {
                adapter.tf32 = tf32;
            }
        }
    }

    /// A model whose adapters are added into copies of their weights, `W + scale * B A`; the other weights are
    /// shared, and quantised ones keep their adapters. It decodes faster than this one, with the same numbers up to
    /// rounding.
    ///
    /// # Errors
    /// If the maths fails.
    pub fn merged(&self) -> candle_core::Result<Decoder> {
        let mut merged = self.clone();
        for linear in merged.linears_mut() {
            if linear.weight.is_quantised() {
                continue;
            }
            let Some(Adapter { a, b, scale, .. }) = linear.adapter.take() else { continue };
            let Some(w) = linear.weight.numbers()? else { continue };
            let update = (b.value().matmul(a.value())? * scale)?.to_dtype(w.dtype())?;
            linear.weight = Weight::frozen(linear.weight.name(), (w + update)?)?;
        }
        Ok(merged)
    }

    /// The model that samples: with adapters merged if `merge`, else with copies of them in the dtype of activations where
    /// an accelerator has that in 16 bits. Its adapters are not trained.
    ///
    /// # Errors
    /// If the maths fails.
    pub fn for_sampling(&self, merge: bool) -> candle_core::Result<Cow<'_, Self>> {
        if merge {
            return self.merged().map(Cow::Owned);
        }
        if !self.samples_with_copies() {
            return Ok(Cow::Borrowed(self));
        }
        let (mut model, dtype) = (self.clone(), self.activations());
        for adapter in model.linears_mut().filter_map(|linear| linear.adapter.as_mut()) {
            for param in [&mut adapter.a, &mut adapter.b] {
                *param = Param::frozen(param.name(), param.value().to_dtype(dtype)?);
            }
        }
        Ok(Cow::Owned(model))
    }

    /// Whether [`Decoder::for_sampling`] copies adapters that are not merged.
    pub(super) fn samples_with_copies(&self) -> bool {
        self.adapters.is_some() && !gpu::is_host(self.device()) && self.activations() != DType::F32
    }

    /// The linear layers of all layers, in the order in which they are numbered.
    fn linears_mut(&mut self) -> impl Iterator<Item = &mut Linear> {
        self.layers.iter_mut().flat_map(|layer| layer.linears_mut())
    }

    /// The last names of the layers that are meant. Those of the paper are there as far as the model has them: of a mixture
    /// of experts no expert has adapters.
    fn target_names(&self, targets: &TargetModules) -> Result<BTreeSet<String>> {
        let mut known: Vec<&str> = Vec::new();
        for name in self.linears().map(leaf) {
            if !known.contains(&name) {
                known.push(name);
            }
        }
        let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
        let names: Vec<String> = match targets {
            TargetModules::Preset(TargetPreset::Paper) => {
                let paper = ["q_proj", "k_proj", "v_proj", "query_key_value", "up_proj"];
                owned(paper.into_iter().filter(|name| known.contains(name)).collect())
            }
            TargetModules::Preset(TargetPreset::AllLinear) => owned(known.clone()),
            TargetModules::Names(names) => names.clone(),
        };
        if let Some(name) = names.iter().find(|n| !known.contains(&n.as_str())) {
            let known = known.join(", ");
            return Err(
                Usage(format!("lora.target_modules: {name:?} matches no linear layer; the model has {known}")).into()
            );
        }
        Ok(names.into_iter().collect())
    }

    /// PEFT's `target_modules`: a list of names, or a pattern where a list would match more: the LM head (LLaDA's ends in
    /// `ff_out` like a layer of its own), or experts.
    fn target_modules(&self, leaves: &BTreeSet<String>) -> Value {
        if !leaves.contains(last(self.names.head)) && self.shape.experts.is_none() {
            return leaves.iter().map(String::as_str).collect();
        }
        let meant = self.linears().filter(|linear| leaves.contains(leaf(linear)));
        // behind the number of the layer
        let within = |path: &str| {
            let rest = path.strip_prefix(self.names.layers)?.strip_prefix('.')?;
            Some(rest.split_once('.')?.1.replace('.', r"\."))
        };
        let paths: BTreeSet<String> = meant.filter_map(|linear| within(linear.path())).collect();
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        format!(r".*\.{}\.\d+\.({})", last(self.names.layers), paths.join("|")).into()
    }
}

/// PEFT's names of the two matrices of a module.
fn peft_keys(module: &str) -> (String, String) {
    (format!("base_model.model.{module}.lora_A.weight"), format!("base_model.model.{module}.lora_B.weight"))
}

/// The last name of a path.
fn last(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// The name of a layer by which it is a target.
fn leaf(linear: &Linear) -> &str {
    last(linear.path())
}
