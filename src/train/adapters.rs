//! The adapters a run starts from: fresh ones, or those of `lora.init_from`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::config::{LoraTable, RunConfig};
use crate::error::Usage;
use crate::hub::is_hub_id;
use crate::model::{ADAPTER_CONFIG, source};
use crate::report::Checkpoint;
use crate::session::Session;

/// Attaches fresh adapters, or those of `lora.init_from`, which bring their own ranks, scales and modules.
///
/// # Errors
/// A rank or alpha in `[lora]` that is not the adapter's; a folder without one.
pub fn attach(config: &RunConfig, lora: &LoraTable, session: &mut Session) -> Result<()> {
    let Some(from) = &lora.init_from else {
        return session.model.attach_lora(lora, config.run().seed);
    };
    let dir = folder(from)?;
    let found = session.model.load_adapter(&dir)?;
    let mut misfits = Vec::new();
    if let Some(r) = lora.r.filter(|r| r.get() != found.r) {
        misfits.push(format!("has rank {}, the configuration says lora.r = {r}", found.r));
    }
    if let Some(alpha) = lora.lora_alpha.map(|a| a.get()).filter(|&a| a != found.lora_alpha) {
        misfits.push(format!("has alpha {}, the configuration says lora.lora_alpha = {alpha}", found.lora_alpha));
    }
    if !misfits.is_empty() {
        let misfits = misfits.join("; it ");
        return Err(Usage(format!(
            "the adapter {} {misfits}: leave these keys out, then they follow the adapter, or make them equal",
            dir.display()
        ))
        .into());
    }
    found.warn_unless_made_for(&config.model().name_or_path);
    session.model.set_dropout(lora.lora_dropout.get());
    session.model.set_tf32(lora.tf32);
    let modules = session.model.trainable().len() / 2;
    tracing::info!("adapters of {modules} modules from {}, with its ranks, scales and modules", dir.display());
    Ok(())
}

/// The adapter folder that is meant: the folder itself, what a run stands for, or the hub's of that id.
fn folder(from: &Path) -> Result<PathBuf> {
    if !from.is_dir() {
        let id = from.to_str().filter(|name| is_hub_id(name.split('@').next().unwrap_or(name)));
        let Some(id) = id else {
            bail!(
                "lora.init_from: {} is neither a folder nor a hub id (owner/name, owner/name@revision)",
                from.display()
            );
        };
        return Ok(source::resolve_adapter(id).context("lora.init_from")?.path);
    }
    match Checkpoint::find(from, None).context("lora.init_from")? {
        Checkpoint::Adapter(dir) => Ok(dir),
        Checkpoint::Model(dir) => {
            bail!("lora.init_from: {} holds no adapter: it has no {ADAPTER_CONFIG}", dir.display())
        }
    }
}
