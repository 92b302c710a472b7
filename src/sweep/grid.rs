//! The points of a grid: every combination of the axes' values.

use crate::config::{Assignment, Axis};
use crate::error::Usage;

/// Keys that the sweep sets itself, and the option that decides them.
const OWN: [(&str, &str); 2] = [("run.seed", "--seeds"), ("run.output_dir", "--output-dir")];

/// What each point assigns, in the order of the axes; the last axis varies fastest. Without axes there is one point.
pub fn points(axes: &[Axis]) -> Vec<Vec<Assignment>> {
    axes.iter().fold(vec![Vec::new()], |points, axis| {
        let extended = |point: &Vec<Assignment>| -> Vec<Vec<Assignment>> {
            axis.values.iter().map(|value| [&point[..], std::slice::from_ref(value)].concat()).collect()
        };
        points.iter().flat_map(extended).collect()
    })
}

/// All assignments of a point in the order in which they apply: what is about a whole table comes before what is about
/// a key in it, so that a method can be chosen and then changed.
pub fn in_order(point: &[Assignment], set: &[Assignment]) -> Vec<Assignment> {
    let mut all = [set, point].concat();
    all.sort_by_key(|assignment| assignment.path().len());
    all
}

/// Refuses keys that would be set twice, or by the sweep itself.
///
/// # Errors
/// Names the keys.
pub fn check_keys(axes: &[Axis], set: &[Assignment], seeds: &[u64]) -> Result<(), Usage> {
    let first = |axis: &Axis| axis.values.first().cloned();
    let varied: Vec<Assignment> = axes.iter().filter_map(first).collect();
    for assignment in varied.iter().chain(set) {
        if let Some((key, option)) = OWN.iter().find(|(key, _)| *key == assignment.key()) {
            return Err(Usage(format!("{key} is what {option} says: leave it out of --grid and --set")));
        }
    }
    for (i, axis) in varied.iter().enumerate() {
        let key = axis.key();
        if varied[..i].iter().any(|other| other.is_of_key_of(axis)) {
            return Err(Usage(format!("--grid has {key} twice: write its values in one, {key}=VALUE,VALUE")));
        }
        if let Some(fixed) = set.iter().find(|fixed| fixed.is_of_key_of(axis)) {
            return Err(Usage(format!("--set {fixed} fixes what --grid {key} goes through: leave one out")));
        }
    }
    match seeds.iter().enumerate().find(|(i, seed)| seeds[..*i].contains(seed)) {
        Some((_, seed)) => Err(Usage(format!("--seeds has {seed} twice"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axes(texts: &[&str]) -> Vec<Axis> {
        texts.iter().map(|text| text.parse().expect("an axis")).collect()
    }

    fn set(texts: &[&str]) -> Vec<Assignment> {
        texts.iter().map(|text| text.parse().expect("an assignment")).collect()
    }

    fn shown(assignments: &[Assignment]) -> String {
        assignments.iter().map(Assignment::to_string).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_last_axis_varies_fastest() {
        let points = points(&axes(&["a.b=1,2", "a.c=[1, 2],x"]));
        let shown: Vec<String> = points.iter().map(|point| shown(point)).collect();
        assert_eq!(shown, ["a.b=1 a.c=[1, 2]", "a.b=1 a.c=\"x\"", "a.b=2 a.c=[1, 2]", "a.b=2 a.c=\"x\""]);
        assert_eq!(super::points(&[]), [vec![]]);
    }

    #[test]
    fn a_method_is_chosen_before_it_is_changed() {
        let all = in_order(&set(&["algorithm=d1"]), &set(&["algorithm.*.num_generations=8", "lora={r=4}", "lora.r=2"]));
        assert_eq!(shown(&all), "lora={ r = 4 } algorithm=\"d1\" lora.r=2 algorithm.*.num_generations=8");
    }

    #[test]
    fn a_key_that_is_set_twice_is_refused() {
        let refused = |grid: &[&str], fixed: &[&str], seeds: &[u64]| {
            check_keys(&axes(grid), &set(fixed), seeds).expect_err("refused").to_string()
        };
        assert!(refused(&["a.b=1", "a.b=2"], &[], &[]).contains("--grid has a.b twice"));
        assert!(refused(&["a.b=1", "a.*=2"].map(|_| "algorithm.*.x=1"), &[], &[]).contains("twice"));
        assert!(refused(&["algorithm.spg.x=1"], &["algorithm.*.x=3"], &[]).contains("--set algorithm.*.x=3 fixes"));
        assert!(refused(&["run.seed=1,2"], &[], &[]).contains("--seeds"));
        assert!(refused(&[], &["run.output_dir=x"], &[]).contains("--output-dir"));
        assert!(refused(&[], &[], &[1, 2, 1]).contains("--seeds has 1 twice"));
        assert!(check_keys(&axes(&["a.b=1"]), &set(&["a.c=1"]), &[1, 2]).is_ok());
    }
}
