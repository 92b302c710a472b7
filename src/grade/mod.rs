//! `spg grade`: verdicts and training rewards for completions that anyone produced.

mod command;
mod rows;
mod table;
mod tally;
mod verdict;

pub use command::run;
pub use rows::{PREFILL, Row, Rows, parse as parse_rows};
pub use tally::Tally;
pub use verdict::{Verdict, judge};
