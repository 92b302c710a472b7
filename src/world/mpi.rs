//! Processes connected by MPI, as mpirun, srun or a Kubeflow MPIJob start them.
//!
//! MPI does not notice a panic: unwinding would end in `MPI_Finalize`, which waits for all the others. So a panic ends
//! the job at once, and a failure is told to the others before anybody leaves.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use mpi::collective::SystemOperation;
use mpi::datatype::PartitionMut;
use mpi::environment::Universe;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives, Destination, Root, Source};
use mpi::{Count, Rank, Threading};

use super::{ABORTED, Collective, Launch, World};

/// Asks to come to the next meeting.
const CALL: mpi::Tag = 1;
/// Numbers from one process to another.
const VALUES: mpi::Tag = 2;
/// Numbers of one call: MPI counts in 32 bits, and the library needs room for as many again.
const CHUNK: usize = 1 << 28;

/// Starts MPI, and makes panics end the whole job.
///
/// # Errors
/// An MPI library that cannot be called by several threads, or was started already.
pub fn open(launch: &Launch) -> Result<World> {
    // calls come one at a time, under a lock; only the one that ends everything comes in between
    let (universe, threading) =
        mpi::initialize_with_threading(Threading::Multiple).context("MPI was started already")?;
    anyhow::ensure!(
        threading >= Threading::Serialized,
        "this MPI library may be called by its first thread only (it offers {threading:?})"
    );
    let communicator = universe.world();
    let (rank, size) = (communicator.rank() as usize, communicator.size() as usize);
    if size == 1 {
        launch.refuse_without_mpi()?;
    } else {
        end_all_on_panic(rank);
    }
    let process = Process {
        rank,
        size,
        called: AtomicBool::new(false),
        mpi: Mutex::new(Mpi { communicator, _universe: universe }),
        #[cfg(feature = "nccl")]
        nccl: super::nccl::Nccl::default(),
    };
    Ok(World::with(Box::new(process), launch.local_rank, launch.local_size))
}

fn end_all_on_panic(rank: usize) {
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        previous(info);
        eprintln!("process {rank} panicked: ending all processes; the last checkpoint is whole");
        abort_all(ABORTED)
    }));
}

fn abort_all(code: i32) -> ! {
    // SAFETY: a plain call, which MPI allows at any time after its start and which does not return.
    unsafe { mpi::ffi::MPI_Abort(mpi::ffi::RSMPI_COMM_WORLD, code) };
    std::process::abort()
}

struct Process {
    rank: usize,
    size: usize,
    called: AtomicBool,
    mpi: Mutex<Mpi>,
    #[cfg(feature = "nccl")]
    nccl: super::nccl::Nccl,
}

/// The connection, which ends when the last who has it goes.
struct Mpi {
    communicator: SimpleCommunicator,
    _universe: Universe,
}

// SAFETY: a handle of the library, which was started so that any thread may use it; calls are made under a lock.
unsafe impl Send for Mpi {}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} of {}", self.rank, self.size)
    }
}

impl Process {
    fn mpi(&self) -> MutexGuard<'_, Mpi> {
        self.mpi.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn count(len: usize) -> Result<Count> {
    Count::try_from(len).context("the processes have more than 2 GiB to tell each other")
}

impl Collective for Process {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn gather(&self, mine: &[u8]) -> Result<Vec<Vec<u8>>> {
        let mpi = self.mpi();
        let mut counts: Vec<Count> = vec![0; self.size];
        mpi.communicator.all_gather_into(&count(mine.len())?, &mut counts[..]);
        let mut displacements = Vec::with_capacity(self.size);
        let mut total = 0usize;
        for &n in &counts {
            displacements.push(count(total)?);
            total += n as usize;
        }
        count(total)?;
        let mut all = vec![0u8; total];
        let mut parts = PartitionMut::new(&mut all[..], &counts[..], &displacements[..]);
        mpi.communicator.all_gather_varcount_into(mine, &mut parts);
        let mut rest = &all[..];
        let part = |&n: &Count| {
            let (part, after) = rest.split_at(n as usize);
            rest = after;
            part.to_vec()
        };
        Ok(counts.iter().map(part).collect())
    }

    fn sum(&self, values: &mut [f32]) -> Result<()> {
        let mpi = self.mpi();
        let mut sums = vec![0f32; values.len().min(CHUNK)];
        for chunk in values.chunks_mut(CHUNK) {
            let sums = &mut sums[..chunk.len()];
            mpi.communicator.all_reduce_into(&*chunk, sums, SystemOperation::sum());
            chunk.copy_from_slice(sums);
        }
        Ok(())
    }

    #[cfg(feature = "nccl")]
    fn sum_on_device(&self, values: &candle_core::Tensor) -> Result<Option<candle_core::Tensor>> {
        self.nccl.sum(self, values)
    }

    fn broadcast(&self, values: &mut [f32]) -> Result<()> {
        let mpi = self.mpi();
        let first = mpi.communicator.process_at_rank(0);
        values.chunks_mut(CHUNK).for_each(|chunk| first.broadcast_into(chunk));
        Ok(())
    }

    fn send(&self, to: usize, values: &[f32]) -> Result<()> {
        let mpi = self.mpi();
        let to = mpi.communicator.process_at_rank(to as Rank);
        values.chunks(CHUNK).for_each(|chunk| to.send_with_tag(chunk, VALUES));
        Ok(())
    }

    fn receive(&self, from: usize, values: &mut [f32]) -> Result<()> {
        let mpi = self.mpi();
        let from = mpi.communicator.process_at_rank(from as Rank);
        for chunk in values.chunks_mut(CHUNK) {
            from.receive_into_with_tag(chunk, VALUES);
        }
        Ok(())
    }

    fn barrier(&self) -> Result<()> {
        self.mpi().communicator.barrier();
        Ok(())
    }

    fn call(&self) {
        let mpi = self.mpi();
        for rank in (0..self.size).filter(|&rank| rank != self.rank) {
            // nothing but its tag: such a message is on its way at once, whether anybody waits for it or not
            mpi.communicator.process_at_rank(rank as Rank).send_with_tag(&[0u8; 0][..], CALL);
        }
    }

    fn is_called(&self) -> bool {
        if self.called.load(Ordering::Relaxed) {
            return true;
        }
        // whoever has the lock is in a meeting, and will know
        let Ok(mpi) = self.mpi.try_lock() else { return false };
        let mut called = false;
        while let Some(status) = mpi.communicator.any_process().immediate_probe_with_tag(CALL) {
            let caller = mpi.communicator.process_at_rank(status.source_rank());
            caller.receive_into_with_tag(&mut [0u8; 0][..], CALL);
            called = true;
        }
        self.called.fetch_or(called, Ordering::Relaxed);
        called
    }

    fn abort(&self, code: i32) -> ! {
        abort_all(code)
    }
}
