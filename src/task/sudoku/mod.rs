//! 4x4 Sudoku, generated from a seed: grids are split into training and held-out ones, and every grid
//! gives puzzles with one solution. A record is `{puzzle, solution}`, 16 digits each, 0 an empty cell.

mod answer;
mod grid;
mod puzzles;
mod settings;

use minijinja::{Value, context};

use super::template::Template;
use super::{Grade, Problem, Record, Result, Reward, Rules, TaskError};
use crate::config::SudokuTable;
use crate::rng::Rng;
use puzzles::{Puzzle, PuzzleMaker, shuffled_grids};

/// The task; see [`crate::config::SudokuTable`] for its settings.
#[derive(Clone, Debug)]
pub struct Sudoku {
    train: Vec<Record>,
    eval: Vec<Record>,
    few_shot: usize,
    prompt: Template,
    demonstration: Template,
    demonstration_solve: f64,
    demonstration_fill: f64,
}

impl Sudoku {
    /// Generates the puzzles and compiles the templates.
    ///
    /// # Errors
    /// [`TaskError::Config`] with every problem of the table.
    pub fn from_config(table: &SudokuTable) -> Result<Self> {
        let mut problems = settings::problems(table);
        let mut keep = |result: Result<Template, Problem>| result.map_err(|problem| problems.push(problem)).ok();
        let prompt = keep(settings::prompt_template(table));
        let demonstration = keep(settings::demonstration_template(table));
        let (true, Some(prompt), Some(demonstration)) = (problems.is_empty(), prompt, demonstration) else {
            return Err(TaskError::Config(problems));
        };

        let maker = PuzzleMaker::new(table.data_seed, table.min_empty_cells.get()..=table.max_empty_cells.get());
        let grids = shuffled_grids(table.data_seed);
        let (train, eval) = grids.split_at(table.train_grids.get());
        let make = |grids, wanted: usize, key| {
            records(&maker, grids, wanted).map_err(|problem| TaskError::Config(vec![Problem::new(key, problem)]))
        };
        Ok(Self {
            train: make(train, table.puzzles_per_train_grid.get(), "task.sudoku.puzzles_per_train_grid")?,
            eval: make(eval, table.puzzles_per_eval_grid.get(), "task.sudoku.puzzles_per_eval_grid")?,
            few_shot: table.few_shot,
            prompt,
            demonstration,
            demonstration_solve: table.demonstration_solve.get(),
            demonstration_fill: table.demonstration_fill.get(),
        })
    }

    /// The worked examples of a record's prompt. The first training records are of different grids, and
    /// there is one more grid than examples, so the record's own can be left out.
    fn examples(&self, solution: &str) -> impl Iterator<Item = &Record> {
        let other_grid = move |record: &&Record| record.text("solution") != Ok(solution);
        self.train.iter().take(self.few_shot + 1).filter(other_grid).take(self.few_shot)
    }
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

/// The puzzle and its solution, both empty in a record that is not one of this task's: nothing in it can
/// be right then, and scoring needs no error path.
fn cells(record: &Record) -> (&str, &str) {
    match (record.text("puzzle"), record.text("solution")) {
        (Ok(puzzle), Ok(solution)) => (puzzle, solution),
        _ => ("", ""),
    }
}

/// The training reward: the fraction of the empty cells that the last closed answer has right.
pub fn reward(puzzle: &str, solution: &str, completion: &str) -> Reward {
    let answer = answer::for_reward(completion).unwrap_or_default();
    let (correct, empty) = answer::count_correct(puzzle, solution, &answer);
    let fraction = if empty == 0 { 0.0 } else { correct as f64 / empty as f64 };
    Reward::of(vec![("sudoku", fraction)])
}

/// The evaluation grade, in cells: `out_of` is the number of empty ones.
pub fn grade(puzzle: &str, solution: &str, completion: &str) -> Grade {
    let answer = answer::for_grade(completion);
    let (correct, out_of) = answer::count_correct(puzzle, solution, answer.as_deref().unwrap_or_default());
    Grade { answer, correct, out_of }
}

impl Rules for Sudoku {
    fn name(&self) -> &'static str {
        "sudoku"
    }

    fn train_records(&self) -> &[Record] {
        &self.train
    }

    fn eval_records(&self) -> &[Record] {
        &self.eval
    }

    fn prompt(&self, record: &Record) -> Result<String> {
        let solution = record.text("solution")?;
        let examples = self
            .examples(solution)
            .map(|r| Ok(context! { puzzle => r.text("puzzle")?, solution => r.text("solution")? }))
            .collect::<Result<Vec<Value>>>()?;
        self.prompt.render(&context! { puzzle => record.text("puzzle")?, examples => examples })
    }

    fn reward(&self, record: &Record, completion: &str) -> Reward {
        let (puzzle, solution) = cells(record);
        reward(puzzle, solution, completion)
    }

    fn grade(&self, record: &Record, completion: &str) -> Grade {
        let (puzzle, solution) = cells(record);
        grade(puzzle, solution, completion)
    }

    /// A lazy solver's answer: sometimes the solution, else the puzzle with a few cells filled. A model that
    /// imitates it earns some reward from the start and has something left to learn.
    fn demonstration(&self, record: &Record, rng: &mut Rng) -> Result<String> {
        let (puzzle, solution) = (record.text("puzzle")?, record.text("solution")?);
        let answer: String = if rng.bernoulli(self.demonstration_solve) {
            solution.to_owned()
        } else {
            let fill =
                |(given, digit)| if given == '0' && rng.bernoulli(self.demonstration_fill) { digit } else { given };
            puzzle.chars().zip(solution.chars()).map(fill).collect()
        };
        self.demonstration.render(&context! { puzzle => puzzle, answer => answer })
    }
}

#[cfg(test)]
mod tests;
