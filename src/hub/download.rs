//! One file, from the network into a blob that is whole: resumed where it was cut, checked, renamed into place.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indicatif::HumanBytes;
use sha2::{Digest as _, Sha256};
use ureq::http::Method;

use super::address::Address;
use super::client::{Answer, Client};
use super::failure::Failure;
use super::metadata::Metadata;
use super::names;
use super::names::as_sha256;
use super::place::Patience;
use super::retry::Backoff;
use crate::files::hex;
use crate::meter::{self, Unit, Work};

/// Bytes read at a time.
const PIECE: usize = 256 << 10;
/// So many new bytes make a broken transfer count as a good one that broke.
const PROGRESS: u64 = 1 << 20;
/// A transfer of fewer bytes than this ...
const LEAST: u64 = 16 << 10;
/// ... within this time is given up and begun again.
const WINDOW: Duration = Duration::from_secs(60);

/// A file to be downloaded.
pub(super) struct Download<'a> {
    pub(super) client: &'a Client,
    pub(super) patience: Patience,
    pub(super) url: &'a Address,
    /// Its name, for messages.
    pub(super) file: &'a str,
    pub(super) metadata: &'a Metadata,
    /// Where it goes.
    pub(super) blob: &'a Path,
}

impl Download<'_> {
    /// Downloads it. What an earlier process left of it is used where a hash will tell whether it was right.
    ///
    /// # Errors
    /// The hub or the network, after patience; bytes that are wrong twice; a disk that is full.
    pub(super) fn run(&self) -> Result<(), Failure> {
        let part = self.part();
        if let Some(parent) = part.parent() {
            std::fs::create_dir_all(parent).map_err(|error| Failure::disk("write", parent, error))?;
        }
        if as_sha256(&self.metadata.etag).is_none() {
            remove(&part)?;
        }
        let mut again = false;
        loop {
            let url = self.fetch(&part)?;
            match self.check(&part)? {
                None => break,
                Some(wrong) if again => {
                    remove(&part)?;
                    return Err(Failure::Wrong(format!("{}: {wrong}, and so it was before", url.shown())));
                }
                Some(wrong) => {
                    tracing::warn!("{}: {wrong}: downloading it again", self.file);
                    remove(&part)?;
                    again = true;
                }
            }
        }
        let file = File::open(&part).and_then(|file| file.sync_all());
        file.and_then(|()| std::fs::rename(&part, self.blob)).map_err(|error| Failure::disk("write", self.blob, error))
    }

    /// Where the bytes are until they are complete; the name is the library's.
    fn part(&self) -> PathBuf {
        let mut name = self.blob.file_name().unwrap_or_default().to_owned();
        name.push(".incomplete");
        self.blob.with_file_name(name)
    }

    /// Transfers until nothing is missing; gives the address that sent the last bytes.
    fn fetch(&self, part: &Path) -> Result<Address, Failure> {
        let mut backoff = Backoff::new(self.patience);
        let mut furthest = 0;
        loop {
            let mut there = length(part)?;
            if self.metadata.size.is_some_and(|size| there > size) {
                remove(part)?;
                there = 0;
            }
            if there > 0 && self.metadata.size == Some(there) {
                return Ok(self.url.clone());
            }
            match self.transfer(part, there) {
                Ok(url) => return Ok(url),
                Err(failure) => {
                    let now = length(part)?;
                    if now >= furthest + PROGRESS {
                        backoff.progress();
                    }
                    furthest = furthest.max(now);
                    backoff.wait(failure)?;
                }
            }
        }
    }

    /// Gets the bytes from `there` on.
    fn transfer(&self, part: &Path, there: u64) -> Result<Address, Failure> {
        let from = (there > 0).then_some(there);
        let answer = self.client.send(&Method::GET, self.url, from, &mut |_, _| true)?;
        let url = answer.address.clone();
        let from = match answer.status {
            206 if range_start(&answer).is_none_or(|start| start == there) => there,
            // The server sends the file from its start.
            200 => 0,
            _ => {
                remove(part)?;
                return Err(Failure::broken(&url, "it does not send the rest of what is there"));
            }
        };
        let rest: Option<u64> = answer.header("content-length").and_then(|length| length.parse().ok());
        let expected = self.metadata.size.or_else(|| rest.map(|rest| rest.saturating_add(from)));
        let disk = |error| Failure::disk("write", part, error);
        let mut file = OpenOptions::new().create(true).truncate(false).write(true).open(part).map_err(disk)?;
        file.set_len(from).and_then(|()| file.seek(SeekFrom::Start(from))).map_err(disk)?;

        let of = expected.map(|size| format!(" ({})", HumanBytes(size))).unwrap_or_default();
        let rest = if from > 0 { format!(", going on after {}", HumanBytes(from)) } else { String::new() };
        tracing::info!("downloading {}{of}{rest}", self.file);
        let mut meter = meter::start(Work { name: self.file, unit: Unit::Bytes, total: expected, there: from });
        let mut reader = answer.into_reader();
        let (mut piece, mut at) = (vec![0; PIECE], from);
        let (mut window, mut window_from) = (Instant::now(), at);
        loop {
            let n = match reader.read(&mut piece) {
                Ok(n) => n,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(Failure::of_request(&url, error.into())),
            };
            if n == 0 {
                break;
            }
            file.write_all(&piece[..n]).map_err(disk)?;
            at += n as u64;
            meter.at(at);
            // More than there should be: whoever checks finds it.
            if expected.is_some_and(|expected| at > expected) {
                return Ok(url);
            }
            if window.elapsed() > WINDOW {
                if at - window_from < LEAST {
                    return Err(Failure::broken(&url, "it hardly sends anything"));
                }
                (window, window_from) = (Instant::now(), at);
            }
        }
        match expected {
            Some(expected) if at < expected => {
                Err(Failure::broken(&url, format!("the transfer ended after {at} of {expected} bytes")))
            }
            _ => Ok(url),
        }
    }

    /// What is wrong with the bytes.
    fn check(&self, part: &Path) -> Result<Option<String>, Failure> {
        let there = length(part)?;
        if let Some(size) = self.metadata.size.filter(|&size| size != there) {
            return Ok(Some(format!("{there} bytes came instead of {size}")));
        }
        let Some(expected) = names::as_sha256(&self.metadata.etag) else { return Ok(None) };
        let found = sha256(part).map_err(|error| Failure::disk("read", part, error))?;
        Ok((!found.eq_ignore_ascii_case(expected))
            .then(|| format!("the bytes that came have the SHA-256 {found} instead of {expected}")))
    }
}

/// Where the bytes of an answer start, by its `Content-Range`.
fn range_start(answer: &Answer) -> Option<u64> {
    answer.header("content-range")?.trim().strip_prefix("bytes")?.trim().split('-').next()?.parse().ok()
}

/// The size of a file; 0 where there is none.
fn length(path: &Path) -> Result<u64, Failure> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(metadata.len()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
        Err(error) => Err(Failure::disk("read", path, error)),
    }
}

fn remove(path: &Path) -> Result<(), Failure> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Failure::disk("delete", path, error)),
        _ => Ok(()),
    }
}

fn sha256(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let (mut hash, mut piece) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hex(&hash.finalize())),
            n => hash.update(&piece[..n]),
        }
    }
}
