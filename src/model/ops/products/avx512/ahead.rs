//! Fetching what the kernel reads next.

use std::arch::x86_64::*;
use std::ops::Range;

use super::super::rounded::{Right, Values};
use super::PANEL;

/// The numbers of the panel after the one at hand, a cache line at a time: they are fetched while this one is multiplied.
/// With few rows in `A`, packing would wait for memory longer than multiplying takes.
pub struct Ahead {
    line: *const i8,
    /// Lines left of the run of neighbours, and of a whole run.
    left: usize,
    run: usize,
    /// From the end of a run to the next one, bytes.
    skip: usize,
    /// Runs left.
    runs: usize,
}

impl Ahead {
    const LINE: usize = 64;

    /// The panel that begins at `column`; nothing if there is none.
    pub fn new(b: Right<'_>, [k, m]: [usize; 2], depth: Range<usize>, column: usize) -> Self {
        let (start, size) = match b.values {
            Values::F32(x) => (x.as_ptr().cast::<i8>(), 4),
            Values::Bf16(x) => (x.as_ptr().cast(), 2),
        };
        let columns = m.saturating_sub(column).min(PANEL);
        let (at, run, stride, runs) = match b.transposed {
            true => (column * k + depth.start, depth.len(), k, columns),
            false => (depth.start * m + column, columns, m, if columns > 0 { depth.len() } else { 0 }),
        };
        let run = (run * size).div_ceil(Self::LINE).max(1);
        let skip = (stride * size).saturating_sub(run * Self::LINE);
        Self { line: start.wrapping_add(at * size), left: run, run, skip, runs }
    }

    /// Asks for one line.
    #[inline(always)]
    pub fn fetch(&mut self) {
        if self.runs == 0 {
            return;
        }
        // SAFETY: a hint, which may name any address.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(self.line) };
        self.line = self.line.wrapping_add(Self::LINE);
        self.left -= 1;
        if self.left == 0 {
            (self.line, self.left) = (self.line.wrapping_add(self.skip), self.run);
            self.runs -= 1;
        }
    }
}
