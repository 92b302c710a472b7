//! How much memory the model and its passes take, from the shapes of the tensors that live at once.
//!
//! With `n = B T` and `w = B W` rows (`W = T` but for the last block; it keeps less where some places of its window are
//! not asked for), `K' = K E` and the letters of `src/lib.rs`, in
//! activations (f32 on the CPU, the working dtype elsewhere) unless it says f32:
//!
//! | what | tensors |
//! |---|---|
//! | kept of a block | `x` nD, `q mid` 2wD, `k v` 2nK', `gate up` 2wF, `attended` wD if attn_out is trained; f32: R a row and adapter; with dropout a bit an input |
//! | forward, nothing kept | attention: `x h q k v attended mid`; MLP: `x mid h gate up` |
//! | backward beside the kept | ff_out: `dy down`, and `activated` if it is trained (elsewhere than on the CPU with its dropout); gate and up: `dy h`, three of D |
//! | products, CPU | the wider of D and F, n rows in bf16 if weights are bf16; unpacked rows of a quantised weight |
//! | head, forward | CPU: logits of a slice of words for a few rows; elsewhere of all words for a chunk of rows |
//! | head, with slopes | the same, turned into probabilities in place (elsewhere than on the CPU 5 of that size); `x`, slopes and their copy, D a scored row |
//! | attention inside | CPU: scores and their gradient, f32 WT a thread; elsewhere f32 BHWT, 3 forward, 5 backward |
//!
//! Adapters, gradients and moments are f32, 4 bytes a parameter each.

use std::num::NonZeroUsize;

use candle_core::{DType, Result};

use super::block::Block;
use super::linear::{Adapter, Linear};
use super::llada::Llada;
use super::ops::dropout::Dropout;
use super::ops::products::activations_are_f32;
use super::ops::rope;
use super::param::Param;
use super::weight::Weight;
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

/// Sizes of one block's tensors.
struct Sizes {
    /// Bytes of an activation.
    unit: usize,
    n: usize,
    w: usize,
    d: usize,
    kv: usize,
    f: usize,
    /// Bytes of a score matrix, `W T` a thread or `B H W T`, and whether it is the latter.
    scores: usize,
    composed: bool,
}

impl Llada {
    /// Bytes of the base model's weights.
    pub fn weight_bytes(&self) -> usize {
        let matrices: usize = self.matrices().into_iter().map(Weight::bytes).sum();
        matrices + self.norms().into_iter().map(Param::bytes).sum::<usize>()
    }

    /// Bytes of the rotary tables for rows of so many columns.
    pub fn table_bytes(&self, columns: usize) -> usize {
        rope::Tables::bytes(columns, self.config.head_dim())
    }

    /// Bytes of the weights that [`Llada::merged`] copies.
    pub fn merged_bytes(&self) -> usize {
        let adapted = self.blocks.iter().flat_map(|b| b.linears()).filter(|(_, l)| l.adapter.is_some());
        adapted.map(|(_, l)| &l.weight).filter(|w| !w.is_quantised()).map(Weight::bytes).sum()
    }

    /// Bytes of a forward pass through the blocks that keeps nothing.
    pub fn forward_bytes(&self, extent: Extent) -> usize {
        let blocks = self.blocks.iter().enumerate().map(|(i, b)| b.forward_bytes(&self.sizes(extent, i)));
        blocks.max().unwrap_or(0) + self.product_bytes(extent)
    }

    /// Bytes of the keys and values of `columns` columns in `rows` rows.
    pub fn cache_bytes(&self, rows: usize, columns: usize) -> usize {
        2 * self.blocks.len() * rows * columns * self.config.n_kv_heads * self.config.head_dim() * self.unit()
    }

    /// What a product takes on the CPU beside its operands: the left one rounded to bf16, and unpacked blocks.
    fn product_bytes(&self, extent: Extent) -> usize {
        let width = self.config.d_model.max(self.config.mlp_hidden_size);
        let rounded = match activations_are_f32(self.dtype(), self.device()) {
            true => extent.rows * extent.columns * width * DType::BF16.size_in_bytes(),
            false => 0,
        };
        rounded
            + self.blocks.iter().flat_map(|b| b.linears()).map(|(_, l)| l.weight.unpacked_bytes()).max().unwrap_or(0)
    }

