//! `spg sweep`: one run for every point of a grid and every seed, and what comes of them, side by side.
//!
//! ```text
//! grid -> plan (names, checked configurations) -> folder (sweep.json) -> runs (child processes) -> report
//! ```
//!
//! The runs are ordinary ones: `spg train` makes them, this very program as a child process. What became of a run is
//! read from its folder, never from what it printed.

mod child;
mod folder;
mod grid;
mod manifest;
mod names;
mod plan;
mod report;
mod runs;
mod state;
mod tail;
#[cfg(test)]
mod testing;

use std::path::Path;

use anyhow::{Result, anyhow};

use crate::config::{self, SweepAction, SweepReportOptions, SweepRequest};
use crate::error::{SweepStopped, Usage};
use crate::report::{Table, print_result};
use crate::terminal::{shown_in_line, width};

use folder::Folder;
use plan::Run;
use runs::{End, Ended};
use state::State;

/// Makes the runs of a sweep, or lists them.
///
/// # Errors
/// [`Usage`] before anything runs, if a point's configuration or the folder cannot be used so; [`SweepStopped`] after a
/// signal; else the runs that failed, when all others have ended.
pub fn run(request: &SweepRequest) -> Result<()> {
    let text = config::read(&request.config)?;
    let plan = plan::plan(request, &text)?;
    match request.action {
        SweepAction::List => {
            Folder::look(request, &text, &plan)?;
            list(&plan, &request.dir)
        }
        SweepAction::Run { only, jobs } => {
            let chosen = choose(&plan, only)?;
            let folder = Folder::open(request, &text, &plan)?;
            let ended = runs::run(&chosen, &folder, jobs)?;
            // the report must not hide what became of the runs
            let written = report::write(&request.dir, request.report).and_then(|table| print_result(&table));
            let outcome = outcome(&ended, chosen.len());
            if let (Err(failure), Err(_)) = (&written, &outcome) {
                tracing::error!("{failure:#}");
            }
            outcome.and(written)
        }
    }
}

/// `spg sweep --report`: makes the report of a sweep again.
///
/// # Errors
/// A folder that is none of a sweep, or files that cannot be read or written.
pub fn report(dir: &Path, options: SweepReportOptions) -> Result<()> {
    print_result(&report::write(dir, options)?)
}

fn choose(plan: &[Run], only: Option<usize>) -> Result<Vec<&Run>, Usage> {
    let Some(number) = only else { return Ok(plan.iter().collect()) };
    let run = number.checked_sub(1).and_then(|i| plan.get(i));
    let refused = || Usage(format!("--only {number}: the runs are 1 to {} (--list shows them)", plan.len()));
    Ok(vec![run.ok_or_else(refused)?])
}

fn list(plan: &[Run], dir: &Path) -> Result<()> {
    let states = plan.iter().map(|run| State::of(&dir.join(&run.name), &run.config)).collect::<Result<Vec<_>>>()?;
    let mut table = Table::default();
    table.key("folder", plan.iter().map(|run| run.name.clone()).collect());
    table.key("run", (1..=plan.len()).map(|i| i.to_string()).collect());
    table.key("state", states.iter().map(State::to_string).collect());
    print_result(&table.render(width()))
}

/// What became of the runs, as the outcome of the sweep.
fn outcome(ended: &[Ended], all: usize) -> Result<()> {
    let failed: Vec<String> = ended.iter().filter_map(|ended| Some((ended, ended.end.failure()?))).map(shown).collect();
    let finished = ended.iter().filter(|ended| ended.end == End::Finished).count();
    if !failed.is_empty() {
        return Err(anyhow!("{} of {all} runs failed\n{}", failed.len(), failed.join("\n")));
    }
    let elsewhere = ended.iter().filter(|ended| ended.end == End::Elsewhere).count();
    if finished + elsewhere < all {
        return Err(SweepStopped { left: all - finished, of: all }.into());
    }
    Ok(())
}

/// A run that failed, why, and the end of its log.
fn shown((ended, failure): (&Ended, &runs::Failure)) -> String {
    let mut text = format!("  {}: {}", ended.name, failure.text);
    if !failure.log.is_empty() {
        text += &format!("; {} ends with", failure.path.display());
        failure.log.iter().for_each(|line| text += &format!("\n      {}", shown_in_line(line)));
    }
    text
}
