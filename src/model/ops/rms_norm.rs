//! RMSNorm: normalised in f32, times the weight, rounded to the working dtype once. (The published code rounds before it
//! multiplies, too; in f32 that is the same.)

use candle_core::{D, DType, Result, Tensor};

use super::{cpu, gpu};

/// `y = w * x / sqrt(mean(x^2) + eps)`, the mean over the last dimension.
///
/// # Shapes
/// `x` `[N, D]` contiguous, `w` `[D]`; returns `[N, D]`.
pub fn forward(x: &Tensor, w: &Tensor, eps: f64) -> Result<Tensor> {
    if gpu::serves(x) {
        return gpu::rms_norm(x, w, eps);
    }
    if !cpu::serves(x) {
        return normalised(x, eps)?.0.to_dtype(x.dtype())?.broadcast_mul(w);
    }
    let (n, d) = x.dims2()?;
    let (xs, ws) = (cpu::View::new(x)?, cpu::View::new(w)?);
    let (xs, ws): (&[f32], &[f32]) = (&xs, &ws);
    let y = cpu::made_of_rows(n * d, d, |first, rows| {
        normalise(rows, &xs[first * d..], ws, eps);
    });
    cpu::tensor(y, (n, d))
}

cpu::wide! {
    /// As many rows of [`forward`] as `y` holds.
    fn normalise(y: &mut [f32], x: &[f32], w: &[f32], eps: f64) {
        for (y, x) in y.chunks_exact_mut(w.len()).zip(x.chunks_exact(w.len())) {
            let r = inverse_rms(x, eps);
            for ((y, &x), &w) in y.iter_mut().zip(x).zip(w) {
                *y = x * r * w;
            }
        }
    }
}

/// Gradient of [`forward`] with respect to `x`:
/// `dx = r (w dy - x_hat mean(w dy x_hat))` with `x_hat = r x`, `r = 1 / sqrt(mean(x^2) + eps)`.
///
/// # Shapes
/// `x`, `dy` `[N, D]`, `w` `[D]`; returns `[N, D]`.
pub fn backward(x: &Tensor, w: &Tensor, eps: f64, dy: &Tensor) -> Result<Tensor> {
    if gpu::serves(x) {
        let ((n, d), dx) = (x.dims2()?, gpu::empty(x.shape(), x.dtype(), x.device())?);
        let kernel = gpu::named("rms_norm_backward", &[x.dtype()])?;
        let launch = gpu::Launch::of_rows(&kernel, n).input(x).input(w).input(dy).output(&dx);
        launch.size(n)?.size(d)?.number(eps as f32).run()?;
        return Ok(dx);
    }
    if !cpu::serves(x) {
        let (x_hat, r) = normalised(x, eps)?;
        let g = dy.to_dtype(DType::F32)?.broadcast_mul(&w.to_dtype(DType::F32)?)?;
        let projection = (&g * &x_hat)?.mean_keepdim(D::Minus1)?;
        let dx = (g - x_hat.broadcast_mul(&projection)?)?.broadcast_mul(&r)?;
        return dx.to_dtype(x.dtype());
    }
    let (n, d) = x.dims2()?;
    let (xs, ws, gs) = (cpu::View::new(x)?, cpu::View::new(w)?, cpu::View::new(dy)?);
    let (xs, ws, gs): (&[f32], &[f32], &[f32]) = (&xs, &ws, &gs);
    let dx = cpu::made_of_rows(n * d, d, |first, rows| {
        gradient(rows, &xs[first * d..], ws, &gs[first * d..], eps);
    });
    cpu::tensor(dx, (n, d))
}

cpu::wide! {
    /// As many rows of [`backward`] as `dx` holds.
    fn gradient(dx: &mut [f32], x: &[f32], w: &[f32], dy: &[f32], eps: f64) {
        let d = w.len();
        for ((dx, x), dy) in dx.chunks_exact_mut(d).zip(x.chunks_exact(d)).zip(dy.chunks_exact(d)) {
            let r = inverse_rms(x, eps);
            for ((g, &w), &dy) in dx.iter_mut().zip(w).zip(dy) {
                *g = w * dy;
            }
            let along = cpu::sum_of_pairs(dx, x, |g, x| g * x) * r * r / d as f32;
            for (g, &x) in dx.iter_mut().zip(x) {
                *g = r * (*g - x * along);
            }
        }
    }
}

/// Gradient of [`forward`] with respect to the weight, `sum over rows of dy x_hat`.
///
/// # Shapes
/// `x`, `dy` `[N, D]`; returns f32 `[D]`.
pub fn weight_gradient(x: &Tensor, eps: f64, dy: &Tensor) -> Result<Tensor> {
    let (x_hat, _) = normalised(x, eps)?;
    (x_hat * dy.to_dtype(DType::F32)?)?.sum(0)
}

/// `(x_hat, r)` in f32: `[N, D]` and `[N, 1]`.
fn normalised(x: &Tensor, eps: f64) -> Result<(Tensor, Tensor)> {
    let x = x.to_dtype(DType::F32)?;
    let r = (x.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?.recip()?;
    Ok((x.broadcast_mul(&r)?, r))
}

#[inline(always)]
fn inverse_rms(row: &[f32], eps: f64) -> f32 {
    let mean = cpu::sum_of(row, |x| x * x) / row.len() as f32;
    1.0 / (mean + eps as f32).sqrt()
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    const EPS: f64 = 1e-5;

    #[test]
    fn fused_equals_composed() -> Result<()> {
        let (x, w, dy) = (random(1, (7, 37))?, random(2, 37)?, random(3, (7, 37))?);
        let composed = normalised(&x, EPS)?.0.broadcast_mul(&w)?;
        assert_close(&forward(&x, &w, EPS)?, &composed, 1e-6);
        let wide = |t: &Tensor| t.to_dtype(DType::F64);
        // f64 is not served by the kernel, so this is the composed gradient
        let dx = backward(&wide(&x)?, &wide(&w)?, EPS, &wide(&dy)?)?;
        assert_close(&backward(&x, &w, EPS, &dy)?, &dx, 1e-5);
        Ok(())
    }

    #[test]
    fn gradients_match_finite_differences() -> Result<()> {
        let (x, w, dy) = (random(1, (3, 8))?, random(2, 8)?, random(3, (3, 8))?);
        check_gradient(&x, &dy, |x| forward(x, &w, EPS), &backward(&x, &w, EPS, &dy)?);
        check_gradient(&w, &dy, |w| forward(&x, w, EPS), &weight_gradient(&x, EPS, &dy)?);
        Ok(())
    }
}
