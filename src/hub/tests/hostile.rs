//! Hubs that send the token away, name files by paths, redirect for ever or say nothing; and those that refuse.

use super::server::{Hub, Reply, Seen, bytes, serve};
use super::*;
use crate::hub::address::Address;
use crate::hub::client::Client;

const WEIGHTS: &[u8] = b"weights";

#[test]
fn the_token_is_not_sent_where_a_redirect_leads() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let hub = Hub::new(&[("a.safetensors", WEIGHTS)]);
    // The store answers 400 to a second credential.
    assert_eq!(content(hub.model(dir.path()).get("a.safetensors")), WEIGHTS);
    assert!(hub.hub.seen().iter().all(|request| request.authorization.as_deref() == Some("Bearer hf_SECRET")));
    assert!(!hub.store.seen().is_empty());
    assert!(hub.store.seen().iter().all(|request| request.authorization.is_none()));
}

#[test]
fn the_token_is_not_sent_over_plain_http() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let mut place = place(dir.path(), "http://192.0.2.1:9");
    place.patience.silence = Duration::from_millis(1);
    let client = Client::new(&place).expect("client");
    assert!(!client.is_trusted(client.endpoint()));
    for (endpoint, other) in
        [("https://hub.example", "http://hub.example"), ("http://127.0.0.1:8", "http://127.0.0.2:8")]
    {
        place.endpoint = Some(endpoint.into());
        let client = Client::new(&place).expect("client");
        assert!(client.is_trusted(client.endpoint()));
        assert!(!client.is_trusted(&Address::parse(other).expect("address")));
    }
}

#[test]
fn no_message_holds_the_token() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let repo = model(place(dir.path(), "http://127.0.0.1:1"));
    let text = format!("{} {repo:?}", failure(repo.get("a")));
    assert!(!text.contains("SECRET"), "{text}");
    let mut bad = place(dir.path(), "https://me:hunter2@hub.example");
    assert!(!failure(model(bad.clone()).get("a")).contains("hunter2"));
    bad.endpoint = None;
    bad.token = Token::new("hf SECRET");
    let text = failure(model(bad).get("a"));
    assert!(text.contains("HF_TOKEN") && !text.contains("SECRET"), "{text}");
}

#[test]
fn an_etag_that_is_a_path_writes_no_file() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let precious = dir.path().join("precious");
    std::fs::write(&precious, "mine").expect("write");
    let absolute = precious.to_str().expect("UTF-8").to_owned();
    for etag in [&absolute, "../../../../evil", "a/b", "..", ""].map(str::to_owned) {
        let shown = etag.clone();
        let fault = Box::new(move |request: &Seen, _| {
            (!request.path.starts_with("/api/")).then(|| Reply::new(200, "evil").header("ETag", format!("\"{etag}\"")))
        });
        let hub = Hub::with_faults(&[("config.json", b"{}")], fault, Box::new(|_, _| None));
        let text = failure(hub.model(&dir.path().join("cache")).get("config.json"));
        assert!(text.contains("no name for a file"), "{shown}: {text}");
    }
    assert_eq!(std::fs::read_to_string(&precious).expect("read"), "mine");
    assert!(!dir.path().join("evil").exists());
}

#[test]
fn a_commit_that_is_a_path_writes_no_file() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let evil = serde_json::json!({ "sha": "../../../evil", "siblings": [{ "rfilename": "config.json" }] }).to_string();
    let hub = serve(move |_, _| Reply::new(200, evil.clone()).header("ETag", "\"e\""));
    let text = failure(model(place(&dir.path().join("a/b/cache"), &hub.address)).get("config.json"));
    assert!(text.contains("the commit \"../../../evil\", which is none"), "{text}");
    assert_eq!(std::fs::read_dir(dir.path()).expect("folder").count(), 0);
    // The head of a file, too, is of the commit that was asked for.
    let fault = Box::new(|request: &Seen, _| {
        let head = Reply::new(200, "x").header("ETag", "\"e\"").header("X-Repo-Commit", "../../evil");
        (!request.path.starts_with("/api/")).then_some(head)
    });
    let hub = Hub::with_faults(&[("config.json", b"{}")], fault, Box::new(|_, _| None));
    assert!(failure(hub.model(dir.path()).get("config.json")).contains("answers for \"../../evil\""));
}

