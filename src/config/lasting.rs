//! Which keys of a run stay what they are when it goes on from a checkpoint, and which may change.
//!
//! What a checkpoint's state means stays: what the weights were trained on and as, which completions come next, how many
//! updates are made on them, what is rewarded and which objective is raised. What says how fast, how long, how often or
//! where may change, and so may the sizes that trade cost against noise. Files are judged by what is in them (the
//! checkpoint has digests), so that their names may change.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use super::{Command, ConfigFile, RunConfig};

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    Stays,
    /// Stays, where both configurations write it: an adapter that a run starts from says it in its place, and the
    /// checkpoint notes what every adapter is.
    StaysIfWritten,
    May,
}

use Rule::{May, Stays, StaysIfWritten};

/// Every key, or a table for all of its keys; `*` is any name. The longest that fits counts.
const RULES: &[(&str, Rule)] = &[
    ("run.output_dir", May),
    ("run.seed", Stays),
    // a folder that was moved is the same model: its files decide
    ("model.name_or_path", May),
    ("model.revision", May),
    ("model.gguf_file", May),
    ("model.mask_token_id", Stays),
    ("model.end_token_ids", Stays),
    ("model.block_size", Stays),
    ("model.chat_template_kwargs", Stays),
    ("model.dtype", Stays),
    ("model.quantize", Stays),
    ("model.device", May),
    ("model.random_init", Stays),
    ("lora.r", StaysIfWritten),
    ("lora.lora_alpha", StaysIfWritten),
    ("lora.lora_dropout", May),
    ("lora.tf32", May),
    ("lora.target_modules", StaysIfWritten),
    // its adapters are in the checkpoint by now
    ("lora.init_from", May),
    ("task", Stays),
    // the training records decide; the others are only looked at
    ("task.*.data.train", May),
    ("task.*.data.validation", May),
    ("task.*.data.test", May),
    ("task.custom.reward_command.command", May),
    ("task.custom.reward_command.time_limit_seconds", May),
    ("task.custom.reward_command.env", May),
    ("rollout.max_completion_length", Stays),
    ("rollout.block_length", Stays),
    ("rollout.diffusion_steps", Stays),
    ("rollout.temperature", May),
    ("rollout.top_p", May),
    ("rollout.top_k", May),
    ("rollout.remasking", Stays),
    ("rollout.confidence", Stays),
    ("rollout.ranking_temperature", May),
    ("rollout.cfg_scale", Stays),
    // prompts that are left out change the order of the others
    ("rollout.max_prompt_length", Stays),
    ("rollout.truncate_prompts", Stays),
    ("rollout.batch_size", May),
    ("rollout.merge_adapters", May),
    ("rollout.cache", May),
    ("rollout.cache_refresh_steps", May),
    ("rollout.commit", May),
    ("rollout.early_stop", May),
    ("rollout.drift_check", May),
    ("rollout.min_agreement", May),
    // a method's name stays: every key of another one differs
    ("algorithm.*.num_generations", Stays),
    ("algorithm.*.num_iterations", Stays),
    ("algorithm.*.advantage", Stays),
    ("algorithm.*.negative_estimator", Stays),
    ("algorithm.*.mix_weight", May),
    ("algorithm.*.beta", May),
    ("algorithm.*.forward_type", Stays),
    ("algorithm.*.num_t", May),
    ("algorithm.*.min_t", May),
    ("algorithm.*.max_t", May),
    ("algorithm.*.p_mask_prompt", May),
    ("algorithm.*.scope", Stays),
    ("algorithm.*.epsilon", May),
    ("algorithm.*.epsilon_high", May),
    ("algorithm.*.kl_beta", May),
    ("algorithm.*.kl_estimator", Stays),
    ("algorithm.*.psi", May),
    ("algorithm.*.weight_cap", May),
    ("sft.batch_size", Stays),
    ("train.trainable", Stays),
    ("train.max_steps", May),
    // the place in the order of the prompts is counted in phases of so many
    ("train.prompts_per_step", Stays),
    ("train.micro_batch_size", May),
    ("train.activation_checkpointing", May),
    ("train.learning_rate", May),
    ("train.lr_scheduler_type", May),
    ("train.warmup_ratio", May),
    // the moments are sums with these weights
    ("train.adam_beta1", Stays),
    ("train.adam_beta2", Stays),
    ("train.adam_epsilon", May),
    ("train.weight_decay", May),
    ("train.max_grad_norm", May),
    ("train.save_steps", May),
    ("train.save_total_limit", May),
    // the lines of metrics are judged again
    ("train.metric_for_best_model", May),
    ("train.greater_is_better", May),
    ("train.load_best_model_at_end", May),
    ("train.early_stopping_patience", May),
    ("train.early_stopping_threshold", May),
    ("train.gradient_sum", May),
    ("train.gradient_parts_steps", May),
    ("train.report_to", May),
    ("train.project", May),
    ("train.log_completions", May),
    ("train.log_completions_steps", May),
    ("train.num_completions_to_print", May),
    ("eval", May),
];

