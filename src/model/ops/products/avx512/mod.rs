//! Products of bf16 matrices summed in f32, with AVX-512's BF16 instructions: about twice the rate of f32.
//!
//! ```text
//! C [n, m] (+)= scale * A [n, k] B [k, m]
//! ```
//! One instruction multiplies 16 pairs of numbers that are neighbours in `k`, and adds both products to 16 running
//! sums. So `A` becomes rows of pairs, and `B` panels of 32 columns in which a pair is one 32-bit word (or is kept in
//! [`panels`](super::panels)); a tile of 12 rows and 32 columns of `C` stays in registers for up to [`DEPTH`] steps of
//! `k`. An element of `C` is summed in the same order whatever `n`, `m` and the number of threads are.

mod ahead;
mod pack;
mod pairs;
mod registers;
mod tile;

use std::ops::Range;

use rayon::prelude::*;

use super::operands::{Numbers, Out, Right, Term, Values};
use super::panels::{LINES, Line, PANEL};
use ahead::Ahead;
use pack::pack;
use pairs::Pairs;
use tile::{Target, column_of_tiles};

/// Numbers of `k` that are multiplied at once: 64 KiB of a panel, a fraction of the second cache.
const DEPTH: usize = 1024;
/// Most panels of a parallel task; fewer when there are not enough for all threads.
const GROUP: usize = 16;
/// Multiplications from which on rows are shared among threads if there are too few panels: some microseconds.
const WORTH_SHARING: usize = 1 << 19;

/// Whether this machine has the instructions.
pub fn is_available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512bf16")
}

/// A panel of the rows of a weight, whose numbers are rounded; `lines` is zero.
///
/// # Safety
/// [`is_available`].
///
/// # Panics
/// If `values` does not hold whole rows, or more than those of a panel.
pub unsafe fn pack_rows(lines: &mut [Line], values: &[f32], width: usize) {
    let rows = values.len() / width;
    assert!(values.len() == rows * width && rows <= PANEL && lines.len() == width.div_ceil(2) * LINES);
    let b = Right { numbers: Numbers::Rows(Values::F32(values)), transposed: true };
    // SAFETY: the caller's, and the operands are as long as they should be.
    unsafe { pack(lines, b, [width, rows], 0..width, 0..rows) };
}

/// `out (+)= sum of terms`.
///
/// # Safety
/// [`is_available`] is true, and `out` is valid for writes of `n` rows of `m` numbers, initialised when it accumulates.
///
/// # Panics
/// If the operands do not hold the numbers of their sizes.
pub unsafe fn multiply(out: Out, [n, m]: [usize; 2], terms: &[Term<'_>]) {
    assert!(terms.iter().all(|term| term.fits(n, m)));
    // SAFETY: the caller's.
    let lefts: Vec<Pairs> = terms.iter().map(|term| unsafe { Pairs::new(term.a, n, term.k) }).collect();
    let panels = m.div_ceil(PANEL);
    let depths: usize = terms.iter().map(|term| term.k).sum();
    let threads = rayon::current_num_threads();
    let group = (panels / (4 * threads)).clamp(1, GROUP);
    let groups = panels.div_ceil(group);
    let bands = if n * depths * m < WORTH_SHARING { 1 } else { threads.div_ceil(groups.max(1)) };
    let band = n.div_ceil(bands).next_multiple_of(tile::ROWS);
    let out = Shared(out);
    let (bands, scratch) = (n.div_ceil(band), depths.min(DEPTH).div_ceil(2) * LINES);
    (0..groups * bands).into_par_iter().for_each_init(Vec::new, |packed, task| {
        let (rows, first) = (task % bands * band, task / bands * group);
        let rows = rows..(rows + band).min(n);
        for panel in first..(first + group).min(panels) {
            let columns = panel * PANEL..((panel + 1) * PANEL).min(m);
            for (i, (&Term { k, b, scale, .. }, left)) in terms.iter().zip(&lefts).enumerate() {
                for from in (0..k).step_by(DEPTH) {
                    let depth = from..(from + DEPTH).min(k);
                    let mut ahead = Ahead::new(b, [k, m], depth.clone(), columns.end);
                    // SAFETY: the caller's; tasks write different rows or columns of `out`.
                    unsafe {
                        let packed = match b.numbers {
                            Numbers::Panels(lines) if b.transposed => {
                                &lines[(panel * k.div_ceil(2) + from / 2) * LINES..]
                            }
                            _ => {
                                packed.resize(scratch, Line::ZERO);
                                pack(packed, b, [k, m], depth.clone(), columns.clone());
                                &packed[..]
                            }
                        };
                        let target = out.columns(&columns, scale, i > 0 || from > 0);
                        column_of_tiles(left, rows.clone(), depth, packed, target, &mut ahead);
                    }
                }
            }
        }
    });
}

/// The output, of which every task writes a part of its own.
struct Shared(Out);

// SAFETY: see above.
unsafe impl Sync for Shared {}

impl Shared {
    fn columns(&self, columns: &Range<usize>, scale: f32, again: bool) -> Target {
        let Self(Out { start, stride, accumulate }) = *self;
        let start = start.wrapping_add(columns.start);
        Target { start, stride, columns: columns.len(), scale, accumulate: accumulate || again }
    }
}
