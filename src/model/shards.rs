//! Weights written to safetensors files as they are made: which tensor goes where is known before the first one is, so
//! that no file ever stands in memory.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::weights::{INDEX_FILE, SINGLE_FILE};
use crate::config::Precision;

/// The largest file that weights are written to, as Hugging Face's libraries do.
pub const SHARD_BYTES: u64 = 5_000_000_000;

/// A tensor that will be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// What its numbers are rounded to.
    pub dtype: Precision,
    /// Its shape.
    pub shape: Vec<usize>,
}

impl Entry {
    /// Bytes of its numbers.
    pub fn bytes(&self) -> u64 {
        self.shape.iter().product::<usize>() as u64 * width(self.dtype)
    }
}

/// A file of weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Its name.
    pub file: String,
    /// What it holds, in this order.
    pub entries: Vec<Entry>,
}

/// Spreads tensors over files of at most `limit` bytes, in their order; a tensor that is larger has a file of its own.
pub fn spread(entries: Vec<Entry>, limit: u64) -> Vec<Shard> {
    let mut groups: Vec<Vec<Entry>> = Vec::new();
    let mut filled = 0;
    for entry in entries {
        match groups.last_mut().filter(|_| filled + entry.bytes() <= limit) {
            Some(group) => {
                filled += entry.bytes();
                group.push(entry);
            }
            None => {
                filled = entry.bytes();
                groups.push(vec![entry]);
            }
        }
    }
    let of = groups.len();
    let name = |i: usize| match of {
        1 => SINGLE_FILE.to_owned(),
        _ => format!("model-{i:05}-of-{of:05}.safetensors"),
    };
    let shard = |(i, mut entries): (usize, Vec<Entry>)| {
        // wide numbers first: then every tensor begins at a multiple of its numbers' width
        entries.sort_by_key(|entry| std::cmp::Reverse(width(entry.dtype)));
        Shard { file: name(i + 1), entries }
    };
    groups.into_iter().enumerate().map(shard).collect()
}

/// Name and text of the index; nothing if there is one file only, which needs none.
pub fn index(shards: &[Shard]) -> Option<(&'static str, String)> {
    let entries = || shards.iter().flat_map(|shard| shard.entries.iter().map(move |entry| (shard, entry)));
    let total: u64 = entries().map(|(_, entry)| entry.bytes()).sum();
    let map: Map<String, Value> =
        entries().map(|(shard, entry)| (entry.name.clone(), shard.file.clone().into())).collect();
    let index = json!({ "metadata": { "total_size": total }, "weight_map": map });
    (shards.len() > 1).then(|| (INDEX_FILE, format!("{index:#}\n")))
}

impl Shard {
    /// Writes the file into `dir`: `fill` gives the bytes of every tensor. They are on the disk when this returns.
    ///
    /// # Errors
    /// What the system refuses, what `fill` says, and a tensor of which it gave more or less than its bytes.
    pub fn write<F>(&self, dir: &Path, mut fill: F) -> anyhow::Result<()>
    where
        F: FnMut(&Entry, &mut dyn Write) -> anyhow::Result<()>,
    {
        let mut file =
            Counted { file: BufWriter::with_capacity(1 << 20, File::create_new(dir.join(&self.file))?), written: 0 };
        file.write_all(&self.header())?;
        for entry in &self.entries {
            let start = file.written;
            fill(entry, &mut file)?;
            let (given, expected) = (file.written - start, entry.bytes());
            anyhow::ensure!(given == expected, "{} has {given} bytes instead of {expected}", entry.name);
        }
        file.file.flush()?;
        Ok(file.file.get_ref().sync_all()?)
    }

    /// The length of the table of tensors, and the table, padded to eight bytes.
    fn header(&self) -> Vec<u8> {
        let mut table = Map::from_iter([("__metadata__".to_owned(), json!({ "format": "pt" }))]);
        let mut start = 0;
        for entry in &self.entries {
            let end = start + entry.bytes();
            let place = json!({ "dtype": name(entry.dtype), "shape": entry.shape, "data_offsets": [start, end] });
            table.insert(entry.name.clone(), place);
            start = end;
        }
        let mut text = Value::Object(table).to_string().into_bytes();
        text.resize(text.len().next_multiple_of(8), b' ');
        [&(text.len() as u64).to_le_bytes()[..], &text].concat()
    }
}

