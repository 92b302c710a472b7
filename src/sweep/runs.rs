//! The runs one after another, or some at once: what is finished is left alone, what is broken goes on.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::child::{self, Living, Log};
use super::folder::Folder;
use super::plan::Run;
use super::state::State;
use super::tail::{Tail, last_lines};
use crate::error::STOPPED;
use crate::report::{Progress, metrics_file};
use crate::signal::Stop;

/// Time between two looks at the children, and at their metrics.
const LOOK: Duration = Duration::from_millis(50);
const WATCH: Duration = Duration::from_secs(1);
/// Lines that are shown of the log of a run that failed.
const LOG_LINES: usize = 4;

/// What became of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It is finished.
    Finished,
    /// It stopped as it was asked to, and goes on at the next call.
    Stopped,
    /// Another process is at it.
    Elsewhere,
    /// It failed.
    Failed(Failure),
}

/// Why a run failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// In a few words.
    pub text: String,
    /// Its log.
    pub path: PathBuf,
    /// The last lines of it.
    pub log: Vec<String>,
}

impl End {
    /// Why it failed, if it did.
    pub fn failure(&self) -> Option<&Failure> {
        if let Self::Failed(failure) = self { Some(failure) } else { None }
    }
}

/// A run that is over for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its name.
    pub name: String,
    /// What became of it.
    pub end: End,
}

/// Makes the runs, `jobs` at once; none is begun any more after a signal. A run that fails does not keep the others from
/// theirs. Those that were not begun are not among the result.
///
/// # Errors
/// If the system refuses the signal handlers.
pub fn run(chosen: &[&Run], folder: &Folder, jobs: NonZeroUsize) -> Result<Vec<Ended>> {
    let living = Living::default();
    let last = living.clone();
    let stop = Stop::install_with(move || last.kill()).context("cannot take over the signals")?;
    let jobs = jobs.get().min(chosen.len());
    let sweep = Sweep { folder, living, stop, threads: child::share(jobs) };
    let (mut waiting, mut running, mut ended) = (chosen.iter(), Vec::new(), Vec::new());
    let mut asked = false;
    loop {
        while running.len() < jobs
            && !sweep.stop.requested()
            && let Some(run) = waiting.next()
        {
            match sweep.begin(run) {
                Begun::Running(job) => running.push(*job),
                Begun::Over(end) => ended.push(Ended { name: run.name.clone(), end }),
            }
        }
        if running.is_empty() {
            return Ok(ended);
        }
        std::thread::sleep(LOOK);
        if sweep.stop.requested() && !asked {
            asked = true;
            sweep.living.ask();
        }
        running.retain_mut(|job| match sweep.look(job) {
            None => true,
            Some(end) => {
                ended.push(Ended { name: job.run.name.clone(), end });
                false
            }
        });
    }
}

struct Sweep<'a> {
    folder: &'a Folder,
    living: Living,
    stop: Stop,
    threads: Option<NonZeroUsize>,
}

/// What came of beginning a run.
enum Begun<'a> {
    Running(Box<Job<'a>>),
    Over(End),
}

/// A run under way.
struct Job<'a> {
    run: &'a Run,
    child: Child,
    _lock: Log,
    began: Instant,
    watched: Instant,
    progress: Progress,
    metrics: Tail,
    /// What was written before this start is no news.
    first: usize,
    reward: Option<f64>,
}

impl<'a> Sweep<'a> {
    fn begin(&self, run: &'a Run) -> Begun<'a> {
        self.start(run).unwrap_or_else(|error| Begun::Over(self.failed(run, format!("{error:#}"))))
    }

    fn start(&self, run: &'a Run) -> Result<Begun<'a>> {
        let dir = self.folder.root().join(&run.name);
        // without a look at the lock: nobody works on what is finished
        if State::of(&dir, &run.config)? == State::Finished {
            tracing::info!("{}: finished already", run.name);
            return Ok(Begun::Over(End::Finished));
        }
        let Some(log) = Log::take(&self.folder.log(&run.name))? else {
            tracing::warn!("{}: another process is at it", run.name);
            return Ok(Begun::Over(End::Elsewhere));
        };
        let first = match State::of(&dir, &run.config)? {
            State::Finished => return Ok(Begun::Over(End::Finished)),
            State::Begun { step, .. } => Some(step),
            State::New => None,
        };
        let child = self.living.start(run, self.folder, &log, first.is_some(), self.threads)?;
        match first {
            Some(step) => tracing::info!("{}: goes on after update {step}", run.name),
            None => tracing::info!("{}: begins", run.name),
        }
        let (first, now) = (first.unwrap_or(0), Instant::now());
        let progress = Progress::new(&run.name, run.config.train().max_steps.get(), first);
        let metrics = Tail::of(metrics_file(&dir));
        let (began, watched, reward) = (now, now, None);
        Ok(Begun::Running(Box::new(Job { run, child, _lock: log, began, watched, progress, metrics, first, reward })))
    }

    /// What became of a run, if it is over.
    fn look(&self, job: &mut Job<'_>) -> Option<End> {
        let status = match self.living.ended(&mut job.child) {
            Ok(None) => {
                job.watch();
                return None;
            }
            Ok(Some(status)) => status,
            Err(error) => return Some(self.failed(job.run, format!("its process is lost: {error}"))),
        };
        let (name, dir) = (&job.run.name, self.folder.root().join(&job.run.name));
        let seconds = job.began.elapsed().as_secs_f64();
        match State::of(&dir, &job.run.config) {
            Ok(State::Finished) => {
                tracing::info!("{name}: finished, after {seconds:.0} s");
                Some(End::Finished)
            }
            Ok(state) if self.stop.requested() || status.code() == Some(STOPPED.into()) => {
                tracing::info!("{name}: stopped, {state}");
                Some(End::Stopped)
            }
            Ok(_) => Some(self.failed(job.run, child::ending(status))),
            Err(error) => Some(self.failed(job.run, format!("{}; {error:#}", child::ending(status)))),
        }
    }

    fn failed(&self, run: &Run, text: String) -> End {
        tracing::error!("{}: failed: {text}", run.name);
        let path = self.folder.log(&run.name);
        let log = last_lines(&path, LOG_LINES);
        End::Failed(Failure { text, path, log })
    }
}

impl Job<'_> {
    /// Brings the bar up to date, if there is one.
    fn watch(&mut self) {
        if !self.progress.is_drawn() || self.watched.elapsed() < WATCH {
            return;
        }
        self.watched = Instant::now();
        let rows = self.metrics.rows().unwrap_or_default();
        let Some(last) = rows.last() else { return };
        self.reward = rows.iter().rev().find_map(|row| row.number("reward")).or(self.reward);
        let reward = self.reward.map(|reward| format!("reward {reward:.3}")).unwrap_or_default();
        self.progress.update(last.step().max(self.first), &reward);
    }
}
