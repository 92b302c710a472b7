//! The processes that share the work of a command: data parallel, each with a share of the prompts and the whole model.
//!
//! All of them read the same, draw the same and decide the same; what a share of them found out is gathered, so that
//! everybody goes on with the whole. The first (rank 0) writes files and talks.
//!
//! They meet in [`World::gather`]. A process that has to leave says so at its next meeting ([`World::part`]), where the
//! others learn it: so they leave at the same place, and nobody waits for someone who is gone. Between meetings they hear
//! of it through [`World::is_called`], which [`Stop`](crate::signal::Stop) asks.

mod collective;
mod launch;
#[cfg(feature = "mpi")]
mod mpi;
#[cfg(feature = "nccl")]
mod nccl;
mod parting;
#[cfg(test)]
mod threads;
mod tree;

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;

use collective::{Collective, Solo};

pub use launch::{Launch, threads_of_a_process};
pub use parting::{Leave, Parted};
#[cfg(test)]
pub use threads::in_threads;
pub use tree::{Node, Partial, partial_sums};

/// How long the others of a failed process have to come to their next meeting.
const PATIENCE: Duration = Duration::from_secs(8);
/// The exit code of a job that is ended at once, in the middle of whatever it does.
const ABORTED: i32 = 101;

/// The processes of a command; a handle that is cheap to clone.
#[derive(Clone, Debug)]
pub struct World(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    collective: Box<dyn Collective>,
    /// This process's place among those of its machine.
    local_rank: usize,
    /// Processes of this machine.
    local_size: usize,
    /// How the job ended, once it has.
    parted: Mutex<Option<Parted>>,
    times: Mutex<Times>,
}

/// What working together took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Times {
    /// Seconds in meetings: for the most part until the last one comes.
    pub waiting: f64,
    /// Seconds in which numbers were added up and spread, which begins when all are there.
    pub reducing: f64,
}

impl Default for World {
    fn default() -> Self {
        Self::solo()
    }
}

impl World {
    /// One process.
    pub fn solo() -> Self {
        Self::with(Box::new(Solo), 0, 1)
    }

    /// The processes that a launcher (mpirun, srun) has started this one with; one, if there was none.
    ///
    /// # Errors
    /// More than one in a build without MPI, or an MPI that does not start.
    pub fn of_process() -> Result<Self> {
        let Some(launch) = Launch::of_process() else { return Ok(Self::solo()) };
        #[cfg(feature = "mpi")]
        return mpi::open(&launch);
        #[cfg(not(feature = "mpi"))]
        launch.refuse_without_mpi().map(|()| Self::solo())
    }

    fn with(collective: Box<dyn Collective>, local_rank: usize, local_size: usize) -> Self {
        let (parted, times) = Default::default();
        Self(Arc::new(Inner { collective, local_rank, local_size, parted, times }))
    }

    /// This process's number, from 0.
    pub fn rank(&self) -> usize {
        self.0.collective.rank()
    }

    /// How many processes there are.
    pub fn size(&self) -> usize {
        self.0.collective.size()
    }

    /// Whether this process is the one that writes and talks.
    pub fn is_first(&self) -> bool {
        self.rank() == 0
    }

    /// Whether there is no other.
    pub fn is_solo(&self) -> bool {
        self.size() == 1
    }

    /// This process's place among those of its machine: its device.
    pub fn local_rank(&self) -> usize {
        self.0.local_rank
    }

    /// Processes of this machine: so many share its memory.
    pub fn local_size(&self) -> usize {
        self.0.local_size
    }

    /// This process's share of `n` things: contiguous, in the order of ranks, as even as can be.
    pub fn share(&self, n: usize) -> Range<usize> {
        self.share_of(self.rank(), n)
    }

    fn share_of(&self, rank: usize, n: usize) -> Range<usize> {
        share(rank, self.size(), n)
    }

    /// Everybody's `mine`, by rank. All processes have to call it.
    ///
    /// # Errors
    /// [`Interrupted`](crate::signal::Interrupted) or [`PeerFailed`](crate::error::PeerFailed) if one of them leaves.
    pub fn gather<T: Serialize + DeserializeOwned>(&self, mine: T) -> Result<Vec<T>> {
        if self.is_solo() {
            return Ok(vec![mine]);
        }
        let bytes = rmp_serde::to_vec_named(&mine).context("cannot tell the other processes")?;
        let all = self.meet(None, &bytes)?.map_err(|parted| parted.error())?;
        all.iter().map(|bytes| rmp_serde::from_slice(bytes).context("cannot read what a process tells")).collect()
    }

    /// The things of all shares, in their order, from those of this one's.
    ///
    /// # Errors
    /// As [`World::gather`].
    pub fn join<T: Serialize + DeserializeOwned>(&self, mine: Vec<T>) -> Result<Vec<T>> {
        Ok(self.gather(mine)?.into_iter().flatten().collect())
    }

    /// What the first process has; the others give nothing.
    ///
    /// # Errors
    /// As [`World::gather`].
    pub fn from_first<T: Serialize + DeserializeOwned>(&self, value: Option<T>) -> Result<T> {
        let first = self.gather(value)?.into_iter().next().flatten();
        first.context("the first process has nothing to tell")
    }

