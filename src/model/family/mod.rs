//! The families of models: each reads its own `config.json`, and makes a [`Shape`] of it, names and special ids.
//!
//! A family is known by `architectures` in `config.json`, never by `model_type`, which others may share.

mod keys;
mod llada;

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

use super::names::{Named, Names};
use super::shape::Shape;
use crate::config::PublishedShape;
use crate::text::SpecialIds;
use keys::Keys;

/// All that a decoder is built from, but for its weights.
#[derive(Clone, Debug)]
pub struct Description {
    /// What models of this kind are called.
    pub family: &'static str,
    /// Sizes.
    pub shape: Shape,
    /// The names of its tensors.
    pub names: &'static Names,
    /// Its special ids.
    pub ids: SpecialIds,
}

/// One family: its class in `config.json`, and how it reads the rest.
struct Family {
    architecture: &'static str,
    read: fn(&mut Keys<'_>) -> Description,
}

const FAMILIES: [Family; 1] = [llada::FAMILY];

impl Description {
    /// Reads and checks `dir/config.json`.
    ///
    /// # Errors
    /// Names the file and all keys that are missing, malformed or not supported.
    pub fn read(dir: &Path) -> Result<Self> {
        let path = dir.join("config.json");
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}: a model folder needs a config.json", path.display()))?;
        let json: Map<String, Value> =
            serde_json::from_str(&text).with_context(|| format!("{} is not a JSON object", path.display()))?;
        Self::from_json(&json).with_context(|| format!("{} describes a model that cannot be loaded", path.display()))
    }

    fn from_json(json: &Map<String, Value>) -> Result<Self> {
        let found = json.get("architectures").unwrap_or(&Value::Null);
        let named = found.as_array().filter(|list| list.len() == 1).and_then(|list| list[0].as_str());
        let family = named.and_then(|name| FAMILIES.iter().find(|family| family.architecture == name));
        let Some(family) = family else {
            let known: Vec<String> = FAMILIES.iter().map(|family| format!("[{:?}]", family.architecture)).collect();
            bail!("architectures is {found}: only {} is supported", known.join(", "))
        };
        let mut keys = Keys::new(json);
        let description = (family.read)(&mut keys);
        keys.finished(description)
    }

    /// The tensors of a checkpoint, in the order in which they are made.
    pub fn tensors(&self) -> Vec<Named> {
        self.names.tensors(&self.shape)
    }
}

impl From<PublishedShape> for Description {
    fn from(shape: PublishedShape) -> Self {
        match shape {
            PublishedShape::Llada8b => llada::llada_8b(),
        }
    }
}

#[cfg(test)]
mod tests;
