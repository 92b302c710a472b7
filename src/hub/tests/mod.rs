//! A cache that is a folder made by the test, and hubs that are threads on this machine.

mod cache;
mod hostile;
mod server;
mod transfers;

use std::path::Path;
use std::time::Duration;

use super::{Found, HubRepo, Kind, Patience, Place, Token};
use server::Hub;

/// The branch of a dataset's parquet copies.
const BRANCH: &str = "refs/convert/parquet";
/// Small enough for a test, large enough for a busy machine.
const PATIENCE: Patience =
    Patience { silence: Duration::from_millis(400), first_wait: Duration::from_millis(5), retries: 3 };

fn place(cache: &Path, address: &str) -> Place {
    Place {
        cache: cache.to_owned(),
        endpoint: Some(address.to_owned()),
        token: Token::new("hf_SECRET"),
        offline: false,
        patience: PATIENCE,
    }
}

fn offline(cache: &Path) -> Place {
    Place { cache: cache.to_owned(), offline: true, ..Place::default() }
}

fn model(place: Place) -> HubRepo {
    HubRepo::at(place, Kind::Model, "o/n", "main").expect("a repository")
}

impl Hub {
    /// The model of this hub, with a cache of its own.
    fn model(&self, cache: &Path) -> HubRepo {
        model(place(cache, &self.hub.address))
    }

    /// How many requests were made.
    fn asked(&self) -> usize {
        self.hub.seen().len() + self.store.seen().len()
    }
}

/// The content of a file, which must be had.
fn content(found: anyhow::Result<Found>) -> Vec<u8> {
    match found {
        Ok(Found::Here(path)) => std::fs::read(path).expect("a file"),
        other => panic!("not here: {other:?}"),
    }
}

fn failure(found: anyhow::Result<Found>) -> String {
    format!("{:#}", found.expect_err("a failure"))
}
