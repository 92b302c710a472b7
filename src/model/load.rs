//! Building a [`Decoder`] from a checkpoint folder, and writing it back.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::{Context, Result, bail};
use candle_core::quantized::GgmlDType;
use candle_core::{DType, Device, Tensor};

use super::decoder::Decoder;
use super::family::Description;
use super::gguf::{GgufFile, Loaded};
use super::head::Head;
use super::layer::{Experts, Gated, Layer, Mlp, Projections};
use super::linear::Linear;
use super::names::{MlpPart, Named, Slot, dims_by_name};
use super::ops::products::{Panels, Quantised, activations_are_f32};
use super::ops::rope;
use super::param::Param;
use super::room;
use super::shape::{Mixture, Shape};
use super::weight::Weight;
use super::weights::{SINGLE_FILE, WeightFiles};
use crate::config::BlockFormat;
use crate::meter::{self, Unit, Work};

/// Whether a model's own weights are trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// Frozen: only adapters are trained.
    Frozen,
    /// All of them are trained; the optimiser has f32 copies of those that are kept in less.
    Trainable,
}

/// How the matrices of a frozen model are kept in blocks.
#[derive(Clone, Copy, Debug)]
pub enum Blocks<'a> {
    /// The checkpoint's numbers are packed while they are read.
    Pack(BlockFormat),
    /// Read from this GGUF file, whose formats they keep.
    Gguf(&'a Path),
}

impl Decoder {
    /// Loads `config.json` and the weights of a folder in Hugging Face layout.
    ///
    /// # Errors
    /// Names the file, and every key or tensor that does not fit.
    pub fn load(dir: &Path, dtype: DType, device: &Device, weights: Weights) -> Result<Self> {
        Self::load_described(Description::read(dir)?, dir, dtype, device, weights)
    }

    /// As [`Decoder::load`], of a model that is described already.
    ///
    /// # Errors
    /// Names the file, and every tensor that does not fit.
    pub fn load_described(
        description: Description,
        dir: &Path,
        dtype: DType,
        device: &Device,
        weights: Weights,
    ) -> Result<Self> {
        let files = WeightFiles::open(dir)?;
        let idle = description.names.idle(&description.shape);
        files.check_but(&dims_by_name(&description.tensors()), idle.as_deref())?;
        room::check_weights(&description, dtype, None, device)?;
        let in_panels = weights == Weights::Frozen && Panels::serve(dtype, device);
        Self::build(description, weights, dtype, |tensor| {
            let Named { name, dims, .. } = tensor;
            if in_panels && tensor.is_multiplied {
                let rows = |start, len| files.load_rows(name, start, len);
                return Ok(Loaded::Panels(Panels::pack((dims[0], dims[1]), rows)?));
            }
            Ok(Loaded::Dense(files.load(name, kept_dtype(tensor, dtype, device), device)?))
        })
    }

    /// As [`Decoder::load`], frozen, with matrices in blocks.
    ///
    /// # Errors
    /// As [`Decoder::load`]; matrices whose rows do not divide into blocks.
    pub fn load_quantised(dir: &Path, dtype: DType, device: &Device, blocks: Blocks<'_>) -> Result<Self> {
        Self::load_quantised_described(Description::read(dir)?, dir, dtype, device, blocks)
    }

    /// As [`Decoder::load_quantised`], of a model that is described already.
    ///
    /// # Errors
    /// As [`Decoder::load_described`]; matrices whose rows do not divide into blocks.
    pub fn load_quantised_described(
        description: Description,
        dir: &Path,
        dtype: DType,
        device: &Device,
        blocks: Blocks<'_>,
    ) -> Result<Self> {
        match blocks {
            Blocks::Pack(format) => {
                let (files, tensors) = (WeightFiles::open(dir)?, description.tensors());
                let idle = description.names.idle(&description.shape);
                files.check_but(&dims_by_name(&tensors), idle.as_deref())?;
                check_blocks(&tensors, format)?;
                room::check_weights(&description, dtype, Some(ggml_dtype(format)), device)?;
                Self::build(description, Weights::Frozen, dtype, |tensor| {
                    let Named { name, dims, .. } = tensor;
                    if !tensor.is_packed() {
                        return Ok(Loaded::Dense(files.load(name, kept_dtype(tensor, dtype, device), device)?));
                    }
                    let rows = |start, len| files.load_rows(name, start, len);
                    let packed = Quantised::pack((dims[0], dims[1]), rows, ggml_dtype(format), dtype, device);
                    Ok(Loaded::Quantised(packed.with_context(|| format!("cannot quantise {name}"))?))
                })
            }
            Blocks::Gguf(path) => {
                let file = GgufFile::open(path, &description)?;
                room::check(room::WEIGHTS, file.bytes(&description.tensors(), dtype, device), device, room::SMALLER)?;
                let shape = description.shape.clone();
                Self::build(description, Weights::Frozen, dtype, |tensor| {
                    file.load(tensor, &shape, kept_dtype(tensor, dtype, device), device)
                })
            }
        }
    }

