//! From the name in a config to a folder on this machine: a local folder, or a download from the hub.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::gguf;
use super::lora::{ADAPTER_CONFIG, ADAPTER_FILE};
use super::weights::{INDEX_FILE, SINGLE_FILE};
use crate::hub::{Found, HubRepo, Kind, is_hub_id};

const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
/// What stands for the tokenizer where that file is not there.
const VOCABULARY: [&str; 2] = ["vocab.json", "merges.txt"];
const OPTIONAL: [&str; 6] =
    [ADDED, "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja", GENERATION, CARD];
/// Tokens that other files name as well, in most folders.
const ADDED: &str = "added_tokens.json";
/// Changes nothing here; it goes into the folder of a model that is saved.
const GENERATION: &str = "generation_config.json";
/// A model's card, which names its licence.
pub(super) const CARD: &str = "README.md";
/// Folders that people keep models in; no owner on the hub is meant by them.
const LOCAL_FOLDERS: [&str; 12] = [
    "checkpoint",
    "checkpoints",
    "ckpt",
    "ckpts",
    "data",
    "examples",
    "model",
    "models",
    "output",
    "outputs",
    "runs",
    "weights",
];

/// Where a model's files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelDir {
    /// The folder.
    pub path: PathBuf,
    /// The commit on the hub that they are of; none for a folder of the user's.
    pub commit: Option<String>,
}

/// The folder of a model: `name_or_path` itself when it is one, else the hub's snapshot of that id, downloaded
/// once into the cache that `HF_HOME` / `HF_HUB_CACHE` name; with `HF_HUB_OFFLINE=1` only the cache is asked.
///
/// # Errors
/// A name that is neither a folder nor a hub id, and downloads that fail, with what to do instead.
pub fn resolve(name_or_path: &str, revision: Option<&str>) -> Result<ModelDir> {
    find(name_or_path, revision, true)
}

/// As [`resolve`], without the weights: what is needed to show prompts is in the folder, the rest may not be.
///
/// # Errors
/// As for [`resolve`].
pub fn resolve_tokenizer(name_or_path: &str, revision: Option<&str>) -> Result<ModelDir> {
    find(name_or_path, revision, false)
}

/// The GGUF file that `model.gguf_file` names: in `dir`, the model's folder, else a path on this machine, else a file
/// of the model's repository at the commit of `dir`.
///
/// # Errors
/// A file that is in none of these places.
pub fn resolve_gguf(file: &str, name_or_path: &str, dir: &ModelDir) -> Result<PathBuf> {
    let places = [dir.path.join(file), PathBuf::from(file)];
    if let Some(place) = places.iter().find(|place| place.is_file()) {
        return Ok(place.clone());
    }
    let Some(commit) = &dir.commit else {
        bail!("model.gguf_file {file:?} is neither in {} nor a file of this machine", dir.path.display());
    };
    let repo = HubRepo::new(Kind::Model, name_or_path, commit)?;
    // a model that is split is of use only as a whole
    for part in gguf::part_names(file).unwrap_or_default().iter().filter(|part| part.as_str() != file) {
        must(&|file| repo.get(file), &|files| repo.missing(files), std::slice::from_ref(part))?;
    }
    match repo.get(file)? {
        Found::Here(path) => Ok(path),
        Found::NotCached { .. } => Err(repo.missing(&[file.to_owned()])),
        Found::Absent => bail!(
            "model.gguf_file {file:?} is neither a file of {name_or_path} on the hub nor one of this machine: \
             download it and give its path"
        ),
    }
}

/// The folder of the adapter that `id` names on the hub: `owner/name`, or `owner/name@revision`.
///
/// # Errors
/// A name that is no id of the hub's, or rather a path; what cannot be downloaded.
pub fn resolve_adapter(id: &str) -> Result<ModelDir> {
    let (id, revision) = id.split_once('@').unwrap_or((id, "main"));
    let here = std::env::current_dir().unwrap_or_default();
    let repo = HubRepo::new(Kind::Model, id, revision)?;
    if let Some(reason) = local_look(id, &here).filter(|_| !repo.is_cached()) {
        bail!("there is no folder {id} in {}, and the hub is not asked for it, since {reason}", here.display());
    }
    let path = fetch_adapter(&|file| repo.get(file), &|files| repo.missing(files))
        .with_context(|| format!("cannot get the adapter {id} from the hub"))?;
    let commit = repo.commit()?.map(str::to_owned);
    tracing::info!("the adapter {id} is of commit {}", commit.as_deref().unwrap_or("unknown"));
    Ok(ModelDir { path, commit })
}

