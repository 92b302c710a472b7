//! Files of models that anybody made: each ends in an error that names it, soon and without taking all memory.

use std::path::Path;
use std::time::Duration;

/// The tiny model with one of its files replaced, or a file beside them.
fn model_with(hostile: &Path, name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/sudoku-tiny");
    for file in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(tiny.join(file), dir.path().join(file)).unwrap();
    }
    std::fs::copy(hostile, dir.path().join(name)).unwrap();
    dir
}

/// Bytes of memory that a process may ask for; what is reserved for stacks and is never touched counts, too.
#[cfg(unix)]
fn bound_memory(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt as _;
    let most = libc::rlimit { rlim_cur: 6 << 30, rlim_max: 6 << 30 };
    // SAFETY: the closure makes one system call and touches no memory of the parent.
    unsafe {
        command.pre_exec(move || match libc::setrlimit(libc::RLIMIT_AS, &most) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
}

#[test]
fn files_of_unknown_origin_hung_panicked_or_took_all_memory() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hostile");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_str().unwrap().to_owned();
        let kind = file.split(['_', '.']).next().unwrap();
        let name = match kind {
            "chat" => "chat_template.jinja",
            "config" => "config.json",
            "tokenizer" => "tokenizer.json",
            _ => "model.gguf",
        };
        let dir = model_with(&path, name);
        let model = format!("model.name_or_path={}", dir.path().display());
        let ckpt = dir.path().to_str().unwrap();
        let gguf = ["--set", "model.gguf_file=model.gguf", "--set", "rollout.merge_adapters=false"];
        let more: &[&str] = if name == "model.gguf" { &gguf } else { &[] };
        let what: &[&str] = match kind {
            "chat" | "tokenizer" => &["data", "show", "--count", "1"],
            _ => &["eval", "--ckpt", ckpt, "--base", "--limit", "1", "--output-dir", "never"],
        };
        let args = [what, &["--config", "sudoku-tiny", "--set", &model], more].concat();
        let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin!("spg"));
        command.current_dir(env!("CARGO_MANIFEST_DIR")).env_remove("RUST_LOG").env("SPG_DEVICE", "cpu").args(&args);
        #[cfg(unix)]
        bound_memory(&mut command);
        let output = assert_cmd::Command::from_std(command).timeout(Duration::from_secs(120)).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{file}: {said}");
        assert!(said.contains(name) && !said.contains("panicked"), "{file}: {said}");
        assert!(said.len() < 2_000, "{file}: {said}");
        seen += 1;
    }
    assert!(seen >= 24, "{seen} files");
}
