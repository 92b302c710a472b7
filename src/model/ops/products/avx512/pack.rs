//! Panels of the right-hand side of a product, as the kernel reads them.

use std::arch::x86_64::*;
use std::ops::Range;

use super::super::rounded::{Right, Values};
use super::PANEL;
use super::registers::transposed;

/// The panel of `columns` of `b`, for `depth` of `k`: pair after pair, 32 words each.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub unsafe fn pack(packed: &mut [u32], b: Right<'_>, [k, m]: [usize; 2], depth: Range<usize>, columns: Range<usize>) {
    for half in [0, 16] {
        let column = columns.start + half;
        let count = columns.end.saturating_sub(column).min(16);
        // SAFETY: the caller's: `b` holds `k * m` numbers, of which these rows and columns are a part.
        unsafe {
            match b.transposed {
                true => pack_transposed(&mut packed[half..], b.values, k, depth.clone(), column, count),
                false => pack_plain(&mut packed[half..], b.values, m, depth.clone(), column, count),
            }
        }
    }
}

/// Half a panel from `values` `[m, k]`, where the pairs lie side by side.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn pack_transposed(
    packed: &mut [u32],
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
            let to = &mut packed[((from - depth.start) / 2 + p) * PANEL..][..16];
            // SAFETY: 16 words.
            unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), word) };
        }
    }
}

/// Half a panel from `values` `[k, m]`, where the pairs lie one below the other.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn pack_plain(
    packed: &mut [u32],
    values: Values<'_>,
    m: usize,
    depth: Range<usize>,
    column: usize,
    count: usize,
) {
    for (p, at) in depth.clone().step_by(2).enumerate() {
        let to = &mut packed[p * PANEL..][..16];
        let below = (at + 1 < depth.end).then_some((at + 1) * m + column);
        // SAFETY: the rows hold `count` numbers from `column` on; 16 words are stored.
        unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), values.interleave(at * m + column, below, count)) };
    }
}
