//! The model that adapters are put into: the one that was asked for, or the one they name.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::trained::Trained;
use crate::error::Usage;
use crate::model::source::{self, ModelDir};
use crate::model::{AdapterConfig, weights_digest};

/// A base model.
pub struct Base {
    /// Its folder or hub id.
    pub name: String,
    /// Where its files are.
    pub dir: PathBuf,
    /// The commit on the hub that they are of; none for a folder of the user's.
    pub commit: Option<String>,
}

impl Base {
    /// The model that `asked` names, else the one the adapter was made for, at the commit that it names.
    ///
    /// # Errors
    /// [`Usage`] where nothing names one, and where the adapters were trained on blocks and nothing was asked for; a model
    /// that cannot be had.
    pub fn choose(asked: Option<&str>, adapter: &AdapterConfig, trained: &Trained) -> Result<Self> {
        if asked.is_none() {
            refuse_blocks(trained)?;
        }
        let made_for = adapter.base_model_name_or_path.as_deref().filter(|name| !name.is_empty());
        let made_for = made_for.or_else(|| trained.model("name_or_path"));
        let Some(name) = asked.or(made_for) else {
            return Err(Usage(
                "the adapter does not say which model it is for (base_model_name_or_path in its adapter_config.json): \
                 name its folder or hub id with --base MODEL"
                    .into(),
            )
            .into());
        };
        if Path::new(name).extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gguf")) {
            return Err(Usage(format!(
                "{name} is a GGUF file, whose blocks adapters cannot be put into: name the folder or hub id of the model \
                 it was made from with --base MODEL"
            ))
            .into());
        }
        let revision = adapter.revision.as_deref().or_else(|| trained.model("revision"));
        let revision = revision.filter(|_| Some(name) == made_for);
        let ModelDir { path, commit } = source::resolve(name, revision).with_context(|| match asked {
            Some(_) => format!("cannot find the base model {name:?} of --base"),
            None => {
                format!("cannot find the base model {name:?} that the adapter names: say where it is with --base MODEL")
            }
        })?;
        Ok(Self { name: name.to_owned(), dir: path, commit })
    }

    /// Whether these are the weights that the adapters were trained on; a warning is enough where they were `asked` for.
    ///
    /// # Errors
    /// [`Usage`]; files that cannot be read.
    pub fn check(&self, asked: bool, adapter: &AdapterConfig, trained: &Trained) -> Result<()> {
        adapter.warn_unless_made_for(&self.name);
        if let Err(Usage(reason)) = refuse_blocks(trained) {
            tracing::warn!("{reason}");
            return Ok(());
        }
        let Some(digest) = trained.base_weights() else { return Ok(()) };
        if digest == weights_digest(&self.dir, None)? {
            return Ok(());
        }
        let text = format!("the weights in {} are not those that the adapters were trained on", self.dir.display());
        if !asked {
            return Err(Usage(format!(
                "{text}: put those back, or name the model with --base MODEL to merge into it all \
                                      the same"
            ))
            .into());
        }
        tracing::warn!("{text}");
        Ok(())
    }

    /// Its id on the hub, if it is from there.
    pub fn repo(&self) -> Option<&str> {
        self.commit.is_some().then_some(self.name.as_str())
    }
}

/// Refuses adapters that were trained on weights in blocks.
fn refuse_blocks(trained: &Trained) -> Result<(), Usage> {
    let key = ["quantize", "gguf_file"].into_iter().find_map(|key| Some((key, trained.model(key)?)));
    let Some((key, value)) = key else { return Ok(()) };
    let model = trained.model("name_or_path").unwrap_or("MODEL");
    let example = if key == "quantize" { format!("such as --base {model}, ") } else { String::new() };
    Err(Usage(format!(
        "the adapters were trained on weights in blocks (model.{key} = {value:?}), which cannot be merged into: name the \
         model they were made from with --base MODEL, {example}to merge into its full weights; what is decoded then \
         differs by the rounding of the blocks"
    )))
}
