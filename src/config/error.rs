//! Everything that can be wrong with a configuration, each with the file, the key, the value and a way out.

use std::fmt;
use std::path::PathBuf;

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the config file {} (shipped ones: {})", path.display(), super::shipped::names())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The text is not TOML, a key is unknown or missing, or a value is out of its range.
    /// The message holds the line and a caret.
    #[error("{}: {message}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// toml's message, with the excerpt.
        message: String,
    },
    /// The file is fine, a change from the command line is not.
    #[error("{origin}: {message}")]
    Override {
        /// The argument (or arguments) as the user wrote it.
        origin: String,
        /// What is wrong.
        message: String,
    },
    /// The file is fine, some changes from the command line are not.
    #[error("{}", .0.join("\n"))]
    Overrides(Vec<String>),
    /// Every value is fine alone, some do not fit together.
    #[error("{}: {}", path.display(), list(problems))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// All of the problems.
        problems: Vec<Problem>,
    },
    /// A file that nobody named, but that lies beside a checkpoint, names a program.
    #[error(
        "the configuration beside the checkpoint, {}, names a program to run on this machine:\n  {program}\nit is not \
         started, as you did not name that file: if you know the program, add --allow-reward-command or --config {}",
        path.display(), path.display()
    )]
    FoundProgram {
        /// The file.
        path: PathBuf,
        /// The program and its arguments, escaped.
        program: String,
    },
    /// The command needs a table that the file lacks.
    #[error("the configuration has no [{table}] table, which `spg {command}` needs")]
    MissingTable {
        /// The table's name.
        table: &'static str,
        /// The subcommand.
        command: &'static str,
    },
}

/// Keys that do not fit together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The keys, the first one being the one to look at first.
    pub keys: Vec<String>,
    /// What is wrong and what to do, naming keys and values.
    pub text: String,
    /// Where those of the keys that are written down stand: `line 12`, `--set a.b=v`.
    pub places: Vec<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        if !self.places.is_empty() {
            write!(f, " ({})", self.places.join(", "))?;
        }
        Ok(())
    }
}

fn list(problems: &[Problem]) -> String {
    match problems {
        [one] => one.to_string(),
        many => many.iter().fold(format!("{} problems", many.len()), |text, p| format!("{text}\n  - {p}")),
    }
}
