//! Which files a commit has: what the hub says, kept in the cache beside the commit's files.
//!
//! Without it nobody can tell a dataset whose shards are all there from half of one, nor a file that was never fetched
//! from one that does not exist. The file is that of Hugging Face's library from version 2 on
//! (`trees/COMMIT.json`); what we write lacks the sizes, and says so by another format, for which the library asks the
//! hub again.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::failure::Failure;
use super::layout::write_whole;
use super::names::{is_word, shown};

/// The longest answer that is read: a hundred thousand files have ten million bytes.
pub(super) const LONGEST: u64 = 64 << 20;

/// The files of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listing {
    pub(super) commit: String,
    files: BTreeMap<String, Option<u64>>,
}

/// `GET /api/models/owner/name/revision/main`.
#[derive(Deserialize)]
struct Info {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

#[derive(Deserialize, Serialize)]
struct Tree {
    format_version: serde_json::Value,
    files: BTreeMap<String, Entry>,
}

#[derive(Default, Deserialize, Serialize)]
struct Entry {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lfs_size: Option<u64>,
}

/// The format of the library, and ours.
const FORMATS: [&str; 2] = ["1", "\"names\""];

impl Listing {
    /// Reads the hub's answer about a revision; `url` is for messages.
    ///
    /// # Errors
    /// An answer that is not the hub's, and a commit that cannot be a name.
    pub(super) fn from_answer(body: &[u8], url: &str) -> Result<Self, Failure> {
        let info: Info = serde_json::from_slice(body).map_err(|error| {
            Failure::Wrong(format!("{url} does not answer as a hub does ({error}): check HF_ENDPOINT"))
        })?;
        if !is_word(&info.sha) {
            return Err(Failure::Wrong(format!("{url} answers with the commit {:?}, which is none", shown(&info.sha))));
        }
        Ok(Self { commit: info.sha, files: info.siblings.into_iter().map(|file| (file.rfilename, None)).collect() })
    }

    /// What is kept of an earlier answer, or of one to the library. None: nothing that can be read.
    pub(super) fn read(path: &Path, commit: &str) -> Option<Self> {
        let bytes = std::fs::read(path).ok()?;
        let tree: Tree = serde_json::from_slice(&bytes)
            .inspect_err(|error| tracing::warn!("{} cannot be read ({error}): ignored", path.display()))
            .ok()?;
        if !FORMATS.contains(&tree.format_version.to_string().as_str()) {
            return None;
        }
        let files = tree.files.into_iter().map(|(name, entry)| (name, entry.lfs_size.or(entry.size)));
        Some(Self { commit: commit.to_owned(), files: files.collect() })
    }

    /// Keeps it.
    ///
    /// # Errors
    /// The cache cannot be written.
    pub(super) fn write(&self, path: &Path) -> Result<(), Failure> {
        let files = self.files.iter().map(|(name, &size)| (name.clone(), Entry { size, lfs_size: None })).collect();
        let tree = Tree { format_version: "names".into(), files };
        let text = serde_json::to_vec_pretty(&tree).map_err(|error| Failure::Wrong(error.to_string()))?;
        write_whole(path, &text)
    }

    /// Whether the commit has this file.
    pub(super) fn has(&self, file: &str) -> bool {
        self.files.contains_key(file)
    }

    /// The size of a file, where it is known.
    pub(super) fn size(&self, file: &str) -> Option<u64> {
        self.files.get(file).copied().flatten()
    }

    /// The names of all files, sorted.
    pub(super) fn names(&self) -> Vec<String> {
        self.files.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_that_is_a_path_is_refused() {
        for sha in ["../../x", "/abs", "", "a/b"] {
            let body = serde_json::json!({ "sha": sha, "siblings": [] }).to_string();
            let error = Listing::from_answer(body.as_bytes(), "hub").expect_err(sha).to_string();
            assert!(error.contains("which is none"), "{error}");
        }
        let error = Listing::from_answer(b"<html>", "hub").expect_err("no JSON").to_string();
        assert!(error.contains("HF_ENDPOINT"), "{error}");
    }

    #[test]
    fn the_lists_of_pythons_library_are_read() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let path = dir.path().join("trees/c.json");
        let text = r#"{"format_version": 1, "files": {
            "a.safetensors": {"size": 130, "blob_id": "b", "lfs_sha256": "c", "lfs_size": 9}, "b": {"size": 5, "blob_id": "d"}}}"#;
        write_whole(&path, text.as_bytes()).expect("write");
        let listing = Listing::read(&path, "c").expect("listing");
        assert_eq!((listing.size("a.safetensors"), listing.size("b"), listing.has("c")), (Some(9), Some(5), false));
        listing.write(&path).expect("write");
        assert_eq!(Listing::read(&path, "c"), Some(listing));
        for text in [r#"{"format_version": 2, "files": {}}"#, "{"] {
            std::fs::write(&path, text).expect("write");
            assert_eq!(Listing::read(&path, "c"), None);
        }
    }
}
