//! From a path and the command line's changes to the checked run.

use std::collections::HashMap;
use std::path::Path;

use toml::de::{DeTable, DeValue, Error as TomlError};

use super::overrides::Edit;
use super::shipped::{self, PUBLISHED};
use super::{Command, ConfigError, ConfigFile, Overrides, RunConfig};

/// Name of the resolved configuration inside a run folder.
pub const RESOLVED_FILE: &str = "config.toml";

/// Keys that stood in another table once, and where they stand now.
const MOVED: [(&str, &str); 1] = [("trainable", "what was sft.trainable is train.trainable, for `spg train` as well")];

/// Reads the file (or the shipped configuration of that name), applies the changes and checks the result for `command`.
///
/// # Errors
/// [`ConfigError`]: the file cannot be read; a key or value of the file is wrong (with a caret); a change from the
/// command line is wrong; or values do not fit together, all such problems at once.
pub fn load(path: &Path, overrides: &Overrides, command: Command) -> Result<RunConfig, ConfigError> {
    from_text(path, &read(path)?, overrides, command)
}

/// The text that `--config` stands for: that of the file, or of the shipped configuration of that name.
///
/// # Errors
/// [`ConfigError::Read`]
pub fn read(path: &Path) -> Result<String, ConfigError> {
    shipped::read(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })
}

/// The published run: SPG on GSM8K, as `configs/gsm8k.toml` has it.
///
/// # Errors
/// None in practice.
pub fn published() -> Result<RunConfig, ConfigError> {
    let text = shipped::shipped(PUBLISHED).unwrap_or_default();
    from_text(PUBLISHED.as_ref(), text, &Overrides::default(), Command::Train)
}

/// [`load`] for a text in memory; `path` is the name used in messages.
///
/// # Errors
/// As [`load`], without the reading.
pub fn from_text(path: &Path, text: &str, overrides: &Overrides, command: Command) -> Result<RunConfig, ConfigError> {
    let edits = overrides.edits()?;
    let file = merge(path, text, &edits)?;
    RunConfig::new(file, command).map_err(|mut problems| {
        let lines = lines(text);
        let place = |key: &String| {
            let edit = edits.iter().rev().find(|edit| edit.is_of(key));
            edit.map(|edit| edit.origin.clone()).or_else(|| lines.get(key).cloned())
        };
        for problem in &mut problems {
            problem.places = problem.keys.iter().filter_map(place).collect();
        }
        ConfigError::Invalid { path: path.to_owned(), problems }
    })
}

/// The file with the edits in it.
///
/// The text is also parsed alone: only so can a message show the line of the file. A mistake of the file
/// that an edit repairs (a key left out, say) is none.
fn merge(path: &Path, text: &str, edits: &[Edit]) -> Result<ConfigFile, ConfigError> {
    let parse_error = |error: TomlError| ConfigError::Parse { path: path.to_owned(), message: explained(&error) };
    let alone = toml::from_str::<ConfigFile>(text);
    if edits.is_empty() {
        return alone.map_err(parse_error);
    }
    let table: toml::Table = text.parse().map_err(parse_error)?;
    let apply = |edits: &[&Edit]| -> Result<Result<ConfigFile, TomlError>, ConfigError> {
        let mut table = table.clone();
        edits.iter().try_for_each(|edit| edit.apply(&mut table))?;
        Ok(table.try_into())
    };
    let mut rest: Vec<&Edit> = edits.iter().collect();
    let mut error = match (apply(&rest)?, alone) {
        (Ok(file), _) => return Ok(file),
        (Err(merged), Err(alone)) if merged.message() == alone.message() => return Err(parse_error(alone)),
        (Err(merged), _) => merged,
    };
    // Edits that bring the same message alone are to blame; without them the next mistake shows. Those that only fail together
    // are all named.
    let told = |error: &TomlError| explained(error).replace('\n', " ");
    let mut blamed: Vec<String> = Vec::new();
    loop {
        let mut others = Vec::new();
        for &edit in &rest {
            match apply(&[edit])? {
                Err(e) if told(&e) == told(&error) => blamed.push(format!("{}: {}", edit.origin, told(&e))),
                _ => others.push(edit),
            }
        }
        if others.len() == rest.len() {
            let all: Vec<&str> = rest.iter().map(|edit| edit.origin.as_str()).collect();
            blamed.push(format!("{} with {}: {}", path.display(), all.join(" "), told(&error)));
            break;
        }
        rest = others;
        match apply(&rest)? {
            Ok(_) => break,
            Err(next) => error = next,
        }
    }
    Err(ConfigError::Overrides(blamed))
}

/// What toml says, and of a key that has moved, whereto.
fn explained(error: &TomlError) -> String {
    let mut text = error.to_string().trim_end().to_owned();
    for (key, place) in MOVED {
        if error.message().starts_with(&format!("unknown field `{key}`")) {
            text += &format!("; {place}");
        }
    }
    text
}

/// Where every key of the file stands: `line 12`.
fn lines(text: &str) -> HashMap<String, String> {
    fn walk(table: &DeTable<'_>, prefix: &str, text: &str, places: &mut HashMap<String, String>) {
        for (key, value) in table {
            let name = format!("{prefix}{}", key.get_ref());
            let line = text.bytes().take(key.span().start).filter(|&b| b == b'\n').count() + 1;
            if let DeValue::Table(inner) = value.get_ref() {
                walk(inner, &format!("{name}."), text, places);
            }
            places.insert(name, format!("line {line}"));
        }
    }
    let mut places = HashMap::new();
    if let Ok(table) = DeTable::parse(text) {
        walk(table.get_ref(), "", text, &mut places);
    }
    places
}
