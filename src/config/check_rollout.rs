//! `[rollout]`: whether the schedule can be decoded, and whether what is to save work does.

use super::check::{Findings, either, multiples_up_to};
use super::{Command, Commit, ConfigFile, Masks, Precision, Remasking};

/// Adds all problems of `[rollout]`. Returns whether the schedule (canvas, blocks, steps) can be decoded.
pub(super) fn check_rollout(found: &mut Findings, file: &ConfigFile, command: Command) -> bool {
    let r = &file.rollout;
    let steps_per_block = schedule(found, file);
    if command == Command::Train && r.temperature.get() == 0.0 && r.remasking.is_deterministic() {
        found.add(
            &["rollout.temperature", "rollout.remasking"],
            format!(
                "rollout.temperature = 0 with rollout.remasking = \"{}\" decodes the same completion for a whole \
                 group, so that no advantage differs from 0: use a temperature above 0",
                r.remasking.name()
            ),
        );
    }
    if r.merge_adapters && file.model.dtype != Precision::F32 {
        found.add(
            &["rollout.merge_adapters", "model.dtype"],
            "rollout.merge_adapters = true needs model.dtype = \"f32\": in half precision small updates vanish \
             when they are added to a weight; remove it"
                .into(),
        );
    }
    commit(found, r.commit, "rollout.remasking", r.remasking);
    for &remasking in file.eval.remasking.iter().flatten().filter(|&&remasking| remasking != r.remasking) {
        commit(found, r.commit, "eval.remasking", remasking);
    }
    if let Some(steps_per_block) = steps_per_block {
        cache(found, file, steps_per_block);
    }
    if let (Command::Train, Some(algorithm)) = (command, &file.algorithm) {
        let num_generations = algorithm.recipe().num_generations;
        let num_generations_key = format!("algorithm.{}.num_generations", algorithm.name());
        let completions = file.train.prompts_per_step.get().saturating_mul(num_generations.get());
        // the exact decoding is not compared with itself
        let is_exact = r.cache.is_exact() && r.commit.is_planned();
        if !is_exact && r.drift_check > completions {
            found.add(
                &["rollout.drift_check", "train.prompts_per_step", &num_generations_key],
                format!(
                    "rollout.drift_check = {} is more than the {completions} completions of a rollout phase \
                     (train.prompts_per_step = {} times {num_generations_key} = {num_generations}): use at most {completions}",
                    r.drift_check, file.train.prompts_per_step
                ),
            );
        }
    }
    if let (Command::Train, true, Some(algorithm)) = (command, r.early_stop, &file.algorithm)
        && matches!(algorithm.recipe().masks, Masks::Pairs { .. })
    {
        let table = format!("algorithm.{}", algorithm.name());
        found.add(
            &["rollout.early_stop", &table],
            format!(
                "rollout.early_stop = true with {table}: that scores the whole canvas, and what follows the block that a \
                 completion ends in would be filled, not sampled; remove rollout.early_stop"
            ),
        );
    }
    if r.ranking_temperature.get() > 0.0 && (!r.commit.is_planned() || r.remasking == Remasking::Random) {
        let (rule, order) = (r.commit.name(), r.remasking.name());
        found.add(
            &["rollout.ranking_temperature", "rollout.commit", "rollout.remasking"],
            format!(
                "rollout.ranking_temperature = {} with commit \"{rule}\" and remasking \"{order}\": it draws the order in \
                 which candidates fill the shares of a plan; remove it, or use commit = \"schedule\" or \"timeline\" and \
                 another remasking than \"random\"",
                r.ranking_temperature
            ),
        );
    }
    steps_per_block.is_some()
}

/// The steps of a block, if all blocks can have as many.
fn schedule(found: &mut Findings, file: &ConfigFile) -> Option<usize> {
    let r = &file.rollout;
    let (canvas, block, steps) = (r.max_completion_length.get(), r.block_length.get(), r.diffusion_steps.get());
    if canvas % block != 0 {
        found.add(
            &["rollout.block_length", "rollout.max_completion_length"],
            format!(
                "rollout.block_length = {block} does not divide rollout.max_completion_length = {canvas}: use {}",
                either(divisors_near(canvas, block))
            ),
        );
        return None;
    }
    let n_blocks = canvas / block;
    if steps % n_blocks != 0 {
        found.add(
            &["rollout.diffusion_steps", "rollout.block_length", "rollout.max_completion_length"],
            format!(
                "rollout.diffusion_steps = {steps} is not a multiple of the {n_blocks} blocks \
                 (rollout.max_completion_length = {canvas} / rollout.block_length = {block}): use {}",
                either(multiples_up_to(canvas, n_blocks, steps))
            ),
        );
        return None;
    }
    if steps > canvas {
        found.add(
            &["rollout.diffusion_steps", "rollout.max_completion_length"],
            format!(
                "rollout.diffusion_steps = {steps} is more than one step a token \
                 (rollout.max_completion_length = {canvas}): use at most {canvas}"
            ),
        );
        return None;
    }
    Some(steps / n_blocks)
}

/// A rule that cannot be followed with the order of the candidates.
fn commit(found: &mut Findings, commit: Commit, key: &str, remasking: Remasking) {
    if commit.suits(remasking) {
        return;
    }
    let (rule, order) = (commit.name(), remasking.name());
    let text = match commit {
        Commit::EntropyBound(_) => format!(
            "rollout.commit = \"{rule}\" with {key} \"{order}\": a bound is for the best candidates, which a random \
             order does not know; use another order, or commit = \"schedule\""
        ),
        _ => format!(
            "rollout.commit = \"{rule}\" with {key} \"{order}\": the rule is about the probabilities of the candidates, \
             so they must be ranked by them; use \"low_confidence\", commit = \"schedule\" or \"entropy_bound\""
        ),
    };
    found.add(&["rollout.commit", key], text);
}

/// A cache or a refresh that never acts.
fn cache(found: &mut Findings, file: &ConfigFile, steps_per_block: usize) {
    let r = &file.rollout;
    let refresh = r.cache_refresh_steps;
    if r.cache.is_exact() {
        if refresh > 0 {
            let cache = r.cache.name();
            found.add(
                &["rollout.cache_refresh_steps", "rollout.cache"],
                format!(
                    "rollout.cache_refresh_steps = {refresh} with rollout.cache = \"{cache}\": there is nothing to \
                     refresh; remove it, or use cache = \"prefix\" or \"dual\""
                ),
            );
        }
        return;
    }
    let most_steps = if r.commit.is_planned() { steps_per_block } else { r.block_length.get() };
    if most_steps == 1 {
        found.add(
            &["rollout.cache", "rollout.diffusion_steps", "rollout.block_length"],
            format!(
                "rollout.cache = \"{}\" with one step a block: no step follows the one that fills the cache; remove it",
                r.cache.name()
            ),
        );
    } else if refresh >= most_steps {
        found.add(
            &["rollout.cache_refresh_steps", "rollout.diffusion_steps", "rollout.block_length"],
            format!(
                "rollout.cache_refresh_steps = {refresh} never comes: a block takes {most_steps} steps at most, and \
                 starts with a refresh; use less, or 0"
            ),
        );
    }
}

/// The largest divisor of `n` below `x` and the smallest one above.
fn divisors_near(n: usize, x: usize) -> Vec<usize> {
    let divides = |d: &usize| n.is_multiple_of(*d);
    // A divisor above n does not exist, and one above x may be far: both ends are bounded by n.
    let below = (1..x.min(n + 1)).rev().find(divides);
    let above = (x + 1..=n).find(divides);
    below.into_iter().chain(above).collect()
}
