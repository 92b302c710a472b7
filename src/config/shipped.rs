//! The configurations of `configs/`, inside the binary, so that they can be used by name from anywhere.

use std::path::Path;

macro_rules! shipped {
    ($($name:literal),*) => {
        &[$(($name, include_str!(concat!("../../configs/", $name, ".toml")))),*]
    };
}

/// Name and text of every shipped configuration, in alphabetical order.
pub const SHIPPED: &[(&str, &str)] = shipped![
    "countdown",
    "countdown-novice",
    "countdown-tiny",
    "countdown-tiny-sft",
    "gsm8k",
    "gsm8k-a2d",
    "gsm8k-a2d-blocks",
    "gsm8k-dream",
    "gsm8k-llada-moe",
    "gsm8k-llada2",
    "gsm8k-sdar",
    "math",
    "sudoku",
    "sudoku-blocks",
    "sudoku-blocks-sft",
    "sudoku-tiny",
    "sudoku-tiny-sft"
];

/// The shipped configuration that has the published run: SPG on GSM8K.
pub(super) const PUBLISHED: &str = "gsm8k";

/// The text of a shipped configuration, by name with or without `.toml`.
pub fn shipped(name: &str) -> Option<&'static str> {
    let name = name.strip_suffix(".toml").unwrap_or(name);
    SHIPPED.iter().find(|(shipped, _)| *shipped == name).map(|(_, text)| *text)
}

/// What `--config` stands for: a file where there is one, else the shipped configuration of that name. A folder is none.
///
/// # Errors
/// The system's, if there is neither.
pub(super) fn read(path: &Path) -> std::io::Result<String> {
    std::fs::read_to_string(path).or_else(|error| {
        let named = path.to_str().and_then(shipped).filter(|_| !path.is_file());
        named.map(str::to_owned).ok_or(error)
    })
}

/// The names of the shipped configurations, separated by commas.
pub(super) fn names() -> String {
    SHIPPED.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_folder_is_shipped() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut names: Vec<String> = files
            .filter(|path| path.extension().is_some_and(|e| e == "toml"))
            .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
        names.sort();
        assert_eq!(names, SHIPPED.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    }

    #[test]
    fn a_file_comes_before_a_name_and_a_path_is_no_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sudoku.toml");
        std::fs::write(&path, "mine").unwrap();
        assert_eq!(read(&path).unwrap(), "mine");
        assert_eq!(read(Path::new("sudoku")).ok().as_deref(), shipped("sudoku.toml"));
        assert!(read(&dir.path().join("sudoku-tiny")).is_err());
    }
}