    /// Adds up the numbers of all processes, place by place; each then has the sum, to the same bits. It must follow a
    /// meeting without anything between that could make one of them leave.
    ///
    /// # Errors
    /// A communication that failed.
    pub fn sum(&self, values: &mut [f32]) -> Result<()> {
        self.timed(|times| &mut times.reducing, || self.0.collective.sum(values))
    }

    /// Adds up the leaves of a fixed tree over `leaves` things, of which each process has the [`partial_sums`] of its
    /// share: whatever the number of processes, the sum has the same bits. `is_there` says which leaves have a value.
    /// Every process gets the sum; none if no leaf has one.
    ///
    /// # Errors
    /// As [`World::sum`], with the same condition.
    pub fn sum_tree(
        &self,
        leaves: usize,
        mine: Vec<Partial<Vec<f32>>>,
        is_there: impl Fn(usize) -> bool,
        len: usize,
    ) -> Result<Option<Vec<f32>>> {
        let shares: Vec<Range<usize>> = (0..self.size()).map(|rank| self.share_of(rank, leaves)).collect();
        let collective = &*self.0.collective;
        self.timed(|times| &mut times.reducing, || tree::sum(collective, leaves, &shares, mine, &is_there, len))
    }

    /// Sends the first process's numbers to all others, under the condition of [`World::sum`].
    ///
    /// # Errors
    /// A communication that failed.
    pub fn broadcast(&self, values: &mut [f32]) -> Result<()> {
        self.timed(|times| &mut times.reducing, || self.0.collective.broadcast(values))
    }

    /// Adds up tensors that lie on an accelerator, there, where the processes can; else nothing.
    ///
    /// # Errors
    /// A communication that failed.
    pub fn sum_on_device(&self, values: &candle_core::Tensor) -> Result<Option<candle_core::Tensor>> {
        self.timed(|times| &mut times.reducing, || self.0.collective.sum_on_device(values))
    }

    /// Leaves at the next meeting, together with all others, and says how the job ends for them all. The others of a
    /// failed process have [`PATIENCE`]; then all are ended at once.
    pub fn part(&self, leave: Leave) -> Parted {
        if let Some(parted) = &*self.parted() {
            return parted.clone();
        }
        if self.is_solo() {
            return Parted::alone(leave);
        }
        self.0.collective.call();
        let watchdog = matches!(leave, Leave::Failed { .. }).then(|| self.watchdog());
        let met = self.meet(Some(&leave), &[]);
        drop(watchdog);
        match met {
            Ok(Err(parted)) => parted,
            Ok(Ok(_)) => Parted::alone(leave),
            Err(error) => {
                tracing::error!("{error:#}");
                self.0.collective.abort(ABORTED)
            }
        }
    }

    /// Whether the job has ended.
    pub fn is_parted(&self) -> bool {
        self.parted().is_some()
    }

    /// Whether someone asks all to come to their next meeting, or has left.
    pub fn is_called(&self) -> bool {
        !self.is_solo() && (self.is_parted() || self.0.collective.is_called())
    }

    /// Waits for all before the process ends, so that none is ended by its launcher for another's exit code; to be called
    /// by all, whether the job has ended well or not.
    pub fn farewell(&self) {
        if let Err(error) = self.0.collective.barrier() {
            tracing::error!("{error:#}");
        }
    }

    /// What working together took since the last [`World::restart_times`].
    pub fn times(&self) -> Times {
        *self.0.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to measure anew.
    pub fn restart_times(&self) {
        *self.0.times.lock().unwrap_or_else(PoisonError::into_inner) = Times::default();
    }

    fn parted(&self) -> MutexGuard<'_, Option<Parted>> {
        self.0.parted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One meeting: what all brought, or how the job ended there.
    fn meet(&self, leave: Option<&Leave>, bytes: &[u8]) -> Result<Result<Vec<Vec<u8>>, Parted>> {
        if self.is_parted() {
            bail!("the processes have parted: there is no other meeting");
        }
        let mine = parting::message(leave, bytes)?;
        let all = self.timed(|times| &mut times.waiting, || self.0.collective.gather(&mine))?;
        let read = parting::read(all)?;
        if let Err(parted) = &read {
            *self.parted() = Some(parted.clone());
        }
        Ok(read)
    }

    fn timed<T>(&self, which: fn(&mut Times) -> &mut f64, run: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let result = run();
        let mut times = self.0.times.lock().unwrap_or_else(PoisonError::into_inner);
        *which(&mut times) += started.elapsed().as_secs_f64();
        result
    }

    /// Ends all processes unless it is dropped in time.
    fn watchdog(&self) -> std::sync::mpsc::Sender<()> {
        let (alive, watched) = std::sync::mpsc::channel::<()>();
        let world = self.clone();
        let bark = move || {
            if watched.recv_timeout(PATIENCE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                tracing::error!(
                    "the other processes did not come within {} seconds: ending all; the last checkpoint is whole",
                    PATIENCE.as_secs()
                );
                world.0.collective.abort(ABORTED);
            }
        };
        // without a thread for it there is no deadline
        let _ = std::thread::Builder::new().name("watchdog".into()).spawn(bark);
        alive
    }
}

/// The share of `rank` of `size` processes in `n` things.
fn share(rank: usize, size: usize, n: usize) -> Range<usize> {
    rank * n / size..(rank + 1) * n / size
}

#[cfg(test)]
mod tests;
