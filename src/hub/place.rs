//! Where the hub and its cache are, by the environment variables of Hugging Face's own library.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::token::Token;

/// A hub and a cache of it.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// The folder with `models--owner--name` and `datasets--owner--name`.
    pub cache: PathBuf,
    /// The hub's address; without one, the public hub's.
    pub endpoint: Option<String>,
    /// The user's token, for private and gated repositories.
    pub token: Option<Token>,
    /// Whether only the cache is asked.
    pub offline: bool,
    /// How long the hub is waited for.
    pub patience: Patience,
}

/// How long the hub is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For a connection, for the head of an answer, and for each piece of its body.
    pub silence: Duration,
    /// Before a request that failed is made again for the first time; doubles each time.
    pub first_wait: Duration,
    /// How often it is made again.
    pub retries: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self { silence: Duration::from_secs(10), first_wait: Duration::from_secs(1), retries: 5 }
    }
}

impl Place {
    /// What `HF_HOME`, `HF_HUB_CACHE`, `HF_ENDPOINT`, `HF_TOKEN`, `HF_TOKEN_PATH`, `HF_HUB_OFFLINE`, their older names
    /// and `XDG_CACHE_HOME` say, with `~` and `$NAME` in paths filled in.
    ///
    /// # Errors
    /// Neither a variable nor a home folder says where the cache is.
    pub fn from_env() -> Result<Self> {
        Self::from_variables(&|name| std::env::var_os(name).filter(|value| !value.is_empty()))
    }

    fn from_variables(variable: &dyn Fn(&str) -> Option<OsString>) -> Result<Self> {
        let text = |name: &str| variable(name).and_then(|value| value.into_string().ok());
        let yes = |name: &str| text(name).is_some_and(|value| is_yes(&value));
        let path = |name: &str| variable(name).map(|value| expand(value, variable));
        let home = home(variable).context("there is no home folder for the hub's cache: set HF_HOME")?;
        let cache = path("HF_HUB_CACHE").or_else(|| path("HUGGINGFACE_HUB_CACHE")).unwrap_or_else(|| home.join("hub"));
        let token_file = path("HF_TOKEN_PATH").unwrap_or_else(|| home.join("token"));
        let token = text("HF_TOKEN").or_else(|| text("HUGGING_FACE_HUB_TOKEN")).and_then(|token| Token::new(&token));
        let token = token
            .or_else(|| std::fs::read_to_string(token_file).ok().and_then(|token| Token::new(&token)))
            .filter(|_| !yes("HF_HUB_DISABLE_IMPLICIT_TOKEN"));
        let endpoint = text("HF_ENDPOINT").map(|address| address.trim().trim_end_matches('/').to_owned());
        let offline = match text("HF_HUB_OFFLINE") {
            Some(value) => is_yes(&value),
            None => yes("TRANSFORMERS_OFFLINE"),
        };
        let mut patience = Patience::default();
        if let Some(seconds) = text("HF_HUB_DOWNLOAD_TIMEOUT").and_then(|s| s.parse().ok()).filter(|&s: &u64| s > 0) {
            patience.silence = Duration::from_secs(seconds.min(3600));
        }
        Ok(Self { cache, endpoint, token, offline, patience })
    }
}

/// The folder of Hugging Face's programs, which holds the hub's cache and more: what `HF_HOME` and `XDG_CACHE_HOME` say.
pub fn home_from_env() -> Option<PathBuf> {
    home(&|name| std::env::var_os(name).filter(|value| !value.is_empty()))
}

fn home(variable: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let path = |name: &str| variable(name).map(|value| expand(value, variable));
    if let Some(home) = path("HF_HOME") {
        return Some(home);
    }
    let caches = match path("XDG_CACHE_HOME") {
        Some(caches) => caches,
        None => user_home(variable)?.join(".cache"),
    };
    Some(caches.join("huggingface"))
}

fn is_yes(value: &str) -> bool {
    ["1", "true", "yes", "on"].iter().any(|yes| value.eq_ignore_ascii_case(yes))
}

fn user_home(variable: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    variable("HOME").map(PathBuf::from).or_else(std::env::home_dir)
}

