//! Stopping on request: the first SIGINT or SIGTERM asks, the second one ends the process at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::error::INTERRUPTED;

/// A loop was left because someone asked to stop. Nothing is wrong; what the loop had begun is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stopped by a signal")]
pub struct Interrupted;

/// A request to stop that loops poll between iterations.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Takes over SIGINT and SIGTERM for the rest of the process. Before this call they end it as usual,
    /// which is right while nothing is worth saving.
    ///
    /// # Errors
    /// If the system refuses the handlers or the thread that waits for them.
    pub fn install() -> io::Result<Self> {
        let stop = Self::default();
        let flag = stop.clone();
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            for _ in signals.forever() {
                if flag.0.swap(true, Ordering::SeqCst) {
                    // Not `std::process::exit`, whose exit handlers could wait for a lock the main thread holds.
                    signal_hook::low_level::exit(INTERRUPTED.into());
                }
                tracing::warn!(
                    "finishing the current iteration, then saving a checkpoint; press again to quit at once"
                );
            }
        })?;
        Ok(stop)
    }

    /// Whether someone asked to stop.
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// For loops that leave in the middle.
    ///
    /// # Errors
    /// [`Interrupted`] once someone asked to stop.
    pub fn check(&self) -> Result<(), Interrupted> {
        if self.requested() { Err(Interrupted) } else { Ok(()) }
    }

    /// Asks to stop, as a signal would.
    pub fn request(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn the_first_signal_only_asks() {
        let stop = Stop::install().unwrap();
        assert_eq!(stop.check(), Ok(()));
        signal_hook::low_level::raise(SIGTERM).unwrap();
        let start = Instant::now();
        while !stop.requested() && start.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(stop.check(), Err(Interrupted));
    }
}
