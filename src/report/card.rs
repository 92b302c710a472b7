//! The card of a folder with trained weights: `README.md` as the Hugging Face hub reads it, with the base model, the data,
//! the method, the held-out figures and the configuration. Pure: from what is known to one text.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::{Row, setting_and_figure};
use crate::runtime;
use crate::terminal::shown_in_line;

/// The file's name.
pub const CARD_FILE: &str = "README.md";

/// What a folder holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CardKind {
    /// Adapters in PEFT's format.
    Adapter,
    /// A model all of whose weights were trained.
    Model,
    /// A model with adapters put into it.
    Merged,
}

/// All that a card tells.
#[derive(Clone, Copy, Debug)]
pub struct Card<'a> {
    /// What the folder holds.
    pub kind: CardKind,
    /// Folder or hub id of the base model.
    pub base: &'a str,
    /// Its commit on the hub; none for a folder.
    pub commit: Option<&'a str>,
    /// Its licence, where it names one.
    pub licence: Option<&'a str>,
    /// How it was trained, where that is known.
    pub training: Option<Training<'a>>,
}

/// The run that weights come from.
#[derive(Clone, Copy, Debug)]
pub struct Training<'a> {
    /// `train` or `sft`.
    pub command: &'a str,
    /// Updates made.
    pub step: usize,
    /// The resolved configuration.
    pub config: &'a Value,
    /// The lines of its metrics.
    pub rows: &'a [Row],
    /// Revision of the program.
    pub revision: &'a str,
}

impl Card<'_> {
    /// The text of the file.
    pub fn text(&self) -> String {
        let mut text = self.head();
        let title = match self.kind {
            CardKind::Adapter => "LoRA adapters for",
            CardKind::Model | CardKind::Merged => "A fine-tuned",
        };
        let _ = writeln!(text, "\n# {title} {}\n", code(self.base));
        text += match self.kind {
            CardKind::Adapter => "Adapters of a masked diffusion language model, in PEFT's format.",
            CardKind::Model => "A masked diffusion language model, all weights trained.",
            CardKind::Merged => "A masked diffusion language model with adapters merged into its weights.",
        };
        text += "\n\n| | |\n|---|---|\n";
        for (name, value) in self.facts() {
            let _ = writeln!(text, "| {name} | {value} |");
        }
        if let Some(training) = &self.training {
            text += &training.held_out();
            text += &training.configuration();
        }
        if self.commit.is_none() {
            text += "\nThe base model was a folder, not one of the hub: give its hub id as `base_model` before this is \
                     published.\n";
        }
        text
    }

    /// What the hub reads.
    fn head(&self) -> String {
        let mut text = "---\n".to_owned();
        // of a model that was trained from random weights the base gave the sizes only
        if !self.training.is_some_and(|training| training.is_from_scratch()) {
            let _ = writeln!(text, "base_model: {}", yaml(self.base));
        }
        let (library, tags) = match self.kind {
            CardKind::Adapter => ("peft", &["spg", "masked-diffusion", "lora"][..]),
            CardKind::Model | CardKind::Merged => ("transformers", &["spg", "masked-diffusion"][..]),
        };
        let _ = writeln!(text, "library_name: {library}");
        // weights of the base are in the folder; adapters are their author's
        if let Some(licence) = self.licence.filter(|_| self.kind != CardKind::Adapter) {
            let _ = writeln!(text, "license: {}", yaml(licence));
        }
        text += "tags:\n";
        for tag in tags {
            let _ = writeln!(text, "- {tag}");
        }
        text + "---\n"
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let commit = self.commit.map(|commit| format!(", commit {}", code(commit))).unwrap_or_default();
        let mut facts = vec![("base model", code(self.base) + &commit)];
        facts.extend(self.licence.map(|licence| ("licence of the base model", code(licence))));
        if let Some(training) = &self.training {
            facts.extend(training.facts());
        }
        let trained = match &self.training {
            Some(training) if training.revision != runtime::REVISION => {
                format!("; trained by revision {}", code(training.revision))
            }
            _ => String::new(),
        };
        facts.push(("made with", format!("spg {}{trained}", runtime::VERSION)));
        facts
    }
}

