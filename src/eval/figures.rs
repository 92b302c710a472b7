//! The figures of one setting.

use serde::{Serialize, Serializer};

use super::{Estimate, Sample, pass_at_k};
use crate::config::Setting;
use crate::report::Row;

/// The figures of one setting. Means are over all completions, standard errors over records.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// How the completions were decoded.
    #[serde(flatten)]
    pub setting: Setting,
    /// Records decoded.
    pub items: usize,
    /// Completions of every record.
    pub num_samples: usize,
    /// Right units of all answers over all units asked for (cells for Sudoku), 0 to 1.
    pub accuracy: f64,
    /// Its standard error.
    pub accuracy_stderr: Option<f64>,
    /// Completions whose whole answer is right, 0 to 1.
    pub solved: f64,
    /// Its standard error.
    pub solved_stderr: Option<f64>,
    /// Completions whose whole answer is right by the exact grader ([`Grade::exact`](crate::task::Grade)), 0 to 1.
    pub exact: f64,
    /// Its standard error.
    pub exact_stderr: Option<f64>,
    /// pass@1 to pass@`num_samples`, 0 to 1: the probability that one of so many completions is solved.
    #[serde(serialize_with = "by_k")]
    pub pass_at_k: Vec<Estimate>,
    /// Mean training reward.
    pub reward: f64,
    /// Its standard error.
    pub reward_stderr: Option<f64>,
    /// Mean tokens up to and including the end of the completion.
    pub mean_length: f64,
    /// Mean tokens before the first EOS.
    pub effective_tokens: f64,
    /// Mean denoising steps of a completion.
    pub decoding_steps: f64,
    /// Tokens decoded a second, canvases counted whole.
    pub tokens_per_second: f64,
}

/// `{"pass@1": ..., "pass@2": ...}`
fn by_k<S: Serializer>(estimates: &[Estimate], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(estimates.iter().enumerate().map(|(i, e)| (format!("pass@{}", i + 1), e.value)))
}

impl Evaluation {
    /// The figures of `samples`, which took `seconds` to decode.
    pub fn of(setting: &Setting, samples: &[Sample], seconds: f64) -> Self {
        let num_samples = samples.first().map_or(0, |s| s.responses.len());
        let completions = (samples.len() * num_samples) as f64;
        let pairs = |y: &dyn Fn(&Sample) -> f64, x: &dyn Fn(&Sample) -> f64| {
            Estimate::ratio(&samples.iter().map(|s| (y(s), x(s))).collect::<Vec<_>>())
        };
        let each = |s: &Sample| s.responses.len() as f64;
        let accuracy = pairs(&|s| s.sum(|r| r.grade.correct as f64), &|s| s.sum(|r| r.grade.out_of as f64));
        let solved = pairs(&|s| s.solved() as f64, &each);
        let exact = pairs(&|s| s.exact() as f64, &each);
        let reward = pairs(&|s| s.sum(|r| r.reward.total), &each);
        let mean = |number: fn(&super::Response) -> usize| {
            samples.iter().flat_map(|s| &s.responses).map(number).sum::<usize>() as f64 / completions
        };
        let pass = |k| Estimate::mean(samples.iter().map(|s| pass_at_k(s.responses.len(), s.solved(), k)));
        Self {
            setting: setting.clone(),
            items: samples.len(),
            num_samples,
            accuracy: accuracy.value,
            accuracy_stderr: accuracy.stderr,
            solved: solved.value,
            solved_stderr: solved.stderr,
            exact: exact.value,
            exact_stderr: exact.stderr,
            pass_at_k: (1..=num_samples).map(pass).collect(),
            reward: reward.value,
            reward_stderr: reward.stderr,
            mean_length: mean(|r| r.length),
            effective_tokens: mean(|r| r.effective_tokens),
            decoding_steps: mean(|r| r.decoding_steps),
            tokens_per_second: completions * setting.max_completion_length as f64 / seconds,
        }
    }

    /// The setting's name in metrics and file names.
    pub fn label(&self) -> &str {
        &self.setting.label
    }

    /// Adds the figures to a metrics row, under `eval/<label>/`; pass@k where there is more than one completion.
    pub fn report(&self, row: &mut Row) {
        let mut set = |name: &str, value: f64| {
            row.set(&format!("eval/{}/{name}", self.setting.label), value);
        };
        set("items", self.items as f64);
        set("accuracy", self.accuracy);
        if let Some(stderr) = self.accuracy_stderr {
            set("accuracy_stderr", stderr);
        }
        set("solved", self.solved);
        set("exact", self.exact);
        set("reward", self.reward);
        set("mean_length", self.mean_length);
        set("effective_tokens", self.effective_tokens);
        set("decoding_steps", self.decoding_steps);
        set("tokens_per_second", self.tokens_per_second);
        for (i, pass) in self.pass_at_k.iter().enumerate().filter(|_| self.num_samples > 1) {
            set(&format!("pass@{}", i + 1), pass.value);
        }
    }

