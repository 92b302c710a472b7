//! Files of a repository on the Hugging Face hub: from the cache on this machine, else downloaded into it.
//!
//! The cache is Hugging Face's own, laid out as their library does. What is in it is used without a look at the
//! network, and all files are of one commit: the one in the cache, or else the one that the revision names when the
//! hub is first asked. When the hub cannot be asked, the cache serves what it has, and says what it lacks.
//!
//! | file | what it does |
//! |---|---|
//! | `place`, `token` | where hub and cache are, and who asks |
//! | `names`, `address` | what may become part of a path or of an address |
//! | `client` | one request through its redirects |
//! | `retry` | the same again, when a failure passes |
//! | `failure`, `refusal`, `advice` | what went wrong, in the hub's words, and what to do |
//! | `listing`, `metadata` | the files of a commit; etag and size of one |
//! | `layout`, `lock` | the folders of the cache |
//! | `download`, `meter` | bytes into a blob, checked and shown |

mod address;
mod advice;
mod client;
mod download;
mod failure;
mod layout;
mod listing;
mod lock;
mod metadata;
mod meter;
mod names;
mod place;
mod refusal;
mod retry;
#[cfg(test)]
mod tests;
mod token;

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};
use hf_hub::{Repo, RepoType};

use address::{encode, encode_path};
use client::Client;
use download::Download;
use failure::Failure;
use layout::Layout;
use listing::Listing;
pub use meter::{Draw, Meter, draw_downloads_with};
pub use names::is_hub_id;
pub use place::{Patience, Place};
pub use token::Token;

/// What a repository holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A model.
    Model,
    /// A dataset.
    Dataset,
}

impl Kind {
    /// What it is called in messages.
    fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Dataset => "dataset",
        }
    }

    /// What precedes the id in an address of the hub.
    fn prefix(self) -> &'static str {
        match self {
            Self::Model => "",
            Self::Dataset => "datasets/",
        }
    }
}

/// A file of a repository, as far as it can be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It is on this machine.
    Here(PathBuf),
    /// The repository has no such file.
    Absent,
    /// It is not in the cache, and the hub cannot be asked; [`HubRepo::missing`] says why.
    NotCached {
        /// Whether the repository is known to have it.
        exists: bool,
    },
}

/// The names of a repository's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Files {
    /// Those of the commit.
    All(Vec<String>),
    /// Those in the cache: which files the commit has is not known, and the hub cannot be asked.
    Cached(Vec<String>),
}

/// A model or a dataset at one revision.
#[derive(Debug)]
pub struct HubRepo {
    place: Place,
    kind: Kind,
    id: String,
    revision: String,
    layout: Layout,
    client: OnceCell<Client>,
    /// The commit in the cache when it was first looked for.
    cached: OnceCell<Option<String>>,
    /// The files of the commit; nothing where the hub could not be asked.
    listing: OnceCell<Option<Listing>>,
    /// Why it could not.
    down: OnceCell<String>,
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
                let _ = layout::write_whole(&self.layout.no_exist(&listing.commit, file), b"");
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

