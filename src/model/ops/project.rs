//! `x W^T` whose rows do not depend on how many rows there are.

use candle_core::{Result, Tensor};

/// Products of at most this many elements go through a kernel of their own in the `gemm` crate, and so do
/// those with at most [`SMALL_SIDE`] rows and columns: they add up in another order.
const SMALL_PRODUCT: usize = 256;
const SMALL_SIDE: usize = 64;

/// `x W^T`; on the CPU a row has the same bits in a batch of one and of a thousand.
///
/// Few rows are padded with zeros until the product is one that the general kernel computes.
///
/// # Shapes
/// `x` `[N, in]`, `w` `[out, in]`; returns `[N, out]`.
pub fn project(x: &Tensor, w: &Tensor) -> Result<Tensor> {
    let (n, out) = (x.dim(0)?, w.dim(0)?);
    let enough = (SMALL_PRODUCT / out + 1).max(if out <= SMALL_SIDE { SMALL_SIDE + 1 } else { 2 });
    if n >= enough || n == 0 || !x.device().is_cpu() {
        return x.matmul(&w.t()?);
    }
    x.pad_with_zeros(0, 0, enough - n)?.matmul(&w.t()?)?.narrow(0, 0, n)?.contiguous()
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn rows_do_not_depend_on_their_number() -> Result<()> {
        for (input, out) in [(64, 3), (600, 16), (128, 64), (128, 128), (40, 300), (3, 64)] {
            let (x, w) = (random(1, (300, input))?, random(2, (out, input))?);
            let all: Vec<Vec<f32>> = project(&x, &w)?.to_vec2()?;
            for n in (1..90).chain([200]) {
                let some: Vec<Vec<f32>> = project(&x.narrow(0, 0, n)?, &w)?.to_vec2()?;
                assert_eq!(some[..], all[..n], "{n} rows of {input} times {out}");
            }
        }
        Ok(())
    }
}
