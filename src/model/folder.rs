//! What makes a folder with weights a model of its own: configuration, tokenizer, chat template, licence, and the code
//! that a configuration of the hub names for other programs.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Map, Value};

use super::source::CARD;
use crate::config::Precision;
use crate::files::is_there;
use crate::text::TEMPLATES_FOLDER;

const CONFIG: &str = "config.json";

/// Copied as they are, where they are there.
const FILES: [&str; 11] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "LICENSE",
];

/// Copies these files of a model, as far as they are there, to a folder beside its trained weights.
///
/// # Errors
/// Names the file.
pub fn complete(model: &Path, dir: &Path) -> Result<()> {
    let (text, config) = read_config(model)?;
    copy_files(model, dir, &config)?;
    std::fs::write(dir.join(CONFIG), text).with_context(|| format!("cannot write {}", dir.join(CONFIG).display()))
}

/// As [`complete`], for weights of another precision. Code that the configuration names and the folder does not hold is
/// looked for in `repo`, the model's id on the hub.
///
/// # Errors
/// As [`complete`].
pub fn complete_as(model: &Path, dir: &Path, dtype: Precision, repo: Option<&str>) -> Result<()> {
    let (_, mut config) = read_config(model)?;
    copy_files(model, dir, &config)?;
    // transformers 5 calls it `dtype`, those before `torch_dtype`
    let keys: Vec<&str> = ["torch_dtype", "dtype"].into_iter().filter(|key| config.contains_key(*key)).collect();
    for key in if keys.is_empty() { vec!["torch_dtype"] } else { keys } {
        config.insert(key.to_owned(), torch_name(dtype).into());
    }
    let missing: Vec<String> = code_files(&config).into_iter().filter(|file| !dir.join(file).exists()).collect();
    match (repo, config.get_mut("auto_map")) {
        (Some(repo), Some(Value::Object(map))) => map.values_mut().for_each(|value| point_to(repo, &missing, value)),
        _ if !missing.is_empty() => tracing::warn!(
            "config.json names code that {} does not hold: {}; transformers loads the merged folder once it is there",
            model.display(),
            missing.join(", ")
        ),
        _ => {}
    }
    let text = serde_json::to_string_pretty(&config)? + "\n";
    std::fs::write(dir.join(CONFIG), text).with_context(|| format!("cannot write {}", dir.join(CONFIG).display()))
}

fn read_config(model: &Path) -> Result<(String, Map<String, Value>)> {
    let path = model.join(CONFIG);
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let config = serde_json::from_str(&text).with_context(|| format!("{} is not a JSON object", path.display()))?;
    Ok((text, config))
}

fn copy_files(model: &Path, dir: &Path, config: &Map<String, Value>) -> Result<()> {
    let copy = |from: &Path, to: &Path| -> Result<()> {
        if is_there(from).with_context(|| format!("cannot copy {}", from.display()))? {
            // the content alone: a file of the cache may be one that nobody writes to
            let bytes = std::fs::read(from).with_context(|| format!("cannot copy {}", from.display()))?;
            std::fs::write(to, bytes).with_context(|| format!("cannot write {}", to.display()))?;
        }
        Ok(())
    };
    for name in FILES.into_iter().chain(code_files(config).iter().map(String::as_str)) {
        copy(&model.join(name), &dir.join(name))?;
    }
    let entries = std::fs::read_dir(model.join(TEMPLATES_FOLDER)).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "jinja")) {
        std::fs::create_dir_all(dir.join(TEMPLATES_FOLDER))
            .with_context(|| format!("cannot create {TEMPLATES_FOLDER}"))?;
        copy(&path, &dir.join(TEMPLATES_FOLDER).join(path.file_name().unwrap_or_default()))?;
    }
    Ok(())
}

/// The licence that a model folder names: in the head of its card, else in its configuration.
pub fn licence(model: &Path) -> Option<String> {
    let card = std::fs::read_to_string(model.join(CARD)).unwrap_or_default();
    let in_head = |key: &str| {
        let mut lines = card.lines().map(str::trim_end).skip_while(|line| line.is_empty());
        let head = (lines.next()? == "---").then(|| lines.take_while(|line| *line != "---"))?;
        let mut rest = head.skip_while(|line| !line.starts_with(&format!("{key}:")));
        let written = rest.next()?[key.len() + 1..].trim();
        // a list has its first entry in the next line
        let value = if written.is_empty() { rest.next()?.trim().strip_prefix("- ")?.trim() } else { written };
        let value = value.trim_matches(['"', '\'']);
        (!value.is_empty()).then(|| value.to_owned())
    };
    let named = match in_head("license") {
        Some(other) if other == "other" => in_head("license_name").or(Some(other)),
        found => found,
    };
    named.or_else(|| Some(read_config(model).ok()?.1.get("license")?.as_str()?.to_owned()))
}

/// PyTorch's name of a precision.
pub fn torch_name(dtype: Precision) -> &'static str {
    match dtype {
        Precision::F32 => "float32",
        Precision::Bf16 => "bfloat16",
        Precision::F16 => "float16",
    }
}

/// Lets a value of `auto_map` name the repository that its code is in, as transformers does.
fn point_to(repo: &str, missing: &[String], value: &mut Value) {
    match value {
        Value::Array(list) => list.iter_mut().for_each(|value| point_to(repo, missing, value)),
        Value::String(name) if module(name).is_some_and(|file| missing.contains(&file)) => {
            *name = format!("{repo}--{name}");
        }
        _ => {}
    }
}

