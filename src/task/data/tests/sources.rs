//! Files and columns of a source, and datasets of the hub from a cache that the test makes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ::parquet::basic::Compression;
use serde_json::{Map, Value, json};

use super::super::{HubDataset, Origin, Source};
use super::write_parquet;
use crate::hub::Place;
use crate::task::Record;

fn source(paths: &[PathBuf], columns: &[(&str, &str)]) -> Source {
    let columns = columns.iter().map(|&(field, column)| (field.to_owned(), column.to_owned()));
    Source { origin: Origin::Files(paths.to_vec()), columns: columns.collect::<BTreeMap<_, _>>() }
}

#[test]
fn columns_are_renamed_and_files_read_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let paths = ["b.jsonl", "a.csv"].map(|name| dir.path().join(name));
    std::fs::write(&paths[0], "\n{\"a\": 1, \"b\": 2, \"c\": 3}\n").unwrap();
    std::fs::write(&paths[1], "a,b,c\nx,y,z\n").unwrap();
    let load = |columns: &[(&str, &str)]| source(&paths, columns).load("task.gsm8k.train");
    let loaded = load(&[("question", "a"), ("b", "c"), ("c", "b"), ("again", "a")]).unwrap();
    let fields: Vec<Value> = loaded.iter().map(|row| Value::Object(row.fields().clone())).collect();
    assert_eq!(fields[0], json!({ "question": 1, "again": 1, "c": 2, "b": 3 }));
    assert_eq!(fields[1], json!({ "question": "x", "again": "x", "c": "y", "b": "z" }));
    assert_eq!(loaded[0].place(), Some(format!("{}, line 2", paths[0].display()).as_str()));
    let error = load(&[("question", "problem")]).unwrap_err().to_string();
    let expected = format!(
        "{}, line 2: no column `problem`, which task.gsm8k.train.columns names for the field `question` \
         (there are: a, b, c)",
        paths[0].display()
    );
    assert_eq!(error, expected);
    // A column gives way to a field of its name.
    assert_eq!(
        load(&[("a", "b")]).unwrap()[0],
        Record::from(Map::from_iter([("a".into(), 2.into()), ("c".into(), 3.into())]))
    );
}

#[test]
fn no_records_are_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.jsonl");
    std::fs::write(&path, "\n").unwrap();
    let error = source(std::slice::from_ref(&path), &[]).load("task.math.eval").unwrap_err().to_string();
    assert_eq!(error, format!("task.math.eval: no records in {}", path.display()));
}

fn dataset(name: &str, files: &[&str]) -> HubDataset {
    HubDataset {
        dataset: "openai/gsm8k".into(),
        name: name.into(),
        split: "train".into(),
        revision: None,
        files: files.iter().map(|&file| file.to_owned()).collect(),
    }
}

#[test]
fn a_dataset_is_read_from_the_cache() {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("datasets--openai--gsm8k");
    std::fs::create_dir_all(repo.join("refs/refs/convert")).unwrap();
    std::fs::write(repo.join("refs/refs/convert/parquet"), "c1").unwrap();
    std::fs::write(repo.join("refs/main"), "c2").unwrap();
    let folder = repo.join("snapshots/c1/main/train");
    std::fs::create_dir_all(&folder).unwrap();
    let row = |text: &str| [(Some(text.to_owned()), None, None)];
    write_parquet(&folder.join("0001.parquet"), &row("second"), 1, Compression::SNAPPY);
    write_parquet(&folder.join("0000.parquet"), &row("first"), 1, Compression::SNAPPY);
    list(&repo, &["main/train/0000.parquet", "main/train/0001.parquet"]);
    std::fs::create_dir_all(repo.join("snapshots/c2")).unwrap();
    std::fs::write(repo.join("snapshots/c2/extra.jsonl"), "{\"text\": \"extra\"}").unwrap();

    let place = || Ok(Place { cache: dir.path().to_owned(), offline: true, ..Place::default() });
    let load = |dataset: HubDataset| {
        let files = dataset.fetch("task.gsm8k.train", place())?;
        Source { origin: Origin::Hub(dataset), columns: BTreeMap::new() }.read("task.gsm8k.train", files)
    };
    let rows = load(dataset("main", &[])).unwrap();
    let shown: Vec<_> = rows.iter().map(|row| (row.place().unwrap(), row.text("text").unwrap())).collect();
    let place = "openai/gsm8k/main/train";
    let expected =
        [(format!("{place}/0000.parquet, row 1"), "first"), (format!("{place}/0001.parquet, row 1"), "second")];
    assert_eq!(shown, expected.each_ref().map(|(place, text)| (place.as_str(), *text)));
    assert_eq!(load(dataset("main", &["extra.jsonl"])).unwrap()[0].text("text"), Ok("extra"));

    let error = load(dataset("main", &["extra.csv"])).unwrap_err().to_string();
    assert!(error.contains("(extra.csv): extra.csv: not in the cache's snapshot "), "{error}");
    assert!(error.contains("snapshots/c2 (HF_HUB_OFFLINE is set)"), "{error}");
    assert!(error.ends_with("download extra.csv of its revision main and name the files in task.gsm8k.train.path"));

    // What the commit has and the cache has not is named.
    list(&repo, &["main/train/0000.parquet", "main/train/0001.parquet", "main/train/0002.parquet"]);
    let error = load(dataset("main", &[])).unwrap_err().to_string();
    assert!(
        error.starts_with("cannot get the dataset openai/gsm8k (main, split train): main/train/0002.parquet: not in"),
        "{error}"
    );
}

