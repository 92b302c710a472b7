//! Files of a repository on the Hugging Face hub: from the cache on this machine, else downloaded into it.

mod place;
#[cfg(test)]
mod tests;

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use hf_hub::api::sync::{ApiBuilder, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};

pub use place::Place;

/// What a repository holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A model.
    Model,
    /// A dataset.
    Dataset,
}

/// A model or a dataset at one revision. What is in the cache is used without a look at the network, and all files
/// are of one commit: the one in the cache, or else the one that the revision names when the hub is first asked.
#[derive(Debug)]
pub struct HubRepo {
    place: Place,
    kind: Kind,
    id: String,
    revision: String,
    online: OnceCell<Online>,
}

/// What the hub says about a repository.
#[derive(Debug)]
struct Online {
    commit: String,
    files: BTreeSet<String>,
    api: ApiRepo,
}

impl HubRepo {
    /// The repository `id` (`owner/name`) at a branch, tag or commit, with the hub and the cache that the environment
    /// names.
    ///
    /// # Errors
    /// As [`HubRepo::at`], and without a home folder if the environment names no cache.
    pub fn new(kind: Kind, id: &str, revision: &str) -> Result<Self> {
        Self::at(Place::from_env()?, kind, id, revision)
    }

    /// As [`HubRepo::new`], with a hub and a cache of the caller's.
    ///
    /// # Errors
    /// An id that is not of the form `owner/name`, and a revision that cannot be one.
    pub fn at(place: Place, kind: Kind, id: &str, revision: &str) -> Result<Self> {
        if !is_hub_id(id) {
            bail!("{id:?} is not the id of a repository on the hub (owner/name)");
        }
        // A revision is part of a path in the cache.
        if !is_inside(revision) {
            bail!("{revision:?} is not a branch, tag or commit");
        }
        Ok(Self { place, kind, id: id.to_owned(), revision: revision.to_owned(), online: OnceCell::new() })
    }

    /// Whether only the cache is asked.
    pub fn is_offline(&self) -> bool {
        self.place.offline
    }

    /// Where a file is on this machine, downloaded if it has to be. None: the repository has no such file, or if
    /// [`HubRepo::is_offline`], the cache has not.
    ///
    /// # Errors
    /// The hub cannot be reached, refuses, or the download fails.
    pub fn get(&self, file: &str) -> Result<Option<PathBuf>> {
        if !is_inside(file) {
            bail!("{file:?} is not the name of a file in a repository");
        }
        let commit = self.cached_commit();
        if let Some(path) = commit.as_ref().map(|commit| self.snapshot(commit).join(file)).filter(|path| path.exists())
        {
            return Ok(Some(path));
        }
        if self.place.offline {
            return Ok(None);
        }
        let online = self.online()?;
        if !online.files.contains(file) {
            return Ok(None);
        }
        let path = online.api.get(file).with_context(|| format!("cannot download {file}"))?;
        if commit.is_none() {
            // The download was by commit; the next run looks for the revision.
            let cached = Cache::new(self.place.cache.clone()).repo(self.repo(&self.revision));
            cached.create_ref(&online.commit).context("cannot write to the hub's cache")?;
        }
        Ok(Some(path))
    }

    /// The names of all files, sorted: those of the repository, or if [`HubRepo::is_offline`], those in the cache.
    ///
    /// # Errors
    /// The hub cannot be reached or refuses; or, offline, the cache has nothing of this revision.
    pub fn list(&self) -> Result<Vec<String>> {
        if !self.place.offline {
            return Ok(self.online()?.files.iter().cloned().collect());
        }
        let Some(commit) = self.cached_commit() else {
            bail!("the cache {} has nothing of {} at {}", self.place.cache.display(), self.id, self.revision);
        };
        let snapshot = self.snapshot(&commit);
        let mut files = Vec::new();
        files_below(&snapshot, "", &mut files).with_context(|| format!("cannot list {}", snapshot.display()))?;
        files.sort();
        Ok(files)
    }

    fn online(&self) -> Result<&Online> {
        if let Some(online) = self.online.get() {
            return Ok(online);
        }
        let cached = self.cached_commit();
        let mut builder = ApiBuilder::from_cache(Cache::new(self.place.cache.clone()))
            .with_progress(true)
            .with_token(self.place.token.clone());
        if let Some(endpoint) = &self.place.endpoint {
            builder = builder.with_endpoint(endpoint.clone());
        }
        let api = builder.build()?;
        // A cached commit is kept to when its branch has moved on, so that no two commits are mixed in one model.
        let revision = cached.as_deref().unwrap_or(&self.revision);
        let info = api.repo(self.repo(revision)).info().with_context(|| {
            let mut hints = "HF_TOKEN opens private and gated ones; HF_HUB_OFFLINE=1 asks the cache only".to_owned();
            if cached.is_some() {
                let folder = self.folder();
                hints = format!("{hints}; if the hub no longer has this commit, delete {}", folder.display());
            }
            format!("cannot list the files of {} at {revision} ({hints})", self.id)
        })?;
        let files = info.siblings.into_iter().map(|file| file.rfilename).collect();
        let commit = cached.unwrap_or(info.sha);
        let api = api.repo(self.repo(&commit));
        Ok(self.online.get_or_init(|| Online { commit, files, api }))
    }

    fn repo(&self, revision: &str) -> Repo {
        let kind = match self.kind {
            Kind::Model => RepoType::Model,
            Kind::Dataset => RepoType::Dataset,
        };
        Repo::with_revision(self.id.clone(), kind, revision.to_owned())
    }

    fn folder(&self) -> PathBuf {
        self.place.cache.join(self.repo(&self.revision).folder_name())
    }

    fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder().join("snapshots").join(commit)
    }

    /// The commit that the revision stood for when its first file was cached.
    fn cached_commit(&self) -> Option<String> {
        if let Ok(commit) = std::fs::read_to_string(self.folder().join("refs").join(&self.revision)) {
            let commit = commit.trim();
            return is_inside(commit).then(|| commit.to_owned());
        }
        // The Python library writes no reference for a revision that is itself a commit.
        self.snapshot(&self.revision).is_dir().then(|| self.revision.clone())
    }
}

/// Whether a name could be that of a repository: `owner/name` with the characters of the hub, not the look of a path.
pub fn is_hub_id(name: &str) -> bool {
    let allowed = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    matches!(name.split('/').collect::<Vec<_>>()[..], [owner, name] if allowed(owner) && allowed(name))
}

/// Whether a relative path stays below the folder it is joined to.
fn is_inside(path: &str) -> bool {
    !path.is_empty() && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
}

fn files_below(folder: &Path, prefix: &str, files: &mut Vec<String>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = format!("{prefix}{}", path.file_name().unwrap_or_default().to_string_lossy());
        // Follows links: the files of a snapshot are links to blobs.
        if path.is_dir() {
            files_below(&path, &format!("{name}/"), files)?;
        } else if path.is_file() {
            files.push(name);
        }
    }
    Ok(())
}
