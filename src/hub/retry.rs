//! Patience with what passes by itself: a request is made again after a while, and the log says so.

use std::time::Duration;

use super::failure::Failure;
use super::place::Patience;

/// Whoever asks to be left alone for longer is not waited for.
const LONGEST: Duration = Duration::from_secs(330);
/// How often a host is tried again that has never answered: most often there is no network.
const UNANSWERED: u32 = 2;

/// The pauses between the tries of one request or transfer.
#[derive(Debug)]
pub(super) struct Backoff {
    patience: Patience,
    failed: u32,
    answered: bool,
}

impl Backoff {
    pub(super) fn new(patience: Patience) -> Self {
        Self { patience, failed: 0, answered: false }
    }

    /// Something went well: the next failure is counted as the first.
    pub(super) fn progress(&mut self) {
        self.failed = 0;
        self.answered = true;
    }

    /// Waits before the next try.
    ///
    /// # Errors
    /// The failure itself, where another try is of no use or there were enough.
    pub(super) fn wait(&mut self, failure: Failure) -> Result<(), Failure> {
        let unanswered = matches!(failure, Failure::Unreachable { .. } | Failure::Silent { .. }) && !self.answered;
        let retries = if unanswered { self.patience.retries.min(UNANSWERED) } else { self.patience.retries };
        let own = self.patience.first_wait.saturating_mul(1 << self.failed.min(6));
        let pause = failure.retry_after().unwrap_or(own).max(self.patience.first_wait.min(own));
        if !failure.may_pass() || self.failed >= retries || pause > LONGEST {
            return Err(failure);
        }
        self.failed += 1;
        let seconds = pause.as_secs_f64().ceil();
        tracing::warn!("{failure}: again in {seconds} s ({} of {retries})", self.failed);
        std::thread::sleep(pause);
        Ok(())
    }
}

/// Does `request` until it succeeds, fails for good, or has failed often enough.
///
/// # Errors
/// The last failure.
pub(super) fn persist<T>(patience: Patience, mut request: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
    let mut backoff = Backoff::new(patience);
    loop {
        match request() {
            Ok(done) => return Ok(done),
            Err(failure) => backoff.wait(failure)?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tries(retries: u32, failure: impl Fn() -> Failure) -> u32 {
        let first_wait = Duration::from_millis(1);
        let mut tries = 0;
        let result: Result<(), _> = persist(Patience { retries, first_wait, ..Patience::default() }, || {
            tries += 1;
            Err(failure())
        });
        assert!(result.is_err());
        tries
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        assert_eq!(tries(4, || Failure::Broken { url: String::new(), reason: String::new() }), 5);
        assert_eq!(tries(4, || Failure::Unreachable { host: String::new(), reason: String::new() }), 3);
        assert_eq!(tries(4, || Failure::Wrong(String::new())), 1);
    }
}
