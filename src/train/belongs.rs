//! What a checkpoint belongs to: it is an addition to a model, and the middle of a run, that are not in its folder.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::policy::keeps_base;
use crate::config::{Change, Changes, RunConfig, Split, Trainable};
use crate::error::Usage;
use crate::files::hex;
use crate::model::{ADAPTER_CONFIG, AdapterConfig, files_digest, weights_digest};
use crate::session::Session;

/// The files that decide how text becomes tokens.
const TOKENIZER_FILES: [&str; 8] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "additional_chat_templates/default.jinja",
];

/// Kept in `trainer_state.json`; digests are SHA-256.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Belongs {
    /// Name of the base model, for people: it may move.
    pub base_model: String,
    /// Digest of its `config.json`.
    pub base_config: String,
    /// Digest of its weights; none where all weights are trained, hence stand in the checkpoint, and nothing is compared
    /// with those of the base model.
    pub base_weights: Option<String>,
    /// Digest of tokenizer and chat template.
    pub tokenizer: String,
    /// Digest of the training records in their order.
    pub train_records: String,
    /// Every adapted layer with rank and scale.
    pub adapters: BTreeMap<String, String>,
    /// The resolved configuration.
    pub config: Value,
}

impl Belongs {
    /// What a run with this configuration and session makes checkpoints of.
    ///
    /// # Errors
    /// Names the file that cannot be read.
    pub fn of(config: &RunConfig, session: &Session) -> Result<Self> {
        let started = std::time::Instant::now();
        let dir = &session.model_dir;
        let adapters = session.model.adapters();
        let needs_base = config.train().trainable == Trainable::Adapters || keeps_base(config);
        let base_weights = match needs_base {
            true => Some(weights_digest(dir, session.gguf_file.as_deref())?),
            false => None,
        };
        let belongs = Self {
            base_model: config.model().gguf_file.as_ref().unwrap_or(&config.model().name_or_path).clone(),
            base_config: files_digest(dir, &["config.json"])?,
            base_weights,
            tokenizer: files_digest(dir, &TOKENIZER_FILES)?,
            train_records: records_digest(session)?,
            adapters: adapters.into_iter().map(|(name, r, scale)| (name, adapter((r, scale)))).collect(),
            config: config.to_json().context("the configuration cannot be kept")?,
        };
        tracing::debug!("digests of model and data: {:.1} s", started.elapsed().as_secs_f64());
        Ok(belongs)
    }

    /// What is not as in `then`, the same of a checkpoint.
    ///
    /// # Errors
    /// A path in the configuration that is not UTF-8.
    pub fn changes_since(&self, then: &Self, config: &RunConfig) -> Result<Changes> {
        let mut changes = config.changes_since(&then.config)?;
        // adapters and whole models have nothing in common that the key does not say
        let same_kind = changes.refused.iter().all(|change| change.key != "train.trainable");
        // a reference that only one of the two has is not what the other's weights come from
        let both = then.base_weights.as_ref().zip(self.base_weights.as_ref()).filter(|_| same_kind);
        let weights = both.map_or_else(Default::default, |(old, new)| (old.clone(), new.clone()));
        let of_model = |digest: &str, b: &Self| format!("{} of {}", short(digest), b.base_model);
        let files = [
            ("config.json of the base model", then.base_config.clone(), self.base_config.clone()),
            ("weights of the base model", weights.0, weights.1),
            ("tokenizer of the base model", then.tokenizer.clone(), self.tokenizer.clone()),
        ];
        for (key, old, new) in files {
            differ(&mut changes, key, &old, &new, [of_model(&old, then), of_model(&new, self)]);
        }
        let (old, new) = (&then.train_records, &self.train_records);
        differ(&mut changes, "training records", old, new, [short(old).into(), short(new).into()]);
        let names: std::collections::BTreeSet<&String> = then.adapters.keys().chain(self.adapters.keys()).collect();
        let of = |b: &Self, name: &String| b.adapters.get(name).cloned().unwrap_or_else(|| "none".into());
        let mut unlike = names.into_iter().filter(|&name| same_kind && of(then, name) != of(self, name));
        if let Some(name) = unlike.next() {
            let key = match unlike.count() {
                0 => format!("adapter of {name}"),
                n => format!("adapter of {name} (and of {n} other layers)"),
            };
            let [old, new] = [of(then, name), of(self, name)].map(|text| Some(Value::from(text)));
            changes.refused.push(Change { key, old, new });
        }
        Ok(changes)
    }

