//! Panels of the right-hand side of a product, as the kernel reads them.

use std::arch::x86_64::*;
use std::ops::Range;

use super::super::operands::{Numbers, Right, Values};
use super::super::panels::{LINES, Line, PANEL};
use super::registers::{both_interleaved, transposed};

/// The panel of `columns` of `b`, for `depth` of `k`: pair after pair, two lines each.
///
/// # Safety
/// The instructions are there ([`super::is_available`]); `b` holds `k * m` numbers, `depth` and `columns` lie within
/// `k` and `m`, and `packed` has two lines for every pair of `depth`.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub unsafe fn pack(packed: &mut [Line], b: Right<'_>, [k, m]: [usize; 2], depth: Range<usize>, columns: Range<usize>) {
    let values = match b.numbers {
        Numbers::Rows(values) => values,
        Numbers::Panels(lines) => {
            debug_assert!(!b.transposed, "panels are packed already");
            return turn(packed, lines, m, depth, columns);
        }
    };
    for half in 0..LINES {
        let column = columns.start + half * Line::WORDS;
        let count = columns.end.saturating_sub(column).min(Line::WORDS);
        // SAFETY: the caller's: `b` holds `k * m` numbers, of which these rows and columns are a part.
        unsafe {
            let packed = &mut packed[half..];
            match b.transposed {
                true => pack_transposed(packed, values, k, depth.clone(), column, count),
                false => pack_plain(packed, values, m, depth.clone(), column, count),
            }
        }
    }
}

/// Half a panel from `values` `[m, k]`, where the pairs lie side by side.
///
/// # Safety
/// As for [`pack`]; rows `column` to `column + count` of `values` are there.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn pack_transposed(
    packed: &mut [Line],
    values: Values<'_>,
    k: usize,
    depth: Range<usize>,
    column: usize,
    count: usize,
) {
    for from in depth.clone().step_by(32) {
        let mut words = [_mm512_setzero_si512(); 16];
        for (i, word) in words.iter_mut().enumerate().take(count) {
            // SAFETY: the row reaches from `from` to the end of `depth` at least.
            *word = unsafe { values.load_pairs((column + i) * k + from, depth.end - from) };
        }
        let words = transposed(words);
        let pairs = (depth.end - from).div_ceil(2).min(16);
        for (p, word) in words.into_iter().enumerate().take(pairs) {
            packed[((from - depth.start) / 2 + p) * LINES] = word.into();
        }
    }
}

/// Half a panel from `values` `[k, m]`, where the pairs lie one below the other.
///
/// # Safety
/// As for [`pack`]; columns `column` to `column + count` of `values` are there.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn pack_plain(
    packed: &mut [Line],
    values: Values<'_>,
    m: usize,
    depth: Range<usize>,
    column: usize,
    count: usize,
) {
    for (p, at) in depth.clone().step_by(2).enumerate() {
        let below = (at + 1 < depth.end).then_some((at + 1) * m + column);
        // SAFETY: the rows hold `count` numbers from `column` on.
        packed[p * LINES] = unsafe { values.interleave(at * m + column, below, count) }.into();
    }
}

/// A panel from the `lines` of a weight `[k, m]`, which are in panels of its rows.
#[target_feature(enable = "avx512f,avx512bw")]
fn turn(packed: &mut [Line], lines: &[Line], m: usize, depth: Range<usize>, columns: Range<usize>) {
    let pairs = m.div_ceil(2);
    for from in depth.clone().step_by(Line::WORDS) {
        let first = (from / PANEL * pairs + columns.start / 2) * LINES + from % PANEL / Line::WORDS;
        let mut words = [_mm512_setzero_si512(); 16];
        for (i, word) in words.iter_mut().enumerate().take(columns.len().div_ceil(2)) {
            *word = lines[first + i * LINES].into();
        }
        let rows = transposed(words);
        let to = packed[(from - depth.start) / 2 * LINES..].chunks_exact_mut(LINES);
        for (to, rows) in to.zip(rows.chunks_exact(2)) {
            (to[0], to[1]) = both_interleaved(rows[0], rows[1]);
        }
    }
}
