//! Building a [`Llada`] from a checkpoint folder, and writing it back.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::{Context, Result, bail};
use candle_core::quantized::GgmlDType;
use candle_core::{DType, Device, Tensor};

use super::block::Block;
use super::config::LladaConfig;
use super::gguf::{GgufFile, Loaded};
use super::head::Head;
use super::linear::Linear;
use super::llada::Llada;
use super::ops::products::{Panels, Quantised, activations_are_f32};
use super::ops::rope;
use super::param::Param;
use super::stack::Stack;
use super::weight::Weight;
use super::weights::{SINGLE_FILE, WeightFiles};
use crate::config::BlockFormat;
use crate::meter::{self, Unit, Work};

const PREFIX: &str = "model.transformer";
/// The embedding: its rows are looked up, and it is never multiplied.
pub(super) const WTE: &str = "model.transformer.wte.weight";

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

impl Llada {
    /// Loads `config.json` and the weights of a folder in Hugging Face layout.
    ///
    /// # Errors
    /// Names the file, and every key or tensor that does not fit.
    pub fn load(dir: &Path, dtype: DType, device: &Device, weights: Weights) -> Result<Self> {
        let config = LladaConfig::load(dir)?;
        let files = WeightFiles::open(dir)?;
        files.check(&expected_shapes(&config))?;
        let in_panels = weights == Weights::Frozen && Panels::serve(dtype, device);
        Self::build(config, weights, dtype, |name, shape| {
            if in_panels && shape.len() == 2 && name != WTE {
                let rows = |start, len| files.load_rows(name, start, len);
                return Ok(Loaded::Panels(Panels::pack((shape[0], shape[1]), rows)?));
            }
            Ok(Loaded::Dense(files.load(name, kept_dtype(shape, dtype, device), device)?))
        })
    }

    /// As [`Llada::load`], frozen, with matrices in blocks.
    ///
    /// # Errors
    /// As [`Llada::load`]; matrices whose rows do not divide into blocks.
    pub fn load_quantised(dir: &Path, dtype: DType, device: &Device, blocks: Blocks<'_>) -> Result<Self> {
        let config = LladaConfig::load(dir)?;
        let shapes = expected_shapes(&config);
        match blocks {
            Blocks::Pack(format) => {
                let files = WeightFiles::open(dir)?;
                files.check(&shapes)?;
                check_blocks(&shapes, format)?;
                Self::build(config, Weights::Frozen, dtype, |name, shape| {
                    if shape.len() == 1 {
                        return Ok(Loaded::Dense(files.load(name, kept_dtype(shape, dtype, device), device)?));
                    }
                    let rows = |start, len| files.load_rows(name, start, len);
                    let packed = Quantised::pack((shape[0], shape[1]), rows, ggml_dtype(format), dtype, device);
                    Ok(Loaded::Quantised(packed.with_context(|| format!("cannot quantise {name}"))?))
                })
            }
            Blocks::Gguf(path) => {
                let file = GgufFile::open(path, &shapes)?;
                let sizes = config.clone();
                Self::build(config, Weights::Frozen, dtype, |name, shape| {
                    file.load(name, &sizes, kept_dtype(shape, dtype, device), device)
                })
            }
        }
    }

    /// A model of the weights that `load` gives for their names and shapes.
    pub(super) fn build(
        config: LladaConfig,
        weights: Weights,
        dtype: DType,
        mut load: impl FnMut(&str, &[usize]) -> Result<Loaded>,
    ) -> Result<Self> {
        let shapes = expected_shapes(&config);
        let numbers = |shape: &Vec<usize>| shape.iter().product::<usize>() as u64;
        let (total, mut done) = (shapes.values().map(numbers).sum(), 0);
        let mut meter =
            meter::start(Work { name: "loading the model", unit: Unit::Share, total: Some(total), there: 0 });
        let mut weight = |name: String| -> Result<Weight> {
            let loaded = load(&name, &shapes[&name])?;
            done += numbers(&shapes[&name]);
            meter.at(done);
            match (loaded, weights) {
                (Loaded::Dense(value), Weights::Frozen) if value.rank() == 1 || name == WTE => {
                    Ok(Weight::Dense(Param::frozen(name, value)))
                }
                (Loaded::Dense(value), Weights::Frozen) => Ok(Weight::frozen(name, value)?),
                (Loaded::Dense(value), Weights::Trainable) => Ok(Weight::Dense(Param::trainable(name, &value)?)),
                (Loaded::Panels(panels), _) => Ok(Weight::Panels { name, panels }),
                (Loaded::Quantised(blocks), _) => Ok(Weight::Quantised { name, blocks }),
            }
        };
        let wte = weight(WTE.to_owned())?;
        let mut blocks = Vec::with_capacity(config.n_layers);
        for i in 0..config.n_layers {
            let mut leaf = |leaf: &str| weight(format!("{PREFIX}.blocks.{i}.{leaf}.weight"));
            let mut block = Block {
                attn_norm: norm(leaf("attn_norm")?)?,
                q_proj: Linear::new(leaf("q_proj")?),
                k_proj: Linear::new(leaf("k_proj")?),
                v_proj: Linear::new(leaf("v_proj")?),
                attn_out: Linear::new(leaf("attn_out")?),
                ff_norm: norm(leaf("ff_norm")?)?,
                ff_proj: Linear::new(leaf("ff_proj")?),
                up_proj: Linear::new(leaf("up_proj")?),
                ff_out: Linear::new(leaf("ff_out")?),
                qkv: None,
                gate_up: None,
            };
            block.qkv = Stack::of(&mut [&mut block.q_proj, &mut block.k_proj, &mut block.v_proj])?;
            block.gate_up = Stack::of(&mut [&mut block.ff_proj, &mut block.up_proj])?;
            blocks.push(block);
        }
        let head = Head {
            norm: norm(weight(format!("{PREFIX}.ln_f.weight"))?)?,
            weight: weight(format!("{PREFIX}.ff_out.weight"))?,
            eps: config.rms_norm_eps,
        };
        let device = head.norm.value().device();
        let tables = rope::Tables::new(config.rope_theta, config.head_dim(), device)?;
        Ok(Self { config, dtype, wte, blocks, head, tables, adapters: None })
    }

