//! Tallies as text.

use super::Tally;
use crate::report::Table;
use crate::terminal::width;

/// A table with a line a file, and one for all of them if they are several.
pub fn render(files: &[(String, Tally)], total: &Tally) -> String {
    table(files, total).render(width())
}

fn table(files: &[(String, Tally)], total: &Tally) -> Table {
    let total = [("total".to_owned(), *total)];
    let lines: Vec<_> = files.iter().chain(if files.len() > 1 { &total[..] } else { &[] }).collect();
    let cells = |cell: &dyn Fn(&Tally) -> String| lines.iter().map(|(_, tally)| cell(tally)).collect::<Vec<_>>();
    let mut table = Table::default();
    table.key("file", lines.iter().map(|(name, _)| name.clone()).collect());
    table.figure("completions", cells(&|tally| tally.completions.to_string()));
    table.figure("items", cells(&|tally| format!("{:>7}", tally.items)));
    table.figure("correct", cells(&|tally| tally.correct.to_string()));
    table.figure("accuracy", cells(&|tally| format!("{:.2}%", 100.0 * tally.accuracy())));
    table.figure("exact", cells(&|tally| format!("{:>6.2}%", 100.0 * tally.exact_share())));
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_stand_under_each_other_and_above_their_total() {
        let one = Tally { completions: 3, items: 24, correct: 8, exact: 1 };
        let file = |name: &str| (name.to_owned(), one);
        let text = table(&[file("a.jsonl")], &one).render(None);
        assert_eq!(text.lines().count(), 2);
        assert!(text.ends_with("a.jsonl            3       24        8    33.33%   33.33%"), "{text}");
        let total = Tally { completions: 6, items: 48, correct: 16, exact: 2 };
        let text = table(&[file("a.jsonl"), file("longer.jsonl")], &total).render(None);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4);
        assert!(lines[3].starts_with("total ") && lines[3].contains("48"), "{text}");
        assert!(lines.iter().all(|line| line.len() == lines[0].len()), "{text}");
    }
}
