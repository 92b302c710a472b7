//! LLaDA in one GGUF file, as llama.cpp's converter writes it: every tensor in the format it has there.
//!
//! Sizes, special ids and the tokenizer still come from the model's folder. The converter reorders the rows of query
//! and key projections, because llama.cpp rotates neighbours where LLaDA rotates halves of a head; rows are put back
//! as they are, without unpacking them.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use candle_core::quantized::gguf_file::Content;
use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{DType, Device, Tensor};

use super::config::LladaConfig;
use super::ops::products::{Panels, Quantised};
use super::weights::report_misfits;

/// The architecture the converter gives LLaDA.
const ARCHITECTURE: &str = "llada";

/// The formats that can be multiplied, by llama.cpp's names.
const FORMATS: &str =
    "F32, F16, BF16, Q8_0, Q6_K, Q5_K, Q5_1, Q5_0, Q4_K, Q4_1, Q4_0, Q3_K, Q2_K: use a file in one of these";

/// GGML's names of its other formats, by number.
const FOREIGN: [(u32, &str); 18] = [
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (20, "IQ4_NL"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (39, "MXFP4"),
    (40, "NVFP4"),
];

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
    /// Names the file; a file of another architecture, and every tensor that is missing or mis-shaped.
    pub fn open(path: &Path, expected: &BTreeMap<String, Vec<usize>>) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut reader = BufReader::new(file);
        let content = Content::read(&mut reader).map_err(|error| match foreign_format(&error.to_string()) {
            Some(format) => {
                anyhow!("{} has tensors in the format {format}, which is none of {FORMATS}", path.display())
            }
            None => {
                anyhow::Error::new(error).context(format!("{} cannot be read as GGUF: is it complete?", path.display()))
            }
        })?;
        let parts = content.metadata.get("split.count").and_then(|count| count.to_u64().ok()).unwrap_or(1);
        if parts > 1 {
            bail!(
                "{} is one of {parts} parts of a model: join them into one file (llama-gguf-split --merge)",
                path.display()
            );
        }
        let architecture = content.metadata.get("general.architecture").and_then(|v| v.to_string().ok());
        if architecture.is_none_or(|a| a != ARCHITECTURE) {
            let found = architecture.map_or("no architecture", String::as_str);
            bail!("{} holds a model of architecture {found:?}, not {ARCHITECTURE:?}", path.display());
        }
        let found = |name: &str| Some(content.tensor_infos.get(&gguf_name(name)?)?.shape.dims().to_vec());
        report_misfits(path, expected, found, Vec::new())?;
        Ok(Self { path: path.to_owned(), content, reader: RefCell::new(reader) })
    }

    /// Reads a tensor by the checkpoint's name: plain numbers in `dtype`, blocks as they are.
    ///
    /// # Errors
    /// Names the tensor that cannot be read.
    pub fn load(&self, name: &str, config: &LladaConfig, dtype: DType, device: &Device) -> Result<Loaded> {
        let read = || -> Result<Loaded> {
            let there = gguf_name(name).context("the format has no place for it")?;
            let tensor = self.content.tensor(&mut *self.reader.borrow_mut(), &there, &Device::Cpu)?;
            let tensor = match heads(name, config) {
                Some(heads) => with_halves_together(tensor, heads, device)?,
                None => moved(tensor, device)?,
            };
            match tensor.dtype() {
                GgmlDType::F32 | GgmlDType::F16 | GgmlDType::BF16 => {
                    Ok(Loaded::Dense(tensor.dequantize(device)?.to_dtype(dtype)?))
                }
                _ => Ok(Loaded::Quantised(Quantised::new(tensor, dtype)?)),
            }
        };
        read().with_context(|| format!("cannot read {name} from {}", self.path.display()))
    }
}

/// The format that a file was refused for. The reader says only its number, and only in its message.
fn foreign_format(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("unknown dtype for tensor ")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let number: u32 = digits.parse().ok()?;
    let named = FOREIGN.iter().find(|(known, _)| *known == number);
    Some(named.map_or_else(|| format!("number {number}"), |(_, name)| (*name).to_owned()))
}

/// The heads of a projection whose rows the converter reorders.
fn heads(name: &str, config: &LladaConfig) -> Option<usize> {
    match name {
        _ if name.ends_with("q_proj.weight") => Some(config.n_heads),
        _ if name.ends_with("k_proj.weight") => Some(config.n_kv_heads),
        _ => None,
    }
}

/// The converter's name of a tensor.
fn gguf_name(name: &str) -> Option<String> {
    let name = name.strip_prefix("model.transformer.")?.strip_suffix(".weight")?;
    let there = match name {
        "wte" => "token_embd".to_owned(),
        "ln_f" => "output_norm".to_owned(),
        "ff_out" => "output".to_owned(),
        _ => {
            let (block, leaf) = name.strip_prefix("blocks.")?.split_once('.')?;
            let leaf = match leaf {
                "attn_norm" => "attn_norm",
                "q_proj" => "attn_q",
                "k_proj" => "attn_k",
                "v_proj" => "attn_v",
                "attn_out" => "attn_output",
                "ff_norm" => "ffn_norm",
                "ff_proj" => "ffn_gate",
                "up_proj" => "ffn_up",
                "ff_out" => "ffn_down",
                _ => return None,
            };
            format!("blk.{block}.{leaf}")
        }
    };
    Some(there + ".weight")
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