/// Keeps the list of the files of commit `c1`, as Python's library does.
fn list(repo: &Path, files: &[&str]) {
    let files: Map<String, Value> = files.iter().map(|&name| (name.to_owned(), json!({ "blob_id": "b" }))).collect();
    std::fs::create_dir_all(repo.join("trees")).unwrap();
    let tree = json!({ "format_version": 1, "files": files }).to_string();
    std::fs::write(repo.join("trees/c1.json"), tree).unwrap();
}

/// Shards in a cache that does not know which there are.
fn unlisted(shards: &[&str]) -> Result<usize, String> {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("datasets--openai--gsm8k");
    std::fs::create_dir_all(repo.join("refs/refs/convert")).unwrap();
    std::fs::write(repo.join("refs/refs/convert/parquet"), "c1").unwrap();
    let folder = repo.join("snapshots/c1/main/train");
    std::fs::create_dir_all(&folder).unwrap();
    for shard in shards {
        std::fs::write(folder.join(shard), "").unwrap();
    }
    let place = Place { cache: dir.path().to_owned(), offline: true, ..Place::default() };
    let files = dataset("main", &[]).fetch("task.gsm8k.train", Ok(place));
    files.map(|files| files.len()).map_err(|error| error.to_string())
}

#[test]
fn half_a_dataset_is_not_read_as_the_whole() {
    let error = unlisted(&["0000.parquet"]).unwrap_err();
    assert!(error.contains("main/train/0000.parquet of it and does not know whether there are more"), "{error}");
    assert!(error.contains("task.gsm8k.train.files = [\"main/train/0000.parquet\"]"), "{error}");
    assert!(unlisted(&["train-00000-of-00002.parquet"]).is_err());
    assert!(unlisted(&["train-00000-of-00002.parquet", "train-00000-of-00001.parquet"]).is_err());
    assert_eq!(unlisted(&["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"]), Ok(2));
    let error = unlisted(&[]).unwrap_err();
    assert!(error.contains("main/train/*.parquet: not in the cache's snapshot "), "{error}");
}

#[test]
fn a_split_that_is_not_there_is_answered_with_those_that_are() {
    let files = ["main/test/0000.parquet", "main/train/0001.parquet", "main/train/0000.parquet", "main/train/x.json"];
    let all = || files.map(str::to_owned).to_vec();
    let found = dataset("main", &[]).parquet_files("task.gsm8k.train", all());
    assert_eq!(found.unwrap(), ["main/train/0000.parquet", "main/train/0001.parquet"]);
    let error = dataset("default", &[]).parquet_files("task.gsm8k.train", all()).unwrap_err().to_string();
    assert_eq!(
        error,
        "task.gsm8k.train: the dataset openai/gsm8k has no `default/train` on its branch refs/convert/parquet (there \
         are: main/test, main/train)"
    );
}
