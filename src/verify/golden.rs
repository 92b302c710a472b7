//! Reading a golden folder.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};
use serde::de::DeserializeOwned;

use crate::model::{Decoder, Weights};

/// A golden folder and the device it is checked on.
pub struct Golden {
    dir: PathBuf,
    /// Where the model runs.
    pub device: Device,
}

impl Golden {
    /// # Errors
    /// If the folder is not there.
    pub fn open(dir: &Path, device: &Device) -> Result<Self> {
        anyhow::ensure!(dir.is_dir(), "{} is not a folder with golden tensors", dir.display());
        Ok(Self { dir: dir.to_owned(), device: device.clone() })
    }

    /// The base model.
    pub fn base(&self) -> Result<Decoder> {
        Decoder::load(&self.dir, DType::F32, &self.device, Weights::Frozen)
    }

    /// The model with its adapter.
    pub fn adapted(&self) -> Result<Decoder> {
        let mut model = self.base()?;
        model.load_adapter(&self.dir)?;
        Ok(model)
    }

    /// `<name>.json`
    pub fn json<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        let path = self.dir.join(format!("{name}.json"));
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is not as expected", path.display()))
    }

    /// `<name>.safetensors`, in main memory.
    pub fn tensors(&self, name: &str) -> Result<Tensors> {
        let path = self.dir.join(format!("{name}.safetensors"));
        let tensors = candle_core::safetensors::load(&path, &Device::Cpu)
            .with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Tensors { path, tensors })
    }
}

/// The tensors of one file.
pub struct Tensors {
    path: PathBuf,
    tensors: HashMap<String, Tensor>,
}

impl Tensors {
    /// A tensor by name.
    pub fn get(&self, name: &str) -> Result<&Tensor> {
        self.tensors.get(name).with_context(|| format!("{} has no tensor {name}", self.path.display()))
    }

    /// A matrix of token ids.
    pub fn ids(&self, name: &str) -> Result<Vec<Vec<u32>>> {
        let rows: Vec<Vec<i64>> = self.get(name)?.to_dtype(DType::I64)?.to_vec2()?;
        Ok(rows.into_iter().map(|r| r.into_iter().map(|id| id as u32).collect()).collect())
    }

    /// All values, flat.
    pub fn values(&self, name: &str) -> Result<Vec<f64>> {
        Ok(self.get(name)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
    }
}

/// Largest absolute difference of two tensors of one shape; NaN if any is.
pub fn worst(a: &Tensor, b: &Tensor) -> Result<f64> {
    let a: Vec<f64> = a.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
    let b: Vec<f64> = b.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
    anyhow::ensure!(a.len() == b.len(), "{} values instead of {}", a.len(), b.len());
    Ok(a.iter().zip(&b).map(|(x, y)| (x - y).abs()).fold(0.0, larger))
}

/// The larger of two errors, NaN before all.
pub fn larger(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

/// `|a - b| / |b|` in the Euclidean norm.
pub fn relative(a: &Tensor, b: &Tensor) -> Result<f64> {
    let (a, b) = (a.to_device(&Device::Cpu)?.to_dtype(DType::F64)?, b.to_dtype(DType::F64)?);
    let norm = |t: &Tensor| -> Result<f64> { Ok(t.sqr()?.sum_all()?.to_scalar::<f64>()?.sqrt()) };
    Ok(norm(&(a - &b)?)? / norm(&b)?.max(1e-12))
}
