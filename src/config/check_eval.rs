//! `[eval]`: its lists, and whether every combination of them can be decoded at the rollout's pace.

use std::num::NonZeroUsize;

use super::check::{Findings, either, multiples_near};
use super::grid::settings;
use super::{Command, ConfigFile, Order, Setting, Split};

/// Adds all problems of `[eval]`. `schedule_fits`: whether the rollout's own schedule does; without one there is no pace
/// to keep.
pub(super) fn check_eval(found: &mut Findings, file: &ConfigFile, command: Command, schedule_fits: bool) {
    let eval = &file.eval;
    if eval.split == Split::Test && command != Command::Eval {
        found.add(
            &["eval.split"],
            format!(
                "eval.split = \"test\" under `spg {}`: a run is watched, and checkpoints are chosen, on validation \
                 records; use `spg eval --split test` once for the final figures",
                command.name()
            ),
        );
    }
    let numbers = |list: &Option<Vec<NonZeroUsize>>| -> Option<Vec<String>> {
        Some(list.as_ref()?.iter().map(|n| n.to_string()).collect())
    };
    let temperatures = eval.temperatures.iter().map(|t| t.get().to_string()).collect();
    let remasking = eval.remasking.as_ref().map(|list| list.iter().map(|r| format!("{:?}", r.name())).collect());
    let order = eval.order.iter().map(|o| format!("{:?}", o.name())).collect();
    list(found, "eval.temperatures", Some(temperatures), "0.0");
    list(found, "eval.max_completion_length", numbers(&eval.max_completion_length), "256");
    list(found, "eval.block_length", numbers(&eval.block_length), "32");
    list(found, "eval.remasking", remasking, "\"low_confidence\"");
    list(found, "eval.order", Some(order), "\"block\"");

    let all = settings(eval, &file.rollout);
    samples(found, file, &all);
    if schedule_fits {
        schedules(found, file, &all);
    }
}

/// A list that is written down has something in it, and nothing twice.
fn list(found: &mut Findings, key: &'static str, values: Option<Vec<String>>, example: &str) {
    let Some(values) = values else { return };
    if values.is_empty() {
        found.add(&[key], format!("{key} is empty: give at least one, such as [{example}]"));
    }
    for (i, value) in values.iter().enumerate() {
        if values[..i].contains(value) {
            found.add(&[key], format!("{key} lists {value} twice: remove one"));
        }
    }
}

fn samples(found: &mut Findings, file: &ConfigFile, all: &[Setting]) {
    let n = file.eval.num_samples.get();
    let same = |s: &&Setting| s.temperature == 0.0 && s.remasking.is_deterministic();
    if let Some(setting) = all.iter().find(same).filter(|_| n > 1) {
        found.add(
            &["eval.num_samples", "eval.temperatures", "eval.remasking"],
            format!(
                "eval.num_samples = {n} at temperature 0 with remasking \"{}\" decodes the same completion {n} \
                 times: use temperatures above 0, remasking \"random\", or num_samples = 1",
                setting.remasking.name()
            ),
        );
    }
}

fn schedules(found: &mut Findings, file: &ConfigFile, all: &[Setting]) {
    let (canvas, steps) = (file.rollout.max_completion_length.get(), file.rollout.diffusion_steps.get());
    // a canvas of so many tokens, or a multiple, takes a whole number of steps
    let unit = canvas / gcd(canvas, steps);
    let mut seen = Vec::new();
    for s in all {
        let (length, block) = (s.max_completion_length, s.block_length);
        if seen.contains(&(length, block)) {
            continue;
        }
        seen.push((length, block));
        if !length.is_multiple_of(unit) {
            // once for a canvas, not once a block length
            if seen.iter().filter(|(seen, _)| *seen == length).count() == 1 {
                found.add(
                    &["eval.max_completion_length", "rollout.max_completion_length", "rollout.diffusion_steps"],
                    format!(
                        "eval.max_completion_length = {length} takes no whole number of steps at the rollout's \
                         pace (rollout.max_completion_length = {canvas} / rollout.diffusion_steps = {steps} tokens \
                         a step): use {}",
                        either(multiples_near(unit, length))
                    ),
                );
            }
            continue;
        }
        if s.order == Order::Block && !fits(length, s.diffusion_steps, block) {
            blocks(found, file, s);
        }
    }
}

fn blocks(found: &mut Findings, file: &ConfigFile, setting: &Setting) {
    let (length, block, steps) = (setting.max_completion_length, setting.block_length, setting.diffusion_steps);
    let name = |listed: bool, in_eval, in_rollout| if listed { in_eval } else { in_rollout };
    let block_key = name(file.eval.block_length.is_some(), "eval.block_length", "rollout.block_length");
    let length_key =
        name(file.eval.max_completion_length.is_some(), "eval.max_completion_length", "rollout.max_completion_length");
    let below = (1..block.min(length + 1)).rev().find(|&b| fits(length, steps, b));
    let above = (block + 1..=length).find(|&b| fits(length, steps, b));
    let ways = either(below.into_iter().chain(above).collect());
    let text = if !length.is_multiple_of(block) {
        format!("{block_key} = {block} does not divide {length_key} = {length}: use {ways}")
    } else {
        format!(
            "{block_key} = {block} makes {} blocks of {length_key} = {length}, over which its {steps} denoising \
             steps (the rollout's pace) cannot be shared out evenly: use {ways}",
            length / block
        )
    };
    found.add(&[block_key, length_key, "rollout.diffusion_steps"], text);
}

/// Whether blocks fill the canvas and steps are shared out evenly over them.
fn fits(length: usize, steps: usize, block: usize) -> bool {
    length.is_multiple_of(block) && steps.is_multiple_of(length / block)
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