/// The files of `auto_map`, whose values are `module.Class`, a list of these (with null), or `owner/repo--module.Class`,
/// which is not of the folder.
fn code_files(config: &Map<String, Value>) -> Vec<String> {
    let values = config.get("auto_map").and_then(Value::as_object).into_iter().flat_map(|map| map.values());
    let names = values.flat_map(|value| match value {
        Value::Array(list) => list.iter().collect(),
        value => vec![value],
    });
    let mut files: Vec<String> = names.filter_map(|name| module(name.as_str()?)).collect();
    files.sort();
    files.dedup();
    files
}

/// The file of `module.Class`.
fn module(name: &str) -> Option<String> {
    let (module, _) = name.split_once('.')?;
    let plain = !module.is_empty() && module.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    plain.then(|| format!("{module}.py"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_named_code_that_was_not_in_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let (model, dir) = (folder.path().join("model"), folder.path().join("checkpoint"));
        for dir in [&model, &dir] {
            std::fs::create_dir(dir).expect("create");
        }
        let config = r#"{"auto_map": {
            "AutoConfig": "configuration_llada.LLaDAConfig", "AutoModel": "modeling_llada.LLaDAModelLM",
            "AutoModelForCausalLM": "modeling_llada.LLaDAModelLM", "AutoTokenizer": ["tokens.Slow", null],
            "A": "owner/repo--elsewhere.Class", "B": "../outside.Class", "C": 3
        }}"#;
        std::fs::write(model.join(CONFIG), config).expect("write");
        let named = ["configuration_llada.py", "modeling_llada.py", "tokens.py"];
        for name in ["tokenizer.json", "other.py"].iter().chain(&named[..2]) {
            std::fs::write(model.join(name), *name).expect("write");
        }
        assert_eq!(code_files(&serde_json::from_str(config).expect("JSON")), named);
        complete(&model, &dir).expect("copied");
        let mut found: Vec<_> = std::fs::read_dir(&dir).expect("a folder").flatten().map(|e| e.file_name()).collect();
        found.sort();
        assert_eq!(found, [CONFIG, named[0], named[1], "tokenizer.json"].map(std::ffi::OsString::from));
    }
    #[test]
    fn a_config_says_what_the_weights_are_and_where_its_code_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = r#"{"z": 1, "dtype": "float32", "torch_dtype": "float32", "auto_map": {
            "AutoConfig": "configuration_llada.LLaDAConfig", "AutoModel": "modeling_llada.LLaDAModelLM",
            "AutoTokenizer": [null, "tokens.Fast"], "A": "owner/repo--elsewhere.Class"}}"#;
        let written = |config: &str, repo: Option<&str>| -> Value {
            let (model, dir) = (folder.path().join("model"), folder.path().join("merged"));
            for dir in [&model, &dir] {
                let _ = std::fs::remove_dir_all(dir);
                std::fs::create_dir(dir).expect("create");
            }
            std::fs::write(model.join(CONFIG), config).expect("write");
            std::fs::write(model.join("configuration_llada.py"), "class").expect("write");
            std::fs::create_dir(model.join(TEMPLATES_FOLDER)).expect("create");
            std::fs::write(model.join(TEMPLATES_FOLDER).join("default.jinja"), "{{ x }}").expect("write");
            complete_as(&model, &dir, Precision::Bf16, repo).expect("copied");
            assert_eq!(dir.join("configuration_llada.py").is_file(), config != "{}");
            // under the name that the tokenizer and transformers look for: it was another, and the template was lost
            assert!(dir.join("additional_chat_templates/default.jinja").is_file());
            serde_json::from_str(&std::fs::read_to_string(dir.join(CONFIG)).expect("read")).expect("JSON")
        };
        let json = written(config, Some("GSAI-ML/LLaDA-8B-Base"));
        assert_eq!(
            json.as_object().and_then(|map| map.keys().next()).map(String::as_str),
            Some("z"),
            "the order stays"
        );
        assert_eq!((&json["dtype"], &json["torch_dtype"]), (&"bfloat16".into(), &"bfloat16".into()));
        assert_eq!(json["auto_map"]["AutoConfig"], "configuration_llada.LLaDAConfig");
        assert_eq!(json["auto_map"]["AutoModel"], "GSAI-ML/LLaDA-8B-Base--modeling_llada.LLaDAModelLM");
        assert_eq!(json["auto_map"]["AutoTokenizer"][1], "GSAI-ML/LLaDA-8B-Base--tokens.Fast");
        assert_eq!(json["auto_map"]["A"], "owner/repo--elsewhere.Class");
        assert_eq!(written(config, None)["auto_map"]["AutoModel"], "modeling_llada.LLaDAModelLM");
        let json = written("{}", None);
        assert_eq!((json["torch_dtype"].as_str(), json.get("dtype")), (Some("bfloat16"), None));
    }

    #[test]
    fn a_licence_is_read_from_the_head_of_a_card_or_from_the_config() {
        let dir = tempfile::tempdir().expect("a folder");
        let of = |card: &str, config: &str| {
            std::fs::write(dir.path().join(CARD), card).expect("write");
            std::fs::write(dir.path().join(CONFIG), config).expect("write");
            licence(dir.path())
        };
        assert_eq!(of("---\nlicense: mit\n---\n", "{}").as_deref(), Some("mit"));
        assert_eq!(of("---\ntags:\n- a\nlicense:\n- 'apache-2.0'\n---\n", "{}").as_deref(), Some("apache-2.0"));
        let other = "---\nlicense: other\nlicense_name: \"llama3\"\n---\n";
        assert_eq!(of(other, r#"{"license": "mit"}"#).as_deref(), Some("llama3"));
        assert_eq!(of("---\nlicense: other\n---\n", "{}").as_deref(), Some("other"));
        assert_eq!(of("---\ntags: x\n---\nlicense: mit\n", r#"{"license": "mit-0"}"#).as_deref(), Some("mit-0"));
        assert_eq!(of("license: mit\n", "{}"), None);
    }
}
