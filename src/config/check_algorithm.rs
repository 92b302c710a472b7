//! `[algorithm.<name>]`: pieces and numbers of a recipe that do not go together. All methods are judged here, once.

use super::check::Findings;
use super::{Aggregation, AlgorithmTable, ForwardType, Masks, Recipe, Scope};

/// Adds all problems of the algorithm.
pub(super) fn check_algorithm(found: &mut Findings, table: &AlgorithmTable) {
    let recipe = table.recipe();
    let key = |leaf: &str| format!("algorithm.{}.{leaf}", table.name());
    group(found, &recipe, &key);
    masks(found, &recipe, &key);
    clip(found, &recipe, &key);
    cap(found, &recipe, &key);
}

fn group(found: &mut Findings, recipe: &Recipe, key: &dyn Fn(&str) -> String) {
    if recipe.num_generations.get() < 2 {
        let key = key("num_generations");
        found.add(&[&key], format!("{key} = 1: a completion alone has no advantage over its group; use 2 or more"));
    }
    if let (Aggregation::StableLength { .. }, 1) = (recipe.aggregation, recipe.num_iterations.get()) {
        let key = key("num_iterations");
        found.add(
            &[&key],
            format!(
                "{key} = 1: the weights compare the policy with the one before the first update, so that all would \
                 be 1; use 2 or more, or [algorithm.spg]"
            ),
        );
    }
}

/// Weights that are capped from the start would hold back what fell, and let rise what rose.
fn cap(found: &mut Findings, recipe: &Recipe, key: &dyn Fn(&str) -> String) {
    if let Aggregation::StableLength { cap } = recipe.aggregation
        && cap < 1.0
    {
        let key = key("weight_cap");
        found.add(
            &[&key],
            format!("{key} = {cap}: a completion that has not moved, of ratio 1, would be capped; use 1 or more"),
        );
    }
}

fn masks(found: &mut Findings, recipe: &Recipe, key: &dyn Fn(&str) -> String) {
    let (min_t, max_t, num_t) = (key("min_t"), key("max_t"), key("num_t"));
    match recipe.masks {
        Masks::Forward(masks) => {
            let (forward_type, scope) = (key("forward_type"), key("scope"));
            found.ordered((min_t.as_str(), masks.min_t.get()), (max_t.as_str(), masks.max_t.get()));
            if masks.forward_type == ForwardType::All && masks.num_t.get() != 1 {
                found.add(
                    &[&num_t, &forward_type],
                    format!(
                        "{num_t} = {} with {forward_type} = \"all\", which has one mask only: use num_t = 1",
                        masks.num_t
                    ),
                );
            }
            if masks.scope == Scope::Block && matches!(masks.forward_type, ForwardType::Random | ForwardType::All) {
                let name = if masks.forward_type == ForwardType::All { "all" } else { "random" };
                found.add(
                    &[&scope, &forward_type],
                    format!(
                        "{scope} = \"block\" needs a chosen block, which {forward_type} = \"{name}\" has not: use \
                         scope = \"all_masked\", or \"block_random\" or \"block_all\""
                    ),
                );
            }
        }
        Masks::Halves { min_t: low, max_t: high } => {
            found.ordered((min_t.as_str(), low.get()), (max_t.as_str(), high.get()));
            if low.get() == 0.0 {
                found.add(&[&min_t], format!("{min_t} = 0: a set at ratio 0 would weigh 1 / 0; use more than 0"));
            }
            if high.get() == 1.0 {
                found
                    .add(&[&max_t], format!("{max_t} = 1: a complement at ratio 0 would weigh 1 / 0; use less than 1"));
            }
        }
        Masks::Pairs { num_t: n } => {
            if n.get() % 2 == 1 {
                let near = super::check::either(super::check::multiples_near(2, n.get()));
                found.add(&[&num_t], format!("{num_t} = {n}: every set has its complement beside it; use {near}"));
            }
        }
        Masks::Nodes { num_t: n } => {
            if !(2..=3).contains(&n.get()) {
                found.add(&[&num_t], format!("{num_t} = {n}: the rule has 2 or 3 nodes"));
            }
        }
        Masks::Rising => {}
    }
}

