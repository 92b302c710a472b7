//! Models of the hub: what is asked of it, what is said about it, and what no log holds.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};

use predicates::prelude::*;
use predicates::str::contains;

use super::spg;

/// A hub that has nothing; gives its address and the first lines of what it is asked.
fn empty_hub() -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (asked, requests) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let lines: Vec<String> =
                BufReader::new(&stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
            let _ = asked.send(lines.join("\n"));
            let _ = write!(
                &stream,
                "HTTP/1.1 404 Not Found\r\nX-Error-Code: RepoNotFound\r\nX-Error-Message: Repository not found\r\n\
                 Content-Length: 0\r\nConnection: close\r\n\r\n"
            );
        }
    });
    (address, requests)
}

fn show(model: &str, home: &Path, hub: &str) -> assert_cmd::Command {
    let set = format!("model.name_or_path={model}");
    let mut command = spg(&["data", "show", "--config", "sudoku-tiny", "--count", "1", "--set", &set]);
    for name in ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_TOKEN_PATH"] {
        command.env_remove(name);
    }
    command.env("HF_HOME", home).env("HF_ENDPOINT", hub).env("HF_TOKEN", "hf_SECRET");
    command
}

#[test]
fn the_token_is_in_no_log_line_however_much_is_logged() {
    let home = tempfile::tempdir().unwrap();
    let (hub, requests) = empty_hub();
    let output = show("o/n", home.path(), &hub).env("RUST_LOG", "trace").output().unwrap();
    assert!(requests.recv().unwrap().contains("Bearer hf_SECRET"), "the hub is the one to be told");
    let text = String::from_utf8_lossy(&output.stderr);
    // Libraries print what they send in rows of 16 characters, in hexadecimal and as text.
    assert!(!text.contains("SECRET") && !text.contains("ureq") && !text.contains("Bearer"), "{text}");
    assert!(text.contains("Repository not found") && text.contains("check the spelling of o/n"), "{text}");
    assert!(text.contains("there is no folder o/n here"), "{text}");
}

#[test]
fn a_path_to_a_folder_that_is_not_there_is_not_asked_of_the_hub() {
    let (home, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (hub, requests) = empty_hub();
    for model in ["examples/sudoku-tiny", "./a/b", "~/model", "runs/x"] {
        show(model, home.path(), &hub)
            .current_dir(elsewhere.path())
            .assert()
            .code(1)
            .stderr(contains("there is no folder").and(contains(model)));
    }
    assert!(requests.try_recv().is_err());
}

/// The tiny model in a cache, as Python's library leaves it: links to blobs, no list of files.
#[cfg(unix)]
fn cached(home: &Path) -> std::path::PathBuf {
    let repo = home.join("hub/models--o--n");
    let snapshot = repo.join("snapshots/c0ffee");
    for folder in [&repo.join("refs"), &repo.join("blobs"), &snapshot] {
        std::fs::create_dir_all(folder).unwrap();
    }
    std::fs::write(repo.join("refs/main"), "c0ffee").unwrap();
    for file in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/sudoku-tiny");
        std::fs::copy(model.join(file), repo.join("blobs").join(file.replace('.', "-"))).unwrap();
        let target = format!("../../blobs/{}", file.replace('.', "-"));
        std::os::unix::fs::symlink(target, snapshot.join(file)).unwrap();
    }
    repo
}

#[test]
#[cfg(unix)]
fn a_chat_template_behind_a_dangling_link_is_not_left_out() {
    let home = tempfile::tempdir().unwrap();
    let repo = cached(home.path());
    let offline = || {
        let mut command = show("o/n", home.path(), "http://127.0.0.1:9");
        command.env("HF_HUB_OFFLINE", "1");
        command
    };
    offline().assert().success().stderr(contains("chat_template.jinja").and(contains("never fetched")));
    std::fs::create_dir_all(repo.join(".no_exist/c0ffee")).unwrap();
    for file in ["chat_template.jinja", "special_tokens_map.json"] {
        std::fs::write(repo.join(".no_exist/c0ffee").join(file), "").unwrap();
    }
    offline().assert().success().stderr(contains("never fetched").not());
    std::fs::remove_file(repo.join("blobs/tokenizer_config-json")).unwrap();
    offline().assert().code(1).stderr(contains("snapshots/c0ffee/tokenizer_config.json is a link to"));
}
