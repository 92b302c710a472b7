//! A cache that is a folder made by the test, and a hub that is a thread on this machine.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use anyhow::Result;

use super::{HubRepo, Kind, Place, is_hub_id};

const BRANCH: &str = "refs/convert/parquet";

/// Puts files into a cache as a download at `revision` would, with `commit` behind it.
fn cache(cache: &Path, folder: &str, revision: &str, commit: &str, files: &[&str]) -> Result<()> {
    let reference = cache.join(folder).join("refs").join(revision);
    std::fs::create_dir_all(reference.parent().unwrap_or(cache))?;
    std::fs::write(reference, format!("{commit}\n"))?;
    for file in files {
        let path = cache.join(folder).join("snapshots").join(commit).join(file);
        std::fs::create_dir_all(path.parent().unwrap_or(cache))?;
        std::fs::write(path, file)?;
    }
    Ok(())
}

fn offline(cache: &Path) -> Place {
    Place { cache: cache.to_owned(), offline: true, ..Place::default() }
}

#[test]
fn ids_are_told_from_paths() {
    assert!(is_hub_id("GSAI-ML/LLaDA-8B-Instruct"));
    for path in ["./model", "../model", "/abs/model", "model", "a/b/c", "owner/", "~/model"] {
        assert!(!is_hub_id(path), "{path}");
    }
    assert!(HubRepo::at(Place::default(), Kind::Model, "model", "main").is_err());
    for revision in ["", "..", "/main", "a/../../b"] {
        assert!(HubRepo::at(Place::default(), Kind::Model, "a/b", revision).is_err(), "{revision}");
    }
}

#[test]
fn offline_the_cache_is_all_there_is() -> Result<()> {
    let dir = tempfile::tempdir()?;
    cache(dir.path(), "datasets--o--n", BRANCH, "abc", &["main/train/0001.parquet", "main/train/0000.parquet", "a"])?;
    let repo = HubRepo::at(offline(dir.path()), Kind::Dataset, "o/n", BRANCH)?;
    assert_eq!(repo.list()?, ["a", "main/train/0000.parquet", "main/train/0001.parquet"]);
    let path = repo.get("main/train/0000.parquet")?;
    assert_eq!(path, Some(dir.path().join("datasets--o--n/snapshots/abc/main/train/0000.parquet")));
    assert_eq!(repo.get("main/train/0002.parquet")?, None);
    assert!(repo.get("../../refs/convert/parquet").is_err());
    // A commit needs no reference.
    assert_eq!(HubRepo::at(offline(dir.path()), Kind::Dataset, "o/n", "abc")?.list()?.len(), 3);
    let model = HubRepo::at(offline(dir.path()), Kind::Model, "o/n", BRANCH)?;
    assert_eq!(model.get("a")?, None);
    let error = model.list().expect_err("not cached").to_string();
    assert!(error.ends_with("has nothing of o/n at refs/convert/parquet"), "{error}");
    Ok(())
}

/// Answers like a hub that has one dataset `o/n` with these files; gives its address, and the requests as they come.
fn serve(
    commit: &'static str,
    files: &'static [(&'static str, &'static str)],
) -> Result<(String, Arc<Mutex<Vec<String>>>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = format!("http://{}", listener.local_addr()?);
    let requests = Arc::new(Mutex::new(Vec::new()));
    let seen = requests.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = answer(stream, commit, files, &seen);
        }
    });
    Ok((address, requests))
}