/// Keys that a subcommand does not look at: whatever they say, they change nothing.
const UNUSED: &[(Command, &[&str])] = &[
    (
        Command::Train,
        &["sft", "task.*.demonstration_template", "task.*.demonstration_solve", "task.*.demonstration_fill"],
    ),
    (
        Command::Sft,
        &[
            "algorithm",
            "train.prompts_per_step",
            "train.gradient_parts_steps",
            "train.log_completions_steps",
            "train.num_completions_to_print",
        ],
    ),
];

/// A key whose value is not that of the checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The key, or whatever else a checkpoint belongs to.
    pub key: String,
    /// The value in the checkpoint, if it has one there.
    pub old: Option<Value>,
    /// The value now.
    pub new: Option<Value>,
}

/// What differs between two runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// Keys that must stay.
    pub refused: Vec<Change>,
    /// Keys that may change.
    pub allowed: Vec<Change>,
}

impl fmt::Display for Change {
    /// `train.learning_rate 0.0003 -> 0.0001`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} -> {}", self.key, self.before(), self.now())
    }
}

impl Change {
    /// The value in the checkpoint, as text.
    pub fn before(&self) -> String {
        text(self.old.as_ref())
    }

    /// The value now, as text.
    pub fn now(&self) -> String {
        text(self.new.as_ref())
    }
}

fn text(value: Option<&Value>) -> String {
    value.map_or_else(|| "none".to_owned(), Value::to_string)
}

impl RunConfig {
    /// The resolved configuration as JSON, for [`RunConfig::changes_since`].
    ///
    /// # Errors
    /// If a path is not UTF-8.
    pub fn to_json(&self) -> serde_json::Result<Value> {
        serde_json::to_value(self.file())
    }

    /// What is not as it was in `old`, a resolved configuration as JSON.
    ///
    /// # Errors
    /// If a path is not UTF-8.
    pub fn changes_since(&self, old: &Value) -> serde_json::Result<Changes> {
        // A key that is younger than the checkpoint has its default there.
        let mut old = old.clone();
        bring_over(&mut old, self.command());
        let old = match serde_json::from_value::<ConfigFile>(old.clone()) {
            Ok(file) => serde_json::to_value(file)?,
            Err(_) => old,
        };
        let new = self.to_json()?;
        let mut changes = Changes::default();
        let (mut before, mut now) = (BTreeMap::new(), BTreeMap::new());
        leaves(&old, "", &mut before);
        leaves(&new, "", &mut now);
        // of another task or algorithm every key differs: its name says it all
        for table in ["task", "algorithm"] {
            let (old, new) = (name_of(&old[table]), name_of(&new[table]));
            if old != new && !is_unused(self.command(), table) {
                changes.refused.push(Change { key: table.to_owned(), old, new });
                before.retain(|key, _| !covers(table, key));
                now.retain(|key, _| !covers(table, key));
            }
        }
        let mut keys: Vec<&String> = before.keys().chain(now.keys()).collect();
        keys.sort();
        keys.dedup();
        for key in keys {
            let (old, new) = (before.get(key), now.get(key));
            if old == new || is_unused(self.command(), key) {
                continue;
            }
            let change = Change { key: key.clone(), old: old.cloned(), new: new.cloned() };
            match rule(key) {
                Some(May) => changes.allowed.push(change),
                Some(StaysIfWritten) if old.is_none() || new.is_none() => {}
                // what nobody has thought about is not taken lightly
                Some(Stays | StaysIfWritten) | None => changes.refused.push(change),
            }
        }
        Ok(changes)
    }
}

