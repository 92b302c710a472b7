//! The families of models: each reads its own `config.json`, and makes a [`Shape`] of it, names and special ids.
//!
//! A family is known by `architectures` in `config.json`, never by `model_type`, which others may share.

mod a2d;
mod dream;
mod ids;
mod illada;
mod keys;
mod llada;
mod llada2;
mod llada_moe;
mod qwen;
mod sdar;

use std::num::NonZeroUsize;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

use super::gguf::Converted;
use super::names::{Named, Names};
use super::shape::Shape;
use super::sight::{BlockGrid, Sight};
use crate::config::{ModelFacts, PublishedShape};
use crate::error::Usage;
use crate::text::SpecialIds;
use ids::FoundIds;
use keys::{Keys, SizeKeys};

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
    /// How llama.cpp's converter writes it, where it does.
    pub gguf: Option<Converted>,
}

/// One family: its class in `config.json`, and how it reads the rest.
struct Family {
    /// What the one entry of `architectures` may be.
    architectures: &'static [&'static str],
    /// What models of this kind are called.
    name: &'static str,
    names: &'static Names,
    sizes: SizeKeys,
    grid: Grid,
    gguf: Option<Converted>,
    read: fn(&mut Keys<'_>) -> (Shape, FoundIds),
}

/// Which blocks of tokens a family knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grid {
    /// None: every token sees every other.
    None,
    /// Blocks from the answer on, in models that the user knows to be block-causal.
    OfAnswer,
    /// Blocks from the beginning of a row.
    OfRow,
}

static FAMILIES: [&Family; 8] = [
    &llada::FAMILY,
    &dream::FAMILY,
    &a2d::QWEN3,
    &a2d::QWEN2,
    &sdar::FAMILY,
    &illada::FAMILY,
    &llada_moe::FAMILY,
    &llada2::FAMILY,
];

impl Description {
    /// Reads and checks `dir/config.json`; special ids that it lacks come from the tokenizer's files.
    ///
    /// # Errors
    /// Names the file and all keys that are missing, malformed or not supported.
    pub fn read(dir: &Path) -> Result<Self> {
        Self::read_with(dir, &ModelFacts::default())
    }

    /// As [`Description::read`], where the user says what the folder does not.
    ///
    /// # Errors
    /// As [`Description::read`]; keys of the configuration that do not fit the model.
    pub fn read_with(dir: &Path, facts: &ModelFacts) -> Result<Self> {
        let (path, json) = config(dir)?;
        let cannot = || format!("{} describes a model that cannot be loaded", path.display());
        let (family, shape, found) = read(&json).with_context(cannot)?;
        let sight = family.sight(shape.sight, facts.block_size, &path)?;
        let shape = Shape { sight, ..shape };
        let ids = found.completed(dir, facts)?;
        let mut problems = ids::outside(&ids, shape.vocabulary);
        if ids.is_end(ids.mask) {
            problems.push(format!(
                "{} is the id of the mask and one that ends a completion: no completion would end",
                ids.mask
            ));
        }
        if !problems.is_empty() {
            return Err(anyhow::anyhow!(problems.join("\n")).context(cannot()));
        }
        Ok(Self { family: family.name, shape, names: family.names, ids, gguf: family.gguf })
    }

    /// The tensors of a checkpoint, in the order in which they are made.
    pub fn tensors(&self) -> Vec<Named> {
        self.names.tensors(&self.shape)
    }

    /// The same of the folder of a model whose special ids are of no interest; and the name of one more that may be there.
    ///
    /// # Errors
    /// Names the file and all keys that are missing, malformed or not supported.
    pub fn tensors_of(dir: &Path) -> Result<(Vec<Named>, Option<String>)> {
        let (path, json) = config(dir)?;
        let (family, shape, _) =
            read(&json).with_context(|| format!("{} describes a model that cannot be loaded", path.display()))?;
        Ok((family.names.tensors(&shape), family.names.idle(&shape)))
    }
}

/// The file, and what it holds.
fn config(dir: &Path) -> Result<(std::path::PathBuf, Map<String, Value>)> {
    let path = dir.join("config.json");
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}: a model folder needs a config.json", path.display()))?;
    let json = serde_json::from_str(&text).with_context(|| format!("{} is not a JSON object", path.display()))?;
    Ok((path, json))
}

fn read(json: &Map<String, Value>) -> Result<(&'static Family, Shape, FoundIds)> {
    let found = json.get("architectures").unwrap_or(&Value::Null);
    let named = found.as_array().filter(|list| list.len() == 1).and_then(|list| list[0].as_str());
    let family = named.and_then(|name| FAMILIES.into_iter().find(|family| family.architectures.contains(&name)));
    let Some(family) = family else {
        let known: Vec<&str> = FAMILIES.iter().flat_map(|family| family.architectures).copied().collect();
        bail!("architectures is {found}: only one of {} is supported", known.join(", "))
    };
    let mut keys = Keys::new(json);
    let (shape, ids) = (family.read)(&mut keys);
    keys.check(&shape, family.names, family.sizes);
    keys.finished()?;
    Ok((family, shape, ids))
}

impl Family {
    /// What queries see: as `config.json` says and the user.
    fn sight(&self, found: Sight, given: Option<NonZeroUsize>, path: &Path) -> Result<Sight> {
        let blocks = |length: NonZeroUsize, from_answer| Sight::Blocks(BlockGrid { length: length.get(), from_answer });
        match (self.grid, found, given) {
            (Grid::None, _, Some(_)) => {
                let why = format!("in models of {} every token sees every other", self.name);
                Err(Usage(format!("model.block_size: {why}: leave it out")).into())
            }
            (Grid::OfRow, Sight::Blocks(there), Some(given)) if there.length != given.get() => {
                let there = format!("block_size {} of {}", there.length, path.display());
                Err(Usage(format!("model.block_size {given} is not {there}")).into())
            }
            (Grid::OfRow, Sight::Full, None) => {
                let key = "set model.block_size to what the model was trained with";
                Err(Usage(format!("{} has no block_size: {key}", path.display())).into())
            }
            (Grid::OfRow, Sight::Full, Some(given)) => Ok(blocks(given, false)),
            (Grid::OfAnswer, _, Some(given)) => Ok(blocks(given, true)),
            _ => Ok(found),
        }
    }
}

impl From<PublishedShape> for Description {
    fn from(shape: PublishedShape) -> Self {
        let (family, shape, ids) = match shape {
            PublishedShape::Llada8b => llada::llada_8b(),
            PublishedShape::A2d06b => a2d::qwen3_0_6b(),
            PublishedShape::LladaMoe7b => llada_moe::llada_moe_7b(),
            PublishedShape::Llada2Mini => llada2::llada2_mini(),
        };
        Self { family: family.name, shape, names: family.names, ids, gguf: family.gguf }
    }
}

#[cfg(test)]
mod tests;
