//! How much of a program's standard error is logged: a program may print without end, a log must not grow without end.

use std::fmt;
use std::time::{Duration, Instant};

/// Lines are counted over windows of this length.
const WINDOW: Duration = Duration::from_secs(10);
/// Lines logged in a window.
const LINES: usize = 200;
/// Bytes logged in a window.
const BYTES: usize = 64 << 10;
/// Bytes logged in a run.
const TOTAL: usize = 16 << 20;

/// What was left out of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LeftOut {
    lines: usize,
    bytes: usize,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lines, bytes } = self;
        write!(
            f,
            "... {lines} more lines ({bytes} bytes) are left out; the log takes {LINES} lines and {} KiB in {} s, \
             {} MiB in a run",
            BYTES >> 10,
            WINDOW.as_secs(),
            TOTAL >> 20
        )
    }
}

/// What may still be logged.
#[derive(Debug, Default)]
pub(super) struct Quota {
    window: Option<Instant>,
    lines: usize,
    bytes: usize,
    total: usize,
    left_out: LeftOut,
}

impl Quota {
    /// Whether a line of so many bytes is logged, and what was left out in the window before, if this one opens another.
    pub fn admit(&mut self, bytes: usize, now: Instant) -> (bool, Option<LeftOut>) {
        let mut before = None;
        if self.window.is_none_or(|start| now.duration_since(start) >= WINDOW) {
            before = self.left_out();
            (self.window, self.lines, self.bytes) = (Some(now), 0, 0);
        }
        let fits = self.lines < LINES && self.bytes + bytes <= BYTES && self.total + bytes <= TOTAL;
        if fits {
            self.lines += 1;
            self.bytes += bytes;
            self.total += bytes;
        } else {
            self.left_out.lines += 1;
            self.left_out.bytes += bytes;
        }
        (fits, before)
    }

    /// What was left out since the last time it was asked for.
    pub fn left_out(&mut self) -> Option<LeftOut> {
        Some(std::mem::take(&mut self.left_out)).filter(|left_out| left_out.lines > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines admitted, and what is said to be left out, of `lines` lines of `bytes` bytes at `now`.
    fn flood(quota: &mut Quota, lines: usize, bytes: usize, now: Instant) -> (usize, Vec<LeftOut>) {
        let (admitted, reports): (Vec<bool>, Vec<_>) = (0..lines).map(|_| quota.admit(bytes, now)).unzip();
        (admitted.into_iter().filter(|&admitted| admitted).count(), reports.into_iter().flatten().collect())
    }

    #[test]
    fn a_flood_is_cut_and_counted_window_by_window() {
        let (mut quota, start) = (Quota::default(), Instant::now());
        assert_eq!(flood(&mut quota, 1000, 10, start), (LINES, vec![]));
        assert_eq!(flood(&mut quota, 10, 10, start + WINDOW / 2), (0, vec![]));
        let left_out = LeftOut { lines: 1010 - LINES, bytes: 10 * (1010 - LINES) };
        assert_eq!(flood(&mut quota, 10, 10, start + WINDOW), (10, vec![left_out]));
        assert_eq!(quota.left_out(), None);
        assert!(left_out.to_string().starts_with("... 810 more lines (8100 bytes) are left out"));
    }

    #[test]
    fn bytes_count_as_lines_do_and_a_run_has_an_end() {
        let (mut quota, start) = (Quota::default(), Instant::now());
        assert_eq!(flood(&mut quota, 100, 1 << 10, start).0, BYTES >> 10);
        let mut logged = 0;
        for i in 1..2000 {
            logged += flood(&mut quota, 100, 1 << 10, start + WINDOW * i).0;
        }
        assert_eq!((logged << 10) + BYTES, TOTAL);
    }
}
