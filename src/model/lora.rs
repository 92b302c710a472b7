//! LoRA adapters (arXiv 2106.09685) on the linear layers of the blocks, stored in PEFT's format.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, bail};
use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};

use super::linear::Adapter;
use super::llada::Llada;
use super::load::write_safetensors;
use super::param::Param;
use super::weight::Weight;
use super::weights::WeightFiles;
use crate::config::{LoraTable, TargetModules, TargetPreset};
use crate::rng::{Key, Purpose};

/// The tensors of an adapter folder.
pub const ADAPTER_FILE: &str = "adapter_model.safetensors";
/// The description of an adapter folder.
pub const ADAPTER_CONFIG: &str = "adapter_config.json";

/// `adapter_config.json` as PEFT writes it; keys this crate has no use for are dropped when reading.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdapterConfig {
    peft_type: String,
    #[serde(default)]
    task_type: Option<String>,
    /// Rank.
    pub r: usize,
    /// The update is scaled by `lora_alpha / r`.
    pub lora_alpha: f64,
    /// Dropout on the adapter's input while training.
    #[serde(default)]
    pub lora_dropout: f64,
    #[serde(default = "no_bias")]
    bias: String,
    /// Layer names, or a regular expression in PEFT's syntax.
    target_modules: serde_json::Value,
    /// The model the adapter belongs to.
    #[serde(default)]
    pub base_model_name_or_path: Option<String>,
    /// The commit of that model on the hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    #[serde(default)]
    fan_in_fan_out: bool,
    #[serde(default)]
    inference_mode: bool,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    use_dora: bool,
}

fn no_bias() -> String {
    "none".into()
}

impl AdapterConfig {
    /// Reads `dir/adapter_config.json`.
    ///
    /// # Errors
    /// Names the file, and the key of a variant of LoRA that is not implemented.
    pub fn load(dir: &Path) -> Result<Self> {
        let path = dir.join(ADAPTER_CONFIG);
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let config: Self =
            serde_json::from_str(&text).with_context(|| format!("{} is not a LoRA config", path.display()))?;
        let unsupported = [
            (config.peft_type != "LORA", "peft_type other than LORA"),
            (config.bias != "none", "bias other than none"),
            (config.fan_in_fan_out, "fan_in_fan_out"),
            (config.use_rslora, "use_rslora"),
            (config.use_dora, "use_dora"),
            (config.r == 0, "r = 0"),
        ];
        if let Some((_, what)) = unsupported.iter().find(|(found, _)| *found) {
            bail!("{}: {what} is not supported", path.display());
        }
        Ok(config)
    }
}

impl Llada {
    /// Attaches fresh adapters: `A` Kaiming-uniform (a = sqrt 5, so within `1 / sqrt(in)`), `B` zero.
    ///
    /// # Errors
    /// A target that matches no linear layer, named with those there are.
    pub fn attach_lora(&mut self, table: &LoraTable, seed: u64) -> Result<()> {
        let targets = self.target_names(&table.target_modules)?;
        let scale = table.lora_alpha.get() / table.r.get() as f64;
        let device = self.device().clone();
        for (module, (name, leaf, linear)) in self.named_linears_mut().enumerate() {
            if !targets.contains(leaf) {
                continue;
            }
            let (out, input) = linear.weight.dims2()?;
            let bound = 1.0 / (input as f64).sqrt();
            let mut rng = Key::new(seed, Purpose::AdapterInit).part(module).rng();
            let a: Vec<f32> =
                (0..table.r.get() * input).map(|_| ((2.0 * rng.uniform_f64() - 1.0) * bound) as f32).collect();
            let a = Tensor::from_vec(a, (table.r.get(), input), &device)?;
            let b = Tensor::zeros((out, table.r.get()), DType::F32, &device)?;
            let (a_name, b_name) = peft_keys(&name);
            linear.adapter = Some(Adapter {
                a: Param::trainable(a_name, &a)?,
                b: Param::trainable(b_name, &b)?,
                scale,
                dropout: table.lora_dropout.get(),
                module: module as u64,
            });
        }
        Ok(())
    }

    /// Attaches the adapters of a PEFT folder, replacing those there are.
    ///
    /// # Errors
    /// Names the file, and tensors that do not belong to this model or have another shape than they should.
    pub fn load_adapter(&mut self, dir: &Path) -> Result<AdapterConfig> {
        let config = AdapterConfig::load(dir)?;
        let path = dir.join(ADAPTER_FILE);
        let files = WeightFiles::open_file(&path)?;
        let mut expected = BTreeMap::new();
        for (name, _, linear) in self.named_linears_mut() {
            let (out, input) = linear.weight.dims2()?;
            let (a, b) = peft_keys(&name);
            if files.names().any(|n| n == a || n == b) {
                expected.extend([(a, vec![config.r, input]), (b, vec![out, config.r])]);
            }
        }
        files.check(&expected).with_context(|| format!("{} does not fit the model", path.display()))?;
        if expected.is_empty() {
            bail!("{} holds no adapter", path.display());
        }
        let device = self.device().clone();
        for (module, (name, _, linear)) in self.named_linears_mut().enumerate() {
            let (a, b) = peft_keys(&name);
            linear.adapter = match expected.contains_key(&a) {
                false => None,
                true => Some(Adapter {
                    a: Param::trainable(a.clone(), &files.load(&a, DType::F32, &device)?)?,
                    b: Param::trainable(b.clone(), &files.load(&b, DType::F32, &device)?)?,
                    scale: config.lora_alpha / config.r as f64,
                    dropout: config.lora_dropout,
                    module: module as u64,
                }),
            };
        }
        Ok(config)
    }

