//! What the cache serves, with the network, without it, and when it has gone.

use super::server::{COMMIT, Hub, Reply, Seen};
use super::*;
use crate::hub::Files;

const FILES: [(&str, &[u8]); 3] = [("config.json", b"{}"), ("d/0.parquet", b"zero"), ("d/1.parquet", b"one")];

/// Puts files into a cache as a download at `revision` would, with `commit` behind it.
fn fill(cache: &Path, folder: &str, revision: &str, commit: &str, files: &[&str]) {
    let reference = cache.join(folder).join("refs").join(revision);
    std::fs::create_dir_all(reference.parent().expect("folder")).expect("folder");
    std::fs::write(reference, format!("{commit}\n")).expect("write");
    for file in files {
        let path = cache.join(folder).join("snapshots").join(commit).join(file);
        std::fs::create_dir_all(path.parent().expect("folder")).expect("folder");
        std::fs::write(path, file).expect("write");
    }
}

fn dataset(place: Place, revision: &str) -> HubRepo {
    HubRepo::at(place, Kind::Dataset, "o/n", revision).expect("a repository")
}

/// The address of a hub that is not there.
fn nobody() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    format!("http://{}", listener.local_addr().expect("address"))
}

#[test]
fn revisions_and_files_that_are_paths_are_refused() {
    assert!(HubRepo::at(Place::default(), Kind::Model, "model", "main").is_err());
    for revision in ["", "..", "/main", "a/../../b"] {
        assert!(HubRepo::at(Place::default(), Kind::Model, "a/b", revision).is_err(), "{revision}");
    }
    assert!(model(Place::default()).get("../../refs/main").is_err());
}

#[test]
fn what_is_not_cached_is_downloaded_once() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let hub = Hub::new(&FILES);
    let repo = || dataset(place(dir.path(), &hub.hub.address), BRANCH);
    let first = repo();
    assert_eq!(first.list().expect("list"), Files::All(FILES.map(|(name, _)| name.to_owned()).to_vec()));
    for (name, body) in FILES {
        assert_eq!(content(first.get(name)), body);
    }
    assert_eq!(first.get("d/2.parquet").expect("known"), Found::Absent);
    assert_eq!(first.commit().expect("commit"), Some(COMMIT));
    assert_eq!(hub.hub.seen()[0].path, "/api/datasets/o/n/revision/refs%2Fconvert%2Fparquet");
    // From now on without a single request, whether or not there is a network, for what does not exist too.
    let asked = hub.asked();
    for place in [place(dir.path(), &hub.hub.address), offline(dir.path()), place(dir.path(), &nobody())] {
        let repo = dataset(place, BRANCH);
        assert_eq!(content(repo.get("d/1.parquet")), b"one");
        assert_eq!(repo.list().expect("list"), first.list().expect("list"));
        assert_eq!(repo.get("chat_template.jinja").expect("known"), Found::Absent);
        assert_eq!(repo.commit().expect("commit"), Some(COMMIT));
    }
    assert_eq!(hub.asked(), asked);
}

#[test]
fn the_list_of_a_cached_commit_is_kept_once_it_is_known() {
    let dir = tempfile::tempdir().expect("temporary folder");
    fill(dir.path(), "models--o--n", "main", COMMIT, &["config.json"]);
    let hub = Hub::new(&FILES);
    assert_eq!(hub.model(dir.path()).get("other.json").expect("known"), Found::Absent);
    let repo = model(offline(dir.path()));
    assert_eq!(repo.get("d/0.parquet").expect("known"), Found::NotCached { exists: true });
    assert_eq!(hub.asked(), 1);
}