impl Training<'_> {
    fn is_from_scratch(&self) -> bool {
        self.config["model"]["random_init"] == true
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let mut facts = Vec::new();
        if self.is_from_scratch() {
            facts.push(("weights at first", "random; only the sizes are the base model's".to_owned()));
        }
        if let Some((task, table)) = named(&self.config["task"]) {
            facts.push(("task", code(task)));
            facts.extend(data(table).map(|data| ("training data", data)));
        }
        facts.push((
            "method",
            match (self.command, named(&self.config["algorithm"])) {
                ("sft", _) => "supervised fine-tuning on demonstrations (`spg sft`)".to_owned(),
                (_, Some((method, _))) => format!("reinforcement learning with {} (`spg train`)", code(method)),
                (command, None) => code(&format!("spg {command}")),
            },
        ));
        let of = self.config["train"]["max_steps"].as_u64().map(|most| format!(" of {most}")).unwrap_or_default();
        facts.push(("updates", format!("{}{of}", self.step)));
        let lora = &self.config["lora"];
        if let (Some(r), Some(alpha)) = (lora["r"].as_u64(), lora["lora_alpha"].as_f64()) {
            let targets = match &lora["target_modules"] {
                Value::Array(names) => names.iter().filter_map(Value::as_str).map(code).collect::<Vec<_>>().join(", "),
                other => code(other.as_str().unwrap_or("as in lora.init_from")),
            };
            facts.push(("adapters", format!("rank {r}, alpha {alpha}, modules {targets}")));
        }
        facts
    }

    /// The first and the last evaluation up to here, setting by setting.
    fn held_out(&self) -> String {
        let mut evaluations = self.rows.iter().filter(|row| row.is_evaluation() && row.step() <= self.step);
        let Some(first) = evaluations.next() else { return String::new() };
        let last = evaluations.next_back();
        let mut labels: Vec<&str> = Vec::new();
        for (key, _) in first.iter() {
            let label = setting_and_figure(key).map(|(label, _)| label);
            labels.extend(label.filter(|label| !labels.contains(label)));
        }
        let split = self.config["eval"]["split"].as_str().unwrap_or("validation");
        let mut text = format!(
            "\n## Held-out figures\n\nOn {} records, before and after:\n\n\
             | decoding | update | records | accuracy | solved | exact | reward |\n|---|---|---|---|---|---|---|\n",
            code(split)
        );
        for label in labels {
            for row in [Some(first), last].into_iter().flatten() {
                let number = |name: &str| row.number(&format!("eval/{label}/{name}"));
                let percent = |name: &str| number(name).map_or("-".to_owned(), |x| format!("{:.1} %", 100.0 * x));
                let spread = number("accuracy_stderr").map(|x| format!(" ± {:.1}", 100.0 * x)).unwrap_or_default();
                let _ = writeln!(
                    text,
                    "| {} | {} | {} | {}{spread} | {} | {} | {} |",
                    code(label),
                    row.step(),
                    number("items").map_or("-".to_owned(), |items| items.to_string()),
                    percent("accuracy"),
                    percent("solved"),
                    percent("exact"),
                    number("reward").map_or("-".to_owned(), |x| format!("{x:.3}")),
                );
            }
        }
        text
    }

    /// The tables of the configuration that say how the weights came about.
    fn configuration(&self) -> String {
        let config = self.config;
        let mut tables = Map::new();
        tables.insert("run".into(), json!({ "seed": config["run"]["seed"] }));
        let model =
            ["dtype", "quantize", "gguf_file", "random_init"].map(|key| (key.to_owned(), config["model"][key].clone()));
        tables.insert("model".into(), Value::Object(model.into_iter().collect()));
        for table in ["lora", "rollout", "algorithm", "sft", "train"] {
            tables.insert(table.into(), config[table].clone());
        }
        let mut tables = Value::Object(tables);
        drop_nulls(&mut tables);
        let toml = toml::to_string(&tables).unwrap_or_default();
        if config.is_null() || toml.is_empty() {
            return String::new();
        }
        let mut fence = "```".to_owned();
        while toml.contains(&fence) {
            fence.push('`');
        }
        format!("\n<details><summary>Configuration</summary>\n\n{fence}toml\n{toml}{fence}\n\n</details>\n")
    }
}

/// The one entry of a table such as `[task.<name>]`.
fn named(table: &Value) -> Option<(&str, &Value)> {
    table.as_object()?.iter().next().map(|(name, table)| (name.as_str(), table))
}

/// Where the training records of a task come from.
fn data(task: &Value) -> Option<String> {
    let made = |seed: &Value| Some(format!("made by spg from seed {}", seed.as_u64()?));
    if !task["generate"].is_null() {
        return made(&task["generate"]["data_seed"]);
    }
    let train = &task["data"]["train"];
    if let Some(dataset) = train["dataset"].as_str() {
        let part = ["name", "split", "revision"].iter().filter_map(|key| train[key].as_str()).map(code);
        let part: Vec<String> = part.collect();
        return Some(format!("{} ({})", code(dataset), part.join(", ")));
    }
    match train["path"].as_array() {
        Some(paths) => Some(paths.iter().filter_map(Value::as_str).map(code).collect::<Vec<_>>().join(", ")),
        None => made(&task["data_seed"]),
    }
}

/// TOML has no word for nothing.
fn drop_nulls(value: &mut Value) {
    if let Value::Object(map) = value {
        map.retain(|_, value| !value.is_null());
        map.values_mut().for_each(drop_nulls);
        map.retain(|_, value| value.as_object().is_none_or(|map| !map.is_empty()));
    }
}

/// Text as Markdown shows it, in a table as well: in code, so that nothing of it is obeyed.
fn code(text: &str) -> String {
    format!("`{}`", shown_in_line(text).replace('`', "'").replace('|', "\\|"))
}

/// A text as YAML reads it: plain where that cannot be taken for anything else.
fn yaml(text: &str) -> String {
    const WORDS: [&str; 9] = ["true", "false", "yes", "no", "on", "off", "y", "n", "null"];
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    let is_word = WORDS.iter().any(|word| text.eq_ignore_ascii_case(word));
    match text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(plain) && !is_word {
        true => text.to_owned(),
        false => Value::from(shown_in_line(text)).to_string(),
    }
}

#[cfg(test)]
mod tests;
