//! The decoder: a bidirectional stack of layers like Llama's, of whatever family.
//!
//! Hidden states and logits are separate steps, so that the vocabulary is only touched for rows that matter.

use std::collections::BTreeMap;
use std::ops::Range;

use candle_core::{DType, Device, Result, Tensor, Var};

use super::batch::{Batch, Pass, Span};
use super::footprint::Extent;
use super::head::Head;
use super::layer::{Layer, Saved, Shared};
use super::linear::Linear;
use super::lora::AdapterConfig;
use super::names::Names;
use super::ops::products::activations_are_f32;
use super::ops::{gpu, rope};
use super::param::{Gradients, Param};
use super::shape::Shape;
use super::uploaded::Made;
use super::weight::{Part, Weight};
use super::window::{Place, Predictions, Window};
use crate::config::ActivationCheckpointing;
use crate::text::SpecialIds;

/// The model, with or without adapters.
#[derive(Clone, Debug)]
pub struct Decoder {
    /// What models of this kind are called.
    pub(super) family: &'static str,
    pub(super) shape: Shape,
    pub(super) names: &'static Names,
    pub(super) ids: SpecialIds,
    pub(super) dtype: DType,
    /// None where the head's weight is also the embedding.
    pub(super) embedding: Option<Weight>,
    pub(super) layers: Vec<Layer>,
    pub(super) head: Head,
    pub(super) tables: rope::Tables,
    /// What describes the adapters of the layers, if there are any.
    pub(super) adapters: Option<AdapterConfig>,
}

/// What a forward pass keeps for its backward.
#[derive(Debug)]
pub struct Tape {
    ids: Tensor, // [B*T]
    window: Window,
    /// From the bottom up.
    segments: Vec<Segment>,
}

/// Consecutive layers of a tape.
#[derive(Debug)]
struct Segment {
    layers: Range<usize>,
    kept: Kept,
}

/// What is kept of a segment.
#[derive(Debug)]
enum Kept {
    /// What every layer's backward needs.
    Saved(Vec<Saved>),
    /// The input of the first layer, `[B*T, D]`: the layers are run again.
    Input(Tensor),
}

#[cfg(test)]
impl Tape {
    /// What is held, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let of = |segment: &Segment| match &segment.kept {
            Kept::Input(x) => x.elem_count() * x.dtype().size_in_bytes(),
            Kept::Saved(saved) => saved.iter().map(Saved::bytes).sum(),
        };
        self.segments.iter().map(of).sum()
    }

    /// How many inputs of segments and how many layers' activations are held.
    pub(super) fn kept(&self) -> (usize, usize) {
        self.segments.iter().fold((0, 0), |(inputs, layers), segment| match &segment.kept {
            Kept::Input(_) => (inputs + 1, layers),
            Kept::Saved(saved) => (inputs, layers + saved.len()),
        })
    }
}

