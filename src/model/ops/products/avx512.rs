//! Products of bf16 matrices summed in f32, with AVX-512's BF16 instructions: about twice the rate of f32.
//!
//! ```text
//! C [n, m] (+)= scale * A [n, k] B [k, m]
//! ```
//! One instruction multiplies 16 pairs of numbers that are neighbours in `k`, and adds both products to 16 running
//! sums. So `A` becomes rows of pairs, and `B` panels of 32 columns in which a pair is one 32-bit word; a tile of 12
//! rows and 32 columns of `C` stays in registers for up to [`DEPTH`] steps of `k`. An element of `C` is summed in the
//! same order whatever `n`, `m` and the number of threads are.

use std::arch::x86_64::*;
use std::ops::Range;

use rayon::prelude::*;

use super::rounded::{Left, Out, Right, Values};

/// Columns of a panel: two registers.
const PANEL: usize = 32;
/// Rows of a tile: with two registers a row, one of `A` and two of `B`, 27 of 32 registers are taken.
const ROWS: usize = 12;
/// Numbers of `k` that a packed panel spans: 64 KiB, a fraction of the second cache.
const DEPTH: usize = 1024;
/// Most panels of a parallel task; fewer when there are not enough for all threads.
const GROUP: usize = 16;
/// Rows of pairs are this many pairs longer than they need be: rows whose distance is a power of two would share one
/// set of the first cache.
const SKEW: usize = 16;

/// Whether this machine has the instructions.
pub fn is_available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512bf16")
}

/// `out (+)= scale * a b`.
///
/// # Safety
/// [`is_available`] is true, and `out` is valid for writes of `n` rows of `m` numbers, initialised when it accumulates.
///
/// # Panics
/// If `a` does not hold `n * k` numbers, or `b` not `k * m`.
pub unsafe fn multiply(out: Out, [n, k, m]: [usize; 3], a: Left<'_>, b: Right<'_>) {
    assert!(a.holds(n, k) && b.values.count() == k * m);
    // SAFETY: the caller's.
    let left = unsafe { Pairs::new(a, n, k) };
    let panels = m.div_ceil(PANEL);
    let group = (panels / (4 * rayon::current_num_threads())).clamp(1, GROUP);
    let out = Shared(out);
    (0..panels.div_ceil(group)).into_par_iter().for_each_init(
        || vec![0u32; DEPTH / 2 * PANEL],
        |packed, task| {
            for panel in task * group..((task + 1) * group).min(panels) {
                let columns = panel * PANEL..((panel + 1) * PANEL).min(m);
                for from in (0..k).step_by(DEPTH) {
                    let depth = from..(from + DEPTH).min(k);
                    // SAFETY: the caller's; tasks write different columns of `out`.
                    unsafe {
                        pack(packed, b, [k, m], depth.clone(), columns.clone());
                        column_of_tiles(&left, depth, packed, columns.len(), out.at(columns.start, from > 0));
                    }
                }
            }
        },
    );
}

/// The output, of which every task writes columns of its own.
struct Shared(Out);

// SAFETY: see above.
unsafe impl Sync for Shared {}

impl Shared {
    fn at(&self, column: usize, again: bool) -> Out {
        let Self(out) = self;
        Out { start: out.start.wrapping_add(column), accumulate: out.accumulate || again, ..*out }
    }
}

/// A matrix in bf16, a row `stride` pairs after the one before; what is missing at the end of a row is zero.
struct Pairs {
    rows: usize,
    stride: usize,
    pairs: Vec<u32>,
}