/// A path with a `~` at its start and `$NAME`, `${NAME}` in it filled in; what is not set stays as it is written.
fn expand(path: OsString, variable: &dyn Fn(&str) -> Option<OsString>) -> PathBuf {
    let Some(text) = path.to_str() else { return path.into() };
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        filled.push_str(before);
        let braced = after.strip_prefix('{').and_then(|inner| inner.split_once('}'));
        let plain = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
        let (name, behind) = braced.unwrap_or_else(|| after.split_at(plain));
        match variable(name).and_then(|value| value.into_string().ok()) {
            Some(value) => filled.push_str(&value),
            None => filled.push_str(&rest[before.len()..rest.len() - behind.len()]),
        }
        rest = behind;
    }
    filled.push_str(rest);
    let home = if filled == "~" { Some("") } else { filled.strip_prefix("~/") };
    match (home, user_home(variable)) {
        (Some(""), Some(home)) => home,
        (Some(below), Some(home)) => home.join(Path::new(below)),
        _ => filled.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names and values.
    type Variables<'a> = &'a [(&'a str, &'a str)];

    fn place(variables: Variables<'_>) -> Place {
        let find = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value)).or_else(|| (name == "HOME").then(|| "/home/me".into()))
        };
        Place::from_variables(&find).expect("place")
    }

    #[test]
    fn what_python_takes_for_yes_is_yes() {
        assert!(["1", "TRUE", "True", "yes", "ON"].into_iter().all(is_yes));
        assert!(!["0", "false", "no", "off", "2"].into_iter().any(is_yes));
    }

    #[test]
    fn the_cache_is_where_pythons_library_looks() {
        let cases: [(Variables<'_>, &str); 9] = [
            (&[], "/home/me/.cache/huggingface/hub"),
            (&[("XDG_CACHE_HOME", "/xdg")], "/xdg/huggingface/hub"),
            (&[("HF_HOME", "~/x"), ("XDG_CACHE_HOME", "/xdg")], "/home/me/x/hub"),
            (&[("HF_HOME", "$SCRATCH/hf"), ("SCRATCH", "/scratch")], "/scratch/hf/hub"),
            (&[("HF_HOME", "${SCRATCH}hf"), ("SCRATCH", "/scratch/")], "/scratch/hf/hub"),
            (&[("HF_HOME", "/a/$NONE/${NONE}/b$")], "/a/$NONE/${NONE}/b$/hub"),
            (&[("HUGGINGFACE_HUB_CACHE", "~/old"), ("HF_HOME", "/h")], "/home/me/old"),
            (&[("HUGGINGFACE_HUB_CACHE", "/old"), ("HF_HUB_CACHE", "/new")], "/new"),
            (&[("HF_HUB_CACHE", "~")], "/home/me"),
        ];
        for (variables, cache) in cases {
            assert_eq!(place(variables).cache, Path::new(cache), "{variables:?}");
        }
    }

    #[test]
    fn the_token_is_found_under_all_its_names() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let file = dir.path().join("token");
        std::fs::write(&file, "from_file\n").expect("write");
        let home = dir.path().to_str().expect("UTF-8");
        let file = file.to_str().expect("UTF-8");
        let cases: [(Variables<'_>, Option<&str>); 6] = [
            (&[("HF_TOKEN", "new\n"), ("HUGGING_FACE_HUB_TOKEN", "old"), ("HF_HOME", home)], Some("new")),
            (&[("HUGGING_FACE_HUB_TOKEN", "old"), ("HF_HOME", home)], Some("old")),
            (&[("HF_HOME", home)], Some("from_file")),
            (&[("HF_TOKEN_PATH", file)], Some("from_file")),
            (&[("HF_HOME", home), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")], None),
            (&[], None),
        ];
        for (variables, token) in cases {
            assert_eq!(place(variables).token, token.and_then(Token::new), "{variables:?}");
        }
    }

    #[test]
    fn transformers_offline_is_offline_too() {
        assert!(place(&[("HF_HUB_OFFLINE", "1")]).offline);
        assert!(place(&[("TRANSFORMERS_OFFLINE", "1")]).offline);
        assert!(!place(&[("TRANSFORMERS_OFFLINE", "1"), ("HF_HUB_OFFLINE", "0")]).offline);
    }
}
