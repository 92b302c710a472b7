//! Transfers that are refused, cut, too long or garbled, and what earlier ones left behind.

use std::path::PathBuf;

use super::server::{COMMIT, Hub, Reply, Seen, bytes, sha256};
use super::*;

const FILE: &str = "a.safetensors";
const WEIGHTS: &[u8] = b"the weights of a model";

/// A hub with one large file, whose store fails as told.
fn hub(in_store: impl Fn(&Seen, usize) -> Option<Reply> + Send + Sync + 'static) -> Hub {
    Hub::with_faults(&[(FILE, WEIGHTS)], Box::new(|_, _| None), Box::new(in_store))
}

fn blob(cache: &Path) -> PathBuf {
    cache.join("models--o--n/blobs").join(sha256(WEIGHTS))
}

/// Leaves bytes of an earlier download.
fn leave(cache: &Path, left: &[u8]) {
    let part = blob(cache).with_extension("incomplete");
    std::fs::create_dir_all(part.parent().expect("folder")).expect("folder");
    std::fs::write(part, left).expect("write");
}

#[test]
fn a_busy_hub_is_asked_again() {
    for status in [429, 500, 502, 503, 504] {
        let dir = tempfile::tempdir().expect("temporary folder");
        let fault =
            move |_: &Seen, before| (before == 0).then(|| Reply::new(status, "busy").header("Retry-After", "0"));
        let hub = Hub::with_faults(&[(FILE, WEIGHTS)], Box::new(fault), Box::new(fault));
        assert_eq!(content(hub.model(dir.path()).get(FILE)), WEIGHTS, "{status}");
    }
}

#[test]
fn a_hub_that_stays_busy_is_given_up_in_the_end() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let hub = hub(|_, _| Some(Reply::new(503, "")));
    assert!(failure(hub.model(dir.path()).get(FILE)).contains("answers 503"));
    assert_eq!(hub.store.seen().len(), 4);
    // One that asks for an hour is not waited for.
    let hub = self::hub(|_, _| Some(Reply::new(429, "").header("Retry-After", "3600")));
    assert!(failure(hub.model(dir.path()).get(FILE)).contains("answers 429"));
    assert_eq!(hub.store.seen().len(), 1);
}

#[test]
fn a_cut_transfer_is_resumed() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let hub = hub(|request, before| (before < 2).then(|| bytes(WEIGHTS, request).cut_after(5)));
    assert_eq!(content(hub.model(dir.path()).get(FILE)), WEIGHTS);
    assert_eq!(hub.store.seen().iter().map(|seen| seen.range).collect::<Vec<_>>(), [None, Some(5), Some(10)]);
    assert!(!blob(dir.path()).with_extension("incomplete").exists());
}

#[test]
fn a_cut_transfer_without_a_length_is_not_taken_for_whole() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let hub = hub(|request, before| (before < 3).then(|| bytes(WEIGHTS, request).cut_after(5).without_length()));
    assert_eq!(content(hub.model(dir.path()).get(FILE)), WEIGHTS);
    assert_eq!(hub.store.seen().last().and_then(|seen| seen.range), Some(15));
}

#[test]
fn a_server_that_cannot_resume_does_not_double_the_file() {
    let dir = tempfile::tempdir().expect("temporary folder");
    leave(dir.path(), &WEIGHTS[..7]);
    let hub = hub(|_, _| Some(Reply::new(200, WEIGHTS)));
    assert_eq!(content(hub.model(dir.path()).get(FILE)), WEIGHTS);
    assert_eq!(hub.store.seen().len(), 1);
}

#[test]
fn what_an_earlier_download_left_is_checked() {
    let long = [WEIGHTS, b"more"].concat();
    // Whole, a part, too long, of another file, and as long as it should be but another's.
    let cases: [(&[u8], &[Option<u64>]); 5] = [
        (WEIGHTS, &[]),
        (&WEIGHTS[..9], &[Some(9)]),
        (&long, &[None]),
        (b"garbage", &[Some(7), None]),
        (&[b'x'; 22], &[None]),
    ];
    for (left, ranges) in cases {
        let dir = tempfile::tempdir().expect("temporary folder");
        leave(dir.path(), left);
        let hub = hub(|_, _| None);
        assert_eq!(content(hub.model(dir.path()).get(FILE)), WEIGHTS);
        assert_eq!(hub.store.seen().iter().map(|seen| seen.range).collect::<Vec<_>>(), ranges);
    }
}

#[test]
fn garbled_bytes_are_fetched_once_more_and_then_refused() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let garbled = || Reply::new(200, vec![b'x'; WEIGHTS.len()]);
    let once = hub(move |_, before| (before == 0).then(garbled));
    assert_eq!(content(once.model(dir.path()).get(FILE)), WEIGHTS);

    let dir = tempfile::tempdir().expect("temporary folder");
    let text = failure(hub(move |_, _| Some(garbled())).model(dir.path()).get(FILE));
    assert!(text.starts_with("cannot download a.safetensors of o/n"), "{text}");
    assert!(text.contains(&format!("instead of {}", sha256(WEIGHTS))), "{text}");
    assert_eq!(std::fs::read_dir(dir.path().join("models--o--n/blobs")).expect("folder").count(), 0);
    // Longer than it should be.
    let text = failure(hub(|_, _| Some(Reply::new(200, [WEIGHTS, b"!"].concat()))).model(dir.path()).get(FILE));
    assert!(text.contains("23 bytes came instead of 22"), "{text}");
}

#[test]
fn a_compressed_answer_is_not_taken_for_the_file() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let hub = hub(|_, _| Some(Reply::new(200, "zip").header("Content-Encoding", "gzip")));
    assert!(failure(hub.model(dir.path()).get(FILE)).contains("compresses what was asked for"));
}

#[test]
fn two_downloads_at_once_wait_for_each_other() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let path = dir.path().join(".locks/models--o--n").join(format!("{}.lock", sha256(WEIGHTS)));
    let lock = crate::hub::lock::hold(&path, "by the other").expect("lock");
    let hub = hub(|_, _| None);
    let (cache, address) = (dir.path().to_owned(), hub.hub.address.clone());
    let second = std::thread::spawn(move || content(model(place(&cache, &address)).get(FILE)));
    // The other one completes the blob and lets go: longer than any time-out of the test.
    std::thread::sleep(PATIENCE.silence * 2);
    assert!(!second.is_finished());
    std::fs::create_dir_all(blob(dir.path()).parent().expect("folder")).expect("folder");
    std::fs::write(blob(dir.path()), WEIGHTS).expect("write");
    drop(lock);
    assert_eq!(second.join().expect("content"), WEIGHTS);
    assert_eq!(hub.store.seen().len(), 0);
}

#[test]
fn small_files_have_plain_names_though_their_etags_are_weak() {
    let dir = tempfile::tempdir().expect("temporary folder");
    // The hub of the tests does not decode what it is asked for.
    let fault = |request: &Seen, _: usize| {
        let path = format!("/o/n/resolve/{COMMIT}/sub%20folder/config.json");
        (request.path == path).then(|| bytes(b"{}", request).header("ETag", "W/\"weak\""))
    };
    let hub = Hub::with_faults(&[("sub folder/config.json", b"{}")], Box::new(fault), Box::new(|_, _| None));
    assert_eq!(content(hub.model(dir.path()).get("sub folder/config.json")), b"{}");
    assert_eq!(std::fs::read(dir.path().join("models--o--n/blobs/weak")).expect("blob"), b"{}");
}