impl Pairs {
    /// Rounds `a` `[n, k]`.
    ///
    /// # Safety
    /// [`is_available`]; `a` holds `n` rows of `k` numbers.
    unsafe fn new(a: Left<'_>, n: usize, k: usize) -> Self {
        let stride = k.div_ceil(2).next_multiple_of(16) + SKEW;
        let mut pairs = vec![0u32; n * stride];
        pairs.par_chunks_mut(16 * stride).enumerate().for_each(|(block, rows)| {
            let first = block * 16;
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
        Self { rows: n, stride, pairs }
    }
}

/// Rounds neighbours into pairs.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn round_row(x: &[f32], pairs: &mut [u32]) {
    for (x, pairs) in x.chunks(32).zip(pairs.chunks_mut(16)) {
        // SAFETY: masked to the numbers there are; `pairs` has 16 places (rows are a multiple of 16 long).
        unsafe { _mm512_storeu_si512(pairs.as_mut_ptr().cast(), load_pairs(x.as_ptr(), x.len())) };
    }
}

/// 32 numbers, the first `count` of them from memory, the others zero, rounded.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn load_pairs(x: *const f32, count: usize) -> __m512i {
    let mask = first(count, 32);
    // SAFETY: masked loads touch what the mask selects only.
    unsafe {
        let low = _mm512_maskz_loadu_ps(mask as u16, x);
        let high = _mm512_maskz_loadu_ps((mask >> 16) as u16, x.wrapping_add(16));
        std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low))
    }
}

/// The lowest `count` of `width` bits.
fn first(count: usize, width: usize) -> u32 {
    let count = count.min(width);
    if count == 32 { u32::MAX } else { (1 << count) - 1 }
}

/// Rounds 16 columns of `x` from `column` on, its `k` rows `n` numbers apart, into rows of pairs.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn round_columns(x: &[f32], n: usize, k: usize, column: usize, rows: &mut [u32], stride: usize) {
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

/// Words of (a number of one row, the number below it), the first `count` of 16.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn interleave(above: *const f32, below: Option<*const f32>, count: usize) -> __m512i {
    let mask = first(count, 16) as u16;
    // SAFETY: masked loads touch what the mask selects only.
    unsafe {
        let low = _mm512_maskz_loadu_ps(mask, above);
        let high = match below {
            Some(below) => _mm512_maskz_loadu_ps(mask, below),
            None => _mm512_setzero_ps(),
        };
        let low = std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(low));
        let high = std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(high));
        _mm512_or_si512(_mm512_cvtepu16_epi32(low), _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(high)))
    }
}

/// As [`interleave`], of numbers that are rounded already.
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn interleave_rounded(above: *const i16, below: Option<*const i16>, count: usize) -> __m512i {
    let mask = first(count, 16);
    // SAFETY: masked loads touch what the mask selects only. The upper half of the registers is not used.
    unsafe {
        let low = _mm512_castsi512_si256(_mm512_maskz_loadu_epi16(mask, above));
        let high = match below {
            Some(below) => _mm512_castsi512_si256(_mm512_maskz_loadu_epi16(mask, below)),
            None => _mm256_setzero_si256(),
        };
        _mm512_or_si512(_mm512_cvtepu16_epi32(low), _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(high)))
    }
}

/// The panel of `columns` of `b`, for `depth` of `k`: pair after pair, 32 words each.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn pack(packed: &mut [u32], b: Right<'_>, [k, m]: [usize; 2], depth: Range<usize>, columns: Range<usize>) {
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

impl Values<'_> {
    /// 16 pairs of neighbours from element `at` on, of which `count` numbers count.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    unsafe fn load_pairs(&self, at: usize, count: usize) -> __m512i {
        // SAFETY: the caller promises `count` numbers from `at` on; masked loads touch no more.
        unsafe {
            match self {
                Self::F32(x) => load_pairs(x.as_ptr().add(at), count),
                Self::Bf16(x) => _mm512_maskz_loadu_epi16(first(count, 32), x.as_ptr().add(at).cast()),
            }
        }
    }

    /// 16 words of the number at `above` and the one at `below`, of which `count` count.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    unsafe fn interleave(&self, above: usize, below: Option<usize>, count: usize) -> __m512i {
        // SAFETY: the caller promises `count` numbers from both places on; masked loads touch no more.
        unsafe {
            match self {
                Self::F32(x) => {
                    let from = |at: usize| x.as_ptr().wrapping_add(at);
                    interleave(from(above), below.map(from), count)
                }
                Self::Bf16(x) => {
                    let from = |at: usize| x.as_ptr().wrapping_add(at).cast();
                    interleave_rounded(from(above), below.map(from), count)
                }
            }
        }
    }
}

