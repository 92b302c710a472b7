//! `spg data sudoku` and `spg data countdown`: generated records as a file.

use anyhow::{Context as _, Result, bail};

use crate::config::{MakeDataRequest, TaskTable};
use crate::report::print_result;
use crate::session::open_task;
use crate::task::{Record, countdown, data};

/// Makes the records and writes them: the very ones that a run with this table trains or is evaluated on.
///
/// # Errors
/// Settings that leave too few different records; a file that exists or cannot be written.
pub fn make(request: &MakeDataRequest) -> Result<()> {
    let (wanted, split) = (request.count.get(), request.split);
    let (task, records): (_, Vec<Record>) = match &request.task {
        TaskTable::Countdown(table) => {
            let generate = table.generate.as_ref().context("nothing says how to make the problems")?;
            ("countdown", countdown::made(generate, table.num_numbers.get(), split, wanted, "--count")?)
        }
        table => {
            let task = open_task(table, true)?;
            let records = task.records(split)?;
            let Some(records) = records.get(..wanted) else {
                bail!("only {} different records are there, not {wanted}", records.len());
            };
            (task.name(), records.to_vec())
        }
    };
    data::write(&request.out, &records, request.force).context("nothing was written (--force replaces a file)")?;
    print_result(&format!("{wanted} {task} records ({}) in {}", split.name(), request.out.display()))
}
