//! Adapters put into the weight files of their model, `W + scale * B A`, a few rows at a time: a model of any size is
//! merged in the memory of its largest adapter.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};
use candle_core::{Device, Tensor};
use half::slice::HalfFloatSliceExt as _;
use half::{bf16, f16};
use safetensors::tensor::Dtype;
use serde_json::Value;

use super::family::Description;
use super::lora::{AdapterConfig, AdapterFiles};
use super::names::{Named, dims_by_name};
use super::shards::{Entry, Shard, index, spread, width};
use super::weights::WeightFiles;
use crate::config::Precision;

/// Numbers that are merged at once.
const PIECE: usize = 1 << 22;

/// A model's weight files and the adapters that are to be put into them.
pub struct Merger {
    base: WeightFiles,
    adapters: AdapterFiles,
    shards: Vec<Shard>,
}

impl Merger {
    /// Opens a model folder and a PEFT folder that fits it. The weights will be of `dtype`, without it each as it is stored,
    /// in files of at most `shard_bytes`.
    ///
    /// # Errors
    /// Names the file, and what does not fit or is not implemented; weights that are quantised.
    pub fn open(base: &Path, adapter: &Path, dtype: Option<Precision>, shard_bytes: u64) -> Result<Self> {
        refuse_quantised(base)?;
        let ((tensors, idle), files) = (Description::tensors_of(base)?, WeightFiles::open(base)?);
        let shapes = dims_by_name(&tensors);
        files.check_but(&shapes, idle.as_deref())?;
        let adapters = AdapterFiles::open(adapter, tensors.iter().filter_map(linear))?;
        let entry = |(name, shape): (String, Vec<usize>)| -> Result<Entry> {
            let stored = stored(&files, &name).with_context(|| format!("cannot merge into {}", base.display()))?;
            Ok(Entry { dtype: dtype.unwrap_or(stored), name, shape })
        };
        let entries = shapes.into_iter().map(entry).collect::<Result<_>>()?;
        Ok(Self { base: files, adapters, shards: spread(entries, shard_bytes) })
    }

    /// What the adapter folder says of its adapters.
    pub fn adapter(&self) -> &AdapterConfig {
        &self.adapters.config
    }

    /// Layers that have an adapter.
    pub fn adapted(&self) -> usize {
        self.adapters.count()
    }

    /// Tensors of the model.
    pub fn tensors(&self) -> usize {
        self.shards.iter().map(|shard| shard.entries.len()).sum()
    }

    /// Bytes of their numbers.
    pub fn bytes(&self) -> u64 {
        self.entries().map(Entry::bytes).sum()
    }

    /// What most of the numbers will be rounded to.
    pub fn dtype(&self) -> Precision {
        let bytes_in = |dtype| self.entries().filter(|entry| entry.dtype == dtype).map(Entry::bytes).sum::<u64>();
        let all = [Precision::F32, Precision::Bf16, Precision::F16];
        all.into_iter().max_by_key(|&dtype| bytes_in(dtype) / width(dtype)).unwrap_or_default()
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.shards.iter().flat_map(|shard| &shard.entries)
    }

    /// Writes the merged weights into `dir`, with an index if they are several files. `at` hears of every piece: the tensors
    /// that are done and the file that is being written; its error ends the work.
    ///
    /// # Errors
    /// Names the file that cannot be written and the tensor whose numbers are none, and passes on what `at` says.
    pub fn write(&self, dir: &Path, mut at: impl FnMut(usize, &str) -> Result<()>) -> Result<()> {
        let mut done = 0;
        for shard in &self.shards {
            let mut fill = |entry: &Entry, out: &mut dyn Write| {
                self.fill(entry, out, &mut || at(done, &shard.file))?;
                done += 1;
                Ok(())
            };
            shard.write(dir, &mut fill).with_context(|| format!("cannot write {}", shard.file))?;
        }
        if let Some((name, text)) = index(&self.shards) {
            let path = dir.join(name);
            crate::files::write_whole(&path, text.as_bytes()).with_context(|| format!("cannot write {name}"))?;
        }
        at(done, "")
    }

