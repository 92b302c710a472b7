//! What a checkpoint consists of, to the byte: whether a folder is what was written is known before anything of it is read.
//!
//! A file that is written again after its checkpoint (with figures that were taken later) has both of its contents there
//! while that happens, so that no instant has a checkpoint that is not whole.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::which::STATE_FILE;
use crate::files::{hex, read_optional, write_whole};

/// The file's name in a checkpoint.
pub const MANIFEST_FILE: &str = "manifest.json";
/// Nothing is loaded from it, and its reader may write in it.
const UNLISTED: [&str; 2] = [MANIFEST_FILE, super::CARD_FILE];

/// Something about a checkpoint that is not as it was written.
#[derive(Debug, thiserror::Error)]
#[error("{} is damaged: {what}", path.display())]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub what: String,
}

/// The files of a checkpoint.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    /// Updates done.
    global_step: usize,
    /// Every file by its path in the folder, with the contents that it may have.
    files: BTreeMap<String, Vec<Content>>,
}

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    bytes: u64,
    sha256: String,
}

impl Content {
    fn of(bytes: &[u8]) -> Self {
        Self { bytes: bytes.len() as u64, sha256: hex(&Sha256::digest(bytes)) }
    }

    fn read(path: &Path) -> io::Result<Self> {
        let mut hash = Sha256::new();
        let bytes = io::copy(&mut File::open(path)?, &mut hash)?;
        Ok(Self { bytes, sha256: hex(&hash.finalize()) })
    }
}

impl Manifest {
    fn load(dir: &Path) -> Result<Option<Self>> {
        let path = dir.join(MANIFEST_FILE);
        let Some(bytes) = read_optional(&path).with_context(|| format!("cannot read {}", path.display()))? else {
            return Ok(None);
        };
        match serde_json::from_slice(&bytes) {
            Ok(manifest) => Ok(Some(manifest)),
            Err(error) => Err(Damage { path, what: error.to_string() }.into()),
        }
    }

