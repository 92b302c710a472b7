//! Dropout of the rows of a tensor: one keyed random word an element, one bit kept of it.
//!
//! A word is the one that [`Key`]'s stream has at the element's place, so a mask is what [`crate::rng::Rng::uniform_f32`]
//! would draw, whatever part of it is drawn at once. ChaCha8 (D. J. Bernstein, "ChaCha, a variant of Salsa20", 2008) is
//! computed for several of its blocks of 16 words side by side, which the compiler makes vectors of, and a block is kept
//! as 16 bits.

use std::array::from_fn;
use std::hint::black_box;
use std::mem::MaybeUninit;
use std::ops::Range;

use candle_core::{DType, Result, Tensor, bail};
use rayon::prelude::*;

use super::cpu;
use crate::rng::Key;

/// Words of a ChaCha block.
const WORDS: usize = 16;
/// Blocks that are computed side by side: a vector of AVX-512, two of AVX2. More would be lost on short runs.
const LANES: usize = 16;
/// Blocks of a parallel task.
const TASK_BLOCKS: usize = 128 * LANES;
/// Values of the 24 bits of a word that count.
const VALUES: f32 = 16_777_216.0;

/// Rows whose words follow one another.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// How many rows.
    pub rows: usize,
    /// Where their words are; without, they are dropped whole.
    pub words: Option<Words>,
}

/// A place in a stream of random words.
#[derive(Clone, Copy, Debug)]
pub struct Words {
    /// The stream's key.
    pub key: Key,
    /// Which of its streams.
    pub stream: u64,
    /// The word.
    pub first: u64,
}

/// Which elements of `[N, width]` are kept.
#[derive(Clone, Debug)]
pub struct Dropout {
    width: usize,
    /// A bit an element, in groups of a block.
    bits: Vec<u16>,
    /// The bit where a row begins, `[N]`.
    starts: Vec<usize>,
    /// What kept elements are multiplied with: `1 / (1 - p)`.
    scale: f32,
}

impl Dropout {
    /// Draws the bits of rows of `width` elements, each dropped with probability `p`.
    pub fn draw(runs: &[Run], width: usize, p: f64) -> Self {
        let least = least(p as f32);
        let first = |words: Option<Words>| words.map_or(0, |words| words.first);
        let (mut starts, mut ends) = (Vec::new(), Vec::with_capacity(runs.len()));
        for &Run { rows, words } in runs {
            let start = ends.last().unwrap_or(&0) * WORDS + (first(words) % WORDS as u64) as usize;
            starts.extend((0..rows).map(|row| start + row * width));
            ends.push((start + rows * width).div_ceil(WORDS));
        }
        let mut bits = vec![0; ends.last().copied().unwrap_or(0)];
        let (mut rest, mut begin) = (bits.as_mut_slice(), 0);
        let mut tasks = Vec::new();
        for (&Run { words, .. }, &end) in runs.iter().zip(&ends) {
            let (run, behind) = std::mem::take(&mut rest).split_at_mut(end - begin);
            (rest, begin) = (behind, end);
            if let (Some(Words { key, stream, first }), Some(least)) = (words, least) {
                let parts = run.chunks_mut(TASK_BLOCKS).zip((first / WORDS as u64..).step_by(TASK_BLOCKS));
                tasks.extend(parts.map(|(bits, first)| (bits, key.words(), stream, first, least)));
            }
        }
        tasks.into_par_iter().for_each(|(bits, key, stream, first, least)| keep(bits, &key, stream, first, least));
        Self { width, bits, starts, scale: scale_of(p) }
    }

    /// Bytes that the mask of so many rows takes.
    pub const fn bytes_of(rows: usize, width: usize) -> usize {
        rows * (size_of::<u16>() * width.div_ceil(WORDS) + size_of::<usize>())
    }

