//! How the checkpoints of a run are compared, so that the best can be kept: transformers' `metric_for_best_model` and what
//! goes with it.

use super::check::{Findings, either, multiples_near};
use super::grid::settings;
use super::{ConfigFile, Setting, TrainTable};

/// The figures of an evaluation that say something of the model: not its size, nor how fast this machine is.
const FIGURES: [&str; 7] =
    ["reward", "accuracy", "solved", "exact", "mean_length", "effective_tokens", "decoding_steps"];

/// By which figure evaluations are compared, and which of two is better.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BestModel {
    /// Its name in the metrics: `eval/<setting>/<figure>`.
    pub metric: String,
    /// Whether more of it is better; less is, otherwise.
    pub greater_is_better: bool,
}

impl TrainTable {
    /// Whether a key asks for the best checkpoint.
    fn wants_best(&self) -> bool {
        self.metric_for_best_model.is_some() || self.load_best_model_at_end || self.early_stopping_patience.is_some()
    }
}

impl BestModel {
    /// What a file says of it; none where no key asks for the best checkpoint.
    ///
    /// # Errors
    /// The message about a figure that no evaluation of the file has.
    pub(super) fn of(file: &ConfigFile) -> Result<Option<Self>, String> {
        let train = &file.train;
        if !train.wants_best() {
            return Ok(None);
        }
        let settings = settings(&file.eval, &file.rollout);
        let metric = match &train.metric_for_best_model {
            Some(name) => named(name, &settings, file.eval.num_samples.get())?,
            // a list that is empty is a finding of its own
            None => settings.first().map(|setting| full(setting, FIGURES[0])).unwrap_or_default(),
        };
        let greater_is_better = train.greater_is_better.unwrap_or_else(|| !metric.ends_with("loss"));
        Ok(Some(Self { metric, greater_is_better }))
    }
}

/// A figure's name in the metrics.
fn full(setting: &Setting, figure: &str) -> String {
    format!("eval/{}/{figure}", setting.label)
}

/// Every figure that checkpoints can be compared by.
fn all(settings: &[Setting], num_samples: usize) -> Vec<String> {
    let passes = (1..=num_samples).filter(|_| num_samples > 1).map(|k| format!("pass@{k}"));
    let figures: Vec<String> = FIGURES.into_iter().map(str::to_owned).chain(passes).collect();
    settings.iter().flat_map(|setting| figures.iter().map(|figure| full(setting, figure))).collect()
}

/// The full name of a figure: `eval/` may be left out, or be transformers' `eval_`, and so may a setting that is the only
/// one.
fn named(name: &str, settings: &[Setting], num_samples: usize) -> Result<String, String> {
    let all = all(settings, num_samples);
    let short = name.strip_prefix("eval/").or_else(|| name.strip_prefix("eval_")).unwrap_or(name);
    let mut meant = vec![format!("eval/{short}")];
    if let [only] = settings {
        meant.push(full(only, short));
    }
    meant.into_iter().find(|name| all.contains(name)).ok_or_else(|| {
        format!("train.metric_for_best_model = {name:?}: no evaluation has this figure; there are {}", all.join(", "))
    })
}

