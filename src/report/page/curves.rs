//! Curves of the figures in the metrics, by their names. Of one run, figures of a kind share a picture; of several, each
//! figure has one, in which the runs lie beside each other.

use std::fmt::Write as _;

use super::held_out::STDERR;
use super::run_record::RunRecord;
use crate::report::markup::escaped_line;
use crate::report::{Chart, Curve, Point, Row};

/// Title, y axis, and the names of the metrics; a `*` stands for anything.
type Group = (&'static str, &'static str, &'static [&'static str]);

const BY_FUNCTION: &str = "Training reward by function";

const GROUPS: [Group; 16] = [
    ("Held-out reward", "reward", &["eval/*/reward"]),
    ("Held-out accuracy", "accuracy", &["eval/*/accuracy"]),
    ("Held-out solved", "share", &["eval/*/solved"]),
    ("Training reward", "reward", &["reward"]),
    (BY_FUNCTION, "mean", &["rewards/*/mean"]),
    ("Spread of rewards within groups", "reward", &["reward_std"]),
    ("Loss", "loss", &["loss"]),
    ("Bounds of the log-likelihood", "nats", &["bound/*"]),
    ("Gradient norm", "norm", &["grad_norm", "grad_norm/*"]),
    ("Divergence", "KL", &["kl", "kl/*"]),
    ("Entropy", "nats", &["entropy"]),
    ("Completion length", "tokens", &["completions/*_length"]),
    ("Held-out length", "tokens", &["eval/*/mean_length"]),
    ("Shares of groups and completions", "share", &["frac_reward_zero_std", "completions/clipped_ratio"]),
    ("Learning rate", "learning rate", &["learning_rate"]),
    ("Time", "seconds", &["rollout_seconds", "update_seconds"]),
];

/// What is in the metrics and makes no curve.
const PLAIN: [&str; 2] = ["step", "iteration"];
/// Pictures of figures that belong to no group.
const MOST_OTHERS: usize = 48;
/// Points that have a dot each.
const DOTTED: usize = 24;

/// What a `*` of a pattern stands for in a name that it matches; all of a name without one.
fn matched<'a>(pattern: &str, name: &'a str) -> Option<&'a str> {
    match pattern.split_once('*') {
        Some((start, end)) => name.strip_prefix(start)?.strip_suffix(end).filter(|part| !part.contains('/')),
        None => (pattern == name).then_some(name),
    }
}

/// The section.
pub fn section(records: &[RunRecord]) -> String {
    let names = names(records);
    let mut shown: Vec<&str> = Vec::new();
    let mut out = String::new();
    for (title, y, patterns) in GROUPS {
        let short = |name| patterns.iter().find_map(|pattern| matched(pattern, name));
        let found: Vec<(&str, &str)> = names.iter().filter_map(|name| Some((short(name)?, name.as_str()))).collect();
        shown.extend(found.iter().map(|(_, name)| *name));
        match records {
            // of one function it is the training reward
            _ if title == BY_FUNCTION && found.len() < 2 => {}
            [record] => {
                let curves = found.iter().map(|(short, name)| curve(record, short, name)).collect();
                out += &figure(title, y, curves);
            }
            _ => {
                for (short, name) in &found {
                    let title = if found.len() > 1 { format!("{title}: {short}") } else { title.to_owned() };
                    out += &figure(&title, y, records.iter().map(|record| curve(record, &record.name, name)).collect());
                }
            }
        }
    }
    if out.is_empty() {
        return "<p class=\"empty\">No figures yet.</p>".to_owned();
    }
    let mut text = format!("<div class=\"charts\">{out}</div>");
    let others: Vec<&String> = names.iter().filter(|name| !shown.contains(&name.as_str())).collect();
    if !others.is_empty() {
        let _ = write!(text, "<details><summary>{} more figures</summary><div class=\"charts\">", others.len());
        for name in others.iter().take(MOST_OTHERS) {
            text += &figure(name, name, records.iter().map(|record| curve(record, &record.name, name)).collect());
        }
        text += "</div>";
        if others.len() > MOST_OTHERS {
            let _ = write!(text, "<p class=\"note\">The first {MOST_OTHERS} of them; all are in metrics.jsonl.</p>");
        }
        text += "</details>";
    }
    text
}

/// The names of all numbers of the metrics, in their order.
fn names(records: &[RunRecord]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for (name, value) in records.iter().flat_map(|r| &r.rows).flat_map(Row::iter) {
        let is_curve = value.is_number() && !PLAIN.contains(&name) && !name.ends_with(STDERR);
        if is_curve && seen.insert(name) {
            found.push(name.to_owned());
        }
    }
    found
}

fn curve(record: &RunRecord, shown: &str, name: &str) -> Curve {
    let stderr = format!("{name}{STDERR}");
    let point = |row: &Row| Some(Point { x: row.step() as f64, y: row.number(name)?, spread: row.number(&stderr) });
    let points: Vec<Point> = record.rows.iter().filter_map(point).collect();
    Curve { name: shown.to_owned(), dotted: points.len() <= DOTTED, points }
}

fn figure(title: &str, y_label: &str, curves: Vec<Curve>) -> String {
    if curves.iter().all(|curve| curve.points.is_empty()) {
        return String::new();
    }
    let chart = Chart { title: title.to_owned(), x_label: "updates".into(), y_label: y_label.to_owned(), curves };
    let mut out =
        format!("<figure><figcaption>{}</figcaption>{}<ul class=\"legend\">", escaped_line(title), chart.inline());
    for (i, curve) in chart.curves.iter().enumerate() {
        let ends = match curve.points.as_slice() {
            // a run without the figure keeps its place, and the others their colours
            [] => continue,
            [only] => short(only.y),
            [first, .., last] => format!("{} → {}", short(first.y), short(last.y)),
        };
        let name = escaped_line(&curve.name);
        let _ = write!(out, "<li>{}<span>{name}</span> <small>{ends}</small></li>", Chart::swatch(i));
    }
    out + "</ul></figure>\n"
}

/// A number in few digits.
pub fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if (1e-3..1e5).contains(&size) => {
            let digits = (3 - size.log10().floor() as i32).clamp(0, 5) as usize;
            let text = format!("{value:.digits$}");
            if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
        }
        _ => match format!("{value:.2e}").split_once('e') {
            Some((digits, exponent)) => format!("{}e{exponent}", digits.trim_end_matches('0').trim_end_matches('.')),
            // not finite
            None => value.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_one_part_of_a_name() {
        assert_eq!(matched("eval/*/reward", "eval/t0.9/reward"), Some("t0.9"));
        assert_eq!(matched("eval/*/reward", "eval/a/b/reward"), None);
        assert_eq!(matched("bound/*", "bound/elbo"), Some("elbo"));
        assert_eq!((matched("loss", "loss"), matched("loss", "losses")), (Some("loss"), None));
    }

    #[test]
    fn numbers_are_short() {
        let cases =
            [(0.0, "0"), (0.953_125, "0.9531"), (34.0, "34"), (2.5e-6, "2.5e-6"), (-0.012, "-0.012"), (1e7, "1e7")];
        for (value, expected) in cases {
            assert_eq!(short(value), expected);
        }
    }
}
