//! `report.md`: tables of points, curves, and how the figures are to be read; and the same in short for a terminal.

use super::super::manifest::Manifest;
use super::super::state::State;
use super::curves;
use super::figures::{Figures, Outcome, Point, Setting};
use super::record::FIGURES;
use super::statistics::Mean;
use crate::report::Table;
use crate::terminal::{shown_in_line, width};

/// The figures of the tables, by their place among [`FIGURES`]; the table of the runs has all.
const TOLD: [usize; 2] = [0, 1];

/// A table: its header and its lines.
struct Cells {
    header: Vec<String>,
    lines: Vec<Vec<String>>,
}

/// The points at a setting.
fn cells(figures: &Figures, setting: &Setting) -> Cells {
    let mut header = figures.keys.clone();
    header.push("runs".into());
    for i in TOLD {
        header.extend(["start", "end", "best"].map(|when| format!("{} {when}", FIGURES[i])));
    }
    let threshold = setting.threshold.map_or_else(|| "threshold".to_owned(), |threshold| format!("{threshold:.3}"));
    header.extend([format!("updates to {threshold}"), format!("seconds to {threshold}"), "seconds".into()]);
    let line = |point: &Point| {
        let outcomes = figures.outcomes(point, setting);
        let mut line = point.values.clone();
        line.push(point.runs.len().to_string());
        let of = |number: &dyn Fn(&Outcome) -> Option<f64>, digits| {
            let values: Vec<f64> = outcomes.iter().filter_map(number).collect();
            shown(&values, digits)
        };
        for i in TOLD {
            line.extend([of(&|o| Some(o.start?[i]), 3), of(&|o| Some(o.end[i]), 3), of(&|o| Some(o.best[i]), 3)]);
        }
        let reached = outcomes.iter().filter(|o| o.reached.is_some()).count();
        let some = if reached > 0 && reached < outcomes.len() {
            format!(" ({reached} of {})", outcomes.len())
        } else {
            String::new()
        };
        line.push(of(&|o| Some(o.reached?.updates as f64), 0) + &some);
        line.push(of(&|o| Some(o.reached?.seconds), 1) + &some);
        let seconds: Vec<f64> = figures.runs_of(point).map(|record| record.course.seconds).collect();
        line.push(shown(&seconds, 1));
        line
    };
    Cells { header, lines: figures.points.iter().map(line).collect() }
}

/// `0.923 ± 0.011`
fn shown(values: &[f64], digits: usize) -> String {
    match Mean::of(values) {
        None => "-".to_owned(),
        Some(Mean { mean, spread: None }) => format!("{mean:.digits$}"),
        Some(Mean { mean, spread: Some(spread) }) => format!("{mean:.digits$} ± {spread:.digits$}"),
    }
}

/// The page.
pub fn page(manifest: &Manifest, figures: &Figures) -> String {
    let finished = figures.finished().count();
    let mut parts = vec![
        format!("# Sweep of {}", escaped(&manifest.config)),
        code(&manifest.commands.join("\n")),
        format!("{finished} of {} runs are finished.", figures.records.len()),
    ];
    for setting in &figures.settings {
        parts.push(format!("## Held-out set, {}", escaped(&setting.label)));
        parts.push(markdown(&cells(figures, setting)));
        parts.push(threshold(figures, setting));
        parts.push(format!("![held-out reward, {}]({})", escaped(&setting.label), curves::held_out(setting)));
    }
    parts.push("## Training".to_owned());
    parts.push(format!("![training reward]({})", curves::TRAINING));
    let missing = figures.records.iter().filter(|record| record.state != State::Finished);
    let missing: Vec<String> = missing.map(|record| format!("- {}: {}", escaped(&record.name), record.state)).collect();
    if !missing.is_empty() {
        parts.push("## Not finished, and in none of the figures".to_owned());
        parts.push(missing.join("\n"));
    }
    parts.push("## How to read this".to_owned());
    parts.push(format!(
        "- Figures are means over the finished runs of a point, which differ in their seed, with ± the sample standard \
         deviation; bands are the same. Of one run there is none.\n\
         - *start* is before the first update, *end* after the last one. *best* is the largest of all evaluations after an \
         update, each figure by itself: it flatters, the more the oftener a run is evaluated.\n\
         - A run reaches a threshold with its first evaluation at or above it. Where not all runs of a point did, the mean is \
         over those that did, and their number stands behind it.\n\
         - Seconds are those of rollouts and updates, without evaluations; runs that share a machine slow each other down.\n\
         - The training reward is averaged over the last {}.\n\
         - report.csv has the numbers of every run.",
        curves::phases(figures.window)
    ));
    parts.join("\n\n") + "\n"
}

/// What the threshold is.
fn threshold(figures: &Figures, setting: &Setting) -> String {
    match setting.threshold {
        None => "There is no threshold: no point became better than it was at the start.".to_owned(),
        Some(threshold) if figures.asked => format!("The threshold, a reward of {threshold}, was asked for."),
        Some(threshold) => format!(
            "The threshold, a reward of {threshold:.3}, is the lowest of the points' mean best rewards, of the points that \
             became better than they were at the start."
        ),
    }
}

fn markdown(cells: &Cells) -> String {
    let line =
        |cells: &[String]| format!("| {} |", cells.iter().map(|cell| escaped(cell)).collect::<Vec<_>>().join(" | "));
    let mut lines = vec![line(&cells.header), format!("|{}", "---|".repeat(cells.header.len()))];
    lines.extend(cells.lines.iter().map(|cells| line(cells)));
    lines.join("\n")
}

/// Text in which nothing is markup.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in shown_in_line(text).chars() {
        match c {
            '<' => out += "&lt;",
            '&' => out += "&amp;",
            '\\' | '|' | '`' | '*' | '_' | '[' | ']' | '#' | '~' | '$' => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out
}

/// A block of code, with a fence that is not in it.
fn code(text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}\n{text}\n{fence}")
}

/// The tables for a terminal.
pub fn summary(figures: &Figures) -> String {
    let table = |setting: &Setting| {
        let cells = cells(figures, setting);
        let mut table = Table::default();
        for (i, header) in cells.header.iter().enumerate() {
            let column = cells.lines.iter().map(|line| line[i].clone()).collect();
            if i < figures.keys.len().max(1) { table.key(header, column) } else { table.figure(header, column) }
        }
        format!("held-out set, {}\n{}", setting.label, table.render(width()))
    };
    let tables: Vec<String> = figures.settings.iter().map(table).collect();
    if tables.is_empty() { "no run is finished".to_owned() } else { tables.join("\n\n") }
}