impl Decoder {
    /// What models of this kind are called.
    pub fn family(&self) -> &'static str {
        self.family
    }

    /// Sizes.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Special ids.
    pub fn ids(&self) -> &SpecialIds {
        &self.ids
    }

    /// The key of `config.json` that has the longest sequence.
    pub fn positions_key(&self) -> &'static str {
        self.names.positions
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

    /// Where the predictions of the tokens at some places of a batch are read.
    ///
    /// # Panics
    /// If there is no place.
    pub fn predictions(&self, places: &[Place], batch: &Batch) -> Predictions {
        Predictions::of(places, &batch.pad, self.shape.shifted)
    }

    /// Hidden states of the places in `window`, before the final norm.
    ///
    /// # Shapes
    /// Returns `[N, D]` in the order of the places; `[B * W, D]`, row after row, if `window` is all of some columns.
    pub fn hidden(&self, batch: &Batch, window: impl Into<Window>, pass: Pass<'_>) -> Result<Tensor> {
        let (window, x) = (window.into(), self.embed(&self.upload_ids(batch)?)?); // [B*T, D]
        let full = Span::full(batch, pass);
        let made = self.made(&full, &window)?;
        self.run(x, 0..self.layers.len(), full.with(&made), &window, false).map(|(x, _)| x)
    }

    /// As [`Decoder::hidden`], keeping what [`Decoder::backward`] needs.
    ///
    /// With checkpointing that is the input of every so many layers, so that going back, the activations of these
    /// few layers stand in memory instead of those of all. Dropout is drawn from keys: layers that are run again
    /// give the same bits.
    pub fn hidden_with_tape(
        &self,
        batch: &Batch,
        window: impl Into<Window>,
        pass: Pass<'_>,
        checkpointing: ActivationCheckpointing,
    ) -> Result<(Tensor, Tape)> {
        let window = window.into();
        let ids = self.upload_ids(batch)?;
        let mut x = self.embed(&ids)?; // [B*T, D]
        let n = self.layers.len();
        let (length, keep_last) = match checkpointing {
            ActivationCheckpointing::Off => (n, true),
            ActivationCheckpointing::Every(layers) => {
                let extent = Extent { rows: batch.len(), columns: batch.columns(), window: window.columns.len() };
                (layers.get().min(n), self.keeps_last(extent, layers)?)
            }
        };
        let full = Span::full(batch, pass);
        let made = self.made(&full, &window)?;
        let full = full.with(&made);
        let mut segments = Vec::new();
        for first in (0..n).step_by(length) {
            let layers = first..n.min(first + length);
            let keep = keep_last && layers.end == n;
            let (y, saved) = self.run(x.clone(), layers.clone(), full, &window, keep)?;
            segments.push(Segment { layers, kept: if keep { Kept::Saved(saved) } else { Kept::Input(x) } });
            x = y;
        }
        Ok((x, Tape { ids, window, segments }))
    }

    /// What a pass over `full` has to know.
    pub(super) fn made(&self, full: &Span<'_>, window: &Window) -> Result<Made> {
        Made::of(self.shape.sight, full, window, self.device())
    }

    fn upload_ids(&self, batch: &Batch) -> Result<Tensor> {
        gpu::upload(&batch.ids, batch.ids.len(), self.device())
    }

    /// Runs some layers on the input of the first of them.
    fn run(
        &self,
        mut x: Tensor,
        layers: Range<usize>,
        full: Span<'_>,
        window: &Window,
        keep: bool,
    ) -> Result<(Tensor, Vec<Saved>)> {
        let mut all = Vec::new();
        for i in layers {
            let (y, saved) = self.layers[i].forward(&x, &self.shared(full, window, i), keep)?;
            x = y;
            all.extend(saved);
        }
        Ok((x, all))
    }

    /// Runs some layers again, up to what the backward of the last one needs.
    fn rerun(&self, x: Tensor, layers: Range<usize>, full: Span<'_>, window: &Window) -> Result<Vec<Saved>> {
        let Range { start, end } = layers;
        let (x, mut all) = self.run(x, start..end - 1, full, window, true)?;
        all.push(self.layers[end - 1].save(x, &self.shared(full, window, end - 1))?);
        Ok(all)
    }

    fn embedding(&self) -> &Weight {
        self.embedding.as_ref().unwrap_or(&self.head.weight)
    }

    /// Embeddings of tokens, as activations: `[N, D]`.
    pub(super) fn embed(&self, ids: &Tensor) -> Result<Tensor> {
        gpu::noted(1);
        gpu::cast(&self.embedding().rows(ids)?, self.activations())
    }

    /// Only the last layer may leave places out: the others feed keys and values to all of its queries.
    pub(super) fn shared<'a>(&'a self, full: Span<'a>, window: &'a Window, layer: usize) -> Shared<'a> {
        let (window, picked) = match layer + 1 == self.layers.len() {
            true => (full.window(&window.columns), full.pick(window)),
            false => (full, full),
        };
        Shared { shape: &self.shape, tables: &self.tables, full, window, picked }
    }

    /// Back-propagates through the layers, adding to `gradients`. `batch` and `pass` are those of the forward.
    ///
    /// # Shapes
    /// `dx` `[N, D]`, the gradient of what [`Decoder::hidden_with_tape`] returned.
    pub fn backward(
        &self,
        tape: Tape,
        batch: &Batch,
        pass: Pass<'_>,
        dx: Tensor,
        gradients: &mut Gradients,
    ) -> Result<()> {
        let Tape { ids, window, segments } = tape;
        let full = Span::full(batch, pass);
        let made = self.made(&full, &window)?;
        let full = full.with(&made);
        let mut dx = dx;
        for Segment { layers, kept } in segments.into_iter().rev() {
            let saved = match kept {
                Kept::Saved(saved) => saved,
                Kept::Input(x) => self.rerun(x, layers.clone(), full, &window)?,
            };
            for (i, saved) in layers.zip(saved).rev() {
                let shared = self.shared(full, &window, i);
                match self.layers[i].backward(&dx, saved, &shared, self.has_trainable_before(i), gradients)? {
                    Some(below) => dx = below,
                    None => return Ok(()),
                }
            }
        }
        if let Some(embedding) = self.embedding().dense().filter(|w| w.is_trainable()) {
            let rows = dx.to_dtype(DType::F32)?;
            let zeros = embedding.value().to_dtype(DType::F32)?.zeros_like()?;
            gradients.add(embedding.name(), zeros.index_add(&ids, &rows, 0)?)?;
        }
        Ok(())
    }

    /// Whether the gradient of layer `i`'s input leads to anything that is trained.
    fn has_trainable_before(&self, i: usize) -> bool {
        self.embedding().is_trainable()
            || self.layers[i].attn_norm.is_trainable()
            || self.layers[..i].iter().any(|below| below.linears().iter().any(|l| l.adapter.is_some()))
    }

    /// The base model's weights, in the order in which they are made.
    fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        let layers = self.layers.iter().flat_map(Layer::parts);
        let ends = [Part::Vector(&self.head.norm), Part::Matrix(&self.head.weight)];
        self.embedding.iter().map(Part::Matrix).chain(layers).chain(ends)
    }

    /// The matrices of the base model: embedding, linear layers, head.
    pub fn matrices(&self) -> Vec<&Weight> {
        self.parts().filter_map(Part::matrix).collect()
    }

    /// The vectors of the base model: norms and biases.
    pub fn vectors(&self) -> Vec<&Param> {
        self.parts().filter_map(Part::vector).collect()
    }

    /// The linear layers of all layers, in the order in which they are numbered.
    pub(super) fn linears(&self) -> impl Iterator<Item = &Linear> {
        self.layers.iter().flat_map(Layer::linears)
    }

    /// Every weight of the base model that lies as numbers, neither in panels nor in layers.
    pub fn params(&self) -> Vec<&Param> {
        self.matrices().into_iter().filter_map(Weight::dense).chain(self.vectors()).collect()
    }

    /// How many numbers the base model is made of.
    pub fn parameter_count(&self) -> usize {
        let matrices = self.matrices().into_iter().filter_map(|w| w.dims2().ok()).map(|(out, input)| out * input);
        matrices.chain(self.vectors().into_iter().map(|p| p.value().elem_count())).sum()
    }

    /// The variables to train, by name: adapters, or all weights of a model loaded for full fine-tuning.
    pub fn trainable(&self) -> BTreeMap<String, Var> {
        let adapters = self.linears().filter_map(|l| l.adapter.as_ref());
        let params = adapters.flat_map(|a| [&a.a, &a.b]).chain(self.params());
        params.filter_map(|p| Some((p.name().to_owned(), p.var()?.clone()))).collect()
    }
}
