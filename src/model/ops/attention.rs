//! Grouped-query attention, bidirectional or as far as queries see, with a key mask for left padding; forward and backward.
//!
//! The mask is a number of padding columns per row, or what queries see. On the CPU keys that are not seen are left out of
//! the computation altogether, so a padded row has the very bits of the unpadded one; elsewhere their probabilities are
//! zero. Probabilities are not kept for the backward pass: recomputing them costs one product of
//! six, keeping them costs `[B, H, W, T]` numbers a layer.

use std::borrow::Cow;
use std::ops::Range;

use candle_core::{D, DType, Result, Tensor, bail};
use rayon::prelude::*;

use super::cpu;
use super::gpu::{self, Launch, Operand};
use super::matrix::{Matrix, MatrixMut, multiply};
use super::padding::Padding;
use crate::model::sight::{Run, Seen};

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

/// The keys of queries: all real ones of their row, or those that they see.
#[derive(Clone, Copy, Debug)]
pub struct Keys<'a> {
    /// Padding of the rows.
    pub pad: Padding<'a>,
    /// What the queries see, if not everything.
    pub seen: Option<&'a Seen>,
}

impl Keys<'_> {
    /// What a row's `w` queries see of its `t` keys.
    fn runs(&self, row: usize, w: usize, t: usize) -> Cow<'_, [Run]> {
        match self.seen {
            Some(seen) => Cow::Borrowed(&seen.runs[row]),
            None => Cow::Owned(vec![Run { queries: 0..w, keys: [self.pad.columns[row]..t, 0..0] }]),
        }
    }
}

/// `softmax(q k^T / sqrt(E)) v`, every query head `h` attending to key head `h / (H/K)`.
///
/// # Shapes
/// `q` `[B, W, H, E]`, `k`, `v` `[B, T, K, E]`, all contiguous, `keys` of `B` rows; returns `[B, W, H*E]`.
pub fn forward(q: &Tensor, k: &Tensor, v: &Tensor, keys: Keys<'_>) -> Result<Tensor> {
    let dims = Dims::of(q, k)?;
    if gpu::serves(q) {
        return forward_on_device(dims, q, k, v, keys);
    }
    if !cpu::serves(q) {
        return forward_composed(dims, q, k, v, keys);
    }
    let (qs, ks, vs) = (cpu::View::new(q)?, cpu::View::new(k)?, cpu::View::new(v)?);
    let (qs, ks, vs): (&[f32], &[f32], &[f32]) = (&qs, &ks, &vs);
    let Dims { b, w, t, heads, e, .. } = dims;
    let mut out = cpu::zeros(b * w * heads * e);
    let shared = Shared::new(&mut out);
    (0..b * heads).into_par_iter().for_each_init(Vec::new, |probs, task| {
        let (row, h) = (task / heads, task % heads);
        for run in keys.runs(row, w, t).iter() {
            let (n, width) = (run.queries.len(), run.key_count());
            let (q_at, q_stride) = dims.head(w, heads, row, h, run.queries.start);
            let q = Matrix::rows(&qs[q_at..], n, e, q_stride);
            let parts = || dims.parts(run, t, row, h / dims.group());
            probabilities(q, parts().map(|part| dims.keys(ks, &part)), width, dims.scale(), probs);
            // SAFETY: every (row, head) pair writes its own `E` columns of its own rows, and is visited once.
            let mut o = unsafe { MatrixMut::from_raw(shared.at(q_at), n, e, q_stride) };
            for part in parts() {
                let p = Matrix::rows(&probs[part.first..], n, part.keys, width);
                multiply(&mut o, p, dims.keys(vs, &part), 1.0, part.first > 0);
            }
        }
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
    keys: Keys<'_>,
    d_out: &Tensor,
) -> Result<(Tensor, Tensor, Tensor)> {
    let dims = Dims::of(q, k)?;
    if gpu::serves(q) {
        return backward_on_device(dims, q, k, v, keys, d_out);
    }
    if !cpu::serves(q) {
        return backward_composed(dims, q, k, v, keys, d_out);
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
            let runs = keys.runs(row, w, t);
            for run in runs.iter() {
                let (n, width) = (run.queries.len(), run.key_count());
                let parts = || dims.parts(run, t, row, kv_head);
                // SAFETY: a task owns the columns of one key head (dk, dv) and of its query heads (dq) in one row.
                let to =
                    |x: &Shared, part: &Part| unsafe { MatrixMut::from_raw(x.at(part.at), part.keys, e, kv_heads * e) };
                for h in kv_head * dims.group()..(kv_head + 1) * dims.group() {
                    let (q_at, q_stride) = dims.head(w, heads, row, h, run.queries.start);
                    let q = Matrix::rows(&qs[q_at..], n, e, q_stride);
                    let g = Matrix::rows(&gs[q_at..], n, e, q_stride);
                    probabilities(q, parts().map(|part| dims.keys(ks, &part)), width, dims.scale(), probs);
                    d_scores.resize(n * width, 0.0);
                    for part in parts() {
                        let p = Matrix::rows(&probs[part.first..], n, part.keys, width);
                        multiply(&mut to(&to_dv, &part), p.t(), g, 1.0, true);
                        let mut dp = MatrixMut::rows(&mut d_scores[part.first..], n, part.keys, width);
                        multiply(&mut dp, g, dims.keys(vs, &part).t(), 1.0, false);
                    }
                    softmax_backward(probs, d_scores, width);
                    // SAFETY: as above.
                    let mut dq = unsafe { MatrixMut::from_raw(to_dq.at(q_at), n, e, q_stride) };
                    for part in parts() {
                        let ds = Matrix::rows(&d_scores[part.first..], n, part.keys, width);
                        multiply(&mut dq, ds, dims.keys(ks, &part), dims.scale(), part.first > 0);
                        multiply(&mut to(&to_dk, &part), ds.t(), q, dims.scale(), true);
                    }
                }
            }
        },
    );
    Ok((cpu::tensor(dq, q.shape())?, cpu::tensor(dk, k.shape())?, cpu::tensor(dv, v.shape())?))
}

/// Neighbouring keys of a head that a run sees.
struct Part {
    /// Where they begin in a buffer of keys or values.
    at: usize,
    /// How many.
    keys: usize,
    /// Which of the run's keys is the first.
    first: usize,
}

impl Dims {
    /// The parts of a run, one or two, for a key head of a row of `t` keys.
    fn parts(&self, run: &Run, t: usize, row: usize, kv_head: usize) -> impl Iterator<Item = Part> {
        let [near, far] = &run.keys;
        let (before, far) = (near.len(), (!far.is_empty()).then_some(far));
        let at = |keys: &Range<usize>| self.head(t, self.kv_heads, row, kv_head, keys.start).0;
        let part = |keys: &Range<usize>, first| Part { at: at(keys), keys: keys.len(), first };
        [Some(part(near, 0)), far.map(|keys| part(keys, before))].into_iter().flatten()
    }

    /// The keys of a part in a buffer of keys, or its values in one of values.
    fn keys<'a>(&self, x: &'a [f32], part: &Part) -> Matrix<'a> {
        Matrix::rows(&x[part.at..], part.keys, self.e, self.kv_heads * self.e)
    }
}

