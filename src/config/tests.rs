//! The configuration as a whole: the files that ship, the documentation, the messages.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use toml::{Table, Value};

use super::*;

/// Required keys and nothing else.
pub(super) const MINIMAL: &str = r#"
[run]
output_dir = "runs/x"
[model]
name_or_path = "m"
[task.sudoku]
[rollout]
max_completion_length = 40
block_length = 8
diffusion_steps = 20
[algorithm.spg]
[sft]
batch_size = 4
[train]
max_steps = 8
learning_rate = 1e-3
"#;

fn set(assignments: &[&str]) -> Overrides {
    Overrides { set: assignments.iter().map(|a| a.parse().unwrap()).collect(), ..Overrides::default() }
}

pub(super) fn resolve(text: &str, assignments: &[&str], command: Command) -> Result<RunConfig, String> {
    from_text(Path::new("a.toml"), text, &set(assignments), command).map_err(|e| e.to_string())
}

/// The messages of the problems that `MINIMAL` with these changes has.
pub(super) fn refused(assignments: &[&str], command: Command) -> String {
    resolve(MINIMAL, assignments, command).expect_err("accepted")
}

pub(super) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("configs")
}

fn temperatures(config: &RunConfig) -> Vec<f64> {
    config.eval().temperatures.iter().map(|t| t.get()).collect()
}

#[test]
fn adapters_are_merged_in_full_precision_only() {
    assert!(resolve(MINIMAL, &["rollout.merge_adapters=true"], Command::Train).is_ok());
    let text = refused(&["rollout.merge_adapters=true", "model.dtype=bf16"], Command::Train);
    assert!(text.contains("rollout.merge_adapters = true needs model.dtype"), "{text}");
}

#[test]
fn every_file_of_the_folder_resolves_and_round_trips() {
    let mut seen = 0;
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "toml") {
            continue;
        }
        seen += 1;
        let command = if path.to_string_lossy().contains("sft") { Command::Sft } else { Command::Train };
        for command in [command, Command::Eval] {
            let config = load(&path, &Overrides::default(), command).unwrap_or_else(|e| panic!("{e}"));
            let text = config.to_toml().unwrap();
            let again =
                from_text(&path, &text, &Overrides::default(), command).unwrap_or_else(|e| panic!("{e}\n{text}"));
            assert_eq!(config, again, "{text}");
        }
    }
    assert!(seen >= 3);
}

#[test]
fn every_required_key_is_missed_by_name() {
    for line in MINIMAL.lines().filter(|l| l.contains('=')) {
        let key = line.split(' ').next().unwrap();
        let error = resolve(&MINIMAL.replace(line, ""), &[], Command::Train).unwrap_err();
        assert!(error.contains(&format!("missing field `{key}`")), "{error}");
    }
}

#[test]
fn an_unknown_key_shows_its_line_with_a_caret() {
    let text = MINIMAL.replace("block_length", "block_lenght");
    let error = resolve(&text, &[], Command::Train).unwrap_err();
    assert!(error.starts_with("a.toml: "), "{error}");
    assert!(error.contains("9 | block_lenght = 8\n  | ^^^^^^^^^^^^\nunknown field `block_lenght`"), "{error}");
}

