//! The binary from the outside: what bad input prints and which code it ends with.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::{contains, starts_with};

#[path = "cli/hostile.rs"]
mod hostile;
#[path = "cli/hub.rs"]
mod hub;
#[path = "cli/report.rs"]
mod report;
#[path = "cli/reward_command.rs"]
mod reward_command;
#[cfg(unix)]
#[path = "cli/terminal.rs"]
mod terminal;

fn spg(args: &[&str]) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("spg"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).env_remove("RUST_LOG").env("SPG_DEVICE", "cpu").args(args);
    command
}

/// A folder with the tiny configuration, one text in it replaced.
fn changed(from: &str, to: &str) -> (tempfile::TempDir, PathBuf) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/sudoku-tiny.toml");
    let text = std::fs::read_to_string(source).unwrap();
    assert!(text.contains(from), "{from:?} is not in the file");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bad.toml");
    std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
    (dir, path)
}

#[test]
fn an_unknown_key_is_shown_with_a_caret() {
    let (_dir, path) = changed("block_length = 8", "block_lenght = 8");
    spg(&["train", "--config", path.to_str().unwrap()])
        .assert()
        .code(2)
        .stdout("")
        .stderr(starts_with("error: ").and(contains("bad.toml: TOML parse error at line ")))
        .stderr(contains("| block_lenght = 8\n   | ^^^^^^^^^^^^\nunknown field `block_lenght`"));
}

#[test]
fn a_value_out_of_range_is_shown_with_a_caret() {
    let (_dir, path) = changed("temperature = 0.9", "temperature = -0.9");
    spg(&["train", "--config", path.to_str().unwrap()])
        .assert()
        .code(2)
        .stderr(contains("| temperature = -0.9\n   |               ^^^^\n-0.9 is out of range"));
}

#[test]
fn steps_that_do_not_divide_name_both_numbers_and_a_way_out() {
    let (_dir, path) = changed("diffusion_steps = 10", "diffusion_steps = 21");
    spg(&["eval", "--ckpt", "examples/sudoku-tiny", "--config", path.to_str().unwrap()]).assert().code(2).stderr(
        contains("rollout.diffusion_steps = 21 is not a multiple of the 5 blocks").and(contains("use 20 or 25")),
    );
}

#[test]
fn several_problems_are_reported_together() {
    let args = ["train", "--config", "configs/sudoku-tiny.toml", "--max-steps", "5"];
    let sets = ["--set", "rollout.block_length=7", "--set", "algorithm.spg.num_generations=1"];
    spg(&[&args[..], &sets[..]].concat())
        .assert()
        .code(2)
        .stderr(contains("error: configs/sudoku-tiny.toml: 3 problems\n"))
        .stderr(contains("train.max_steps = 5 is not a multiple of algorithm.spg.num_iterations = 2"))
        .stderr(contains("(--max-steps 5, line "))
        .stderr(contains("rollout.block_length = 7 does not divide rollout.max_completion_length = 40: use 5 or 8"))
        .stderr(contains("num_generations = 1"));
}

#[test]
fn a_missing_config_file_is_named_with_its_cause() {
    let shipped: Vec<&str> = spg::config::SHIPPED.iter().map(|(name, _)| *name).collect();
    spg(&["sft", "--config", "no/such.toml"]).assert().code(2).stderr(format!(
        "error: cannot read the config file no/such.toml (shipped ones: {})\n  \
         caused by: No such file or directory (os error 2)\n",
        shipped.join(", ")
    ));
}

#[test]
fn a_bad_set_is_named() {
    let run = |set: &str| spg(&["train", "--config", "configs/sudoku-tiny.toml", "--set", set]).assert().code(2);
    run("rollout.nonsense=1").stderr(contains("error: --set rollout.nonsense=1: unknown field `nonsense`"));
    run("rollout.temperature=hot")
        .stderr(contains("error: --set rollout.temperature=hot: invalid type: string \"hot\""));
    run("rollout.temperature").stderr(contains("expected KEY=VALUE"));
}

#[test]
fn a_subcommand_without_its_table_says_what_to_add() {
    spg(&["sft", "--config", "configs/sudoku-tiny.toml"]).assert().code(2).stderr(contains("needs an [sft] table"));
    spg(&["train", "--config", "configs/sudoku-tiny-sft.toml"])
        .assert()
        .code(2)
        .stderr(contains("needs an [algorithm.<name>] table").and(contains("model.random_init")));
}