/// Fills `probs`, `[queries, width]`, with the row-wise softmax of `scale * q k^T`, `ks` one beside the other.
fn probabilities<'a>(
    q: Matrix<'_>,
    ks: impl Iterator<Item = Matrix<'a>>,
    width: usize,
    scale: f32,
    probs: &mut Vec<f32>,
) {
    let (n, mut first) = (q.row_count(), 0);
    probs.resize(n * width, 0.0);
    for k in ks {
        multiply(&mut MatrixMut::rows(&mut probs[first..], n, k.row_count(), width), q, k.t(), scale, false);
        first += k.row_count();
    }
    softmax(probs, width);
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
    fn probabilities_on_device(&self, q: &Tensor, k: &Tensor, keys: Keys<'_>) -> Result<Tensor> {
        let dtype = gpu::unrounded(q);
        let scores = gpu::product(None, Operand::plain(q), Operand::transposed(k), 1.0, dtype, false)?;
        let rows = self.b * self.heads * self.w;
        let probs = gpu::empty(scores.shape(), q.dtype(), q.device())?;
        let dtypes = [dtype, q.dtype()];
        match keys.seen {
            None => {
                let (kernel, pad) = (gpu::named("softmax", &dtypes)?, keys.pad.on(q.device())?);
                let launch = Launch::of_rows(&kernel, rows).input(&scores).output(&probs).input(&pad);
                launch.size(rows)?.size(self.heads * self.w)?.size(self.t)?.number(self.scale()).run()?;
            }
            Some(seen) => {
                let Some(ends) = &seen.uploaded else { bail!("what queries see was not uploaded") };
                let kernel = gpu::named("softmax_seen", &dtypes)?;
                let launch = Launch::of_rows(&kernel, rows).input(&scores).output(&probs).input(ends);
                let launch = launch.size(rows)?.size(self.heads * self.w)?.size(self.w)?.size(self.t)?;
                launch.number(self.scale()).run()?;
            }
        }
        Ok(probs)
    }
}