    fn cached(&self) -> Result<Option<&str>> {
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

    /// The list of the commit's files that is in the cache.
    fn kept_listing(&self, commit: &str) -> Option<&Listing> {
        if self.listing.get().is_none()
            && let Some(listing) = Listing::read(&self.layout.tree(commit), commit)
        {
            let _ = self.listing.set(Some(listing));
        }
        self.listing.get()?.as_ref()
    }

    /// The files of the commit, by the cache or the hub. None: neither knows, but the cache has some of them.
    fn listing(&self) -> Result<Option<&Listing>> {
        let cached = self.cached()?;
        if let Some(listing) = cached.and_then(|commit| self.kept_listing(commit)) {
            return Ok(Some(listing));
        }
        if let Some(asked) = self.listing.get() {
            return Ok(asked.as_ref());
        }
        if self.place.offline {
            return Ok(None);
        }
        let listing = match (self.ask_for_listing(cached), cached) {
            (Ok(listing), cached) => {
                // Without files there is no entry of the cache that it belongs to yet; one that cannot be written is
                // asked for again.
                if let Some(Err(error)) = cached.map(|commit| listing.write(&self.layout.tree(commit))) {
                    tracing::debug!("{error}");
                }
                Some(listing)
            }
            (Err(failure), Some(commit)) => {
                tracing::warn!(
                    "{failure}; going on with what the cache has of the {} {} (commit {commit})",
                    self.kind.name(),
                    self.id
                );
                let _ = self.down.set(failure.to_string());
                None
            }
            (Err(failure), None) => {
                let advice = self.advice(&failure);
                let context = format!("cannot list the files of {} at {} ({advice})", self.id, self.revision);
                return Err(anyhow::Error::new(failure).context(context));
            }
        };
        Ok(self.listing.get_or_init(|| listing).as_ref())
    }

    fn ask_for_listing(&self, cached: Option<&str>) -> Result<Listing, Failure> {
        let client = self.client()?;
        // A cached commit is kept to when its branch has moved on, so that no two commits are mixed in one model.
        let revision = cached.unwrap_or(&self.revision);
        let path = format!("api/{}s/{}/revision/{}", self.kind.name(), self.id, encode(revision));
        let url = client.endpoint().below(&path);
        tracing::info!("asking {} for the {} {} at {revision}", client.endpoint().origin(), self.kind.name(), self.id);
        let mut patience = self.place.patience;
        if cached.is_some() {
            // The cache may do.
            patience.retries = patience.retries.min(1);
        }
        let body = retry::persist(patience, || client.get(&url, listing::LONGEST))?;
        let listing = Listing::from_answer(&body, &url.shown())?;
        if let Some(commit) = cached.filter(|&commit| commit != listing.commit) {
            return Err(Failure::Wrong(format!(
                "{} was asked for commit {commit} and answers for {}",
                url.shown(),
                listing.commit
            )));
        }
        Ok(listing)
    }

    fn client(&self) -> Result<&Client, Failure> {
        if self.client.get().is_none() {
            let _ = self.client.set(Client::new(&self.place)?);
        }
        self.client.get().ok_or_else(|| Failure::Wrong("no client".into()))
    }

    fn download(&self, commit: &str, file: &str) -> Result<PathBuf> {
        self.fetch(commit, file).map_err(|failure| {
            let advice = self.advice(&failure);
            anyhow::Error::new(failure).context(format!("cannot download {file} of {} ({advice})", self.id))
        })
    }

    fn fetch(&self, commit: &str, file: &str) -> Result<PathBuf, Failure> {
        let (client, patience) = (self.client()?, self.place.patience);
        let path = format!("{}{}/resolve/{}/{}", self.kind.prefix(), self.id, encode(commit), encode_path(file));
        let url = client.endpoint().below(&path);
        let metadata = retry::persist(patience, || metadata::metadata(client, &url, commit))?;
        let blob = self.layout.blob(&metadata.etag);
        let lock = lock::hold(&self.layout.lock(&metadata.etag), file)?;
        let whole = blob.metadata().is_ok_and(|blob| metadata.size.is_none_or(|size| size == blob.len()));
        if !whole {
            Download { client, patience, url: &url, file, metadata: &metadata, blob: &blob }.run()?;
        }
        self.remember(commit)?;
        let pointer = self.layout.link(&metadata.etag, commit, file)?;
        drop(lock);
        Ok(pointer)
    }

    /// Keeps the list of the commit's files, then what commit the revision stands for: never one without the other.
    fn remember(&self, commit: &str) -> Result<(), Failure> {
        let tree = self.layout.tree(commit);
        if let Some(Some(listing)) = self.listing.get()
            && Listing::read(&tree, commit).is_none()
        {
            listing.write(&tree)?;
        }
        // A commit needs no reference, and the library makes none.
        if self.cached.get().is_none_or(Option::is_none) && self.revision != commit {
            self.layout.refer(&self.revision, commit)?;
        }
        Ok(())
    }

    fn advice(&self, failure: &Failure) -> String {
        let endpoint = self.client.get().map(|client| client.endpoint().origin()).unwrap_or_default();
        advice::Asked {
            page: format!("{endpoint}/{}{}", self.kind.prefix(), self.id),
            settings: format!("{endpoint}/settings/tokens"),
            id: &self.id,
            kind: self.kind.name(),
            revision: &self.revision,
            has_token: self.place.token.is_some(),
        }
        .advice(failure)
    }
}
