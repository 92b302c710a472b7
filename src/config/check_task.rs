//! What needs more than one key of a task's table to be judged.

use super::check::Findings;
use super::{Command, CountdownTable, CustomTable, DataTable, Problem, SourceTable, SudokuTable, TaskTable};

/// Number of complete 4x4 Sudoku grids.
pub const SUDOKU_GRIDS: usize = 288;

/// A 4x4 Sudoku needs at least four clues to have one solution.
const MOST_EMPTY_CELLS: usize = 12;

/// The most numbers of a Countdown problem that is made or solved: solutions are found by trying all expressions, a quarter
/// of a million steps for five.
pub const COUNTDOWN_MOST_NUMBERS: usize = 5;
/// The largest number of one.
pub const COUNTDOWN_LARGEST_NUMBER: u32 = 10_000;

/// All problems of a task's table that stands alone.
pub fn task_problems(task: &TaskTable) -> Vec<Problem> {
    let mut found = Findings::default();
    check_task(&mut found, task, Command::Eval);
    found.into_problems()
}

/// Adds all problems of a task's table.
pub(super) fn check_task(found: &mut Findings, task: &TaskTable, command: Command) {
    match task {
        TaskTable::Gsm8k(task) => data(found, &task.data, "task.gsm8k.data"),
        TaskTable::Math(task) => data(found, &task.data, "task.math.data"),
        TaskTable::Countdown(task) => countdown(found, task),
        TaskTable::Sudoku(task) => sudoku(found, task),
        TaskTable::Custom(task) => custom(found, task, command),
    }
}

fn data(found: &mut Findings, data: &DataTable, prefix: &str) {
    match &data.train {
        None => found.add(
            &[&format!("{prefix}.train")],
            format!(
                "{prefix}.train is missing: name the training records, such as train = {{ path = \"train.jsonl\" }}"
            ),
        ),
        Some(train) => source(found, train, &format!("{prefix}.train")),
    }
    let held_out = [("validation", &data.validation, data.validation_size), ("test", &data.test, data.test_size)];
    for (split, table, size) in held_out {
        let (key, size_key) = (format!("{prefix}.{split}"), format!("{prefix}.{split}_size"));
        if let Some(table) = table {
            source(found, table, &key);
        }
        if let (Some(_), Some(size)) = (table, size) {
            found.add(
                &[&size_key, &key],
                format!(
                    "{size_key} = {size} keeps training records for a split that has records of its own by {key}: \
                         remove one of them"
                ),
            );
        }
    }
    if data.validation.is_none() && data.validation_size.unwrap_or(0) == 0 {
        found.add(
            &[&format!("{prefix}.validation_size"), &format!("{prefix}.validation")],
            format!("there are no validation records: set {prefix}.validation_size above 0, or {prefix}.validation"),
        );
    }
}

fn source(found: &mut Findings, source: &SourceTable, key: &str) {
    let mut add = |text: String| found.add(&[key], text);
    let Some(dataset) = &source.dataset else {
        if source.path.is_empty() {
            add(format!("{key} names neither a `path` nor a `dataset` of the hub: add one"));
        }
        let of_hub = source.name.is_some() || source.split.is_some() || source.revision.is_some();
        if of_hub || !source.files.is_empty() {
            add(format!(
                "{key}: `name`, `split`, `revision` and `files` belong to a `dataset` of the hub: remove them"
            ));
        }
        return;
    };
    if !source.path.is_empty() {
        add(format!("{key} names both a `path` and the dataset {dataset}: remove one"));
    }
    if !matches!(dataset.split('/').collect::<Vec<_>>()[..], [owner, name] if !owner.is_empty() && !name.is_empty()) {
        add(format!("{key}.dataset = {dataset:?} is not an id of the hub, owner/name (a file is named by `path`)"));
    }
    match (source.files.is_empty(), source.split.is_some(), source.name.is_some()) {
        (true, false, _) => add(format!("{key} does not say which part of {dataset} to take: add `split`, or `files`")),
        (false, true, _) | (false, _, true) => {
            add(format!("{key}: `files` are taken instead of a `name` and a `split`: remove either"));
        }
        _ => {}
    }
}

