//! The largest whole numbers that keys take. Far above what anybody means, and far below what overflows a product of
//! sizes or fills a memory before anything else can be said about it.

use serde_json::Value;

use super::check::Findings;
use super::{ConfigFile, Problem};

/// What is counted, and how much of it there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound {
    /// Updates of a run, and between two events of one.
    Updates,
    /// Tokens of a sequence.
    Tokens,
    /// Completions, prompts or demonstrations that are worked on together.
    Together,
    /// Records of a data set.
    Records,
    /// Something small whose memory or time grows with it.
    Small,
    /// Ranks of adapters.
    Rank,
    /// Nothing grows with it: seeds, and limits of what is there anyway.
    Any,
}

impl Bound {
    fn largest(self) -> u64 {
        match self {
            Self::Updates => 1_000_000_000,
            Self::Tokens => 1 << 20,
            Self::Together => 1 << 20,
            Self::Records => 100_000_000,
            Self::Small => 1 << 16,
            Self::Rank => 1 << 16,
            Self::Any => u64::MAX,
        }
    }
}

/// Every key that takes whole numbers, by its last part: what keys of that name count is the same in all tables.
const BOUNDS: &[(&str, Bound)] = &[
    ("activation_checkpointing", Bound::Small),
    ("batch_size", Bound::Together),
    ("block_length", Bound::Tokens),
    ("block_size", Bound::Tokens),
    ("cache_refresh_steps", Bound::Any),
    ("data_seed", Bound::Any),
    ("diffusion_steps", Bound::Tokens),
    ("drift_check", Bound::Any),
    ("early_stopping_patience", Bound::Any),
    ("end_token_ids", Bound::Any),
    ("eval_steps", Bound::Updates),
    ("few_shot", Bound::Small),
    ("gradient_parts_steps", Bound::Updates),
    ("limit", Bound::Any),
    ("log_completions_steps", Bound::Updates),
    ("mask_token_id", Bound::Any),
    ("max_completion_length", Bound::Tokens),
    ("max_empty_cells", Bound::Small),
    ("max_number", Bound::Small),
    ("max_prompt_length", Bound::Tokens),
    ("max_steps", Bound::Updates),
    ("max_target", Bound::Records),
    ("micro_batch_size", Bound::Together),
    ("min_empty_cells", Bound::Small),
    ("min_number", Bound::Small),
    ("num_completions_to_print", Bound::Any),
    ("num_generations", Bound::Small),
    ("num_iterations", Bound::Small),
    ("num_numbers", Bound::Small),
    ("num_samples", Bound::Small),
    ("num_t", Bound::Small),
    ("prompts_per_step", Bound::Together),
    ("puzzles_per_eval_grid", Bound::Records),
    ("puzzles_per_train_grid", Bound::Records),
    ("r", Bound::Rank),
    ("save_steps", Bound::Updates),
    ("save_total_limit", Bound::Any),
    ("seed", Bound::Any),
    ("test_size", Bound::Records),
    ("top_k", Bound::Any),
    ("train_grids", Bound::Records),
    ("train_size", Bound::Records),
    ("validation_grids", Bound::Records),
    ("validation_size", Bound::Records),
];

fn bound(key: &str) -> Option<Bound> {
    let leaf = key.rsplit('.').next().unwrap_or(key);
    BOUNDS.iter().find(|(name, _)| *name == leaf).map(|(_, bound)| *bound)
}

/// Whether a key takes so large a number.
///
/// # Errors
/// The number, and the largest one.
pub fn check_bound(key: &str, number: u64) -> Result<(), String> {
    let largest = bound(key).map_or(u64::MAX, Bound::largest);
    if number > largest {
        return Err(format!("{number} is too large: at most {largest} is meant by anybody"));
    }
    Ok(())
}

