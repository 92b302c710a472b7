//! Results and samples in the shape of EleutherAI's lm-evaluation-harness, for the tools that read its files.
//!
//! A task of such a file is a task at one setting, such as `sudoku-greedy`. What the harness has and this does not
//! (groups, few-shot counts) is left out.

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::timestamp::Timestamp;
use super::{Estimate, Evaluation, Outcome, Sample};
use crate::config::{RolloutTable, RunConfig, Setting};
use crate::files::hex;
use crate::runtime;
use crate::task::mean_parts;

/// Fields of a record that may hold what is asked for; the first that is there is shown as the target.
const TARGETS: [&str; 4] = ["ground_truth", "solution", "answer", "target"];

/// What a file says of the model and of how it was run.
pub struct Provenance<'a> {
    /// The configuration.
    pub config: &'a RunConfig,
    /// Name of the task.
    pub task: &'a str,
    /// The adapter or model folder that was evaluated; none: the base model of the configuration.
    pub checkpoint: Option<String>,
    /// The commit of the base model on the hub; none for a folder.
    pub model_commit: Option<String>,
    /// The device it ran on.
    pub device: String,
    /// Records of the split.
    pub split_size: usize,
    /// When this was written.
    pub date: Timestamp,
    /// Time from the start of the evaluation, with everything loaded, to now.
    pub seconds: f64,
}

impl Provenance<'_> {
    /// The name of a setting: its task's name and its label.
    pub fn name(&self, setting: &Setting) -> String {
        format!("{}-{}", self.task, setting.label)
    }

    /// The results file.
    pub fn results(&self, outcomes: &[Outcome]) -> Value {
        let (config, eval, model) = (self.config, self.config.eval(), self.config.model());
        let of = |value: &dyn Fn(&Evaluation) -> Value| -> Value {
            let named = outcomes.iter().map(|o| (self.name(&o.evaluation.setting), value(&o.evaluation)));
            Value::Object(named.collect())
        };
        json!({
            "results": of(&|e| self.figures(e)),
            "configs": of(&|e| json!({
                "task": self.task,
                "split": eval.split,
                "output_type": "generate_until",
                "repeats": e.num_samples,
                "generation_kwargs": self.generation(&e.setting),
                "metadata": { "task": config.task(), "version": env!("CARGO_PKG_VERSION") },
            })),
            "versions": of(&|_| env!("CARGO_PKG_VERSION").into()),
            "n-samples": of(&|e| json!({ "original": self.split_size, "effective": e.items })),
            "config": {
                "model": model.name_or_path,
                "revision": model.revision,
                "model_sha": self.model_commit,
                "ckpt": self.checkpoint,
                "dtype": model.dtype,
                "device": self.device,
                "batch_size": eval.batch_size,
                "limit": if eval.limit == 0 { Value::Null } else { eval.limit.into() },
                "seed": eval.seed,
                "max_prompt_length": config.rollout().max_prompt_length,
                "truncate_prompts": config.rollout().truncate_prompts,
                "merge_adapters": config.rollout().merge_adapters,
            },
            "git_hash": runtime::REVISION,
            "date": self.date.seconds(),
            "model_name": self.checkpoint.as_ref().unwrap_or(&model.name_or_path),
            "total_evaluation_time_seconds": self.seconds.to_string(),
        })
    }

    fn figures(&self, e: &Evaluation) -> Value {
        let mut fields = Map::from_iter([("alias".to_owned(), Value::from(self.name(&e.setting)))]);
        let mut estimate = |name: &str, value: f64, stderr: Option<f64>| {
            fields.insert(format!("{name},none"), value.into());
            // the harness writes this where a standard error cannot be had
            let stderr = stderr.map_or(Value::from("N/A"), Value::from);
            fields.insert(format!("{name}_stderr,none"), stderr);
        };
        estimate("acc", e.accuracy, e.accuracy_stderr);
        estimate("solved", e.solved, e.solved_stderr);
        estimate("exact", e.exact, e.exact_stderr);
        for (i, &Estimate { value, stderr }) in e.pass_at_k.iter().enumerate() {
            estimate(&format!("pass@{}", i + 1), value, stderr);
        }
        estimate("reward", e.reward, e.reward_stderr);
        for (name, value) in [
            ("mean_length", e.mean_length),
            ("effective_tokens", e.effective_tokens),
            ("decoding_steps", e.decoding_steps),
            ("tokens_per_second", e.tokens_per_second),
        ] {
            fields.insert(format!("{name},none"), value.into());
        }
        fields.into()
    }

    /// What the completions of a setting depend on beside the model, the record and `eval.seed`.
    fn generation(&self, setting: &Setting) -> Value {
        // all of the table by name: a key that is added has to be thought of here
        let RolloutTable {
            top_p,
            top_k,
            confidence,
            ranking_temperature,
            cfg_scale,
            cache,
            cache_refresh_steps,
            commit,
            early_stop,
            max_prompt_length,
            truncate_prompts,
            // the setting has its own
            max_completion_length: _,
            block_length: _,
            diffusion_steps: _,
            temperature: _,
            remasking: _,
            // how they are decoded, not which
            batch_size: _,
            merge_adapters: _,
            // of training
            drift_check: _,
            min_agreement: _,
        } = self.config.rollout();
        json!({
            "max_completion_length": setting.max_completion_length,
            "block_length": setting.block_length,
            "order": setting.order,
            "diffusion_steps": setting.diffusion_steps,
            "remasking": setting.remasking,
            "temperature": setting.temperature,
            "top_p": top_p,
            "top_k": top_k,
            "confidence": confidence,
            "ranking_temperature": ranking_temperature,
            "cfg_scale": cfg_scale,
            "cache": cache,
            "cache_refresh_steps": cache_refresh_steps,
            "commit": commit,
            "early_stop": early_stop,
            "max_prompt_length": max_prompt_length,
            "truncate_prompts": truncate_prompts,
        })
    }

    /// The samples file of a setting: a line a record. It depends neither on the clock nor on the batch size.
    pub fn samples(&self, outcome: &Outcome) -> String {
        let generation = self.generation(&outcome.evaluation.setting);
        outcome.samples.iter().map(|sample| sample_row(sample, &generation).to_string() + "\n").collect()
    }
}

