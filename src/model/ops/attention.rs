//! Bidirectional grouped-query attention with a key mask for left padding, forward and backward.
//!
//! The mask is a number of padding columns per row. On the CPU the padded keys are left out of the
//! computation altogether, so a padded row has the very bits of the unpadded one; elsewhere their probabilities are
//! zero. Probabilities are not kept for the backward pass: recomputing them costs one product of
//! six, keeping them costs `[B, H, W, T]` numbers a layer.

use candle_core::{D, DType, Result, Tensor};
use rayon::prelude::*;

use super::cpu;
use super::gpu::{self, Launch, Operand};
use super::matrix::{Matrix, MatrixMut, multiply};
use super::padding::Padding;

/// Sizes that the three operands share.
#[derive(Clone, Copy, Debug)]
struct Dims {
    b: usize,
    w: usize,
    t: usize,
    heads: usize,
    kv_heads: usize,
    e: usize,
}

impl Dims {
    fn of(q: &Tensor, k: &Tensor) -> Result<Self> {
        let (b, w, heads, e) = q.dims4()?;
        let (_, t, kv_heads, _) = k.dims4()?;
        Ok(Self { b, w, t, heads, kv_heads, e })
    }

    fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    fn scale(&self) -> f32 {
        1.0 / (self.e as f32).sqrt()
    }

    /// Head `h` of batch row `b` in a `[B, rows, heads, E]` buffer, from row `skip` on: offset and row stride.
    fn head(&self, rows: usize, heads: usize, b: usize, h: usize, skip: usize) -> (usize, usize) {
        (((b * rows + skip) * heads + h) * self.e, heads * self.e)
    }
}

/// `softmax(q k^T / sqrt(E)) v`, every query head `h` attending to key head `h / (H/K)`.
///
/// # Shapes
/// `q` `[B, W, H, E]`, `k`, `v` `[B, T, K, E]`, all contiguous, `pad` of `B` rows; returns `[B, W, H*E]`.
pub fn forward(q: &Tensor, k: &Tensor, v: &Tensor, pad: Padding<'_>) -> Result<Tensor> {
    let dims = Dims::of(q, k)?;
    if gpu::serves(q) {
        return forward_on_device(dims, q, k, v, pad);
    }
    let pad = pad.columns;
    if !cpu::serves(q) {
        return forward_composed(dims, q, k, v, pad);
    }
    let (qs, ks, vs) = (cpu::View::new(q)?, cpu::View::new(k)?, cpu::View::new(v)?);
    let (qs, ks, vs): (&[f32], &[f32], &[f32]) = (&qs, &ks, &vs);
    let Dims { b, w, t, heads, kv_heads, e } = dims;
    let mut out = cpu::zeros(b * w * heads * e);
    let shared = Shared::new(&mut out);
    (0..b * heads).into_par_iter().for_each_init(Vec::new, |probs, task| {
        let (row, h) = (task / heads, task % heads);
        let keys = t - pad[row];
        let (kv_at, kv_stride) = dims.head(t, kv_heads, row, h / dims.group(), pad[row]);
        let (q_at, q_stride) = dims.head(w, heads, row, h, 0);
        let q = Matrix::rows(&qs[q_at..], w, e, q_stride);
        let k = Matrix::rows(&ks[kv_at..], keys, e, kv_stride);
        let v = Matrix::rows(&vs[kv_at..], keys, e, kv_stride);
        probabilities(q, k, dims.scale(), probs);
        // SAFETY: every (row, head) pair writes its own `E` columns of its own rows, and is visited once.
        let mut o = unsafe { MatrixMut::from_raw(shared.at(q_at), w, e, q_stride) };
        multiply(&mut o, Matrix::rows(probs, w, keys, keys), v, 1.0, false);
    });
    cpu::tensor(out, (b, w, heads * e))
}

