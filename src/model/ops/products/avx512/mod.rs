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

use rayon::prelude::*;

use super::panels::{LINES, Line, PANEL};
use super::rounded::{Left, Numbers, Out, Right};
use ahead::Ahead;
use pack::pack;
use pairs::Pairs;
use tile::column_of_tiles;

/// Numbers of `k` that are multiplied at once: 64 KiB of a panel, a fraction of the second cache.
const DEPTH: usize = 1024;
/// Most panels of a parallel task; fewer when there are not enough for all threads.
const GROUP: usize = 16;

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
    assert!(a.holds(n, k) && b.holds(k, m));
    // SAFETY: the caller's.
    let left = unsafe { Pairs::new(a, n, k) };
    let panels = m.div_ceil(PANEL);
    let group = (panels / (4 * rayon::current_num_threads())).clamp(1, GROUP);
    let out = Shared(out);
    (0..panels.div_ceil(group)).into_par_iter().for_each_init(Vec::new, |packed, task| {
        for panel in task * group..((task + 1) * group).min(panels) {
            let columns = panel * PANEL..((panel + 1) * PANEL).min(m);
            for from in (0..k).step_by(DEPTH) {
                let depth = from..(from + DEPTH).min(k);
                let mut ahead = Ahead::new(b, [k, m], depth.clone(), columns.end);
                // SAFETY: the caller's; tasks write different columns of `out`.
                unsafe {
                    let packed = match b.numbers {
                        Numbers::Panels(lines) if b.transposed => &lines[(panel * k.div_ceil(2) + from / 2) * LINES..],
                        _ => {
                            packed.resize(DEPTH / 2 * LINES, Line::ZERO);
                            pack(packed, b, [k, m], depth.clone(), columns.clone());
                            &packed[..]
                        }
                    };
                    let out = out.at(columns.start, from > 0);
                    column_of_tiles(&left, depth, packed, columns.len(), out, &mut ahead);
                }
            }
        }
    });
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
