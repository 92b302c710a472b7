//! The files of a model that llama.cpp split: `NAME-00001-of-00003.gguf` and so on.

use std::path::{Path, PathBuf};

/// Digits of a number in the name of a part.
const DIGITS: usize = 5;

/// All parts of the model that a file is a part of by its name, in order; of another file itself.
pub fn parts(path: &Path) -> Vec<PathBuf> {
    let name = path.file_name().and_then(|name| name.to_str());
    match name.and_then(names) {
        Some(names) => names.into_iter().map(|name| path.with_file_name(name)).collect(),
        None => vec![path.to_owned()],
    }
}

/// The names of all parts, if this is the name of one.
pub fn names(name: &str) -> Option<Vec<String>> {
    let stem = name.strip_suffix(".gguf")?;
    let (rest, count) = stem.rsplit_once("-of-")?;
    let (stem, part) = rest.rsplit_once('-')?;
    let number = |digits: &str| -> Option<usize> {
        let plain = digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| digits.parse().ok()).flatten()
    };
    let (part, count) = (number(part)?, number(count)?);
    let of = |i: usize| format!("{stem}-{i:0DIGITS$}-of-{count:0DIGITS$}.gguf");
    (1..=count).contains(&part).then(|| (1..=count).map(of).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_known_by_their_names() {
        let all = ["a/m-q4-00001-of-00002.gguf", "a/m-q4-00002-of-00002.gguf"].map(PathBuf::from);
        assert_eq!(parts(&all[0]), all);
        assert_eq!(parts(&all[1]), all);
        for whole in ["a/m.gguf", "a/m-00003-of-00002.gguf", "a/m-1-of-2.gguf", "a/m-00000-of-00002.gguf", "m-of-x"] {
            assert_eq!(parts(Path::new(whole)), [PathBuf::from(whole)]);
        }
    }
}
