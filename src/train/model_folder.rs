//! What makes a folder with trained weights a model of its own: configuration, tokenizer, and the code that a
//! configuration of the hub names for other programs.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::files::is_there;

const CONFIG: &str = "config.json";

const FILES: [&str; 6] = [
    CONFIG,
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "generation_config.json",
];

/// Copies these files of a model, as far as they are there, to a folder beside its trained weights.
///
/// # Errors
/// Names the file.
pub fn complete(model: &Path, dir: &Path) -> Result<()> {
    let path = model.join(CONFIG);
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let config: Value = serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))?;
    let code = code_files(&config);
    for name in FILES.into_iter().chain(code.iter().map(String::as_str)) {
        let from = model.join(name);
        if is_there(&from).with_context(|| format!("cannot copy {}", from.display()))? {
            std::fs::copy(&from, dir.join(name)).with_context(|| format!("cannot copy {}", from.display()))?;
        }
    }
    Ok(())
}

/// The files of `auto_map`, whose values are `module.Class`, a list of these (with null), or `owner/repo--module.Class`,
/// which is not of the folder.
fn code_files(config: &Value) -> Vec<String> {
    let values = config["auto_map"].as_object().into_iter().flat_map(|map| map.values());
    let names = values.flat_map(|value| match value {
        Value::Array(list) => list.iter().collect(),
        value => vec![value],
    });
    let modules = names.filter_map(|name| name.as_str()?.split_once('.').map(|(module, _)| module));
    let plain = |module: &&str| !module.is_empty() && module.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let mut files: Vec<String> = modules.filter(plain).map(|module| format!("{module}.py")).collect();
    files.sort();
    files.dedup();
    files
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
}
