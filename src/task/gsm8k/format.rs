//! Rewards for the form of a completion: `<reasoning>`..`</reasoning>`, then `<answer>`..`</answer>`.

use crate::task::tags::{ANSWER, END_OF_ANSWER};

const REASONING: &str = "<reasoning>";
const END_OF_REASONING: &str = "</reasoning>";

/// 0.125 for each of the four tags that stands exactly once, with its line breaks, and 0.001 less for every character
/// that follows the last two. Ends well below zero where much follows.
pub fn xmlcount(completion: &str) -> f64 {
    let mut count = 0.0;
    if after_only(completion, "<reasoning>\n").is_some() {
        count += 0.125;
    }
    if after_only(completion, "\n</reasoning>\n").is_some() {
        count += 0.125;
    }
    if let Some(rest) = after_only(completion, "\n<answer>\n") {
        count += 0.125;
        count -= rest.chars().count() as f64 * 0.001;
    }
    if let Some(rest) = after_only(completion, "\n</answer>") {
        count += 0.125;
        // One line break may follow. Without it the penalty turns into a bonus, as in the reference.
        count -= (rest.chars().count() as f64 - 1.0) * 0.001;
    }
    count
}

/// The text after `tag`, if that is there exactly once.
fn after_only<'a>(text: &'a str, tag: &str) -> Option<&'a str> {
    text.split_once(tag).map(|(_, rest)| rest).filter(|rest| !rest.contains(tag))
}

/// 0.5 if the completion is the two blocks, every tag and each content on a line of its own, and one line break or two
/// after them.
pub fn strict_format(completion: &str) -> f64 {
    let mut lines = completion.split('\n');
    let mut is = |expected: &str| lines.next() == Some(expected);
    let reasoning = is(REASONING) && lines.next().is_some();
    let mut is = |expected: &str| lines.next() == Some(expected);
    let answer = reasoning && is(END_OF_REASONING) && is(ANSWER) && lines.next().is_some();
    let mut is = |expected: &str| lines.next() == Some(expected);
    let closed = answer && is(END_OF_ANSWER) && is("");
    // Python's `$` lets one more line break pass.
    let ended = lines.next().is_none_or(str::is_empty) && lines.next().is_none();
    if closed && ended { 0.5 } else { 0.0 }
}

/// 0.5 if the completion begins with the two blocks, each on one line, white space between them.
pub fn soft_format(completion: &str) -> f64 {
    if begins_with_blocks(completion) { 0.5 } else { 0.0 }
}

fn begins_with_blocks(completion: &str) -> bool {
    let Some(text) = completion.strip_prefix(REASONING) else { return false };
    let first_line = line(text);
    // Looked up once: to search from every candidate would take quadratic time.
    let last_close = first_line.rfind(END_OF_ANSWER);
    first_line.match_indices(END_OF_REASONING).any(|(at, tag)| {
        let Some(answer) = text[at + tag.len()..].trim_start().strip_prefix(ANSWER) else { return false };
        let start = text.len() - answer.len();
        if start <= first_line.len() {
            last_close.is_some_and(|close| close >= start)
        } else {
            line(answer).contains(END_OF_ANSWER)
        }
    })
}

/// The text up to its first line break.
fn line(text: &str) -> &str {
    text.split('\n').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_counted_with_their_line_breaks() {
        let near =
            |text: &str, value: f64| assert!((xmlcount(text) - value).abs() < 1e-12, "{text:?}: {}", xmlcount(text));
        near("", 0.0);
        near("<reasoning>\n", 0.125);
        near("<reasoning>", 0.0);
        near("<reasoning>\n<reasoning>\n", 0.0);
        near("x\n</reasoning>\ny", 0.125);
        // the two share a line break, so Python's `count` sees one
        near("\n</reasoning>\n</reasoning>\n", 0.125);
        near("\n<answer>\n12345", 0.125 - 0.005);
        near("\n<answer>\néé", 0.125 - 0.002);
        near("\n</answer>", 0.125 + 0.001);
        near("\n</answer>\n", 0.125);
        near("\n</answer>\nand on", 0.125 - 0.006);
        near("\n</answer>\n</answer>", 0.0);
        near(&format!("\n<answer>\n{}", "x".repeat(10_000)), 0.125 - 10.0);
    }

    #[test]
    fn the_strict_form_is_six_lines() {
        let form = "<reasoning>\nwhy\n</reasoning>\n<answer>\n5\n</answer>\n";
        assert_eq!(strict_format(form), 0.5);
        assert_eq!(strict_format(&format!("{form}\n")), 0.5);
        assert_eq!(strict_format("<reasoning>\n\n</reasoning>\n<answer>\n\n</answer>\n"), 0.5);
        for wrong in [
            &format!("{form}\n\n"),
            &format!("{form}x"),
            &format!("\n{form}"),
            form.trim_end(),
            &form.replace("why", "why\nnot"),
            &form.replace("5", "5\n6"),
            &form.replace("\n<answer>", " <answer>"),
            &form.replace("</answer>", "</answer> "),
            "",
        ] {
            assert_eq!(strict_format(wrong), 0.0, "{wrong:?}");
        }
    }

    #[test]
    fn the_soft_form_is_two_blocks_on_a_line_each() {
        for right in [
            "<reasoning>a</reasoning><answer>5</answer>",
            "<reasoning></reasoning> \n\n <answer></answer> and more\n",
            "<reasoning>a</reasoning>b</reasoning>\t<answer>5</answer>",
            "<reasoning>a</reasoning><answer>5</reasoning>\n<answer>6</answer>",
            "<reasoning>a</reasoning><answer><answer>5</answer>",
        ] {
            assert_eq!(soft_format(right), 0.5, "{right:?}");
        }
        for wrong in [
            " <reasoning>a</reasoning><answer>5</answer>",
            "<reasoning>\na</reasoning><answer>5</answer>",
            "<reasoning>a</reasoning><answer>\n5</answer>",
            "<reasoning>a</reasoning>\n<answer>\n5</answer>",
            "<reasoning>a</reasoning>b<answer>5</answer>",
            "<reasoning>a</answer></reasoning><answer>5",
            "<reasoning>a<answer>5</answer>",
            "",
        ] {
            assert_eq!(soft_format(wrong), 0.0, "{wrong:?}");
        }
    }
}
