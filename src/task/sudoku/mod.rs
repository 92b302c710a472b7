//! 4x4 Sudoku, generated from a seed: grids are split into training and held-out ones, and every grid
//! gives puzzles with one solution. A record is `{puzzle, solution}`, 16 digits each, 0 an empty cell.

mod answer;
mod grid;
mod puzzles;
mod settings;

use super::demonstration::Demonstrator;
use super::grader::Grader;
use super::grading::declared::declared;
use super::load::{self, keys};
use super::prompt::PromptWriter;
use super::rewards::Rewards;
use super::splits::Splits;
use super::template::Template;
use super::{Grade, Problem, Record, Result, Reward, Task, TaskError};
use crate::config::{Benchmark, SudokuTable};
use crate::rng::Rng;
use puzzles::{Puzzle, PuzzleMaker, shuffled_grids};

/// Generates or loads the puzzles and compiles the templates.
///
/// # Errors
/// [`TaskError::Config`] with every problem of the table.
pub(super) fn task(table: &SudokuTable, with_test: bool) -> Result<Task> {
    let mut problems = Vec::new();
    let mut keep = |result: Result<Template, Problem>| result.map_err(|problem| problems.push(problem)).ok();
    let prompt = keep(settings::prompt_template(table));
    let demonstration = keep(settings::demonstration_template(table));
    let (true, Some(prompt), Some(demonstration)) = (problems.is_empty(), prompt, demonstration) else {
        return Err(TaskError::Config(problems));
    };
    let solver = LazySolver { solve: table.demonstration_solve.get(), fill: table.demonstration_fill.get() };
    Ok(Task {
        name: "sudoku",
        splits: splits(table, with_test)?,
        // The first training records are of different grids, so no example shows the record's own.
        prompt: PromptWriter::new(prompt).with_examples(table.few_shot, "solution"),
        rewards: Rewards::new(&table.rewards),
        grader: Grader::Benchmark(Benchmark::Sudoku),
        demonstrator: Demonstrator::Sudoku(demonstration, solver),
    })
}

fn splits(table: &SudokuTable, with_test: bool) -> Result<Splits> {
    match &table.data {
        Some(data) => load::load(data, &keys!("sudoku"), with_test, &|record| cells(record).map(|_| true)),
        None => generate(table),
    }
}

/// The puzzles of the table's seed; no grid is in two splits.
fn generate(table: &SudokuTable) -> Result<Splits> {
    let maker = PuzzleMaker::new(table.data_seed, table.min_empty_cells.get()..=table.max_empty_cells.get());
    let grids = shuffled_grids(table.data_seed);
    let (train, held_out) = grids.split_at(table.train_grids.get());
    let (validation, test) = held_out.split_at(table.validation_grids.get());
    let make = |grids, wanted: usize, key| {
        records(&maker, grids, wanted).map_err(|problem| TaskError::Config(vec![Problem::new(key, problem)]))
    };
    let make_held_out = |grids| make(grids, table.puzzles_per_eval_grid.get(), "task.sudoku.puzzles_per_eval_grid");
    Ok(Splits {
        train: make(train, table.puzzles_per_train_grid.get(), "task.sudoku.puzzles_per_train_grid")?,
        validation: make_held_out(validation)?,
        test: make_held_out(test)?,
    })
}

/// The records of some grids: the first puzzle of each, then the second of each, and so on, so that any
/// beginning of the list covers as many grids as it can.
fn records(maker: &PuzzleMaker, grids: &[usize], wanted: usize) -> Result<Vec<Record>, String> {
    let short = |found: puzzles::Exhausted| {
        format!(
            "{wanted} puzzles of every grid are more than there are: one grid has only {} with so many empty cells \
             and one solution",
            found.available
        )
    };
    let by_grid: Vec<Vec<Puzzle>> =
        grids.iter().map(|&grid| maker.of_grid(grid, wanted)).collect::<Result<_, _>>().map_err(short)?;
    let record = |puzzle: &Puzzle| {
        Record::from([("puzzle", grid::text(&puzzle.given)), ("solution", grid::text(&puzzle.solution))])
    };
    Ok((0..wanted).flat_map(|i| by_grid.iter().map(move |puzzles| record(&puzzles[i]))).collect())
}

/// The puzzle and the solution of a record, 16 digits each.
///
/// # Errors
/// If one is missing or something else.
pub fn cells(record: &Record) -> Result<(&str, &str)> {
    let digits = |field| {
        let text = record.text(field)?;
        if text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(text);
        }
        Err(TaskError::bad_field(field, "16 digits", record.value(field)?))
    };
    Ok((digits("puzzle")?, digits("solution")?))
}

/// The training reward: the fraction of the empty cells that the last closed answer has right.
pub fn reward(puzzle: &str, solution: &str, completion: &str) -> Reward {
    let answer = answer::for_reward(completion).unwrap_or_default();
    let (correct, empty) = answer::count_correct(puzzle, solution, &answer);
    let fraction = if empty == 0 { 0.0 } else { correct as f64 / empty as f64 };
    Reward::of([("sudoku", fraction)])
}

/// The evaluation grade, in cells: `out_of` is the number of empty ones.
pub fn grade(puzzle: &str, solution: &str, completion: &str) -> Grade {
    let answer = answer::for_grade(completion);
    let (correct, out_of) = answer::count_correct(puzzle, solution, answer.as_deref().unwrap_or_default());
    Grade { answer, correct, out_of, exact: exact(puzzle, solution, completion) }
}

/// Whether the answer that a completion declares is the solution: 16 digits, the clues among them, and white space.
fn exact(puzzle: &str, solution: &str, completion: &str) -> bool {
    let right = |answer: &str| answer.chars().filter(|c| !c.is_whitespace()).eq(solution.chars());
    let keeps_clues = puzzle.chars().zip(solution.chars()).all(|(given, digit)| given == '0' || given == digit);
    keeps_clues && declared(completion).is_some_and(right)
}

/// Writes a lazy solver's answers: sometimes the solution, else the puzzle with a few cells filled. A model that
/// imitates it earns some reward from the start and has something left to learn.
#[derive(Clone, Copy, Debug)]
pub struct LazySolver {
    solve: f64,
    fill: f64,
}

impl LazySolver {
    /// An answer for a record.
    ///
    /// # Errors
    /// If the record has no puzzle.
    pub fn answer(&self, record: &Record, rng: &mut Rng) -> Result<String> {
        let (puzzle, solution) = cells(record)?;
        if rng.bernoulli(self.solve) {
            return Ok(solution.to_owned());
        }
        let fill = |(given, digit)| if given == '0' && rng.bernoulli(self.fill) { digit } else { given };
        Ok(puzzle.chars().zip(solution.chars()).map(fill).collect())
    }
}

#[cfg(test)]
mod tests;
