//! Held-out evaluation: decode every record at every setting, grade it, report accuracy, reward and speed.
//!
//! | what | where |
//! |---|---|
//! | decoding and grading at one setting | `evaluate` |
//! | a record's completions and what they are worth | `sample` |
//! | the figures of a setting | `figures` |
//! | means over records with standard errors; pass@k | `statistics`, `pass_at_k` |
//! | figures side by side | `table` |
//! | result files in lm-evaluation-harness' shape | `harness`, `timestamp`, `results_dir` |
//! | `spg eval` | `command` |

mod command;
mod completions;
mod evaluate;
mod figures;
mod harness;
mod pass_at_k;
mod results_dir;
mod sample;
mod statistics;
mod table;
mod timestamp;

pub use command::run;
pub use completions::completion_table;
pub use evaluate::{Evaluator, Outcome};
pub use figures::Evaluation;
pub use pass_at_k::pass_at_k;
pub use sample::{Response, Sample};
pub use statistics::Estimate;
pub use table::{Column, render as render_table};
