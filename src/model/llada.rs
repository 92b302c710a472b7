//! LLaDA: a bidirectional Llama-style encoder whose logits at position i predict token i.
//!
//! Hidden states and logits are separate steps, so that the vocabulary is only touched for rows that matter.

use std::collections::BTreeMap;
use std::ops::Range;

use candle_core::{DType, Device, Result, Tensor, Var};

use super::batch::{Batch, Pass, Span};
use super::block::{Block, Saved, Shared};
use super::config::LladaConfig;
use super::head::Head;
use super::ops::products::activations_are_f32;
use super::ops::rope;
use super::param::{Gradients, Param};
use super::weight::Weight;

/// The model, with or without adapters.
#[derive(Clone, Debug)]
pub struct Llada {
    pub(super) config: LladaConfig,
    pub(super) dtype: DType,
    pub(super) wte: Weight,
    pub(super) blocks: Vec<Block>,
    pub(super) head: Head,
    pub(super) tables: rope::Tables,
}

/// What a forward pass keeps for its backward.
#[derive(Debug)]
pub struct Tape {
    ids: Tensor, // [B*T]
    window: Range<usize>,
    saved: Vec<Saved>,
}

impl Llada {
    /// Sizes and special ids.
    pub fn config(&self) -> &LladaConfig {
        &self.config
    }

    /// Where the weights are.
    pub fn device(&self) -> &Device {
        self.head.norm.value().device()
    }

    /// Working precision: the dtype of the weights.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The dtype of activations: f32 on the CPU, where bf16 is a matter of weights and products, else that of the weights.
    pub fn activations(&self) -> DType {
        if activations_are_f32(self.dtype(), self.device()) { DType::F32 } else { self.dtype() }
    }

    /// Final norm and head.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Hidden states of the columns in `window`, before the final norm.
    ///
    /// # Shapes
    /// Returns `[B * W, D]`, row after row.
    pub fn hidden(&self, batch: &Batch, window: Range<usize>, pass: Pass<'_>) -> Result<Tensor> {
        self.run(batch, &window, pass, None).map(|(x, _)| x)
    }

    /// As [`Llada::hidden`], keeping what [`Llada::backward`] needs.
    pub fn hidden_with_tape(&self, batch: &Batch, window: Range<usize>, pass: Pass<'_>) -> Result<(Tensor, Tape)> {
        let mut saved = Vec::with_capacity(self.blocks.len());
        let (x, ids) = self.run(batch, &window, pass, Some(&mut saved))?;
        Ok((x, Tape { ids, window, saved }))
    }

    fn run(
        &self,
        batch: &Batch,
        window: &Range<usize>,
        pass: Pass<'_>,
        mut tape: Option<&mut Vec<Saved>>,
    ) -> Result<(Tensor, Tensor)> {
        let ids = Tensor::from_slice(&batch.ids, batch.ids.len(), self.device())?;
        let mut x = self.embed(&ids)?; // [B*T, D]
        for (i, block) in self.blocks.iter().enumerate() {
            let (y, saved) = block.forward(&x, &self.shared(batch, window, pass, i), tape.is_some())?;
            x = y;
            if let (Some(tape), Some(saved)) = (&mut tape, saved) {
                tape.push(saved);
            }
        }
        Ok((x, ids))
    }

    /// Embeddings of tokens, as activations: `[N, D]`.
    pub(super) fn embed(&self, ids: &Tensor) -> Result<Tensor> {
        self.wte.rows(ids)?.to_dtype(self.activations())
    }

    /// Only the last block may leave columns out: the others feed keys and values to all of its queries.
    fn shared<'a>(&'a self, batch: &'a Batch, window: &Range<usize>, pass: Pass<'a>, block: usize) -> Shared<'a> {
        let full = Span::full(batch, pass);
        let window = if block + 1 == self.blocks.len() { full.window(window) } else { full };
        Shared { config: &self.config, tables: &self.tables, full, window }
    }

    /// Back-propagates through the blocks, adding to `gradients`. `batch` and `pass` are those of the forward.
    ///
    /// # Shapes
    /// `dx` `[B * W, D]`, the gradient of what [`Llada::hidden_with_tape`] returned.
    pub fn backward(
        &self,
        tape: Tape,
        batch: &Batch,
        pass: Pass<'_>,
        dx: Tensor,
        gradients: &mut Gradients,
    ) -> Result<()> {
        let mut dx = dx;
        for (i, saved) in tape.saved.into_iter().enumerate().rev() {
            let shared = self.shared(batch, &tape.window, pass, i);
            match self.blocks[i].backward(&dx, &saved, &shared, self.has_trainable_before(i), gradients)? {
                Some(below) => dx = below,
                None => return Ok(()),
            }
        }
        if let Some(wte) = self.wte.dense().filter(|w| w.is_trainable()) {
            let rows = dx.to_dtype(DType::F32)?;
            let zeros = wte.value().to_dtype(DType::F32)?.zeros_like()?;
            gradients.add(wte.name(), zeros.index_add(&tape.ids, &rows, 0)?)?;
        }
        Ok(())
    }

    /// Whether the gradient of block `i`'s input leads to anything that is trained.
    fn has_trainable_before(&self, i: usize) -> bool {
        self.wte.is_trainable()
            || self.blocks[i].attn_norm.is_trainable()
            || self.blocks[..i].iter().any(|b| b.linears().iter().any(|(_, l)| l.adapter.is_some()))
    }

    /// The matrices of the base model: embedding, linear layers, head.
    pub fn matrices(&self) -> Vec<&Weight> {
        let linears = self.blocks.iter().flat_map(|b| b.linears()).map(|(_, l)| &l.weight);
        [&self.wte].into_iter().chain(linears).chain([&self.head.weight]).collect()
    }

    /// The norms of the base model.
    pub fn norms(&self) -> Vec<&Param> {
        let blocks = self.blocks.iter().flat_map(|b| [&b.attn_norm, &b.ff_norm]);
        blocks.chain([&self.head.norm]).collect()
    }

    /// Every weight of the base model that is not quantised.
    pub fn params(&self) -> Vec<&Param> {
        self.matrices().into_iter().filter_map(Weight::dense).chain(self.norms()).collect()
    }

    /// How many numbers the base model is made of.
    pub fn parameter_count(&self) -> usize {
        let matrices = self.matrices().into_iter().filter_map(|w| w.dims2().ok()).map(|(out, input)| out * input);
        matrices.chain(self.norms().into_iter().map(|p| p.value().elem_count())).sum()
    }

    /// The variables to train, by name: adapters, or all weights of a model loaded for full fine-tuning.
    pub fn trainable(&self) -> BTreeMap<String, Var> {
        let adapters = self.blocks.iter().flat_map(|b| b.linears()).filter_map(|(_, l)| l.adapter.as_ref());
        let params = adapters.flat_map(|a| [&a.a, &a.b]).chain(self.params());
        params.filter_map(|p| Some((p.name().to_owned(), p.var()?.clone()))).collect()
    }
}