fn answer(stream: TcpStream, commit: &str, files: &[(&str, &str)], seen: &Mutex<Vec<String>>) -> Result<()> {
    let mut lines = BufReader::new(&stream).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut only_first_byte = false;
    for line in lines {
        let line = line?.to_ascii_lowercase();
        only_first_byte |= line == "range: bytes=0-0";
        if line.is_empty() {
            break;
        }
    }
    let body = if path.starts_with("/api/datasets/o/n/revision/") {
        let list: Vec<_> = files.iter().map(|(name, _)| serde_json::json!({ "rfilename": name })).collect();
        Some(serde_json::json!({ "sha": commit, "siblings": list }).to_string())
    } else {
        let file = path.strip_prefix(&format!("/datasets/o/n/resolve/{commit}/"));
        files.iter().find(|(name, _)| Some(*name) == file).map(|(_, content)| (*content).to_owned())
    };
    seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(path);
    let Some(body) = body else {
        write!(&stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
        return Ok(());
    };
    let sent = if only_first_byte { &body[..1] } else { &body };
    let tag = body.bytes().fold(0u64, |tag, byte| tag.wrapping_mul(31).wrapping_add(byte.into()));
    write!(
        &stream,
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nContent-Range: bytes 0-0/{}\r\nETag: \"{tag}\"\r\n\
         X-Repo-Commit: {commit}\r\nConnection: close\r\n\r\n{sent}",
        sent.len(),
        body.len(),
    )?;
    Ok(())
}

#[test]
fn what_is_not_cached_is_downloaded_once() -> Result<()> {
    let (address, requests) = serve("c1", &[("d/train/0000.parquet", "zero"), ("README.md", "text")])?;
    let dir = tempfile::tempdir()?;
    let place = Place { cache: dir.path().to_owned(), endpoint: Some(address), ..Place::default() };
    let repo = || HubRepo::at(place.clone(), Kind::Dataset, "o/n", BRANCH);
    let first = repo()?;
    assert_eq!(first.list()?, ["README.md", "d/train/0000.parquet"]);
    let path = first.get("d/train/0000.parquet")?.expect("there");
    assert_eq!(std::fs::read_to_string(&path)?, "zero");
    assert_eq!(first.get("d/train/0001.parquet")?, None);
    let count = requests.lock().expect("requests").len();
    assert_eq!(requests.lock().expect("requests")[0], "/api/datasets/o/n/revision/refs%2Fconvert%2Fparquet");
    // Now without the network, as an offline run and as any other.
    assert_eq!(repo()?.get("d/train/0000.parquet")?, Some(path));
    assert_eq!(HubRepo::at(offline(dir.path()), Kind::Dataset, "o/n", BRANCH)?.list()?, ["d/train/0000.parquet"]);
    assert_eq!(requests.lock().expect("requests").len(), count);
    Ok(())
}

#[test]
fn a_cached_commit_is_completed_and_not_mixed_with_a_newer_one() -> Result<()> {
    let (address, requests) = serve("old", &[("a", "old a"), ("b", "old b")])?;
    let dir = tempfile::tempdir()?;
    cache(dir.path(), "datasets--o--n", "main", "old", &["a"])?;
    let place = Place { cache: dir.path().to_owned(), endpoint: Some(address), ..Place::default() };
    let repo = HubRepo::at(place, Kind::Dataset, "o/n", "main")?;
    let folders = [repo.get("a")?, repo.get("b")?].map(|path| path.and_then(|path| path.parent().map(Path::to_owned)));
    assert_eq!(folders[0], folders[1]);
    // The hub was asked for the commit: `main` may be another one by now.
    assert_eq!(requests.lock().expect("requests")[0], "/api/datasets/o/n/revision/old");
    Ok(())
}

#[test]
fn a_hub_that_does_not_answer_is_an_error_with_a_way_out() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let closed = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let place = Place { cache: dir.path().to_owned(), endpoint: Some(format!("http://{closed}")), ..Place::default() };
    let repo = HubRepo::at(place, Kind::Dataset, "o/n", "main")?;
    for error in [repo.get("a").err(), repo.list().err()] {
        let text = format!("{:#}", error.expect("no hub"));
        assert!(text.starts_with("cannot list the files of o/n at main"), "{text}");
        assert!(text.contains("HF_HUB_OFFLINE=1"), "{text}");
    }
    Ok(())
}