    /// Writes the numbers of a tensor: the bytes there are where nothing changes, else in f32, rounded once.
    fn fill(&self, entry: &Entry, out: &mut dyn Write, at: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        let Entry { name, dtype, shape } = entry;
        let path = name.strip_suffix(".weight").unwrap_or(name);
        let adapter = self.adapters.load(path, &Device::Cpu)?;
        if adapter.is_none() && stored(&self.base, name)? == *dtype {
            return self.base.pieces(name, |bytes| {
                at()?;
                Ok(out.write_all(bytes)?)
            });
        }
        let (rows, columns) = (shape[0], shape.iter().skip(1).product::<usize>());
        let at_once = (PIECE / columns).max(1);
        let mut bytes = Vec::new();
        for start in (0..rows).step_by(at_once) {
            at()?;
            let mut piece = self.base.load_rows(name, start, at_once.min(rows - start))?;
            if let Some((a, b, scale)) = &adapter {
                piece = add(&piece, a, b, *scale, start).with_context(|| format!("cannot merge {name}"))?;
            }
            if !encode(&piece.flatten_all()?.to_vec1()?, *dtype, &mut bytes) {
                let reason = match dtype {
                    Precision::F16 => "is too large for f16, infinite or not a number: try --dtype bf16",
                    Precision::F32 | Precision::Bf16 => "is infinite or not a number: base or adapter is broken",
                };
                bail!("a number of {name} {reason}");
            }
            out.write_all(&bytes)?;
        }
        Ok(())
    }
}

/// Path, outputs and inputs of a linear layer that can have an adapter.
fn linear(tensor: &Named) -> Option<(String, (usize, usize))> {
    let path = tensor.name.strip_suffix(".weight").filter(|_| tensor.slot.is_linear())?;
    Some((path.to_owned(), (tensor.dims[0], tensor.dims[1])))
}

/// Some rows of a weight with the same rows of `scale * B A`.
fn add(w: &Tensor, a: &Tensor, b: &Tensor, scale: f64, start: usize) -> candle_core::Result<Tensor> {
    w + (b.narrow(0, start, w.dim(0)?)?.matmul(a)? * scale)?
}

/// The bytes of numbers in a precision; whether all of them are numbers there.
fn encode(numbers: &[f32], dtype: Precision, bytes: &mut Vec<u8>) -> bool {
    bytes.clear();
    match dtype {
        Precision::F32 => {
            numbers.iter().for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
            numbers.iter().all(|number| number.is_finite())
        }
        Precision::Bf16 => {
            let mut rounded = vec![bf16::ZERO; numbers.len()];
            rounded.convert_from_f32_slice(numbers);
            rounded.iter().for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
            rounded.iter().all(|number| number.is_finite())
        }
        Precision::F16 => {
            let mut rounded = vec![f16::ZERO; numbers.len()];
            rounded.convert_from_f32_slice(numbers);
            rounded.iter().for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
            rounded.iter().all(|number| number.is_finite())
        }
    }
}

/// The precision in which a tensor is stored.
///
/// # Errors
/// One that weights have which were quantised, or that nothing here writes.
fn stored(files: &WeightFiles, name: &str) -> Result<Precision> {
    match files.stored(name) {
        Some(Dtype::F32) => Ok(Precision::F32),
        Some(Dtype::BF16) => Ok(Precision::Bf16),
        Some(Dtype::F16) => Ok(Precision::F16),
        Some(other) => bail!("{name} is stored as {other:?}: convert the model to F32, BF16 or F16 first"),
        None => bail!("there is no tensor {name}"),
    }
}

/// Refuses folders that hold blocks instead of numbers.
fn refuse_quantised(base: &Path) -> Result<()> {
    const WAY_OUT: &str = "name the folder or hub id of the model it was made from, in safetensors, with --base";
    let path = base.join("config.json");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let config: Value = serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))?;
    if config.get("quantization_config").is_some_and(|value| !value.is_null()) {
        bail!("{} is quantised (quantization_config in its config.json): {WAY_OUT}", base.display());
    }
    let has_safetensors =
        [super::weights::SINGLE_FILE, super::weights::INDEX_FILE].iter().any(|n| base.join(n).exists());
    let mut entries = std::fs::read_dir(base).into_iter().flatten().flatten().map(|entry| entry.path());
    if !has_safetensors && entries.any(|path| path.extension().is_some_and(|ending| ending == "gguf")) {
        bail!("{} has its weights in a GGUF file only: {WAY_OUT}", base.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
