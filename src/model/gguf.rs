//! A model in GGUF files, as llama.cpp's converter writes it: every tensor in the format it has there.
//!
//! Sizes, special ids and the tokenizer still come from the model's folder. Of families whose heads llama.cpp rotates by
//! neighbours, where the checkpoint rotates halves, the converter reorders the rows of query and key projections; rows are
//! put back as they are, without unpacking them.

mod parts;
mod refused;
mod said;

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use candle_core::quantized::gguf_file::{Content, TensorInfo};
use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{DType, Device, Tensor};

use super::family::Description;
use super::load::kept_dtype;
use super::names::{MlpPart, Named, Slot, dims_by_name};
use super::ops::products::{Panels, Quantised};
use super::shape::Shape;
use super::weights::report_misfits;
use crate::foreign::guarded;
pub use parts::{names as part_names, parts};

/// How the converter writes a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Converted {
    /// What it calls it.
    pub architecture: &'static str,
    /// Whether it reorders the rows of query and key projections.
    pub interleaved: bool,
}

/// The converter's name of a head that nothing reads where the embedding is the head.
const IDLE: &str = "output.weight";

/// The files whose tensors are those of a model.
pub struct GgufFile {
    parts: Vec<Part>,
    converted: Converted,
}

/// One of the files.
struct Part {
    path: PathBuf,
    content: Content,
    reader: RefCell<BufReader<File>>,
}

/// A tensor of a checkpoint, as it is kept.
pub enum Loaded {
    /// Numbers.
    Dense(Tensor),
    /// Numbers in panels.
    Panels(Panels),
    /// Blocks.
    Quantised(Quantised),
}

impl GgufFile {
    /// Opens a file, with the other parts of the model if it is one of several, and compares its tensors with what a model
    /// expects, under the checkpoint's names.
    ///
    /// # Errors
    /// Names the file; a format that is not read, a part that is missing, a file of another architecture, and every tensor
    /// that is missing or mis-shaped.
    pub fn open(path: &Path, description: &Description) -> Result<Self> {
        let Some(converted) = description.gguf else {
            bail!("model.gguf_file: llama.cpp has no models of {}: leave it out", description.family)
        };
        let parts: Vec<Part> = parts(path).iter().map(|path| Part::open(path)).collect::<Result<_>>()?;
        let first = parts.first().context("a model is in at least one file")?;
        first.has_all(parts.len())?;
        let (architecture, expected) = (first.content.metadata.get("general.architecture"), converted.architecture);
        let architecture = architecture.and_then(|v| v.to_string().ok());
        if architecture.is_none_or(|a| a != expected) {
            let found = architecture.map_or("no architecture", String::as_str);
            bail!("{} holds a model of architecture {found:?}, not {expected:?}", first.path.display());
        }
        let tensors = description.tensors();
        let there: BTreeMap<&str, &Named> = tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
        let experts = description.shape.expert_count();
        let found = |name: &str| {
            let tensor = there.get(name)?;
            let info = parts.iter().find_map(|part| part.content.tensor_infos.get(&gguf_name(tensor)))?;
            Some(place(info, tensor, experts).map_or(info.shape.dims().to_vec(), |info| info.shape.dims().to_vec()))
        };
        let idle = description.names.idle(&description.shape).map(|_| IDLE);
        let named: BTreeSet<String> = tensors.iter().map(gguf_name).collect();
        let there = parts.iter().flat_map(|part| part.content.tensor_infos.keys());
        let unknown = there.filter(|name| !named.contains(*name) && Some(name.as_str()) != idle).cloned();
        report_misfits(path, &dims_by_name(&tensors), found, unknown.collect::<BTreeSet<_>>().into_iter().collect())?;
        let differences = said::differences(&first.content.metadata, expected, &description.shape);
        if !differences.is_empty() {
            bail!("{} is of another model than its folder:\n  {}", path.display(), differences.join("\n  "));
        }
        Ok(Self { parts, converted })
    }

    /// Bytes of the tensors as [`GgufFile::load`] keeps them: plain numbers in `dtype`, blocks as they are.
    pub fn bytes(&self, tensors: &[Named], dtype: DType, device: &Device) -> usize {
        let bytes = |tensor: &Named| {
            let there = gguf_name(tensor);
            let format = self.parts.iter().find_map(|part| part.content.tensor_infos.get(&there))?.ggml_dtype;
            let numbers: usize = tensor.dims.iter().product();
            Some(match format {
                GgmlDType::F32 | GgmlDType::F16 | GgmlDType::BF16 => {
                    numbers * kept_dtype(tensor, dtype, device).size_in_bytes()
                }
                _ => numbers / format.block_size() * format.type_size(),
            })
        };
        tensors.iter().filter_map(bytes).sum()
    }

    /// Reads a tensor: plain numbers in `dtype`, blocks as they are.
    ///
    /// # Errors
    /// Names the tensor that cannot be read.
    pub fn load(&self, tensor: &Named, shape: &Shape, dtype: DType, device: &Device) -> Result<Loaded> {
        let there = gguf_name(tensor);
        let part = self.parts.iter().find(|part| part.content.tensor_infos.contains_key(&there));
        let part = part.with_context(|| format!("there is no tensor {there}"))?;
        let read = || -> Result<Loaded> {
            let mut reader = part.reader.borrow_mut();
            let info = part.content.tensor_infos.get(&there).and_then(|info| place(info, tensor, shape.expert_count()));
            let info = info.with_context(|| format!("{there} does not fit"))?;
            let found = guarded(|| info.read(&mut *reader, part.content.tensor_data_offset, &Device::Cpu))??;
            let found = match heads(tensor.slot, shape).filter(|_| self.converted.interleaved) {
                Some(heads) => with_halves_together(found, heads, device)?,
                None => moved(found, device)?,
            };
            match found.dtype() {
                GgmlDType::F32 | GgmlDType::F16 | GgmlDType::BF16 => {
                    Ok(Loaded::Dense(found.dequantize(device)?.to_dtype(dtype)?))
                }
                _ => Ok(Loaded::Quantised(Quantised::new(found, dtype)?)),
            }
        };
        read().with_context(|| format!("cannot read {} from {}", tensor.name, part.path.display()))
    }
}

