//! Evaluations side by side, as text. Of the lists that a setting combines, those that have one value are left out.

use super::Evaluation;
use crate::report::Table;
use crate::terminal::width;

/// A named set of evaluations, one a setting.
pub struct Column<'a> {
    /// What was evaluated.
    pub name: &'a str,
    /// Its figures, in the order of the settings.
    pub evaluations: &'a [Evaluation],
}

/// The most pass@k columns beside which there is room for the exact grader's. Result files and JSON always have it.
const MOST_WITH_EXACT: usize = 3;

/// A table with a line for every model and setting.
pub fn render(columns: &[Column<'_>]) -> String {
    table(columns).render(width())
}

fn table(columns: &[Column<'_>]) -> Table {
    let rows = columns.iter().map(|c| c.evaluations.len()).max().unwrap_or(0);
    let lines: Vec<(&str, &Evaluation)> =
        (0..rows).flat_map(|i| columns.iter().filter_map(move |c| Some((c.name, c.evaluations.get(i)?)))).collect();
    let mut table = Table::default();
    table.key("model", lines.iter().map(|(name, _)| (*name).to_owned()).collect());
    let all: Vec<&Evaluation> = lines.iter().map(|(_, e)| *e).collect();
    let text = |cell: &dyn Fn(&Evaluation) -> String| all.iter().map(|e| cell(e)).collect::<Vec<_>>();
    let temperature = |e: &Evaluation| match e.setting.temperature {
        0.0 => "greedy".to_owned(),
        t => t.to_string(),
    };
    table.key("temp", text(&temperature));
    varying(&mut table, "remasking", text(&|e| e.setting.remasking.name().into()));
    varying(&mut table, "canvas", text(&|e| e.setting.max_completion_length.to_string()));
    varying(&mut table, "order", text(&|e| e.setting.order.name().into()));
    varying(&mut table, "block", text(&|e| e.setting.block_length.to_string()));
    table.figure("items", text(&|e| e.items.to_string()));
    table.figure("accuracy", text(&|e| percent(e.accuracy, e.accuracy_stderr)));
    let samples = all.iter().map(|e| e.num_samples).max().unwrap_or(1);
    if samples > 1 {
        // pass@1 is the fraction solved
        for k in shown(samples) {
            table.figure(
                &format!("pass@{k}"),
                text(&|e| e.pass_at_k.get(k - 1).map_or("".into(), |p| percent(p.value, None))),
            );
        }
    } else {
        table.figure("solved", text(&|e| percent(e.solved, None)));
    }
    if shown(samples).len() <= MOST_WITH_EXACT {
        table.figure("exact", text(&|e| percent(e.exact, None)));
    }
    table.figure("reward", text(&|e| format!("{:.3}", e.reward)));
    table.figure("tokens", text(&|e| format!("{:.1}", e.effective_tokens)));
    table.figure("steps", text(&|e| format!("{:.1}", e.decoding_steps).trim_end_matches(".0").to_owned()));
    table.figure("tokens/s", text(&|e| format!("{:.0}", e.tokens_per_second)));
    table
}

/// A column whose cells are not all the same.
fn varying(table: &mut Table, header: &str, cells: Vec<String>) {
    if cells.windows(2).any(|w| w[0] != w[1]) {
        table.key(header, cells);
    }
}

/// `75.0%` or `75.0% ±1.2`
fn percent(value: f64, stderr: Option<f64>) -> String {
    let around = stderr.map_or(String::new(), |e| format!(" ±{:.1}", 100.0 * e));
    format!("{:.1}%{around}", 100.0 * value)
}

/// Powers of two up to `n`, and `n`.
fn shown(n: usize) -> Vec<usize> {
    let mut ks: Vec<usize> = std::iter::successors(Some(1), |k| Some(k * 2)).take_while(|&k| k < n).collect();
    ks.push(n);
    ks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Order, Remasking, Setting};
    use crate::eval::figures::testing::{sample, setting};

    fn at(setting: Setting, correct: &[usize]) -> Evaluation {
        Evaluation::of(&setting, &[sample(0, correct), sample(1, correct)], 0.1)
    }

    fn lines(columns: &[Column<'_>]) -> Vec<String> {
        let lines: Vec<String> = table(columns).render(None).lines().map(str::to_owned).collect();
        assert!(lines.iter().all(|l| l.chars().count() == lines[0].chars().count()), "{lines:#?}");
        lines
    }

    #[test]
    fn models_stand_under_each_other_for_every_setting() {
        let warm = Setting { temperature: 0.9, ..setting() };
        let (base, run) = ([at(warm.clone(), &[4]), at(setting(), &[6])], [at(warm, &[7]), at(setting(), &[8])]);
        let lines =
            lines(&[Column { name: "base", evaluations: &base }, Column { name: "checkpoint-320", evaluations: &run }]);
        assert_eq!(lines.len(), 5);
        assert!(
            lines[1].starts_with("base            ") && lines[1].contains("50.0% ±0.0") && lines[1].contains("0.9")
        );
        assert!(lines[2].starts_with("checkpoint-320") && lines[2].contains("87.5%"));
        assert!(lines[4].contains("greedy") && lines[4].contains("100.0%"));
        for absent in ["canvas", "block", "order", "remasking", "pass@"] {
            assert!(!lines[0].contains(absent), "{}", lines[0]);
        }
        assert!(lines[1].contains("0.0%  100.0%"), "solved and exact: {}", lines[1]);
        assert!(lines[0].contains("solved   exact") && lines[0].contains("tokens  steps") && lines[0].len() < 110);
    }

    #[test]
    fn what_varies_gets_a_column() {
        let canvas = Setting { order: Order::Canvas, block_length: 40, ..setting() };
        let margin = Setting { remasking: Remasking::Margin, ..setting() };
        let lines_of = |settings: [Setting; 2]| {
            let evaluations = settings.map(|s| at(s, &[4]));
            lines(&[Column { name: "m", evaluations: &evaluations }])
        };
        let found = lines_of([setting(), canvas]);
        assert!(found[0].contains("order  block") && found[2].contains("canvas     40"), "{found:#?}");
        let found = lines_of([setting(), margin]);
        assert!(found[0].contains("remasking") && !found[0].contains("block") && found[2].contains("margin"));
    }

    #[test]
    fn several_completions_show_pass_at_powers_of_two() {
        let evaluations = [at(setting(), &[8, 0, 0, 0, 0, 0])];
        let found = lines(&[Column { name: "checkpoint-320", evaluations: &evaluations }]);
        let header = &found[0];
        assert!(!header.contains("solved"));
        for k in [1, 2, 4, 6] {
            assert!(header.contains(&format!("pass@{k}")), "{header}");
        }
        assert!(
            found[1].contains("16.7%") && found[1].contains("33.3%") && found[1].contains("100.0%"),
            "{}",
            found[1]
        );
        assert!(header.chars().count() < 110 && !header.contains("exact"), "{header}");
        let evaluations = [at(setting(), &[8, 4, 0, 0])];
        let found = lines(&[Column { name: "checkpoint-320", evaluations: &evaluations }]);
        assert!(found[0].contains("pass@4  exact") && found[1].contains("100.0%  50.0%"), "{found:#?}");
        assert!(found[0].chars().count() < 110, "{}", found[0]);
    }
}