fn countdown(found: &mut Findings, task: &CountdownTable) {
    let Some(generate) = &task.generate else { return data(found, &task.data, "task.countdown.data") };
    if task.data != CountdownTable::default().data {
        found.add(
            &["task.countdown.data", "task.countdown.generate"],
            "task.countdown.data and task.countdown.generate: problems are either loaded or made; remove one".into(),
        );
    }
    let count = task.num_numbers.get();
    if !(2..=COUNTDOWN_MOST_NUMBERS).contains(&count) {
        found.add(
            &["task.countdown.num_numbers"],
            format!("task.countdown.num_numbers = {count}: problems are made of 2 to {COUNTDOWN_MOST_NUMBERS} numbers"),
        );
    }
    let max = generate.max_number.get();
    found.ordered(
        ("task.countdown.generate.min_number", generate.min_number.get()),
        ("task.countdown.generate.max_number", max),
    );
    if max > COUNTDOWN_LARGEST_NUMBER as usize {
        found.add(
            &["task.countdown.generate.max_number"],
            format!("task.countdown.generate.max_number = {max}: use at most {COUNTDOWN_LARGEST_NUMBER}"),
        );
    }
}

fn sudoku(found: &mut Findings, task: &SudokuTable) {
    if let Some(table) = &task.data {
        let of_maker = |t: &SudokuTable| {
            let grids = (t.train_grids, t.validation_grids);
            let puzzles = (t.puzzles_per_train_grid, t.puzzles_per_eval_grid);
            (t.data_seed, grids, puzzles, t.min_empty_cells, t.max_empty_cells)
        };
        if of_maker(task) != of_maker(&SudokuTable::default()) {
            found.add(
                &["task.sudoku.data"],
                "task.sudoku.data loads the puzzles, but other keys say how to make them (data_seed, train_grids, \
                 validation_grids, puzzles_per_train_grid, puzzles_per_eval_grid, min_empty_cells, max_empty_cells): \
                 remove those, or task.sudoku.data"
                    .into(),
            );
        }
        return data(found, table, "task.sudoku.data");
    }
    let max = task.max_empty_cells.get();
    found.ordered(("task.sudoku.min_empty_cells", task.min_empty_cells.get()), ("task.sudoku.max_empty_cells", max));
    if max > MOST_EMPTY_CELLS {
        found.add(
            &["task.sudoku.max_empty_cells"],
            format!(
                "task.sudoku.max_empty_cells = {max}: a 4x4 puzzle with more than {MOST_EMPTY_CELLS} empty cells \
                 never has a single solution; use at most {MOST_EMPTY_CELLS}"
            ),
        );
    }
    let (grids, validation) = (task.train_grids.get(), task.validation_grids.get());
    if grids.saturating_add(validation) >= SUDOKU_GRIDS {
        found.add(
            &["task.sudoku.train_grids", "task.sudoku.validation_grids"],
            format!(
                "task.sudoku.train_grids = {grids} and task.sudoku.validation_grids = {validation} leave none of \
                 the {SUDOKU_GRIDS} grids for the test: use at most {} together",
                SUDOKU_GRIDS - 1
            ),
        );
    }
    // the examples are of the other training grids
    if task.few_shot >= grids {
        found.add(
            &["task.sudoku.few_shot", "task.sudoku.train_grids"],
            format!(
                "task.sudoku.few_shot = {} needs more than task.sudoku.train_grids = {grids}: examples are of training \
                 grids other than the puzzle's own; use at most {}",
                task.few_shot,
                grids - 1
            ),
        );
    }
}

fn custom(found: &mut Findings, task: &CustomTable, command: Command) {
    data(found, &task.data, "task.custom.data");
    if let Some(reward) = &task.reward_command
        && reward.command.first().is_none_or(|program| program.trim().is_empty())
    {
        found.add(
            &["task.custom.reward_command.command"],
            "task.custom.reward_command.command is empty: give a program and its arguments, such as \
             [\"python3\", \"reward.py\"]"
                .into(),
        );
    }
    let rewarded = task.reward_command.is_some() || task.rewards.values().any(|weight| weight.get() != 0.0);
    if !rewarded && (command == Command::Train || task.grader.is_none()) {
        found.add(
            &["task.custom.rewards", "task.custom.reward_command"],
            "task.custom has no reward: add [task.custom.rewards] with built-in functions, such as correctness = 1.0, \
             or [task.custom.reward_command]"
                .into(),
        );
    }
}