/// As `fetch_with`, for the files of an adapter.
fn fetch_adapter(get: &dyn Fn(&str) -> Result<Found>, missing: &dyn Fn(&[String]) -> anyhow::Error) -> Result<PathBuf> {
    let config = must(get, missing, &[ADAPTER_CONFIG.to_owned()])?;
    if let Found::Absent = get(ADAPTER_FILE)? {
        bail!(
            "{ADAPTER_FILE} is missing: where there is an adapter_model.bin instead, load it with PEFT and save it again, \
             which makes the file"
        );
    }
    must(get, missing, &[ADAPTER_FILE.to_owned()])?;
    config.first().and_then(|path| path.parent()).map(Path::to_owned).context("the hub's cache has no folder for it")
}

fn find(name_or_path: &str, revision: Option<&str>, weights: bool) -> Result<ModelDir> {
    let path = Path::new(name_or_path);
    if path.is_dir() {
        if let Some(revision) = revision {
            tracing::warn!("{name_or_path} is a folder, which has no revisions: {revision:?} is not looked for");
        }
        refuse_dangling(path)?;
        return Ok(ModelDir { path: path.to_owned(), commit: None });
    }
    let here = std::env::current_dir().unwrap_or_default();
    if !is_hub_id(name_or_path) {
        bail!(
            "model.name_or_path: there is no folder {name_or_path:?} in {}, and it is neither a folder nor a hub id \
             (owner/name)",
            here.display()
        );
    }
    let repo = HubRepo::new(Kind::Model, name_or_path, revision.unwrap_or("main"))?;
    if let Some(reason) = local_look(name_or_path, &here).filter(|_| !repo.is_cached()) {
        bail!(
            "model.name_or_path: there is no folder {name_or_path} in {}, and the hub is not asked for it, since \
             {reason}: give the folder's path (shipped configurations name folders of spg's repository, to be run \
             from there)",
            here.display()
        );
    }
    let files = fetch(&repo, weights).with_context(|| {
        let files = if weights {
            format!("tokenizer_config.json, {INDEX_FILE} and its shards")
        } else {
            "tokenizer_config.json".to_owned()
        };
        format!(
            "there is no folder {name_or_path} here, and cannot get {name_or_path} from the hub; to work offline, \
             download config.json, tokenizer.json, {files} into a folder and give that as model.name_or_path"
        )
    });
    let (path, commit) = (files?, repo.commit()?.map(str::to_owned));
    tracing::info!("the model {name_or_path} is of commit {}", commit.as_deref().unwrap_or("unknown"));
    Ok(ModelDir { path, commit })
}

/// A link to nothing looks like a file that is not there, and some files need not be there.
fn refuse_dangling(dir: &Path) -> Result<()> {
    for name in [CONFIG, TOKENIZER, INDEX_FILE].into_iter().chain(VOCABULARY).chain(OPTIONAL) {
        let file = dir.join(name);
        if let Ok(target) = file.read_link()
            && !file.exists()
        {
            bail!(
                "{} is a link to {}, which is not there: put the file back, or delete the link",
                file.display(),
                target.display()
            );
        }
    }
    Ok(())
}

/// Why a name that could be the hub's is taken for a path that leads nowhere: anybody may own such a name there.
fn local_look(name: &str, here: &Path) -> Option<String> {
    let (owner, rest) = name.split_once('/')?;
    let is_file = |ending: &&str| rest.to_ascii_lowercase().ends_with(*ending);
    if here.join(owner).is_dir() {
        Some(format!("{owner} is a folder here"))
    } else if LOCAL_FOLDERS.contains(&owner.to_ascii_lowercase().as_str()) {
        Some(format!("{owner} is a usual name of a folder"))
    } else if rest.starts_with("checkpoint-") {
        Some("it ends like a checkpoint".into())
    } else if [".safetensors", ".gguf", ".json", ".toml", ".bin", ".pt"].iter().any(is_file) {
        Some("it ends like a file".into())
    } else {
        None
    }
}

