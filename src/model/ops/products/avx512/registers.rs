//! What fills a register: rounding, pairing, transposing.

use std::arch::x86_64::*;

use super::super::operands::Values;
use super::super::panels::Line;
use super::super::quantised::{Q8_0_BYTES, Q8_0_NUMBERS};

/// 32 numbers, the first `count` of them from memory, the others zero, rounded.
///
/// # Safety
/// The instructions are there ([`super::is_available`]); `x` is valid for reads of the first `count` of 32 numbers.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub unsafe fn load_pairs(x: *const f32, count: usize) -> __m512i {
    let mask = first(count, 32);
    // SAFETY: masked loads touch what the mask selects only.
    unsafe {
        let low = _mm512_maskz_loadu_ps(mask as u16, x);
        let high = _mm512_maskz_loadu_ps((mask >> 16) as u16, x.wrapping_add(16));
        std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low))
    }
}

/// The lowest `count` of `width` bits.
pub fn first(count: usize, width: usize) -> u32 {
    let count = count.min(width);
    if count == 32 { u32::MAX } else { (1 << count) - 1 }
}

/// Words of (a number of one row, the number below it), the first `count` of 16.
///
/// # Safety
/// The instructions are there ([`super::is_available`]); both pointers are valid for reads of the first `count` of 16
/// numbers.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub unsafe fn interleave(above: *const f32, below: Option<*const f32>, count: usize) -> __m512i {
    let mask = first(count, 16) as u16;
    // SAFETY: masked loads touch what the mask selects only.
    let load = |from| unsafe { _mm512_maskz_loadu_ps(mask, from) };
    words(load(above), below.map_or(_mm512_setzero_ps(), load))
}

/// Words of numbers that are rounded, those of `above` in their lower halves.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn words(above: __m512, below: __m512) -> __m512i {
    // SAFETY: both are 32 bytes.
    let rounded = |x| unsafe { std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(x)) };
    let (above, below) = (_mm512_cvtepu16_epi32(rounded(above)), _mm512_cvtepu16_epi32(rounded(below)));
    _mm512_or_si512(above, _mm512_slli_epi32::<16>(below))
}

/// 16 numbers of blocks of Q8_0, from a multiple of 16 on.
///
/// # Safety
/// The instructions are there ([`super::is_available`]); the block of number `at` of `blocks` is there, and `at` is a
/// multiple of 16.
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn unpack(blocks: *const u8, at: usize) -> __m512 {
    // SAFETY: the caller promises that the block is there; half of it is read, and its factor.
    unsafe {
        let block = blocks.add(at / Q8_0_NUMBERS * Q8_0_BYTES);
        let factor = _mm512_cvtph_ps(_mm256_set1_epi16(block.cast::<i16>().read_unaligned()));
        let numbers = _mm_loadu_si128(block.add(2 + at % Q8_0_NUMBERS).cast());
        _mm512_mul_ps(factor, _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(numbers)))
    }
}

/// As [`interleave`], of numbers that are rounded already.
///
/// # Safety
/// As for [`interleave`].
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

impl Values<'_> {
    /// 16 pairs of neighbours from element `at` on, of which `count` numbers count.
    ///
    /// # Safety
    /// The instructions are there ([`super::is_available`]); `count` numbers (the first 32 of them) follow `at`, of
    /// blocks whole blocks.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub unsafe fn load_pairs(&self, at: usize, count: usize) -> __m512i {
        // SAFETY: the caller promises `count` numbers from `at` on; masked loads touch no more.
        unsafe {
            match self {
                Self::F32(x) => load_pairs(x.as_ptr().add(at), count),
                Self::Bf16(x) => _mm512_maskz_loadu_epi16(first(count, 32), x.as_ptr().add(at).cast()),
                // rows and their parts are whole blocks
                Self::Q8_0(x) => {
                    let (low, high) = (unpack(x.as_ptr(), at), unpack(x.as_ptr(), at + 16));
                    std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low))
                }
            }
        }
    }

    /// 16 words of the number at `above` and the one at `below`, of which `count` count.
    ///
    /// # Safety
    /// The instructions are there ([`super::is_available`]); `count` numbers (the first 16 of them) follow both places,
    /// of blocks half a block.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub unsafe fn interleave(&self, above: usize, below: Option<usize>, count: usize) -> __m512i {
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
                // columns begin with a block or in the middle of one, and end with one
                Self::Q8_0(x) => {
                    let from = |at: usize| unpack(x.as_ptr(), at);
                    words(from(above), below.map_or(_mm512_setzero_ps(), from))
                }
            }
        }
    }
}

/// Transposes 16 rows of 16 words.
#[target_feature(enable = "avx512f,avx512bw")]
pub fn transposed(rows: [__m512i; 16]) -> [__m512i; 16] {
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

/// Words of the 32 numbers of two registers, one of `above`, one of `below`.
#[target_feature(enable = "avx512f,avx512bw")]
pub fn both_interleaved(above: __m512i, below: __m512i) -> (Line, Line) {
    // pairs of places of 16 bits, of which those of `below` count on from 32
    let places = |first: i32| {
        let columns = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        let columns = _mm512_add_epi32(columns, _mm512_set1_epi32(first));
        _mm512_or_si512(columns, _mm512_slli_epi32::<16>(_mm512_add_epi32(columns, _mm512_set1_epi32(32))))
    };
    let pick = |places| _mm512_permutex2var_epi16(above, places, below).into();
    (pick(places(0)), pick(places(16)))
}

impl From<__m512i> for Line {
    fn from(words: __m512i) -> Self {
        // SAFETY: both are 64 bytes of which all are numbers.
        unsafe { std::mem::transmute::<__m512i, Self>(words) }
    }
}

impl From<Line> for __m512i {
    fn from(line: Line) -> Self {
        // SAFETY: as above.
        unsafe { std::mem::transmute::<Line, Self>(line) }
    }
}
