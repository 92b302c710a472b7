//! Which checkpoints are kept, which of them is the best, and when a run has gone on for long enough without a better one.
//!
//! All of it follows from the evaluations in the lines of the metrics, so that a run that was killed, and has the same
//! lines again, decides the same again; and where another figure is asked for at a resume, it is as if it always had been.

use serde::{Deserialize, Serialize};

use crate::config::{BestModel, CHECKPOINT, RunConfig};
use crate::report::Row;

/// The checkpoints that stay, and the evaluations by which they are compared.
#[derive(Clone, Debug)]
pub struct Retention {
    keep_last: usize,
    judge: Option<Judge>,
}

/// Compares evaluations.
#[derive(Clone, Debug)]
struct Judge {
    model: BestModel,
    patience: Option<usize>,
    threshold: f64,
    best: Option<Best>,
    without_improvement: usize,
}

/// The best evaluation so far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Best {
    /// Its step; 0: no update has made it better.
    pub step: usize,
    /// Its figure.
    pub value: f64,
}

/// What `trainer_state.json` says of it, under transformers' names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// The best figure so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best_metric: Option<f64>,
    /// The step it is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best_global_step: Option<usize>,
    /// The name of its checkpoint in the run folder; none for step 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best_model_checkpoint: Option<String>,
    /// Evaluations in a row without an improvement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub early_stopping_patience_counter: Option<usize>,
}

impl Retention {
    /// Of a run that begins.
    pub fn new(config: &RunConfig) -> Self {
        let train = config.train();
        Self {
            keep_last: train.save_total_limit.get(),
            judge: config.best_model().map(|model| Judge {
                model,
                patience: train.early_stopping_patience.map(|n| n.get()),
                threshold: train.early_stopping_threshold.get(),
                best: None,
                without_improvement: 0,
            }),
        }
    }

    /// Of a run that another process leads, which notes this.
    pub fn following(config: &RunConfig, noted: &Standing) -> Self {
        let mut retention = Self::new(config);
        retention.adopt(noted, noted.best_global_step.as_slice());
        retention
    }

    /// Of a run with these lines and the checkpoints of these steps. An evaluation whose checkpoint is gone is not the
    /// best: it was deleted when something else was, or nothing.
    pub fn of(config: &RunConfig, rows: &[Row], saved: &[usize]) -> Self {
        let over = |is_kept: &dyn Fn(usize) -> bool| {
            let mut retention = Self::new(config);
            for row in rows.iter().filter(|row| is_kept(row.step())) {
                retention.observe(row);
            }
            retention
        };
        let all = over(&|_| true);
        let is_kept = |step: usize| step == 0 || saved.contains(&step);
        let Some(lost) = all.best().filter(|best| !is_kept(best.step)) else { return all };
        let kept = over(&is_kept);
        tracing::warn!(
            "{} was best at step {}, of which there is no checkpoint any more: only the evaluations that have theirs count",
            kept.metric().unwrap_or_default(),
            lost.step
        );
        kept
    }

    /// Takes in the next line. Whether it is the best evaluation so far; of equal ones the earlier is.
    pub fn observe(&mut self, row: &Row) -> bool {
        self.judge.as_mut().is_some_and(|judge| judge.observe(row))
    }

    /// Whether no evaluation has been taken in.
    pub fn is_fresh(&self) -> bool {
        self.judge.as_ref().is_none_or(|judge| judge.best.is_none() && judge.without_improvement == 0)
    }

    /// Takes over what a checkpoint notes; whether it notes a best evaluation of which there is a checkpoint.
    pub fn adopt(&mut self, noted: &Standing, saved: &[usize]) -> bool {
        let (Some(judge), Some(value), Some(step)) = (&mut self.judge, noted.best_metric, noted.best_global_step)
        else {
            return false;
        };
        if step > 0 && !saved.contains(&step) {
            return false;
        }
        judge.best = Some(Best { step, value });
        judge.without_improvement = noted.early_stopping_patience_counter.unwrap_or(0);
        true
    }

    /// The best evaluation so far, where one is looked for.
    pub fn best(&self) -> Option<Best> {
        self.judge.as_ref()?.best
    }

    /// The figure that is compared, where one is.
    pub fn metric(&self) -> Option<&str> {
        Some(&self.judge.as_ref()?.model.metric)
    }

    /// Why the run is over before its last step, if it is.
    pub fn verdict(&self) -> Option<String> {
        let judge = self.judge.as_ref()?;
        let (patience, best) = (judge.patience?, judge.best?);
        let evaluations = match judge.without_improvement {
            1 => "the last evaluation".to_owned(),
            n => format!("the last {n} evaluations"),
        };
        let more = if judge.threshold > 0.0 { format!(" by more than {}", judge.threshold) } else { String::new() };
        (judge.without_improvement >= patience).then(|| {
            format!(
                "{evaluations} did not improve {}{more}, whose best is {:.4} at step {} (train.early_stopping_patience = \
                 {patience})",
                judge.model.metric, best.value, best.step
            )
        })
    }

