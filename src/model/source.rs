//! From the name in a config to a folder on this machine: a local folder, or a download from the hub.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::hub::{HubRepo, Kind, is_hub_id};

const INDEX: &str = "model.safetensors.index.json";
const REQUIRED: [&str; 2] = ["config.json", "tokenizer.json"];
const OPTIONAL: [&str; 4] =
    ["tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja", "generation_config.json"];

/// The folder of a model: `name_or_path` itself when it is one, else the hub's snapshot of that id, downloaded
/// once into the cache that `HF_HOME` / `HF_HUB_CACHE` name; with `HF_HUB_OFFLINE=1` only the cache is asked.
///
/// # Errors
/// A name that is neither a folder nor a hub id, and downloads that fail, with what to do instead.
pub fn resolve(name_or_path: &str, revision: Option<&str>) -> Result<PathBuf> {
    find(name_or_path, revision, true)
}

/// As [`resolve`], without the weights: what is needed to show prompts is in the folder, the rest may not be.
///
/// # Errors
/// As for [`resolve`].
pub fn resolve_tokenizer(name_or_path: &str, revision: Option<&str>) -> Result<PathBuf> {
    find(name_or_path, revision, false)
}

/// The GGUF file that `model.gguf_file` names: in `dir`, the model's folder, else a path on this machine, else a file
/// of the model's repository.
///
/// # Errors
/// A file that is in none of these places.
pub fn resolve_gguf(file: &str, name_or_path: &str, dir: &Path, revision: Option<&str>) -> Result<PathBuf> {
    let places = [dir.join(file), PathBuf::from(file)];
    if let Some(place) = places.iter().find(|place| place.is_file()) {
        return Ok(place.clone());
    }
    if Path::new(name_or_path).is_dir() || !is_hub_id(name_or_path) {
        bail!("model.gguf_file {file:?} is neither in {} nor a file of this machine", dir.display());
    }
    let repo = HubRepo::new(Kind::Model, name_or_path, revision.unwrap_or("main"))?;
    repo.get(file)?.with_context(|| {
        format!(
            "model.gguf_file {file:?} is neither a file of {name_or_path} on the hub nor one of this machine: \
             download it and give its path"
        )
    })
}

fn find(name_or_path: &str, revision: Option<&str>, weights: bool) -> Result<PathBuf> {
    let path = Path::new(name_or_path);
    if path.is_dir() {
        return Ok(path.to_owned());
    }
    if !is_hub_id(name_or_path) {
        bail!("model.name_or_path {name_or_path:?} is neither a folder nor a hub id (owner/name)");
    }
    fetch(name_or_path, revision.unwrap_or("main"), weights).with_context(|| {
        let files = if weights {
            format!("tokenizer_config.json, {INDEX} and its shards")
        } else {
            "tokenizer_config.json".to_owned()
        };
        format!(
            "cannot get {name_or_path} from the hub; to work offline, download config.json, tokenizer.json, \
             {files} into a folder and give that as model.name_or_path"
        )
    })
}

fn fetch(id: &str, revision: &str, weights: bool) -> Result<PathBuf> {
    let repo = HubRepo::new(Kind::Model, id, revision)?;
    let folder = fetch_with(&|file| repo.get(file), weights);
    if repo.is_offline() { folder.context("HF_HUB_OFFLINE is set: only the cache was asked") } else { folder }
}

/// Gets the files of a model through `get`, which returns where it put it, or nothing if the model has no such file.
/// A failure is an error for optional files too: without its chat template a model would be asked in the wrong form.
fn fetch_with(get: &dyn Fn(&str) -> Result<Option<PathBuf>>, weights: bool) -> Result<PathBuf> {
    let must = |file: &str| get(file)?.with_context(|| format!("{file} is missing"));
    let mut folder = None;
    for file in REQUIRED {
        folder = must(file)?.parent().map(Path::to_owned);
    }
    for file in OPTIONAL {
        get(file)?;
    }
    let shards = match weights.then(|| get(INDEX)).transpose()? {
        Some(Some(index)) => shards(&index)?,
        Some(None) => BTreeSet::from([super::weights::SINGLE_FILE.to_owned()]),
        None => BTreeSet::new(),
    };
    for shard in shards {
        must(&shard)?;
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
    fn what_is_neither_a_folder_nor_an_id_is_refused() {
        for find in [resolve, resolve_tokenizer] {
            let error = find("no/such/folder", None).expect_err("not there").to_string();
            assert!(error.contains("neither a folder nor a hub id"), "{error}");
        }
    }

    #[test]
    fn all_shards_of_an_index_are_fetched() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let index = r#"{"weight_map": {"a": "one.safetensors", "b": "two.safetensors", "c": "one.safetensors"}}"#;
        std::fs::write(dir.path().join(INDEX), index)?;
        let asked = std::cell::RefCell::new(Vec::new());
        let folder = fetch_with(
            &|file| {
                asked.borrow_mut().push(file.to_owned());
                Ok((!OPTIONAL.contains(&file)).then(|| dir.path().join(file)))
            },
            true,
        )?;
        assert_eq!(folder, dir.path());
        assert_eq!(asked.borrow()[REQUIRED.len() + OPTIONAL.len()..], [INDEX, "one.safetensors", "two.safetensors"]);
        Ok(())
    }

    #[test]
    fn a_file_that_fails_is_not_taken_for_one_that_is_not_there() -> Result<()> {
        let failing = |bad: &'static str| {
            fetch_with(
                &move |file| match file {
                    _ if file == bad => bail!("connection reset"),
                    INDEX => Ok(None),
                    _ => Ok(Some(Path::new("model").join(file))),
                },
                true,
            )
        };
        assert_eq!(failing("nothing")?, Path::new("model"));
        for bad in ["tokenizer.json", "tokenizer_config.json", INDEX] {
            assert!(failing(bad).expect_err("fails").to_string().contains("connection reset"), "{bad}");
        }
        let text = fetch_with(&|_| Ok(None), true).expect_err("empty").to_string();
        assert_eq!(text, "config.json is missing");
        Ok(())
    }

    #[test]
    fn no_weights_are_fetched_for_a_tokenizer() -> Result<()> {
        let asked = std::cell::RefCell::new(Vec::new());
        let get = |file: &str| {
            asked.borrow_mut().push(file.to_owned());
            Ok(Some(Path::new("model").join(file)))
        };
        assert_eq!(fetch_with(&get, false)?, Path::new("model"));
        assert_eq!(*asked.borrow(), [&REQUIRED[..], &OPTIONAL[..]].concat());
        Ok(())
    }
}
