//! What needs more than one key, or the subcommand, to be judged. Every problem is found in one pass.

use super::best::check_best;
use super::bounds::check_bounds;
use super::check_algorithm::check_algorithm;
use super::check_eval::check_eval;
use super::check_rollout::check_rollout;
use super::check_task::check_task;
use super::{Command, ConfigFile, Problem, Trainable};

/// All problems of `file` for `command`; places are filled in by the caller, who knows the text.
pub(super) fn check(file: &ConfigFile, command: Command) -> Vec<Problem> {
    let too_large = check_bounds(file);
    if !too_large.is_empty() {
        return too_large;
    }
    let mut found = Findings::default();
    found.names(file);
    found.blocks(file, command);
    let schedule_fits = check_rollout(&mut found, file, command);
    check_eval(&mut found, file, command, schedule_fits);
    check_task(&mut found, &file.task, command);
    if let Some(algorithm) = &file.algorithm {
        check_algorithm(&mut found, algorithm);
    }
    match command {
        Command::Train => found.train(file),
        Command::Sft => found.sft(file),
        Command::Eval => {}
    }
    if command != Command::Eval {
        found.epsilon(file);
        check_best(&mut found, file);
        found.all_weights(file);
    }
    found.0
}

/// The problems found so far.
#[derive(Default)]
pub(super) struct Findings(Vec<Problem>);

impl Findings {
    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.0
    }

    pub(super) fn add(&mut self, keys: &[&str], text: String) {
        let keys = keys.iter().map(|&key| key.to_owned()).collect();
        self.0.push(Problem { keys, text, places: Vec::new() });
    }

    /// A lower end that is above its upper end.
    pub(super) fn ordered<T: PartialOrd + std::fmt::Display>(&mut self, low: (&str, T), high: (&str, T)) {
        let ((low_key, low), (high_key, high)) = (low, high);
        if low > high {
            self.add(
                &[low_key, high_key],
                format!("{low_key} = {low} is above {high_key} = {high}: lower the first or raise the second"),
            );
        }
    }

    /// Weights in blocks, which never change.
    fn blocks(&mut self, file: &ConfigFile, command: Command) {
        let model = &file.model;
        let key = match (model.quantize, &model.gguf_file) {
            (Some(_), Some(_)) => {
                self.add(
                    &["model.quantize", "model.gguf_file"],
                    "model.quantize with model.gguf_file: the tensors of a GGUF file have formats of their own; remove one"
                        .into(),
                );
                return;
            }
            (Some(_), None) => "model.quantize",
            (None, Some(_)) => "model.gguf_file",
            (None, None) => return,
        };
        if file.rollout.merge_adapters {
            self.add(
                &["rollout.merge_adapters", key],
                format!(
                    "rollout.merge_adapters = true with {key}: nothing can be added to quantised weights; remove one"
                ),
            );
        }
        if command != Command::Eval && file.train.trainable == Trainable::All {
            self.add(
                &["train.trainable", key],
                format!(
                    "train.trainable = \"all\" with {key}: quantised weights cannot be trained; remove {key} or set \
                         train.trainable = \"adapters\""
                ),
            );
        }
    }

    fn names(&mut self, file: &ConfigFile) {
        if file.run.output_dir.as_os_str().is_empty() {
            self.add(&["run.output_dir"], "run.output_dir is empty: name a folder, such as runs/first".into());
        }
        if file.model.name_or_path.trim().is_empty() {
            self.add(&["model.name_or_path"], "model.name_or_path is empty: name a model folder or a hub id".into());
        }
        if file.train.project.trim().is_empty() {
            self.add(&["train.project"], "train.project is empty: name a project, such as spg".into());
        }
    }

    fn train(&mut self, file: &ConfigFile) {
        if file.model.random_init {
            self.add(
                &["model.random_init"],
                "model.random_init = true is for `spg sft` with train.trainable = \"all\": \
                 reinforcement needs a trained model; remove it"
                    .into(),
            );
        }
        let Some(algorithm) = &file.algorithm else {
            let text = "`spg train` needs an [algorithm.<name>] table: add [algorithm.spg], which may be empty";
            self.add(&["algorithm"], text.into());
            return;
        };
        // Checkpoints and evaluations lie between rollout phases: there a resumed run has nothing to redo.
        let inner = algorithm.recipe().num_iterations.get();
        let inner_key = format!("algorithm.{}.num_iterations", algorithm.name());
        let train = &file.train;
        for (key, steps) in [
            ("train.max_steps", train.max_steps.get()),
            ("train.save_steps", train.save_steps.get()),
            ("eval.eval_steps", file.eval.eval_steps),
        ] {
            if steps % inner != 0 {
                self.add(
                    &[key, &inner_key],
                    format!(
                        "{key} = {steps} is not a multiple of {inner_key} = {inner}, \
                         the updates between two rollout phases: use {}",
                        either(multiples_near(inner, steps))
                    ),
                );
            }
        }
    }

    /// A number that only keeps a division by zero away must not be zero itself in the optimiser's precision.
    fn epsilon(&mut self, file: &ConfigFile) {
        let epsilon = file.train.adam_epsilon.get();
        if epsilon as f32 == 0.0 {
            self.add(
                &["train.adam_epsilon"],
                format!("train.adam_epsilon = {epsilon:e} is 0 in 32-bit floats: use 1e-8, or at least 1e-38"),
            );
        }
    }

    /// Where all weights are trained, there are no adapters to load or to merge.
    fn all_weights(&mut self, file: &ConfigFile) {
        if file.train.trainable != Trainable::All {
            return;
        }
        if file.lora.as_ref().is_some_and(|lora| lora.init_from.is_some()) {
            self.add(
                &["lora.init_from", "train.trainable"],
                "lora.init_from with train.trainable = \"all\": there are no adapters to start from it; \
                 remove lora.init_from or set train.trainable = \"adapters\""
                    .into(),
            );
        }
        if file.rollout.merge_adapters {
            self.add(
                &["rollout.merge_adapters", "train.trainable"],
                "rollout.merge_adapters = true with train.trainable = \"all\": there are no adapters to merge; \
                 set rollout.merge_adapters = false or train.trainable = \"adapters\""
                    .into(),
            );
        }
    }

    fn sft(&mut self, file: &ConfigFile) {
        if file.sft.is_none() {
            self.add(&["sft"], "`spg sft` needs an [sft] table: add one with a batch_size".into());
            return;
        }
        if file.model.random_init && file.train.trainable != Trainable::All {
            self.add(
                &["model.random_init", "train.trainable"],
                "model.random_init = true with train.trainable = \"adapters\": adapters on random weights learn \
                 nothing; set train.trainable = \"all\" or remove model.random_init"
                    .into(),
            );
        }
    }
}

/// The multiples of `m` around `x`, without zero and none above `most` if there is another one.
pub(super) fn multiples_up_to(most: usize, m: usize, x: usize) -> Vec<usize> {
    let near = multiples_near(m, x.min(most));
    let small: Vec<usize> = near.iter().copied().filter(|&n| n <= most).collect();
    if small.is_empty() { near } else { small }
}

/// The multiples of `m` around `x`, without zero.
pub(super) fn multiples_near(m: usize, x: usize) -> Vec<usize> {
    let below = x / m * m;
    [below, below + m].into_iter().filter(|&n| n > 0).collect()
}

pub(super) fn either(numbers: Vec<usize>) -> String {
    let texts: Vec<String> = numbers.iter().map(usize::to_string).collect();
    texts.join(" or ")
}
