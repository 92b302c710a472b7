//! Configuration in two stages: the TOML file as written ([`ConfigFile`]) and the checked, read-only run
//! ([`RunConfig`]) that is built from it once. Only the second one reaches the workers.
//!
//! | stage | where |
//! |---|---|
//! | tables, keys, defaults | `file` |
//! | closed choices and ranges of single values | `types`, `types_model`, `types_rollout` |
//! | `--set` and the other ways to change a key from the command line | `overrides` |
//! | the values that a sweep goes through | `axis` |
//! | what needs two keys to be judged | `check`, `check_algorithm`, `check_rollout`, `check_task`, `check_eval` |
//! | how checkpoints are compared | `best` |
//! | an objective as the pieces it is made of | `recipe` |
//! | the settings that an evaluation compares | `grid` |
//! | the resolved run | `resolve` |
//! | what a resumed run may change of it | `lasting` |
//! | the files of `configs/`, by name | `shipped` |
//! | the file that lies beside a checkpoint, and what it must not do | `found` |
//! | what a subcommand was asked to do | `request` |

mod axis;
mod best;
mod bounds;
mod check;
mod check_algorithm;
mod check_eval;
mod check_rollout;
mod check_task;
mod error;
mod file;
mod found;
mod grid;
mod lasting;
mod load;
#[cfg(test)]
mod misfit_tests;
mod overrides;
#[cfg(test)]
mod readme_tests;
mod recipe;
mod request;
mod resolve;
mod shipped;
#[cfg(test)]
mod tests;
mod types;
mod types_model;
mod types_rollout;

pub use axis::Axis;
pub use best::BestModel;
pub use bounds::check_bound;
pub use check_task::{COUNTDOWN_LARGEST_NUMBER, COUNTDOWN_MOST_NUMBERS, SUDOKU_GRIDS, task_problems};
pub use error::{ConfigError, Problem};
#[cfg(test)]
pub(crate) use file::guide;
pub use file::*;
pub use found::{BEST, CHECKPOINT, LAST_GOOD, for_model, load_found, near_checkpoint};
pub use grid::Setting;
pub use lasting::{Change, Changes};
pub use load::{RESOLVED_FILE, from_text, load, published, read};
pub use overrides::{Assignment, EvalOverrides, Overrides};
pub use recipe::*;
pub use request::{
    BenchModel, BenchRequest, EvalRequest, GenerateRequest, GradeRequest, MakeDataRequest, MergeRequest,
    PrecisionRequest, PromptSource, PublishedShape, ReportRequest, Resume, RunRequest, ShowDataRequest, SweepAction,
    SweepReportOptions, SweepRequest, VerifyRequest, Which,
};
pub use resolve::{Command, RunConfig};
pub use shipped::{SHIPPED, shipped};
pub use types::*;
pub use types_model::*;
pub use types_rollout::*;