    /// Sets the dropout of all adapters.
    pub fn set_dropout(&mut self, dropout: f64) {
        for (_, _, linear) in self.named_linears_mut() {
            if let Some(adapter) = &mut linear.adapter {
                adapter.dropout = dropout;
            }
        }
    }

    /// Writes the adapters so that PEFT loads them, for a base model at a commit of the hub, if it is of the hub.
    ///
    /// # Errors
    /// Names the file that cannot be written; a model without adapters.
    pub fn save_adapter(&self, dir: &Path, base_model: &str, revision: Option<&str>) -> Result<()> {
        let mut tensors = BTreeMap::new();
        let mut leaves = BTreeSet::new();
        let mut first = None;
        for (leaf, linear) in self.blocks.iter().flat_map(|b| b.linears()) {
            let Some(adapter) = &linear.adapter else { continue };
            leaves.insert(leaf);
            for param in [&adapter.a, &adapter.b] {
                tensors.insert(param.name().to_owned(), param.value().clone());
            }
            first.get_or_insert(adapter);
        }
        let Some(first) = first else { bail!("the model has no adapters to save") };
        let r = first.a.value().dim(0)?;
        let config = AdapterConfig {
            peft_type: "LORA".into(),
            task_type: Some("CAUSAL_LM".into()),
            r,
            lora_alpha: first.scale * r as f64,
            lora_dropout: first.dropout,
            bias: no_bias(),
            target_modules: target_modules(&leaves),
            base_model_name_or_path: Some(base_model.to_owned()),
            revision: revision.map(str::to_owned),
            fan_in_fan_out: false,
            inference_mode: true,
            use_rslora: false,
            use_dora: false,
        };
        let path = dir.join(ADAPTER_CONFIG);
        let text = serde_json::to_string_pretty(&config)? + "\n";
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        write_safetensors(&dir.join(ADAPTER_FILE), &tensors, &[("format", "pt")])
    }

    /// A model whose adapters are added into copies of their weights, `W + scale * B A`; the other weights are
    /// shared, and quantised ones keep their adapters. It decodes faster than this one, with the same numbers up to
    /// rounding.
    ///
    /// # Errors
    /// If the maths fails.
    pub fn merged(&self) -> candle_core::Result<Llada> {
        let mut merged = self.clone();
        for (_, _, linear) in merged.named_linears_mut() {
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

    /// `(module path, leaf name, layer)` of every linear layer of the blocks.
    fn named_linears_mut(&mut self) -> impl Iterator<Item = (String, &'static str, &mut super::linear::Linear)> {
        self.blocks.iter_mut().enumerate().flat_map(|(i, block)| {
            block.linears_mut().map(|(leaf, linear)| (format!("model.transformer.blocks.{i}.{leaf}"), leaf, linear))
        })
    }

    fn target_names(&self, targets: &TargetModules) -> Result<BTreeSet<String>> {
        let known: Vec<&str> =
            self.blocks.first().map(|b| b.linears().map(|(leaf, _)| leaf).to_vec()).unwrap_or_default();
        let names: Vec<String> = match targets {
            TargetModules::Preset(TargetPreset::Paper) => {
                ["q_proj", "k_proj", "v_proj", "up_proj"].map(str::to_owned).to_vec()
            }
            TargetModules::Preset(TargetPreset::AllLinear) => known.iter().map(|&n| n.to_owned()).collect(),
            TargetModules::Names(names) => names.clone(),
        };
        if let Some(name) = names.iter().find(|n| !known.contains(&n.as_str())) {
            bail!("lora.target_modules: {name:?} matches no linear layer; the model has {}", known.join(", "));
        }
        Ok(names.into_iter().collect())
    }
}

/// PEFT's names of the two matrices of a module.
fn peft_keys(module: &str) -> (String, String) {
    (format!("base_model.model.{module}.lora_A.weight"), format!("base_model.model.{module}.lora_B.weight"))
}

/// A list of names, or a pattern where a list would also match the LM head (its name ends in `ff_out` too).
fn target_modules(leaves: &BTreeSet<&str>) -> serde_json::Value {
    let names: Vec<&str> = leaves.iter().copied().collect();
    match leaves.contains("ff_out") {
        true => format!(r".*\.blocks\.\d+\.({})", names.join("|")).into(),
        false => names.into(),
    }
}
