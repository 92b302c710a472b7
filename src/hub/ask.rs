//! What a repository asks of the hub: the list of a commit's files, and the files.

use std::path::PathBuf;

use anyhow::Result;

use super::address::{encode, encode_path};
use super::client::Client;
use super::download::Download;
use super::failure::Failure;
use super::listing::{self, Listing};
use super::metadata::metadata;
use super::retry::persist;
use super::{HubRepo, advice, lock};

impl HubRepo {
    /// The list of the commit's files that is in the cache.
    pub(super) fn kept_listing(&self, commit: &str) -> Option<&Listing> {
        if self.listing.get().is_none()
            && let Some(listing) = Listing::read(&self.layout.tree(commit), commit)
        {
            let _ = self.listing.set(Some(listing));
        }
        self.listing.get()?.as_ref()
    }

    /// The files of the commit, by the cache or the hub. None: neither knows, but the cache has some of them.
    pub(super) fn listing(&self) -> Result<Option<&Listing>> {
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
        let body = persist(patience, || client.get(&url, listing::LONGEST))?;
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

    pub(super) fn download(&self, commit: &str, file: &str) -> Result<PathBuf> {
        self.fetch(commit, file).map_err(|failure| {
            let advice = self.advice(&failure);
            anyhow::Error::new(failure).context(format!("cannot download {file} of {} ({advice})", self.id))
        })
    }

    fn fetch(&self, commit: &str, file: &str) -> Result<PathBuf, Failure> {
        let (client, patience) = (self.client()?, self.place.patience);
        let path = format!("{}{}/resolve/{}/{}", self.kind.prefix(), self.id, encode(commit), encode_path(file));
        let url = client.endpoint().below(&path);
        let metadata = persist(patience, || metadata(client, &url, commit))?;
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
