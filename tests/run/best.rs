//! Runs whose best checkpoint is kept: what a kill leaves of it, and who takes it.

use std::path::Path;
use std::time::Duration;

use super::{adapter, fail, metrics, spg, start, succeed, train, wait_for};

/// Every phase is evaluated; of checkpoints there are no more than the last and the best.
const KEEPING: [&str; 10] = [
    "--set",
    "train.metric_for_best_model=t0.9/reward",
    "--set",
    "train.save_total_limit=1",
    "--set",
    "eval.eval_steps=2",
    "--set",
    "train.learning_rate=3e-3",
    "--max-steps",
    "8",
];

fn names(run: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(run).expect("a run").flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn best(run: &Path) -> Option<Vec<u8>> {
    std::fs::read(run.join("best/adapter_model.safetensors")).ok()
}

/// The first step with the highest reward.
fn best_step(run: &Path) -> usize {
    let rows = metrics(run);
    let figures = rows.iter().filter_map(|row| Some((row["step"].as_u64()?, row.get("eval/t0.9/reward")?.as_f64()?)));
    figures.reduce(|best, next| if next.1 > best.1 { next } else { best }).expect("evaluations").0 as usize
}

#[test]
fn a_run_that_was_killed_keeps_the_same_best_and_deletes_the_same() {
    let dir = tempfile::tempdir().expect("a folder");
    let (whole, killed) = (dir.path().join("whole"), dir.path().join("killed"));
    succeed(train(&whole, &KEEPING));
    for (marker, delay) in [("best", 1), ("checkpoint-4", 15), ("checkpoint-6", 0), ("checkpoint-8", 40)] {
        let resume: &[&str] = if killed.exists() { &["--resume"] } else { &[] };
        let mut child = start(train(&killed, &[&KEEPING[..], resume].concat()));
        wait_for(&killed.join(marker), &mut child);
        std::thread::sleep(Duration::from_millis(delay));
        child.kill().expect("SIGKILL");
        child.wait().expect("a child");
        if killed.join("best").exists() {
            // whatever the moment, it is a whole adapter
            let tensors = candle_core::safetensors::load(
                killed.join("best/adapter_model.safetensors"),
                &candle_core::Device::Cpu,
            );
            assert!(tensors.is_ok() && killed.join("best/adapter_config.json").is_file(), "{marker}");
        }
    }
    succeed(train(&killed, &[&KEEPING[..], &["--resume"]].concat()));
    assert_eq!(names(&killed), names(&whole));
    assert_eq!(metrics(&killed), metrics(&whole));
    let step = best_step(&whole);
    assert!(step > 0, "a run that learns nothing tests nothing");
    assert_eq!(best(&killed), best(&whole));
    assert_eq!(best(&whole), Some(adapter(&whole, step)));
}

#[test]
fn whoever_reads_a_run_folder_takes_the_checkpoint_that_is_asked_for() {
    let dir = tempfile::tempdir().expect("a folder");
    let run = dir.path().join("run");
    let output = succeed(train(&run, &KEEPING));
    let (step, table) = (best_step(&run), String::from_utf8_lossy(&output.stdout).into_owned());
    assert!(step > 0 && table.contains(&format!("best (step {step})")), "{table}");

    let path = run.to_str().expect("UTF-8");
    let prompt = ["--prompt", " 0204032001400 2"];
    let said = |more: &[&str]| {
        let output = succeed(spg(more));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let (last, chosen) =
        ("the last checkpoint of the run, of step 8", format!("best weights of the run, of step {step}"));
    let eval = ["eval", "--ckpt", path, "--limit", "2"];
    assert!(said(&eval).contains(last));
    assert!(said(&[&eval[..], &["--which", "best"]].concat()).contains(&chosen));
    let generate = [&["generate", "--ckpt", path][..], &prompt].concat();
    assert!(said(&[&generate[..], &["--which", "best"]].concat()).contains(&chosen));
    let out = dir.path().join("merged");
    let merge = ["merge", "--ckpt", path, "--out", out.to_str().expect("UTF-8"), "--which", "best"];
    assert!(said(&merge).contains(&chosen));
    let card = std::fs::read_to_string(out.join("README.md")).expect("a card");
    assert!(card.contains(&format!("| updates | {step} of 8 |")), "{card}");

    // best/ is a folder of its own, whose run is known
    let folder = run.join("best");
    said(&["eval", "--ckpt", folder.to_str().expect("UTF-8"), "--limit", "1"]);
    let text = fail(spg(&["eval", "--ckpt", folder.to_str().expect("UTF-8"), "--which", "best"]), 2);
    assert!(text.contains("is no run folder"), "{text}");

    let config = std::fs::read_to_string(run.join("config.toml")).expect("config");
    let told = config.replace("load_best_model_at_end = false", "load_best_model_at_end = true");
    assert_ne!(config, told);
    std::fs::write(run.join("config.toml"), told).expect("write");
    assert!(said(&eval).contains(&chosen));
    assert!(said(&[&eval[..], &["--which", "last"]].concat()).contains(last));
}

#[test]
fn a_run_that_no_update_made_better_has_no_best_and_says_so() {
    let dir = tempfile::tempdir().expect("a folder");
    let run = dir.path().join("run");
    // a rate that changes no figure
    let least = ["--set", "train.metric_for_best_model=greedy/effective_tokens", "--set", "train.learning_rate=1e-12"];
    let patience = ["--set", "train.early_stopping_patience=1", "--set", "eval.eval_steps=2"];
    let output = succeed(train(&run, &[&least[..], &patience].concat()));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("stopped early, at step 2: the last evaluation did not improve"), "{said}");
    assert!(said.contains("no update has improved eval/greedy/effective_tokens"), "{said}");
    assert!(!run.join("best").exists() && run.join("checkpoint-2").is_dir());
    let path = run.to_str().expect("UTF-8");
    let text = fail(spg(&["eval", "--ckpt", path, "--which", "best"]), 2);
    assert!(text.contains("no update has made the model better") && text.contains("take --which last"), "{text}");

    let again = [&least[..], &patience, &["--resume"]].concat();
    let output = succeed(train(&run, &again));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("was stopped early, at step 2 of 6: ") && said.contains("nothing to do unless"), "{said}");
}
