//! Where a run begins: in a new folder, or from a checkpoint that belongs to it. Nothing is written before all of that
//! is known.

use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::belongs::{Belongs, judge};
use super::best;
use super::checkpoint::{self, OPTIMIZER_FILE, TrainerState};
use super::lock::RunLock;
use super::retention::{Retention, Standing};
use super::run_dir::RunDir;
use super::trainer::Trainer;
use super::whole::Whole;
use crate::config::{CHECKPOINT, Changes, RESOLVED_FILE, Resume, RunConfig, RunRequest};
use crate::error::Usage;
use crate::report::{Recorder, Row, checkpoints, read_metrics};
use crate::world::World;

/// Where a run begins.
pub struct Start {
    /// Updates done.
    pub step: usize,
    /// The step of the checkpoint that it goes on from.
    pub resumed: Option<usize>,
    /// Whether that one is in the output folder.
    pub in_place: bool,
    /// The lines of metrics up to there.
    pub rows: Vec<Row>,
    /// What is not as it was when the checkpoint was written.
    pub changes: Changes,
    /// How its evaluations compared by then.
    standing: Standing,
    folder: Folder,
    /// Of the folder that is gone on with, from before anything of it is read.
    lock: Option<RunLock>,
}

/// What the first process tells the others of where it begins.
#[derive(Serialize, Deserialize)]
struct Told {
    step: usize,
    resumed: Option<usize>,
    in_place: bool,
    rows: Vec<Row>,
}

/// What the output folder is now.
enum Folder {
    /// Free.
    New,
    /// That of a run that never came to a checkpoint.
    Again,
    /// That of the run.
    Own,
    /// Another process writes to it.
    Anothers,
}

/// Refuses what can be refused before a model is loaded: an output folder that is in use, a checkpoint that is not there.
/// [`Start::find`] looks again.
///
/// # Errors
/// [`Usage`]
pub fn look_ahead(request: &RunRequest) -> Result<()> {
    let root = &request.config.run().output_dir;
    if let Some(Resume::From(path)) = &request.resume {
        if !path.is_dir() {
            return Err(Usage(format!("--resume: there is no checkpoint folder {}", path.display())).into());
        }
        if path.join(RESOLVED_FILE).is_file() && !checkpoints(path).is_empty() {
            let shown = path.display();
            return Err(Usage(format!(
                "--resume {shown} is a run, not a checkpoint: name one of its checkpoint folders, or go on with it by --resume \
                 --output-dir {shown}"
            ))
            .into());
        }
    }
    match &request.resume {
        Some(Resume::From(path)) if !inside(path, root) => Ok(RunDir::require_free(root)?),
        Some(_) => RunDir::require_run(root, &request.config),
        None => Ok(RunDir::require_free(root)?),
    }
}

impl Start {
    /// Finds the beginning of `request` and brings the trainer there. The first process decides and reads, and tells the
    /// others, who need not see the folder.
    ///
    /// # Errors
    /// [`Usage`] for an output folder that cannot be used so and for a checkpoint that does not belong to the run; a
    /// checkpoint that cannot be read.
    pub fn find(request: &RunRequest, trainer: &mut Trainer, belongs: &Belongs) -> Result<Self> {
        let world = trainer.session.world.clone();
        let found = match world.is_first() {
            true => Some(Self::of_folder(request, trainer, belongs)?),
            false => None,
        };
        let told = found.as_ref().map(|start| Told {
            step: start.step,
            resumed: start.resumed,
            in_place: start.in_place,
            rows: start.rows.clone(),
        });
        let Told { step, resumed, in_place, rows } = world.from_first(told)?;
        if resumed.is_some() {
            trainer.follow_first(step)?;
        }
        let (changes, standing) = Default::default();
        let following =
            || Self { step, resumed, in_place, rows, changes, standing, folder: Folder::Anothers, lock: None };
        Ok(found.unwrap_or_else(following))
    }

    fn of_folder(request: &RunRequest, trainer: &mut Trainer, belongs: &Belongs) -> Result<Self> {
        let root = &request.config.run().output_dir;
        let from_zero = |folder| Self {
            step: 0,
            resumed: None,
            in_place: false,
            rows: Vec::new(),
            changes: Changes::default(),
            standing: Standing::default(),
            folder,
            lock: None,
        };
        match &request.resume {
            None => {
                RunDir::require_free(root)?;
                Ok(from_zero(Folder::New))
            }
            Some(Resume::From(path)) if !inside(path, root) => {
                RunDir::require_free(root)?;
                checkpoint::check(path).map_err(|error| Whole::beside(path, error))?;
                let (state, changes) = restore(path, request, trainer, belongs)?;
                let step = state.global_step;
                Ok(Self { step, resumed: Some(step), changes, ..from_zero(Folder::New) })
            }
            Some(resume) => {
                let (run, lock) = RunDir::take(root, &request.config)?;
                let lock = Some(lock);
                let named = if let Resume::From(path) = resume { Some(path.as_path()) } else { None };
                let Some(last) = Whole::newest(&run)?.take(&run, named)? else {
                    tracing::warn!("{} has no checkpoint yet: starting again from step 0", root.display());
                    return Ok(Self { lock, ..from_zero(Folder::Again) });
                };
                let (state, changes) = restore(&last, request, trainer, belongs)?;
                let (step, standing) = (state.global_step, state.standing);
                let mut rows = if run.metrics().exists() { read_metrics(&run.metrics())? } else { Vec::new() };
                rows.retain(|row| row.step() <= step);
                Ok(Self {
                    step,
                    resumed: Some(step),
                    in_place: true,
                    rows,
                    changes,
                    standing,
                    folder: Folder::Own,
                    lock,
                })
            }
        }
    }