/// Gradients of [`forward`]. With `P` the probabilities and `dP = dO v^T`:
/// `dv = P^T dO`, `dS = P (dP - rowsum(P dP))`, `dq = dS k / sqrt(E)`, `dk = dS^T q / sqrt(E)`,
/// summed over the query heads that share a key head.
///
/// # Shapes
/// `q`, `k`, `v` as in [`forward`], `d_out` `[B, W, H*E]`; returns `(dq, dk, dv)` shaped like `(q, k, v)`.
pub fn backward(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    pad: Padding<'_>,
    d_out: &Tensor,
) -> Result<(Tensor, Tensor, Tensor)> {
    let dims = Dims::of(q, k)?;
    if gpu::serves(q) {
        return backward_on_device(dims, q, k, v, pad, d_out);
    }
    let pad = pad.columns;
    if !cpu::serves(q) {
        return backward_composed(dims, q, k, v, pad, d_out);
    }
    let (qs, ks, vs, gs) = (cpu::View::new(q)?, cpu::View::new(k)?, cpu::View::new(v)?, cpu::View::new(d_out)?);
    let (qs, ks, vs, gs): (&[f32], &[f32], &[f32], &[f32]) = (&qs, &ks, &vs, &gs);
    let Dims { b, w, t, heads, kv_heads, e } = dims;
    let (mut dq, mut dk, mut dv) = (cpu::zeros(qs.len()), cpu::zeros(ks.len()), cpu::zeros(vs.len()));
    let (to_dq, to_dk, to_dv) = (Shared::new(&mut dq), Shared::new(&mut dk), Shared::new(&mut dv));
    (0..b * kv_heads).into_par_iter().for_each_init(
        || (Vec::new(), Vec::new()),
        |(probs, d_scores), task| {
            let (row, kv_head) = (task / kv_heads, task % kv_heads);
            let keys = t - pad[row];
            let (kv_at, kv_stride) = dims.head(t, kv_heads, row, kv_head, pad[row]);
            let k = Matrix::rows(&ks[kv_at..], keys, e, kv_stride);
            let v = Matrix::rows(&vs[kv_at..], keys, e, kv_stride);
            // SAFETY: a task owns the columns of one key head (dk, dv) and of its query heads (dq) in one row.
            let (mut dk, mut dv) = unsafe {
                (
                    MatrixMut::from_raw(to_dk.at(kv_at), keys, e, kv_stride),
                    MatrixMut::from_raw(to_dv.at(kv_at), keys, e, kv_stride),
                )
            };
            for h in kv_head * dims.group()..(kv_head + 1) * dims.group() {
                let (q_at, q_stride) = dims.head(w, heads, row, h, 0);
                let q = Matrix::rows(&qs[q_at..], w, e, q_stride);
                let g = Matrix::rows(&gs[q_at..], w, e, q_stride);
                probabilities(q, k, dims.scale(), probs);
                let p = Matrix::rows(probs, w, keys, keys);
                multiply(&mut dv, p.t(), g, 1.0, true);
                d_scores.resize(w * keys, 0.0);
                multiply(&mut MatrixMut::rows(d_scores, w, keys, keys), g, v.t(), 1.0, false);
                softmax_backward(probs, d_scores, keys);
                let ds = Matrix::rows(d_scores, w, keys, keys);
                // SAFETY: as above.
                let mut dq = unsafe { MatrixMut::from_raw(to_dq.at(q_at), w, e, q_stride) };
                multiply(&mut dq, ds, k, dims.scale(), false);
                multiply(&mut dk, ds.t(), q, dims.scale(), true);
            }
        },
    );
    Ok((cpu::tensor(dq, q.shape())?, cpu::tensor(dk, k.shape())?, cpu::tensor(dv, v.shape())?))
}

/// Fills `probs` with the row-wise softmax of `scale * q k^T`.
fn probabilities(q: Matrix<'_>, k: Matrix<'_>, scale: f32, probs: &mut Vec<f32>) {
    let keys = k.row_count();
    probs.resize(q.row_count() * keys, 0.0);
    multiply(&mut MatrixMut::rows(probs, q.row_count(), keys, keys), q, k.t(), scale, false);
    softmax(probs, keys);
}

cpu::wide! {
    /// Softmax of every row of `keys` scores.
    fn softmax(scores: &mut [f32], keys: usize) {
        for row in scores.chunks_exact_mut(keys) {
            let top = cpu::max_of(row);
            row.iter_mut().for_each(|s| *s = cpu::exp(*s - top));
            let inverse = 1.0 / cpu::sum_of(row, |p| p);
            row.iter_mut().for_each(|p| *p *= inverse);
        }
    }
}

cpu::wide! {
    /// `dS = P (dP - rowsum(P dP))`, in place of `dP`.
    fn softmax_backward(probs: &[f32], d_probs: &mut [f32], keys: usize) {
        for (p, d) in probs.chunks_exact(keys).zip(d_probs.chunks_exact_mut(keys)) {
            let along = cpu::sum_of_pairs(p, d, |p, d| p * d);
            for (d, &p) in d.iter_mut().zip(p) {
                *d = p * (*d - along);
            }
        }
    }
}

/// An output buffer whose disjoint parts are written by parallel tasks.
struct Shared(*mut f32);

// SAFETY: the pointer is only dereferenced for parts that a task owns alone, while the buffer is alive.
unsafe impl Sync for Shared {}

impl Shared {
    fn new(buffer: &mut [f32]) -> Self {
        Self(buffer.as_mut_ptr())
    }

    fn at(&self, offset: usize) -> *mut f32 {
        self.0.wrapping_add(offset)
    }
}