/// Numbers that are too large, and completions of a phase that are too many. What else is checked of a configuration
/// computes with its numbers, and is checked after this.
pub(super) fn check_bounds(file: &ConfigFile) -> Vec<Problem> {
    let mut found = Findings::default();
    // what is no JSON has been refused as TOML
    let value = serde_json::to_value(file).unwrap_or_default();
    walk(&value, "", &mut |key, number| {
        if let Err(too_large) = check_bound(key, number) {
            found.add(&[key], format!("{key} = {too_large}"));
        }
    });
    if let Some(algorithm) = &file.algorithm {
        let (prompts, per_prompt) = (file.train.prompts_per_step.get(), algorithm.recipe().num_generations.get());
        let largest = Bound::Together.largest();
        if prompts.checked_mul(per_prompt).is_none_or(|all| all as u64 > largest) {
            let key = format!("algorithm.{}.num_generations", algorithm.name());
            let keys = ["train.prompts_per_step", key.as_str()];
            let text = format!(
                "{} = {prompts} with {key} = {per_prompt} makes more than {largest} completions a phase: lower one",
                keys[0]
            );
            found.add(&keys, text);
        }
    }
    found.into_problems()
}

/// All whole numbers with their keys, those of lists under the list's.
fn walk(value: &Value, key: &str, seen: &mut impl FnMut(&str, u64)) {
    match value {
        Value::Object(table) => {
            for (name, value) in table {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                walk(value, &key, seen);
            }
        }
        Value::Array(list) => list.iter().for_each(|value| walk(value, key, seen)),
        Value::Number(number) => {
            if let Some(number) = number.as_u64() {
                seen(key, number);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::Command;
    use super::super::tests::{MINIMAL, resolve};
    use super::*;

    fn problem(set: &[&str]) -> String {
        resolve(MINIMAL, set, Command::Train).err().unwrap_or_default()
    }

    #[test]
    fn sizes_overflowed_or_took_all_memory_or_hung() {
        for (key, largest) in [
            ("lora.r", 65536),
            ("rollout.max_completion_length", 1048576),
            ("rollout.diffusion_steps", 1048576),
            ("rollout.block_length", 1048576),
            ("rollout.batch_size", 1048576),
            ("train.max_steps", 1000000000),
            ("train.prompts_per_step", 1048576),
            ("train.micro_batch_size", 1048576),
            ("algorithm.spg.num_generations", 65536),
            ("algorithm.spg.num_t", 65536),
            ("algorithm.spg.num_iterations", 65536),
            ("eval.num_samples", 65536),
            ("task.sudoku.puzzles_per_train_grid", 100000000),
        ] {
            for value in [i64::MAX, 1_000_000_007, largest + 1] {
                let found = problem(&[&format!("{key}={value}")]);
                let expected = format!("{key} = {value} is too large: at most {largest} is meant by anybody");
                assert!(found.contains(&expected), "{found}");
            }
        }
        let found = problem(&["eval.max_completion_length=[40, 9000000000]"]);
        assert!(found.contains("eval.max_completion_length = 9000000000 is too large"), "{found}");
    }

    #[test]
    fn a_phase_of_billions_of_completions_is_refused_with_both_keys() {
        let found = problem(&["train.prompts_per_step=100000", "algorithm.spg.num_generations=100"]);
        let expected = "train.prompts_per_step = 100000 with algorithm.spg.num_generations = 100 makes more than 1048576 \
                        completions a phase: lower one";
        assert!(found.contains(expected), "{found}");
    }

    #[test]
    fn what_nothing_grows_with_is_not_bounded() {
        let any = format!("run.seed={}", i64::MAX);
        assert_eq!(problem(&[&any, "eval.limit=1000000000000", "train.save_total_limit=1000000000000"]), "");
    }

    #[test]
    fn every_whole_number_has_a_bound() {
        let mut seen = 0;
        for key in super::super::readme_tests::whole_numbers() {
            assert!(bound(&key).is_some(), "{key} takes whole numbers: give it a bound");
            seen += 1;
        }
        assert!(seen > 40, "{seen}");
    }
}
