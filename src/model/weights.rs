//! Checkpoint files in safetensors: one file or shards behind an index, memory-mapped.
//!
//! What the model expects and what the files hold are compared as a whole, so that one message names every
//! missing, unknown or mis-shaped tensor.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use candle_core::safetensors::MmapedSafetensors;
use candle_core::{DType, Device, Tensor, WithDType};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;

use crate::files::is_there;
use crate::runtime;

/// The file of an unsharded checkpoint.
pub const SINGLE_FILE: &str = "model.safetensors";
/// The index of a sharded checkpoint.
pub const INDEX_FILE: &str = "model.safetensors.index.json";

/// Tensors of a checkpoint folder, not yet read.
pub struct WeightFiles {
    dir: PathBuf,
    maps: Vec<MmapedSafetensors>,
    /// Tensor name to index into `maps`.
    place: BTreeMap<String, usize>,
}

impl WeightFiles {
    /// Opens `model.safetensors`, or the shards that `model.safetensors.index.json` names.
    ///
    /// # Errors
    /// Names the file that is missing, unreadable or truncated.
    pub fn open(dir: &Path) -> Result<Self> {
        let index = dir.join(INDEX_FILE);
        if is_there(&index).with_context(|| format!("cannot read {}", index.display()))? {
            return Self::open_shards(dir, &index);
        }
        let single = dir.join(SINGLE_FILE);
        if !single.is_file() {
            bail!("{} has neither {SINGLE_FILE} nor {INDEX_FILE}", dir.display());
        }
        Self::open_single(dir, &single)
    }

    /// Opens one file, whatever its name.
    pub fn open_file(path: &Path) -> Result<Self> {
        Self::open_single(path.parent().unwrap_or(Path::new(".")), path)
    }

    fn open_single(dir: &Path, path: &Path) -> Result<Self> {
        let map = map(path)?;
        let place = map.tensors().into_iter().map(|(name, _)| (name, 0)).collect();
        Ok(Self { dir: dir.to_owned(), maps: vec![map], place })
    }

    fn open_shards(dir: &Path, index: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(index).with_context(|| format!("cannot read {}", index.display()))?;
        let json: Value =
            serde_json::from_str(&text).with_context(|| format!("{} is not valid JSON", index.display()))?;
        let Some(weight_map) = json.get("weight_map").and_then(Value::as_object) else {
            bail!("{} has no object weight_map", index.display())
        };
        let mut files: BTreeMap<&str, usize> = BTreeMap::new();
        let mut maps = Vec::new();
        let mut place = BTreeMap::new();
        for (name, file) in weight_map {
            let Some(file) = file.as_str() else { bail!("{}: {name} names no file", index.display()) };
            let at = match files.get(file) {
                Some(&at) => at,
                None => {
                    maps.push(map(&dir.join(file))?);
                    files.insert(file, maps.len() - 1);
                    maps.len() - 1
                }
            };
            if maps[at].get(name).is_err() {
                bail!("{} says that {name} is in {file}, but it is not", index.display());
            }
            place.insert(name.clone(), at);
        }
        Ok(Self { dir: dir.to_owned(), maps, place })
    }

    /// The names of all tensors.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.place.keys().map(String::as_str)
    }

    /// The shape of a tensor, if there is one of that name.
    pub fn shape(&self, name: &str) -> Option<Vec<usize>> {
        Some(self.maps[*self.place.get(name)?].get(name).ok()?.shape().to_vec())
    }

    /// How the numbers of a tensor are stored, if there is one of that name.
    pub fn stored(&self, name: &str) -> Option<Dtype> {
        Some(self.maps[*self.place.get(name)?].get(name).ok()?.dtype())
    }

    /// Gives the bytes of a tensor as they are stored, piece by piece, without keeping them in memory.
    pub fn pieces(&self, name: &str, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let Some(&at) = self.place.get(name) else { bail!("{} has no tensor {name}", self.dir.display()) };
        let view = self.maps[at].get(name).with_context(|| format!("cannot read {name}"))?;
        for piece in view.data().chunks(PIECE_BYTES) {
            take(piece)?;
            forget(piece);
        }
        Ok(())
    }

    /// Compares names and shapes with what a model expects.
    ///
    /// # Errors
    /// Lists every difference (the first few of each kind when there are many).
    pub fn check(&self, expected: &BTreeMap<String, Vec<usize>>) -> Result<()> {
        self.check_but(expected, None)
    }

    /// As [`WeightFiles::check`], where one more tensor may be there, which is not read.
    ///
    /// # Errors
    /// As [`WeightFiles::check`].
    pub fn check_but(&self, expected: &BTreeMap<String, Vec<usize>>, idle: Option<&str>) -> Result<()> {
        let known = |name: &&str| expected.contains_key(*name) || Some(*name) == idle;
        let unknown = self.names().filter(|name| !known(name)).map(str::to_owned).collect();
        report_misfits(&self.dir, expected, |name| self.shape(name), unknown)
    }

    /// Reads some rows of a matrix into main memory: f32 `[len, columns]`.
    pub fn load_rows(&self, name: &str, start: usize, len: usize) -> Result<Tensor> {
        let Some(&at) = self.place.get(name) else { bail!("{} has no tensor {name}", self.dir.display()) };
        let read = || -> candle_core::Result<Tensor> {
            let view = self.maps[at].get(name)?;
            let dtype = dtype_of(&view)?;
            let columns: usize = view.shape().iter().skip(1).product();
            let row = columns * dtype.size_in_bytes();
            let rows = &view.data()[start * row..(start + len) * row];
            let rows_f32 = Tensor::from_raw_buffer(rows, dtype, &[len, columns], &Device::Cpu)?.to_dtype(DType::F32)?;
            forget(rows);
            Ok(rows_f32)
        };
        read().with_context(|| format!("cannot read {name}"))
    }

    /// Reads a tensor onto a device in a dtype.
    pub fn load(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor> {
        let Some(&at) = self.place.get(name) else { bail!("{} has no tensor {name}", self.dir.display()) };
        let read = || -> candle_core::Result<Tensor> {
            let view = self.maps[at].get(name)?;
            if !device.is_cpu() {
                let tensor = self.maps[at].load(name, device)?.to_dtype(dtype)?;
                forget(view.data());
                return Ok(tensor);
            }
            match dtype {
                DType::BF16 => read_in_pieces::<half::bf16>(&view),
                DType::F16 => read_in_pieces::<half::f16>(&view),
                DType::F32 => read_in_pieces::<f32>(&view),
                other => self.maps[at].load(name, device)?.to_dtype(other),
            }
        };
        read().with_context(|| format!("cannot read {name}"))
    }
}

