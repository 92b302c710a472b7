//! `[model]` and `[lora]`.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::count;
use crate::config::types::*;
use crate::config::types_model::*;

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
    /// The id of the mask, where the model's folder does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask_token_id: Option<u32>,
    /// The ids that end a completion, instead of those that the model's folder names; the first one fills canvases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_token_ids: Option<Vec<u32>>,
    /// Tokens of a block, of a block-causal model whose folder does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_size: Option<NonZeroUsize>,
    /// Variables that the chat template is given beside the conversation.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub chat_template_kwargs: BTreeMap<String, serde_json::Value>,
    /// `auto`, `cpu`, `cuda`, `cuda:N` or `metal`.
    #[serde(default)]
    pub device: DeviceSpec,
    /// Start from random weights instead of the folder's (`spg sft` only): the folder then needs
    /// only `config.json` and the tokenizer files.
    #[serde(default)]
    pub random_init: bool,
}

impl ModelTable {
    /// What is said of the model beside its folder.
    pub fn facts(&self) -> ModelFacts {
        ModelFacts {
            mask_token_id: self.mask_token_id,
            end_token_ids: self.end_token_ids.clone(),
            block_size: self.block_size,
        }
    }
}

/// `[lora]`
///
/// With `init_from` the adapter there decides: `r` and `lora_alpha`, where they are written, must be its own, and
/// `target_modules` is not used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoraTable {
    /// Rank.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r: Option<NonZeroUsize>,
    /// The update is scaled by `lora_alpha / r`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora_alpha: Option<Positive>,
    /// Dropout on the adapter's input while training.
    pub lora_dropout: ProperFraction,
    /// Let CUDA round operands of the adapters' f32 products to TF32, beside weights of 16 bits.
    pub tf32: bool,
    /// Preset or list of layer names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_modules: Option<TargetModules>,
    /// A PEFT adapter folder, or a run folder with adapters, to start from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init_from: Option<PathBuf>,
}

impl Default for LoraTable {
    fn default() -> Self {
        Self {
            r: None,
            lora_alpha: None,
            lora_dropout: number!(0.05),
            tf32: true,
            target_modules: None,
            init_from: None,
        }
    }
}

impl LoraTable {
    /// Rank of a fresh adapter.
    pub fn rank(&self) -> NonZeroUsize {
        self.r.unwrap_or(count(128))
    }

    /// Alpha of a fresh adapter.
    pub fn alpha(&self) -> Positive {
        self.lora_alpha.unwrap_or(number!(64.0))
    }

    /// Layers that get a fresh adapter.
    pub fn targets(&self) -> TargetModules {
        self.target_modules.clone().unwrap_or(TargetModules::Preset(TargetPreset::Paper))
    }

    /// The table with everything written out that it decides, and nothing else.
    pub(in crate::config) fn resolved(self) -> Self {
        match self.init_from {
            Some(_) => Self { target_modules: None, ..self },
            None => Self {
                r: Some(self.rank()),
                lora_alpha: Some(self.alpha()),
                target_modules: Some(self.targets()),
                ..self
            },
        }
    }
}