fn clip(found: &mut Findings, recipe: &Recipe, key: &dyn Fn(&str) -> String) {
    if let Some(clip) = recipe.link.ratio
        && clip.low >= 1.0
    {
        let key = key("epsilon");
        found.add(
            &[&key],
            format!("{key} = {}: a ratio is never below 0, so that none would be clipped; use less than 1", clip.low),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{MINIMAL, refused, resolve};
    use super::super::{AdvantageKind, Clip, Command};
    use super::*;

    #[test]
    fn there_is_one_algorithm_and_its_name_is_known() {
        let error = refused(&["algorithm.d1.epsilon=0.4"], Command::Train);
        assert!(error.contains("two algorithms, [algorithm.spg] and [algorithm.d1]: keep one"), "{error}");
        let error = refused(&["algorithm={}"], Command::Train);
        assert!(error.contains("no algorithm: add one of spg, d1, wd1"), "{error}");
        let error = refused(&["algorithm={ppo={}}"], Command::Train);
        assert!(error.contains("unknown field `ppo`, expected one of `spg`, `d1`"), "{error}");
        let error = refused(&["algorithm={d1={psi=1}}"], Command::Train);
        assert!(error.contains("unknown field `psi`"), "{error}");
    }

    #[test]
    fn every_method_resolves_with_its_published_defaults() {
        let even = ["train.max_steps=24", "train.save_steps=24", "eval.eval_steps=24"];
        let recipe = |name: &str| {
            let text = MINIMAL.replace("[algorithm.spg]", &format!("[algorithm.{name}]"));
            let config = resolve(&text, &even, Command::Train).unwrap();
            assert_eq!(config.algorithm().unwrap().name(), name);
            config.algorithm().unwrap().recipe()
        };
        let numbers: Vec<(usize, usize, Option<f64>, Option<f64>)> = (AlgorithmTable::NAMES.iter())
            .map(|name| {
                let Recipe { num_generations: g, num_iterations: mu, link, .. } = recipe(name);
                (g.get(), mu.get(), link.ratio.map(|clip| clip.high), link.kl.map(|kl| kl.weight))
            })
            .collect();
        assert_eq!(
            AlgorithmTable::NAMES,
            ["spg", "d1", "wd1", "unigrpo", "coupled_grpo", "espo", "stable_drl", "gdpo"]
        );
        let expected = [
            (6, 4, None, None),
            (6, 12, Some(0.5), Some(0.04)),
            (6, 8, None, None),
            (6, 4, Some(0.2), Some(0.04)),
            (10, 2, Some(0.5), Some(0.01)),
            (6, 8, Some(0.2), Some(1e-3)),
            (6, 4, None, None),
            (6, 4, Some(0.2), Some(0.04)),
        ];
        assert_eq!(numbers, expected);
        assert_eq!(recipe("coupled_grpo").advantage, AdvantageKind::LeaveOneOut);
        assert_eq!(recipe("unigrpo").advantage, AdvantageKind::Normalized);
    }

    #[test]
    fn odd_numbers_are_refused_with_the_reason() {
        let even = ["train.max_steps=24", "train.save_steps=24", "eval.eval_steps=24"];
        for (name, set, reason) in [
            ("d1", "num_generations=1", "a completion alone has no advantage"),
            ("d1", "epsilon=1.5", "a ratio is never below 0"),
            ("d1", "num_iterations=7", "is not a multiple of algorithm.d1.num_iterations = 7"),
            ("coupled_grpo", "min_t=0", "a set at ratio 0 would weigh 1 / 0"),
            ("coupled_grpo", "max_t=1", "a complement at ratio 0 would weigh 1 / 0"),
            ("coupled_grpo", "max_t=0.1", "algorithm.coupled_grpo.min_t = 0.2 is above"),
            ("espo", "num_t=3", "every set has its complement beside it; use 2 or 4"),
            ("gdpo", "num_t=4", "the rule has 2 or 3 nodes"),
            ("stable_drl", "num_iterations=1", "all would be 1; use 2 or more"),
            ("stable_drl", "weight_cap=0.5", "that has not moved, of ratio 1, would be capped"),
            ("stable_drl", "forward_type='all'", "which has one mask only"),
        ] {
            let text = MINIMAL.replace("[algorithm.spg]", &format!("[algorithm.{name}]"));
            let set = format!("algorithm.{name}.{set}");
            let error = resolve(&text, &[&even[..], &[&set]].concat(), Command::Train).expect_err(&set);
            assert!(error.contains(reason), "{set}: {error}");
        }
    }

    #[test]
    fn a_run_is_cut_between_phases_of_every_method() {
        let even = ["train.max_steps=24", "train.save_steps=24", "eval.eval_steps=24"];
        for (name, updates) in AlgorithmTable::NAMES.iter().zip([4, 12, 8, 4, 2, 8, 4, 4]) {
            let text = MINIMAL.replace("[algorithm.spg]", &format!("[algorithm.{name}]"));
            let of = |command| resolve(&text, &even, command).unwrap().updates_per_phase();
            assert_eq!((of(Command::Train), of(Command::Sft)), (updates, 1), "{name}");
        }
    }

    #[test]
    fn a_penalty_of_weight_zero_is_none_and_clips_may_differ() {
        let table: AlgorithmTable = toml::from_str("d1 = { kl_beta = 0, epsilon = 0.2, epsilon_high = 0.3 }").unwrap();
        let link = table.recipe().link;
        assert_eq!((link.ratio, link.kl), (Some(Clip { low: 0.2, high: 0.3 }), None));
    }
}