/// Adds all problems of the keys about the best checkpoint.
pub(super) fn check_best(found: &mut Findings, file: &ConfigFile) {
    const METRIC: &str = "train.metric_for_best_model";
    const THRESHOLD: &str = "train.early_stopping_threshold";
    let (train, eval) = (&file.train, &file.eval);
    if let Err(text) = BestModel::of(file) {
        found.add(&[METRIC], text);
    }
    if train.early_stopping_threshold.get() > 0.0 && train.early_stopping_patience.is_none() {
        let text = format!(
            "{THRESHOLD} = {} without train.early_stopping_patience: nothing is stopped; set it, or remove the first",
            train.early_stopping_threshold
        );
        found.add(&[THRESHOLD], text);
    }
    if !train.wants_best() {
        if let Some(greater) = train.greater_is_better {
            let text = format!(
                "train.greater_is_better = {greater} without {METRIC}: nothing is compared; set it, or remove the first"
            );
            found.add(&["train.greater_is_better"], text);
        }
        return;
    }
    // an evaluation whose weights are not kept could be the best one
    let (save, every) = (train.save_steps.get(), eval.eval_steps);
    if every % save != 0 {
        let wants = match (&train.metric_for_best_model, train.load_best_model_at_end) {
            (Some(_), _) => METRIC,
            (None, true) => "train.load_best_model_at_end",
            (None, false) => "train.early_stopping_patience",
        };
        found.add(
            &["eval.eval_steps", "train.save_steps"],
            format!(
                "eval.eval_steps = {every} is not a multiple of train.save_steps = {save}, so that the best evaluation \
                 could be one without a checkpoint ({wants} asks for the best): use eval_steps = {}, or save_steps = {every}",
                either(multiples_near(save, every))
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{MINIMAL, refused, resolve};
    use super::super::{Command, RunConfig};

    fn best(assignments: &[&str]) -> Option<(String, bool)> {
        let config: RunConfig = resolve(MINIMAL, assignments, Command::Train).unwrap();
        config.best_model().map(|best| (best.metric, best.greater_is_better))
    }

    #[test]
    fn the_best_is_kept_where_a_key_asks_for_it_and_by_the_reward_unless_another_figure_is_named() {
        assert_eq!(best(&[]), None);
        let reward = || Some(("eval/greedy/reward".to_owned(), true));
        for key in ["load_best_model_at_end=true", "early_stopping_patience=2", "metric_for_best_model=reward"] {
            assert_eq!(best(&[&format!("train.{key}")]), reward(), "{key}");
        }
        for name in ["solved", "eval_solved", "eval/greedy/solved", "greedy/solved"] {
            let set = format!("train.metric_for_best_model={name}");
            assert_eq!(best(&[&set]), Some(("eval/greedy/solved".to_owned(), true)), "{name}");
        }
        let short = ["train.metric_for_best_model=mean_length", "train.greater_is_better=false"];
        assert_eq!(best(&short), Some(("eval/greedy/mean_length".to_owned(), false)));
        let two = "eval.temperatures=[0.9, 0.0]";
        assert_eq!(best(&[two, "train.load_best_model_at_end=true"]).unwrap().0, "eval/t0.9/reward");
        let many = ["eval.temperatures=[0.9]", "eval.num_samples=4", "train.metric_for_best_model=pass@4"];
        assert_eq!(best(&many).unwrap().0, "eval/t0.9/pass@4");
    }

    #[test]
    fn a_resolved_file_says_what_is_compared_and_means_the_same_again() {
        let config = resolve(MINIMAL, &["train.load_best_model_at_end=true"], Command::Sft).unwrap();
        let text = config.to_toml().unwrap();
        assert!(text.contains("metric_for_best_model = \"eval/greedy/reward\"\ngreater_is_better = true"), "{text}");
        assert_eq!(resolve(&text, &[], Command::Sft).unwrap(), config);
        // what a run compared is nothing to whoever only evaluates it at other settings
        assert!(resolve(&text, &["eval.temperatures=[0.9]"], Command::Eval).is_ok());
    }

    #[test]
    fn a_figure_that_no_evaluation_has_is_refused_with_those_there_are() {
        for (set, name) in [("eval.limit=0", "acuracy"), ("eval.limit=0", "pass@1"), ("eval.limit=0", "items")] {
            let text = refused(&[set, &format!("train.metric_for_best_model={name}")], Command::Train);
            assert!(text.contains(&format!("{name:?}: no evaluation has this figure")), "{text}");
            assert!(text.contains("there are eval/greedy/reward, eval/greedy/accuracy"), "{text}");
        }
        let text = refused(&["eval.temperatures=[0, 0.5]", "train.metric_for_best_model=reward"], Command::Sft);
        assert!(text.contains("eval/greedy/reward") && text.contains("eval/t0.5/reward"), "{text}");
    }

    #[test]
    fn the_best_evaluation_must_have_a_checkpoint() {
        let ask = "train.early_stopping_patience=1";
        assert!(resolve(MINIMAL, &[ask, "train.save_steps=5", "eval.eval_steps=10"], Command::Sft).is_ok());
        assert!(resolve(MINIMAL, &[ask, "train.save_steps=5", "eval.eval_steps=0"], Command::Sft).is_ok());
        assert!(resolve(MINIMAL, &["train.save_steps=10", "eval.eval_steps=5"], Command::Sft).is_ok());
        let text = refused(&[ask, "train.save_steps=10", "eval.eval_steps=25"], Command::Sft);
        assert!(text.contains("eval.eval_steps = 25 is not a multiple of train.save_steps = 10"), "{text}");
        assert!(text.contains("early_stopping_patience asks") && text.contains("eval_steps = 20 or 30, or"), "{text}");
        assert!(text.contains("save_steps = 25"), "{text}");
    }

    #[test]
    fn keys_that_would_do_nothing_are_refused() {
        let text = refused(&["train.greater_is_better=true", "train.early_stopping_threshold=0.1"], Command::Train);
        assert!(text.contains("greater_is_better = true without train.metric_for_best_model"), "{text}");
        assert!(text.contains("early_stopping_threshold = 0.1 without train.early_stopping_patience"), "{text}");
    }
}
