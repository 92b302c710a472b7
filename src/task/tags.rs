//! Finding tagged text. Every function is linear in the text and takes any string.

/// Opens the answer of a completion.
pub const ANSWER: &str = "<answer>";
/// Closes the answer of a completion.
pub const END_OF_ANSWER: &str = "</answer>";
/// Tokens that end a completion, as they read when special tokens are decoded too.
pub const END_TOKENS: [&str; 2] = ["<|eot_id|>", "<|endoftext|>"];

/// The text after the first `tag`.
pub fn after<'a>(text: &'a str, tag: &str) -> Option<&'a str> {
    text.split_once(tag).map(|(_, rest)| rest)
}

/// The text before whichever of `tags` comes first, if one of them comes at all.
pub fn before_any<'a>(text: &'a str, tags: &[&str]) -> Option<&'a str> {
    tags.iter().filter_map(|tag| text.find(tag)).min().map(|end| &text[..end])
}

/// The closed blocks `open`..`close` from left to right, without overlap: a block ends at the first
/// `close` after its `open`, whatever stands between, and the next one is looked for after that.
pub fn blocks<'a>(text: &'a str, open: &'a str, close: &'a str) -> impl Iterator<Item = &'a str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (block, tail) = after(rest, open)?.split_once(close)?;
        rest = tail;
        Some(block)
    })
}

/// What the first closed `<answer>`..`</answer>` holds.
pub fn first_answer(text: &str) -> Option<&str> {
    blocks(text, ANSWER, END_OF_ANSWER).next()
}

/// What follows the last `<answer>`, or the whole text where there is none, up to a `</answer>`, or the end where
/// there is none: what a completion gives as its answer if its tags are not to be trusted.
pub fn loose_answer(text: &str) -> &str {
    let rest = text.rsplit_once(ANSWER).map_or(text, |(_, rest)| rest);
    rest.split_once(END_OF_ANSWER).map_or(rest, |(answer, _)| answer)
}

/// What the last closed `<answer>`..`</answer>` holds.
pub fn last_answer(text: &str) -> Option<&str> {
    blocks(text, ANSWER, END_OF_ANSWER).last()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_last_closed_answer_counts() {
        assert_eq!(last_answer("<answer>1</answer> no, <answer>\n2</answer>"), Some("\n2"));
        assert_eq!(last_answer("<answer>1</answer> no, <answer>2"), Some("1"));
        assert_eq!(last_answer("</answer><answer>1"), None);
    }

    #[test]
    fn the_first_closed_answer_and_the_loose_one() {
        assert_eq!(first_answer("</answer><answer>1</answer><answer>2</answer>"), Some("1"));
        assert_eq!(first_answer("<answer>1"), None);
        assert_eq!(loose_answer("0<answer>1</answer><answer>2</answer>3</answer>"), "2");
        assert_eq!(loose_answer("1<answer> 2"), " 2");
        assert_eq!(loose_answer("1</answer>2"), "1");
        assert_eq!(loose_answer("1"), "1");
    }

    #[test]
    fn an_answer_opened_twice_is_one_block() {
        // as Python's re.findall(r"<answer>(.*?)</answer>") sees it
        assert_eq!(last_answer("<answer>1<answer>2</answer>3</answer>"), Some("1<answer>2"));
    }

    #[test]
    fn the_first_end_counts_whichever_it_is() {
        assert_eq!(before_any("1<|endoftext|>2<|eot_id|>", &END_TOKENS), Some("1"));
        assert_eq!(before_any("1<|eot_id|>2<|endoftext|>", &END_TOKENS), Some("1"));
        assert_eq!(before_any("12", &END_TOKENS), None);
    }

    proptest! {
        #[test]
        fn blocks_are_what_the_definition_says(text in "(<answer>|</answer>|[ab<é])*") {
            // the definition, written with byte positions
            let mut expected = Vec::new();
            let mut from = 0;
            while let Some(open) = text[from..].find(ANSWER).map(|i| from + i + ANSWER.len()) {
                let Some(close) = text[open..].find(END_OF_ANSWER).map(|i| open + i) else { break };
                expected.push(&text[open..close]);
                from = close + END_OF_ANSWER.len();
            }
            prop_assert_eq!(blocks(&text, ANSWER, END_OF_ANSWER).collect::<Vec<_>>(), expected);
        }
    }
}
