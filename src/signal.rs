//! Stopping on request: a signal asks, a second Ctrl-C or SIGTERM ends the process at once.
//!
//! | signal | what it does |
//! |---|---|
//! | SIGINT, SIGTERM | asks; after another one of the two it ends the process |
//! | SIGHUP | asks, unless it was ignored when the program started (`nohup`) |
//! | SIGUSR1, SIGUSR2 | ask: job schedulers warn with them |

use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

use crate::error::INTERRUPTED;
use crate::world::{Launch, World};

/// A loop was left because someone asked to stop. Nothing is wrong; what the loop had begun is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stopped by a signal")]
pub struct Interrupted;

/// A request to stop that loops poll between iterations.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    asked: Arc<AtomicBool>,
    world: World,
    #[cfg(test)]
    countdown: Option<Arc<std::sync::atomic::AtomicUsize>>,
}

impl Stop {
    /// Takes the signals over for the rest of the process. Before this call they end it as usual, which is right while
    /// nothing is worth saving.
    ///
    /// # Errors
    /// If the system refuses the handlers or the thread that waits for them.
    pub fn install() -> io::Result<Self> {
        Self::install_with(|| ())
    }

    /// As [`Stop::install`]; `last` is called before a second request ends the process.
    ///
    /// # Errors
    /// As [`Stop::install`].
    pub fn install_with(last: impl Fn() + Send + 'static) -> io::Result<Self> {
        Self::install_saying("stopping and saving what is done", last)
    }

    /// As [`Stop::install_with`], with other words for what is done at the first request.
    ///
    /// # Errors
    /// As [`Stop::install`].
    pub fn install_saying(doing: &'static str, last: impl Fn() + Send + 'static) -> io::Result<Self> {
        let stop = Self::default();
        let asked = stop.asked.clone();
        let mut watched = vec![SIGINT, SIGTERM, SIGUSR1, SIGUSR2];
        if !is_ignored(SIGHUP) {
            watched.push(SIGHUP);
        }
        let mut signals = Signals::new(watched)?;
        // several processes get a signal at once
        let tells = Launch::of_process().is_none_or(|launch| launch.rank == 0);
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            let mut insisted = false;
            for signal in signals.forever() {
                // A terminal that closes sends SIGHUP twice, a scheduler SIGTERM after its warning: only who insists
                // wants the process gone.
                let insists = matches!(signal, SIGINT | SIGTERM);
                if insists && insisted {
                    last();
                    clear_line();
                    // Not `std::process::exit`, whose exit handlers could wait for a lock the main thread holds.
                    signal_hook::low_level::exit(INTERRUPTED.into());
                }
                insisted |= insists;
                if !asked.swap(true, Ordering::SeqCst) && tells {
                    tracing::warn!("{doing}; press Ctrl-C again to quit at once");
                }
            }
        })?;
        Ok(stop)
    }

    /// The same request in a world, where each process may be asked to stop, and then all do.
    pub fn within(self, world: &World) -> Self {
        Self { world: world.clone(), ..self }
    }

    /// Whether someone asked to stop.
    pub fn requested(&self) -> bool {
        self.asked.load(Ordering::SeqCst) || self.world.is_called()
    }

    /// For loops that leave in the middle.
    ///
    /// # Errors
    /// [`Interrupted`] once someone asked to stop.
    pub fn check(&self) -> Result<(), Interrupted> {
        #[cfg(test)]
        self.count_down();
        if self.requested() { Err(Interrupted) } else { Ok(()) }
    }

    /// Asks to stop, as a signal would.
    pub fn request(&self) {
        self.asked.store(true, Ordering::SeqCst);
    }
}

/// Removes the progress bar that the process would leave on the terminal.
fn clear_line() {
    const CLEAR: &[u8] = b"\r\x1b[2K";
    if io::stderr().is_terminal() {
        // SAFETY: a plain write of a buffer that lives on. Not through the standard library, whose lock on standard
        // error the main thread may hold.
        unsafe { libc::write(libc::STDERR_FILENO, CLEAR.as_ptr().cast(), CLEAR.len()) };
    }
}

/// Whether the program was started with this signal ignored.
fn is_ignored(signal: libc::c_int) -> bool {
    // SAFETY: all-zero bytes are a valid `sigaction`: an empty mask, no flags, the default action.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: a null pointer for the new action only asks for the present one, which goes to memory of ours.
    let asked = unsafe { libc::sigaction(signal, std::ptr::null(), &mut action) };
    asked == 0 && action.sa_sigaction == libc::SIG_IGN
}

#[cfg(test)]
impl Stop {
    /// Asks to stop by itself at the check after `n` others.
    pub(crate) fn at_check(n: usize) -> Self {
        Self { countdown: Some(Arc::new(n.into())), ..Self::default() }
    }

    /// How many checks are left of those that [`Stop::at_check`] was given.
    pub(crate) fn checks_left(&self) -> usize {
        self.countdown.as_ref().map_or(0, |left| left.load(Ordering::SeqCst))
    }

    fn count_down(&self) {
        let Some(left) = &self.countdown else { return };
        if left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_err() {
            self.request();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn wait_for(stop: &Stop) {
        let start = Instant::now();
        while !stop.requested() && start.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn the_first_signal_only_asks() {
        let stop = Stop::install().unwrap();
        assert_eq!(stop.check(), Ok(()));
        // a second one of these in this process would end the tests
        signal_hook::low_level::raise(SIGTERM).unwrap();
        wait_for(&stop);
        assert_eq!(stop.check(), Err(Interrupted));
    }

    #[test]
    fn a_closed_terminal_or_the_warning_of_a_scheduler_ended_a_run_at_once() {
        for signal in [SIGHUP, SIGUSR1, SIGUSR2] {
            let stop = Stop::install().unwrap();
            for _ in 0..3 {
                signal_hook::low_level::raise(signal).unwrap();
                wait_for(&stop);
            }
            assert_eq!(stop.check(), Err(Interrupted), "{signal}");
        }
    }
}