fn sample_row(sample: &Sample, generation: &Value) -> Value {
    let responses = &sample.responses;
    let n = responses.len() as f64;
    let texts: Vec<&str> = responses.iter().map(|r| r.text.as_str()).collect();
    let answers: Vec<Option<&str>> = responses.iter().map(|r| r.grade.answer.as_deref()).collect();
    let mut row = Map::new();
    let mut set = |name: &str, value: Value| drop(row.insert(name.to_owned(), value));
    set("doc_id", sample.doc_id.into());
    set("doc", Value::Object(sample.record.fields().clone()));
    let target = TARGETS.iter().find_map(|&field| sample.record.fields().get(field)).map(text);
    if let Some(target) = &target {
        set("target", target.as_str().into());
    }
    // by number, not as a list: readers of tables take no list of a text and an object
    set("arguments", json!({ "gen_args_0": { "arg_0": sample.prompt, "arg_1": generation } }));
    set("resps", json!([texts]));
    set("filtered_resps", json!(answers));
    set("filter", "none".into());
    set("metrics", json!(["acc", "solved", "exact", "reward"]));
    // The harness tells records and prompts of two files apart by these; numbers in a record may be spelt otherwise there.
    let document = serde_json::to_string_pretty(sample.record.fields()).unwrap_or_default();
    set("doc_hash", sha256(&document).into());
    set("prompt_hash", sha256(&sample.prompt).into());
    set("target_hash", sha256(target.as_deref().unwrap_or_default()).into());
    let out_of = sample.sum(|r| r.grade.out_of as f64);
    set("acc", if out_of == 0.0 { 0.0.into() } else { (sample.sum(|r| r.grade.correct as f64) / out_of).into() });
    set("solved", (sample.solved() as f64 / n).into());
    set("exact", (sample.exact() as f64 / n).into());
    set("reward", (sample.sum(|r| r.reward.total) / n).into());
    let parts = mean_parts(responses.iter().map(|r| &r.reward)).into_iter();
    set("rewards", parts.map(|(name, mean)| (name.to_owned(), mean.into())).collect::<Map<_, Value>>().into());
    let details = responses.iter().map(|r| {
        json!({
            "correct": r.grade.correct,
            "out_of": r.grade.out_of,
            "solved": r.grade.solved(),
            "exact": r.grade.exact,
            "reward": r.reward.total,
            "rewards": r.reward.parts.iter().cloned().map(|(name, v)| (name.into(), v.into())).collect::<Map<_, Value>>(),
            "effective_tokens": r.effective_tokens,
            "decoding_steps": r.decoding_steps,
        })
    });
    set("responses", details.collect());
    row.into()
}

