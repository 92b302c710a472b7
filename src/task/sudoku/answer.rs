//! Reading a grid out of a completion, for the training reward and, by other rules, for evaluation.
//!
//! Both follow the evaluation of the published d1 and SPG code rule by rule; the evaluation's are regular
//! expressions there, and every oddity below is one of theirs.

use crate::task::tags::{ANSWER, END_OF_ANSWER, END_TOKENS, after, before_any, last_answer};

/// What the training reward reads: the digits of the last closed answer, as 16 cells.
pub fn for_reward(completion: &str) -> Option<String> {
    last_answer(completion).map(|answer| sixteen(answer.chars().filter(char::is_ascii_digit)))
}

/// What evaluation reads: the first rule that yields more than white space, as 16 cells. Characters that
/// are not digits stay and count as wrong cells.
pub fn for_grade(completion: &str) -> Option<String> {
    let rules: [fn(&str) -> Option<&str>; 5] =
        [fenced_digits, opened_answer, text_after_answer, digits_before_close, lone_digits];
    let found = rules.iter().find_map(|rule| rule(completion).filter(|text| !text.trim().is_empty()))?;
    Some(sixteen(found.chars().filter(|c| !c.is_whitespace())))
}

/// Counts the empty cells of `puzzle`, and those of them in which `answer` has the digit of `solution`.
pub fn count_correct(puzzle: &str, solution: &str, answer: &str) -> (usize, usize) {
    let mut correct = 0;
    let mut empty = 0;
    for (i, (given, digit)) in puzzle.chars().zip(solution.chars()).enumerate() {
        if given == '0' {
            empty += 1;
            correct += usize::from(answer.chars().nth(i) == Some(digit));
        }
    }
    (correct, empty)
}

/// Pads with zeros, or cuts.
fn sixteen(cells: impl Iterator<Item = char>) -> String {
    cells.chain(std::iter::repeat('0')).take(16).collect()
}

/// Rule 1: the first run of digits and white space between two fences anywhere after the first `<answer>`.
fn fenced_digits(text: &str) -> Option<&str> {
    const FENCE: &str = "```";
    let mut rest = after(text, ANSWER)?;
    loop {
        let start = rest.find(FENCE)?;
        let inside = &rest[start + FENCE.len()..];
        let run = inside.find(|c: char| !c.is_ascii_digit() && !c.is_whitespace())?;
        if run > 0 && inside[run..].starts_with(FENCE) {
            return Some(&inside[..run]);
        }
        // One byte on, not three: of four backticks the last three open a fence too.
        rest = &rest[start + 1..];
    }
}

/// Rule 2: what follows the first `<answer>`, up to its end; an answer that nothing ends is none.
fn opened_answer(text: &str) -> Option<&str> {
    before_any(after(text, ANSWER)?, &[END_TOKENS[0], END_TOKENS[1], END_OF_ANSWER])
}

/// Rule 3: what follows the first `</answer>`, up to an end token or the end of the text.
fn text_after_answer(text: &str) -> Option<&str> {
    let rest = after(text, END_OF_ANSWER)?;
    Some(before_any(rest, &END_TOKENS).unwrap_or(rest))
}

/// Rule 4: the 16 digits right before the first `</answer>` that has them, white space between allowed.
fn digits_before_close(text: &str) -> Option<&str> {
    text.match_indices(END_OF_ANSWER).find_map(|(close, _)| {
        let before = text[..close].trim_end();
        // A slice that would start inside a character is `None`, as it should be.
        let digits = before.get(before.len().checked_sub(16)?..)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then_some(digits)
    })
}