/// Brings a configuration of when `[sft]` said what `spg sft` trains to today's form; `spg train` trained adapters.
fn bring_over(old: &mut Value, command: Command) {
    let sft = old.get_mut("sft").and_then(Value::as_object_mut);
    let Some(trainable) = sft.and_then(|sft| sft.remove("trainable")) else { return };
    let is_all = trainable == "all";
    if command == Command::Sft
        && let Some(train) = old.get_mut("train").and_then(Value::as_object_mut)
    {
        train.insert("trainable".to_owned(), trainable);
        if is_all && let Some(lora) = old.get_mut("lora") {
            *lora = Value::Null;
        }
    }
}

/// Every value that is no table, under its full name.
fn leaves(value: &Value, name: &str, found: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(table) => {
            let dot = if name.is_empty() { "" } else { "." };
            table.iter().for_each(|(key, value)| leaves(value, &format!("{name}{dot}{key}"), found));
        }
        Value::Null => {}
        _ => drop(found.insert(name.to_owned(), value.clone())),
    }
}

/// The name of the one table that a table holds.
fn name_of(table: &Value) -> Option<Value> {
    table.as_object()?.keys().next().map(|name| name.as_str().into())
}

fn rule(key: &str) -> Option<Rule> {
    let fitting = RULES.iter().filter(|(pattern, _)| covers(pattern, key));
    fitting.max_by_key(|(pattern, _)| pattern.split('.').count()).map(|&(_, rule)| rule)
}

fn is_unused(command: Command, key: &str) -> bool {
    UNUSED.iter().any(|(of, patterns)| *of == command && patterns.iter().any(|pattern| covers(pattern, key)))
}

