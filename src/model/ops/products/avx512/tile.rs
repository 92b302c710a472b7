//! The kernel: a few rows and columns of the output in registers, over all of `k`.

use std::arch::x86_64::*;
use std::ops::Range;

use super::super::panels::{LINES, Line};
use super::super::rounded::Out;
use super::ahead::Ahead;
use super::pairs::Pairs;
use super::registers::first;

/// Rows of a tile: with two registers a row, one of `A` and two of `B`, 27 of 32 registers are taken.
const ROWS: usize = 12;

/// All rows of `left` against one packed panel.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub unsafe fn column_of_tiles(
    left: &Pairs,
    depth: Range<usize>,
    packed: &[Line],
    columns: usize,
    out: Out,
    ahead: &mut Ahead,
) {
    let pairs = depth.len().div_ceil(2);
    for row in (0..left.rows).step_by(ROWS) {
        let a = left.pairs[row * left.stride + depth.start / 2..].as_ptr();
        // SAFETY: the caller's: `out` has `left.rows` rows, and the tile ends with them.
        unsafe {
            let out = Out { start: out.start.wrapping_add(row * out.stride), ..out };
            macro_rules! tile {
                ($($rows:literal)*) => {
                    match (left.rows - row).min(ROWS) {
                        $($rows => tile::<$rows>(pairs, a, left.stride, packed.as_ptr(), columns, out, ahead),)*
                        _ => tile::<ROWS>(pairs, a, left.stride, packed.as_ptr(), columns, out, ahead),
                    }
                };
            }
            tile!(1 2 3 4 5 6 7 8 9 10 11);
        }
    }
}

/// `R` rows and up to 32 columns of the output.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn tile<const R: usize>(
    pairs: usize,
    a: *const u32,
    a_stride: usize,
    b: *const Line,
    columns: usize,
    out: Out,
    ahead: &mut Ahead,
) {
    // SAFETY: `a` has `R` rows of `pairs` words, `b` as many times two lines; stores are masked to the columns there are.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); 2]; R];
        for p in 0..pairs {
            ahead.fetch();
            let low = std::mem::transmute::<__m512i, __m512bh>(_mm512_load_si512(b.add(LINES * p).cast()));
            let high = std::mem::transmute::<__m512i, __m512bh>(_mm512_load_si512(b.add(LINES * p + 1).cast()));
            for (r, sum) in sums.iter_mut().enumerate() {
                let pair = _mm512_set1_epi32(*a.add(r * a_stride + p) as i32);
                let pair = std::mem::transmute::<__m512i, __m512bh>(pair);
                sum[0] = _mm512_dpbf16_ps(sum[0], pair, low);
                sum[1] = _mm512_dpbf16_ps(sum[1], pair, high);
            }
        }
        let (scale, mask) = (_mm512_set1_ps(out.scale), first(columns, 32));
        for (r, sum) in sums.iter().enumerate() {
            for (half, &sum) in sum.iter().enumerate() {
                let (to, mask) = (out.start.wrapping_add(r * out.stride + 16 * half), (mask >> (16 * half)) as u16);
                let before = if out.accumulate { _mm512_maskz_loadu_ps(mask, to) } else { _mm512_setzero_ps() };
                _mm512_mask_storeu_ps(to, mask, _mm512_fmadd_ps(sum, scale, before));
            }
        }
    }
}
