//! How far a loop is: a bar on a terminal, else a log line now and then.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::meter::{LOG_EVERY, duration};

/// All bars of the process, so that log lines can be written around them.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Whether bars may be drawn; off until the log is set up, so off in tests.
static ALLOWED: AtomicBool = AtomicBool::new(false);

/// Work that ends sooner has no bar: one that comes and goes at once only flickers.
pub(super) const WORTH_A_BAR: Duration = Duration::from_secs(1);

pub(super) fn allow_bars(allowed: bool) {
    ALLOWED.store(allowed, Ordering::Relaxed);
}

/// Whether bars may be drawn.
pub(super) fn are_allowed() -> bool {
    ALLOWED.load(Ordering::Relaxed)
}

/// Runs `f` while no bar is on the screen.
pub(super) fn suspend<R>(f: impl FnOnce() -> R) -> R {
    if are_allowed() { BARS.suspend(f) } else { f() }
}

/// Puts a bar on the screen, if bars may be drawn.
pub(super) fn show(bar: impl FnOnce() -> ProgressBar) -> Option<ProgressBar> {
    are_allowed().then(|| BARS.add(bar()))
}

/// Takes a bar off the screen.
pub(super) fn hide(bar: &ProgressBar) {
    bar.finish_and_clear();
    BARS.remove(bar);
}

/// The progress of one loop.
///
/// The time left is the mean time of a step so far times the steps left: steps of a reinforcement-learning loop
/// come in unequal pairs (with and without a rollout), over which a moving estimate would jump.
#[derive(Debug)]
pub struct Progress {
    label: String,
    kind: Kind,
    bar: Option<ProgressBar>,
    total: usize,
    first: usize,
    done: usize,
    started: Instant,
    logged: Instant,
}

/// What a loop is to its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// What the command does: shown at once, and its end is logged.
    Whole,
    /// A part of that: shown if it takes long.
    Part,
}

impl Progress {
    /// A loop called `label` of `total` steps, `done` of which were done earlier (by a run that is resumed).
    pub fn new(label: &str, total: usize, done: usize) -> Self {
        let now = Instant::now();
        let bar = None;
        let mut progress =
            Self { label: label.into(), kind: Kind::Whole, bar, total, first: done, done, started: now, logged: now };
        progress.draw();
        progress
    }

    /// A loop inside of another one.
    pub fn part(label: &str, total: usize) -> Self {
        let now = Instant::now();
        Self { label: label.into(), kind: Kind::Part, bar: None, total, first: 0, done: 0, started: now, logged: now }
    }

    fn draw(&mut self) {
        self.bar = show(|| {
            // the message gives way on a narrow terminal
            let style = ProgressStyle::with_template("{prefix} {bar:24} {wide_msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = ProgressBar::new(self.total as u64).with_style(style).with_prefix(self.label.clone());
            bar.with_position(self.done as u64).with_message(format!("{}/{}", self.done, self.total))
        });
    }

    /// Whether it is a bar on a terminal.
    pub fn is_drawn(&self) -> bool {
        self.bar.is_some()
    }

    /// `done` steps are done; `message` holds what matters now, such as `reward 0.62`.
    pub fn update(&mut self, done: usize, message: &str) {
        self.update_as(done, &format!("{done}/{}", self.total), message);
    }

    /// As [`Progress::update`], with another text for what is done, where steps are not what a reader counts.
    pub fn update_as(&mut self, done: usize, count: &str, message: &str) {
        self.done = done;
        let left = self.left().map(|d| format!("{} left", duration(d))).unwrap_or_default();
        let text: Vec<&str> = [count, message, &left].into_iter().filter(|part| !part.is_empty()).collect();
        let text = text.join("  ");
        if self.bar.is_none() && self.kind == Kind::Part && self.started.elapsed() >= WORTH_A_BAR {
            self.draw();
        }
        let ended = done == self.total && self.kind == Kind::Whole;
        match &self.bar {
            Some(bar) => {
                bar.set_position(done as u64);
                bar.set_message(text);
            }
            None if self.logged.elapsed() >= LOG_EVERY || ended => {
                self.logged = Instant::now();
                tracing::info!("{} {text}", self.label);
            }
            None => {}
        }
    }

    /// The time left, once a step has been seen.
    pub fn left(&self) -> Option<Duration> {
        let seen = self.done.checked_sub(self.first).filter(|&n| n > 0)?;
        let steps = self.total.checked_sub(self.done).filter(|&n| n > 0)?;
        Some(self.started.elapsed().mul_f64(steps as f64 / seen as f64))
    }
}

/// The bar goes with the loop, also when the loop ends by an error.
impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            hide(bar);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_counts_only_the_steps_of_this_process() {
        let mut progress = Progress::new("train", 100, 90);
        assert_eq!(progress.left(), None);
        progress.started -= Duration::from_secs(10);
        progress.update(95, "reward 0.5");
        assert_eq!(progress.left().map(|d| d.as_secs()), Some(10));
        progress.update(100, "reward 0.5");
        assert_eq!(progress.left(), None);
    }
}
