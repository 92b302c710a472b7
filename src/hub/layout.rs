//! The folders of one repository in the cache, as Hugging Face's own library lays them out:
//!
//! ```text
//! models--owner--name/refs/main                    the commit that a branch or tag stood for
//!                     snapshots/COMMIT/FILE        links to blobs
//!                     blobs/ETAG                   contents
//!                     .no_exist/COMMIT/FILE        empty: the commit has no such file
//!                     trees/COMMIT.json            which files a commit has
//! .locks/models--owner--name/ETAG.lock             held during a download
//! ```

use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

use hf_hub::{Cache, Repo};

use super::failure::Failure;
use super::names::{is_inside, is_word};
use crate::files;

/// One repository in the cache. All names given to it are checked before.
#[derive(Debug)]
pub(super) struct Layout {
    folder: PathBuf,
    locks: PathBuf,
}

impl Layout {
    pub(super) fn new(cache: &Path, repo: &Repo) -> Self {
        let name = repo.folder_name();
        // `pointer_path` of no commit is the folder of all snapshots.
        let mut folder = Cache::new(cache.to_owned()).repo(repo.clone()).pointer_path("");
        folder.pop();
        Self { folder, locks: cache.join(".locks").join(name) }
    }

    /// The repository's folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder of a commit's files.
    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    /// The contents of a file.
    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(etag)
    }

    /// The list of a commit's files.
    pub(super) fn tree(&self, commit: &str) -> PathBuf {
        self.folder.join("trees").join(format!("{commit}.json"))
    }

    /// What is locked while a blob is downloaded.
    pub(super) fn lock(&self, etag: &str) -> PathBuf {
        self.locks.join(format!("{etag}.lock"))
    }

    /// Says that a commit has no such file.
    pub(super) fn no_exist(&self, commit: &str, file: &str) -> PathBuf {
        self.folder.join(".no_exist").join(commit).join(file)
    }

    /// The commit that a revision stands for in the cache, where any file of it is there.
    ///
    /// # Errors
    /// A reference that holds no commit.
    pub(super) fn commit_of(&self, revision: &str) -> Result<Option<String>, Failure> {
        let reference = self.folder.join("refs").join(revision);
        let commit = match std::fs::read_to_string(&reference) {
            Ok(text) if !text.trim().is_empty() => text.trim().to_owned(),
            // The library writes no reference for a revision that is itself a commit.
            _ => revision.to_owned(),
        };
        if !is_word(&commit) {
            return if commit == revision {
                Ok(None)
            } else {
                Err(Failure::Wrong(format!("{} does not hold a commit: delete it", reference.display())))
            };
        }
        Ok(self.snapshot(&commit).is_dir().then_some(commit))
    }

    /// All commits of which something is there, sorted.
    pub(super) fn commits(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.join("snapshots"));
        let names = entries.into_iter().flatten().flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut commits: Vec<String> = names.filter(|name| is_word(name)).collect();
        commits.sort();
        commits
    }

    /// The names of a commit's files that are there, sorted; links to nothing are not.
    pub(super) fn files(&self, commit: &str) -> Vec<String> {
        let mut files = Vec::new();
        files_below(&self.snapshot(commit), "", &mut files);
        files.sort();
        files
    }

    /// Writes the commit that a branch or tag stands for.
    ///
    /// # Errors
    /// The cache cannot be written.
    pub(super) fn refer(&self, revision: &str, commit: &str) -> Result<(), Failure> {
        write_whole(&self.folder.join("refs").join(revision), commit.as_bytes())
    }

    /// Puts a blob into a commit's snapshot under a file's name, instead of whatever is there.
    ///
    /// # Errors
    /// The cache cannot be written.
    pub(super) fn link(&self, etag: &str, commit: &str, file: &str) -> Result<PathBuf, Failure> {
        let (blob, pointer) = (self.blob(etag), self.snapshot(commit).join(file));
        debug_assert!(is_word(etag) && is_word(commit) && is_inside(file), "unchecked name");
        let failed = |error| Failure::disk("write", &pointer, error);
        if let Some(parent) = pointer.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        let up = "../".repeat(file.split('/').count() + 1);
        let temporary = self.blob(&format!("{etag}.{}.link", std::process::id()));
        let _ = std::fs::remove_file(&temporary);
        link_or_copy(&format!("{up}blobs/{etag}"), &blob, &temporary).map_err(failed)?;
        std::fs::rename(&temporary, &pointer).map_err(failed)?;
        Ok(pointer)
    }
}

/// A link, or a copy where the file system has no links.
#[cfg(unix)]
fn link_or_copy(target: &str, blob: &Path, to: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(target, to).or_else(|_| std::fs::copy(blob, to).map(|_| ()))
}

#[cfg(not(unix))]
fn link_or_copy(_: &str, blob: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::copy(blob, to).map(|_| ())
}

/// Writes a small file whole or not at all, in a folder that is made for it.
///
/// # Errors
/// Names the file.
pub(super) fn write_whole(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let parent = path.parent().ok_or_else(|| Error::from(ErrorKind::InvalidInput));
    parent
        .and_then(std::fs::create_dir_all)
        .and_then(|()| files::write_whole(path, content))
        .map_err(|error| Failure::disk("write", path, error))
}

fn files_below(folder: &Path, prefix: &str, files: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        // Follows links: the files of a snapshot are links to blobs.
        if path.is_dir() {
            files_below(&path, &format!("{name}/"), files);
        } else if path.is_file() {
            files.push(name);
        }
    }
}
