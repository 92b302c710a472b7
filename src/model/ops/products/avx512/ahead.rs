//! Fetching what the kernel reads next.

use std::arch::x86_64::*;
use std::ops::Range;

use super::super::operands::{Numbers, Right, Values};
use super::super::panels::{LINES, Line, PANEL};
use super::super::quantised::{Q8_0_BYTES, Q8_0_NUMBERS};

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
    /// The panel that begins at `column`; nothing if there is none.
    pub fn new(b: Right<'_>, [k, m]: [usize; 2], depth: Range<usize>, column: usize) -> Self {
        let columns = m.saturating_sub(column).min(PANEL);
        let pairs = |numbers: usize| numbers.div_ceil(2);
        // bytes of so many numbers
        let (start, size, numbers) = match b.numbers {
            Numbers::Rows(Values::F32(x)) => (x.as_ptr().cast::<i8>(), 4, 1),
            Numbers::Rows(Values::Bf16(x)) => (x.as_ptr().cast(), 2, 1),
            Numbers::Rows(Values::Q8_0(x)) => (x.as_ptr().cast(), Q8_0_BYTES, Q8_0_NUMBERS),
            Numbers::Panels(x) => (x.as_ptr().cast(), LINES * size_of::<Line>(), 1),
        };
        // in numbers; with panels, in pairs of all their rows
        let (at, run, stride, runs) = match (b.numbers, b.transposed) {
            (Numbers::Rows(_), true) => (column * k + depth.start, depth.len(), k, columns),
            (Numbers::Rows(_), false) => (depth.start * m + column, columns, m, depth.len()),
            (Numbers::Panels(_), true) => (column / PANEL * pairs(k) + depth.start / 2, pairs(depth.len()), 0, 1),
            (Numbers::Panels(_), false) => {
                let panels = depth.len().div_ceil(PANEL);
                (depth.start / PANEL * pairs(m) + column / 2, pairs(columns), pairs(m), panels)
            }
        };
        let runs = if columns > 0 { runs } else { 0 };
        let run = (run * size).div_ceil(numbers * size_of::<Line>()).max(1);
        let skip = (stride * size / numbers).saturating_sub(run * size_of::<Line>());
        Self { line: start.wrapping_add(at * size / numbers), left: run, run, skip, runs }
    }

    /// Asks for one line.
    #[inline(always)]
    pub fn fetch(&mut self) {
        if self.runs == 0 {
            return;
        }
        // SAFETY: a hint, which may name any address.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(self.line) };
        self.line = self.line.wrapping_add(size_of::<Line>());
        self.left -= 1;
        if self.left == 0 {
            (self.line, self.left) = (self.line.wrapping_add(self.skip), self.run);
            self.runs -= 1;
        }
    }
}
