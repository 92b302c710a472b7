//! The card of a checkpoint.

use std::path::Path;

use super::checkpoint::TrainerState;
use super::run_dir::RunDir;
use super::trainer::Trainer;
use crate::model::folder;
use crate::report::{Card, CardKind, Row, Training, metrics_file, read_metrics};

/// The text of the card of a checkpoint with this state, in the run folder `run`.
pub fn text(run: &RunDir, trainer: &Trainer, state: &TrainerState) -> String {
    let session = &trainer.session;
    let config = state.belongs.as_ref().map(|belongs| belongs.config.clone()).unwrap_or_default();
    let rows = rows(run.root());
    Card {
        kind: if trainer.trains_all() { CardKind::Model } else { CardKind::Adapter },
        base: trainer.base_model(),
        commit: session.model_commit.as_deref(),
        licence: folder::licence(&session.model_dir).as_deref(),
        training: Some(Training {
            command: &state.command,
            step: state.global_step,
            config: &config,
            rows: &rows,
            revision: &state.revision,
        }),
    }
    .text()
}

/// The lines of a run's metrics. A card has no figures where they cannot be read: it must not keep a checkpoint from being
/// written.
pub fn rows(run: &Path) -> Vec<Row> {
    let path = metrics_file(run);
    read_metrics(&path).unwrap_or_else(|error| {
        tracing::debug!("no figures for the card: {error}");
        Vec::new()
    })
}
