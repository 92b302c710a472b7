//! `spg data`: looking at the records of a configuration, and making data sets from a seed.

mod make;
mod show;

pub use make::make;
pub use show::show;
