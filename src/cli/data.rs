//! `spg data`: its arguments, and how they become requests.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use spg::config::{
    self, Command, CountdownGenerateTable, CountdownTable, MakeDataRequest, ShowDataRequest, Split, SudokuTable,
    TaskTable,
};
use spg::error::Usage;

use super::SetArgs;

#[derive(Debug, Args)]
pub struct DataArgs {
    #[command(subcommand)]
    job: DataJob,
}

#[derive(Debug, Subcommand)]
enum DataJob {
    /// Show the prompts of a configuration, their lengths, and what would be skipped or cut
    Show(ShowArgs),
    /// Make 4x4 Sudoku puzzles, each with one solution
    Sudoku(SudokuArgs),
    /// Make Countdown problems, each with a solution
    Countdown(CountdownArgs),
}

#[derive(Debug, Args)]
struct ShowArgs {
    /// Configuration file (TOML), or the name of a shipped one (spg configs)
    #[arg(long, short, value_name = "FILE")]
    config: PathBuf,
    #[command(flatten)]
    set: SetArgs,
    /// Which records
    #[arg(long, value_enum, default_value_t = SplitName::Train, value_name = "SPLIT")]
    split: SplitName,
    /// Prompts to print; the lengths are those of all
    #[arg(long, default_value_t = 3, value_name = "N")]
    count: usize,
    /// Print the ids of their tokens, too
    #[arg(long)]
    ids: bool,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct MakeArgs {
    /// The file, .jsonl or .csv
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// How many records
    #[arg(long, value_name = "N")]
    count: NonZeroUsize,
    /// Seed of the records
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
    /// Which records; with one seed, no two splits share a grid (Sudoku) or a problem (Countdown)
    #[arg(long, value_enum, default_value_t = SplitName::Train, value_name = "SPLIT")]
    split: SplitName,
    /// Replace the file if it exists
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
struct SudokuArgs {
    #[command(flatten)]
    make: MakeArgs,
    /// Fewest empty cells
    #[arg(long, default_value_t = SudokuTable::default().min_empty_cells, value_name = "N")]
    min_empty_cells: NonZeroUsize,
    /// Most empty cells, at most 12
    #[arg(long, default_value_t = SudokuTable::default().max_empty_cells, value_name = "N")]
    max_empty_cells: NonZeroUsize,
}

#[derive(Debug, Args)]
struct CountdownArgs {
    #[command(flatten)]
    make: MakeArgs,
    /// Numbers of a problem, 2 to 5
    #[arg(long, default_value_t = CountdownTable::default().num_numbers, value_name = "N")]
    num_numbers: NonZeroUsize,
    /// Smallest number
    #[arg(long, default_value_t = CountdownGenerateTable::default().min_number, value_name = "N")]
    min_number: NonZeroUsize,
    /// Largest number
    #[arg(long, default_value_t = CountdownGenerateTable::default().max_number, value_name = "N")]
    max_number: NonZeroUsize,
    /// Largest target
    #[arg(long, default_value_t = CountdownGenerateTable::default().max_target, value_name = "N")]
    max_target: NonZeroUsize,
}

/// A split on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum SplitName {
    Train,
    Validation,
    Test,
}

impl From<SplitName> for Split {
    fn from(name: SplitName) -> Self {
        match name {
            SplitName::Train => Self::Train,
            SplitName::Validation => Self::Validation,
            SplitName::Test => Self::Test,
        }
    }
}

impl DataArgs {
    /// Does what was asked.
    pub fn run(self) -> anyhow::Result<()> {
        match self.job {
            DataJob::Show(args) => spg::data::show(&args.request()?),
            DataJob::Sudoku(args) => spg::data::make(&args.request()?),
            DataJob::Countdown(args) => spg::data::make(&args.request()?),
        }
    }
}

impl ShowArgs {
    fn request(self) -> anyhow::Result<ShowDataRequest> {
        let config = config::load(&self.config, &self.set.overrides(), Command::Eval)?;
        Ok(ShowDataRequest { config, split: self.split.into(), count: self.count, ids: self.ids, json: self.json })
    }
}

impl MakeArgs {
    fn request(self, task: TaskTable) -> anyhow::Result<MakeDataRequest> {
        config::check_bound("train_size", self.count.get() as u64)
            .map_err(|too_large| Usage(format!("--count {too_large}")))?;
        Ok(MakeDataRequest { task, split: self.split.into(), count: self.count, out: self.out, force: self.force })
    }
}

impl SudokuArgs {
    fn request(self) -> anyhow::Result<MakeDataRequest> {
        let defaults = SudokuTable::default();
        let (train, validation) = (defaults.train_grids.get(), defaults.validation_grids.get());
        let grids = match self.make.split {
            SplitName::Train => train,
            SplitName::Validation => validation,
            SplitName::Test => config::SUDOKU_GRIDS - train - validation,
        };
        let (count, of_grid) = (self.make.count, self.make.count.get().div_ceil(grids));
        let of_grid = NonZeroUsize::new(of_grid).unwrap_or(count);
        let mut table = SudokuTable {
            data_seed: self.make.seed,
            min_empty_cells: self.min_empty_cells,
            max_empty_cells: self.max_empty_cells,
            ..defaults
        };
        match self.make.split {
            SplitName::Train => table.puzzles_per_train_grid = of_grid,
            SplitName::Validation | SplitName::Test => table.puzzles_per_eval_grid = of_grid,
        }
        checked(self.make.request(TaskTable::Sudoku(table))?)
    }
}

impl CountdownArgs {
    fn request(self) -> anyhow::Result<MakeDataRequest> {
        let generate = CountdownGenerateTable {
            data_seed: self.make.seed,
            min_number: self.min_number,
            max_number: self.max_number,
            max_target: self.max_target,
            ..CountdownGenerateTable::default()
        };
        let table =
            CountdownTable { generate: Some(generate), num_numbers: self.num_numbers, ..CountdownTable::default() };
        checked(self.make.request(TaskTable::Countdown(table))?)
    }
}

/// The request, if its table is one that a configuration could hold.
fn checked(request: MakeDataRequest) -> anyhow::Result<MakeDataRequest> {
    let problems = config::task_problems(&request.task);
    if problems.is_empty() {
        return Ok(request);
    }
    let lines: Vec<String> = problems.iter().map(|problem| problem.text.clone()).collect();
    Err(Usage(lines.join("\n")).into())
}
