//! The runs of a sweep: their names and their configurations, all checked before any of them starts.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{grid, names};
use crate::config::{self, Assignment, Command, ConfigError, Overrides, RunConfig, SweepRequest};
use crate::error::Usage;

/// A run to make.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its folder in that of the sweep.
    pub name: String,
    /// Its seed.
    pub seed: u64,
    /// What its point changes.
    pub point: Vec<Assignment>,
    /// What its point and the sweep change, in the order in which that applies.
    pub set: Vec<Assignment>,
    /// What comes of all that.
    pub config: RunConfig,
}

/// What all runs of a sweep begin with.
#[derive(Clone, Copy, Debug)]
pub struct Base<'a> {
    path: &'a Path,
    text: &'a str,
    set: &'a [Assignment],
    dir: &'a Path,
}

impl<'a> Base<'a> {
    /// `text` is that of the configuration.
    pub fn of(request: &'a SweepRequest, text: &'a str) -> Self {
        Self { path: &request.config, text, set: &request.set, dir: &request.dir }
    }

    /// The run of a point; without a seed, that of the configuration.
    ///
    /// # Errors
    /// A configuration that is refused.
    pub fn run(&self, point: &[Assignment], seed: Option<u64>) -> Result<Run, ConfigError> {
        let set = grid::in_order(point, self.set);
        let resolve = |output_dir: PathBuf| {
            let overrides = Overrides { set: set.clone(), seed, output_dir: Some(output_dir), ..Overrides::default() };
            config::from_text(self.path, self.text, &overrides, Command::Train)
        };
        let seed = match seed {
            Some(seed) => seed,
            None => resolve(self.dir.to_owned())?.run().seed,
        };
        let name = names::folder(point, seed);
        let config = resolve(self.dir.join(&name))?;
        Ok(Run { name, seed, point: point.to_vec(), set, config })
    }
}

/// Every point with every seed.
///
/// # Errors
/// [`Usage`] with all points that are refused, and why; points that are the same run.
pub fn plan(request: &SweepRequest, text: &str) -> Result<Vec<Run>> {
    grid::check_keys(&request.axes, &request.set, &request.seeds)?;
    let base = Base::of(request, text);
    let seeds: Vec<Option<u64>> = match request.seeds.is_empty() {
        true => vec![None],
        false => request.seeds.iter().copied().map(Some).collect(),
    };
    let points = grid::points(&request.axes);
    let (mut runs, mut problems) = (Vec::new(), Problems::default());
    for point in &points {
        for &seed in &seeds {
            match base.run(point, seed) {
                Ok(run) => runs.push(run),
                Err(error) => problems.add(error, &label(point)),
            }
        }
    }
    problems.check(points.len())?;
    check_apart(&runs)?;
    Ok(runs)
}

/// How messages call a point.
fn label(point: &[Assignment]) -> String {
    match point {
        [] => "the configuration".to_owned(),
        point => point.iter().map(Assignment::to_string).collect::<Vec<_>>().join(" "),
    }
}

/// What is wrong, each with the points of which it is.
#[derive(Default)]
struct Problems(Vec<(String, Vec<String>)>);

impl Problems {
    fn add(&mut self, error: ConfigError, point: &str) {
        let error = anyhow::Error::from(error);
        let message = error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ");
        let known = self.0.iter().position(|(other, _)| *other == message);
        let at = known.unwrap_or_else(|| {
            self.0.push((message, Vec::new()));
            self.0.len() - 1
        });
        let points = &mut self.0[at].1;
        if points.last().is_none_or(|last| last != point) {
            points.push(point.to_owned());
        }
    }

    fn check(&self, points: usize) -> Result<(), Usage> {
        let shown = |(message, of): &(String, Vec<String>)| match of.len() {
            n if n == points && points > 1 => format!("every point: {message}"),
            _ => format!("{}: {message}", of.join("; ")),
        };
        match &self.0[..] {
            [] => Ok(()),
            all => {
                let all: Vec<String> = all.iter().map(|problem| shown(problem).replace('\n', "\n    ")).collect();
                Err(Usage(format!("nothing was started: there are points that cannot run\n  - {}", all.join("\n  - "))))
            }
        }
    }
}

