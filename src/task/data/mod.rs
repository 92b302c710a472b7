//! Records from files: parquet, JSON lines, JSON and CSV, on this machine or in a dataset of the hub.

mod csv;
mod error;
mod exact;
pub mod json;
mod jsonl;
mod parquet;
mod reader;
mod source;
mod table;
#[cfg(test)]
mod tests;
mod write;

pub use error::DataError;
pub use reader::{Row, read};
pub use source::{HubDataset, Origin, Source};
pub use write::write;

type Result<T, E = DataError> = std::result::Result<T, E>;