fn forward_on_device(dims: Dims, q: &Tensor, k: &Tensor, v: &Tensor, keys: Keys<'_>) -> Result<Tensor> {
    let probs = dims.probabilities_on_device(&dims.by_key_head(q)?, &dims.by_key_head(k)?, keys)?;
    let v = dims.by_key_head(v)?;
    let out = gpu::product(None, Operand::plain(&probs), Operand::plain(&v), 1.0, q.dtype(), false)?;
    dims.by_row(&out, dims.heads, dims.w)?.reshape((dims.b, dims.w, dims.heads * dims.e))
}

fn backward_on_device(
    dims: Dims,
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    keys: Keys<'_>,
    d_out: &Tensor,
) -> Result<(Tensor, Tensor, Tensor)> {
    let d_out = d_out.reshape((dims.b, dims.w, dims.heads, dims.e))?;
    let (q, k, v) = (dims.by_key_head(q)?, dims.by_key_head(k)?, dims.by_key_head(v)?);
    let g = dims.by_key_head(&d_out)?;
    let probs = dims.probabilities_on_device(&q, &k, keys)?;
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
    let of_keys = |x: Tensor| dims.by_row(&x, dims.kv_heads, dims.t);
    Ok((dims.by_row(&dq, dims.heads, dims.w)?, of_keys(dk)?, of_keys(dv)?))
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

fn probabilities_composed(dims: Dims, q: &Tensor, k: &Tensor, keys: Keys<'_>) -> Result<Tensor> {
    let scores = (q.matmul(&k.t()?)? * dims.scale() as f64)?.to_dtype(DType::F32)?;
    let scores = if keys.seen.is_none() && keys.pad.columns.iter().all(|&p| p == 0) {
        scores
    } else {
        let mut mask = vec![f32::NEG_INFINITY; dims.b * dims.w * dims.t];
        for (row, mask) in mask.chunks_mut(dims.w * dims.t).enumerate() {
            for run in keys.runs(row, dims.w, dims.t).iter() {
                for query in run.queries.clone() {
                    run.keys.iter().for_each(|keys| mask[query * dims.t..][keys.clone()].fill(0.0));
                }
            }
        }
        scores.broadcast_add(&Tensor::from_vec(mask, (dims.b, 1, dims.w, dims.t), q.device())?)?
    };
    candle_nn::ops::softmax_last_dim(&scores)
}

fn forward_composed(dims: Dims, q: &Tensor, k: &Tensor, v: &Tensor, keys: Keys<'_>) -> Result<Tensor> {
    let (q, k, v) = (per_head(q, dims.heads)?, per_head(k, dims.heads)?, per_head(v, dims.heads)?);
    let probs = probabilities_composed(dims, &q, &k, keys)?.to_dtype(q.dtype())?;
    probs.matmul(&v)?.transpose(1, 2)?.reshape((dims.b, dims.w, dims.heads * dims.e))
}

fn backward_composed(
    dims: Dims,
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    keys: Keys<'_>,
    d_out: &Tensor,
) -> Result<(Tensor, Tensor, Tensor)> {
    let d_out = d_out.reshape((dims.b, dims.w, dims.heads, dims.e))?;
    let (q, k, v) = (per_head(q, dims.heads)?, per_head(k, dims.heads)?, per_head(v, dims.heads)?);
    let g = per_head(&d_out, dims.heads)?;
    let probs = probabilities_composed(dims, &q, &k, keys)?; // [B, H, W, T], f32
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

    const PAD: Keys<'_> = Keys { pad: Padding { columns: &[0, 2], uploaded: None }, seen: None };

    fn operands() -> Result<(Tensor, Tensor, Tensor, Tensor)> {
        Ok((random(1, (2, 3, 4, 8))?, random(2, (2, 5, 2, 8))?, random(3, (2, 5, 2, 8))?, random(4, (2, 3, 32))?))
    }

    #[test]
    fn fused_equals_composed() -> Result<()> {
        let (q, k, v, g) = operands()?;
        let dims = Dims::of(&q, &k)?;
        assert_close(&forward(&q, &k, &v, PAD)?, &forward_composed(dims, &q, &k, &v, PAD)?, 1e-5);
        let (dq, dk, dv) = backward(&q, &k, &v, PAD, &g)?;
        let (cq, ck, cv) = backward_composed(dims, &q, &k, &v, PAD, &g)?;
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
            Keys { pad: Padding { columns: &[0], uploaded: None }, seen: None },
        )?;
        assert_eq!(padded.flatten_all()?.to_vec1::<f32>()?, plain.flatten_all()?.to_vec1::<f32>()?);
        Ok(())
    }
}
