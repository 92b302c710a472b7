//! `adapter_config.json`: which modules have an adapter, of which rank and scale.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::keys;
use super::patterns::{ByModule, Targets};

/// The description of an adapter folder.
pub const ADAPTER_CONFIG: &str = "adapter_config.json";

/// What describes a model's adapters, as PEFT writes and matches it.
#[derive(Clone, Debug)]
pub struct AdapterConfig {
    /// Rank of modules that `rank_pattern` does not name.
    pub r: usize,
    /// Alpha of modules that `alpha_pattern` does not name.
    pub lora_alpha: f64,
    /// Dropout on the adapter's input while training.
    pub lora_dropout: f64,
    /// The model the adapter belongs to.
    pub base_model_name_or_path: Option<String>,
    /// The commit of that model on the hub.
    pub revision: Option<String>,
    use_rslora: bool,
    ranks: ByModule<usize>,
    alphas: ByModule<f64>,
    targets: Targets,
    /// The keys that all of this was read from, as they were written.
    written: Map<String, Value>,
}

/// The size of one module's adapter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::model) struct Shape {
    pub rank: usize,
    /// What the update is multiplied with.
    pub scale: f64,
}

impl AdapterConfig {
    /// Reads `dir/adapter_config.json`.
    ///
    /// # Errors
    /// Names the file, and every key that asks for what is not implemented or has a value that cannot be used.
    pub fn load(dir: &Path) -> Result<Self> {
        let path = dir.join(ADAPTER_CONFIG);
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let json: Value = serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))?;
        let config = json.as_object().context("it is not an object");
        config.and_then(Self::read).with_context(|| format!("{} cannot be used", path.display()))
    }

    /// The config of plain LoRA on some modules, given as PEFT's `target_modules`.
    pub(super) fn plain(r: usize, lora_alpha: f64, target_modules: Value) -> Result<Self> {
        let json = json!({
            "peft_type": "LORA", "r": r, "lora_alpha": lora_alpha, "use_rslora": false, "rank_pattern": {},
            "alpha_pattern": {}, "target_modules": target_modules, "exclude_modules": null,
            "layers_to_transform": null, "layers_pattern": null,
        });
        Self::read(json.as_object().context("an object")?)
    }

    pub(super) fn read(config: &Map<String, Value>) -> Result<Self> {
        let written = keys::check(config)?;
        let get = |key: &str| config.get(key).unwrap_or(&Value::Null);
        let required = |key: &str, expected: &str| match get(key) {
            Value::Null => format!("{key} is missing: it must be {expected}"),
            other => format!("{key} = {other} is not {expected}"),
        };
        let boolean = |key: &str| match get(key) {
            Value::Null => Ok(false),
            other => other.as_bool().with_context(|| required(key, "true or false")),
        };
        let lora_dropout = match get("lora_dropout") {
            Value::Null => 0.0,
            other => other
                .as_f64()
                .filter(|p| (0.0..=1.0).contains(p))
                .with_context(|| required("lora_dropout", "a number from 0 to 1"))?,
        };
        Ok(Self {
            r: rank(get("r")).with_context(|| required("r", RANK))?,
            lora_alpha: alpha(get("lora_alpha")).with_context(|| required("lora_alpha", ALPHA))?,
            lora_dropout,
            base_model_name_or_path: get("base_model_name_or_path").as_str().map(str::to_owned),
            revision: get("revision").as_str().map(str::to_owned),
            use_rslora: boolean("use_rslora")?,
            ranks: ByModule::read("rank_pattern", get("rank_pattern"), RANK, rank)?,
            alphas: ByModule::read("alpha_pattern", get("alpha_pattern"), ALPHA, alpha)?,
            targets: Targets::read(|key| get(key).clone())?,
            written,
        })
    }

    /// Rank and scale of a module's adapter, `alpha / r` or with rank stabilisation (arXiv 2312.03732)
    /// `alpha / sqrt(r)`; nothing if the module is no target.
    ///
    /// # Errors
    /// A pattern that takes too long to match.
    pub(in crate::model) fn shape(&self, path: &str) -> Result<Option<Shape>> {
        let Some(path) = self.targets.find(path)? else { return Ok(None) };
        let rank = self.ranks.get(&path)?.unwrap_or(self.r);
        let alpha = self.alphas.get(&path)?.unwrap_or(self.lora_alpha);
        let divisor = if self.use_rslora { (rank as f64).sqrt() } else { rank as f64 };
        Ok(Some(Shape { rank, scale: alpha / divisor }))
    }

    /// What PEFT needs to find the same modules, ranks and scales again.
    pub(super) fn to_json(&self, lora_dropout: f64, base_model: &str, revision: Option<&str>) -> Map<String, Value> {
        let mut json = self.written.clone();
        // PEFT takes no dropout, which is of training alone, where weights are named instead of modules
        let lora_dropout = if self.targets.has_parameters() { 0.0 } else { lora_dropout };
        let others = json!({
            "peft_type": "LORA", "task_type": "CAUSAL_LM", "lora_dropout": lora_dropout, "bias": "none",
            "init_lora_weights": true, "fan_in_fan_out": false, "inference_mode": true, "use_dora": false,
            "base_model_name_or_path": base_model, "revision": revision,
        });
        json.extend(others.as_object().cloned().unwrap_or_default());
        json
    }

    /// Warns where the adapter was made for another model than `base_model`, a folder or a hub id. That is no error:
    /// folders move.
    pub fn warn_unless_made_for(&self, base_model: &str) {
        if let Some(made_for) = self.made_for_another(base_model) {
            tracing::warn!("the adapter was made for {made_for:?}, this model is {base_model:?}");
        }
    }

    fn made_for_another(&self, base_model: &str) -> Option<&str> {
        let made_for = self.base_model_name_or_path.as_deref().filter(|name| !name.is_empty())?;
        let folder = |name: &str| Path::new(name).canonicalize().ok();
        let same = made_for == base_model || folder(made_for).is_some_and(|f| Some(f) == folder(base_model));
        (!same).then_some(made_for)
    }
}

const RANK: &str = "a whole number, 1 or above";
const ALPHA: &str = "a number above 0";

fn rank(json: &Value) -> Option<usize> {
    json.as_u64().filter(|&r| r > 0)?.try_into().ok()
}

fn alpha(json: &Value) -> Option<f64> {
    json.as_f64().filter(|&a| a > 0.0)
}

#[cfg(test)]
mod tests;