/// The dtype of a tensor, whose numbers must be of whole bytes: the smaller formats have blocks that nothing here reads.
fn dtype_of(view: &TensorView<'_>) -> candle_core::Result<DType> {
    let dtype: DType = view.dtype().try_into()?;
    if dtype.size_in_bytes() == 0 {
        candle_core::bail!("its dtype {dtype:?} is not implemented: convert it to F32, F16 or BF16");
    }
    Ok(dtype)
}

/// Bytes of a mapped tensor that are copied before their pages are let go.
const PIECE_BYTES: usize = 1 << 20;

/// Copies a tensor into main memory, cast to `T`. Piece by piece: else the largest tensor would stand in memory two or
/// three times (mapped, in the file's dtype, in `T`), and loading would be the peak of a run.
fn read_in_pieces<T: WithDType>(view: &TensorView<'_>) -> candle_core::Result<Tensor> {
    let dtype = dtype_of(view)?;
    let mut values: Vec<T> = runtime::with_large_pages(view.shape().iter().product());
    for piece in view.data().chunks(PIECE_BYTES) {
        let n = piece.len() / dtype.size_in_bytes();
        let tensor = Tensor::from_raw_buffer(piece, dtype, &[n], &Device::Cpu)?.to_dtype(T::DTYPE)?;
        values.extend(tensor.to_vec1::<T>()?);
        forget(piece);
    }
    Tensor::from_vec(values, view.shape(), &Device::Cpu)
}

/// Compares tensors with what a model expects: `found` gives the shape of those there are, `unknown` names those that
/// are not expected.
///
/// # Errors
/// Lists every difference (the first few of each kind when there are many).
pub fn report_misfits(
    place: &Path,
    expected: &BTreeMap<String, Vec<usize>>,
    found: impl Fn(&str) -> Option<Vec<usize>>,
    unknown: Vec<String>,
) -> Result<()> {
    let (mut missing, mut mis_shaped) = (Vec::new(), Vec::new());
    for (name, want) in expected {
        match found(name) {
            None => missing.push(name.clone()),
            Some(found) if &found != want => mis_shaped.push(format!("{name} is {found:?} instead of {want:?}")),
            Some(_) => {}
        }
    }
    let problems: Vec<String> = [("missing", missing), ("unknown", unknown), ("mis-shaped", mis_shaped)]
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(kind, names)| summary(kind, &names))
        .collect();
    if !problems.is_empty() {
        bail!("the tensors in {} do not fit the model:\n{}", place.display(), problems.join("\n"));
    }
    Ok(())
}

/// Lets go of the pages behind a part of a mapped file that has been copied: else a model stands in memory twice
/// while it is loaded.
#[cfg(unix)]
fn forget(bytes: &[u8]) {
    // SAFETY: a plain call.
    let Ok(page) = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }) else { return };
    let start = (bytes.as_ptr() as usize).next_multiple_of(page.max(1));
    let end = (bytes.as_ptr() as usize + bytes.len()) / page.max(1) * page.max(1);
    if start < end {
        // SAFETY: the range lies inside a read-only mapping of a file, which is never written through it: pages that
        // are dropped are read from the file again when they are touched. A refusal is harmless.
        unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED) };
    }
}

#[cfg(not(unix))]
fn forget(_: &[u8]) {}

fn map(path: &Path) -> Result<MmapedSafetensors> {
    // SAFETY: the file must not change while it is mapped; this crate only ever replaces files by renaming.
    unsafe { MmapedSafetensors::new(path) }
        .with_context(|| format!("{} cannot be read as safetensors: is it complete?", path.display()))
}

fn summary(kind: &str, names: &[String]) -> String {
    const SHOWN: usize = 8;
    let more = names.len().saturating_sub(SHOWN);
    let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("  {kind} ({}): {}{tail}", names.len(), names[..names.len().min(SHOWN)].join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_less_than_a_byte_were_divided_by_zero() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join(SINGLE_FILE);
        for dtype in ["F4", "F6_E2M3", "F6_E3M2"] {
            let bytes = if dtype == "F4" { 2 } else { 3 };
            let header = format!(r#"{{"x":{{"dtype":"{dtype}","shape":[2,2],"data_offsets":[0,{bytes}]}}}}"#);
            let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; bytes]].concat();
            std::fs::write(&path, file)?;
            let files = WeightFiles::open_file(&path)?;
            let loaded = [files.load("x", DType::F32, &Device::Cpu), files.load_rows("x", 0, 2)];
            for text in loaded.map(|tensor| format!("{:#}", tensor.expect_err("no such numbers"))) {
                assert!(text.contains("cannot read x") && text.contains("is not implemented"), "{text}");
            }
        }
        Ok(())
    }
}
