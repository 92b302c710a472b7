//! The border to engines and parsers of other people, which files of unknown origin can make panic, recurse without end
//! or never return.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

use crate::runtime::held_bytes;

/// What is left of a panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it holds what its reader does not expect")]
pub struct Panicked;

/// Runs what may panic, without a word on standard error if it does. What it was changing must not be used afterwards.
///
/// # Errors
/// If it panics.
pub fn guarded<T>(run: impl FnOnce() -> T) -> Result<T, Panicked> {
    thread_local! {
        static QUIET: Cell<bool> = const { Cell::new(false) };
    }
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                previous(info);
            }
        }));
    });
    let outer = QUIET.replace(true);
    let result = catch_unwind(AssertUnwindSafe(run));
    QUIET.set(outer);
    result.map_err(|_| Panicked)
}

/// Bytes of the stack of [`bounded`]; only what is touched becomes memory.
pub const DEEP_STACK: usize = 512 << 20;

/// How long [`bounded`] waits.
const LONGEST: Duration = Duration::from_secs(10);
/// How much more this process may hold in the meantime.
const MOST_BYTES: usize = 512 << 20;
/// What takes less time is not looked at.
const FIRST_LOOK: Duration = Duration::from_millis(100);
/// The time between two looks.
const LOOKS: Duration = Duration::from_millis(5);

/// Why [`bounded`] has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfinished {
    /// The work panicked.
    #[error("{Panicked}")]
    Panicked,
    /// It took too long.
    #[error("it does not end within {} seconds", LONGEST.as_secs())]
    TooLong,
    /// It took too much memory.
    #[error("it takes more than {} MiB of memory", MOST_BYTES >> 20)]
    TooLarge,
    /// There is no thread for it.
    #[error("there is no memory for a stack of {} MiB", DEEP_STACK >> 20)]
    NoThread,
}

type Job = Box<dyn FnOnce() + Send>;

/// The thread with the deep stack; one serves all, as its jobs take microseconds.
static WORKER: Mutex<Option<Sender<Job>>> = Mutex::new(None);

/// Runs what recurses as deep as its input says, on a thread with a deep stack, and waits for it as long as its time and
/// its memory are within bounds. What is beyond them cannot be ended: it goes on until this process ends, which it
/// should do soon.
///
/// # Errors
/// If it panics, takes too long or too much, or there is no room for the stack.
pub fn bounded<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> Result<T, Unfinished> {
    let mut worker = WORKER.lock().unwrap_or_else(PoisonError::into_inner);
    let jobs = match worker.take() {
        Some(jobs) => jobs,
        None => start().map_err(|_| Unfinished::NoThread)?,
    };
    let (result, finished) = channel();
    let job = move || drop(result.send(guarded(run)));
    jobs.send(Box::new(job)).map_err(|_| Unfinished::Panicked)?;
    let outcome = wait(&finished)?;
    *worker = Some(jobs);
    outcome.map_err(|Panicked| Unfinished::Panicked)
}

fn start() -> std::io::Result<Sender<Job>> {
    let (sender, jobs) = channel::<Job>();
    std::thread::Builder::new().name("foreign".into()).stack_size(DEEP_STACK).spawn(move || {
        for job in jobs {
            job();
        }
    })?;
    Ok(sender)
}

fn wait<T>(finished: &Receiver<T>) -> Result<T, Unfinished> {
    let start = Instant::now();
    let mut pause = FIRST_LOOK;
    // read when work takes long, as most takes less time than reading it
    let mut held = None;
    loop {
        match finished.recv_timeout(pause) {
            Ok(result) => return Ok(result),
            Err(RecvTimeoutError::Disconnected) => return Err(Unfinished::Panicked),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if start.elapsed() > LONGEST {
            return Err(Unfinished::TooLong);
        }
        let now = held_bytes().unwrap_or(0);
        if now > *held.get_or_insert(now) + MOST_BYTES {
            return Err(Unfinished::TooLarge);
        }
        pause = LOOKS;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_and_later_work_goes_on() {
        assert_eq!(guarded(|| -> u8 { panic!("not shown") }), Err(Panicked));
        assert_eq!(guarded(|| guarded(|| -> u8 { panic!("not shown") })), Ok(Err(Panicked)));
        assert_eq!(bounded(|| -> u8 { panic!("not shown") }), Err(Unfinished::Panicked));
        assert_eq!(bounded(|| 7), Ok(7));
    }

    #[test]
    fn depth_that_a_thread_has_no_stack_for_has_room() {
        /// Frames of more than 256 bytes.
        fn depth(left: usize) -> usize {
            let frame = std::hint::black_box([left; 32]);
            if left == 0 { 0 } else { 1 + depth(left - 1).max(frame[31] - left) }
        }
        assert_eq!(bounded(|| depth(400_000)), Ok(400_000));
    }

    #[test]
    fn what_never_returned_is_left_behind() {
        // a wait of its own, as the time is that of all others
        let (_kept, never) = channel::<u8>();
        let start = Instant::now();
        assert_eq!(wait(&never), Err(Unfinished::TooLong));
        assert!(start.elapsed() >= LONGEST);
    }
}
