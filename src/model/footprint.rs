//! How much memory the model and its passes take, from the shapes of the tensors that live at once.
//!
//! With `n = B T` and `w = B W` rows (`W = T` but for the last layer; it keeps less where some places of its window are
//! not asked for), `K' = K E`, `Q = H E` and the letters of `src/lib.rs`, in
//! activations (f32 on the CPU, the working dtype elsewhere) unless it says f32:
//!
//! | what | tensors |
//! |---|---|
//! | kept of a layer | `x` nD, `q` wQ, `mid` wD, `k v` 2nK', `gate up` 2wF, `attended` wQ if o is trained; f32: R a row and adapter; with dropout a bit an input |
//! | forward, nothing kept | attention: `x h q k v attended mid`, with a norm of heads `q k` twice; MLP: `x mid h gate up` |
//! | backward beside the kept | down: `dy down`, and `activated` if it is trained; gate and up: `dy h`, three of D; attention: `dmid`, those of what was attended and of `q k v`, with a norm of heads `q k` again |
//! | experts | kept: `gate up` 2wkF of theirs, f32 scores of all experts and what the chosen ones count; inside: one expert for all tokens, 3wD and 4wF |
//! | products, CPU | the wider of D and F, n rows in bf16 if weights are bf16; unpacked rows of a quantised weight |
//! | products, elsewhere | an adapter in f32 beside activations of 16 bits: its input, its update and their gradients in f32; the widest quantised weight, unpacked |
//! | head, forward | CPU: logits of a slice of words for a few rows; elsewhere f32 of all words for a chunk of rows |
//! | head, with slopes | the same, turned into probabilities in place (elsewhere than on the CPU 5 of that size); `x`, slopes and their copy, D a scored row |
//! | attention inside | CPU: scores and their gradient, f32 WT a thread; elsewhere of all heads, `S = BHWT`: f32 S and S of probabilities forward, f32 S and 2S of probabilities and gradients backward, and `q k v` by heads, with gradients backward |
//!
//! Adapters, gradients and moments are f32, 4 bytes a parameter each.

use std::num::NonZeroUsize;

use candle_core::{DType, Result};

use super::decoder::Decoder;
use super::layer::{Gated, Layer, Projections};
use super::linear::{Adapter, Linear};
use super::ops::dropout::Dropout;
use super::ops::gpu;
use super::ops::products::activations_are_f32;
use super::ops::rope;
use super::param::Param;
use super::shape::Mixture;
use super::weight::{Part, Weight};
use crate::config::ActivationCheckpointing;

/// The batch of a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Rows, `B`.
    pub rows: usize,
    /// Columns, `T`.
    pub columns: usize,
    /// Columns the last block is asked for, `W`.
    pub window: usize,
}

/// Bytes of a forward and backward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrainingBytes {
    /// The most that the blocks take, forward or backward.
    pub blocks: usize,
    /// What is kept of them while the head runs.
    pub kept: usize,
    /// What the head takes at that time.
    pub head: usize,
    /// The largest buffer of that.
    pub chunk: usize,
}

/// Sizes of one layer's tensors.
struct Sizes {
    /// Bytes of an activation.
    unit: usize,
    n: usize,
    w: usize,
    d: usize,
    /// Width of all query heads, and of all key heads.
    q: usize,
    kv: usize,
    /// What a norm of heads makes beside queries and keys, `w Q + n K'`, or nothing without one.
    normed: usize,
    /// Width of the MLP of all tokens, 0 if there is none, and what a mixture of experts takes beside it.
    f: usize,
    mixture: Option<Mixture>,
    /// Bytes of f32 scores, `W T` a thread or `B H W T`, and whether it is the latter: on an accelerator.
    scores: usize,
    device: bool,
}

impl Decoder {
    /// Bytes of the base model's weights.
    pub fn weight_bytes(&self) -> usize {
        let matrices: usize = self.matrices().into_iter().map(Weight::bytes).sum();
        matrices + self.vectors().into_iter().map(Param::bytes).sum::<usize>()
    }

    /// Bytes of the rotary tables for rows of so many columns.
    pub fn table_bytes(&self, columns: usize) -> usize {
        rope::Tables::bytes(columns, self.shape.rotated)
    }

    /// Bytes that [`Decoder::for_sampling`] copies, of weights or of adapters.
    pub fn sampling_bytes(&self, merge: bool) -> usize {
        if !merge {
            let adapters = self.linears().filter_map(|l| l.adapter.as_ref());
            let numbers = adapters.map(|a| a.a.value().elem_count() + a.b.value().elem_count()).sum::<usize>();
            return if self.samples_with_copies() { numbers * self.unit() } else { 0 };
        }
        let adapted = self.linears().filter(|l| l.adapter.is_some());
        adapted.map(|l| &l.weight).filter(|w| !w.is_quantised()).map(Weight::bytes).sum()
    }

