//! Where the hub and its cache are, by the environment variables of Hugging Face's own library.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use hf_hub::Cache;

/// A hub and a cache of it.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// The folder with `models--owner--name` and `datasets--owner--name`.
    pub cache: PathBuf,
    /// The hub's address; without one, the public hub's.
    pub endpoint: Option<String>,
    /// The user's token, for private and gated repositories.
    pub token: Option<String>,
    /// Whether only the cache is asked.
    pub offline: bool,
}

impl Place {
    /// What `HF_HOME`, `HF_HUB_CACHE`, `HF_ENDPOINT`, `HF_TOKEN` and `HF_HUB_OFFLINE` say. Without `HF_TOKEN` it is the
    /// token that a login left in `HF_HOME`.
    ///
    /// # Errors
    /// Neither `HF_HOME` nor a home folder to look in.
    pub fn from_env() -> Result<Self> {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let text = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let home = match set("HF_HOME") {
            Some(home) => PathBuf::from(home),
            None => {
                let user = std::env::home_dir().context("there is no home folder for the hub's cache: set HF_HOME")?;
                user.join(".cache").join("huggingface")
            }
        };
        let hub = home.join("hub");
        let token = text("HF_TOKEN").or_else(|| Cache::new(hub.clone()).token());
        let endpoint = text("HF_ENDPOINT").map(|address| address.trim_end_matches('/').to_owned());
        let cache = set("HF_HUB_CACHE").map_or(hub, PathBuf::from);
        let offline = text("HF_HUB_OFFLINE").is_some_and(|value| is_yes(&value));
        Ok(Self { cache, endpoint, token, offline })
    }
}

fn is_yes(value: &str) -> bool {
    ["1", "true", "yes", "on"].iter().any(|yes| value.eq_ignore_ascii_case(yes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_python_takes_for_yes_is_yes() {
        assert!(["1", "TRUE", "True", "yes", "ON"].into_iter().all(is_yes));
        assert!(!["0", "false", "no", "off", "2"].into_iter().any(is_yes));
    }
}
