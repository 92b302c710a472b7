//! One run as a child process: this very program with `train`.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::num::NonZeroUsize;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};

use super::folder::Folder;
use super::plan::Run;

/// The variable that says how many threads the kernels use.
const THREADS: &str = "RAYON_NUM_THREADS";

/// The log of a run, which is also its lock: the child has it too, so that it is held for as long as either lives.
#[derive(Debug)]
pub struct Log(File);

impl Log {
    /// Takes it; none if another process has it.
    ///
    /// # Errors
    /// A file that cannot be made.
    pub fn take(path: &Path) -> Result<Option<Self>> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.with_context(|| format!("cannot write {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => {
                tracing::debug!("{} cannot be locked ({error}): going on without", path.display());
                Ok(Some(Self(file)))
            }
        }
    }
}

/// The children that live, shared with whoever has to end them at once.
#[derive(Clone, Debug, Default)]
pub struct Living(Arc<Mutex<BTreeSet<u32>>>);

impl Living {
    /// Starts a run, or goes on with it, on so many threads (by default as many as there are cores).
    ///
    /// The child is in a process group of its own: Ctrl-C on a terminal reaches the sweep alone, which passes it on.
    ///
    /// # Errors
    /// If the system starts no process.
    pub fn start(
        &self,
        run: &Run,
        folder: &Folder,
        log: &Log,
        resume: bool,
        threads: Option<NonZeroUsize>,
    ) -> Result<Child> {
        let program = std::env::current_exe().context("this program does not find itself")?;
        let mut command = Command::new(program);
        command.arg("train").arg("--config").arg(folder.base());
        command.arg("--output-dir").arg(folder.root().join(&run.name)).arg("--seed").arg(run.seed.to_string());
        for assignment in &run.set {
            command.arg("--set").arg(assignment.to_string());
        }
        if resume {
            command.arg("--resume");
        }
        if let Some(threads) = threads {
            command.env(THREADS, threads.to_string());
        }
        let output = || log.0.try_clone().map(Stdio::from).context("the log cannot be shared");
        command.stdin(Stdio::null()).stdout(output()?).stderr(output()?).process_group(0);
        let mut living = self.all();
        let child = command.spawn().context("no process can be started")?;
        living.insert(child.id());
        Ok(child)
    }

    /// How a child ended, if it has.
    ///
    /// # Errors
    /// The system's.
    pub fn ended(&self, child: &mut Child) -> std::io::Result<Option<ExitStatus>> {
        // under the lock: once it is waited for, its number can be another process's
        let mut living = self.all();
        let status = child.try_wait();
        if !matches!(status, Ok(None)) {
            living.remove(&child.id());
        }
        status
    }

    /// Asks all children to stop. Not by SIGTERM, which they may get from a job scheduler too: a second one would end
    /// them before they have saved.
    pub fn ask(&self) {
        self.signal(libc::SIGUSR1);
    }

    /// Ends all children at once.
    pub fn kill(&self) {
        self.signal(libc::SIGKILL);
    }

    fn signal(&self, signal: libc::c_int) {
        for &id in self.all().iter() {
            if let Ok(id) = libc::pid_t::try_from(id) {
                // SAFETY: a plain call; the child has not been waited for, so the number is its own.
                unsafe { libc::kill(id, signal) };
            }
        }
    }

    fn all(&self) -> MutexGuard<'_, BTreeSet<u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The threads of each of `jobs` processes that share the cores, unless the user has said it.
pub fn share(jobs: usize) -> Option<NonZeroUsize> {
    if jobs < 2 || std::env::var_os(THREADS).is_some() {
        return None;
    }
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    NonZeroUsize::new((cores / jobs).max(1))
}

/// How a child ended, in words.
pub fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => status.to_string(),
    }
}
