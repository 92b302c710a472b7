//! Names of points and run folders, made of the values: readable, the same whatever else is in the sweep, and never one
//! for two.

use sha2::{Digest as _, Sha256};
use toml::Value;

use crate::config::Assignment;
use crate::files::hex;

/// The longest text of a value, and of a folder, that stays as it is; characters.
const VALUE: usize = 40;
const FOLDER: usize = 160;
/// Bytes of a digest that tell names apart which would look the same.
const DIGEST: usize = 3;

/// A value as people write it: words without quotes, floats in the shorter of their two forms.
pub fn short(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Float(number) => {
            let (plain, power) = (number.to_string(), format!("{number:e}"));
            if power.len() < plain.len() { power } else { plain }
        }
        other => other.to_string(),
    }
}

/// What each key is called: its last name where that tells it from the others, else the whole key.
pub fn leaves(keys: &[String]) -> Vec<String> {
    let leaf = |key: &String| key.rsplit('.').next().unwrap_or_default().to_owned();
    let all: Vec<String> = keys.iter().map(leaf).collect();
    let unique = |leaf: &String| all.iter().filter(|other| *other == leaf).count() == 1 && leaf != "seed";
    keys.iter().zip(&all).map(|(key, leaf)| if unique(leaf) { leaf.clone() } else { key.clone() }).collect()
}

/// The folder of a run: `learning_rate=1e-3,seed=2`.
pub fn folder(point: &[Assignment], seed: u64) -> String {
    let keys: Vec<String> = point.iter().map(Assignment::key).collect();
    let part =
        |(name, assignment): (String, &Assignment)| format!("{}={}", plain(&name), plain(&short(assignment.value())));
    let parts: Vec<String> = leaves(&keys).into_iter().zip(point).map(part).chain([format!("seed={seed}")]).collect();
    let name = parts.join(",");
    match name.char_indices().nth(FOLDER) {
        Some((end, _)) => format!("{}~{}", &name[..end], digest(&name)),
        None => name,
    }
}

/// Text as a part of a file name on any system. What is lost by that, also the case of letters, which some systems do not
/// tell apart, is made up for by a digest.
fn plain(text: &str) -> String {
    let keep = |c: char| c.is_ascii_alphanumeric() || "._+-".contains(c);
    let kept: Vec<&str> = text.split(|c| !keep(c)).filter(|part| !part.is_empty()).collect();
    let name: String = kept.join("_").chars().take(VALUE).collect();
    if name == text && !text.contains(|c: char| c.is_ascii_uppercase()) {
        name
    } else {
        format!("{name}~{}", digest(text))
    }
}

fn digest(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes())[..DIGEST])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(point: &[&str]) -> String {
        let point: Vec<Assignment> = point.iter().map(|text| text.parse().expect("an assignment")).collect();
        folder(&point, 2)
    }

    #[test]
    fn names_are_short_and_do_not_depend_on_how_a_number_was_written() {
        assert_eq!(name(&["train.learning_rate=1e-3"]), "learning_rate=1e-3,seed=2");
        assert_eq!(name(&["train.learning_rate=0.001"]), "learning_rate=1e-3,seed=2");
        assert_eq!(name(&["train.learning_rate=0.5", "lora.r=16"]), "learning_rate=0.5,r=16,seed=2");
        assert_eq!(name(&[]), "seed=2");
        assert_eq!(name(&["algorithm=d1", "algorithm.*.num_t=1"]), "algorithm=d1,num_t=1,seed=2");
    }

    #[test]
    fn keys_with_the_same_last_name_are_written_out() {
        assert_eq!(name(&["a.r=1", "b.r=2", "c.x=3"]), "a.r=1,b.r=2,x=3,seed=2");
        assert_eq!(name(&["eval.seed=1"]), "eval.seed=1,seed=2");
    }

    #[test]
    fn values_that_look_alike_in_a_file_name_have_names_of_their_own() {
        let values =
            ["a/b", "a_b", "A_b", "a b", "a\\b", "../a_b", "'a,b'", "[\"a\", \"b\"]", "{a={b=1}}", "é", "''", "'a\nb'"];
        let mut names: Vec<String> = values.iter().map(|value| name(&[&format!("model.x={value}")])).collect();
        for name in &names {
            assert!(name.starts_with("x=") && name.ends_with(",seed=2"), "{name}");
            assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+-=,~".contains(&b)), "{name}");
        }
        assert_eq!(names[1], "x=a_b,seed=2");
        names.sort_by_key(|name| name.to_lowercase());
        names.dedup_by_key(|name| name.to_lowercase());
        assert_eq!(names.len(), values.len(), "{names:?}");
    }

    #[test]
    fn long_names_stay_apart() {
        let long = |end: &str| name(&[&format!("a.x={}{end}", "v".repeat(300))]);
        assert_ne!(long("1"), long("2"));
        let many = |last: usize| {
            let point: Vec<String> = (0..30).map(|i| format!("a.some_long_key_{i}={}", i.max(last))).collect();
            name(&point.iter().map(String::as_str).collect::<Vec<_>>())
        };
        assert_ne!(many(40), many(41));
        assert!(many(40).len() < 200 && long("1").len() < 200);
    }
}
