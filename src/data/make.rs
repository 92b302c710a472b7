//! `spg data sudoku` and `spg data countdown`: generated records as a file.

use anyhow::{Context as _, Result, bail};

use crate::config::MakeDataRequest;
use crate::report::print_result;
use crate::task::Task;
use crate::task::data;

/// Makes the records and writes them: the very ones that a run with this table trains or is evaluated on.
///
/// # Errors
/// Settings that leave too few different records; a file that exists or cannot be written.
pub fn make(request: &MakeDataRequest) -> Result<()> {
    let task = Task::from_config(&request.task, true)?;
    let records = task.records(request.split)?;
    let wanted = request.count.get();
    let Some(records) = records.get(..wanted) else {
        bail!("only {} different records are there, not {wanted}", records.len());
    };
    data::write(&request.out, records, request.force).context("nothing was written (--force replaces a file)")?;
    let split = request.split.name();
    print_result(&format!("{wanted} {} records ({split}) in {}", task.name(), request.out.display()))
}
