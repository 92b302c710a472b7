//! `[model]` and `[lora]`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::count;
use crate::config::types::*;

/// `[model]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelTable {
    /// A folder in Hugging Face layout, or a hub id such as `GSAI-ML/LLaDA-8B-Instruct`.
    pub name_or_path: String,
    /// Revision of a hub model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Working precision.
    #[serde(default)]
    pub dtype: Precision,
    /// Keep the matrices in blocks of this format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantize: Option<BlockFormat>,
    /// Read the weights from this GGUF file instead: in the model's folder or repository, or a path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gguf_file: Option<String>,
    /// `auto`, `cpu`, `cuda`, `cuda:N` or `metal`.
    #[serde(default)]
    pub device: DeviceSpec,
    /// Start from random weights instead of the folder's (`spg sft` only): the folder then needs
    /// only `config.json` and the tokenizer files.
    #[serde(default)]
    pub random_init: bool,
}

/// `[lora]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoraTable {
    /// Rank.
    pub r: NonZeroUsize,
    /// The update is scaled by `lora_alpha / r`.
    pub lora_alpha: Positive,
    /// Dropout on the adapter's input while training.
    pub lora_dropout: ProperFraction,
    /// Preset or list of layer names.
    pub target_modules: TargetModules,
    /// A PEFT adapter folder to start from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init_from: Option<PathBuf>,
}

impl Default for LoraTable {
    fn default() -> Self {
        Self {
            r: count(128),
            lora_alpha: number!(64.0),
            lora_dropout: number!(0.05),
            target_modules: TargetModules::Preset(TargetPreset::Paper),
            init_from: None,
        }
    }
}