/// Refuses points that say the same in two ways.
pub fn check_apart(runs: &[Run]) -> Result<()> {
    let (mut configs, mut folders) = (HashMap::new(), HashMap::new());
    for run in runs {
        let mut config = run.config.to_json()?;
        config["run"]["output_dir"] = serde_json::Value::Null;
        let same = configs.insert(config.to_string(), &run.name);
        if let Some(other) = same.or(folders.insert(run.name.to_lowercase(), &run.name)) {
            let names = format!("{other} and {}", run.name);
            return Err(
                Usage(format!("{names} are one and the same run: leave out the value that makes it twice")).into()
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::request;
    use super::*;

    fn planned(grid: &[&str], set: &[&str], seeds: &[u64]) -> Result<Vec<Run>, String> {
        let request = request(Path::new("runs/x"), grid, set, seeds);
        plan(&request, config::shipped("sudoku-tiny").expect("shipped")).map_err(|error| error.to_string())
    }

    #[test]
    fn every_point_gets_every_seed_and_its_own_configuration() {
        let runs = planned(&["train.learning_rate=1e-3,2e-3"], &["train.max_steps=4"], &[1, 2]).expect("a plan");
        let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "learning_rate=1e-3,seed=1",
                "learning_rate=1e-3,seed=2",
                "learning_rate=2e-3,seed=1",
                "learning_rate=2e-3,seed=2"
            ]
        );
        let last = &runs[3].config;
        assert_eq!((last.run().seed, last.train().learning_rate.get(), last.train().max_steps.get()), (2, 2e-3, 4));
        assert_eq!(last.run().output_dir, Path::new("runs/x/learning_rate=2e-3,seed=2"));
        let seeds: Vec<u64> =
            planned(&[], &["run={output_dir='x', seed=9}"], &[]).expect("one").iter().map(|r| r.seed).collect();
        assert_eq!(seeds, [9], "the seed of the configuration");
    }

    #[test]
    fn methods_are_values_of_the_grid() {
        let runs =
            planned(&["algorithm=spg,{spg={num_t=1}}"], &["algorithm.*.num_generations=4"], &[]).expect("a plan");
        let tables: Vec<serde_json::Value> = runs.iter().map(|run| run.config.to_json().expect("JSON")).collect();
        let number = |i: usize, key: &str| tables[i]["algorithm"]["spg"][key].as_f64();
        assert_eq!((number(0, "num_t"), number(0, "p_mask_prompt")), (Some(2.0), Some(0.0)), "the file's own table");
        assert_eq!((number(1, "num_t"), number(1, "p_mask_prompt")), (Some(1.0), Some(0.15)), "a table of its own");
        assert_eq!((number(0, "num_generations"), number(1, "num_generations")), (Some(4.0), Some(4.0)));
    }

    #[test]
    fn all_points_that_cannot_run_are_named_at_once() {
        let text =
            planned(&["train.learning_rate=1e-3,-1", "rollout.diffusion_steps=10,21"], &[], &[1, 2]).unwrap_err();
        assert!(
            text.contains("- train.learning_rate=-1 rollout.diffusion_steps=10; train.learning_rate=-1 "),
            "{text}"
        );
        assert!(text.contains("--grid train.learning_rate=-1: -1 is out of range"), "{text}");
        assert!(text.contains("- train.learning_rate=0.001 rollout.diffusion_steps=21: "), "{text}");
        assert!(text.contains("(--grid rollout.diffusion_steps=21, "), "{text}");
        let text = planned(&["lora.r=1,2"], &["train.max_stepz=1"], &[]).unwrap_err();
        assert!(text.contains("- every point: --set train.max_stepz=1: unknown field"), "{text}");
    }

    #[test]
    fn one_run_under_two_names_is_refused() {
        let text = planned(&["train.learning_rate=1e-3,0.001"], &[], &[]).unwrap_err();
        assert!(text.contains("are one and the same run"), "{text}");
        let text = planned(&["model.name_or_path=x,'x'"], &[], &[]).unwrap_err();
        assert!(text.contains("name_or_path=x,seed=42 and name_or_path=x,seed=42"), "{text}");
    }
}
