//! The answer that a completion declares, for the exact grader, which reads nothing else.

use crate::task::tags::{END_TOKENS, before_any, last_answer};

/// What the last `\boxed{..}` holds whose braces balance and that holds something; where there is none, what the last
/// closed `<answer>` holds. What follows the first end token is not part of the completion, and no prose is searched.
pub fn declared(completion: &str) -> Option<&str> {
    let written = before_any(completion, &END_TOKENS).unwrap_or(completion);
    last_box(written).or_else(|| last_answer(written)).map(str::trim).filter(|answer| !answer.is_empty())
}

/// The content of the box that begins last. An escaped brace is a character of its content and opens or closes nothing.
fn last_box(text: &str) -> Option<&str> {
    const BOX: &str = r"\boxed";
    // Braces before the first box cannot close it.
    let text = &text[text.find(BOX)?..];
    let bytes = text.as_bytes();
    let mut open: Vec<usize> = Vec::new();
    let mut last: Option<(usize, &str)> = None;
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            // the next byte is escaped
            b'\\' => at += 1,
            b'{' => open.push(at),
            b'}' => {
                let Some(start) = open.pop() else {
                    at += 1;
                    continue;
                };
                let content = &text[start + 1..at];
                let later = last.is_none_or(|(known, _)| known < start);
                if later && text[..start].trim_end().ends_with(BOX) && !content.trim().is_empty() {
                    last = Some((start, content));
                }
            }
            _ => {}
        }
        at += 1;
    }
    last.map(|(_, content)| content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_closed_box_with_content_counts() {
        let cases = [
            (r"\boxed{1} then \boxed{\frac{2}{3}}.", r"\frac{2}{3}"),
            (r"\boxed{1} then \boxed{2", "1"),
            (r"\boxed{1} then \boxed{ }", "1"),
            (r"\boxed{\boxed{5}}", "5"),
            (r"} { \boxed {5}", "5"),
            (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
            (r"\boxed{1} <answer>2</answer>", "1"),
            (r"<answer>\boxed{1}</answer> <answer>2</answer>", "1"),
        ];
        for (text, expected) in cases {
            assert_eq!(declared(text), Some(expected), "{text:?}");
        }
    }

    #[test]
    fn without_a_box_the_last_closed_answer_counts_and_nothing_else_does() {
        assert_eq!(declared("<answer>1</answer><answer>\n2 </answer><answer>3"), Some("2"));
        assert_eq!(declared(r"\boxed{ <answer>2</answer>"), Some("2"));
        for text in ["", "so it is 5", "<answer>5", "<answer> </answer>", "\\boxed 5", "{5}", "\\boxed{5\\}"] {
            assert_eq!(declared(text), None, "{text:?}");
        }
    }

    #[test]
    fn what_follows_an_end_token_is_not_there() {
        assert_eq!(declared(r"<answer>1</answer><|eot_id|>\boxed{2}"), Some("1"));
        assert_eq!(declared(r"\boxed{1<|endoftext|>}"), None);
    }
}
