//! From the name in a config to a folder on this machine: a local folder, or a download from the hub.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use hf_hub::api::sync::{ApiBuilder, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};
use serde_json::Value;

const INDEX: &str = "model.safetensors.index.json";
const REQUIRED: [&str; 2] = ["config.json", "tokenizer.json"];
const OPTIONAL: [&str; 3] = ["tokenizer_config.json", "chat_template.jinja", "generation_config.json"];

/// The folder of a model: `name_or_path` itself when it is one, else the hub's snapshot of that id, downloaded
/// once into the cache that `HF_HOME` / `HF_HUB_CACHE` name; with `HF_HUB_OFFLINE=1` only the cache is asked.
///
/// # Errors
/// A name that is neither a folder nor a hub id, and downloads that fail, with what to do instead.
pub fn resolve(name_or_path: &str, revision: Option<&str>) -> Result<PathBuf> {
    let path = Path::new(name_or_path);
    if path.is_dir() {
        return Ok(path.to_owned());
    }
    if !is_hub_id(name_or_path) {
        bail!("model.name_or_path {name_or_path:?} is neither a folder nor a hub id (owner/name)");
    }
    let repo = Repo::with_revision(name_or_path.to_owned(), RepoType::Model, revision.unwrap_or("main").to_owned());
    fetch(&repo).with_context(|| {
        format!(
            "cannot get {name_or_path} from the hub; to work offline, download config.json, tokenizer.json, \
             tokenizer_config.json, {INDEX} and its shards into a folder and give that as model.name_or_path"
        )
    })
}

/// `owner/name` with the hub's characters, and not something that looks like a path.
fn is_hub_id(name: &str) -> bool {
    let allowed = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    matches!(name.split('/').collect::<Vec<_>>()[..], [owner, model] if allowed(owner) && allowed(model))
}

fn cache() -> Cache {
    match std::env::var_os("HF_HUB_CACHE") {
        Some(dir) => Cache::new(PathBuf::from(dir)),
        None => Cache::from_env(),
    }
}

fn fetch(repo: &Repo) -> Result<PathBuf> {
    let cached = cache().repo(repo.clone());
    if std::env::var("HF_HUB_OFFLINE").is_ok_and(|v| v == "1" || v.eq_ignore_ascii_case("true")) {
        return fetch_with(&|file| Ok(cached.get(file))).context("HF_HUB_OFFLINE is set: only the cache was asked");
    }
    let mut builder = ApiBuilder::from_env().with_progress(true).with_cache_dir(cache().path().clone());
    if let Ok(token) = std::env::var("HF_TOKEN") {
        builder = builder.with_token(Some(token));
    }
    let api: ApiRepo = builder.build()?.repo(repo.clone());
    let listing: OnceCell<BTreeSet<String>> = OnceCell::new();
    fetch_with(&|file| {
        if let Some(path) = cached.get(file) {
            return Ok(Some(path));
        }
        if listing.get().is_none() {
            let info = api.info().context("cannot list the hub's files (HF_HUB_OFFLINE=1 asks the cache only)")?;
            let _ = listing.set(info.siblings.into_iter().map(|s| s.rfilename).collect());
        }
        let there = listing.get().is_some_and(|files| files.contains(file));
        there.then(|| api.get(file).with_context(|| format!("cannot download {file}"))).transpose()
    })
}

/// Gets every file of a model through `get`, which returns where it put it, or nothing if the model has no such file.
/// A failure is an error for optional files too: without its chat template a model would be asked in the wrong form.
fn fetch_with(get: &dyn Fn(&str) -> Result<Option<PathBuf>>) -> Result<PathBuf> {
    let must = |file: &str| get(file)?.with_context(|| format!("{file} is missing"));
    let mut folder = None;
    for file in REQUIRED {
        folder = must(file)?.parent().map(Path::to_owned);
    }
    for file in OPTIONAL {
        get(file)?;
    }
    match get(INDEX)? {
        Some(index) => {
            for shard in shards(&index)? {
                must(&shard)?;
            }
        }
        None => {
            must(super::weights::SINGLE_FILE)?;
        }
    }
    folder.context("the hub's cache has no folder for the model")
}

fn shards(index: &Path) -> Result<BTreeSet<String>> {
    let text = std::fs::read_to_string(index).with_context(|| format!("cannot read {}", index.display()))?;
    let json: Value = serde_json::from_str(&text).with_context(|| format!("{} is not JSON", index.display()))?;
    let map = json.get("weight_map").and_then(Value::as_object);
    let map = map.with_context(|| format!("{} has no weight_map", index.display()))?;
    Ok(map.values().filter_map(Value::as_str).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hub_ids_are_told_from_paths() {
        assert!(is_hub_id("GSAI-ML/LLaDA-8B-Instruct"));
        for path in ["./model", "../model", "/abs/model", "model", "a/b/c", "owner/", "~/model"] {
            assert!(!is_hub_id(path), "{path}");
        }
        let error = resolve("no/such/folder", None).expect_err("not there").to_string();
        assert!(error.contains("neither a folder nor a hub id"), "{error}");
    }

    #[test]
    fn all_shards_of_an_index_are_fetched() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let index = r#"{"weight_map": {"a": "one.safetensors", "b": "two.safetensors", "c": "one.safetensors"}}"#;
        std::fs::write(dir.path().join(INDEX), index)?;
        let asked = std::cell::RefCell::new(Vec::new());
        let folder = fetch_with(&|file| {
            asked.borrow_mut().push(file.to_owned());
            Ok((!OPTIONAL.contains(&file)).then(|| dir.path().join(file)))
        })?;
        assert_eq!(folder, dir.path());
        assert_eq!(asked.borrow()[REQUIRED.len() + OPTIONAL.len()..], [INDEX, "one.safetensors", "two.safetensors"]);
        Ok(())
    }

    #[test]
    fn a_file_that_fails_is_not_taken_for_one_that_is_not_there() -> Result<()> {
        let failing = |bad: &'static str| {
            fetch_with(&move |file| match file {
                _ if file == bad => bail!("connection reset"),
                INDEX => Ok(None),
                _ => Ok(Some(Path::new("model").join(file))),
            })
        };
        assert_eq!(failing("nothing")?, Path::new("model"));
        for bad in ["tokenizer.json", "tokenizer_config.json", INDEX] {
            assert!(failing(bad).expect_err("fails").to_string().contains("connection reset"), "{bad}");
        }
        let text = fetch_with(&|_| Ok(None)).expect_err("empty").to_string();
        assert_eq!(text, "config.json is missing");
        Ok(())
    }
}
