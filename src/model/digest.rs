//! Digests of a model's files: they tell a checkpoint whether it still stands on the weights it was trained on.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rayon::prelude::*;
use sha2::{Digest as _, Sha256};

use super::gguf;
use super::source::shards;
use super::weights::{INDEX_FILE, SINGLE_FILE};
use crate::files::hex;
use crate::meter;

/// Bytes that are hashed by themselves, so that all cores can work: LLaDA-8B's 16 GB take seconds.
const PIECE_BYTES: u64 = 1 << 20;

/// The digest of the weights of a folder, or of a GGUF file: all bytes count, names and places of files do not; of a GGUF file that is one of several all of them.
///
/// # Errors
/// Names the file that cannot be read.
pub fn weights_digest(dir: &Path, gguf: Option<&Path>) -> Result<String> {
    let files = match gguf {
        Some(file) => gguf::parts(file),
        None => weight_files(dir)?,
    };
    let mut all = Sha256::new();
    let mut meter = meter::count("checking the weights", "files", files.len());
    for (i, file) in files.into_iter().enumerate() {
        meter.at(i as u64);
        all.update(hash_of_pieces(&file).with_context(|| format!("cannot read {}", file.display()))?);
    }
    Ok(hex(&all.finalize()))
}

/// The digest of some files of a folder under their names; those that are not there are told from empty ones.
///
/// # Errors
/// Names the file that cannot be read.
pub fn files_digest(dir: &Path, names: &[&str]) -> Result<String> {
    let mut all = Sha256::new();
    for name in names.iter().filter(|name| dir.join(name).is_file()) {
        let path = dir.join(name);
        let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        all.update(name.as_bytes());
        all.update((bytes.len() as u64).to_le_bytes());
        all.update(bytes);
    }
    Ok(hex(&all.finalize()))
}

/// The single file, or the shards of the index in the order of their names.
fn weight_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let index = dir.join(INDEX_FILE);
    if !index.is_file() {
        return Ok(vec![dir.join(SINGLE_FILE)]);
    }
    Ok(shards(&index)?.iter().map(|name| dir.join(name)).collect())
}

/// SHA-256 of the SHA-256 of every piece.
fn hash_of_pieces(path: &Path) -> std::io::Result<[u8; 32]> {
    let length = File::open(path)?.metadata()?.len();
    let piece = |i: u64| -> std::io::Result<[u8; 32]> {
        let start = i * PIECE_BYTES;
        let mut bytes = vec![0; PIECE_BYTES.min(length - start) as usize];
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut bytes)?;
        Ok(Sha256::digest(&bytes).into())
    };
    let pieces: Vec<[u8; 32]> =
        (0..length.div_ceil(PIECE_BYTES)).into_par_iter().map(piece).collect::<std::io::Result<_>>()?;
    Ok(Sha256::digest(pieces.concat()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_of_the_weights_counts_and_their_place_does_not() -> Result<()> {
        let (one, two) = (tempfile::tempdir()?, tempfile::tempdir()?);
        let mut bytes: Vec<u8> = (0..3 * PIECE_BYTES + 17).map(|i| (i % 251) as u8).collect();
        for dir in [&one, &two] {
            std::fs::write(dir.path().join(SINGLE_FILE), &bytes)?;
        }
        let digest = weights_digest(one.path(), None)?;
        assert_eq!(digest, weights_digest(two.path(), None)?);
        for at in [0, PIECE_BYTES as usize, bytes.len() - 1] {
            bytes[at] ^= 1;
            std::fs::write(two.path().join(SINGLE_FILE), &bytes)?;
            assert_ne!(digest, weights_digest(two.path(), None)?, "byte {at}");
            bytes[at] ^= 1;
        }
        bytes.truncate(2 * PIECE_BYTES as usize);
        std::fs::write(two.path().join(SINGLE_FILE), &bytes)?;
        assert_ne!(digest, weights_digest(two.path(), None)?);
        assert_eq!(digest, weights_digest(two.path(), Some(&one.path().join(SINGLE_FILE)))?);
        Ok(())
    }

    #[test]
    fn all_shards_of_an_index_count() -> Result<()> {
        let dir = tempfile::tempdir()?;
        std::fs::write(dir.path().join(INDEX_FILE), r#"{"weight_map": {"a": "1", "b": "2", "c": "1"}}"#)?;
        let with = |second: &str| -> Result<String> {
            std::fs::write(dir.path().join("1"), "first")?;
            std::fs::write(dir.path().join("2"), second)?;
            weights_digest(dir.path(), None)
        };
        assert_ne!(with("second")?, with("Second")?);
        std::fs::remove_file(dir.path().join("2"))?;
        assert!(weights_digest(dir.path(), None).is_err());
        Ok(())
    }

    #[test]
    fn a_file_that_is_missing_is_no_empty_file() -> Result<()> {
        let dir = tempfile::tempdir()?;
        std::fs::write(dir.path().join("a"), "x")?;
        let without = files_digest(dir.path(), &["a", "b"])?;
        std::fs::write(dir.path().join("b"), "")?;
        assert_ne!(without, files_digest(dir.path(), &["a", "b"])?);
        Ok(())
    }
}