#[test]
fn a_plain_model_folder_needs_a_config() {
    let dir = tempfile::tempdir().unwrap();
    spg(&["eval", "--ckpt", dir.path().to_str().unwrap()]).assert().code(2).stderr(contains("add --config FILE"));
}

#[test]
fn wrong_usage_ends_with_2() {
    spg(&["nonsense"]).assert().code(2).stderr(contains("unrecognized subcommand 'nonsense'"));
    spg(&[]).assert().code(2);
    spg(&["train"]).assert().code(2).stderr(contains("--config <FILE>"));
    spg(&["train", "--config", "x", "--seed", "-1"]).assert().code(2);
    spg(&["verify", "x", "--device", "gpu"]).assert().code(2).stderr(contains("unknown device `gpu`"));
    spg(&["-q", "-v", "verify", "x"]).assert().code(2);
}

#[test]
fn a_bad_log_filter_is_wrong_usage() {
    spg(&["verify", "x"]).env("RUST_LOG", "spg=loud").assert().code(2).stderr(contains("RUST_LOG"));
}

#[test]
fn version_and_help_go_to_standard_output() {
    let version = concat!("spg ", env!("CARGO_PKG_VERSION"), " (");
    spg(&["--version"]).assert().code(0).stdout(starts_with(version)).stderr("");
    spg(&["--help"]).assert().code(0).stdout(contains("Exit status:").and(contains("verify")));
    spg(&["train", "--help"]).assert().code(0).stdout(contains("--dry-run").and(contains("--resume")));
}

#[test]
fn shipped_configurations_are_listed_printed_and_used_by_name() {
    let listed = contains("sudoku-tiny-sft ").and(contains("sudoku  "));
    spg(&["configs"]).assert().code(0).stdout(listed);
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/sudoku.toml")).unwrap();
    spg(&["configs", "sudoku.toml"]).assert().code(0).stdout(text);
    spg(&["configs", "chess"]).assert().code(2).stderr(contains("no shipped configuration \"chess\""));
    let folder = tempfile::tempdir().unwrap();
    let mut elsewhere = spg(&["train", "--config", "sudoku-tiny", "--max-steps", "3"]);
    elsewhere.current_dir(folder.path()).assert().code(2).stderr(contains("train.max_steps = 3"));
    spg(&["train", "--config", "chess"]).assert().code(2).stderr(contains("shipped ones: countdown, "));
    // a folder of that name is none
    std::fs::create_dir(folder.path().join("sudoku-tiny")).unwrap();
    let mut beside = spg(&["train", "--config", "sudoku-tiny", "--max-steps", "3"]);
    beside.current_dir(folder.path()).assert().code(2).stderr(contains("train.max_steps = 3"));
}

#[test]
fn the_last_line_of_a_json_log_was_text() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("notes"), "mine").unwrap();
    let run = folder.path().to_str().unwrap();
    let mut used = spg(&["train", "--config", "sudoku-tiny", "--output-dir", run, "--log-format", "json"]);
    let output = used.assert().code(2).get_output().clone();
    let lines: Vec<serde_json::Value> =
        String::from_utf8(output.stderr).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = lines.last().expect("a line");
    assert_eq!(last["level"], "ERROR");
    assert!(last["message"].as_str().is_some_and(|text| text.contains("is in use")), "{last}");
}

