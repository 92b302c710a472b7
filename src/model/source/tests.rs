//! Which files of a model are fetched, and what becomes of those that cannot be had.

use std::cell::RefCell;

use anyhow::anyhow;

use super::*;

fn missing(files: &[String]) -> anyhow::Error {
    anyhow!("not cached: {}", files.join(", "))
}

#[test]
fn what_is_neither_a_folder_nor_an_id_is_refused() {
    for find in [resolve, resolve_tokenizer] {
        for name in ["no/such/folder", "./a/b", "~/model", "a\\b"] {
            let error = find(name, None).expect_err("not there").to_string();
            assert!(error.contains("neither a folder nor a hub id"), "{error}");
        }
    }
}

#[test]
fn a_path_that_leads_nowhere_is_not_asked_of_the_hub() {
    let here = tempfile::tempdir().expect("temporary folder");
    std::fs::create_dir(here.path().join("mine")).expect("folder");
    for name in ["examples/sudoku-tiny", "mine/model", "a/checkpoint-500", "a/b.gguf", "Models/x"] {
        assert!(local_look(name, here.path()).is_some(), "{name}");
    }
    for name in ["GSAI-ML/LLaDA-8B-Instruct", "TheBloke/x-GGUF", "a/checkpoints-of-b"] {
        assert_eq!(local_look(name, here.path()), None, "{name}");
    }
    let error = resolve("examples/no-such-model", None).expect_err("refused").to_string();
    assert!(error.starts_with("model.name_or_path: there is no folder examples/no-such-model in "), "{error}");
}

#[test]
fn all_shards_of_an_index_are_fetched() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let index = r#"{"weight_map": {"a": "one.safetensors", "b": "two.safetensors", "c": "one.safetensors"}}"#;
    std::fs::write(dir.path().join(INDEX_FILE), index)?;
    let asked = RefCell::new(Vec::new());
    let get = |file: &str| {
        asked.borrow_mut().push(file.to_owned());
        Ok(if OPTIONAL.contains(&file) { Found::Absent } else { Found::Here(dir.path().join(file)) })
    };
    assert_eq!(fetch_with(&get, &missing, true)?, (dir.path().to_owned(), vec![]));
    assert_eq!(asked.borrow()[2 + OPTIONAL.len()..], [INDEX_FILE, "one.safetensors", "two.safetensors"]);
    // Offline, all that the cache lacks is named at once.
    let get = |file: &str| {
        let lacking = file.starts_with("one") || file.starts_with("two");
        Ok(if lacking { Found::NotCached { exists: true } } else { Found::Here(dir.path().join(file)) })
    };
    let error = fetch_with(&get, &missing, true).expect_err("no weights").to_string();
    assert_eq!(error, "not cached: one.safetensors, two.safetensors");
    Ok(())
}

#[test]
fn a_file_that_fails_is_not_taken_for_one_that_is_not_there() -> Result<()> {
    let failing = |bad: &'static str| {
        let get = move |file: &str| match file {
            _ if file == bad => bail!("connection reset"),
            INDEX_FILE => Ok(Found::Absent),
            _ => Ok(Found::Here(Path::new("model").join(file))),
        };
        fetch_with(&get, &missing, true)
    };
    assert_eq!(failing("nothing")?.0, Path::new("model"));
    for bad in ["tokenizer.json", "tokenizer_config.json", INDEX_FILE] {
        assert!(failing(bad).expect_err("fails").to_string().contains("connection reset"), "{bad}");
    }
    let text = fetch_with(&|_| Ok(Found::Absent), &missing, true).expect_err("empty").to_string();
    assert_eq!(text, "config.json is missing");
    Ok(())
}

