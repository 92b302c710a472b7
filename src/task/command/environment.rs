//! The environment of a reward command: what a program needs to be found, to start and to read text, and what the
//! configuration lists. Tokens and keys, which it has no use for, stay here.

use std::ffi::OsString;

use crate::config::VariableName;

/// What always passes, if it is set. A name that ends in `*` stands for all that begin so.
#[rustfmt::skip]
const PASSED: [&str; 42] = [
    // paths, people, places
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "TMP", "TEMP", "PWD",
    // language and time
    "LANG", "LANGUAGE", "LC_*", "TZ",
    // where interpreters and libraries are
    "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH", "VIRTUAL_ENV", "CONDA_PREFIX",
    "CONDA_DEFAULT_ENV", "PYENV_ROOT", "PYENV_VERSION", "PYTHONPATH", "PYTHONHOME", "PYTHONUNBUFFERED",
    "PYTHONIOENCODING", "PYTHONUTF8", "PYTHONNOUSERSITE", "PYTHONUSERBASE", "PYTHONDONTWRITEBYTECODE", "JAVA_HOME",
    "NODE_PATH",
    // how much of the machine to take
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER",
    // without which Windows starts little
    "SYSTEMROOT", "WINDIR", "COMSPEC", "PATHEXT", "USERPROFILE", "APPDATA",
];

/// What of these variables passes.
pub(super) fn select(
    variables: impl Iterator<Item = (OsString, OsString)>,
    listed: &[VariableName],
) -> Vec<(OsString, OsString)> {
    let passes = |name: &str| {
        PASSED.iter().any(|pattern| VariableName::covers(pattern, name))
            || listed.iter().any(|pattern| VariableName::covers(pattern.as_str(), name))
    };
    variables.filter(|(name, _)| name.to_str().is_some_and(passes)).collect()
}

/// The listed names that nothing is set for.
pub(super) fn missing<'a>(variables: &[(OsString, OsString)], listed: &'a [VariableName]) -> Vec<&'a str> {
    let is_set = |pattern: &VariableName| {
        variables.iter().filter_map(|(name, _)| name.to_str()).any(|name| VariableName::covers(pattern.as_str(), name))
    };
    listed.iter().filter(|pattern| !is_set(pattern)).map(VariableName::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(names: &[&str]) -> Vec<(OsString, OsString)> {
        names.iter().map(|&name| (name.into(), "x".into())).collect()
    }

    #[test]
    fn tokens_and_keys_stay_here() {
        let secrets = [
            "HF_TOKEN",
            "HUGGING_FACE_HUB_TOKEN",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_SESSION_TOKEN",
            "WANDB_API_KEY",
            "OPENAI_API_KEY",
            "GITHUB_TOKEN",
            "https_proxy",
            "SSH_AUTH_SOCK",
            "LD_PRELOAD",
            "PATH_TO_KEY",
            "HF_HOME",
        ];
        let set = [&["PATH", "LC_CTYPE", "HOME"][..], &secrets].concat();
        assert_eq!(select(variables(&set).into_iter(), &[]), variables(&["PATH", "LC_CTYPE", "HOME"]));
    }

    #[test]
    fn what_is_listed_passes_and_what_is_listed_in_vain_is_named() {
        let listed: Vec<VariableName> =
            ["HF_HOME", "OPENAI_*", "NOT_SET"].map(|name| name.to_owned().try_into().unwrap()).to_vec();
        let set = variables(&["HF_TOKEN", "HF_HOME", "OPENAI_API_KEY", "OPENAI_BASE_URL", "MY_OPENAI_"]);
        let passed = select(set.into_iter(), &listed);
        assert_eq!(passed, variables(&["HF_HOME", "OPENAI_API_KEY", "OPENAI_BASE_URL"]));
        assert_eq!(missing(&passed, &listed), ["NOT_SET"]);
    }
}