/// Whether a pattern is the key or a table that holds it.
fn covers(pattern: &str, key: &str) -> bool {
    let mut parts = key.split('.');
    pattern.split('.').all(|wanted| parts.next().is_some_and(|part| wanted == "*" || wanted == part))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::Split;
    use super::super::readme_tests::documented;
    use super::super::tests::{MINIMAL, resolve};
    use super::*;

    fn changed(assignments: &[&str], command: Command) -> (Vec<String>, Vec<String>) {
        let old = resolve(MINIMAL, &[], command).unwrap().to_json().unwrap();
        let changes = resolve(MINIMAL, assignments, command).unwrap().changes_since(&old).unwrap();
        let shown = |changes: &[Change]| changes.iter().map(Change::to_string).collect();
        (shown(&changes.refused), shown(&changes.allowed))
    }

    #[test]
    fn every_key_there_is_has_been_thought_about_once() {
        let split = |key: String| Split::ALL.map(|split| key.replace("<split>", split.name()));
        let keys: BTreeSet<String> = documented().into_keys().flat_map(split).collect();
        let unclassified: Vec<&String> = keys.iter().filter(|key| rule(key).is_none()).collect();
        assert!(unclassified.is_empty(), "say in RULES whether a resumed run may change {unclassified:?}");
        for (i, (pattern, _)) in RULES.iter().enumerate() {
            assert!(RULES[..i].iter().all(|(other, _)| other != pattern), "{pattern} twice");
            assert!(keys.iter().any(|key| covers(pattern, key)), "{pattern} is no key");
        }
    }

    #[test]
    fn what_the_state_means_stays_and_what_says_how_fast_or_how_long_may_change() {
        let (refused, allowed) = changed(
            &["lora.lora_alpha=32", "train.learning_rate=1e-4", "task.sudoku.data_seed=7", "eval.limit=3"],
            Command::Train,
        );
        assert_eq!(refused, ["lora.lora_alpha 64.0 -> 32.0", "task.sudoku.data_seed 0 -> 7"]);
        assert_eq!(allowed, ["eval.limit 0 -> 3", "train.learning_rate 0.001 -> 0.0001"]);
        assert_eq!(changed(&[], Command::Train), (vec![], vec![]));
        let (refused, allowed) = changed(&["model.quantize=q8_0", "lora.init_from=x"], Command::Train);
        assert_eq!(refused, ["model.quantize none -> \"q8_0\""]);
        assert_eq!(allowed, ["lora.init_from none -> \"x\""]);
        let other = MINIMAL.replace("[task.sudoku]", "[task.countdown]");
        let old = resolve(&other, &[], Command::Train).unwrap().to_json().unwrap();
        let changes = resolve(MINIMAL, &[], Command::Train).unwrap().changes_since(&old).unwrap();
        let refused: Vec<String> = changes.refused.iter().map(Change::to_string).collect();
        assert_eq!(refused, ["task \"countdown\" -> \"sudoku\""]);
    }

    #[test]
    fn keys_that_a_command_does_not_read_are_none_of_its_business() {
        let both = ["sft.batch_size=9", "train.prompts_per_step=4", "task.sudoku.demonstration_solve=0.5"];
        assert_eq!(changed(&both, Command::Train).0, ["train.prompts_per_step 16 -> 4"]);
        let refused = changed(&both, Command::Sft).0;
        assert_eq!(refused, ["sft.batch_size 4 -> 9", "task.sudoku.demonstration_solve 0.3 -> 0.5"]);
    }

    #[test]
    fn a_key_that_is_younger_than_the_checkpoint_has_its_default_there() {
        let now = resolve(MINIMAL, &[], Command::Train).unwrap();
        let mut old = now.to_json().unwrap();
        old["rollout"].as_object_mut().unwrap().remove("cfg_scale");
        assert_eq!(now.changes_since(&old).unwrap(), Changes::default());
        old["rollout"]["a_key_that_is_gone"] = 1.into();
        let refused = now.changes_since(&old).unwrap().refused;
        assert!(refused.iter().any(|c| c.key == "rollout.a_key_that_is_gone"), "{refused:?}");
    }

    #[test]
    fn a_checkpoint_of_when_sft_had_the_key_means_the_same() {
        for (command, trainable, then) in
            [(Command::Sft, "all", "all"), (Command::Sft, "adapters", "adapters"), (Command::Train, "adapters", "all")]
        {
            let now = resolve(MINIMAL, &[&format!("train.trainable={trainable}")], command).unwrap();
            let mut old = resolve(MINIMAL, &[], command).unwrap().to_json().unwrap();
            old["train"].as_object_mut().unwrap().remove("trainable");
            old["sft"]["trainable"] = then.into();
            assert_eq!(now.changes_since(&old).unwrap(), Changes::default(), "{command:?} {trainable}");
        }
        let (refused, _) = changed(&["train.trainable=all"], Command::Train);
        assert_eq!(refused, ["train.trainable \"adapters\" -> \"all\""]);
    }

    #[test]
    fn the_longest_pattern_decides() {
        assert_eq!(rule("task.custom.data.train.columns.question"), Some(May));
        assert_eq!(rule("task.custom.data.validation_size"), Some(Stays));
        assert_eq!(rule("rollout.commit.threshold"), Some(May));
        assert_eq!(rule("rollout.unheard_of"), None);
    }
}
