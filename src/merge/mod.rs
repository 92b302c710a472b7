//! `spg merge`: adapters put into their base model, for programs that take plain Hugging Face folders.
//!
//! The weight files are read and written a few rows at a time, and the folder is there once it is whole.

mod base;
#[cfg(test)]
mod tests;
mod trained;

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use self::base::Base;
use self::trained::Trained;
use crate::config::MergeRequest;
use crate::error::Usage;
use crate::files::NewFolder;
use crate::model::{AdapterConfig, Merger, SHARD_BYTES, folder};
use crate::report::Checkpoint;
use crate::report::{CARD_FILE, Card, CardKind, Progress};
use crate::signal::Stop;

/// Merges what `request` names.
///
/// # Errors
/// [`Usage`] for a folder that is there already, a checkpoint without adapters, and a base model that is not known or
/// not the one the adapters were trained on; files that do not fit; [`Interrupted`](crate::signal::Interrupted) after a
/// signal. In all of these cases nothing is left behind.
pub fn run(request: &MergeRequest) -> Result<()> {
    let listen = |unfinished: PathBuf| {
        Stop::install_saying("stopping", move || {
            let _ = std::fs::remove_dir_all(&unfinished);
        })
    };
    run_until(request, SHARD_BYTES, listen)
}

/// As [`run`], with another size of files and another way to be stopped; `listen` is given the folder that is to be removed
/// if the process has to end at once.
fn run_until(request: &MergeRequest, shard_bytes: u64, listen: impl FnOnce(PathBuf) -> io::Result<Stop>) -> Result<()> {
    let out = &request.out;
    require_free(out)?;
    let adapter = adapter(request)?;
    let config = AdapterConfig::load(&adapter)?;
    let trained = Trained::read(&adapter)?;
    let base = Base::choose(request.base.as_deref(), &config, &trained)?;
    let merger = Merger::open(&base.dir, &adapter, request.dtype, shard_bytes)?;
    base.check(request.base.is_some(), &config, &trained)?;
    let new = NewFolder::create(out).with_context(|| format!("cannot create {}", out.display()))?;
    let stop = listen(new.path().to_owned()).context("cannot take over the signals")?;
    let write = || -> Result<()> {
        folder::complete_as(&base.dir, new.path(), merger.dtype(), base.repo())?;
        let licence = folder::licence(&base.dir);
        let card = Card {
            kind: CardKind::Merged,
            base: &base.name,
            commit: base.commit.as_deref(),
            licence: licence.as_deref(),
            training: trained.training(),
        };
        std::fs::write(new.path().join(CARD_FILE), card.text()).context("cannot write the card")?;
        write_weights(&merger, new.path(), &stop)
    };
    write().with_context(|| format!("{} was not written", out.display()))?;
    new.finish().with_context(|| format!("{} cannot be put into its place", out.display()))?;
    tracing::info!(
        "{}: {} with the adapters of {} layers from {}, {:.1} MB",
        out.display(),
        base.name,
        merger.adapted(),
        adapter.display(),
        merger.bytes() as f64 / 1e6
    );
    Ok(())
}

fn write_weights(merger: &Merger, dir: &Path, stop: &Stop) -> Result<()> {
    let total = merger.tensors();
    let (mut progress, mut shown) = (Progress::new("merge", total, 0), None);
    merger.write(dir, |done, file| {
        stop.check()?;
        // it hears of every piece of a tensor
        if shown != Some(done) {
            progress.update(done, file);
            shown = Some(done);
        }
        Ok(())
    })
}

/// Whether the folder can be made.
fn require_free(out: &Path) -> Result<(), Usage> {
    if out.symlink_metadata().is_ok() {
        return Err(Usage(format!(
            "{} is there already: remove it, or choose another folder with --out DIR",
            out.display()
        )));
    }
    Ok(())
}

/// The adapter folder that is meant: the folder itself, or a checkpoint of a run.
fn adapter(request: &MergeRequest) -> Result<PathBuf> {
    match Checkpoint::find(&request.checkpoint, request.which)? {
        Checkpoint::Adapter(dir) => Ok(dir),
        Checkpoint::Model(dir) => Err(Usage(format!(
            "{} is a whole model, with no adapters to merge (a run with train.trainable = \"all\" keeps such \
             checkpoints): use the folder as it is",
            dir.display()
        ))
        .into()),
    }
}
