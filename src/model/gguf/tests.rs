//! A golden model written as GGUF in memory and on disk, as the converter would, and loaded again.

use std::path::PathBuf;

use candle_core::quantized::gguf_file::{Value, write, write as write_file};

use super::super::{Batch, Blocks, Decoder, Description, Pass, Weights};
use super::*;

fn golden() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden/gqa_small")
}

/// The converter's order of rows: row `i` of the first half of a head, then row `i` of the second half.
fn interleaved(weight: &Tensor, heads: usize) -> Result<Tensor> {
    let (rows, columns) = weight.dims2()?;
    let halves = weight.reshape((heads, 2, rows / heads / 2, columns))?;
    Ok(halves.transpose(1, 2)?.contiguous()?.reshape((rows, columns))?)
}

/// The tensors of the golden model that are to be kept, by their names in a file, its matrices in `format`.
fn golden_tensors(format: GgmlDType, keep: &impl Fn(&str) -> bool) -> Result<Vec<(String, QTensor)>> {
    let description = Description::read(&golden())?;
    let tensors = candle_core::safetensors::load(golden().join("model.safetensors"), &Device::Cpu)?;
    let mut named = Vec::new();
    for there in description.tensors().iter().filter(|there| keep(&there.name)) {
        let mut tensor = tensors[&there.name].clone();
        if let Some(heads) = heads(there.slot, &description.shape) {
            tensor = interleaved(&tensor, heads)?;
        }
        let format = if tensor.rank() == 1 { GgmlDType::F32 } else { format };
        named.push((gguf_name(there), QTensor::quantize(&tensor, format)?));
    }
    Ok(named)
}

/// Writes them.
fn write_golden(
    format: GgmlDType,
    architecture: &str,
    keep: impl Fn(&str) -> bool,
) -> Result<(tempfile::TempDir, PathBuf)> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("model.gguf");
    let named = golden_tensors(format, &keep)?;
    let named: Vec<(&str, &QTensor)> = named.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let architecture = Value::String(architecture.into());
    write(&mut File::create(&path)?, &[("general.architecture", &architecture)], &named)?;
    Ok((dir, path))
}

fn logits(model: &Decoder) -> Result<Vec<f32>> {
    let rows: Vec<Vec<u32>> = vec![(0..12).map(|i| i * 11 % 150).collect(), (0..7).map(|i| i * 5 % 150).collect()];
    let batch = Batch::left_padded(&rows, 1);
    let x = model.hidden(&batch, 0..batch.columns(), Pass::BASE)?;
    Ok(model.head().logits(&x)?.flatten_all()?.to_vec1()?)
}

#[test]
fn plain_numbers_give_the_very_model() -> Result<()> {
    let (_dir, path) = write_golden(GgmlDType::F32, "llada", |_| true)?;
    let loaded = Decoder::load_quantised(&golden(), DType::F32, &Device::Cpu, Blocks::Gguf(&path))?;
    let plain = Decoder::load(&golden(), DType::F32, &Device::Cpu, Weights::Frozen)?;
    assert!(logits(&loaded)? == logits(&plain)?);
    Ok(())
}

#[test]
fn tensors_that_no_model_of_the_folder_has_were_left_out() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("model.gguf");
    let mut named = golden_tensors(GgmlDType::F32, &|_| true)?;
    let more = ["blk.9.attn_norm.weight", "rope_freqs.weight"];
    for name in more {
        named.push((name.to_owned(), QTensor::quantize(&Tensor::ones(8, DType::F32, &Device::Cpu)?, GgmlDType::F32)?));
    }
    let named: Vec<(&str, &QTensor)> = named.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let (architecture, base) = (Value::String("llada".into()), Value::F32(10.0));
    let metadata = [("general.architecture", &architecture), ("llada.rope.freq_base", &base)];
    write(&mut File::create(&path)?, &metadata, &named)?;
    let load = || Decoder::load_quantised(&golden(), DType::F32, &Device::Cpu, Blocks::Gguf(&path)).map(|_| ());
    let text = format!("{:#}", load().expect_err("unknown tensors"));
    assert!(text.contains("unknown (2)") && more.iter().all(|name| text.contains(name)), "{text}");
    write(&mut File::create(&path)?, &metadata, &named[..named.len() - more.len()])?;
    let text = format!("{:#}", load().expect_err("another base"));
    assert!(text.contains("llada.rope.freq_base is") && text.contains("config.json says"), "{text}");
    Ok(())
}

