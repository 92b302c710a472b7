//! Where a model folder keeps its chat template.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::super::settings::Settings;
use super::super::{Result, TextError, read};

/// The file for a single template.
const FILE: &str = "chat_template.jinja";
/// The folder for more of them, named by their files.
pub const TEMPLATES_FOLDER: &str = "additional_chat_templates";
/// The template that is used where nobody asks for another one.
const DEFAULT: &str = "default";

/// The template that counts, and the file that holds it: files win over `tokenizer_config.json`, and of several
/// templates it is the one named `default`.
///
/// # Errors
/// Templates of which none is the default; files that cannot be read.
pub(super) fn find(dir: &Path, settings: &Settings) -> Result<Option<(PathBuf, String)>> {
    let folder = dir.join(TEMPLATES_FOLDER);
    for file in [folder.join(format!("{DEFAULT}.jinja")), dir.join(FILE)] {
        if let Some(source) = read(&file)? {
            return Ok(Some((file, source)));
        }
    }
    let others = std::fs::read_dir(&folder).into_iter().flatten().flatten();
    if others.map(|entry| entry.path()).any(|path| path.extension().is_some_and(|ending| ending == "jinja")) {
        let reason = format!("it has chat templates, but there is no {FILE} beside it");
        return Err(TextError::Invalid { file: folder, reason });
    }
    let file = settings.file().to_owned();
    match in_config(settings.field("chat_template")) {
        Ok(source) => Ok(source.map(|source| (file, source))),
        Err(reason) => Err(TextError::Invalid { file, reason }),
    }
}

/// The template in a value of `tokenizer_config.json`: a string, a list of `{name, template}`, or an object by name.
fn in_config(value: &Value) -> Result<Option<String>, String> {
    let default = match value {
        Value::Null => return Ok(None),
        Value::String(source) => return Ok(Some(source.clone())),
        Value::Array(named) => named.iter().rfind(|entry| entry["name"] == DEFAULT).map(|entry| &entry["template"]),
        Value::Object(named) => named.get(DEFAULT),
        _ => return Err("`chat_template` is neither a string nor a list".into()),
    };
    match default {
        Some(Value::String(source)) => Ok(Some(source.clone())),
        _ => Err(format!("`chat_template` has several templates and none named `{DEFAULT}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn of_several_templates_the_default_counts() {
        let list = json!([{"name": "default", "template": "old"}, {"name": "default", "template": "new"}]);
        assert_eq!(in_config(&list), Ok(Some("new".into())));
        assert_eq!(in_config(&json!({"tool_use": "no", "default": "yes"})), Ok(Some("yes".into())));
        assert!(in_config(&json!({"tool_use": "no"})).unwrap_err().contains("none named `default`"));
    }

    #[test]
    fn a_folder_of_templates_without_a_default_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join(TEMPLATES_FOLDER);
        std::fs::create_dir(&folder).unwrap();
        let find = || find(dir.path(), &Settings::default());
        assert!(find().unwrap().is_none());
        std::fs::write(folder.join("rag.jinja"), "rag").unwrap();
        assert!(find().unwrap_err().to_string().contains("additional_chat_templates"));
        std::fs::write(dir.path().join(FILE), "one").unwrap();
        assert_eq!(find().unwrap().unwrap().1, "one");
        std::fs::write(folder.join("default.jinja"), "other").unwrap();
        assert_eq!(find().unwrap().unwrap().1, "other");
    }
}