/// A value as text; a string as it is.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The hash in hexadecimal digits.
fn sha256(text: &str) -> String {
    hex(&Sha256::digest(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Command, Overrides, from_text, shipped};
    use crate::eval::figures::testing::{sample, setting};

    #[test]
    fn files_have_the_names_that_readers_look_for() {
        let text = shipped("sudoku-tiny").expect("shipped");
        let config = from_text("a.toml".as_ref(), text, &Overrides::default(), Command::Eval).expect("a config");
        let provenance = Provenance {
            config: &config,
            task: "sudoku",
            checkpoint: Some("runs/x/checkpoint-4".into()),
            model_commit: Some("c0ffee".into()),
            device: "cpu".into(),
            split_size: 88,
            date: Timestamp::now(),
            seconds: 1.5,
        };
        let samples = vec![sample(0, &[8, 4]), sample(3, &[0, 0])];
        let outcome = Outcome { evaluation: Evaluation::of(&setting(), &samples, 2.0), samples, replays: Vec::new() };
        let rows: Vec<Value> =
            provenance.samples(&outcome).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let results = provenance.results(&[outcome]);

        assert_eq!(results["config"]["model_sha"], "c0ffee");
        let figures = &results["results"]["sudoku-greedy"];
        assert_eq!((&figures["acc,none"], &figures["pass@2,none"]), (&json!(0.375), &json!(0.5)));
        assert_eq!((&figures["exact,none"], &figures["exact_stderr,none"]), (&json!(0.5), &json!(0.5)));
        assert!(figures["acc_stderr,none"].is_f64() && figures["effective_tokens,none"].is_f64(), "{figures}");
        assert_eq!(results["n-samples"]["sudoku-greedy"], json!({"original": 88, "effective": 2}));
        assert_eq!(results["configs"]["sudoku-greedy"]["generation_kwargs"]["block_length"], 8);
        assert_eq!(results["model_name"], "runs/x/checkpoint-4");
        assert_eq!(results["total_evaluation_time_seconds"], "1.5");

        assert_eq!((&rows[0]["doc_id"], &rows[1]["doc_id"]), (&json!(0), &json!(3)));
        assert_eq!((&rows[0]["target"], &rows[0]["doc"]["puzzle"]), (&json!("1"), &json!("0")));
        assert_eq!(rows[0]["resps"][0].as_array().map(Vec::len), Some(2));
        assert_eq!(rows[0]["filtered_resps"], json!(["8", "4"]));
        assert_eq!((&rows[0]["acc"], &rows[0]["solved"]), (&json!(0.75), &json!(0.5)));
        assert_eq!(rows[0]["rewards"], json!({"sudoku": 0.75}));
        assert_eq!(rows[0]["arguments"]["gen_args_0"]["arg_0"], "0");
        assert_eq!(rows[0]["arguments"]["gen_args_0"]["arg_1"]["block_length"], 8);
        assert_eq!((&rows[0]["exact"], &rows[0]["responses"][1]["exact"]), (&json!(1.0), &json!(true)));
        assert_eq!(
            (&rows[1]["responses"][1]["solved"], &rows[1]["responses"][1]["exact"]),
            (&json!(false), &json!(false))
        );
    }

    #[test]
    fn samples_without_hashes_could_not_be_told_apart() {
        let row = sample_row(&sample(0, &[8]), &json!({}));
        // python3: json.dumps({"puzzle": "0", "solution": "1"}, indent=2, ensure_ascii=False), then "0", then "1"
        for (name, hash) in [
            ("doc_hash", "7693b6d582ffc7bb9a2ac28dea044951da76cb97ad6d53a5171c10fc8a3377db"),
            ("prompt_hash", "5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9"),
            ("target_hash", "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"),
        ] {
            assert_eq!(row[name], hash, "{name}");
        }
        let mut numbers = sample(0, &[8]);
        numbers.record = serde_json::from_value(json!({ "target": 24, "numbers": [1, 2] })).expect("a record");
        assert_eq!(sample_row(&numbers, &json!({}))["target"], "24", "a column has one type");
    }

    #[test]
    fn what_has_no_standard_error_says_so() {
        let text = shipped("sudoku-tiny").expect("shipped");
        let config = from_text("a.toml".as_ref(), text, &Overrides::default(), Command::Eval).expect("a config");
        let provenance = Provenance {
            config: &config,
            task: "t",
            checkpoint: None,
            model_commit: None,
            device: "cpu".into(),
            split_size: 1,
            date: Timestamp::now(),
            seconds: 1.0,
        };
        let figures = provenance.figures(&Evaluation::of(&setting(), &[sample(0, &[8])], 1.0));
        assert_eq!((&figures["acc,none"], &figures["acc_stderr,none"]), (&json!(1.0), &json!("N/A")));
    }
}