    /// Bytes of a forward pass through the blocks that keeps nothing.
    pub fn forward_bytes(&self, extent: Extent) -> usize {
        let blocks = self.layers.iter().enumerate().map(|(i, b)| b.forward_bytes(&self.sizes(extent, i)));
        blocks.max().unwrap_or(0) + self.product_bytes(extent)
    }

    /// Bytes of the keys and values of `columns` columns in `rows` rows.
    pub fn cache_bytes(&self, rows: usize, columns: usize) -> usize {
        2 * self.layers.len() * rows * columns * self.shape.keys() * self.unit()
    }

    /// What a product takes beside its operands: on the CPU the left one rounded to bf16, and unpacked blocks; elsewhere a
    /// whole quantised weight, in f32 and in the dtype of activations.
    fn product_bytes(&self, extent: Extent) -> usize {
        if !gpu::is_host(self.device()) {
            let packed = self.matrices().into_iter().filter(|w| w.is_quantised()).filter_map(|w| w.dims2().ok());
            let widest = packed.map(|(out, input)| out * input).max().unwrap_or(0);
            return widest * (DType::F32.size_in_bytes() + self.unit());
        }
        let width = self.shape.widest();
        let rounded = match activations_are_f32(self.dtype(), self.device()) {
            true => extent.rows * extent.columns * width * DType::BF16.size_in_bytes(),
            false => 0,
        };
        let matrices = self.layers.iter().flat_map(Layer::parts).filter_map(Part::matrix);
        rounded + matrices.map(Weight::unpacked_bytes).max().unwrap_or(0)
    }

    /// Bytes of the logits of `rows` rows that exist at once: of a slice of the vocabulary on the CPU, else of a chunk
    /// of rows.
    ///
    /// # Errors
    /// None that a loaded model has.
    pub fn logits_bytes(&self, rows: usize) -> Result<usize> {
        match gpu::is_host(self.device()) {
            true => self.head.slice_bytes(rows),
            false => Ok(rows.min(self.head.chunk_rows()?) * self.shape.vocabulary * DType::F32.size_in_bytes()),
        }
    }

    /// Bytes of the logits of `rows` rows where whole rows are asked for: of a chunk of rows, in f32 and in the working
    /// dtype.
    ///
    /// # Errors
    /// None that a loaded model has.
    pub fn whole_logits_bytes(&self, rows: usize) -> Result<usize> {
        let copies = DType::F32.size_in_bytes() + if self.unit() < 4 { self.unit() } else { 0 };
        Ok(rows.min(self.head.chunk_rows()?) * self.shape.vocabulary * copies)
    }

    /// Bytes of a forward pass and its backward, beside the gradients; `adding` to those of earlier passes, if there
    /// are any. Every column of the window is taken to be scored.
    ///
    /// # Errors
    /// None that a loaded model has.
    pub fn training_bytes(
        &self,
        extent: Extent,
        checkpointing: ActivationCheckpointing,
        adding: bool,
    ) -> Result<TrainingBytes> {
        match checkpointing {
            ActivationCheckpointing::Off => self.pass_bytes(extent, self.layers.len(), true, adding),
            ActivationCheckpointing::Every(layers) => {
                let keep_last = self.keeps_last(extent, layers)?;
                self.pass_bytes(extent, layers.get(), keep_last, adding)
            }
        }
    }

    /// Whether the activations of the last layers of a checkpointed pass can wait for their backward while the head
    /// runs, with no effect on the peak. If not, they make room for the head and are computed again.
    pub(super) fn keeps_last(&self, extent: Extent, layers: NonZeroUsize) -> Result<bool> {
        let TrainingBytes { blocks, kept, head, .. } = self.pass_bytes(extent, layers.get(), true, true)?;
        // what attention takes depends on the number of threads, and what is kept must not
        Ok(kept + head + 2 * self.sizes(extent, 0).scores <= blocks)
    }