#[test]
fn a_benchmark_of_any_checkpoint_says_where_the_time_goes() {
    let sizes = ["--batch", "2", "--prompt", "16", "--gen", "16", "--steps", "4", "--block", "8", "--rank", "4"];
    let bench = |more: &[&str]| spg(&[&["bench", "--model", "examples/sudoku-tiny"], &sizes[..], more].concat());
    let figures = |more: &[&str]| -> serde_json::Value {
        serde_json::from_slice(&bench(more).assert().code(0).get_output().stdout).unwrap()
    };
    let both = figures(&["--rollout", "--train", "2", "--json"]);
    for key in ["rollout_s", "rollout_tokens_per_s", "train_step_s", "gemm_gflops", "gemm_peak_gflops", "gemm_share"] {
        assert!(both[key].as_f64().is_some_and(|value| value > 0.0), "{key}: {both}");
    }
    let share = |part: &str| both["share"][part].as_f64().unwrap();
    for part in ["attention", "mlp", "head", "sampling", "backward", "optimiser"] {
        assert!(share(part) > 0.0 && share(part) < 1.0, "{part}: {both}");
    }
    assert!(share("other") >= 0.0, "{both}");
    let rollout = figures(&["--rollout", "--json"]);
    assert!(rollout["train_step_s"].is_null() && rollout["share"]["backward"] == 0.0, "{rollout}");
    bench(&[]).assert().code(0).stdout(contains("median of 3").and(contains("tokens/s")).and(contains("sampling ")));
    bench(&["--dtype", "bf16", "--train", "1"])
        .assert()
        .code(0)
        .stdout(contains("train step").and(contains("rollout").not()));
    for cache in ["prefix", "dual"] {
        let cached = figures(&["--rollout", "--cache", cache, "--json"]);
        assert!(cached["rollout_tokens_per_s"].as_f64().is_some_and(|rate| rate > 0.0), "{cached}");
    }
    for dropout in ["0", "0.5"] {
        let updated = figures(&["--train", "1", "--dropout", dropout, "--json"]);
        assert!(updated["train_step_s"].as_f64().is_some_and(|seconds| seconds > 0.0), "{updated}");
    }
    let usage = |more: &[&str], text: &str| {
        spg(&[&["bench", "--model", "examples/sudoku-tiny"], more].concat()).assert().code(2).stderr(contains(text));
    };
    usage(&["--batch", "4000000000"], "--batch 4000000000 is too large: at most 1048576");
    usage(&["--rank", "4000000000"], "--rank 4000000000 is too large: at most 65536");
    usage(&["--dropout", "1"], "1 is out of range: expected a number from 0 to below 1");
    usage(&["--dropout", "some"], "expected a number from 0 to below 1");
    usage(&["--shape", "llada-8b"], "cannot be used with");
    usage(&["--prompt", "250"], "exceed the model's max_sequence_length 256");
    usage(
        &["--prompt", "16", "--gen", "20", "--block", "16"],
        "max_completion_length 20 is not a multiple of block_length 16",
    );
}

#[test]
fn a_benchmark_needs_no_weights() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy("examples/sudoku-tiny/config.json", folder.path().join("config.json")).unwrap();
    let bench = |more: &[&str]| {
        let model = ["bench", "--model", folder.path().to_str().unwrap(), "--train", "1", "--rank", "2", "--json"];
        spg(&[&model[..], more].concat())
    };
    bench(&[]).assert().code(1).stderr(contains("model.safetensors"));
    bench(&["--random-init"]).assert().success().stdout(contains("train_step_s"));
    bench(&["--random-init", "--dtype", "bf16", "--quantize", "q8_0"])
        .assert()
        .success()
        .stdout(contains("train_step_s"));
    bench(&["--random-init", "--quantize", "q4k"]).assert().code(1).stderr(contains("no multiple of 256"));
    // what does not fit is said before eight billion numbers are made
    spg(&["bench", "--shape", "llada-8b", "--prompt", "4090"])
        .assert()
        .code(2)
        .stderr(contains("exceed the model's max_sequence_length 4096"));
    spg(&["bench", "--shape", "llada-8b", "--random-init"]).assert().code(2).stderr(contains("cannot be used with"));
    spg(&["bench", "--shape", "llada-9b"]).assert().code(2).stderr(contains("possible values: llada-8b"));
    spg(&["bench"]).assert().code(2).stderr(contains("--model <DIR>"));
    let dropout = format!("[default: {}]", spg::config::LoraTable::default().lora_dropout);
    spg(&["bench", "--help"]).assert().success().stdout(contains(dropout));
}

#[test]
fn a_benchmark_is_told_what_a_folder_does_not_say() {
    let text = std::fs::read_to_string("examples/sudoku-blocks/config.json").unwrap();
    let mut json: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text).unwrap();
    for key in ["block_size", "mask_token_id", "eos_token_id"] {
        assert!(json.remove(key).is_some(), "{key}");
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), serde_json::Value::Object(json).to_string()).unwrap();
    let bench = |more: &[&str]| {
        let model = ["bench", "--model", folder.path().to_str().unwrap(), "--random-init", "--rank", "2", "--json"];
        spg(&[&model[..], &["--gen", "16", "--block", "8", "--steps", "4", "--cache", "blocks"], more].concat())
    };
    let (mask, end, block) = (["--mask-token-id", "3"], ["--end-token-ids", "1,2"], ["--block-size", "8"]);
    let options = "--mask-token-id, --end-token-ids, --block-size";
    bench(&[mask, end].concat()).assert().code(2).stderr(contains("model.block_size").and(contains(options)));
    bench(&[mask, block].concat()).assert().code(2).stderr(contains("model.end_token_ids").and(contains(options)));
    bench(&[end, block].concat()).assert().code(2).stderr(contains("model.mask_token_id").and(contains(options)));
    bench(&[mask, end, block].concat()).assert().success().stdout(contains("rollout_tokens_per_s"));
    let other = "--block 8 --cache blocks: block_length is 8";
    bench(&[mask, end, ["--block-size", "4"]].concat()).assert().code(2).stderr(contains(other));
    bench(&[mask, end, ["--block-size", "0"]].concat()).assert().code(2);
    // other faults of a folder are none of these options
    let empty = tempfile::tempdir().unwrap();
    let dir = empty.path().to_str().unwrap();
    spg(&["bench", "--model", dir]).assert().code(1).stderr(contains("config.json").and(contains("--mask").not()));
    spg(&["bench", "--shape", "llada2-mini", "--block-size", "8"]).assert().code(2).stderr(contains("cannot be used"));
}

