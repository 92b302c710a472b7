//! The kernel: a few rows and columns of the output in registers, over all of `k`.

use std::arch::asm;
use std::arch::x86_64::*;
use std::ops::Range;

use super::super::panels::{LINES, Line};
use super::ahead::Ahead;
use super::pairs::Pairs;
use super::registers::first;

/// Rows of a tile: with two registers a row, one of `A` and two of `B`, 27 of 32 registers are taken.
pub const ROWS: usize = 12;

/// Columns of the output: `(+)= scale * sums`.
#[derive(Clone, Copy)]
pub struct Target {
    /// Their first number.
    pub start: *mut f32,
    /// From one row to the next.
    pub stride: usize,
    /// How many there are, at most 32.
    pub columns: usize,
    /// Factor.
    pub scale: f32,
    /// Whether the sums are added to what is there.
    pub accumulate: bool,
}

/// Rows of `left` against one packed panel.
///
/// # Safety
/// The instructions are there ([`super::is_available`]); `left` has these rows and this depth, `packed` two lines for
/// every pair of `depth`, and `out` is valid for writes of these rows and its columns, which are initialised where it
/// accumulates.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub unsafe fn column_of_tiles(
    left: &Pairs,
    rows: Range<usize>,
    depth: Range<usize>,
    packed: &[Line],
    out: Target,
    ahead: &mut Ahead,
) {
    let pairs = depth.len().div_ceil(2);
    for row in rows.clone().step_by(ROWS) {
        let a = left.at(row, depth.start / 2);
        // SAFETY: the caller's: `out` has these rows, and the tile ends with them.
        unsafe {
            let out = Target { start: out.start.wrapping_add(row * out.stride), ..out };
            macro_rules! tile {
                ($($rows:literal)*) => {
                    match (rows.end - row).min(ROWS) {
                        $($rows => tile::<$rows>(pairs, a, left.stride(), packed.as_ptr(), out, ahead),)*
                        _ => tile::<ROWS>(pairs, a, left.stride(), packed.as_ptr(), out, ahead),
                    }
                };
            }
            tile!(1 2 3 4 5 6 7 8 9 10 11);
        }
    }
}

/// `R` rows and up to 32 columns of the output.
///
/// # Safety
/// As for [`column_of_tiles`]: `a` is valid for `R` rows of `pairs` words, `a_stride` apart, `b` for twice as many
/// lines, and `out` for `R` rows.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn tile<const R: usize>(
    pairs: usize,
    a: *const u32,
    a_stride: usize,
    b: *const Line,
    out: Target,
    ahead: &mut Ahead,
) {
    // SAFETY: `a` has `R` rows of `pairs` words, `b` as many times two lines; stores are masked to the columns there are.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); 2]; R];
        for p in 0..pairs {
            ahead.fetch();
            let low = _mm512_load_si512(b.add(LINES * p).cast());
            let high = _mm512_load_si512(b.add(LINES * p + 1).cast());
            // A pair of each row times both lines. The compiler's own order has at times been all pairs first, which
            // leaves no registers for the sums: half the rate.
            macro_rules! rows {
                ($($row:literal)*) => {$(
                    if $row < R {
                        asm!(
                            "vpbroadcastd {pair}, dword ptr [{from}]",
                            "vdpbf16ps {first}, {pair}, {low}",
                            "vdpbf16ps {second}, {pair}, {high}",
                            from = in(reg) a.add($row * a_stride + p),
                            pair = out(zmm_reg) _,
                            low = in(zmm_reg) low,
                            high = in(zmm_reg) high,
                            first = inout(zmm_reg) sums[$row][0],
                            second = inout(zmm_reg) sums[$row][1],
                            options(pure, readonly, nostack, preserves_flags),
                        );
                    }
                )*};
            }
            rows!(0 1 2 3 4 5 6 7 8 9 10 11);
        }
        let (scale, mask) = (_mm512_set1_ps(out.scale), first(out.columns, 32));
        for (r, sum) in sums.iter().enumerate() {
            for (half, &sum) in sum.iter().enumerate() {
                let (to, mask) = (out.start.wrapping_add(r * out.stride + 16 * half), (mask >> (16 * half)) as u16);
                let before = if out.accumulate { _mm512_maskz_loadu_ps(mask, to) } else { _mm512_setzero_ps() };
                _mm512_mask_storeu_ps(to, mask, _mm512_fmadd_ps(sum, scale, before));
            }
        }
    }
}