    /// What is held, in bytes.
    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        size_of_val(self.bits.as_slice()) + size_of_val(self.starts.as_slice())
    }

    /// `x` with what is dropped multiplied by 0, the rest by `1 / (1 - p)`.
    ///
    /// # Shapes
    /// `x` `[N, width]`, f32.
    pub fn apply(&self, x: &Tensor) -> Result<Tensor> {
        self.check(x)?;
        if !cpu::serves(x) {
            return x * self.factors(x)?;
        }
        let values = cpu::View::new(x)?;
        let values: &[f32] = &values;
        let write = |first, rows: &mut [MaybeUninit<f32>]| self.write_rows(first, rows, &values[first * self.width..]);
        // SAFETY: every number of the rows is written: `x` is as long as the buffer, and every row has a start.
        let out = unsafe { cpu::written_by_rows(values.len(), self.width, write) };
        cpu::tensor(out, x.shape())
    }

    /// As [`Dropout::apply`]; on the CPU in the memory of `x`, which nobody else may share.
    ///
    /// # Shapes
    /// As [`Dropout::apply`].
    pub fn apply_in_place(&self, x: Tensor) -> Result<Tensor> {
        self.check(&x)?;
        if !cpu::serves(&x) {
            return &x * self.factors(&x)?;
        }
        cpu::modify(&x, |values| cpu::for_rows(values, self.width, |first, rows| self.scale_rows(first, rows)))?;
        Ok(x)
    }

    fn check(&self, x: &Tensor) -> Result<()> {
        if x.dims() != [self.starts.len(), self.width] || x.dtype() != DType::F32 {
            bail!("dropout of {} rows of {} f32 is not for {:?}", self.starts.len(), self.width, x.shape());
        }
        Ok(())
    }

    /// What to multiply with, where `x` is.
    fn factors(&self, x: &Tensor) -> Result<Tensor> {
        let mut factors = vec![1.0; self.starts.len() * self.width];
        self.scale_rows(0, &mut factors);
        Tensor::from_vec(factors, x.shape(), x.device())
    }

    /// Writes every number of the rows that begin with the `first`, from those of `x`.
    fn write_rows(&self, first: usize, rows: &mut [MaybeUninit<f32>], x: &[f32]) {
        for (range, bits, skipped) in self.parts(first, rows.len()) {
            let (part, x) = (&mut rows[range.clone()], &x[range]);
            match skipped {
                0 => scale_to(part, x, bits, self.scale),
                _ => scale_from(part.write_copy_of_slice(x), bits, skipped, self.scale),
            }
        }
    }

    fn scale_rows(&self, first: usize, rows: &mut [f32]) {
        for (range, bits, skipped) in self.parts(first, rows.len()) {
            let part = &mut rows[range];
            match skipped {
                0 => scale(part, bits, self.scale),
                _ => scale_from(part, bits, skipped, self.scale),
            }
        }
    }

    /// So many numbers from the row `first` on in parts whose bits follow one another, which are most of the rows of a run:
    /// where they are, their bits, and how many of these belong to something else.
    fn parts(&self, first: usize, numbers: usize) -> impl Iterator<Item = (Range<usize>, &[u16], usize)> {
        let starts = &self.starts[first..][..numbers / self.width];
        let mut end = 0;
        starts.chunk_by(|one, next| next - one == self.width).map(move |rows| {
            let begin = end;
            end += rows.len() * self.width;
            (begin..end, &self.bits[rows[0] / WORDS..], rows[0] % WORDS)
        })
    }
}

/// What kept elements are multiplied with.
pub(super) fn scale_of(p: f64) -> f32 {
    (1.0 / (1.0 - p)) as f32
}

/// Elements are dropped whose upper 24 bits are below this: `bits * 2^-24 < p`.
pub(super) fn threshold(p: f32) -> u32 {
    (p * VALUES).ceil() as u32
}

/// The least word that keeps its element; none if every element is dropped.
fn least(p: f32) -> Option<u32> {
    threshold(p).checked_mul(1 << 8)
}