    fn save(&self, dir: &Path) -> Result<()> {
        let path = dir.join(MANIFEST_FILE);
        let text = serde_json::to_string_pretty(self)? + "\n";
        write_whole(&path, text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Writes down what a folder holds, which is the checkpoint of a step.
///
/// # Errors
/// Names the file that cannot be read or written.
pub fn seal(dir: &Path, global_step: usize) -> Result<()> {
    let mut names = Vec::new();
    list(dir, "", &mut names).with_context(|| format!("cannot read {}", dir.display()))?;
    let content = |name: String| {
        let path = dir.join(&name);
        let content = Content::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok((name, vec![content]))
    };
    let files = names.into_par_iter().map(content).collect::<Result<_>>()?;
    Manifest { global_step, files }.save(dir)
}

/// Replaces a file of a checkpoint.
///
/// # Errors
/// Names the file that cannot be read or written.
pub fn rewrite(dir: &Path, name: &str, text: &str) -> Result<()> {
    let path = dir.join(name);
    if let Some(mut manifest) = Manifest::load(dir)?
        && let Some(contents) = manifest.files.get_mut(name)
    {
        let there = Content::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        contents.retain(|content| *content == there);
        let new = Content::of(text.as_bytes());
        if !contents.contains(&new) {
            contents.push(new);
        }
        manifest.save(dir)?;
    }
    write_whole(&path, text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}

/// Whether a checkpoint is what was written; one without a manifest, of an older version or another program, is not looked
/// at.
///
/// # Errors
/// [`Damage`] with the first file that is not; files that cannot be read.
pub fn verify(dir: &Path) -> Result<()> {
    let Some(manifest) = Manifest::load(dir)? else {
        // of a checkpoint that can be gone on from it is missing; an adapter or model of another program has none
        if dir.join(STATE_FILE).is_file() {
            tracing::warn!("{} has no {MANIFEST_FILE}: whether its files are whole is not known", dir.display());
        }
        return Ok(());
    };
    let check = |(name, contents): (&String, &Vec<Content>)| -> Result<()> {
        let path = dir.join(name);
        let damage = |what: String| Err(Damage { path: path.clone(), what }.into());
        let found = match Content::read(&path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return damage("it is not there".into()),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        if contents.contains(&found) {
            return Ok(());
        }
        match contents.iter().any(|content| content.bytes == found.bytes) {
            true => damage("its content is not what was written (SHA-256)".into()),
            false => {
                let sizes: Vec<String> = contents.iter().map(|content| content.bytes.to_string()).collect();
                damage(format!("it has {} bytes, {} were written", found.bytes, sizes.join(" or ")))
            }
        }
    };
    manifest.files.par_iter().try_for_each(check)
}

/// The files below a folder by their paths in it, with `/` on every system.
fn list(dir: &Path, prefix: &str, names: &mut Vec<String>) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        match entry.path().is_dir() {
            true => list(&entry.path(), &format!("{name}/"), names)?,
            false if UNLISTED.contains(&name.as_str()) => {}
            false => names.push(name),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEIGHTS: &str = "adapter_model.safetensors";

    fn sealed() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(dir.path().join("more")).expect("create");
        for (name, text) in
            [(WEIGHTS, "weights"), ("trainer_state.json", "{}"), ("more/x", ""), ("README.md", "a card")]
        {
            std::fs::write(dir.path().join(name), text).expect("write");
        }
        seal(dir.path(), 4).expect("sealed");
        verify(dir.path()).expect("whole");
        dir
    }

    fn damage(dir: &Path) -> String {
        let error = verify(dir).expect_err("damaged");
        assert!(error.downcast_ref::<Damage>().is_some(), "{error:#}");
        error.to_string().replace(&format!("{}/", dir.display()), "")
    }

    #[test]
    fn a_torn_checkpoint_was_loaded() {
        let dir = sealed();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).expect("write");
        write(WEIGHTS, "weight");
        assert_eq!(damage(dir.path()), format!("{WEIGHTS} is damaged: it has 6 bytes, 7 were written"));
        write(WEIGHTS, "weighty");
        assert_eq!(damage(dir.path()), format!("{WEIGHTS} is damaged: its content is not what was written (SHA-256)"));
        std::fs::remove_file(dir.path().join(WEIGHTS)).expect("remove");
        assert_eq!(damage(dir.path()), format!("{WEIGHTS} is damaged: it is not there"));
        write(WEIGHTS, "weights");
        std::fs::remove_dir_all(dir.path().join("more")).expect("remove");
        assert_eq!(damage(dir.path()), "more/x is damaged: it is not there");
        write(MANIFEST_FILE, "{\"global_step\": 4");
        assert!(damage(dir.path()).starts_with("manifest.json is damaged: EOF"), "{}", damage(dir.path()));
    }

    #[test]
    fn what_is_added_and_what_is_written_in_the_card_is_no_damage() {
        let dir = sealed();
        std::fs::write(dir.path().join("README.md"), "mine").expect("write");
        std::fs::write(dir.path().join("notes.txt"), "mine").expect("write");
        verify(dir.path()).expect("whole");
    }

    #[test]
    fn a_file_that_is_replaced_may_have_both_contents_until_it_is_replaced_again() {
        let dir = sealed();
        let state = |text: &str| std::fs::write(dir.path().join("trainer_state.json"), text).expect("write");
        for text in ["{\"a\": 1}", "{\"a\": 1}", "{\"a\": 22}"] {
            rewrite(dir.path(), "trainer_state.json", text).expect("written");
            verify(dir.path()).expect("whole");
        }
        state("{\"a\": 1}");
        verify(dir.path()).expect("killed between the two");
        state("{}");
        assert!(damage(dir.path()).contains("it has 2 bytes, 8 or 9 were written"), "{}", damage(dir.path()));
        rewrite(dir.path(), "README.md", "another card").expect("written");
    }
}
