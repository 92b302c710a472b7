//! How PEFT says which modules it means: names, regular expressions, numbers of layers.
//!
//! A module is known by its path in the model, `model.transformer.blocks.3.q_proj`. Patterns are Python's, so
//! look-around and back-references occur; the engine gives up on those that take too many steps.

use anyhow::{Context, Result, ensure};
use fancy_regex::Regex;
use serde_json::Value;

/// A regular expression of a config, tied to the start of a path.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    /// The key it stands under, for messages.
    key: &'static str,
    written: String,
    regex: Regex,
}

impl Pattern {
    /// `source` is what has to match from the start on; `written` is the part of it that stands in the config.
    fn new(key: &'static str, written: &str, source: &str) -> Result<Self> {
        let regex = Regex::new(&format!(r"\A(?:{source})"))
            .with_context(|| format!("{key}: {written:?} is not a regular expression that can be used"))?;
        Ok(Self { key, written: written.to_owned(), regex })
    }

    /// Python's `re.fullmatch(written, path)`.
    fn whole(key: &'static str, written: &str) -> Result<Self> {
        Self::new(key, written, &format!(r"(?:{written})\z"))
    }

    /// Python's `re.match(rf"(.*\.)?({written})$", path)`: a name, or the end of a path.
    fn ending(key: &'static str, written: &str) -> Result<Self> {
        Self::new(key, written, &format!(r"(.*\.)?({written})$"))
    }

    fn matches(&self, path: &str) -> Result<bool> {
        self.regex.is_match(path).with_context(|| self.cost(path))
    }

    /// The number that the group `idx` matched.
    fn number(&self, path: &str) -> Result<Option<u64>> {
        let found = self.regex.captures(path).with_context(|| self.cost(path))?;
        Ok(found.and_then(|found| found.name("idx")?.as_str().parse().ok()))
    }

    fn cost(&self, path: &str) -> String {
        format!("{}: {:?} cannot be matched with {path}: write it more simply", self.key, self.written)
    }
}

/// A value for modules whose path a key matches (`rank_pattern`, `alpha_pattern`): the first such key counts.
#[derive(Clone, Debug)]
pub(super) struct ByModule<T>(Vec<(Pattern, T)>);

impl<T: Copy> ByModule<T> {
    /// Reads an object of patterns; `read` gives a value, or nothing where it is not `expected`.
    pub fn read(key: &'static str, json: &Value, expected: &str, read: fn(&Value) -> Option<T>) -> Result<Self> {
        let entries = match json {
            Value::Null => return Ok(Self(Vec::new())),
            json => json.as_object().with_context(|| format!("{key} = {json} is not an object of modules"))?,
        };
        let entry = |(name, value): (&String, &Value)| {
            let number = read(value).with_context(|| format!("{key}: {name:?} has {value} instead of {expected}"))?;
            Ok((Pattern::ending(key, name)?, number))
        };
        entries.iter().map(entry).collect::<Result<_>>().map(Self)
    }

    /// The value for a module, if a key matches it.
    pub fn get(&self, path: &str) -> Result<Option<T>> {
        for (pattern, value) in &self.0 {
            if pattern.matches(path)? {
                return Ok(Some(*value));
            }
        }
        Ok(None)
    }
}

/// Names of modules (`target_modules`, `exclude_modules`).
#[derive(Clone, Debug)]
enum Names {
    None,
    /// Paths, or ends of paths after a dot.
    Listed(Vec<String>),
    Pattern(Pattern),
    /// Every linear layer but the head.
    AllLinear,
}

impl Names {
    fn read(key: &'static str, json: &Value) -> Result<Self> {
        Ok(match json {
            Value::Null => Self::None,
            Value::String(text) => Self::Pattern(Pattern::whole(key, text)?),
            json => Self::Listed(strings(key, json)?),
        })
    }

    fn contain(&self, path: &str) -> Result<bool> {
        match self {
            Self::None => Ok(false),
            Self::Listed(names) => Ok(names.iter().any(|name| is_end_of(name, path))),
            Self::Pattern(pattern) => pattern.matches(path),
            Self::AllLinear => Ok(true),
        }
    }
}