#[test]
fn blocks_are_those_of_packing_the_checkpoint() -> Result<()> {
    let (_dir, path) = write_golden(GgmlDType::Q8_0, "llada", |_| true)?;
    let loaded = Decoder::load_quantised(&golden(), DType::F32, &Device::Cpu, Blocks::Gguf(&path))?;
    let format = crate::config::BlockFormat::Q8_0;
    let packed = Decoder::load_quantised(&golden(), DType::F32, &Device::Cpu, Blocks::Pack(format))?;
    assert!(loaded.matrices().iter().all(|w| w.dense().is_none()));
    assert!(logits(&loaded)? == logits(&packed)?);
    Ok(())
}

#[test]
fn formats_that_are_not_read_were_called_incomplete_files() -> Result<()> {
    let (_dir, path) = write_golden(GgmlDType::F32, "llada", |_| true)?;
    let mut bytes = std::fs::read(&path)?;
    // name, one or two sizes, format: in the first tensor's entry the format becomes another one
    let name = b"output_norm.weight";
    let at = bytes.windows(name.len()).position(|window| window == name).context("the tensor")? + name.len() + 12;
    for (format, expected) in [(20, "IQ4_NL"), (35, "TQ2_0"), (39, "MXFP4")] {
        bytes[at] = format;
        std::fs::write(&path, &bytes)?;
        let loaded = Decoder::load_quantised(&golden(), DType::F32, &Device::Cpu, Blocks::Gguf(&path));
        let error = format!("{:#}", loaded.err().context("refused")?);
        let text = format!("tensor \"output_norm.weight\" is stored as {expected}, which is not supported");
        assert!(error.contains(&text) && error.contains("llama-quantize") && !error.contains("complete"), "{error}");
    }
    Ok(())
}

#[test]
fn a_split_model_is_read_from_all_of_its_files() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let part = |i: u16| dir.path().join(format!("m-{i:05}-of-00002.gguf"));
    let (architecture, count) = (Value::String("llada".into()), Value::U16(2));
    let tensors = golden_tensors(GgmlDType::F32, &|_| true)?;
    for (i, tensors) in [&tensors[..7], &tensors[7..]].into_iter().enumerate() {
        let named: Vec<(&str, &QTensor)> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        let no = Value::U16(i as u16);
        let fields = [("general.architecture", &architecture), ("split.no", &no), ("split.count", &count)];
        // the architecture stands in the first file only
        write(&mut File::create(part(i as u16 + 1))?, &fields[i..], &named)?;
    }
    let load = |path: &Path| Decoder::load_quantised(&golden(), DType::F32, &Device::Cpu, Blocks::Gguf(path));
    let plain = Decoder::load(&golden(), DType::F32, &Device::Cpu, Weights::Frozen)?;
    for i in [1, 2] {
        assert!(logits(&load(&part(i))?)? == logits(&plain)?);
    }
    let digest = |i: u16| crate::model::weights_digest(dir.path(), Some(&part(i)));
    assert_eq!(digest(1)?, digest(2)?);
    std::fs::copy(part(1), dir.path().join("m.gguf"))?;
    let error = format!("{:#}", load(&dir.path().join("m.gguf")).expect_err("another name"));
    assert!(error.contains("split into 2 files") && error.contains("NAME-00001-of-00002.gguf"), "{error}");
    std::fs::remove_file(part(2))?;
    assert!(format!("{:#}", load(&part(1)).expect_err("half")).contains("m-00002-of-00002.gguf"));
    Ok(())
}

#[test]
fn a_dream_keeps_the_order_of_its_rows_and_has_biases() -> Result<()> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden/dream");
    let plain = Decoder::load(&dir, DType::F32, &Device::Cpu, Weights::Frozen)?;
    let tensors = candle_core::safetensors::load(dir.join("model.safetensors"), &Device::Cpu)?;
    let mut named = Vec::new();
    for there in Description::read(&dir)?.tensors() {
        named.push((gguf_name(&there), QTensor::quantize(&tensors[&there.name], GgmlDType::F32)?));
    }
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("dream.gguf");
    let architecture = Value::String("dream".into());
    let named: Vec<(&str, &QTensor)> = named.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    assert!(named.iter().any(|(name, _)| *name == "blk.0.attn_q.bias"));
    write(&mut File::create(&path)?, &[("general.architecture", &architecture)], &named)?;
    let loaded = Decoder::load_quantised(&dir, DType::F32, &Device::Cpu, Blocks::Gguf(&path))?;
    assert!(logits(&loaded)? == logits(&plain)?);
    let other = dir.with_file_name("a2d_qwen3");
    let error = Decoder::load_quantised(&other, DType::F32, &Device::Cpu, Blocks::Gguf(&path)).expect_err("no such");
    assert!(error.to_string().contains("llama.cpp has no models of A2D"), "{error}");
    Ok(())
}

