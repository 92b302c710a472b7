//! A bias: one vector added to every row.

use candle_core::{DType, Result, Tensor};

use super::{cpu, gpu};

/// `y + b`, in the memory of `y` where kernels serve it, which nobody else may share.
///
/// # Shapes
/// `y` `[N, out]` contiguous, `b` `[out]` of the same dtype; returns `[N, out]`.
pub fn add(y: Tensor, b: &Tensor) -> Result<Tensor> {
    if gpu::serves(&y) {
        let ((n, width), kernel) = (y.dims2()?, gpu::named("add_bias", &[y.dtype()])?);
        gpu::Launch::new(&kernel, n * width).output(&y).input(b).size(n * width)?.size(width)?.run()?;
        return Ok(y);
    }
    if !cpu::serves(&y) || !cpu::serves(b) {
        return y.broadcast_add(b);
    }
    let (width, bs) = (b.elem_count(), cpu::View::new(b)?);
    let bs: &[f32] = &bs;
    cpu::modify(&y, |ys| {
        cpu::for_rows(ys, width, |_, rows| {
            for row in rows.chunks_exact_mut(width) {
                row.iter_mut().zip(bs).for_each(|(y, b)| *y += b);
            }
        });
    })?;
    Ok(y)
}

/// Gradient of [`add`] with respect to the bias: the sum of the rows.
///
/// # Shapes
/// `dy` `[N, out]`; returns f32 `[out]`.
pub fn gradient(dy: &Tensor) -> Result<Tensor> {
    dy.to_dtype(DType::F32)?.sum(0)
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn fused_equals_composed() -> Result<()> {
        let (y, b) = (random(1, (7, 37))?, random(2, 37)?);
        let composed = y.broadcast_add(&b)?;
        assert_close(&add(y.copy()?, &b)?, &composed, 1e-7);
        Ok(())
    }

    #[test]
    fn the_gradient_matches_finite_differences() -> Result<()> {
        let (y, b, dy) = (random(1, (5, 6))?, random(2, 6)?, random(3, (5, 6))?);
        check_gradient(&b, &dy, |b| add(y.copy()?, b), &gradient(&dy)?);
        Ok(())
    }
}