/// Which linear layers of the blocks have an adapter.
#[derive(Clone, Debug)]
pub(super) struct Targets {
    names: Names,
    exclude: Names,
    /// Only these layers, unless there are none.
    layers: Vec<u64>,
    /// Where a path has the number of its layer; the first that matches counts.
    layer_numbers: Vec<Pattern>,
    /// Names of weights rather than modules: for a matrix the same adapter.
    parameters: Vec<String>,
}

impl Targets {
    /// Reads the five keys; one that is not there is null.
    ///
    /// # Errors
    /// A value of another type, a pattern that is none, keys that PEFT does not take together.
    pub fn read(key: impl Fn(&str) -> Value) -> Result<Self> {
        let json = key("target_modules");
        let names = match json.as_str() {
            Some(text) if text.eq_ignore_ascii_case("all-linear") => Names::AllLinear,
            _ => Names::read("target_modules", &json)?,
        };
        let exclude = match Names::read("exclude_modules", &key("exclude_modules"))? {
            // PEFT asks whether there is anything
            Names::Pattern(pattern) if pattern.written.is_empty() => Names::None,
            exclude => exclude,
        };
        let layers = layers(&key("layers_to_transform"))?;
        let json = key("layers_pattern");
        let patterns = match &json {
            Value::Null => Vec::new(),
            Value::String(text) if text.is_empty() => Vec::new(),
            Value::String(text) => vec![text.clone()],
            json => strings("layers_pattern", json)?,
        };
        let json = key("target_parameters");
        let parameters = if json.is_null() { Vec::new() } else { strings("target_parameters", &json)? };
        ensure!(
            !matches!(names, Names::None) || !parameters.is_empty(),
            "target_modules is missing: name the layers that have an adapter"
        );
        let listed = matches!(names, Names::Listed(_) | Names::None);
        ensure!(
            listed || (layers.is_empty() && patterns.is_empty()),
            "layers_to_transform and layers_pattern go with a list of target_modules, not with {}: say in the pattern \
             which layers are meant",
            key("target_modules")
        );
        ensure!(
            patterns.is_empty() || !key("layers_to_transform").is_null(),
            "layers_pattern = {} without layers_to_transform: name the layers, or remove it",
            key("layers_pattern")
        );
        let number = |written: &str, before: String| {
            Pattern::new("layers_pattern", written, &format!(r"{before}\.(?P<idx>\d+)\."))
        };
        let layer_numbers = match patterns.is_empty() {
            true => vec![number("", r".*?\.[^.]*".into())?],
            false => patterns.iter().map(|p| number(p, format!(r"(?:^|.*?\.){p}"))).collect::<Result<_>>()?,
        };
        Ok(Self { names, exclude, layers, layer_numbers, parameters })
    }

    /// The path by which patterns know the adapter of a linear layer; nothing if it has none.
    pub fn find(&self, path: &str) -> Result<Option<String>> {
        if self.is_module(path)? {
            return Ok(Some(path.to_owned()));
        }
        let weight = format!("{path}.weight");
        Ok(self.parameters.iter().any(|name| is_end_of(name, &weight)).then_some(weight))
    }

    /// Whether weights are named.
    pub fn has_parameters(&self) -> bool {
        !self.parameters.is_empty()
    }

    fn is_module(&self, path: &str) -> Result<bool> {
        if self.exclude.contain(path)? || !self.names.contain(path)? {
            return Ok(false);
        }
        if self.layers.is_empty() {
            return Ok(true);
        }
        for pattern in &self.layer_numbers {
            if let Some(layer) = pattern.number(path)? {
                return Ok(self.layers.contains(&layer));
            }
        }
        Ok(false)
    }
}

fn is_end_of(name: &str, path: &str) -> bool {
    path.strip_suffix(name).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

fn strings(key: &str, json: &Value) -> Result<Vec<String>> {
    let texts = json.as_array().and_then(|list| list.iter().map(|v| v.as_str().map(str::to_owned)).collect());
    texts.with_context(|| format!("{key} = {json} is not a list of names"))
}

fn layers(json: &Value) -> Result<Vec<u64>> {
    let numbers = match json {
        Value::Null => Some(Vec::new()),
        Value::Array(list) => list.iter().map(Value::as_u64).collect(),
        one => one.as_u64().map(|layer| vec![layer]),
    };
    numbers.with_context(|| format!("layers_to_transform = {json} is neither a layer's number nor a list of them"))
}

#[cfg(test)]
mod tests;
