//! Held-out figures at the start, at the best evaluation and at the end.

use std::fmt::Write as _;

use super::run_record::RunRecord;
use crate::report::markup::escaped_line;
use crate::report::{Row, setting_and_figure};

/// Figures that are shares of a whole, shown in per cent; names that begin so are, too.
const SHARES: [&str; 4] = ["accuracy", "solved", "exact", "pass@"];
/// What ends the name of a figure's standard error.
pub const STDERR: &str = "_stderr";
/// Figures of the machine, not of the model.
const SPEED: &str = "tokens_per_second";

/// An evaluation at one setting.
#[derive(Clone, Copy)]
pub struct Evaluated<'a> {
    setting: &'a str,
    row: &'a Row,
}

impl<'a> Evaluated<'a> {
    /// The evaluations of a run at a setting, by step.
    pub fn all(record: &'a RunRecord, setting: &'a str) -> Vec<Self> {
        let here = |row: &&Row| {
            row.iter().any(|(name, _)| setting_and_figure(name).is_some_and(|(label, _)| label == setting))
        };
        record.rows.iter().filter(here).map(|row| Self { setting, row }).collect()
    }

    /// A figure as a reader wants it, with its standard error where the metrics hold it.
    pub fn shown(&self, figure: &str) -> Option<String> {
        let value = self.number(figure)?;
        let stderr = self.number(&format!("{figure}{STDERR}"));
        let is_share = SHARES.iter().any(|share| figure.starts_with(share));
        let (factor, digits, unit) = if is_share { (100.0, 1, "\u{202f}%") } else { (1.0, digits(value), "") };
        let spread = stderr.map(|s| format!(" <small>± {:.digits$}</small>", factor * s)).unwrap_or_default();
        Some(format!("{:.digits$}{unit}{spread}", factor * value))
    }

    fn number(&self, figure: &str) -> Option<f64> {
        self.row.number(&format!("eval/{}/{figure}", self.setting))
    }
}

/// Digits behind the point of a number that is no share.
fn digits(value: f64) -> usize {
    if value.fract() == 0.0 && value.abs() >= 2.0 { 0 } else { 3 }
}

/// The settings of some runs, in the order in which their metrics name them.
pub fn settings(records: &[RunRecord]) -> Vec<&str> {
    let mut found: Vec<&str> = Vec::new();
    for (name, _) in records.iter().flat_map(|r| &r.rows).filter(|row| row.is_evaluation()).flat_map(Row::iter) {
        if let Some((label, _)) = setting_and_figure(name).filter(|(label, _)| !found.contains(label)) {
            found.push(label);
        }
    }
    found
}

/// The first evaluation, that of the highest reward (the earliest of several), and the last; what is the same
/// stands once.
fn milestones<'a>(all: &[Evaluated<'a>]) -> Vec<(String, Evaluated<'a>)> {
    let (Some(&first), Some(&last)) = (all.first(), all.last()) else { return Vec::new() };
    let reward = |e: &Evaluated<'_>| e.number("reward").unwrap_or(f64::NEG_INFINITY);
    let best = all.iter().rev().max_by(|a, b| reward(a).total_cmp(&reward(b))).copied().unwrap_or(last);
    let mut found: Vec<(String, Evaluated<'a>)> = Vec::new();
    for (name, evaluated) in [("start", first), ("best", best), ("end", last)] {
        match found.iter_mut().find(|(_, known)| known.row.step() == evaluated.row.step()) {
            Some((names, _)) => *names += &format!(", {name}"),
            None => found.push((name.to_owned(), evaluated)),
        }
    }
    found
}

/// The section.
pub fn section(records: &[RunRecord]) -> String {
    let settings = settings(records);
    if settings.is_empty() {
        return "<p class=\"empty\">No held-out evaluation yet.</p>".to_owned();
    }
    let figures = figures(records);
    let several = records.len() > 1;
    let mut out = "<div class=\"scroll\"><table class=\"figures\"><thead><tr>".to_owned();
    if several {
        out += "<th>run</th>";
    }
    out += "<th></th><th class=\"number\">step</th>";
    for figure in &figures {
        let _ = write!(out, "<th class=\"number\">{}</th>", escaped_line(&figure.replace('_', " ")));
    }
    out += "</tr></thead>";
    for setting in settings {
        let width = figures.len() + 2 + usize::from(several);
        let _ = write!(
            out,
            "<tbody><tr class=\"group\"><th colspan=\"{width}\" scope=\"rowgroup\">{}</th></tr>",
            escaped_line(setting)
        );
        for record in records {
            for (name, evaluated) in milestones(&Evaluated::all(record, setting)) {
                let class = if name.contains("best") { " class=\"best\"" } else { "" };
                let _ = write!(out, "<tr{class}>");
                if several {
                    let _ = write!(out, "<td>{}</td>", escaped_line(&record.name));
                }
                let _ = write!(out, "<th scope=\"row\">{name}</th><td class=\"number\">{}</td>", evaluated.row.step());
                for figure in &figures {
                    let _ = write!(out, "<td class=\"number\">{}</td>", evaluated.shown(figure).unwrap_or_default());
                }
                out += "</tr>";
            }
        }
        out += "</tbody>";
    }
    out + "</table></div><p class=\"note\">best: the evaluation with the highest reward at that setting, the earliest of \
           equals. ±: standard error over records.</p>"
}

/// The figures of all settings, in order, without standard errors and speed.
fn figures(records: &[RunRecord]) -> Vec<&str> {
    let mut found: Vec<&str> = Vec::new();
    for (name, _) in records.iter().flat_map(|r| &r.rows).filter(|row| row.is_evaluation()).flat_map(Row::iter) {
        let Some((_, figure)) = setting_and_figure(name) else { continue };
        if !figure.ends_with(STDERR) && figure != SPEED && !found.contains(&figure) {
            found.push(figure);
        }
    }
    found
}