#[test]
fn a_chat_template_that_the_cache_lacks_is_not_left_out_silently() -> Result<()> {
    let cached = |exists: Option<bool>| {
        let get = move |file: &str| match (file, exists) {
            ("chat_template.jinja", Some(exists)) => Ok(Found::NotCached { exists }),
            ("chat_template.jinja", None) => Ok(Found::Absent),
            _ => Ok(Found::Here(Path::new("model").join(file))),
        };
        fetch_with(&get, &missing, false)
    };
    assert_eq!(cached(None)?.1, Vec::<&str>::new());
    assert_eq!(cached(Some(false))?.1, ["chat_template.jinja"]);
    assert_eq!(cached(Some(true)).expect_err("known to be there").to_string(), "not cached: chat_template.jinja");
    Ok(())
}

#[test]
#[cfg(unix)]
fn a_link_to_nothing_in_a_folder_is_not_a_file_that_need_not_be_there() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let folder = dir.path().to_str().context("UTF-8")?;
    assert_eq!(resolve_tokenizer(folder, None)?, ModelDir { path: dir.path().to_owned(), commit: None });
    std::os::unix::fs::symlink("gone", dir.path().join("chat_template.jinja"))?;
    let error = resolve_tokenizer(folder, None).expect_err("dangling").to_string();
    assert!(error.contains("chat_template.jinja is a link to gone, which is not there"), "{error}");
    Ok(())
}

#[test]
fn no_weights_are_fetched_for_a_tokenizer() -> Result<()> {
    let asked = RefCell::new(Vec::new());
    let get = |file: &str| {
        asked.borrow_mut().push(file.to_owned());
        Ok(Found::Here(Path::new("model").join(file)))
    };
    assert_eq!(fetch_with(&get, &missing, false)?.0, Path::new("model"));
    assert_eq!(*asked.borrow(), [&[CONFIG, TOKENIZER][..], &OPTIONAL[..]].concat());
    Ok(())
}

#[test]
fn an_adapter_is_fetched_by_its_two_files() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let here = |file: &str| Ok(Found::Here(dir.path().join(file)));
    assert_eq!(fetch_adapter(&here, &missing)?, dir.path());
    let pickled = |file: &str| if file == ADAPTER_FILE { Ok(Found::Absent) } else { here(file) };
    let error = fetch_adapter(&pickled, &missing).expect_err("no tensors").to_string();
    assert!(error.starts_with("adapter_model.safetensors is missing: where there is an adapter_model.bin"), "{error}");
    let plain = |file: &str| if file == ADAPTER_CONFIG { Ok(Found::Absent) } else { here(file) };
    assert_eq!(fetch_adapter(&plain, &missing).expect_err("a model").to_string(), "adapter_config.json is missing");
    let offline = |_: &str| Ok(Found::NotCached { exists: true });
    assert_eq!(fetch_adapter(&offline, &missing).expect_err("offline").to_string(), "not cached: adapter_config.json");
    Ok(())
}

#[test]
fn a_path_of_an_adapter_that_leads_nowhere_is_not_asked_of_the_hub() {
    let error = resolve_adapter("checkpoints/no-such-run").expect_err("refused").to_string();
    assert!(error.contains("the hub is not asked for it, since checkpoints is a usual name of a folder"), "{error}");
    let error = resolve_adapter("owner/name@../x").expect_err("refused").to_string();
    assert_eq!(error, "\"../x\" is not a branch, tag or commit");
}

#[test]
fn a_model_without_tokenizer_json_is_fetched_with_its_vocabulary() -> Result<()> {
    let without = |gone: &'static [&'static str]| {
        move |file: &str| match gone.contains(&file) {
            true => Ok(Found::Absent),
            false => Ok(Found::Here(Path::new("model").join(file))),
        }
    };
    assert_eq!(fetch_with(&without(&[TOKENIZER]), &missing, false)?.0, Path::new("model"));
    let error = fetch_with(&without(&[TOKENIZER, "merges.txt"]), &missing, false).expect_err("half of it");
    assert!(
        format!("{error:#}").contains("the model has no tokenizer.json") && format!("{error:#}").contains("merges")
    );
    Ok(())
}
