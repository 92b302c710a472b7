//! Reading an adapter folder, into a model or to be merged.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Device, Tensor};

use super::config::{AdapterConfig, Shape};
use super::peft_keys;
use crate::model::decoder::Decoder;
use crate::model::linear::Adapter;
use crate::model::param::Param;
use crate::model::weights::WeightFiles;

/// The tensors of an adapter folder.
pub const ADAPTER_FILE: &str = "adapter_model.safetensors";
/// The same pickled, as old versions of PEFT wrote them.
const PICKLED_FILE: &str = "adapter_model.bin";

/// An adapter folder that fits a model, its tensors not yet read.
pub(in crate::model) struct AdapterFiles {
    /// What the folder says of its adapters.
    pub config: AdapterConfig,
    files: WeightFiles,
    shapes: Vec<(String, Option<Shape>)>,
}

impl AdapterFiles {
    /// Opens a PEFT folder for a model with these linear layers in its blocks: their paths, outputs and inputs.
    ///
    /// # Errors
    /// Names the file, and what of it does not belong to this model, contradicts the config or is not implemented.
    pub fn open(dir: &Path, linears: impl IntoIterator<Item = (String, (usize, usize))>) -> Result<Self> {
        let config = AdapterConfig::load(dir)?;
        let path = tensor_file(dir)?;
        let files = WeightFiles::open_file(&path)?;
        let mut expected = BTreeMap::new();
        let mut shapes = Vec::new();
        for (name, (out, input)) in linears {
            let shape = config.shape(&name).with_context(|| format!("{} cannot be used", dir.display()))?;
            if let Some(shape) = shape {
                let (a, b) = peft_keys(&name);
                expected.extend([(a, vec![shape.rank, input]), (b, vec![out, shape.rank])]);
            }
            shapes.push((name, shape));
        }
        ensure!(
            !expected.is_empty(),
            "{} names no linear layer of the model's blocks in target_modules",
            dir.display()
        );
        check_agreement(&shapes, &files)
            .and_then(|()| files.check(&expected))
            .with_context(|| format!("{} does not fit {}", path.display(), explained(&files, &expected)))?;
        Ok(Self { config, files, shapes })
    }

    /// Layers that have an adapter.
    pub fn count(&self) -> usize {
        self.shapes.iter().filter(|(_, shape)| shape.is_some()).count()
    }

    /// The adapter of a layer in f32, `A` `[R, in]` and `B` `[out, R]`, and what their product is multiplied with; nothing
    /// if the layer has none.
    pub fn load(&self, path: &str, device: &Device) -> Result<Option<(Tensor, Tensor, f64)>> {
        let Some((_, Some(Shape { scale, .. }))) = self.shapes.iter().find(|(name, _)| name == path) else {
            return Ok(None);
        };
        let (a, b) = peft_keys(path);
        Ok(Some((self.files.load(&a, DType::F32, device)?, self.files.load(&b, DType::F32, device)?, *scale)))
    }
}

impl Decoder {
    /// Attaches the adapters of a PEFT folder, replacing those there are.
    ///
    /// # Errors
    /// Names the file, and what of it does not belong to this model, contradicts the config or is not implemented; the
    /// model then has the adapters it had.
    pub fn load_adapter(&mut self, dir: &Path) -> Result<AdapterConfig> {
        let linears = self.linears().map(|linear| Ok((linear.path().to_owned(), linear.weight.dims2()?)));
        let files = AdapterFiles::open(dir, linears.collect::<candle_core::Result<Vec<_>>>()?)?;
        let device = self.device().clone();
        let mut adapters = Vec::new();
        for (module, (path, _)) in files.shapes.iter().enumerate() {
            let (a_name, b_name) = peft_keys(path);
            adapters.push(match files.load(path, &device)? {
                None => None,
                Some((a, b, scale)) => Some(Adapter {
                    a: Param::trainable(a_name, &a)?,
                    b: Param::trainable(b_name, &b)?,
                    scale,
                    dropout: files.config.lora_dropout,
                    tf32: true,
                    module: module as u64,
                }),
            });
        }
        for (linear, adapter) in self.linears_mut().zip(adapters) {
            linear.adapter = adapter;
        }
        self.adapters = Some(files.config.clone());
        Ok(files.config)
    }
}

/// The file with the tensors of a folder.
fn tensor_file(dir: &Path) -> Result<PathBuf> {
    let path = dir.join(ADAPTER_FILE);
    if path.is_file() {
        return Ok(path);
    }
    if dir.join(PICKLED_FILE).is_file() {
        bail!(
            "{} has its tensors in {PICKLED_FILE}, a pickle, which can run code and is not read: load it with PEFT and \
             write it again (save_pretrained), which gives {ADAPTER_FILE}",
            dir.display()
        );
    }
    bail!("{} has no {ADAPTER_FILE}", dir.display())
}

/// Whether the tensors of the blocks' linear layers are of the modules and ranks that the config says: what it leaves
/// out PEFT would pass over, and a rank that is not its own has another scale.
fn check_agreement(shapes: &[(String, Option<Shape>)], files: &WeightFiles) -> Result<()> {
    for (name, shape) in shapes {
        let (a, b) = peft_keys(name);
        let found = files.shape(&a).and_then(|dims| dims.first().copied());
        match (shape, found) {
            (None, None) if files.shape(&b).is_none() => {}
            (None, _) => bail!(
                "there are tensors of {name}, which target_modules (with exclude_modules, layers_to_transform and \
                 target_parameters) leaves out"
            ),
            (Some(Shape { rank, .. }), Some(found)) if *rank != found => {
                bail!("{a} is of rank {found}, but r and rank_pattern say {rank}: is a key missing in rank_pattern?")
            }
            (Some(_), _) => {}
        }
    }
    Ok(())
}

/// The model that an adapter does not fit, with the key that explains a tensor nobody expects.
fn explained(files: &WeightFiles, expected: &BTreeMap<String, Vec<usize>>) -> String {
    const SIGNS: [(&str, &str); 9] = [
        ("lora_magnitude_vector", "use_dora: the adapter is DoRA, which is not implemented"),
        ("lora_embedding_", "target_modules: adapters on the embedding are not implemented"),
        (".model.transformer.wte.", "target_modules: adapters on the embedding are not implemented"),
        (".model.embed_tokens.", "target_modules: adapters on the embedding are not implemented"),
        (".model.transformer.ff_out.", "target_modules also names the head, where adapters are not implemented"),
        (".model.lm_head.", "target_modules also names the head, where adapters are not implemented"),
        (".experts.", "target_modules also names experts, where adapters are not implemented"),
        (".lora_B.bias", "lora_bias: biases of the update are not implemented"),
        (".bias", "bias: biases that were trained beside the adapters are not implemented"),
    ];
    let unknown: Vec<&str> = files.names().filter(|name| !expected.contains_key(*name)).collect();
    let sign = SIGNS.iter().find(|(sign, _)| unknown.iter().any(|name| name.contains(sign)));
    sign.map_or_else(|| "the model".to_owned(), |(_, text)| format!("the model ({text})"))
}