impl Dims {
    /// `[B, rows, heads, E]` -> `[B*K, rows of all query heads of a key head, E]`.
    fn by_key_head(&self, x: &Tensor) -> Result<Tensor> {
        let (b, rows, heads, e) = x.dims4()?;
        gpu::swapped(x)?.reshape((b * self.kv_heads, heads / self.kv_heads * rows, e))
    }

    /// Back again, `rows` of each of `heads` heads.
    fn by_row(&self, x: &Tensor, heads: usize, rows: usize) -> Result<Tensor> {
        gpu::swapped(&x.reshape((self.b, heads, rows, self.e))?)
    }

    /// `softmax(scale q k^T)` of heads as [`Dims::by_key_head`] has them: `[B*K, H/K*W, T]`.
    fn probabilities_on_device(&self, q: &Tensor, k: &Tensor, pad: Padding<'_>) -> Result<Tensor> {
        let (dtype, pad) = (gpu::unrounded(q), pad.on(q.device())?);
        let scores = gpu::product(None, Operand::plain(q), Operand::transposed(k), 1.0, dtype, false)?;
        let rows = self.b * self.heads * self.w;
        let probs = gpu::empty(scores.shape(), q.dtype(), q.device())?;
        let kernel = gpu::named("softmax", &[dtype, q.dtype()])?;
        let launch = Launch::of_rows(&kernel, rows).input(&scores).output(&probs).input(&pad);
        launch.size(rows)?.size(self.heads * self.w)?.size(self.t)?.number(self.scale()).run()?;
        Ok(probs)
    }
}

fn forward_on_device(dims: Dims, q: &Tensor, k: &Tensor, v: &Tensor, pad: Padding<'_>) -> Result<Tensor> {
    let probs = dims.probabilities_on_device(&dims.by_key_head(q)?, &dims.by_key_head(k)?, pad)?;
    let v = dims.by_key_head(v)?;
    let out = gpu::product(None, Operand::plain(&probs), Operand::plain(&v), 1.0, q.dtype(), false)?;
    dims.by_row(&out, dims.heads, dims.w)?.reshape((dims.b, dims.w, dims.heads * dims.e))
}

fn backward_on_device(
    dims: Dims,
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    pad: Padding<'_>,
    d_out: &Tensor,
) -> Result<(Tensor, Tensor, Tensor)> {
    let d_out = d_out.reshape((dims.b, dims.w, dims.heads, dims.e))?;
    let (q, k, v) = (dims.by_key_head(q)?, dims.by_key_head(k)?, dims.by_key_head(v)?);
    let g = dims.by_key_head(&d_out)?;
    let probs = dims.probabilities_on_device(&q, &k, pad)?;
    let (dtype, wide) = (q.dtype(), gpu::unrounded(&q));
    let d_probs = gpu::product(None, Operand::plain(&g), Operand::transposed(&v), 1.0, wide, false)?;
    let dv = gpu::product(None, Operand::transposed(&probs), Operand::plain(&g), 1.0, dtype, false)?;
    let d_scores = gpu::empty(probs.shape(), dtype, probs.device())?;
    let rows = dims.b * dims.heads * dims.w;
    let kernel = gpu::named("softmax_backward", &[wide, dtype])?;
    let launch = Launch::of_rows(&kernel, rows).input(&probs).input(&d_probs).output(&d_scores);
    launch.size(rows)?.size(dims.t)?.number(dims.scale()).run()?;
    drop((probs, d_probs));
    let dq = gpu::product(None, Operand::plain(&d_scores), Operand::plain(&k), 1.0, dtype, false)?;
    let dk = gpu::product(None, Operand::transposed(&d_scores), Operand::plain(&q), 1.0, dtype, false)?;
    let keys = |x: Tensor| dims.by_row(&x, dims.kv_heads, dims.t);
    Ok((dims.by_row(&dq, dims.heads, dims.w)?, keys(dk)?, keys(dv)?))
}

/// `[B, rows, heads, E]` -> `[B, H, rows, E]`, key heads repeated for their query heads.
fn per_head(x: &Tensor, heads: usize) -> Result<Tensor> {
    let x = x.transpose(1, 2)?.contiguous()?;
    let repeats = heads / x.dim(1)?;
    candle_transformers::utils::repeat_kv(x, repeats)?.contiguous()
}

/// `[B, H, rows, E]` -> `[B, rows, heads, E]`, query heads of one key head summed.
fn per_row(x: &Tensor, heads: usize) -> Result<Tensor> {
    let (b, all, rows, e) = x.dims4()?;
    x.reshape((b, heads, all / heads, rows, e))?.sum(2)?.transpose(1, 2)?.contiguous()
}

