//! Torn checkpoints: what a run loses by one is the steps since the one before it.

use std::path::{Path, PathBuf};

use crate::config::{Command, Resume};
use crate::error::{FAILED, USAGE};
use crate::train::testing::{Tiny, assert_same, metrics};

/// Checkpoints after two, four and six updates.
const EVERY: Tiny<'_> = Tiny { command: Command::Train, changes: &["train.save_steps=2", "eval.eval_steps=6"] };

/// What is done to the folder of a checkpoint.
type Damage = Box<dyn Fn(&Path)>;

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("create");
    for entry in std::fs::read_dir(from).expect("a folder").flatten() {
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => drop(std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copied")),
        }
    }
}

/// Changes the bytes of a file.
fn edit(path: PathBuf, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(&path).expect("a file");
    change(&mut bytes);
    std::fs::write(path, bytes).expect("write");
}

fn flip(bytes: &mut [u8]) {
    let middle = bytes.len() * 2 / 3;
    bytes[middle] ^= 0x10;
}

fn zero_a_page(bytes: &mut [u8]) {
    let page = bytes.len().saturating_sub(9000);
    bytes[page..].iter_mut().take(4096).for_each(|byte| *byte = 0);
}

const FILES: [&str; 4] =
    ["adapter_model.safetensors", "optimizer.safetensors", "trainer_state.json", "adapter_config.json"];

#[test]
fn a_torn_checkpoint_was_loaded_or_could_not_be_got_round() {
    let folder = tempfile::tempdir().expect("a folder");
    let (whole, stopped) = (folder.path().join("whole"), folder.path().join("stopped"));
    EVERY.succeed(&whole, None, &[]);
    EVERY.succeed(&stopped, None, &["train.max_steps=4"]);
    let mut damages: Vec<(String, Damage)> = Vec::new();
    for file in FILES {
        let mut add = |name: &str, damage: Damage| damages.push((format!("{file} {name}"), damage));
        add("truncated", Box::new(move |dir| edit(dir.join(file), |bytes| bytes.truncate(bytes.len() / 2))));
        add("flipped", Box::new(move |dir| edit(dir.join(file), |bytes| flip(bytes))));
        add("deleted", Box::new(move |dir| std::fs::remove_file(dir.join(file)).expect("remove")));
        add("empty", Box::new(move |dir| edit(dir.join(file), Vec::clear)));
    }
    for file in &FILES[..3] {
        let older =
            move |dir: &Path| drop(std::fs::copy(dir.with_file_name("checkpoint-2").join(file), dir.join(file)));
        damages.push((format!("{file} older"), Box::new(older)));
    }
    for file in &FILES[..2] {
        damages.push((format!("{file} zeroed"), Box::new(move |dir| edit(dir.join(file), |bytes| zero_a_page(bytes)))));
    }
    damages.push((
        "swapped".into(),
        Box::new(|dir| {
            std::fs::remove_dir_all(dir).expect("remove");
            copy(&dir.with_file_name("checkpoint-2"), dir);
        }),
    ));
    for (i, (name, damage)) in damages.iter().enumerate() {
        let run = folder.path().join(format!("run-{i}"));
        copy(&stopped, &run);
        damage(&run.join("checkpoint-4"));
        let named = Resume::From(run.join("checkpoint-4"));
        let (code, text) = EVERY.fail(&run, Some(named), &[]);
        assert!(code == FAILED && text.contains("is damaged"), "{name}: {text}");
        assert!(text.contains("the newest whole checkpoint is") && text.contains("checkpoint-2"), "{name}: {text}");
        assert!(run.join("checkpoint-4").is_dir(), "{name}: nothing is done to it");
        // some of them to the end, as that takes its time
        if i % 5 == 0 {
            EVERY.succeed(&run, Some(Resume::Auto), &[]);
            assert!(run.join("damaged-checkpoint-4").is_dir(), "{name}");
            assert_same(&run, &whole, name);
        }
    }
}

#[test]
fn a_run_without_a_whole_checkpoint_says_so_and_is_left_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = folder.path().join("run");
    EVERY.succeed(&run, None, &["train.max_steps=4"]);
    let before = metrics(&run);
    for step in [2, 4] {
        edit(run.join(format!("checkpoint-{step}/optimizer.safetensors")), |bytes| flip(bytes));
    }
    let (code, text) = EVERY.fail(&run, Some(Resume::Auto), &[]);
    assert!(code == FAILED && text.contains("no checkpoint of") && text.contains("start a new run"), "{text}");
    assert!(run.join("checkpoint-4").is_dir() && metrics(&run) == before);
}

#[test]
fn the_checkpoint_before_a_damaged_one_was_refused_as_not_the_last() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = folder.path().join("run");
    EVERY.succeed(&run, None, &["train.max_steps=4"]);
    let older = || Some(Resume::From(run.join("checkpoint-2")));
    let (code, text) = EVERY.fail(&run, older(), &[]);
    assert!(code == USAGE && text.contains("is not the last checkpoint"), "{text}");
    edit(run.join("checkpoint-4/adapter_model.safetensors"), |bytes| flip(bytes));
    let branch = folder.path().join("branch");
    let (code, text) = EVERY.fail(&branch, Some(Resume::From(run.join("checkpoint-4"))), &[]);
    assert!(code == FAILED && text.contains("the newest whole checkpoint beside it is"), "{text}");
    EVERY.succeed(&run, older(), &[]);
    assert!(run.join("checkpoint-6").is_dir() && run.join("damaged-checkpoint-4").is_dir());
}