#[test]
fn a_cached_commit_is_completed_and_not_mixed_with_a_newer_one() {
    let dir = tempfile::tempdir().expect("temporary folder");
    fill(dir.path(), "datasets--o--n", "main", COMMIT, &["config.json"]);
    let hub = Hub::new(&FILES);
    let repo = dataset(place(dir.path(), &hub.hub.address), "main");
    let folder = |found: anyhow::Result<Found>| match found {
        Ok(Found::Here(path)) => path.parent().map(Path::to_owned),
        other => panic!("{other:?}"),
    };
    let first = folder(repo.get("config.json"));
    assert_eq!(folder(repo.get("d/0.parquet")), first.map(|folder| folder.join("d")));
    // The hub was asked for the commit: `main` may be another one by now.
    assert_eq!(hub.hub.seen()[0].path, format!("/api/datasets/o/n/revision/{COMMIT}"));
}

#[test]
fn half_a_dataset_is_not_taken_for_all_of_it() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let hub = Hub::new(&FILES);
    assert_eq!(content(dataset(place(dir.path(), &hub.hub.address), "main").get("d/0.parquet")), b"zero");
    let repo = dataset(offline(dir.path()), "main");
    assert_eq!(repo.list().expect("list"), Files::All(FILES.map(|(name, _)| name.to_owned()).to_vec()));
    assert_eq!(repo.get("d/1.parquet").expect("known"), Found::NotCached { exists: true });
    // Where the list was never kept, nobody knows.
    let other = tempfile::tempdir().expect("temporary folder");
    fill(other.path(), "datasets--o--n", BRANCH, "abc", &["main/0001.parquet", "main/0000.parquet", "a"]);
    let repo = dataset(offline(other.path()), BRANCH);
    let names = ["a", "main/0000.parquet", "main/0001.parquet"].map(str::to_owned).to_vec();
    assert_eq!(repo.list().expect("list"), Files::Cached(names));
    assert_eq!(repo.get("main/0002.parquet").expect("unknown"), Found::NotCached { exists: false });
    // A commit needs no reference.
    assert_eq!(content(dataset(offline(other.path()), "abc").get("a")), b"a");
}

#[test]
fn a_full_cache_serves_when_the_network_is_down() {
    let dir = tempfile::tempdir().expect("temporary folder");
    fill(dir.path(), "models--o--n", "main", COMMIT, &["config.json"]);
    for address in [nobody(), Hub::with_faults(&[], Box::new(busy), Box::new(|_, _| None)).hub.address] {
        let repo = model(place(dir.path(), &address));
        assert_eq!(content(repo.get("config.json")), b"config.json");
        // Nobody knows of the optional ones; asked once, not again.
        assert_eq!(repo.get("chat_template.jinja").expect("unknown"), Found::NotCached { exists: false });
        assert_eq!(repo.get("generation_config.json").expect("unknown"), Found::NotCached { exists: false });
        let text = repo.missing(&["model.safetensors".into()]).to_string();
        assert!(text.starts_with("model.safetensors: not in the cache's snapshot "), "{text}");
        assert!(text.contains("cannot be reached") || text.contains("answers 503"), "{text}");
    }
}

fn busy(_: &Seen, _: usize) -> Option<Reply> {
    Some(Reply::new(503, ""))
}

#[test]
fn what_pythons_library_found_missing_is_not_asked_for() {
    let dir = tempfile::tempdir().expect("temporary folder");
    fill(dir.path(), "models--o--n", "main", COMMIT, &["config.json"]);
    let marker = dir.path().join("models--o--n/.no_exist").join(COMMIT).join("chat_template.jinja");
    std::fs::create_dir_all(marker.parent().expect("folder")).expect("folder");
    std::fs::write(&marker, "").expect("write");
    assert_eq!(model(offline(dir.path())).get("chat_template.jinja").expect("known"), Found::Absent);
    // And the other way round.
    let hub = Hub::new(&FILES);
    assert_eq!(hub.model(dir.path()).get("generation_config.json").expect("known"), Found::Absent);
    assert!(marker.with_file_name("generation_config.json").is_file());
}

