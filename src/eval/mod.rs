//! Held-out evaluation: decode every record, grade it, report accuracy, reward and speed.

mod command;
mod evaluate;
mod table;

pub use command::run;
pub use evaluate::{Evaluation, Evaluator};
pub use table::{Column, render as render_table};
