//! A repository at one revision: what the cache has of it, and what is asked of the hub only then.

use std::cell::OnceCell;
use std::path::Path;

use anyhow::{Result, anyhow, bail};
use hf_hub::{Repo, RepoType};

use super::client::Client;
use super::layout::{Layout, write_whole};
use super::listing::Listing;
use super::{Files, Found, Kind, Place, is_hub_id, names};

/// A model or a dataset at one revision.
#[derive(Debug)]
pub struct HubRepo {
    pub(super) place: Place,
    pub(super) kind: Kind,
    pub(super) id: String,
    pub(super) revision: String,
    pub(super) layout: Layout,
    pub(super) client: OnceCell<Client>,
    /// The commit in the cache when it was first looked for.
    pub(super) cached: OnceCell<Option<String>>,
    /// The files of the commit; nothing where the hub could not be asked.
    pub(super) listing: OnceCell<Option<Listing>>,
    /// Why it could not.
    pub(super) down: OnceCell<String>,
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
        if !names::is_inside(revision) {
            bail!("{revision:?} is not a branch, tag or commit");
        }
        let repo_type = match kind {
            Kind::Model => RepoType::Model,
            Kind::Dataset => RepoType::Dataset,
        };
        let layout = Layout::new(&place.cache, &Repo::with_revision(id.into(), repo_type, revision.into()));
        Ok(Self {
            place,
            kind,
            id: id.to_owned(),
            revision: revision.to_owned(),
            layout,
            client: OnceCell::new(),
            cached: OnceCell::new(),
            listing: OnceCell::new(),
            down: OnceCell::new(),
        })
    }

    /// The commit that files are taken from; nothing before the first of them is found.
    ///
    /// # Errors
    /// A reference in the cache that holds no commit.
    pub fn commit(&self) -> Result<Option<&str>> {
        let listed = self.listing.get().and_then(Option::as_ref).map(|listing| listing.commit.as_str());
        Ok(listed.or(self.cached()?))
    }

    /// Whether anything of the repository at this revision is in the cache.
    pub fn is_cached(&self) -> bool {
        self.cached().is_ok_and(|commit| commit.is_some())
    }

    /// A file, downloaded if it has to be.
    ///
    /// # Errors
    /// The hub refuses, the download fails, or the cache has a file that is damaged and cannot be replaced.
    pub fn get(&self, file: &str) -> Result<Found> {
        if !names::is_inside(file) {
            bail!("{:?} is not the name of a file in a repository", names::shown(file));
        }
        let mut damage = None;
        if let Some(commit) = self.cached()? {
            let path = self.layout.snapshot(commit).join(file);
            damage = self.damage(&path, commit, file);
            if damage.is_none() && path.is_file() {
                return Ok(Found::Here(path));
            }
            if damage.is_none() && self.layout.no_exist(commit, file).is_file() {
                return Ok(Found::Absent);
            }
        }
        let listing = self.listing()?;
        let exists = listing.is_some_and(|listing| listing.has(file));
        match listing {
            Some(listing) if !exists && damage.is_none() => {
                // The library asks no more either; a cache that cannot be written is asked again.
                let _ = write_whole(&self.layout.no_exist(&listing.commit, file), b"");
                Ok(Found::Absent)
            }
            Some(listing) if exists && self.can_ask() => self.download(&listing.commit, file).map(Found::Here),
            _ => match damage {
                Some(damage) => Err(anyhow!(
                    "{damage}, and it cannot be downloaded ({}): run once with the network, or delete {}",
                    self.why_not_asked(),
                    self.layout.folder().display()
                )),
                None => Ok(Found::NotCached { exists }),
            },
        }
    }

    /// The names of all files, sorted.
    ///
    /// # Errors
    /// The hub cannot be reached or refuses, and the cache has nothing of this revision.
    pub fn list(&self) -> Result<Files> {
        if let Some(listing) = self.listing()? {
            return Ok(Files::All(listing.names()));
        }
        match self.cached()? {
            Some(commit) => Ok(Files::Cached(self.layout.files(commit))),
            None => Err(self.missing(&[])),
        }
    }

    /// The error of files that are not in the cache when the hub cannot be asked, with what is there instead.
    pub fn missing(&self, files: &[String]) -> anyhow::Error {
        let (folder, why) = (self.layout.folder().display(), self.why_not_asked());
        let what = if files.is_empty() { String::new() } else { format!("{}: ", files.join(", ")) };
        if let Ok(Some(commit)) = self.cached() {
            return anyhow!(
                "{what}not in the cache's snapshot {} ({why}): run once with the network",
                self.layout.snapshot(commit).display()
            );
        }
        let commits = self.layout.commits();
        let Some(first) = commits.first() else {
            return anyhow!(
                "{what}the cache has nothing of {} in {folder} ({why}): run once with the network",
                self.id
            );
        };
        anyhow!(
            "{what}the cache has nothing of {} at {} in {folder} ({why}); it has files of the commits {}: \
             revision = {first:?} takes one of them",
            self.id,
            self.revision,
            commits.join(", ")
        )
    }

    pub(super) fn cached(&self) -> Result<Option<&str>> {
        if let Some(cached) = self.cached.get() {
            return Ok(cached.as_deref());
        }
        let commit = self.layout.commit_of(&self.revision)?;
        Ok(self.cached.get_or_init(|| commit).as_deref())
    }

    fn can_ask(&self) -> bool {
        !self.place.offline && self.down.get().is_none()
    }

    fn why_not_asked(&self) -> &str {
        let otherwise = if self.place.offline { "HF_HUB_OFFLINE is set" } else { "the hub does not list it" };
        self.down.get().map_or(otherwise, String::as_str)
    }

    /// What is wrong with a file of a snapshot.
    fn damage(&self, path: &Path, commit: &str, file: &str) -> Option<String> {
        let Ok(metadata) = path.metadata() else {
            let target = path.read_link().ok()?;
            return Some(format!("{} is a link to {}, which is not there", path.display(), target.display()));
        };
        let size = self.kept_listing(commit).and_then(|listing| listing.size(file)).filter(|&n| n != metadata.len())?;
        Some(format!("{} has {} bytes, in the repository {size}", path.display(), metadata.len()))
    }
}