#[test]
#[cfg(unix)]
fn a_dangling_link_is_not_taken_for_a_file_that_does_not_exist() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let hub = Hub::new(&FILES);
    assert_eq!(content(hub.model(dir.path()).get("config.json")), b"{}");
    let blobs = dir.path().join("models--o--n/blobs");
    let blob = std::fs::read_dir(&blobs).expect("folder").next().expect("blob").expect("blob").path();
    std::fs::remove_file(&blob).expect("remove");
    let text = failure(model(offline(dir.path())).get("config.json"));
    assert!(text.contains("config.json is a link to ../../blobs/") && text.contains("HF_HUB_OFFLINE"), "{text}");
    // With the network it is made whole.
    assert_eq!(content(hub.model(dir.path()).get("config.json")), b"{}");
    assert!(blob.is_file());
}

#[test]
fn a_file_of_another_length_than_pythons_library_noted_is_replaced() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let hub = Hub::new(&FILES);
    assert_eq!(content(hub.model(dir.path()).get("d/0.parquet")), b"zero");
    let repo = dir.path().join("models--o--n");
    let tree = r#"{"format_version": 1, "files": {"d/0.parquet": {"size": 4, "blob_id": "b"}}}"#;
    std::fs::write(repo.join("trees").join(format!("{COMMIT}.json")), tree).expect("write");
    let blob = std::fs::read_dir(repo.join("blobs")).expect("folder").next().expect("blob").expect("blob").path();
    std::fs::write(&blob, "ze").expect("write");
    assert!(failure(model(offline(dir.path())).get("d/0.parquet")).contains("has 2 bytes, in the repository 4"));
    assert_eq!(content(hub.model(dir.path()).get("d/0.parquet")), b"zero");
}

#[test]
fn a_copied_cache_without_references_says_which_commits_it_has() {
    let dir = tempfile::tempdir().expect("temporary folder");
    fill(dir.path(), "models--o--n", "main", "c0ffee", &["config.json"]);
    std::fs::remove_dir_all(dir.path().join("models--o--n/refs")).expect("remove");
    let repo = model(offline(dir.path()));
    assert_eq!(repo.get("config.json").expect("unknown"), Found::NotCached { exists: false });
    let text = repo.missing(&["config.json".into()]).to_string();
    let folder = dir.path().join("models--o--n");
    for part in ["nothing of o/n at main", folder.to_str().expect("UTF-8"), "c0ffee", "revision = \"c0ffee\""] {
        assert!(text.contains(part), "{text}");
    }
    let text = model(offline(&dir.path().join("none"))).list().expect_err("nothing").to_string();
    assert!(text.contains("has nothing of o/n in"), "{text}");
}

#[test]
fn a_reference_that_is_a_path_is_refused() {
    let dir = tempfile::tempdir().expect("temporary folder");
    fill(dir.path(), "models--o--n", "main", "../../elsewhere", &[]);
    assert!(failure(model(offline(dir.path())).get("a")).contains("refs/main does not hold a commit: delete it"));
}

#[test]
fn a_revision_that_is_a_commit_leaves_no_reference() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let hub = Hub::new(&FILES);
    let at = |revision| HubRepo::at(place(dir.path(), &hub.hub.address), Kind::Model, "o/n", revision).expect("repo");
    assert_eq!(content(at(COMMIT).get("config.json")), b"{}");
    assert!(!dir.path().join("models--o--n/refs").exists());
    assert_eq!(content(at("main").get("config.json")), b"{}");
    let reference = std::fs::read_to_string(dir.path().join("models--o--n/refs/main")).expect("reference");
    assert_eq!(reference, COMMIT);
}

#[test]
fn a_hub_that_does_not_answer_is_an_error_with_a_way_out() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let repo = dataset(place(dir.path(), &nobody()), "main");
    for error in [repo.get("a").map(|_| ()), repo.list().map(|_| ())] {
        let text = format!("{:#}", error.expect_err("no hub"));
        assert!(text.starts_with("cannot list the files of o/n at main"), "{text}");
        assert!(text.contains("HF_HUB_OFFLINE=1"), "{text}");
    }
}