fn fetch(repo: &HubRepo, weights: bool) -> Result<PathBuf> {
    let (folder, lacking) = fetch_with(&|file| repo.get(file), &|files| repo.missing(files), weights)?;
    if !lacking.is_empty() {
        tracing::warn!(
            "the cache does not know whether the model has {}, which was never fetched: prompts may lack the chat \
             template or special tokens; run once with the network",
            lacking.join(" and ")
        );
    }
    Ok(folder)
}

/// Gets the files of a model through `get`. A failure is an error for optional files too: without its chat template a
/// model would be asked in the wrong form. Gives the folder, and which optional files nobody knows of; `missing` makes
/// the error for files that are not in the cache.
fn fetch_with(
    get: &dyn Fn(&str) -> Result<Found>,
    missing: &dyn Fn(&[String]) -> anyhow::Error,
    weights: bool,
) -> Result<(PathBuf, Vec<&'static str>)> {
    let mut required = must(get, missing, &[CONFIG.to_owned()])?;
    match get(TOKENIZER)? {
        Found::Here(path) => required.push(path),
        Found::Absent => required.extend(
            must(get, missing, &VOCABULARY.map(str::to_owned))
                .with_context(|| format!("the model has no {TOKENIZER}, and not the files that can stand for it"))?,
        ),
        Found::NotCached { .. } => return Err(missing(&[TOKENIZER.to_owned()])),
    }
    let folder =
        required.first().and_then(|path| path.parent()).context("the hub's cache has no folder for the model")?;
    let mut unknown = Vec::new();
    for file in OPTIONAL {
        match get(file)? {
            Found::Here(_) | Found::Absent => {}
            Found::NotCached { .. } if [ADDED, GENERATION, CARD].contains(&file) => {}
            Found::NotCached { exists: true } => return Err(missing(&[file.to_owned()])),
            Found::NotCached { exists: false } => unknown.push(file),
        }
    }
    if weights {
        let shards = match get(INDEX_FILE)? {
            Found::Here(index) => shards(&index)?,
            Found::NotCached { exists: true } => return Err(missing(&[INDEX_FILE.to_owned()])),
            Found::NotCached { exists: false } | Found::Absent => BTreeSet::from([SINGLE_FILE.to_owned()]),
        };
        must(get, missing, &shards.into_iter().collect::<Vec<_>>())?;
    }
    Ok((folder.to_owned(), unknown))
}

/// Gets files that have to be there, or says which are not.
fn must(
    get: &dyn Fn(&str) -> Result<Found>,
    missing: &dyn Fn(&[String]) -> anyhow::Error,
    files: &[String],
) -> Result<Vec<PathBuf>> {
    let (mut here, mut lacking) = (Vec::new(), Vec::new());
    for file in files {
        match get(file)? {
            Found::Here(path) => here.push(path),
            Found::Absent => bail!("{file} is missing"),
            Found::NotCached { .. } => lacking.push(file.clone()),
        }
    }
    if lacking.is_empty() { Ok(here) } else { Err(missing(&lacking)) }
}

/// The files that an index of weights names, each once.
///
/// # Errors
/// An index that cannot be read, or that gives a tensor no file.
pub(super) fn shards(index: &Path) -> Result<BTreeSet<String>> {
    let text = std::fs::read_to_string(index).with_context(|| format!("cannot read {}", index.display()))?;
    let json: Value = serde_json::from_str(&text).with_context(|| format!("{} is not JSON", index.display()))?;
    let map = json.get("weight_map").and_then(Value::as_object);
    let map = map.with_context(|| format!("{} has no weight_map", index.display()))?;
    let file = |(name, file): (&String, &Value)| {
        file.as_str().map(str::to_owned).with_context(|| format!("{}: {name} names no file", index.display()))
    };
    map.iter().map(file).collect()
}

#[cfg(test)]
mod tests;