#[test]
fn bench_takes_activation_checkpointing_as_a_word_or_a_number_of_layers() {
    for bad in ["0", "on", "-1"] {
        spg(&["bench", "--model", "examples/sudoku-tiny", &format!("--activation-checkpointing={bad}")])
            .assert()
            .code(2)
            .stderr(contains("expected off, every-layer or a whole number of layers above 0"));
    }
    let sizes = ["bench", "--model", "examples/sudoku-tiny", "--train", "1", "--rank", "2", "--json"];
    for way in ["every-layer", "3"] {
        spg(&[&sizes[..], &["--activation-checkpointing", way]].concat())
            .assert()
            .success()
            .stdout(contains("train_step_s"));
    }
}

#[test]
fn completions_and_manual_pages_name_commands_and_options() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        spg(&["completions", shell]).assert().code(0).stdout(contains("dry-run").and(contains("sweep"))).stderr("");
    }
    spg(&["completions", "tcsh"]).assert().code(2).stderr(contains("bash"));
    spg(&["man"]).assert().code(0).stdout(contains(".TH spg 1").and(contains("spg\\-train(1)"))).stderr("");
    let dir = tempfile::tempdir().unwrap();
    let pages = dir.path().join("man1");
    spg(&["man", "--out", pages.to_str().unwrap()]).assert().code(0).stdout("");
    let train = std::fs::read_to_string(pages.join("spg-train.1")).unwrap();
    assert!(train.contains(".TH spg-train 1") && train.contains("SYNOPSIS"), "{train}");
    // nothing but the pages, and they can be written again
    spg(&["man", "--out", pages.to_str().unwrap()]).assert().code(0);
    let names = std::fs::read_dir(&pages).unwrap().map(|entry| entry.unwrap().path());
    assert!(names.into_iter().all(|path| path.extension().is_some_and(|ending| ending == "1")));
}

/// What a launcher says to the second of three processes.
fn launched(args: &[&str]) -> Command {
    let mut command = spg(args);
    let rank = [("RANK", "1"), ("SIZE", "3"), ("LOCAL_RANK", "1"), ("LOCAL_SIZE", "3")];
    command.envs(rank.map(|(name, value)| (format!("OMPI_COMM_WORLD_{name}"), value)));
    command
}

#[test]
fn several_processes_would_each_have_done_all_of_the_work_in_one_folder() {
    launched(&["merge", "--ckpt", "x", "--out", "y"]).assert().code(2).stderr(starts_with(
        "error: 3 processes were started together: only train, sft, eval and bench share their work",
    ));
    // one that can connect them would wait for the others
    if cfg!(not(feature = "mpi")) {
        launched(&["train", "--config", "sudoku-tiny"])
            .assert()
            .code(2)
            .stderr(starts_with("error: 3 processes were started together").and(contains("--features mpi")));
    }
}

#[test]
fn a_dry_run_says_what_several_processes_would_take() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let line = format!("train --config sudoku-tiny --dry-run --world 5 --output-dir {}", run.display());
    let output = spg(&line.split(' ').collect::<Vec<_>>()).assert().success().get_output().stdout.clone();
    let text = String::from_utf8(output).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("world ")).collect();
    assert!(
        lines[0].contains("5 processes, of 12 prompts a step at most 3 each (24 in all); not all have as many"),
        "{text}"
    );
    assert!(lines.len() >= 5 && text.contains("at 10 GB/s") && !run.exists(), "{text}");
    spg(&["train", "--config", "sudoku-tiny", "--world", "3"]).assert().code(2).stderr(contains("--dry-run"));
}
