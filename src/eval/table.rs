//! Evaluations side by side, as text.

use super::Evaluation;

/// A named set of evaluations, one a temperature.
pub struct Column<'a> {
    /// What was evaluated.
    pub name: &'a str,
    /// Its figures, in the order of the temperatures.
    pub evaluations: &'a [Evaluation],
}

/// A table with a line for every model and temperature.
pub fn render(columns: &[Column<'_>]) -> String {
    let width = columns.iter().map(|c| c.name.chars().count()).max().unwrap_or(0).max("model".len());
    let mut lines = vec![format!(
        "{:width$}  {:>11}  {:>5}  {:>8}  {:>7}  {:>7}  {:>7}  {:>8}",
        "model", "temperature", "items", "accuracy", "solved", "reward", "length", "tokens/s"
    )];
    let rows = columns.first().map_or(0, |c| c.evaluations.len());
    for (i, column) in (0..rows).flat_map(|i| columns.iter().map(move |c| (i, c))) {
        let Some(e) = column.evaluations.get(i) else { continue };
        let temperature = if e.temperature == 0.0 { "greedy".to_owned() } else { e.temperature.to_string() };
        lines.push(format!(
            "{:width$}  {:>11}  {:>5}  {:>7.1}%  {:>6.1}%  {:>7.3}  {:>7.1}  {:>8.0}",
            column.name,
            temperature,
            e.items,
            100.0 * e.accuracy,
            100.0 * e.solved,
            e.reward,
            e.mean_length,
            e.tokens_per_second
        ));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_stand_under_each_other_for_every_temperature() {
        let at = |temperature, accuracy| Evaluation {
            temperature,
            items: 88,
            accuracy,
            solved: 0.25,
            reward: accuracy,
            mean_length: 34.0,
            tokens_per_second: 1234.5,
        };
        let (base, run) = ([at(0.9, 0.6), at(0.0, 0.75)], [at(0.9, 0.86), at(0.0, 0.9)]);
        let text = render(&[
            Column { name: "base", evaluations: &base },
            Column { name: "checkpoint-320", evaluations: &run },
        ]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 5);
        assert!(lines[1].starts_with("base            ") && lines[1].contains("60.0%") && lines[1].contains("0.9"));
        assert!(lines[2].starts_with("checkpoint-320") && lines[2].contains("86.0%"));
        assert!(lines[4].contains("greedy") && lines[4].contains("90.0%"));
        assert!(lines.iter().all(|l| l.chars().count() == lines[0].chars().count()), "{text}");
    }
}
