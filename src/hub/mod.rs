//! Files of a repository on the Hugging Face hub: from the cache on this machine, else downloaded into it.
//!
//! The cache is Hugging Face's own, laid out as their library does. What is in it is used without a look at the
//! network, and all files are of one commit: the one in the cache, or else the one that the revision names when the
//! hub is first asked. When the hub cannot be asked, the cache serves what it has, and says what it lacks.
//!
//! | file | what it does |
//! |---|---|
//! | `repo`, `ask` | a repository: what the cache has of it, and what the hub is asked for |
//! | `place`, `token` | where hub and cache are, and who asks |
//! | `names`, `address` | what may become part of a path or of an address |
//! | `client` | one request through its redirects |
//! | `retry` | the same again, when a failure passes |
//! | `failure`, `refusal`, `advice` | what went wrong, in the hub's words, and what to do |
//! | `listing`, `metadata` | the files of a commit; etag and size of one |
//! | `layout`, `lock` | the folders of the cache |
//! | `download` | bytes into a blob, checked |

mod address;
mod advice;
mod ask;
mod client;
mod download;
mod failure;
mod layout;
mod listing;
mod lock;
mod metadata;
mod names;
mod place;
mod refusal;
mod repo;
mod retry;
#[cfg(test)]
mod tests;
mod token;

use std::path::PathBuf;

pub use names::is_hub_id;
pub use place::{Patience, Place, home_from_env};
pub use repo::HubRepo;
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