cpu::wide! {
    #[avx512]
    /// `bits[i]` gets bit `j` if word `16 (first + i) + j` of the stream keeps its element: if it is at least `least`.
    fn keep(bits: &mut [u16], key: &[u32; 8], stream: u64, first: u64, least: u32) {
        let (mut bits, mut first) = (bits, first);
        while !bits.is_empty() {
            // the upper half of a block's number is the same for all until the lower one is 0 again
            let (low, high) = (first as u32, (first >> 32) as u32);
            let until_next = (1 << 32) - u64::from(low);
            let count = until_next.min(bits.len() as u64);
            let (now, later) = std::mem::take(&mut bits).split_at_mut(count as usize);
            for (i, bits) in now.chunks_mut(LANES).enumerate() {
                let kept = kept(key, stream, [low.wrapping_add((i * LANES) as u32), high], least);
                bits.copy_from_slice(&kept[..bits.len()]);
            }
            (bits, first) = (later, first.wrapping_add(count));
        }
    }
}

/// As [`keep`], of `LANES` blocks.
#[inline(always)]
fn kept(key: &[u32; 8], stream: u64, [low, high]: [u32; 2], least: u32) -> [u16; LANES] {
    let [k0, k1, k2, k3, k4, k5, k6, k7] = *key;
    let (s0, s1) = (stream as u32, (stream >> 32) as u32);
    let mut bits = [0u32; LANES];
    for (lane, bits) in (0u32..).zip(&mut bits) {
        // the constants are "expand 32-byte k"
        let start = [
            0x6170_7865,
            0x3320_646e,
            0x7962_2d32,
            0x6b20_6574,
            k0,
            k1,
            k2,
            k3,
            k4,
            k5,
            k6,
            k7,
            low.wrapping_add(lane),
            high,
            s0,
            s1,
        ];
        *bits = kept_of(start, least);
    }
    bits.map(|bits| bits as u16)
}

/// The bits of one block; straight through, for the loop around it becomes vectors.
#[inline(always)]
fn kept_of(start: [u32; WORDS], least: u32) -> u32 {
    let mut x = start;
    // eight rounds
    double_round(&mut x);
    double_round(&mut x);
    double_round(&mut x);
    double_round(&mut x);
    macro_rules! bits {
        ($($word:literal)*) => { 0 $(| u32::from(x[$word].wrapping_add(start[$word]) >= least) << $word)* };
    }
    bits!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
}

#[inline(always)]
fn double_round(x: &mut [u32; WORDS]) {
    quarter_round(x, 0, 4, 8, 12);
    quarter_round(x, 1, 5, 9, 13);
    quarter_round(x, 2, 6, 10, 14);
    quarter_round(x, 3, 7, 11, 15);
    quarter_round(x, 0, 5, 10, 15);
    quarter_round(x, 1, 6, 11, 12);
    quarter_round(x, 2, 7, 8, 13);
    quarter_round(x, 3, 4, 9, 14);
}

#[inline(always)]
fn quarter_round(x: &mut [u32; WORDS], a: usize, b: usize, c: usize, d: usize) {
    for (a, b, d, by) in [(a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)] {
        x[a] = x[a].wrapping_add(x[b]);
        x[d] = (x[d] ^ x[a]).rotate_left(by);
    }
}

cpu::wide! {
    /// Multiplies with `scale` or 0, as the bits say.
    fn scale(values: &mut [f32], bits: &[u16], scale: f32) {
        let (groups, rest) = values.as_chunks_mut::<WORDS>();
        for (group, &bits) in groups.iter_mut().zip(bits) {
            let factors = factors_of(bits, scale);
            for (value, factor) in group.iter_mut().zip(factors) {
                *value *= factor;
            }
        }
        for (j, value) in rest.iter_mut().enumerate() {
            *value *= factor(bits[groups.len()].into(), j, scale);
        }
    }
}

cpu::wide! {
    /// As [`scale`], from `x` to every number of `out`.
    ///
    /// # Panics
    /// If one is longer than the other.
    fn scale_to(out: &mut [MaybeUninit<f32>], x: &[f32], bits: &[u16], scale: f32) {
        let ((groups, rest), (xs, x_rest)) = (out.as_chunks_mut::<WORDS>(), x.as_chunks::<WORDS>());
        assert!(groups.len() == xs.len() && groups.len() <= bits.len() && rest.len() == x_rest.len(), "numbers to scale");
        for ((group, x), &bits) in groups.iter_mut().zip(xs).zip(bits) {
            let factors = factors_of(bits, scale);
            for (j, out) in group.iter_mut().enumerate() {
                out.write(x[j] * factors[j]);
            }
        }
        for (j, (out, &x)) in rest.iter_mut().zip(x_rest).enumerate() {
            out.write(x * factor(bits[groups.len()].into(), j, scale));
        }
    }
}