    /// Whether the held-out evaluation of this step is among the lines.
    pub fn is_evaluated(&self) -> bool {
        self.rows.iter().any(|row| row.step() == self.step && row.is_evaluation())
    }

    /// The evaluations before this step, compared, by the first process for all.
    ///
    /// # Errors
    /// If another process leaves.
    pub fn retention(&self, config: &RunConfig, world: &World) -> Result<Retention> {
        let own = world.is_first().then(|| self.judged(config));
        let noted = world.from_first(own.as_ref().map(Retention::standing))?;
        Ok(own.unwrap_or_else(|| Retention::following(config, &noted)))
    }

    /// Those in the lines; without any, as the checkpoint has noted it.
    fn judged(&self, config: &RunConfig) -> Retention {
        let saved: Vec<usize> = match self.in_place {
            true => checkpoints(&config.run().output_dir).into_iter().map(|(step, _)| step).collect(),
            false => Vec::new(),
        };
        let mut retention = Retention::of(config, &self.rows, &saved);
        let Some(metric) = retention.metric().filter(|_| self.step > 0 && retention.is_fresh()).map(str::to_owned)
        else {
            return retention;
        };
        let other = ["train.metric_for_best_model", "train.greater_is_better"];
        let same = self.changes.allowed.iter().all(|change| !other.contains(&change.key.as_str()));
        if self.in_place && same && retention.adopt(&self.standing, &saved) {
            tracing::warn!("no evaluation is left in the metrics: what the checkpoint notes of {metric} counts");
        } else {
            let place = if self.in_place { "in the metrics" } else { "in this new folder" };
            tracing::info!("there is no {metric} {place} yet: the best is looked for from step {} on", self.step);
        }
        retention
    }

    /// Brings other formats to the lines of a run that has nothing else left to do: they may be asked for only now, and a
    /// run that was killed may owe them its last lines. It may also not have come to keep what is best, and to delete what
    /// is not kept.
    ///
    /// # Errors
    /// Names the file that cannot be written.
    pub fn complete(&self, config: &RunConfig, retention: &Retention) -> Result<()> {
        if !self.in_place || matches!(self.folder, Folder::Anothers) {
            return Ok(());
        }
        if !config.train().report_to.is_empty() {
            Recorder::resume(config, self.step, &self.rows)?.sync()?;
        }
        let run = RunDir::open(&config.run().output_dir)?;
        checkpoint::note(&run.checkpoint(self.step), retention.standing())?;
        best::keep(&run, retention)?;
        checkpoint::prune(&run, &retention.obsolete(&run.saved()))
    }

    /// Makes or opens the folder, says in it what the run is (`model_commit` is the base model's on the hub), and cuts the
    /// records where it begins. The folder is locked as long as the [`RunLock`] is there.
    ///
    /// # Errors
    /// Names the file that cannot be written.
    pub fn open(
        &mut self,
        request: &RunRequest,
        model_commit: Option<&str>,
    ) -> Result<(RunDir, Option<RunLock>, Recorder)> {
        let root = &request.config.run().output_dir;
        if let Folder::Anothers = self.folder {
            return Ok((RunDir::of_another(root), None, Recorder::mute()));
        }
        let (run, lock) = match self.lock.take() {
            None => RunDir::create(root)?,
            Some(lock) => (RunDir::open(root)?, lock),
        };
        if let Folder::Again = self.folder {
            Recorder::discard(root);
        }
        run.describe(&request.config, model_commit, self.resumed, &self.changes)?;
        let recorder = match self.folder {
            Folder::Own => Recorder::resume(&request.config, self.step, &self.rows)?,
            Folder::New | Folder::Again | Folder::Anothers => Recorder::create(&request.config)?,
        };
        Ok((run, Some(lock), recorder))
    }
}

fn restore(
    dir: &Path,
    request: &RunRequest,
    trainer: &mut Trainer,
    belongs: &Belongs,
) -> Result<(TrainerState, Changes)> {
    let config = &request.config;
    let state = TrainerState::load(dir)?;
    state.check_command(dir, config)?;
    let changes = match &state.belongs {
        Some(then) => belongs.changes_since(then, config)?,
        None => belongs.changes_since_unrecorded(dir, state.seed, config)?,
    };
    judge(&changes, dir)?;
    state.check_step(dir, config)?;
    if !dir.join(OPTIMIZER_FILE).is_file() {
        return Err(Usage(format!(
            "{shown} holds the weights of step {step} alone, without {OPTIMIZER_FILE}: go on from {CHECKPOINT}{step} of its \
             run",
            shown = dir.display(),
            step = state.global_step
        ))
        .into());
    }
    checkpoint::restore(dir, trainer, &state)?;
    tracing::info!("going on from {} (step {})", dir.display(), state.global_step);
    Ok((state, changes))
}

fn inside(path: &Path, root: &Path) -> bool {
    path.parent().is_some_and(|parent| same_folder(parent, root))
}

pub(super) fn same_folder(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => a == b,
    }
}
