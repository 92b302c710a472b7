//! configs/README.md documents every key there is, with its default, and no other.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

use super::tests::{MINIMAL, folder, resolve};
use super::*;

/// The word in the column of defaults where they differ from task to task.
const BY_TASK: &str = "by task";

/// Every task with its required keys, and then with those optional ones that have no default.
const TASKS: [(&str, &str); 6] = [
    ("[task.gsm8k]", "prompt_template = 'x'\ndemonstration_template = 'x'"),
    ("[task.math]", "prompt_template = 'x'\ndemonstration_template = 'x'"),
    ("[task.countdown]", "prompt_template = 'x'"),
    ("[task.countdown]\n[task.countdown.generate]", ""),
    ("[task.sudoku]", "prompt_template = 'x'"),
    (
        "[task.custom]\nprompt_template = 'x'\nreward_command.command = ['x']\n\
         data.train.path = 'x'\ndata.validation_size = 1",
        "demonstration_template = 'x'\ngrader = 'math'",
    ),
];

/// Every way to name data, and every reward function.
const SHARED: &str = "[task.custom]\nprompt_template = 'x'\n\
    data.train = { path = 'x', columns = { a = 'b' } }\n\
    data.validation = { dataset = 'a/b', name = 'x', split = 'x', revision = 'x' }\n\
    data.test = { dataset = 'a/b', files = ['x'] }\n\
    rewards = { xmlcount = 1, soft_format = 1, strict_format = 1, int = 1, correctness = 1, math_correctness = 1, \
    math_format = 1, countdown = 1, sudoku = 1 }";
const SHARED_SIZES: &str = "[task.custom]\nprompt_template = 'x'\nrewards.int = 1\n\
    data.train.path = 'x'\ndata.validation_size = 1\ndata.test_size = 1";

/// Every leaf as `table.key` with its value.
fn leaves(table: &Table, prefix: &str, found: &mut BTreeMap<String, Value>) {
    for (key, value) in table {
        match value {
            Value::Table(inner) if !["columns", "chat_template_kwargs"].contains(&key.as_str()) => {
                leaves(inner, &format!("{prefix}{key}."), found)
            }
            _ => drop(found.insert(documented_as(&format!("{prefix}{key}")), value.clone())),
        }
    }
}

/// The name under which a key is documented: what all tasks have is there once.
fn documented_as(key: &str) -> String {
    match key.split('.').collect::<Vec<_>>()[..] {
        ["task", _, "data", "train" | "validation" | "test", leaf] => format!("task.<name>.data.<split>.{leaf}"),
        ["task", _, table @ ("data" | "rewards"), leaf] => format!("task.<name>.{table}.{leaf}"),
        _ => key.to_owned(),
    }
}

/// The leaves of `MINIMAL` with this task, resolved: with what is written only, and with every default.
fn keys_of(task: &str, written: &mut BTreeSet<String>, resolved: &mut BTreeMap<String, Value>) {
    let text = MINIMAL.replace("[task.sudoku]", task);
    let mut leaves_written = BTreeMap::new();
    leaves(&text.parse().unwrap(), "", &mut leaves_written);
    written.extend(leaves_written.into_keys());
    let optional = [
        "model.revision=x",
        "model.mask_token_id=7",
        "model.end_token_ids=[1]",
        "model.block_size=8",
        "model.chat_template_kwargs.x=1",
        "lora.init_from=x",
        "rollout.top_k=50",
        "eval.max_completion_length=[40]",
        "eval.block_length=[8]",
        "eval.remasking=['random']",
        "train.early_stopping_patience=3",
    ];
    let table = |assignments: &[&str]| -> Table {
        resolve(&text, assignments, Command::Train).unwrap().to_toml().unwrap().parse().unwrap()
    };
    leaves(&table(&optional), "", resolved);
    // these two exclude each other
    leaves(&table(&["model.quantize='q8_0'"]), "", resolved);
    leaves(&table(&["model.gguf_file='x'"]), "", resolved);
}