    /// What [`Evaluation::report`] wrote of a setting: all that a table shows, without the other standard errors.
    pub fn read(setting: &Setting, row: &Row, num_samples: usize) -> Option<Self> {
        let get = |name: &str| row.number(&format!("eval/{}/{name}", setting.label));
        let pass = |k: usize| Some(Estimate { value: get(&format!("pass@{k}"))?, stderr: None });
        let solved = get("solved")?;
        Some(Self {
            setting: setting.clone(),
            items: get("items")? as usize,
            num_samples,
            accuracy: get("accuracy")?,
            accuracy_stderr: get("accuracy_stderr"),
            solved,
            solved_stderr: None,
            exact: get("exact")?,
            exact_stderr: None,
            pass_at_k: match num_samples {
                1 => vec![Estimate { value: solved, stderr: None }],
                n => (1..=n).map(pass).collect::<Option<_>>()?,
            },
            reward: get("reward")?,
            reward_stderr: None,
            mean_length: get("mean_length")?,
            effective_tokens: get("effective_tokens")?,
            decoding_steps: get("decoding_steps")?,
            tokens_per_second: get("tokens_per_second")?,
        })
    }
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;
    use crate::config::{Order, Remasking};
    use crate::eval::Response;
    use crate::task::{Grade, Record, Reward};

    pub fn setting() -> Setting {
        Setting {
            label: "greedy".into(),
            temperature: 0.0,
            place: 0,
            remasking: Remasking::LowConfidence,
            max_completion_length: 40,
            order: Order::Block,
            block_length: 8,
            diffusion_steps: 10,
        }
    }

    /// A Sudoku of eight empty cells, of which every response has so many right. The exact verdict is not that of
    /// `solved`, so that a test sees which of them a figure is made of.
    pub fn sample(doc_id: usize, correct: &[usize]) -> Sample {
        let response = |&correct: &usize| Response {
            text: format!("<answer>{correct}</answer><|endoftext|>"),
            completion: format!("<answer>{correct}</answer>"),
            grade: Grade { answer: Some(correct.to_string()), correct, out_of: 8, exact: correct >= 4 },
            reward: Reward::of([("sudoku", correct as f64 / 8.0)]),
            length: 10 + correct,
            effective_tokens: 9 + correct,
            decoding_steps: 10,
        };
        Sample {
            doc_id,
            record: Record::from([("puzzle", "0".to_owned()), ("solution", "1".to_owned())]),
            prompt: "0".into(),
            responses: correct.iter().map(response).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{sample, setting};
    use super::*;

    #[test]
    fn means_are_over_completions_and_pass_at_k_over_records() {
        let e = Evaluation::of(&setting(), &[sample(0, &[8, 4]), sample(1, &[0, 0])], 2.0);
        assert_eq!((e.items, e.num_samples), (2, 2));
        assert_eq!((e.accuracy, e.solved, e.reward), (12.0 / 32.0, 0.25, 0.375));
        // one record has both completions right, the other none
        assert_eq!((e.exact, e.exact_stderr), (0.5, Some(0.5)));
        let pass: Vec<f64> = e.pass_at_k.iter().map(|p| p.value).collect();
        assert_eq!(pass, [0.25, 0.5]);
        assert_eq!((e.mean_length, e.effective_tokens, e.decoding_steps), (13.0, 12.0, 10.0));
        assert_eq!(e.tokens_per_second, 80.0);
        // rewards of the two records are 0.75 and 0
        assert!((e.reward_stderr.expect("two records") - 0.375).abs() < 1e-12);
    }

    #[test]
    fn json_names_the_setting_and_every_k() {
        let e = Evaluation::of(&setting(), &[sample(0, &[8, 4])], 1.0);
        let json = serde_json::to_value(&e).expect("JSON");
        assert_eq!(json["temperature"], 0.0);
        assert_eq!(json["remasking"], "low_confidence");
        assert_eq!(json["pass_at_k"], serde_json::json!({"pass@1": 0.5, "pass@2": 1.0}));
        assert_eq!((&json["exact"], &json["solved"]), (&serde_json::json!(1.0), &serde_json::json!(0.5)));
        assert_eq!(json["accuracy_stderr"], serde_json::Value::Null);
    }

    #[test]
    fn a_line_of_metrics_gives_back_what_a_table_shows() {
        for correct in [&[8, 4][..], &[3]] {
            let e = Evaluation::of(&setting(), &[sample(0, correct), sample(1, correct)], 2.0);
            let mut row = Row::new(0);
            e.report(&mut row);
            let read = Evaluation::read(&setting(), &row, correct.len()).expect("a whole row");
            let table = |e: &Evaluation| {
                crate::eval::render_table(&[crate::eval::Column { name: "x", evaluations: std::slice::from_ref(e) }])
            };
            assert_eq!(table(&read), table(&e));
            assert_eq!(Evaluation::read(&setting(), &Row::new(0), correct.len()), None);
        }
    }

    #[test]
    fn metrics_have_pass_at_k_only_for_several_completions() {
        let names = |correct: &[usize]| {
            let mut row = Row::new(0);
            Evaluation::of(&setting(), &[sample(0, correct)], 1.0).report(&mut row);
            row.iter().map(|(name, _)| name.to_owned()).collect::<Vec<_>>()
        };
        assert!(names(&[8]).contains(&"eval/greedy/accuracy".to_owned()));
        assert!(names(&[8]).contains(&"eval/greedy/exact".to_owned()));
        assert!(!names(&[8]).iter().any(|n| n.contains("pass@")));
        assert!(names(&[8, 0]).contains(&"eval/greedy/pass@2".to_owned()));
    }
}
