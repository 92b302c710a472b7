//! Tallies as text.

use super::Tally;

/// A table with a line a file, and one for all of them if they are several.
pub fn render(files: &[(String, Tally)], total: &Tally) -> String {
    let total = [("total".to_owned(), *total)];
    let lines = files.iter().chain(if files.len() > 1 { &total[..] } else { &[] });
    let width = lines.clone().map(|(name, _)| name.chars().count()).max().unwrap_or(0).max("file".len());
    let mut text = format!(
        "{:width$}  {:>11}  {:>7}  {:>7}  {:>8}  {:>7}",
        "file", "completions", "items", "correct", "accuracy", "exact"
    );
    for (name, tally) in lines {
        text += &format!(
            "\n{name:width$}  {:>11}  {:>7}  {:>7}  {:>7.2}%  {:>6.2}%",
            tally.completions,
            tally.items,
            tally.correct,
            100.0 * tally.accuracy(),
            100.0 * tally.exact_share()
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_stand_under_each_other_and_above_their_total() {
        let one = Tally { completions: 3, items: 24, correct: 8, exact: 1 };
        let file = |name: &str| (name.to_owned(), one);
        let text = render(&[file("a.jsonl")], &one);
        assert_eq!(text.lines().count(), 2);
        assert!(text.ends_with("a.jsonl            3       24        8    33.33%   33.33%"), "{text}");
        let text = render(
            &[file("a.jsonl"), file("longer.jsonl")],
            &Tally { completions: 6, items: 48, correct: 16, exact: 2 },
        );
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4);
        assert!(lines[3].starts_with("total ") && lines[3].contains("48"), "{text}");
        assert!(lines.iter().all(|line| line.len() == lines[0].len()), "{text}");
    }
}