/// What 16 elements are multiplied with. The compiler does not see where the bits are from: it would make vectors of one
/// element of each of several groups, and spend three times as long on gathering them.
#[inline(always)]
fn factors_of(bits: u16, scale: f32) -> [f32; WORDS] {
    let bits = black_box(u32::from(bits));
    from_fn(|j| factor(bits, j, scale))
}

/// As [`scale`], where the first bits belong to something else.
fn scale_from(values: &mut [f32], bits: &[u16], skipped: usize, scale: f32) {
    for (j, value) in (skipped..).zip(values) {
        *value *= factor(bits[j / WORDS].into(), j % WORDS, scale);
    }
}

#[inline(always)]
fn factor(bits: u32, j: usize, scale: f32) -> f32 {
    if bits >> j & 1 == 1 { scale } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use proptest::prelude::*;

    use super::*;
    use crate::rng::Purpose;

    fn key(seed: u64) -> Key {
        Key::new(seed, Purpose::Dropout).step(3).prompt(1).sample(4).part(1)
    }

    /// One word after the other.
    fn drawn(run: Run, width: usize, p: f64) -> Vec<f32> {
        let Some(words) = run.words else { return vec![0.0; run.rows * width] };
        let mut rng = words.key.stream(words.stream);
        rng.skip_u32(words.first);
        let keep = (1.0 / (1.0 - p)) as f32;
        (0..run.rows * width).map(|_| if rng.uniform_f32() < p as f32 { 0.0 } else { keep }).collect()
    }

    fn factors(dropout: &Dropout, rows: usize, width: usize) -> Vec<f32> {
        let ones = Tensor::ones((rows, width), DType::F32, &Device::Cpu).unwrap();
        dropout.apply(&ones).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    proptest! {
        #[test]
        fn every_element_has_the_word_of_its_place(
            seed: u64, stream: u64, width in 1usize..200, p in 0.0..0.9,
            runs in prop::collection::vec((1usize..5, prop::option::of(0u64..1 << 40)), 1..5),
        ) {
            let words = |first| Words { key: key(seed), stream, first };
            let runs: Vec<Run> = runs.into_iter().map(|(rows, first)| Run { rows, words: first.map(words) }).collect();
            let count = runs.iter().map(|run| run.rows).sum();
            let expected: Vec<f32> = runs.iter().flat_map(|run| drawn(*run, width, p)).collect();
            prop_assert_eq!(factors(&Dropout::draw(&runs, width, p), count, width), expected);
        }
    }

    #[test]
    fn counters_go_on_beyond_32_bits_and_from_task_to_task() {
        let width = WORDS * TASK_BLOCKS + 5;
        for first in [((1 << 32) - 9) * WORDS as u64, (1 << 40) + 7] {
            let run = Run { rows: 2, words: Some(Words { key: key(5), stream: 1 << 35, first }) };
            assert_eq!(factors(&Dropout::draw(&[run], width, 0.5), 2, width), drawn(run, width, 0.5));
        }
    }

    #[test]
    fn a_value_at_the_probability_is_kept_and_the_one_below_is_not() {
        // 24 bits times 2^-24 are exact, so a comparison of the bits is one of the numbers
        let value = |word: u32| (word >> 8) as f32 / VALUES;
        for p in [0.05f32, 0.1, 0.5, 1.0 / 3.0, 0.899] {
            let least = least(p).unwrap();
            assert!(value(least) >= p && value(least - 1) < p, "{p}");
        }
        assert_eq!((least(0.0), least(1.0)), (Some(0), None));
    }

    #[test]
    fn a_tensor_of_another_shape_is_refused() {
        let dropout = Dropout::draw(&[Run { rows: 2, words: None }], 3, 0.1);
        assert!(dropout.apply(&Tensor::ones((3, 2), DType::F32, &Device::Cpu).unwrap()).is_err());
    }
}
