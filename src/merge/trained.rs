//! How the adapters of a folder were trained, as far as it says so.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::config::{RESOLVED_FILE, near_checkpoint};
use crate::files::read_optional;
use crate::report::{Row, STATE_FILE, Training};
use crate::train::{TrainerState, card_rows};

/// What lies with an adapter that a run of this program wrote; of other adapters nothing is known.
pub struct Trained {
    /// The state of the run.
    pub state: Option<TrainerState>,
    /// The resolved configuration: that of the checkpoint, else that of the run folder; null where there is none.
    pub config: Value,
    /// The lines of the run's metrics.
    pub rows: Vec<Row>,
}

impl Trained {
    /// Reads what there is.
    ///
    /// # Errors
    /// Names the file that is damaged.
    pub fn read(adapter: &Path) -> Result<Self> {
        let state = if is_ours(&adapter.join(STATE_FILE))? { Some(TrainerState::load(adapter)?) } else { None };
        let near = near_checkpoint(adapter);
        let config = match (state.as_ref().and_then(|state| state.belongs.as_ref()), &near) {
            (Some(belongs), _) => belongs.config.clone(),
            (None, Some(path)) => read_config(path)?,
            (None, None) => Value::Null,
        };
        let rows = near.as_deref().and_then(Path::parent).map(card_rows).unwrap_or_default();
        Ok(Self { state, config, rows })
    }

    /// A key of `[model]`, if it is a text.
    pub fn model(&self, key: &str) -> Option<&str> {
        self.config["model"][key].as_str()
    }

    /// What a card tells of it.
    pub fn training(&self) -> Option<Training<'_>> {
        let state = self.state.as_ref()?;
        Some(Training {
            command: &state.command,
            step: state.global_step,
            config: &self.config,
            rows: &self.rows,
            revision: &state.revision,
        })
    }

    /// The digest of the weights that the adapters were trained on.
    pub fn base_weights(&self) -> Option<&str> {
        self.state.as_ref()?.belongs.as_ref()?.base_weights.as_deref()
    }
}

/// Whether this program wrote the file, which transformers gives the same name and other keys.
fn is_ours(path: &Path) -> Result<bool> {
    let bytes = read_optional(path).with_context(|| format!("cannot read {}", path.display()))?;
    let Some(bytes) = bytes else { return Ok(false) };
    let state: Value = serde_json::from_slice(&bytes).with_context(|| format!("{} is not JSON", path.display()))?;
    Ok(state.get("log_history").is_none())
}

fn read_config(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let table: toml::Table = text.parse().with_context(|| format!("{RESOLVED_FILE} of the run is damaged"))?;
    Ok(serde_json::to_value(table)?)
}