    /// Bytes of the logits of `rows` rows that exist at once: of a slice of the vocabulary on the CPU, else of a chunk
    /// of rows.
    ///
    /// # Errors
    /// None that a loaded model has.
    pub fn logits_bytes(&self, rows: usize) -> Result<usize> {
        match self.device().is_cpu() {
            true => self.head.slice_bytes(rows),
            false => Ok(rows.min(self.head.chunk_rows()?) * self.config.embedding_size * self.unit()),
        }
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
            ActivationCheckpointing::Off => self.pass_bytes(extent, self.blocks.len(), true, adding),
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
        let n = self.blocks.len();
        let input = extent.rows * extent.columns * self.config.d_model * self.unit();
        let of = |i: usize| (&self.blocks[i], self.sizes(extent, i));
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
        let row = self.config.d_model * self.unit();
        let cpu = self.device().is_cpu();
        // the CPU goes over slices of words, unless it trains the head's own weight
        let chunk = match cpu && !self.head.weight.is_trainable() {
            true => self.head.slice_bytes(scored)?,
            false => scored.min(self.head.chunk_rows()?) * self.config.embedding_size * DType::F32.size_in_bytes(),
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
        if self.device().is_cpu() { DType::F32.size_in_bytes() } else { self.dtype().size_in_bytes() }
    }

    fn sizes(&self, Extent { rows, columns, window }: Extent, block: usize) -> Sizes {
        let config = &self.config;
        let window = if block + 1 == self.blocks.len() { window } else { columns };
        let composed = !self.device().is_cpu();
        let matrices = if composed { rows * config.n_heads } else { rayon::current_num_threads() };
        Sizes {
            unit: self.unit(),
            n: rows * columns,
            w: rows * window,
            d: config.d_model,
            kv: config.n_kv_heads * config.head_dim(),
            f: config.mlp_hidden_size,
            scores: matrices * window * columns * DType::F32.size_in_bytes(),
            composed,
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

/// Copies of a layer's input that dropout takes going forward: the input with what is kept of it; composed, what to
/// multiply it with, too.
fn dropout_copies(linear: &Linear, composed: bool) -> usize {
    linear.adapter.as_ref().map_or(0, |a| if a.dropout > 0.0 { 1 + usize::from(composed) } else { 0 })
}

/// The same going back. On the CPU the gradient of the input takes that place later, dropout or not.
fn dropout_copies_back(linear: &Linear, composed: bool) -> usize {
    if composed { dropout_copies(linear, composed) } else { 0 }
}

/// What is kept of a layer's dropout.
fn dropout_bytes(linear: &Linear, rows: usize) -> usize {
    let width = |a: &Adapter| a.a.value().dims()[1];
    linear.adapter.as_ref().map_or(0, |a| if a.dropout > 0.0 { Dropout::bytes_of(rows, width(a)) } else { 0 })
}

impl Block {
    fn saved_bytes(&self, s: &Sizes) -> usize {
        let attended = if wants_input(&self.attn_out) { s.w * s.d } else { 0 };
        let of_all = [&self.k_proj, &self.v_proj].map(|linear| (linear, s.n));
        let of_window =
            [&self.q_proj, &self.attn_out, &self.ff_proj, &self.up_proj, &self.ff_out].map(|linear| (linear, s.w));
        let low = |(linear, rows): &(&Linear, usize)| {
            rank(linear) * rows * DType::F32.size_in_bytes() + dropout_bytes(linear, *rows)
        };
        let activations = s.n * s.d + 2 * s.w * s.d + 2 * s.n * s.kv + 2 * s.w * s.f + attended;
        activations * s.unit + of_all.iter().chain(&of_window).map(low).sum::<usize>()
    }

    fn forward_bytes(&self, s: &Sizes) -> usize {
        let scores = if s.composed { 3 * s.scores + 3 * s.n * s.d * s.unit } else { s.scores };
        let attention = (2 * s.n * s.d + 2 * s.n * s.kv + 3 * s.w * s.d) * s.unit + scores;
        let dropped = dropout_copies(&self.up_proj, s.composed) * s.w * s.d;
        let mlp = (s.n * s.d + 2 * s.w * s.d + 2 * s.w * s.f + dropped) * s.unit;
        let composed = if s.composed { s.w * s.f * s.unit } else { 0 };
        attention.max(mlp + composed)
    }

    /// What the backward takes beside what is kept.
    fn backward_bytes(&self, s: &Sizes) -> usize {
        let (wd, wf) = (s.w * s.d, s.w * s.f);
        let trained = if wants_input(&self.ff_out) { 1 + dropout_copies_back(&self.ff_out, s.composed) } else { 0 };
        let out = wd + (1 + trained) * wf;
        let in_ = (5 + dropout_copies_back(&self.up_proj, s.composed)) * wd;
        let composed = if s.composed { 5 * s.scores + 8 * wf * DType::F32.size_in_bytes() } else { 2 * s.scores };
        out.max(in_) * s.unit + composed
    }
}