    fn pass_bytes(&self, extent: Extent, length: usize, keep_last: bool, adding: bool) -> Result<TrainingBytes> {
        let n = self.layers.len();
        let input = extent.rows * extent.columns * self.shape.width * self.unit();
        let of = |i: usize| (&self.layers[i], self.sizes(extent, i));
        let saved = |i: usize| of(i).0.saved_bytes(&of(i).1);
        let (mut blocks, mut kept) = (0, 0);
        for (segment, first) in (0..n).step_by(length.min(n)).enumerate() {
            let end = n.min(first + length);
            let below = segment * input;
            // on the way back the blocks of a segment go one by one
            for i in first..end {
                let so_far: usize = (first..=i).map(saved).sum();
                blocks = blocks.max(below + so_far + of(i).0.backward_bytes(&of(i).1));
            }
            if end == n && keep_last {
                kept = below + (first..end).map(saved).sum::<usize>();
            } else {
                let forward = (first..end).map(|i| of(i).0.forward_bytes(&of(i).1)).max().unwrap_or(0);
                blocks = blocks.max(below + input + forward);
                kept = below + input;
            }
        }
        let scored = extent.rows * extent.window;
        let row = self.shape.width * self.unit();
        let cpu = gpu::is_host(self.device());
        // the CPU goes over slices of words, unless it trains the head's own weight
        let chunk = match cpu && !self.head.weight.is_trainable() {
            true => self.head.slice_bytes(scored)?,
            false => scored.min(self.head.chunk_rows()?) * self.shape.vocabulary * DType::F32.size_in_bytes(),
        };
        // the CPU turns logits into probabilities in place, elsewhere there are shifted and normed copies
        let chunks = if cpu { 1 } else { 5 };
        let head = chunks * chunk + 4 * scored * row + self.head_gradient_bytes(adding);
        Ok(TrainingBytes { blocks: blocks + self.product_bytes(extent), kept, head, chunk })
    }

    /// The head's own gradient, if it is trained: three at once for every chunk, one of them to stay if it is the first.
    fn head_gradient_bytes(&self, adding: bool) -> usize {
        let copies = if adding { 3 } else { 2 };
        let trained = self.head.weight.dense().filter(|w| w.is_trainable());
        trained.map_or(0, |w| copies * w.value().elem_count() * DType::F32.size_in_bytes())
    }

    fn unit(&self) -> usize {
        self.activations().size_in_bytes()
    }

    fn sizes(&self, Extent { rows, columns, window }: Extent, block: usize) -> Sizes {
        let shape = &self.shape;
        let window = if block + 1 == self.layers.len() { window } else { columns };
        let (device, mixture) = (!gpu::is_host(self.device()), shape.mixture(block).copied());
        let matrices = if device { rows * shape.heads } else { rayon::current_num_threads() };
        Sizes {
            unit: self.unit(),
            n: rows * columns,
            w: rows * window,
            d: shape.width,
            q: shape.queries(),
            kv: shape.keys(),
            normed: if shape.qk_norm { rows * (window * shape.queries() + columns * shape.keys()) } else { 0 },
            f: mixture.map_or(shape.ffn, |mixture| mixture.shared_ffn),
            mixture,
            scores: matrices * window * columns * DType::F32.size_in_bytes(),
            device,
        }
    }
}

/// Rank of a layer's adapter.
fn rank(linear: &Linear) -> usize {
    linear.adapter.as_ref().map_or(0, |a| a.a.value().dims()[0])
}

/// Whether a layer's backward wants its input.
fn wants_input(linear: &Linear) -> bool {
    linear.weight.is_trainable() || linear.adapter.is_some()
}

/// Copies of a layer's input that dropout takes on the CPU going forward: the input with what is kept of it. (Going back
/// the gradient of the input takes that place later, dropout or not.)
fn dropout_copies(linear: &Linear, device: bool) -> usize {
    linear.adapter.as_ref().map_or(0, |a| usize::from(a.dropout > 0.0 && !device))
}

/// What is kept of a layer's dropout on the CPU.
fn dropout_bytes(linear: &Linear, rows: usize, device: bool) -> usize {
    let width = |a: &Adapter| a.a.value().dims()[1];
    let drawn = |a: &&Adapter| a.dropout > 0.0 && !device;
    linear.adapter.as_ref().filter(drawn).map_or(0, |a| Dropout::bytes_of(rows, width(a)))
}

/// What an adapter in f32 takes on an accelerator beside activations of 16 bits, or with dropout: its input and its update,
/// or their gradients, in f32.
fn adapter_bytes(linear: &Linear, rows: usize, s: &Sizes) -> usize {
    let f32_bytes = DType::F32.size_in_bytes();
    let (Some(adapter), true) = (&linear.adapter, s.device) else { return 0 };
    let (input, out) = (adapter.a.value().dims()[1], adapter.b.value().dims()[0]);
    match (adapter.a.value().dtype().size_in_bytes() > s.unit, adapter.dropout > 0.0) {
        (true, _) => rows * (input + out) * f32_bytes,
        (false, true) => rows * input * f32_bytes,
        (false, false) => 0,
    }
}

