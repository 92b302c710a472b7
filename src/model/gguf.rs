//! LLaDA in one GGUF file, as llama.cpp's converter writes it: every tensor in the format it has there.
//!
//! Sizes, special ids and the tokenizer still come from the model's folder. The converter reorders the rows of query
//! and key projections, because llama.cpp rotates neighbours where LLaDA rotates halves of a head; rows are put back
//! as they are, without unpacking them.

mod refused;

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use candle_core::quantized::gguf_file::Content;
use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{DType, Device, Tensor};

use super::names::{Named, Slot, dims_by_name};
use super::ops::products::{Panels, Quantised};
use super::shape::Shape;
use super::weights::report_misfits;
use crate::foreign::guarded;

/// The architecture the converter gives LLaDA.
const ARCHITECTURE: &str = "llada";

/// A file whose tensors are those of a model.
pub struct GgufFile {
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
    /// Opens a file and compares its tensors with what a model expects, under the checkpoint's names.
    ///
    /// # Errors
    /// Names the file; a format that is not read, a part of a split model, a file of another architecture, and every
    /// tensor that is missing or mis-shaped.
    pub fn open(path: &Path, tensors: &[Named]) -> Result<Self> {
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
        refuse_a_part(path, &content)?;
        let architecture = content.metadata.get("general.architecture").and_then(|v| v.to_string().ok());
        if architecture.is_none_or(|a| a != ARCHITECTURE) {
            let found = architecture.map_or("no architecture", String::as_str);
            bail!("{} holds a model of architecture {found:?}, not {ARCHITECTURE:?}", path.display());
        }
        let there: BTreeMap<&str, String> = tensors.iter().map(|t| (t.name.as_str(), gguf_name(t))).collect();
        let found = |name: &str| Some(content.tensor_infos.get(there.get(name)?)?.shape.dims().to_vec());
        report_misfits(path, &dims_by_name(tensors), found, Vec::new())?;
        Ok(Self { path: path.to_owned(), content, reader: RefCell::new(reader) })
    }

    /// Reads a tensor: plain numbers in `dtype`, blocks as they are.
    ///
    /// # Errors
    /// Names the tensor that cannot be read.
    pub fn load(&self, tensor: &Named, shape: &Shape, dtype: DType, device: &Device) -> Result<Loaded> {
        let read = || -> Result<Loaded> {
            let mut reader = self.reader.borrow_mut();
            let found = guarded(|| self.content.tensor(&mut *reader, &gguf_name(tensor), &Device::Cpu))??;
            let found = match heads(tensor.slot, shape) {
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
        read().with_context(|| format!("cannot read {} from {}", tensor.name, self.path.display()))
    }
}

/// Refuses one file of several that hold a model together.
fn refuse_a_part(path: &Path, content: &Content) -> Result<()> {
    let number = |name: &str| content.metadata.get(name).and_then(|value| value.to_u64().ok());
    let Some(count) = number("split.count").filter(|&count| count > 1) else { return Ok(()) };
    let part = number("split.no").map_or("a part".to_owned(), |i| format!("part {}", i.saturating_add(1)));
    bail!(
        "{} is {part} of a model that is split into {count} files: join them with `llama-gguf-split --merge FIRST OUT`, \
         where FIRST is the file ending in -00001-of-{count:05}.gguf, and name OUT",
        path.display()
    )
}

/// The heads of a projection whose rows the converter reorders.
fn heads(slot: Slot, shape: &Shape) -> Option<usize> {
    match slot {
        Slot::Q => Some(shape.heads),
        Slot::K => Some(shape.kv_heads),
        _ => None,
    }
}

/// The converter's name of a tensor.
fn gguf_name(tensor: &Named) -> String {
    let leaf = match tensor.slot {
        Slot::Embedding => "token_embd",
        Slot::AttentionNorm => "attn_norm",
        Slot::Q => "attn_q",
        Slot::K => "attn_k",
        Slot::V => "attn_v",
        Slot::O => "attn_output",
        Slot::MlpNorm => "ffn_norm",
        Slot::Gate => "ffn_gate",
        Slot::Up => "ffn_up",
        Slot::Down => "ffn_down",
        Slot::FinalNorm => "output_norm",
        Slot::Head => "output",
    };
    match tensor.layer {
        Some(layer) => format!("blk.{layer}.{leaf}.weight"),
        None => format!("{leaf}.weight"),
    }
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