impl Part {
    fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut reader = BufReader::new(file);
        let read = guarded(|| Content::read(&mut reader)).map_err(anyhow::Error::from);
        let content = match read.and_then(|content| Ok(content?)) {
            Ok(content) => content,
            Err(error) => match refused::formats(path) {
                Some(reason) => bail!("{}: {reason}", path.display()),
                None => {
                    let context = format!("{} cannot be read as GGUF: is it complete?", path.display());
                    return Err(error.context(context));
                }
            },
        };
        Ok(Self { path: path.to_owned(), content, reader: RefCell::new(reader) })
    }

    /// Whether the model is in `found` files, of which this is the first.
    fn has_all(&self, found: usize) -> Result<()> {
        let number = |name: &str| self.content.metadata.get(name).and_then(|value| value.to_u64().ok());
        let count = number("split.count").unwrap_or(1).max(1);
        if count == found as u64 && number("split.no").unwrap_or(0) == 0 {
            return Ok(());
        }
        bail!(
            "{} is of a model that is split into {count} files, which are found by their names only: call them \
             NAME-00001-of-{count:05}.gguf and so on",
            self.path.display()
        )
    }
}

/// The heads of a projection whose rows the converter reorders.
fn heads(slot: Slot, shape: &Shape) -> Option<usize> {
    match slot {
        Slot::Q => Some(shape.heads),
        Slot::K => Some(shape.kv_heads),
        _ => None,
    }
}

/// The converter's name of a tensor; the experts of a layer are in one, one after the other.
fn gguf_name(tensor: &Named) -> String {
    let leaf = match tensor.slot {
        Slot::Embedding => "token_embd",
        Slot::AttentionNorm => "attn_norm",
        Slot::Qkv => "attn_qkv",
        Slot::Q | Slot::QBias => "attn_q",
        Slot::K | Slot::KBias => "attn_k",
        Slot::V | Slot::VBias => "attn_v",
        Slot::QNorm => "attn_q_norm",
        Slot::KNorm => "attn_k_norm",
        Slot::O => "attn_output",
        Slot::MlpNorm => "ffn_norm",
        Slot::Mlp(MlpPart::Gate) => "ffn_gate",
        Slot::Mlp(MlpPart::Up) => "ffn_up",
        Slot::Mlp(MlpPart::Down) => "ffn_down",
        Slot::Router => "ffn_gate_inp",
        Slot::RouterBias => "exp_probs_b",
        Slot::Expert(_, MlpPart::Gate) => "ffn_gate_exps",
        Slot::Expert(_, MlpPart::Up) => "ffn_up_exps",
        Slot::Expert(_, MlpPart::Down) => "ffn_down_exps",
        Slot::SharedExpert(MlpPart::Gate) => "ffn_gate_shexp",
        Slot::SharedExpert(MlpPart::Up) => "ffn_up_shexp",
        Slot::SharedExpert(MlpPart::Down) => "ffn_down_shexp",
        Slot::FinalNorm => "output_norm",
        Slot::Head => "output",
    };
    let end = if tensor.slot.is_bias() { "bias" } else { "weight" };
    match tensor.layer {
        Some(layer) => format!("blk.{layer}.{leaf}.{end}"),
        None => format!("{leaf}.{end}"),
    }
}

/// Where a tensor is in a file: an expert's is a part of that of all of them, if that one has as many as the model.
fn place(info: &TensorInfo, tensor: &Named, experts: usize) -> Option<TensorInfo> {
    let TensorInfo { ggml_dtype, shape, offset } = info;
    let whole = || TensorInfo { ggml_dtype: *ggml_dtype, shape: shape.clone(), offset: *offset };
    let (Slot::Expert(expert, _), &[all, out, input]) = (tensor.slot, shape.dims()) else { return Some(whole()) };
    let bytes = (out * input / ggml_dtype.block_size() * ggml_dtype.type_size()) as u64;
    let part = TensorInfo { shape: (out, input).into(), offset: offset + expert as u64 * bytes, ..whole() };
    (all == experts).then_some(part)
}

/// The same tensor on a device.
fn moved(tensor: QTensor, device: &Device) -> Result<QTensor> {
    if device.is_cpu() {
        return Ok(tensor);
    }
    let storage = QStorage::from_data(tensor.data()?, device, tensor.dtype())?;
    Ok(QTensor::new(storage, tensor.shape().clone())?)
}

/// Rows 0, 2, 4, .. of every head, then rows 1, 3, 5, ..: what the converter interleaved.
fn with_halves_together(tensor: QTensor, heads: usize, device: &Device) -> Result<QTensor> {
    let rows = tensor.shape().dims2()?.0;
    let bytes = tensor.data()?;
    let (row_bytes, head) = (bytes.len() / rows, rows / heads);
    let mut ordered = Vec::with_capacity(bytes.len());
    for first in (0..rows).step_by(head) {
        for parity in 0..2 {
            for row in (first + parity..first + head).step_by(2) {
                ordered.extend_from_slice(&bytes[row * row_bytes..(row + 1) * row_bytes]);
            }
        }
    }
    let storage = QStorage::from_data(Cow::Owned(ordered), device, tensor.dtype())?;
    Ok(QTensor::new(storage, tensor.shape().clone())?)
}

#[cfg(test)]
mod tests;