/// What the file says: key and default.
pub(super) fn documented() -> BTreeMap<String, String> {
    let readme = std::fs::read_to_string(folder().join("README.md")).unwrap();
    let mut section = String::new();
    let mut found = BTreeMap::new();
    for line in readme.lines() {
        if let Some(heading) = line.strip_prefix("## `[") {
            section = heading.trim_end_matches("]`").to_owned();
        }
        let cells: Vec<&str> = line.split(" | ").collect();
        if let (false, [key, default, _meaning]) = (section.is_empty(), cells.as_slice())
            && let Some(key) = key.strip_prefix("| `")
        {
            let key = format!("{section}.{}", key.trim_end_matches('`'));
            assert!(found.insert(key.clone(), default.trim_matches('`').to_owned()).is_none(), "{key} twice");
        }
    }
    found
}

/// Every key there is.
struct Schema {
    /// Those that have to be written.
    required: BTreeSet<String>,
    /// All of them, each with a value that it can have.
    keys: BTreeMap<String, Value>,
    /// Those with a default.
    defaults: BTreeMap<String, Value>,
}

fn schema() -> Schema {
    let (mut required, mut ignored) = (BTreeSet::new(), BTreeSet::new());
    let (mut schema, mut defaults) = (BTreeMap::new(), BTreeMap::new());
    for (task, optional) in TASKS {
        let text = MINIMAL.replace("[task.sudoku]", task);
        let plain: Table = resolve(&text, &[], Command::Train).unwrap().to_toml().unwrap().parse().unwrap();
        leaves(&plain, "", &mut defaults);
        keys_of(task, &mut required, &mut schema);
        let (head, tail) = task.split_once('\n').unwrap_or((task, ""));
        keys_of(&format!("{head}\n{optional}\n{tail}"), &mut ignored, &mut schema);
    }
    for task in [SHARED, SHARED_SIZES] {
        keys_of(task, &mut ignored, &mut schema);
    }
    for name in AlgorithmTable::NAMES {
        let text = MINIMAL.replace("[algorithm.spg]", &format!("[algorithm.{name}]"));
        let even = ["train.max_steps=24", "train.save_steps=24", "eval.eval_steps=24"];
        let found = |more: &[&str]| {
            let config = resolve(&text, &[&even, more].concat(), Command::Train).unwrap();
            let mut found = BTreeMap::new();
            leaves(&config.to_toml().unwrap().parse().unwrap(), "", &mut found);
            found.retain(|key, _| key.starts_with("algorithm."));
            found
        };
        let plain = found(&[]);
        if plain.contains_key(&format!("algorithm.{name}.epsilon")) {
            schema.extend(found(&[&format!("algorithm.{name}.epsilon_high=0.3")]));
        }
        schema.extend(plain.clone());
        defaults.extend(plain);
    }
    Schema { required, keys: schema, defaults }
}

/// The keys that take whole numbers, or lists of them.
pub(super) fn whole_numbers() -> Vec<String> {
    let is_whole = |value: &Value| match value {
        Value::Integer(_) => true,
        Value::Array(list) => list.iter().any(Value::is_integer),
        _ => false,
    };
    schema().keys.into_iter().filter(|(_, value)| is_whole(value)).map(|(key, _)| key).collect()
}

#[test]
fn the_readme_documents_every_key_and_its_default() {
    let documented = documented();
    let Schema { required, keys: schema, defaults } = schema();
    let missing: Vec<&String> = schema.keys().filter(|k| !documented.contains_key(*k)).collect();
    assert!(missing.is_empty(), "not in configs/README.md: {missing:?}");
    for (key, default) in &documented {
        assert!(schema.contains_key(key), "configs/README.md documents `{key}`, which is no key");
        match default.as_str() {
            BY_TASK => assert!(key.starts_with("task.<name>."), "{key} is one task's"),
            "required" => assert!(required.contains(key), "{key} is not required"),
            "none" => assert!(!defaults.contains_key(key), "{key} has a default"),
            text => assert_eq!(text.parse::<Value>().as_ref().ok(), defaults.get(key), "default of {key}"),
        }
    }
}