/// Rule 5: the first word (letters, digits, underscores) that is 16 digits.
fn lone_digits(text: &str) -> Option<&str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
        .find(|word| word.len() == 16 && word.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GRID: &str = "1234432121433412";

    #[test]
    fn the_reward_reads_the_last_closed_answer_only() {
        let read = |text| for_reward(text);
        assert_eq!(read("<answer>\n1234 4321\n2143|3412 </answer>").as_deref(), Some(GRID));
        assert_eq!(read("<answer>1</answer><answer>22</answer>").as_deref(), Some("2200000000000000"));
        assert_eq!(read("<answer>1</answer><answer>22").as_deref(), Some("1000000000000000"));
        assert_eq!(read("<answer>12344321214334129999</answer>").as_deref(), Some(GRID));
        assert_eq!(read("<answer></answer>").as_deref(), Some("0000000000000000"));
        assert_eq!(read(GRID), None);
    }

    #[test]
    fn the_rules_of_evaluation_come_in_order() {
        let cases = [
            // (1) a fence, also after the end of the answer
            ("<answer>\n12\n```\n1234\n4321 2143\n3412\n```</answer>", Some(GRID)),
            ("<answer>x</answer>```1234432121433412```", Some(GRID)),
            ("<answer>````1234432121433412```</answer>", Some(GRID)),
            ("<answer>```text```1234432121433412```", Some(GRID)),
            // a blank fence is no answer, and the next fence is not looked at
            ("<answer>```   ```12```</answer>", Some("``````12```")),
            ("```1234432121433412```<answer>5</answer>", Some("5000000000000000")),
            // (2) the first answer and what ends it
            ("<answer>\n1234 4321\t2143 3412\n</answer>", Some(GRID)),
            ("<answer>12<|eot_id|>34</answer>", Some("1200000000000000")),
            ("<answer>12<|endoftext|>34<|eot_id|>", Some("1200000000000000")),
            ("<answer>1</answer><answer>2</answer>", Some("1000000000000000")),
            ("<answer>12344321214334129999</answer>", Some(GRID)),
            ("<answer>1 é3</answer>", Some("1é30000000000000")),
            // (3) the answer is blank: what follows it
            ("<answer>\n</answer>\n1234 4321 2143 3412<|eot_id|>7", Some(GRID)),
            ("99</answer>12", Some("1200000000000000")),
            // (4) nothing follows: what stands before
            ("55 991234432121433412 \n</answer>", Some(GRID)),
            ("é1234432121433412</answer>", Some(GRID)),
            // (5) a grid on its own
            ("the grid (1234432121433412) and more", Some(GRID)),
            ("<answer>1234432121433412", Some(GRID)),
            ("12344321214334129 a1234432121433412 1234432121433412_", None),
            ("<answer>123443212143341", None),
            ("", None),
        ];
        for (text, expected) in cases {
            let expected = expected.map(|cells| format!("{cells:0<16}"));
            assert_eq!(for_grade(text), expected, "{text:?}");
        }
    }

    #[test]
    fn only_empty_cells_count() {
        let puzzle = "0204032001400402";
        assert_eq!(count_correct(puzzle, GRID, GRID), (8, 8));
        assert_eq!(count_correct(puzzle, GRID, puzzle), (0, 8));
        // wrong digits in given cells do not matter
        assert_eq!(count_correct(puzzle, GRID, "1939000000000000"), (2, 8));
        assert_eq!(count_correct(puzzle, GRID, ""), (0, 8));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_failing(
            text in r"(<answer>|</answer>|<\|eot_id\|>|<\|endoftext\|>|```|[0-9]{1,17}|\PC|\s){0,40}",
        ) {
            for read in [for_reward(&text), for_grade(&text)].into_iter().flatten() {
                prop_assert_eq!(read.chars().count(), 16);
                let (correct, empty) = count_correct("0204032001400402", GRID, &read);
                prop_assert!(correct <= empty);
            }
        }
    }

    #[test]
    fn reading_is_linear_in_the_text() {
        // a rule that looked at the rest of the text from every tag would take minutes here
        for part in
            ["<answer>", "</answer>", "```", "```1", "<answer>```1 ", " </answer>", "1", " ", "`<answer>1</answer"]
        {
            let text = format!("<answer>{}", part.repeat(300_000));
            let _ = (for_reward(&text), for_grade(&text));
        }
    }
}
