//! The one direction of the data, kept by a test: a module names only modules to its left.

use std::path::{Path, PathBuf};

/// Used by everybody; they use nobody but each other.
const SHARED: [&str; 12] =
    ["error", "files", "foreign", "hub", "jinja", "meter", "profile", "rng", "runtime", "signal", "terminal", "world"];

/// The pipeline from left to right; modules of one entry may name each other.
const PIPELINE: [&[&str]; 14] = [
    &["config"],
    &["task"],
    &["text"],
    &["model"],
    &["rollout"],
    &["objective"],
    &["optim"],
    &["report"],
    &["session"],
    &["data"],
    &["eval", "generate"],
    &["grade"],
    &["train", "verify"],
    &["bench", "merge", "sweep"],
];

/// `error` knows `config` because a refused configuration has an exit code of its own; `config` does not know `error`.
const EXCEPTIONS: [(&str, &str); 1] = [("error", "config")];

fn rank(module: &str) -> Option<usize> {
    if SHARED.contains(&module) {
        return Some(0);
    }
    PIPELINE.iter().position(|tier| tier.contains(&module)).map(|i| i + 1)
}

fn allowed(from: &str, to: &str) -> Result<bool, String> {
    if from == to || EXCEPTIONS.contains(&(from, to)) {
        return Ok(true);
    }
    let unknown = |m| format!("`{m}` is not in the pipeline of src/layers.rs: give it its place");
    let (a, b) = (rank(from).ok_or_else(|| unknown(from))?, rank(to).ok_or_else(|| unknown(to))?);
    Ok(b <= a)
}

/// The top-level modules that a source text names with `crate::x` or `crate::{x, y::z}`; comments are left out.
fn named(source: &str) -> Vec<String> {
    let code: Vec<&str> = source.lines().filter(|l| !l.trim_start().starts_with("//")).collect();
    let code = code.join("\n");
    let ident = |s: &str| -> String { s.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect() };
    let mut found = Vec::new();
    for (at, matched) in code.match_indices("crate::") {
        // `$crate::` counts, `my_crate::` does not.
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &code[at + matched.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            found.push(ident(rest));
            continue;
        };
        let mut depth = 1;
        let mut item = String::new();
        for c in group.chars() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 || (depth == 1 && c == ',') {
                found.push(ident(item.trim_start()));
                item.clear();
            } else {
                item.push(c);
            }
            if depth == 0 {
                break;
            }
        }
    }
    found.retain(|m| !m.is_empty());
    found
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found
}

#[test]
fn every_arrow_points_to_the_left() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for path in sources(&src) {
        let relative = path.strip_prefix(&src).unwrap();
        let first = Path::new(relative.components().next().unwrap().as_os_str());
        let module = first.with_extension("").to_string_lossy().into_owned();
        // The library's root, the binary, and this file stand outside the pipeline.
        if ["lib", "main", "cli", "layers"].contains(&module.as_str()) {
            continue;
        }
        for target in named(&std::fs::read_to_string(&path).unwrap()) {
            match allowed(&module, &target) {
                Ok(true) => {}
                Ok(false) => wrong.push(format!("{}: `{module}` uses `{target}` on its right", relative.display())),
                Err(message) => wrong.push(format!("{}: {message}", relative.display())),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_map_of_the_library_is_this_pipeline() {
    let map = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let line = PIPELINE.map(|tier| tier.join(", ")).join(" -> ");
    assert!(map.contains(&format!("//! {line}\n")), "{line}");
    let rows: Vec<&str> = map.lines().filter(|line| line.starts_with("//! | [`")).collect();
    let missing = |module: &&&str| !rows.iter().any(|row| row.contains(&format!("[`{module}`]")));
    let without: Vec<_> = PIPELINE.into_iter().flatten().chain(&SHARED).filter(missing).collect();
    assert!(without.is_empty(), "no row for {without:?}");
}

#[test]
fn the_walk_finds_what_is_named() {
    let source = "use crate::{model::{Decoder, lora}, text};\n// crate::train\nlet x = crate::rng::Key::new();\n\
                  $crate::optim::x; my_crate::no;";
    assert_eq!(named(source), ["model", "text", "rng", "optim"]);
    assert_eq!(allowed("model", "rollout"), Ok(false));
    assert_eq!(allowed("train", "eval"), Ok(true));
    assert_eq!(allowed("rng", "config"), Ok(false));
    assert!(allowed("model", "nonsense").is_err());
}