    /// A model of the weights that `load` gives for its tensors.
    pub(super) fn build(
        description: Description,
        weights: Weights,
        dtype: DType,
        mut load: impl FnMut(&Named) -> Result<Loaded>,
    ) -> Result<Self> {
        let Description { family, shape, names, ids, .. } = description;
        let numbers = |tensor: &Named| tensor.dims.iter().product::<usize>() as u64;
        let (total, mut done) = (names.tensors(&shape).iter().map(numbers).sum(), 0);
        let mut meter =
            meter::start(Work { name: "loading the model", unit: Unit::Share, total: Some(total), there: 0 });
        let mut weight = |slot: Slot, layer: Option<usize>| -> Result<Weight> {
            let tensor = names.tensor(&shape, slot, layer);
            let loaded = load(&tensor)?;
            done += numbers(&tensor);
            meter.at(done);
            let frozen_as_it_is = !tensor.is_multiplied;
            let name = tensor.name;
            match (loaded, weights) {
                (Loaded::Dense(value), Weights::Frozen) if frozen_as_it_is => {
                    Ok(Weight::Dense(Param::frozen(name, value)))
                }
                (Loaded::Dense(value), Weights::Frozen) => Ok(Weight::frozen(name, value)?),
                (Loaded::Dense(value), Weights::Trainable) => Ok(Weight::Dense(Param::trainable(name, &value)?)),
                (Loaded::Panels(panels), _) => Ok(Weight::Panels { name, panels }),
                (Loaded::Quantised(blocks), _) => Ok(Weight::Quantised { name, blocks }),
            }
        };
        let embedding = weight(Slot::Embedding, None)?;
        let mut layers = Vec::with_capacity(shape.layers);
        for i in 0..shape.layers {
            let mut leaf = |slot| weight(slot, Some(i));
            let attn_norm = vector(leaf(Slot::AttentionNorm)?)?;
            let qkv = match shape.fused_qkv {
                true => Projections::Fused(Box::new(Linear::new(leaf(Slot::Qkv)?))),
                false => {
                    let mut projection = |slot, bias| -> Result<Linear> {
                        let weight = leaf(slot)?;
                        let bias = shape.qkv_bias.then(|| leaf(bias).and_then(vector)).transpose()?;
                        Ok(Linear { bias, ..Linear::new(weight) })
                    };
                    let q = projection(Slot::Q, Slot::QBias)?;
                    let k = projection(Slot::K, Slot::KBias)?;
                    let v = projection(Slot::V, Slot::VBias)?;
                    Projections::apart(q, k, v)?
                }
            };
            let mut head_norm = |slot| shape.qk_norm.then(|| leaf(slot).and_then(vector)).transpose();
            let (q_norm, k_norm) = (head_norm(Slot::QNorm)?, head_norm(Slot::KNorm)?);
            let layer = Layer {
                attn_norm,
                qkv,
                q_norm,
                k_norm,
                o: Linear::new(leaf(Slot::O)?),
                mlp_norm: vector(leaf(Slot::MlpNorm)?)?,
                mlp: mlp(&shape, i, leaf)?,
            };
            layers.push(layer);
        }
        let norm = vector(weight(Slot::FinalNorm, None)?)?;
        let (head, embedding) = match shape.tied {
            true => (embedding, None),
            false => (weight(Slot::Head, None)?, Some(embedding)),
        };
        let head = Head { norm, weight: head, eps: shape.eps };
        let device = head.norm.value().device();
        let tables = rope::Tables::new(shape.rope_theta, shape.rotated, device)?;
        Ok(Self { family, shape, names, ids, dtype, embedding, layers, head, tables, adapters: None })
    }

    /// Writes the weights as `dir/model.safetensors`, atomically.
    ///
    /// # Errors
    /// Names the file that cannot be written; a quantised matrix.
    pub fn save(&self, dir: &Path) -> Result<()> {
        let mut tensors: BTreeMap<String, Tensor> =
            self.vectors().into_iter().map(|p| (p.name().to_owned(), p.value().clone())).collect();
        for weight in self.matrices() {
            let numbers = weight.numbers()?.with_context(|| format!("{} is quantised", weight.name()))?;
            tensors.insert(weight.name().to_owned(), numbers);
        }
        write_safetensors(&dir.join(SINGLE_FILE), &tensors, &[("format", "pt")])
    }
}

