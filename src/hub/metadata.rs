//! What the hub says about a file before it is downloaded: its etag, which names its blob in the cache, and its size.

use ureq::http::{HeaderMap, Method};

use super::address::Address;
use super::client::{Answer, Client};
use super::failure::Failure;
use super::names::{bare_etag, is_word, shown};

/// A file of a repository at a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Metadata {
    /// The name of its blob: of a file in the large-file store, its SHA-256.
    pub(super) etag: String,
    /// Its size in bytes, where the hub says so.
    pub(super) size: Option<u64>,
}

/// What the hub says of the file in the large-file store behind its own answer.
#[derive(Debug, Default)]
struct Linked {
    commit: Option<String>,
    etag: Option<String>,
    size: Option<u64>,
}

impl Linked {
    fn take(&mut self, headers: &HeaderMap) {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        self.commit = self.commit.take().or_else(|| text("x-repo-commit").map(str::to_owned));
        self.etag = self.etag.take().or_else(|| text("x-linked-etag").map(str::to_owned));
        self.size = self.size.or_else(|| text("x-linked-size")?.trim().parse().ok());
    }
}

/// Asks for the head of a file. The store of large files is not asked: it need not know the user, and its own etag is
/// another.
///
/// # Errors
/// As [`Client::send`]; an answer without an etag, with one that is no name, or for another commit.
pub(super) fn metadata(client: &Client, url: &Address, commit: &str) -> Result<Metadata, Failure> {
    let ask = |method: &Method, from| {
        let mut linked = Linked::default();
        let answer = client.send(method, url, from, &mut |headers, next| {
            linked.take(headers);
            let enough = linked.etag.is_some() || headers.contains_key("etag");
            linked.etag.is_none() && (client.endpoint().same_origin(next) || !enough)
        })?;
        linked.take(&answer.headers);
        Ok((answer, linked))
    };
    let (answer, linked) = match ask(&Method::HEAD, None) {
        // A hub that has no HEAD.
        Err(Failure::Refused(refusal)) if matches!(refusal.status, 405 | 501) => ask(&Method::GET, Some(0))?,
        other => other?,
    };
    if let Some(other) = linked.commit.filter(|other| other != commit) {
        return Err(Failure::Wrong(format!(
            "{} was asked for commit {commit} and answers for {:?}",
            url.shown(),
            shown(&other)
        )));
    }
    let etag = linked.etag.as_deref().or_else(|| answer.header("etag")).map(bare_etag);
    let etag =
        etag.ok_or_else(|| Failure::Wrong(format!("{} answers without an etag, which every hub gives", url.shown())))?;
    if !is_word(etag) {
        return Err(Failure::Wrong(format!(
            "{} answers with the etag {:?}, which is no name for a file",
            url.shown(),
            shown(etag)
        )));
    }
    Ok(Metadata { etag: etag.to_owned(), size: linked.size.or_else(|| own_size(&answer)) })
}

/// The size that the answer itself gives; some servers answer HEAD with a length of 0.
fn own_size(answer: &Answer) -> Option<u64> {
    let total = answer.header("content-range").and_then(|range| range.rsplit_once('/')?.1.parse().ok());
    let length = || answer.header("content-length")?.parse().ok();
    total.or_else(length).filter(|&size| size > 0 && answer.status < 300)
}