/// Transposes 16 rows of 16 words.
#[target_feature(enable = "avx512f,avx512bw")]
fn transposed(rows: [__m512i; 16]) -> [__m512i; 16] {
    // Within the four 128-bit quarters, first words of two rows, then pairs of words of four rows come together; then
    // `fours[4 g + c]` holds in quarter `q` column `4 q + c` of rows `4 g..4 g + 4`.
    let mut twos = rows;
    for i in 0..8 {
        twos[2 * i] = _mm512_unpacklo_epi32(rows[2 * i], rows[2 * i + 1]);
        twos[2 * i + 1] = _mm512_unpackhi_epi32(rows[2 * i], rows[2 * i + 1]);
    }
    let mut fours = twos;
    for g in (0..16).step_by(4) {
        fours[g] = _mm512_unpacklo_epi64(twos[g], twos[g + 2]);
        fours[g + 1] = _mm512_unpackhi_epi64(twos[g], twos[g + 2]);
        fours[g + 2] = _mm512_unpacklo_epi64(twos[g + 1], twos[g + 3]);
        fours[g + 3] = _mm512_unpackhi_epi64(twos[g + 1], twos[g + 3]);
    }
    // Two rounds over quarters: 0x88 takes the even ones of both operands, 0xdd the odd ones.
    let mut columns = fours;
    for c in 0..4 {
        let (a, b, x, y) = (fours[c], fours[4 + c], fours[8 + c], fours[12 + c]);
        let (even_ab, odd_ab) = (_mm512_shuffle_i32x4::<0x88>(a, b), _mm512_shuffle_i32x4::<0xdd>(a, b));
        let (even_xy, odd_xy) = (_mm512_shuffle_i32x4::<0x88>(x, y), _mm512_shuffle_i32x4::<0xdd>(x, y));
        columns[c] = _mm512_shuffle_i32x4::<0x88>(even_ab, even_xy);
        columns[4 + c] = _mm512_shuffle_i32x4::<0x88>(odd_ab, odd_xy);
        columns[8 + c] = _mm512_shuffle_i32x4::<0xdd>(even_ab, even_xy);
        columns[12 + c] = _mm512_shuffle_i32x4::<0xdd>(odd_ab, odd_xy);
    }
    columns
}

/// All rows of `left` against one packed panel.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn column_of_tiles(left: &Pairs, depth: Range<usize>, packed: &[u32], columns: usize, out: Out) {
    let pairs = depth.len().div_ceil(2);
    for row in (0..left.rows).step_by(ROWS) {
        let a = left.pairs[row * left.stride + depth.start / 2..].as_ptr();
        // SAFETY: the caller's: `out` has `left.rows` rows, and the tile ends with them.
        unsafe {
            let out = Out { start: out.start.wrapping_add(row * out.stride), ..out };
            macro_rules! tile {
                ($($rows:literal)*) => {
                    match (left.rows - row).min(ROWS) {
                        $($rows => tile::<$rows>(pairs, a, left.stride, packed.as_ptr(), columns, out),)*
                        _ => tile::<ROWS>(pairs, a, left.stride, packed.as_ptr(), columns, out),
                    }
                };
            }
            tile!(1 2 3 4 5 6 7 8 9 10 11);
        }
    }
}

/// `R` rows and up to 32 columns of the output.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn tile<const R: usize>(pairs: usize, a: *const u32, a_stride: usize, b: *const u32, columns: usize, out: Out) {
    // SAFETY: `a` has `R` rows of `pairs` words, `b` `pairs` times 32; stores are masked to the columns there are.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); 2]; R];
        for p in 0..pairs {
            let low = std::mem::transmute::<__m512i, __m512bh>(_mm512_loadu_si512(b.add(PANEL * p).cast()));
            let high = std::mem::transmute::<__m512i, __m512bh>(_mm512_loadu_si512(b.add(PANEL * p + 16).cast()));
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