#[test]
fn a_redirect_that_leads_nowhere_ends() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let cases: [(Option<&str>, &str); 6] = [
        (None, "redirects without saying where to"),
        (Some("/api/models/o/n/revision/main"), "redirects to itself"),
        (Some("?more"), "redirects more than 8 times"),
        (Some("ftp://127.0.0.1/x"), "redirects to an address that is none"),
        (Some("http://me:secret@127.0.0.1/x"), "it holds a user name"),
        (Some("file:///etc/passwd"), "redirects to an address that is none"),
    ];
    for (location, expected) in cases {
        let hub = serve(move |request, before| {
            let reply = Reply::new(302, "");
            match location {
                // A circle of two.
                Some("?more") => reply.header("Location", if before % 2 == 0 { "?more" } else { "?again" }),
                Some(location) => reply.header("Location", location),
                None => reply.header("X-Path", &request.path),
            }
        });
        let text = failure(model(place(dir.path(), &hub.address)).get("a"));
        assert!(text.contains(expected), "{text}");
        assert!(hub.seen().len() <= 9, "{}", hub.seen().len());
    }
}

#[test]
fn a_hub_that_says_nothing_is_given_up() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let hub = serve(|_, _| Reply::new(0, "").then_silent());
    let text = failure(model(place(dir.path(), &hub.address)).get("a"));
    assert!(text.contains("no answer within the time-out"), "{text}");
    assert_eq!(hub.seen().len(), 3);
    // In the middle of a file: what is missing is asked for again.
    let store =
        Box::new(|request: &Seen, before| (before == 0).then(|| bytes(WEIGHTS, request).cut_after(3).then_silent()));
    let hub = Hub::with_faults(&[("a.safetensors", WEIGHTS)], Box::new(|_, _| None), store);
    assert_eq!(content(hub.model(dir.path()).get("a.safetensors")), WEIGHTS);
    assert_eq!(hub.store.seen()[1].range, Some(3));
}

#[test]
fn an_answer_without_end_is_not_read_to_the_end() {
    let client = serve(|_, _| Reply::new(200, vec![b' '; 100_000]).without_length());
    let place = place(Path::new("unused"), &client.address);
    let client = Client::new(&place).expect("client");
    let error = client.get(client.endpoint(), 1000).expect_err("too long").to_string();
    assert!(error.ends_with("answers more than 1000 bytes"), "{error}");
}

#[test]
fn a_refusal_is_told_in_the_hubs_words_with_what_to_do() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let gated = "Access to model o/n is restricted.";
    let cases = [
        (401, "GatedRepo", gated, false, "accept its terms at http://127.0.0.1:"),
        (403, "GatedRepo", gated, true, "ask for access at http://127.0.0.1:"),
        (401, "", "Invalid credentials in Authorization header", true, "holds a token that is not valid"),
        (401, "RepoNotFound", "Invalid username or password.", false, "check the spelling of o/n"),
        (404, "RepoNotFound", "Repository not found", true, "check the spelling of o/n"),
        (404, "RevisionNotFound", "Invalid rev id: main", true, "has no branch, tag or commit main"),
    ];
    for (status, code, words, with_token, advice) in cases {
        let hub =
            serve(move |_, _| Reply::new(status, "").header("X-Error-Code", code).header("X-Error-Message", words));
        let mut place = place(dir.path(), &hub.address);
        place.token = place.token.filter(|_| with_token);
        let text = failure(model(place).get("config.json"));
        assert!(text.contains(words) && text.contains(advice), "{text}");
        assert_eq!(hub.seen().len(), 1, "a refusal is not asked for again");
    }
    // Access to a gated model's list is free; its files are not.
    let fault = Box::new(|request: &Seen, _| {
        let refused = Reply::new(403, "").header("X-Error-Code", "GatedRepo").header("X-Error-Message", "Ask first");
        (!request.path.starts_with("/api/")).then_some(refused)
    });
    let hub = Hub::with_faults(&[("config.json", b"{}")], fault, Box::new(|_, _| None));
    let text = failure(hub.model(dir.path()).get("config.json"));
    assert!(text.starts_with("cannot download config.json of o/n (ask for access at "), "{text}");
}
