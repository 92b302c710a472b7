//! What several processes can do together, whatever connects them.

use std::fmt::Debug;

use anyhow::Result;
use candle_core::Tensor;

/// A connection of processes. All but [`Collective::call`], [`Collective::is_called`] and [`Collective::abort`] are called
/// by all of them in the same order.
pub trait Collective: Debug + Send + Sync {
    /// This process's number, from 0.
    fn rank(&self) -> usize;

    /// How many there are.
    fn size(&self) -> usize;

    /// Everybody's bytes, by rank.
    ///
    /// # Errors
    /// This and the others: a communication that failed.
    fn gather(&self, mine: &[u8]) -> Result<Vec<Vec<u8>>>;

    /// Adds up everybody's numbers, of which there are equally many; all get the same bits.
    fn sum(&self, values: &mut [f32]) -> Result<()>;

    /// The same for a tensor on an accelerator that the processes can reach; else nothing.
    fn sum_on_device(&self, _values: &Tensor) -> Result<Option<Tensor>> {
        Ok(None)
    }

    /// Rank 0's numbers for all.
    fn broadcast(&self, values: &mut [f32]) -> Result<()>;

    /// Sends numbers to one process, which receives them.
    fn send(&self, to: usize, values: &[f32]) -> Result<()>;

    /// Receives as many numbers from one process.
    fn receive(&self, from: usize, values: &mut [f32]) -> Result<()>;

    /// Waits for all.
    fn barrier(&self) -> Result<()>;

    /// Asks all others to come to their next gathering.
    fn call(&self);

    /// Whether somebody has asked that.
    fn is_called(&self) -> bool;

    /// Ends all processes at once.
    fn abort(&self, code: i32) -> !;
}

/// A process alone.
#[derive(Debug)]
pub struct Solo;

impl Collective for Solo {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn gather(&self, mine: &[u8]) -> Result<Vec<Vec<u8>>> {
        Ok(vec![mine.to_vec()])
    }

    fn sum(&self, _: &mut [f32]) -> Result<()> {
        Ok(())
    }

    fn broadcast(&self, _: &mut [f32]) -> Result<()> {
        Ok(())
    }

    fn send(&self, to: usize, _: &[f32]) -> Result<()> {
        anyhow::bail!("there is no process {to}")
    }

    fn receive(&self, from: usize, _: &mut [f32]) -> Result<()> {
        anyhow::bail!("there is no process {from}")
    }

    fn barrier(&self) -> Result<()> {
        Ok(())
    }

    fn call(&self) {}

    fn is_called(&self) -> bool {
        false
    }

    fn abort(&self, code: i32) -> ! {
        std::process::exit(code)
    }
}
