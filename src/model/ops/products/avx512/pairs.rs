//! The left-hand side of a product: rows of pairs of bf16.

use std::arch::x86_64::*;
use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::super::operands::Left;
use super::registers::{interleave, load_pairs, transposed};

/// Rows of pairs are this many pairs longer than they need be: rows whose distance is a power of two would share one
/// set of the first cache.
const SKEW: usize = 16;
/// Rows that are rounded together.
const BLOCK: usize = 16;
/// Numbers a parallel task rounds at least.
const WORTH_A_TASK: usize = 1 << 16;

/// A matrix in bf16, rows of pairs one after the other. Of a row, what lies between its end and the next is not set.
pub struct Pairs {
    stride: usize,
    pairs: Box<[MaybeUninit<u32>]>,
}

impl Pairs {
    /// Rounds `a` `[n, k]`.
    ///
    /// # Safety
    /// The instructions are there; `a` holds `n` rows of `k` numbers.
    pub unsafe fn new(a: Left<'_>, n: usize, k: usize) -> Self {
        let stride = k.div_ceil(2).next_multiple_of(16) + SKEW;
        let mut pairs = Box::new_uninit_slice(n * stride);
        let blocks = pairs.par_chunks_mut(BLOCK * stride).enumerate().with_min_len(WORTH_A_TASK / (BLOCK * k.max(1)));
        blocks.for_each(|(block, rows)| {
            let first = block * BLOCK;
            // SAFETY: the caller's.
            unsafe {
                if a.transposed {
                    round_columns(a.values, a.stride, k, first, rows, stride);
                } else {
                    for (row, x) in rows.chunks_mut(stride).zip(a.values[first * a.stride..].chunks(a.stride)) {
                        round_row(&x[..k], row);
                    }
                }
            }
        });
        Self { stride, pairs }
    }

    /// Pairs from one row to the next.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// The pairs of a row from one of them on.
    pub fn at(&self, row: usize, pair: usize) -> *const u32 {
        self.pairs[row * self.stride + pair..].as_ptr().cast()
    }
}

/// Rounds neighbours into pairs.
///
/// # Safety
/// The instructions are there ([`super::is_available`]); `pairs` is a multiple of 16 long and holds all of `x`.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn round_row(x: &[f32], pairs: &mut [MaybeUninit<u32>]) {
    for (x, pairs) in x.chunks(32).zip(pairs.chunks_mut(16)) {
        // SAFETY: masked to the numbers there are; `pairs` has 16 places (rows are a multiple of 16 long).
        unsafe { _mm512_storeu_si512(pairs.as_mut_ptr().cast(), load_pairs(x.as_ptr(), x.len())) };
    }
}

/// Rounds 16 columns of `x` from `column` on, its `k` rows `n` numbers apart, into rows of pairs.
///
/// # Safety
/// The instructions are there ([`super::is_available`]); `x` holds `k` rows of `n` numbers, of which as many columns as
/// there are rows of pairs follow `column`; `stride` is a multiple of 16 and holds a pair for every two of `k`.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn round_columns(x: &[f32], n: usize, k: usize, column: usize, rows: &mut [MaybeUninit<u32>], stride: usize) {
    let count = rows.len() / stride;
    for from in (0..k).step_by(32) {
        let mut words = [_mm512_setzero_si512(); 16];
        for (p, word) in words.iter_mut().enumerate() {
            let at = from + 2 * p;
            if at < k {
                let below = (at + 1 < k).then(|| x[(at + 1) * n + column..].as_ptr());
                // SAFETY: `column + count <= n`, so the rows hold the numbers that are loaded.
                *word = unsafe { interleave(x[at * n + column..].as_ptr(), below, count) };
            }
        }
        let words = transposed(words);
        for (row, word) in rows.chunks_mut(stride).zip(words) {
            // SAFETY: rows are a multiple of 16 long and reach as far as `k` does.
            unsafe { _mm512_storeu_si512(row[from / 2..].as_mut_ptr().cast(), word) };
        }
    }
}