fn probabilities_composed(dims: Dims, q: &Tensor, k: &Tensor, pad: &[usize]) -> Result<Tensor> {
    let scores = (q.matmul(&k.t()?)? * dims.scale() as f64)?.to_dtype(DType::F32)?;
    let scores = if pad.iter().all(|&p| p == 0) {
        scores
    } else {
        let hidden = |row: usize, column: usize| if column < pad[row] { f32::NEG_INFINITY } else { 0.0 };
        let mask: Vec<f32> = (0..dims.b * dims.t).map(|i| hidden(i / dims.t, i % dims.t)).collect();
        scores.broadcast_add(&Tensor::from_vec(mask, (dims.b, 1, 1, dims.t), q.device())?)?
    };
    candle_nn::ops::softmax_last_dim(&scores)
}

fn forward_composed(dims: Dims, q: &Tensor, k: &Tensor, v: &Tensor, pad: &[usize]) -> Result<Tensor> {
    let (q, k, v) = (per_head(q, dims.heads)?, per_head(k, dims.heads)?, per_head(v, dims.heads)?);
    let probs = probabilities_composed(dims, &q, &k, pad)?.to_dtype(q.dtype())?;
    probs.matmul(&v)?.transpose(1, 2)?.reshape((dims.b, dims.w, dims.heads * dims.e))
}

fn backward_composed(
    dims: Dims,
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    pad: &[usize],
    d_out: &Tensor,
) -> Result<(Tensor, Tensor, Tensor)> {
    let d_out = d_out.reshape((dims.b, dims.w, dims.heads, dims.e))?;
    let (q, k, v) = (per_head(q, dims.heads)?, per_head(k, dims.heads)?, per_head(v, dims.heads)?);
    let g = per_head(&d_out, dims.heads)?;
    let probs = probabilities_composed(dims, &q, &k, pad)?; // [B, H, W, T], f32
    let d_probs = g.matmul(&v.t()?)?.to_dtype(DType::F32)?;
    let along = (&probs * &d_probs)?.sum_keepdim(D::Minus1)?;
    let d_scores = ((&probs * d_probs.broadcast_sub(&along)?)? * dims.scale() as f64)?.to_dtype(q.dtype())?;
    let dq = d_scores.matmul(&k)?;
    let dk = d_scores.t()?.matmul(&q)?;
    let dv = probs.to_dtype(g.dtype())?.t()?.matmul(&g)?;
    Ok((per_row(&dq, dims.heads)?, per_row(&dk, dims.kv_heads)?, per_row(&dv, dims.kv_heads)?))
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    const PAD: Padding<'_> = Padding { columns: &[0, 2], uploaded: None };

    fn operands() -> Result<(Tensor, Tensor, Tensor, Tensor)> {
        Ok((random(1, (2, 3, 4, 8))?, random(2, (2, 5, 2, 8))?, random(3, (2, 5, 2, 8))?, random(4, (2, 3, 32))?))
    }

    #[test]
    fn fused_equals_composed() -> Result<()> {
        let (q, k, v, g) = operands()?;
        let dims = Dims::of(&q, &k)?;
        assert_close(&forward(&q, &k, &v, PAD)?, &forward_composed(dims, &q, &k, &v, PAD.columns)?, 1e-5);
        let (dq, dk, dv) = backward(&q, &k, &v, PAD, &g)?;
        let (cq, ck, cv) = backward_composed(dims, &q, &k, &v, PAD.columns, &g)?;
        for (fused, composed) in [(dq, cq), (dk, ck), (dv, cv)] {
            assert_close(&fused, &composed, 1e-5);
        }
        Ok(())
    }

    #[test]
    fn gradients_match_finite_differences() -> Result<()> {
        let (q, k, v, g) = operands()?;
        let (dq, dk, dv) = backward(&q, &k, &v, PAD, &g)?;
        check_gradient(&q, &g, |q| forward(q, &k, &v, PAD), &dq);
        check_gradient(&k, &g, |k| forward(&q, k, &v, PAD), &dk);
        check_gradient(&v, &g, |v| forward(&q, &k, v, PAD), &dv);
        Ok(())
    }

    #[test]
    fn padded_keys_change_no_bit() -> Result<()> {
        let (q, k, v, _) = operands()?;
        let padded = forward(&q, &k, &v, PAD)?.narrow(0, 1, 1)?;
        let cut = |x: &Tensor| x.narrow(0, 1, 1)?.narrow(1, 2, 3)?.contiguous();
        let plain = forward(
            &q.narrow(0, 1, 1)?.contiguous()?,
            &cut(&k)?,
            &cut(&v)?,
            Padding { columns: &[0], uploaded: None },
        )?;
        assert_eq!(padded.flatten_all()?.to_vec1::<f32>()?, plain.flatten_all()?.to_vec1::<f32>()?);
        Ok(())
    }
}