/// A file, and how much was written to it.
struct Counted {
    file: BufWriter<File>,
    written: u64,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = self.file.write(bytes)?;
        self.written += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

/// The name of a precision in a safetensors file.
fn name(dtype: Precision) -> &'static str {
    match dtype {
        Precision::F32 => "F32",
        Precision::Bf16 => "BF16",
        Precision::F16 => "F16",
    }
}

/// Bytes of a number.
pub fn width(dtype: Precision) -> u64 {
    match dtype {
        Precision::F32 => 4,
        Precision::Bf16 | Precision::F16 => 2,
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Result;
    use candle_core::{DType, Device};

    use super::*;
    use crate::model::WeightFiles;

    fn entry(name: &str, dtype: Precision, len: usize) -> Entry {
        Entry { name: name.into(), dtype, shape: vec![len] }
    }

    fn entries() -> Vec<Entry> {
        vec![
            entry("a", Precision::Bf16, 3),
            entry("b", Precision::F32, 2),
            entry("c", Precision::F32, 9),
            entry("d", Precision::F16, 1),
        ]
    }

    #[test]
    fn files_are_filled_in_order_and_no_fuller_than_the_limit() {
        let files = |limit| -> Vec<(String, Vec<String>)> {
            let names = |shard: Shard| (shard.file, shard.entries.into_iter().map(|entry| entry.name).collect());
            spread(entries(), limit).into_iter().map(names).collect()
        };
        let expected = |file: &str, names: &[&str]| (file.to_owned(), names.iter().map(|&n| n.to_owned()).collect());
        // 6, 8, 36 and 2 bytes; within a file f32 comes first
        assert_eq!(files(52), [expected("model.safetensors", &["b", "c", "a", "d"])]);
        let two = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
        assert_eq!(files(51), [expected(two[0], &["b", "c", "a"]), expected(two[1], &["d"])]);
        let three = |i| format!("model-0000{i}-of-00003.safetensors");
        let of_one_each = [expected(&three(1), &["b", "a"]), expected(&three(2), &["c"]), expected(&three(3), &["d"])];
        assert_eq!(files(14), of_one_each, "c is larger than a file");
        assert!(index(&spread(entries(), 52)).is_none());
        let (name, text) = index(&spread(entries(), 14)).expect("several files");
        let json: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!((name, &json["metadata"]["total_size"]), (INDEX_FILE, &52.into()));
        assert_eq!(json["weight_map"]["c"], three(2).as_str());
        assert_eq!(json["weight_map"].as_object().map(Map::len), Some(4));
    }

    #[test]
    fn what_is_written_reads_back() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let shards = spread(entries(), 14);
        for shard in &shards {
            shard.write(dir.path(), |entry, out| {
                for i in 0..entry.shape[0] {
                    let number = i as f32 + 0.5;
                    match entry.dtype {
                        Precision::F32 => out.write_all(&number.to_le_bytes())?,
                        Precision::Bf16 => out.write_all(&half::bf16::from_f32(number).to_le_bytes())?,
                        Precision::F16 => out.write_all(&half::f16::from_f32(number).to_le_bytes())?,
                    }
                }
                Ok(())
            })?;
        }
        let (name, text) = index(&shards).expect("several files");
        std::fs::write(dir.path().join(name), text)?;
        let files = WeightFiles::open(dir.path())?;
        for entry in entries() {
            let numbers = files.load(&entry.name, DType::F32, &Device::Cpu)?.to_vec1::<f32>()?;
            let expected: Vec<f32> = (0..entry.shape[0]).map(|i| i as f32 + 0.5).collect();
            assert_eq!(numbers, expected, "{}", entry.name);
        }
        Ok(())
    }

    #[test]
    fn a_tensor_that_is_too_short_is_an_error() {
        let dir = tempfile::tempdir().expect("a folder");
        let shard = &spread(entries(), 52)[0];
        let error = shard.write(dir.path(), |_, out| Ok(out.write_all(&[0; 4])?)).expect_err("b has 8 bytes");
        assert_eq!(error.to_string(), "b has 4 bytes instead of 8");
    }
}
