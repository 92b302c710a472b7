//! Tables for people. On a terminal that is too narrow for all columns they stand below each other, every part with the
//! columns that say what a line is about.

use crate::terminal::shown_in_line;

/// What stands between two columns.
const GAP: usize = 2;

/// Columns of text, the first one flush left, the others flush right.
#[derive(Debug, Default)]
pub struct Table {
    keys: Vec<Column>,
    figures: Vec<Column>,
}

#[derive(Debug)]
struct Column {
    /// The header and the cells.
    lines: Vec<String>,
    width: usize,
}

impl Column {
    fn new(header: &str, cells: Vec<String>) -> Self {
        let lines = std::iter::once(header).chain(cells.iter().map(String::as_str));
        let lines: Vec<String> = lines.map(|line| shown_in_line(line).into_owned()).collect();
        let width = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
        Self { lines, width }
    }

    /// The column with cells that are no longer than `width`: of a longer one, the end stays.
    fn shortened(&self, width: usize) -> Self {
        let short = |line: &String| {
            let length = line.chars().count();
            if length <= width {
                return line.clone();
            }
            let end: String = line.chars().skip(length - width.saturating_sub(1)).collect();
            format!("…{end}")
        };
        let lines: Vec<String> = self.lines.iter().map(short).collect();
        Self { width: lines.iter().map(|line| line.chars().count()).max().unwrap_or(0), lines }
    }
}

impl Table {
    /// A column that says what a line is about.
    pub fn key(&mut self, header: &str, cells: Vec<String>) {
        self.keys.push(Column::new(header, cells));
    }

    /// A column of figures.
    pub fn figure(&mut self, header: &str, cells: Vec<String>) {
        self.figures.push(Column::new(header, cells));
    }

    /// The lines, for so many columns of a terminal, or as wide as they are.
    pub fn render(&self, width: Option<usize>) -> String {
        let width = width.unwrap_or(usize::MAX);
        let widest = self.figures.iter().map(|column| GAP + column.width).max().unwrap_or(0);
        let others: usize = self.keys.iter().skip(1).map(|column| GAP + column.width).sum();
        let room = width.saturating_sub(widest + others).max(8);
        let first = self.keys.first().map(|column| column.shortened(room));
        let keys: Vec<&Column> = first.iter().chain(self.keys.iter().skip(1)).collect();
        let key_width = first.as_ref().map_or(0, |column| column.width) + others;

        let (mut parts, mut part, mut used) = (Vec::new(), Vec::new(), key_width);
        for column in &self.figures {
            if !part.is_empty() && used + GAP + column.width > width {
                parts.push(std::mem::take(&mut part));
                used = key_width;
            }
            used += GAP + column.width;
            part.push(column);
        }
        parts.push(part);
        let parts: Vec<String> = parts.into_iter().map(|part| lines(&[&keys[..], &part].concat())).collect();
        parts.join("\n\n")
    }
}

fn lines(columns: &[&Column]) -> String {
    let rows = columns.iter().map(|column| column.lines.len()).max().unwrap_or(0);
    let line = |row: usize| {
        let cells = columns.iter().enumerate().map(|(i, column)| {
            let (cell, width) = (column.lines.get(row).map_or("", String::as_str), column.width);
            if i == 0 { format!("{cell:width$}") } else { format!("{cell:>width$}") }
        });
        cells.collect::<Vec<_>>().join(&" ".repeat(GAP))
    };
    (0..rows).map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        let mut table = Table::default();
        table.key("model", texts(&["base", "checkpoint-320"]));
        table.key("temp", texts(&["0.9", "greedy"]));
        table.figure("accuracy", texts(&["66.1% ±2.8", "100.0%"]));
        table.figure("reward", texts(&["0.661", "0.935"]));
        table.figure("tokens/s", texts(&["7612", "6577"]));
        table
    }

    #[test]
    fn a_narrow_terminal_broke_lines_in_the_middle_of_numbers() {
        let whole = "model             temp    accuracy  reward  tokens/s\n\
                     base               0.9  66.1% ±2.8   0.661      7612\n\
                     checkpoint-320  greedy      100.0%   0.935      6577";
        assert_eq!(table().render(None), whole);
        assert_eq!(table().render(Some(52)), whole);
        let parts = "model             temp    accuracy  reward\n\
                     base               0.9  66.1% ±2.8   0.661\n\
                     checkpoint-320  greedy      100.0%   0.935\n\n\
                     model             temp  tokens/s\n\
                     base               0.9      7612\n\
                     checkpoint-320  greedy      6577";
        assert_eq!(table().render(Some(51)), parts);
        for width in 30..52 {
            assert!(table().render(Some(width)).lines().all(|line| line.chars().count() <= width), "{width}");
        }
    }

    #[test]
    fn a_long_name_keeps_its_end_and_one_with_controls_is_escaped() {
        let mut table = Table::default();
        table.key("file", vec!["some/long/folder/of/verdicts.jsonl".into(), "a\u{1b}[2J\n".into()]);
        table.figure("items", vec!["12".into(), "3".into()]);
        let expected = "file            items\n…erdicts.jsonl     12\na\\u{1b}[2J\\n        3";
        assert_eq!(table.render(Some(21)), expected);
    }
}
