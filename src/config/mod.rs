//! Configuration: the TOML file as written ([`ConfigFile`]) and the checked, read-only run built from it.

mod file;
mod types;

pub use file::*;
pub use types::*;