    /// As [`Belongs::changes_since`] for a checkpoint of before there was this record: what its folder tells.
    ///
    /// # Errors
    /// Files that cannot be read.
    pub fn changes_since_unrecorded(&self, checkpoint: &Path, seed: u64, config: &RunConfig) -> Result<Changes> {
        let mut changes = match config_beside(checkpoint) {
            Some(then) => config.changes_since(&then)?,
            None => Changes::default(),
        };
        if seed != config.run().seed && changes.refused.iter().all(|c| c.key != "run.seed") {
            let [old, new] = [seed, config.run().seed].map(|seed| Some(Value::from(seed)));
            changes.refused.push(Change { key: "run.seed".into(), old, new });
        }
        let same_kind = changes.refused.iter().all(|change| change.key != "train.trainable");
        if same_kind && !self.adapters.is_empty() {
            let then = AdapterConfig::load(checkpoint)?;
            for (name, now) in &self.adapters {
                let then = then.of_layer(name)?.map_or("none".to_owned(), adapter);
                if then != *now {
                    let key = format!("adapter of {name}");
                    changes.refused.push(Change { key, old: Some(then.into()), new: Some(now.clone().into()) });
                    break;
                }
            }
        }
        tracing::warn!(
            "{} was written before checkpoints noted what they belong to: that the base model, its tokenizer and the \
             training records are still the same cannot be checked",
            checkpoint.display()
        );
        Ok(changes)
    }
}

fn adapter((r, scale): (usize, f64)) -> String {
    format!("r {r}, scale {scale}")
}

/// Refuses a difference that is none of the configuration's.
fn differ(changes: &mut Changes, key: &str, old: &str, new: &str, shown: [String; 2]) {
    if old != new {
        let [old, new] = shown.map(|text| Some(Value::from(text)));
        changes.refused.push(Change { key: key.into(), old, new });
    }
}

/// Refuses what must not change, with both values and the ways on; logs what may, once.
///
/// # Errors
/// [`Usage`]
pub fn judge(changes: &Changes, checkpoint: &Path) -> Result<()> {
    if !changes.refused.is_empty() {
        let line = |c: &Change| format!("\n  {}: {} in the checkpoint, {} now", c.key, c.before(), c.now());
        let lines: String = changes.refused.iter().map(line).collect();
        let key = match checkpoint.join(ADAPTER_CONFIG).is_file() {
            true => "lora.init_from",
            false => "model.name_or_path",
        };
        let start = format!("{key}={:?}", checkpoint.display());
        return Err(Usage(format!(
            "{} does not belong to this run:{lines}\nset them back to go on with it; or start a new run from its \
             weights, without --resume: --output-dir NEW --set '{start}'",
            checkpoint.display()
        ))
        .into());
    }
    if !changes.allowed.is_empty() {
        let all: Vec<String> = changes.allowed.iter().map(Change::to_string).collect();
        tracing::info!("changed since {} was written: {}", checkpoint.display(), all.join(", "));
    }
    Ok(())
}

/// The configuration with which the run was last started, where the checkpoint still lies in its folder.
fn config_beside(checkpoint: &Path) -> Option<Value> {
    let text = std::fs::read_to_string(checkpoint.parent()?.join(crate::config::RESOLVED_FILE)).ok()?;
    let table: toml::Table = text.parse().ok()?;
    serde_json::to_value(table).ok()
}

fn records_digest(session: &Session) -> Result<String> {
    let mut all = Sha256::new();
    for record in session.task.records(Split::Train)? {
        all.update(serde_json::to_vec(record)?);
        all.update(b"\n");
    }
    Ok(hex(&all.finalize()))
}

/// The beginning of a digest tells two of them apart.
fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

#[cfg(test)]
mod tests;
