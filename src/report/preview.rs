//! A few completions of a step as a table for the log.

use console::{measure_text_width, truncate_str};

use super::completions::{CompletionTable, Values};
use crate::terminal::shown_in_line;

/// What stands between two columns.
const GAP: &str = "  ";
/// The least that is shown of a text, however narrow the terminal is.
const LEAST: usize = 16;

impl CompletionTable {
    /// At most `count` completions of one prompt, the best first, with rewards and advantages: of the prompt whose
    /// completions differ most, since it is there that a method learns. Lines take at most `width` columns, if there is
    /// such a thing; line breaks in texts are written as `\n`.
    pub fn preview(&self, count: usize, width: Option<usize>) -> String {
        let (Some(prompts), Some(texts)) = (self.texts("prompt"), self.texts("completion")) else {
            return String::new();
        };
        let advantages = self.numbers("advantage").unwrap_or_default();
        let advantage = |row: usize| advantages.get(row).copied().flatten().unwrap_or(0.0);
        let Some(mut rows) = most_unequal(prompts, advantage) else { return String::new() };
        rows.sort_by(|&a, &b| advantage(b).total_cmp(&advantage(a)).then(a.cmp(&b)));
        let (of, prompt) = (rows.len(), &prompts[rows[0]]);
        let rows: Vec<usize> = spread(count, rows);

        let figures: Vec<Figures> =
            self.columns.iter().filter_map(|(name, values)| Figures::of(name, values, &rows)).collect();
        let taken: usize = figures.iter().map(|column| column.width + GAP.len()).sum();
        let mut lines = vec![
            format!("completions for update {}: {} of {of} for one prompt", self.step, rows.len()),
            fitted(&format!("prompt: {}", shown_in_line(prompt)), width),
        ];
        let line = |mut cells: Vec<String>, text: &str| {
            cells.push(fitted(text, width.map(|width| width.saturating_sub(taken).max(LEAST))));
            cells.join(GAP)
        };
        lines.push(line(
            figures.iter().map(|column| format!("{:>1$}", column.name, column.width)).collect(),
            "completion",
        ));
        for (i, &row) in rows.iter().enumerate() {
            let cells = figures.iter().map(|column| format!("{:>1$}", column.cells[i], column.width)).collect();
            lines.push(line(cells, &shown_in_line(&texts[row])));
        }
        lines.join("\n")
    }

    fn texts(&self, name: &str) -> Option<&[String]> {
        self.columns.iter().find_map(|(found, values)| match values {
            Values::Text(texts) if found == name => Some(texts.as_slice()),
            _ => None,
        })
    }

    fn numbers(&self, name: &str) -> Option<&[Option<f64>]> {
        self.columns.iter().find_map(|(found, values)| match values {
            Values::Number(numbers) if found == name => Some(numbers.as_slice()),
            _ => None,
        })
    }
}

/// A column of numbers, as text.
struct Figures {
    name: String,
    cells: Vec<String>,
    width: usize,
}

impl Figures {
    fn of(name: &str, values: &Values, rows: &[usize]) -> Option<Self> {
        let Values::Number(numbers) = values else { return None };
        let name = shown_in_line(name).into_owned();
        let cell = |&row: &usize| numbers[row].map_or("-".to_owned(), |number| format!("{number:.3}"));
        let cells: Vec<String> = rows.iter().map(cell).collect();
        let width = cells.iter().chain([&name]).map(|text| measure_text_width(text)).max().unwrap_or(0);
        Some(Self { name, cells, width })
    }
}

/// The rows of the prompt whose advantages range widest; the first of such prompts. A prompt's rows stand together.
fn most_unequal(prompts: &[String], advantage: impl Fn(usize) -> f64) -> Option<Vec<usize>> {
    let all: Vec<usize> = (0..prompts.len()).collect();
    let range = |rows: &&[usize]| {
        let advantages = || rows.iter().map(|&row| advantage(row));
        advantages().fold(f64::MIN, f64::max) - advantages().fold(f64::MAX, f64::min)
    };
    let groups = all.chunk_by(|&a, &b| prompts[a] == prompts[b]);
    groups.reduce(|best, group| if range(&group) > range(&best) { group } else { best }).map(<[usize]>::to_vec)
}

/// `count` of some items, the first and the last among them.
fn spread(count: usize, items: Vec<usize>) -> Vec<usize> {
    match count {
        _ if count >= items.len() => items,
        1 => items[..1].to_vec(),
        _ => (0..count).map(|i| items[i * (items.len() - 1) / (count - 1)]).collect(),
    }
}

fn fitted(text: &str, width: Option<usize>) -> String {
    width.map_or_else(|| text.to_owned(), |width| truncate_str(text, width, "…").into_owned())
}

#[cfg(test)]
mod tests {
    use super::super::completions::Origin;
    use super::*;

    fn table() -> CompletionTable {
        let texts = |texts: &[&str]| Values::Text(texts.iter().map(|&text| text.to_owned()).collect());
        CompletionTable::new(Origin::Rollout, 41, 7)
            .with("prompt", texts(&["even", "even", "1 + 1?\n", "1 + 1?\n", "1 + 1?\n", "1 + 1?\n", "1 + 1?\n"]))
            .with("completion", texts(&["a", "b", "3", "the answer\nis 2, of course", "\u{1b}[2J", "2", "two"]))
            .with("correct", Values::Number([0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.5].map(Some).to_vec()))
            .with("length", Values::Number(vec![None, None, None, Some(0.25), None, None, None]))
            .with("advantage", Values::Number([0.0, 0.0, -0.5, 0.5, -0.5, 0.5, 0.0].map(Some).to_vec()))
    }

    #[test]
    fn the_prompt_whose_completions_differ_is_shown_from_the_best_to_the_worst() {
        let all = [
            "completions for update 41: 5 of 5 for one prompt",
            "prompt: 1 + 1?\\n",
            "correct  length  advantage  completion",
            "  1.000   0.250      0.500  the answer\\nis 2, of course",
            "  1.000       -      0.500  2",
            "  0.500       -      0.000  two",
            "  0.000       -     -0.500  3",
            "  0.000       -     -0.500  \\u{1b}[2J",
        ];
        assert_eq!(table().preview(9, None).lines().collect::<Vec<_>>(), all);
        let ends: Vec<String> = table().preview(2, None).lines().skip(3).map(str::to_owned).collect();
        assert!(ends.len() == 2 && ends[0].ends_with("is 2, of course") && ends[1].ends_with("\\u{1b}[2J"), "{ends:?}");
        let best = table().preview(1, None);
        assert!(best.contains("1 of 5") && best.ends_with("is 2, of course"), "{best}");
    }

    #[test]
    fn lines_fit_the_terminal() {
        for width in 45..80 {
            let text = table().preview(4, Some(width));
            assert!(text.lines().skip(1).all(|line| measure_text_width(line) <= width), "{width}: {text}");
        }
        assert!(table().preview(4, Some(47)).contains("the answer\\nis 2, …"), "{}", table().preview(4, Some(47)));
    }

    #[test]
    fn what_has_no_prompts_has_no_preview() {
        assert_eq!(CompletionTable::new(Origin::Evaluation, 0, 0).preview(3, None), "");
    }
}