#[test]
fn a_value_out_of_range_shows_its_line_with_a_caret() {
    for (value, expected) in [
        ("temperature = -1.0", "-1 is out of range: expected a finite number, 0 or above"),
        (
            "remasking = \"most\"",
            "unknown variant `most`, expected one of `low_confidence`, `random`, `margin`, `neg_entropy`",
        ),
        ("batch_size = 0", "expected a nonzero"),
    ] {
        let text = MINIMAL.replace("diffusion_steps = 20", &format!("diffusion_steps = 20\n{value}"));
        let error = resolve(&text, &[], Command::Train).unwrap_err();
        assert!(error.contains(&format!("11 | {value}\n")) && error.contains("^\n"), "{error}");
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn rules_of_commits_are_written_and_read_in_every_way() {
    for (value, name) in [
        ("\"schedule\"", "schedule"),
        ("{ threshold = 0.9 }", "threshold"),
        ("{ factor = 1 }", "factor"),
        ("{ entropy_bound = 0.1 }", "entropy_bound"),
    ] {
        let text = MINIMAL.replace("diffusion_steps = 20", &format!("diffusion_steps = 20\ncommit = {value}"));
        let config = resolve(&text, &[], Command::Train).unwrap();
        assert_eq!(config.rollout().commit.name(), name);
        assert_eq!(resolve(&config.to_toml().unwrap(), &[], Command::Train).unwrap(), config);
        assert_eq!(resolve(MINIMAL, &[&format!("rollout.commit={value}")], Command::Train).unwrap(), config);
    }
    for (value, expected) in [
        ("{ threshold = 1.5 }", "1.5 is out of range: expected a number from 0 to 1"),
        ("{ factor = 0.0 }", "0 is out of range: expected a finite number above 0"),
        ("{ entropy_bound = -1.0 }", "-1 is out of range"),
        ("\"threshold\"", "threshold"),
        ("{ most = 1 }", "unknown variant `most`, expected one of `schedule`, `timeline`, `threshold`, `factor`"),
    ] {
        let text = MINIMAL.replace("diffusion_steps = 20", &format!("diffusion_steps = 20\ncommit = {value}"));
        let error = resolve(&text, &[], Command::Train).unwrap_err();
        assert!(error.contains(&format!("11 | commit = {value}\n")) && error.contains(expected), "{error}");
    }
}

#[test]
fn lora_targets_and_devices_say_what_they_expect() {
    for (value, expected) in [
        ("lora.target_modules=[]", "no layer is named"),
        ("lora.target_modules=['q_proj', 'q_proj']", "`q_proj` is listed twice"),
        ("lora.target_modules=['']", "an empty layer name"),
        ("lora.target_modules=everything", "unknown preset `everything`"),
        ("lora.target_modules=3", "expected \"paper\", \"all-linear\" or a list"),
        ("model.device=gpu", "unknown device `gpu`"),
        ("model.device=cuda:+1", "unknown device `cuda:+1`"),
    ] {
        let error = refused(&[value], Command::Train);
        assert!(error.starts_with(&format!("--set {value}: ")) && error.contains(expected), "{error}");
    }
    let config = resolve(MINIMAL, &["model.device=cuda:3", "lora.target_modules=['q_proj']"], Command::Train).unwrap();
    assert_eq!(config.model().device, DeviceSpec::Cuda(Some(3)));
    assert_eq!(config.lora().unwrap().target_modules, Some(TargetModules::Names(vec!["q_proj".into()])));
}

#[test]
fn the_rank_of_init_from_had_to_be_written_and_its_modules_were_written_wrongly() {
    let fresh = resolve(MINIMAL, &[], Command::Train).unwrap().lora().unwrap().clone();
    assert_eq!((fresh.r.map(|r| r.get()), fresh.lora_alpha.map(|a| a.get())), (Some(128), Some(64.0)));
    assert_eq!(fresh.target_modules, Some(TargetModules::Preset(TargetPreset::Paper)));
    let follows = resolve(MINIMAL, &["lora.init_from=x", "lora.target_modules=all-linear"], Command::Train).unwrap();
    let lora = follows.lora().unwrap();
    assert_eq!((lora.r, lora.lora_alpha, &lora.target_modules), (None, None, &None));
    assert!(!follows.to_toml().unwrap().contains("target_modules"));
    let written = resolve(MINIMAL, &["lora.init_from=x", "lora.r=4"], Command::Train).unwrap();
    assert_eq!(written.lora().unwrap().r.map(|r| r.get()), Some(4));
}

#[test]
fn where_all_weights_are_trained_there_is_no_lora_table_and_one_that_is_written_is_not_read() {
    for command in [Command::Train, Command::Sft] {
        let adapters = resolve(MINIMAL, &["lora.r=4"], command).unwrap();
        assert!(adapters.lora().is_some() && !adapters.ignores_lora());
        let all = resolve(MINIMAL, &["train.trainable=all"], command).unwrap();
        assert!(all.lora().is_none() && !all.ignores_lora() && !all.to_toml().unwrap().contains("[lora]"));
        let both = resolve(MINIMAL, &["train.trainable=all", "lora.r=4"], command).unwrap();
        assert!(both.lora().is_none() && both.ignores_lora() && !both.to_toml().unwrap().contains("[lora]"));
    }
}

#[test]
fn a_key_that_has_moved_says_whereto() {
    let text = MINIMAL.replace("[sft]", "[sft]\ntrainable = 'all'");
    for command in [Command::Train, Command::Sft, Command::Eval] {
        let error = resolve(&text, &[], command).unwrap_err();
        assert!(error.contains("line 13") && error.contains("what was sft.trainable is train.trainable"), "{error}");
        let error = refused(&["sft.trainable=all"], command);
        assert!(error.starts_with("--set sft.trainable=all: ") && error.contains("is train.trainable"), "{error}");
    }
}

#[test]
fn activation_checkpointing_is_a_word_or_a_number_of_layers() {
    let of = |value: &str| resolve(MINIMAL, &[&format!("train.activation_checkpointing={value}")], Command::Train);
    let every = |n| ActivationCheckpointing::Every(std::num::NonZeroUsize::new(n).unwrap());
    assert_eq!(resolve(MINIMAL, &[], Command::Train).unwrap().train().activation_checkpointing, Default::default());
    for (value, expected, written) in [
        ("off", ActivationCheckpointing::Off, "\"off\""),
        ("every-layer", every(1), "\"every-layer\""),
        ("1", every(1), "\"every-layer\""),
        ("4", every(4), "4"),
    ] {
        let config = of(value).unwrap();
        assert_eq!(config.train().activation_checkpointing, expected);
        let text = config.to_toml().unwrap();
        assert!(text.contains(&format!("activation_checkpointing = {written}\n")), "{text}");
        assert_eq!(from_text(Path::new("a.toml"), &text, &Overrides::default(), Command::Train).unwrap(), config);
    }
    for bad in ["on", "0", "-1", "1.5", "true"] {
        let error = of(bad).unwrap_err();
        assert!(error.starts_with(&format!("--set train.activation_checkpointing={bad}: ")), "{error}");
        assert!(error.contains("every-layer") && error.contains("whole number of layers above 0"), "{error}");
    }
}

#[test]
fn a_set_is_toml_where_it_can_be_and_creates_missing_tables() {
    let text = MINIMAL.replace("[algorithm.spg]\n", "");
    let changes =
        ["algorithm.spg.beta=2", "eval.temperatures=[0.5, 1]", "model.name_or_path=a/b-c", "model.dtype='bf16'"];
    let config = resolve(&text, &changes, Command::Train).unwrap();
    let AlgorithmTable::Spg(spg) = config.algorithm().unwrap() else { panic!("the table that was set") };
    assert_eq!(spg.beta.get(), 2.0);
    assert_eq!(temperatures(&config), [0.5, 1.0]);
    assert_eq!((config.model().name_or_path.as_str(), config.model().dtype), ("a/b-c", Precision::Bf16));
}

#[test]
fn a_commit_that_looks_like_a_number_is_a_revision() {
    for revision in ["1111111", "1234e56", "v1", "\"v1\""] {
        let config = resolve(MINIMAL, &[&format!("model.revision={revision}")], Command::Train).unwrap();
        assert_eq!(config.model().revision.as_deref(), Some(revision.trim_matches('"')));
    }
}

#[test]
fn flags_win_over_set_and_repair_what_the_file_lacks() {
    let overrides = Overrides {
        output_dir: Some("elsewhere".into()),
        seed: Some(7),
        max_steps: Some(12),
        device: Some(DeviceSpec::Cpu),
        eval: EvalOverrides { limit: Some(5), temperatures: vec![0.25], ..EvalOverrides::default() },
        ..set(&["run.seed=3", "train.max_steps=4"])
    };
    let text = MINIMAL.replace("output_dir = \"runs/x\"", "");
    let config = from_text(Path::new("a.toml"), &text, &overrides, Command::Train).unwrap();
    assert_eq!((config.run().output_dir.as_path(), config.run().seed), (Path::new("elsewhere"), 7));
    assert_eq!((config.train().max_steps.get(), config.model().device), (12, DeviceSpec::Cpu));
    assert_eq!((config.eval().limit, temperatures(&config)), (5, vec![0.25]));
}

#[test]
fn a_bad_set_is_named_among_good_ones() {
    let error = refused(&["run.seed=3", "rollout.block_lenght=8", "train.max_steps=4"], Command::Train);
    assert!(error.starts_with("--set rollout.block_lenght=8: unknown field `block_lenght`"), "{error}");
    // each bad one for its own mistake, where the message is the same too
    let both = ["rollout.max_completion_length=0", "rollout.diffusion_steps=0", "train.micro_batch_size=0"];
    let lines: Vec<String> = refused(&both, Command::Train).lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    for (line, set) in lines.iter().zip(both) {
        let key = set.trim_end_matches("=0");
        assert!(line.starts_with(&format!("--set {set}: ")) && line.contains(key), "{line}");
    }
    // a change that is right only beside another one is not to blame for a third
    let beside = ["algorithm=d1", "algorithm.d1.num_iterations=4", "rollout.block_lenght=8"];
    let error = refused(&beside, Command::Train);
    assert!(error.starts_with("--set rollout.block_lenght=8: ") && error.lines().count() == 1, "{error}");
    let error = refused(&["rollout.block_length.x=8"], Command::Train);
    assert!(error.contains("`rollout.block_length` is a value (integer), not a table"), "{error}");
    // A mistake of the file stays one of the file.
    let error =
        resolve(&MINIMAL.replace("seed", "sed").replace("[run]", "[run]\nsed = 1"), &["run.seed=3"], Command::Train);
    assert!(error.as_ref().unwrap_err().starts_with("a.toml: TOML parse error at line 3"), "{error:?}");
    for bad in ["novalue", "=3", "a..b=3", "a b=3", "a.'b'=3"] {
        assert!(bad.parse::<Assignment>().is_err(), "{bad}");
    }
}

#[test]
fn small_phases_that_are_decoded_exactly_were_refused_for_a_comparison_that_is_not_made() {
    let small = ["train.prompts_per_step=1", "algorithm.spg.num_generations=2"];
    resolve(MINIMAL, &small, Command::Train).unwrap();
    for inexact in ["rollout.cache=prefix", "rollout.commit={factor=1.0}"] {
        let text = refused(&[small[0], small[1], inexact], Command::Train);
        assert!(text.contains("rollout.drift_check = 4 is more than the 2 completions"), "{text}");
    }
}

#[test]
fn the_algorithm_is_chosen_by_name_and_a_star_is_whichever_it_is() {
    let spg = |assignments: &[&str]| match resolve(MINIMAL, assignments, Command::Train)?.algorithm() {
        Ok(AlgorithmTable::Spg(table)) => Ok(table.num_t.get()),
        other => Err(format!("{other:?}")),
    };
    assert_eq!(spg(&["algorithm.*.num_t=5"]), Ok(5));
    assert_eq!(spg(&["algorithm.spg.num_t=3", "algorithm=spg"]), Ok(3), "the table that is there");
    assert_eq!(spg(&["algorithm={}", "algorithm=spg"]), Ok(2), "one with its defaults");
    assert_eq!(spg(&["algorithm.spg.num_t=3", "algorithm={spg={}}"]), Ok(2), "a table is that table");
    let text = spg(&["algorithm=nonsense"]).unwrap_err();
    assert!(text.starts_with("--set algorithm=nonsense: ") && text.contains("`nonsense`"), "{text}");
    let text = spg(&["rollout.*.x=1"]).unwrap_err();
    assert!(text.contains("`rollout` has 3 keys: `*` stands for the name of one"), "{text}");
    let text = spg(&["algorithm.*.max_t=0.2", "algorithm.*.min_t=0.9"]).unwrap_err();
    assert!(text.contains("(--set algorithm.*.min_t=0.9, --set algorithm.*.max_t=0.2)"), "{text}");
    for bad in ["*.x=1", "algorithm.*=1", "a.*b=1"] {
        assert!(bad.parse::<Assignment>().is_err(), "{bad}");
    }
}

proptest! {
    /// Whatever resolves is written out so that it resolves to the same run.
    #[test]
    fn resolved_runs_round_trip(
        seed in 0..=i64::MAX as u64,
        rate in 1e-12..1.0f64,
        temperature in 0.0..10.0f64,
        dir in "[^\\x00]{1,12}",
        template in proptest::option::of("(?s).{0,40}"),
    ) {
        let overrides = Overrides { seed: Some(seed), output_dir: Some(dir.into()), ..Overrides::default() };
        let mut table: Table = MINIMAL.parse().unwrap();
        let mut put = |path: [&str; 2], key: &str, value: Value| {
            let at = path.iter().filter(|p| !p.is_empty()).fold(&mut table, |t, p| t[*p].as_table_mut().unwrap());
            at.insert(key.into(), value);
        };
        put(["train", ""], "learning_rate", rate.into());
        put(["rollout", ""], "temperature", temperature.into());
        if let Some(template) = template {
            put(["task", "sudoku"], "prompt_template", template.into());
        }
        let text = toml::to_string(&table).unwrap();
        let config = from_text(Path::new("a.toml"), &text, &overrides, Command::Sft).unwrap();
        let text = config.to_toml().unwrap();
        prop_assert_eq!(from_text(Path::new("a.toml"), &text, &Overrides::default(), Command::Sft).unwrap(), config);
    }
}