/// What follows the second norm of a layer.
fn mlp(shape: &Shape, layer: usize, mut leaf: impl FnMut(Slot) -> Result<Weight>) -> Result<Mlp> {
    let Some(&Mixture { routing, shared_ffn, .. }) = shape.mixture(layer) else {
        return Ok(Mlp::Gated(Box::new(gated(&mut leaf, &Slot::Mlp)?)));
    };
    let router = Linear::new(leaf(Slot::Router)?);
    // no gradient reaches it: it is moved by how busy experts are, where it is moved at all
    let frozen = |bias: Param| Param::frozen(bias.name(), bias.value().clone());
    let bias = routing.biased.then(|| leaf(Slot::RouterBias).and_then(vector).map(frozen)).transpose()?;
    let expert = |expert| gated(&mut leaf, &|part| Slot::Expert(expert, part));
    let each = (0..routing.experts).map(expert).collect::<Result<_>>()?;
    let shared = (shared_ffn > 0).then(|| gated(&mut leaf, &Slot::SharedExpert)).transpose()?;
    Ok(Mlp::Experts(Box::new(Experts { routing, router, bias, each, shared })))
}

/// An MLP of the matrices in these slots.
fn gated(leaf: &mut impl FnMut(Slot) -> Result<Weight>, slot: &dyn Fn(MlpPart) -> Slot) -> Result<Gated> {
    let mut linear = |part| leaf(slot(part)).map(Linear::new);
    Ok(Gated::new(linear(MlpPart::Gate)?, linear(MlpPart::Up)?, linear(MlpPart::Down)?)?)
}

/// Vectors weigh nothing and meet activations one by one: they have the dtype of these. Routers compute in f32.
pub(super) fn kept_dtype(tensor: &Named, dtype: DType, device: &Device) -> DType {
    let is_vector = tensor.dims.len() == 1;
    if tensor.slot.is_of_router() || (is_vector && activations_are_f32(dtype, device)) { DType::F32 } else { dtype }
}

fn vector(weight: Weight) -> Result<Param> {
    match weight {
        Weight::Dense(param) => Ok(param),
        Weight::Panels { name, .. } | Weight::Quantised { name, .. } => {
            bail!("{name} is a matrix, where a vector belongs")
        }
    }
}

/// candle's name of a format.
pub(super) fn ggml_dtype(format: BlockFormat) -> GgmlDType {
    match format {
        BlockFormat::Q8_0 => GgmlDType::Q8_0,
        BlockFormat::Q6K => GgmlDType::Q6K,
        BlockFormat::Q4K => GgmlDType::Q4K,
    }
}

/// Whether the rows of all matrices divide into blocks.
///
/// # Errors
/// Names the first matrix whose rows do not.
pub(super) fn check_blocks(tensors: &[Named], format: BlockFormat) -> Result<()> {
    let block = ggml_dtype(format).block_size();
    let misfit = tensors.iter().find(|tensor| tensor.is_packed() && !tensor.dims[1].is_multiple_of(block));
    let Some(Named { name, dims, .. }) = misfit else { return Ok(()) };
    let way_out = match format {
        BlockFormat::Q8_0 => "leave model.quantize out",
        BlockFormat::Q6K | BlockFormat::Q4K => "use model.quantize = \"q8_0\", whose blocks are of 32, or leave it out",
    };
    bail!("model.quantize: rows of {name} have {} numbers, which is no multiple of {block}: {way_out}", dims[1])
}

/// Writes tensors to a temporary sibling, flushes it to the disk and renames it into place: writing over a file
/// that is mapped would change the mapped weights. The file is as readable as any other the user creates (the
/// library makes it private).
///
/// # Errors
/// Names the file.
pub fn write_safetensors(path: &Path, tensors: &BTreeMap<String, Tensor>, metadata: &[(&str, &str)]) -> Result<()> {
    let metadata: HashMap<String, String> = metadata.iter().map(|&(k, v)| (k.into(), v.into())).collect();
    let temporary = path.with_extension("safetensors.tmp");
    let views = tensors.iter().map(|(name, t)| (name.as_str(), t));
    let write = || -> Result<()> {
        let permissions = std::fs::File::create(&temporary)?.metadata()?.permissions();
        safetensors::serialize_to_file(views, Some(metadata), &temporary)?;
        std::fs::set_permissions(&temporary, permissions)?;
        std::fs::File::open(&temporary)?.sync_all()?;
        Ok(std::fs::rename(&temporary, path)?)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}