impl Layer {
    fn saved_bytes(&self, s: &Sizes) -> usize {
        let attended = if wants_input(&self.o) { s.w * s.q } else { 0 };
        let low = |(linear, rows): (&Linear, usize)| {
            rank(linear) * rows * DType::F32.size_in_bytes() + dropout_bytes(linear, rows, s.device)
        };
        let activations = s.n * s.d + s.w * (s.d + s.q) + 2 * s.n * s.kv + 2 * s.w * s.f + attended;
        let mixture = s
            .mixture
            .map_or(0, |Mixture { routing, ffn, .. }| 2 * s.w * routing.chosen * ffn * s.unit + routing.bytes(s.w));
        activations * s.unit + mixture + self.with_rows(s).map(low).sum::<usize>()
    }

    /// The layers that can have adapters, with the rows that they see.
    fn with_rows(&self, s: &Sizes) -> impl Iterator<Item = (&Linear, usize)> {
        let attention = match &self.qkv {
            Projections::Apart(apart) => vec![(&apart.q, s.w), (&apart.k, s.n), (&apart.v, s.n)],
            Projections::Fused(all) => vec![(&**all, s.n)],
        };
        attention.into_iter().chain([(&self.o, s.w)]).chain(self.mlp.linears().into_iter().map(|linear| (linear, s.w)))
    }

    /// The most that the adapters of the MLP take, and those of attention.
    fn adapters_bytes(&self, s: &Sizes) -> (usize, usize) {
        let mlp = self.mlp.linears().into_iter().map(|linear| adapter_bytes(linear, s.w, s)).max().unwrap_or(0);
        let attention = self.with_rows(s).take(self.qkv.linears().len() + 1);
        (mlp, attention.map(|(linear, rows)| adapter_bytes(linear, rows, s)).max().unwrap_or(0))
    }

    /// The most that an expert takes, forward or backward, if all tokens go to it: its input and output, or their
    /// gradients, and of its width the gate, the gated branch and what is made of them, weighted and not.
    fn expert_bytes(&self, s: &Sizes) -> usize {
        s.mixture.map_or(0, |mixture| s.w * (3 * s.d + 4 * mixture.ffn) * s.unit)
    }

    fn forward_bytes(&self, s: &Sizes) -> usize {
        let (mlp_adapters, adapters) = self.adapters_bytes(s);
        // probabilities have the dtype of activations
        let scores = match s.device {
            true => s.scores + s.scores * s.unit / 4 + (2 * s.w * s.q + 2 * s.n * s.kv) * s.unit,
            false => s.scores,
        };
        let attention =
            (2 * s.n * s.d + 2 * s.n * s.kv + s.w * (2 * s.q + s.d) + s.normed) * s.unit + scores.max(adapters);
        let up = self.mlp.of_all().map(|Gated { up, .. }| dropout_copies(up, s.device));
        let dropped = up.unwrap_or(0) * s.w * s.d;
        // queries, keys and values are cut out of one buffer
        let fused = if matches!(self.qkv, Projections::Fused(_)) { s.n * (s.q + 2 * s.kv) * s.unit } else { 0 };
        let mlp = (s.n * s.d + 2 * s.w * s.d + 2 * s.w * s.f + dropped) * s.unit + mlp_adapters;
        let activated = if s.device { s.w * s.f * s.unit } else { 0 };
        (attention + fused).max(mlp + activated + self.expert_bytes(s))
    }

    /// What the backward takes beside what is kept.
    fn backward_bytes(&self, s: &Sizes) -> usize {
        let (wd, wf) = (s.w * s.d, s.w * s.f);
        let trained = self.mlp.of_all().map_or(0, |Gated { down, .. }| usize::from(wants_input(down)));
        let (out, in_) = (wd + (1 + trained) * wf, 5 * wd);
        let experts = self.expert_bytes(s);
        if !s.device {
            let attention = wd + 2 * s.w * s.q + 2 * s.n * s.kv + s.normed;
            return out.max(in_).max(attention) * s.unit + 2 * s.scores + experts;
        }
        let (mlp_adapters, adapters) = self.adapters_bytes(s);
        // by heads: q, k, v and the gradient of what was attended, then the gradients of q, k and v
        let heads = (4 * s.w * s.q + 4 * s.n * s.kv) * s.unit;
        let attention =
            (2 * s.w * s.d.max(s.q) + s.normed) * s.unit + (heads + s.scores + s.scores * s.unit / 2).max(adapters);
        // gate and up are one buffer, which stays while one of them is needed
        (out.max(in_ + wf) * s.unit + mlp_adapters + experts).max(attention)
    }
}