#[test]
fn files_that_do_not_fit_say_why() -> Result<()> {
    let load = |path: &Path| Decoder::load_quantised(&golden(), DType::F32, &Device::Cpu, Blocks::Gguf(path));
    let error = |path: &Path| format!("{:#}", load(path).expect_err("refused"));
    let (_dir, path) = write_golden(GgmlDType::F32, "llama", |_| true)?;
    assert!(error(&path).contains("architecture \"llama\", not \"llada\""), "{}", error(&path));
    let (_dir, path) = write_golden(GgmlDType::F32, "llada", |name| !name.contains("blocks.1.v_proj"))?;
    assert!(error(&path).contains("missing (1): model.transformer.blocks.1.v_proj.weight"), "{}", error(&path));
    std::fs::write(&path, b"GGUF and nothing more")?;
    assert!(error(&path).contains("cannot be read as GGUF"), "{}", error(&path));
    assert!(error(&path.with_extension("gone")).contains("cannot read"));
    Ok(())
}

/// A header without tensors whose alignment is 0, and its parts with counts and lengths that no file has.
#[test]
fn an_alignment_of_0_and_impossible_counts_panicked() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("model.gguf");
    let key = b"general.alignment";
    let header = |tensors: u64, fields: u64, length: u64, kind: u32| {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        for number in [tensors, fields, length] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(key);
        bytes.extend(kind.to_le_bytes());
        bytes.extend([0; 8]);
        bytes
    };
    let whole = key.len() as u64;
    let (most, half) = (u64::MAX, 1 << 63);
    let headers = [(0, 1, whole, 4), (0, 1, whole, 5), (most, 0, whole, 4), (half, half, whole, 4), (0, 1, half, 4)];
    for (tensors, fields, length, kind) in headers {
        std::fs::write(&path, header(tensors, fields, length, kind))?;
        let loaded = Decoder::load_quantised(&golden(), DType::F32, &Device::Cpu, Blocks::Gguf(&path));
        let error = format!("{:#}", loaded.err().context("refused")?);
        assert!(error.contains("model.gguf cannot be read as GGUF"), "{error}");
    }
    Ok(())
}

/// Experts of a layer are one tensor of three dimensions in the converter's files.
#[test]
fn experts_are_read_from_the_tensor_of_all_of_them() -> Result<()> {
    use crate::model::testing::{config_of, write_model};
    let dir = tempfile::tempdir()?;
    let mut config = config_of("llada_moe");
    config.extend([("hidden_size", 64), ("expert_intermediate_size", 32)].map(|(key, n)| (key.to_owned(), n.into())));
    write_model(dir.path(), &config)?;
    let (path, description) = (dir.path().join("model.gguf"), Description::read(dir.path())?);
    let tensors = candle_core::safetensors::load(dir.path().join("model.safetensors"), &Device::Cpu)?;
    let write = |format: GgmlDType, keep: &dyn Fn(&Named) -> bool| -> Result<()> {
        let mut by_name: BTreeMap<String, Vec<Tensor>> = BTreeMap::new();
        for there in description.tensors().iter().filter(|there| keep(there)) {
            by_name.entry(gguf_name(there)).or_default().push(tensors[&there.name].clone());
        }
        let mut named = Vec::new();
        for (name, parts) in &by_name {
            let all = if name.contains("_exps") { Tensor::stack(parts, 0)? } else { parts[0].clone() };
            let plain = all.rank() == 1 || name.contains("gate_inp");
            named.push((name, QTensor::quantize(&all, if plain { GgmlDType::F32 } else { format })?));
        }
        let named: Vec<(&str, &QTensor)> = named.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        let architecture = Value::String("llada-moe".into());
        Ok(write_file(&mut File::create(&path)?, &[("general.architecture", &architecture)], &named)?)
    };
    let load = || Decoder::load_quantised(dir.path(), DType::F32, &Device::Cpu, Blocks::Gguf(&path));
    write(GgmlDType::F32, &|_| true)?;
    let plain = Decoder::load(dir.path(), DType::F32, &Device::Cpu, Weights::Frozen)?;
    assert!(logits(&load()?)? == logits(&plain)?);
    write(GgmlDType::Q8_0, &|_| true)?;
    let format = Blocks::Pack(crate::config::BlockFormat::Q8_0);
    let packed = Decoder::load_quantised(dir.path(), DType::F32, &Device::Cpu, format)?;
    assert!(logits(&load()?)? == logits(&packed)?);
    write(GgmlDType::F32, &|tensor| !matches!(tensor.slot, Slot::Expert(7, _)))?;
    let error = format!("{:#}", load().err().context("an expert is missing")?);
    assert!(error.contains("mis-shaped") && error.contains("experts.0.gate_proj"), "{error}");
    Ok(())
}
