//! How far a loop is: a bar on a terminal, else a log line now and then.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// All bars of the process, so that log lines can be written around them.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Whether bars may be drawn; off until the log is set up, so off in tests.
static ALLOWED: AtomicBool = AtomicBool::new(false);

/// Time between two log lines where no bar is drawn.
const LOG_EVERY: Duration = Duration::from_secs(15);

pub(super) fn allow_bars(allowed: bool) {
    ALLOWED.store(allowed, Ordering::Relaxed);
}

/// Runs `f` while no bar is on the screen.
pub(super) fn suspend<R>(f: impl FnOnce() -> R) -> R {
    if ALLOWED.load(Ordering::Relaxed) { BARS.suspend(f) } else { f() }
}

/// Puts a bar on the screen, if bars may be drawn.
pub(super) fn show(bar: impl FnOnce() -> ProgressBar) -> Option<ProgressBar> {
    ALLOWED.load(Ordering::Relaxed).then(|| BARS.add(bar()))
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
    bar: Option<ProgressBar>,
    total: usize,
    first: usize,
    done: usize,
    started: Instant,
    logged: Instant,
}

impl Progress {
    /// A loop called `label` of `total` steps, `done` of which were done earlier (by a run that is resumed).
    pub fn new(label: &str, total: usize, done: usize) -> Self {
        let bar = show(|| {
            let style = ProgressStyle::with_template("{prefix} {bar:24} {pos}/{len}  {wide_msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(total as u64).with_style(style).with_prefix(label.to_owned()).with_position(done as u64)
        });
        let now = Instant::now();
        Self { label: label.into(), bar, total, first: done, done, started: now, logged: now }
    }

    /// Whether it is a bar on a terminal.
    pub fn is_drawn(&self) -> bool {
        self.bar.is_some()
    }

    /// `done` steps are done; `message` holds what matters now, such as `reward 0.62`.
    pub fn update(&mut self, done: usize, message: &str) {
        self.done = done;
        let left = self.left().map(|d| format!("  {} left", duration(d))).unwrap_or_default();
        match &self.bar {
            Some(bar) => {
                bar.set_position(done as u64);
                bar.set_message(format!("{message}{left}"));
            }
            None if self.logged.elapsed() >= LOG_EVERY || done == self.total => {
                self.logged = Instant::now();
                let line = format!("{} {done}/{}  {message}{left}", self.label, self.total);
                tracing::info!("{}", line.trim_end());
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

/// `42s`, `3m07s`, `2h05m`.
fn duration(d: Duration) -> String {
    let s = d.as_secs_f64().round() as u64;
    match s {
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m{:02}s", s / 60, s % 60),
        _ => format!("{}h{:02}m", s / 3600, s % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        let text = |s| duration(Duration::from_secs(s));
        assert_eq!([text(42), text(187), text(7_500)], ["42s", "3m07s", "2h05m"]);
    }

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