    /// Writes the weights as `dir/model.safetensors`, atomically.
    ///
    /// # Errors
    /// Names the file that cannot be written; a quantised matrix.
    pub fn save(&self, dir: &Path) -> Result<()> {
        let mut tensors: BTreeMap<String, Tensor> =
            self.norms().into_iter().map(|p| (p.name().to_owned(), p.value().clone())).collect();
        for weight in self.matrices() {
            let numbers = weight.numbers()?.with_context(|| format!("{} is quantised", weight.name()))?;
            tensors.insert(weight.name().to_owned(), numbers);
        }
        write_safetensors(&dir.join(SINGLE_FILE), &tensors, &[("format", "pt")])
    }
}

/// The vectors are norms, which multiply activations and weigh nothing: they have the dtype of activations.
pub(super) fn kept_dtype(shape: &[usize], dtype: DType, device: &Device) -> DType {
    if shape.len() == 1 && activations_are_f32(dtype, device) { DType::F32 } else { dtype }
}

fn norm(weight: Weight) -> Result<Param> {
    match weight {
        Weight::Dense(param) => Ok(param),
        Weight::Panels { name, .. } | Weight::Quantised { name, .. } => {
            bail!("{name} is a matrix, but a norm is a vector")
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
pub(super) fn check_blocks(shapes: &BTreeMap<String, Vec<usize>>, format: BlockFormat) -> Result<()> {
    let block = ggml_dtype(format).block_size();
    let misfit = shapes.iter().find(|(_, shape)| shape.len() == 2 && !shape[1].is_multiple_of(block));
    let Some((name, shape)) = misfit else { return Ok(()) };
    let way_out = match format {
        BlockFormat::Q8_0 => "leave model.quantize out",
        BlockFormat::Q6K | BlockFormat::Q4K => "use model.quantize = \"q8_0\", whose blocks are of 32, or leave it out",
    };
    bail!("model.quantize: rows of {name} have {} numbers, which is no multiple of {block}: {way_out}", shape[1])
}

/// Names and shapes of a checkpoint's tensors.
pub fn expected_shapes(config: &LladaConfig) -> BTreeMap<String, Vec<usize>> {
    let LladaConfig { d_model: d, mlp_hidden_size: f, embedding_size: v, .. } = *config;
    let kv = config.n_kv_heads * config.head_dim();
    let mut shapes = BTreeMap::from([
        (WTE.to_owned(), vec![v, d]),
        (format!("{PREFIX}.ln_f.weight"), vec![d]),
        (format!("{PREFIX}.ff_out.weight"), vec![v, d]),
    ]);
    for i in 0..config.n_layers {
        let leaves: [(&str, Vec<usize>); 9] = [
            ("attn_norm", vec![d]),
            ("q_proj", vec![d, d]),
            ("k_proj", vec![kv, d]),
            ("v_proj", vec![kv, d]),
            ("attn_out", vec![d, d]),
            ("ff_norm", vec![d]),
            ("ff_proj", vec![f, d]),
            ("up_proj", vec![f, d]),
            ("ff_out", vec![d, f]),
        ];
        shapes.extend(leaves.map(|(leaf, shape)| (format!("{PREFIX}.blocks.{i}.{leaf}.weight"), shape)));
    }
    shapes
}

/// Path, outputs and inputs of the linear layers that can have an adapter, those of the blocks.
pub(super) fn block_linears(shapes: &BTreeMap<String, Vec<usize>>) -> impl Iterator<Item = (String, (usize, usize))> {
    shapes.iter().filter_map(|(name, shape)| {
        let path = name.strip_suffix(".weight")?;
        let [out, input] = shape[..] else { return None };
        path.starts_with(&format!("{PREFIX}.blocks.")).then(|| (path.to_owned(), (out, input)))
    })
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