    /// Which of the saved steps, the oldest first, may go: the oldest beyond the number to keep, but neither the last nor
    /// the best. (A run that was stopped before its first update has a checkpoint of step 0, which is nothing to keep.)
    pub fn obsolete(&self, saved: &[usize]) -> Vec<usize> {
        let best = self.best().map(|best| best.step).filter(|&step| step > 0);
        let Some((_, before)) = saved.split_last() else { return Vec::new() };
        let beyond = saved.len().saturating_sub(self.keep_last);
        before.iter().copied().filter(|&step| Some(step) != best).take(beyond).collect()
    }

    /// What is noted of it in a checkpoint.
    pub fn standing(&self) -> Standing {
        let Some(judge) = &self.judge else { return Standing::default() };
        Standing {
            best_metric: judge.best.map(|best| best.value),
            best_global_step: judge.best.map(|best| best.step),
            best_model_checkpoint: judge
                .best
                .filter(|best| best.step > 0)
                .map(|best| format!("{CHECKPOINT}{}", best.step)),
            early_stopping_patience_counter: judge.patience.map(|_| judge.without_improvement),
        }
    }
}

impl Judge {
    fn observe(&mut self, row: &Row) -> bool {
        let Some((_, value)) = row.iter().find(|(name, _)| *name == self.model.metric) else { return false };
        // not a number where it is no number: JSON has no word for it
        let value = value.as_f64().unwrap_or(f64::NAN);
        // what is read back from a file may be off by the last bit, which must not decide
        let rounded = |x: f64| f64::from(x as f32);
        let gain = match (self.best, self.model.greater_is_better) {
            (None, _) => f64::INFINITY,
            (Some(best), true) => rounded(value) - rounded(best.value),
            (Some(best), false) => rounded(best.value) - rounded(value),
        };
        let is_best = value.is_finite() && gain > 0.0;
        if is_best && gain > self.threshold {
            self.without_improvement = 0;
        } else {
            self.without_improvement += 1;
        }
        if is_best {
            self.best = Some(Best { step: row.step(), value });
        }
        is_best
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::{Command, Overrides, from_text, shipped};

    const METRIC: &str = "eval/greedy/reward";

    fn config(changes: &[&str]) -> RunConfig {
        let set = ["train.metric_for_best_model=greedy/reward", "train.save_steps=40"].iter().chain(changes);
        let set = set.map(|change| change.parse().expect("an assignment")).collect();
        let overrides = Overrides { set, ..Overrides::default() };
        let text = shipped("sudoku-tiny").expect("shipped");
        from_text("a.toml".as_ref(), text, &overrides, Command::Train).expect("a config")
    }

    fn row(step: usize, value: f64) -> Row {
        let mut row = Row::new(step);
        row.set("eval/t0.9/reward", 1.0).set(METRIC, value);
        row
    }

    fn rows(values: &[f64]) -> Vec<Row> {
        values.iter().enumerate().map(|(i, &value)| row(i, value)).collect()
    }

    fn over(changes: &[&str], values: &[f64]) -> Retention {
        Retention::of(&config(changes), &rows(values), &(0..values.len()).collect::<Vec<_>>())
    }

    fn best_step(retention: &Retention) -> Option<usize> {
        retention.best().map(|best| best.step)
    }

    #[test]
    fn the_first_of_the_best_numbers_is_the_best() {
        assert_eq!(best_step(&over(&[], &[0.5, f64::NAN, 0.7, f64::INFINITY, 0.7, 0.6])), Some(2));
        assert_eq!(best_step(&over(&["train.greater_is_better=false"], &[0.5, 0.4, 0.7, 0.4])), Some(1));
        assert_eq!(best_step(&over(&[], &[f64::NAN])), None);
        assert_eq!(best_step(&over(&[], &[0.1 + 0.2, 0.3, 0.30000000000000004])), Some(0), "the last bit is no gain");
        assert_eq!(over(&[], &[f64::NAN]).verdict(), None);
    }

    #[test]
    fn patience_counts_evaluations_without_improvement() {
        let counts = |changes: &[&str], values: &[f64]| {
            let changes = [&["train.early_stopping_patience=2"], changes].concat();
            let retention = over(&changes, values);
            let counter = retention.standing().early_stopping_patience_counter;
            (counter.expect("it counts"), retention.verdict().is_some())
        };
        assert_eq!(counts(&[], &[0.5, 0.4, 0.6, 0.6]), (1, false));
        assert_eq!(counts(&[], &[0.5, 0.4, 0.6, 0.6, f64::NAN]), (2, true));
        let threshold = "train.early_stopping_threshold=0.2";
        assert_eq!(counts(&[threshold], &[0.5, 0.6, 0.7]), (2, true));
        assert_eq!(counts(&[threshold], &[0.5, 0.6, 0.9]), (0, false));
        let verdict = over(&["train.early_stopping_patience=1"], &[0.5, 0.25]).verdict().expect("over");
        assert!(
            verdict.contains("the last evaluation did not improve eval/greedy/reward, whose best is 0.5000"),
            "{verdict}"
        );
        assert_eq!(over(&[], &[0.5, 0.4, 0.3, 0.2]).verdict(), None, "nobody asked to stop");
    }

    #[test]
    fn lines_without_the_figure_say_nothing_and_a_run_that_looks_for_none_has_no_best() {
        let mut retention = Retention::new(&config(&["train.early_stopping_patience=1"]));
        assert!(retention.observe(&row(0, 0.5)));
        let mut other = Row::new(4);
        other.set("eval/t0.9/reward", 0.1).set("reward", 0.1);
        assert!(!retention.observe(&other) && retention.verdict().is_none());

        let plain = from_text(
            "a.toml".as_ref(),
            shipped("sudoku-tiny").expect("shipped"),
            &Overrides::default(),
            Command::Train,
        );
        let mut plain = Retention::new(&plain.expect("a config"));
        assert!(!plain.observe(&row(0, 0.5)) && plain.best().is_none());
        assert_eq!(plain.standing(), Standing::default());
        assert_eq!(serde_json::to_string(&Standing::default()).expect("JSON"), "{}");
    }

    #[test]
    fn an_evaluation_whose_checkpoint_is_gone_is_not_the_best() {
        let lines = rows(&[0.1, 0.9, 0.3, 0.2]);
        let of = |saved: &[usize]| best_step(&Retention::of(&config(&[]), &lines, saved));
        assert_eq!((of(&[1, 2, 3]), of(&[2, 3]), of(&[])), (Some(1), Some(2), Some(0)));
    }

    #[test]
    fn the_best_is_one_of_the_checkpoints_kept() {
        let obsolete = |limit: usize, values: &[f64]| {
            let retention = over(&[&format!("train.save_total_limit={limit}")], values);
            retention.obsolete(&(1..values.len()).collect::<Vec<_>>())
        };
        assert_eq!(obsolete(2, &[0.0, 0.9, 0.3, 0.2, 0.1]), [2, 3]);
        assert_eq!(obsolete(1, &[0.0, 0.9, 0.3, 0.2, 0.1]), [2, 3], "the last, and the best");
        assert_eq!(obsolete(1, &[0.0, 0.1, 0.2, 0.3]), [1, 2]);
        assert_eq!(obsolete(3, &[0.9, 0.1, 0.2, 0.3, 0.4]), [1]);
        assert_eq!(obsolete(3, &[0.9]), [0; 0]);
    }

    proptest! {
        /// As a run goes on, evaluating and deleting, wherever it is killed and judges its lines again.
        #[test]
        fn neither_the_best_nor_the_last_is_ever_deleted_and_a_resumed_run_decides_the_same(
            // few values, so that there are ties; above 4 they are no numbers
            values in proptest::collection::vec(0..6_u8, 1..20),
            limit in 1..5_usize,
            patience in 1..4_usize,
            killed_at in 0..20_usize,
        ) {
            let changes =
                [format!("train.save_total_limit={limit}"), format!("train.early_stopping_patience={patience}")];
            let config = config(&changes.each_ref().map(String::as_str));
            let value = |v: u8| if v > 4 { f64::NAN } else { f64::from(v) / 4.0 };
            let (mut retention, mut saved, mut lines) = (Retention::new(&config), Vec::new(), Vec::new());
            for (step, v) in values.into_iter().map(value).enumerate() {
                if step > 0 {
                    saved.push(step);
                }
                lines.push(row(step, v));
                retention.observe(&lines[step]);
                if step == killed_at {
                    let again = Retention::of(&config, &lines, &saved);
                    prop_assert_eq!(again.standing(), retention.standing());
                    prop_assert_eq!(again.verdict(), retention.verdict());
                    retention = again;
                }
                let obsolete = retention.obsolete(&saved);
                let best = best_step(&retention);
                prop_assert!(obsolete.iter().all(|gone| Some(*gone) != best && *gone != step));
                saved.retain(|step| !obsolete.contains(step));
                prop_assert!(saved.len() <= limit.max(2));
                prop_assert!(saved.len() == limit.min(step) || limit == 1, "no more goes than has to");
                prop_assert!(retention.obsolete(&saved).is_empty());
                prop_assert!(best.is_none_or(|best| best == 0 || saved.contains(&best)));
            }
        }
    }
}
