//! What is written in one way afterwards, what stays apart, and that no text is too much.

use proptest::prelude::*;

use super::*;

#[test]
fn many_ways_to_write_the_same_become_one() {
    for (written, expected) in [
        (r"(1,\,2)", "(1, 2)"),
        ("1\u{a0}\u{2009}\n 2", "1 2"),
        ("x^{2}", "x^2"),
        ("x_{\\alpha}", "x_\\alpha"),
        ("x^{12}", "x^{12}"),
        ("x^12", "x^12"),
        ("x¹²₃", "x^{12}_3"),
        (r"\sqrt 3", r"\sqrt{3}"),
        (r"\sqrt[3]2", r"\sqrt[3]{2}"),
        (r"\dfrac12", r"\frac{1}{2}"),
        (r"\tfrac{a}b", r"\frac{a}{b}"),
        (r"\\frac12", r"\frac{1}{2}"),
        ("½", r"\frac{1}{2}"),
        ("–5 − 3", "-5 - 3"),
        (r"\left[ 1 \right)", "[ 1 )"),
        (r"\left. x \right|", "x |"),
        (r"\textbf{x}\mbox{ cm}", r"x\text{cm}"),
        (r"\mathrm{12}", "12"),
        ("$x$", "x"),
        ("$5", r"\$5"),
        (r"\$5", r"\$5"),
        (r"\( x \)", "x"),
        ("**18** x", "18 x"),
        ("2**3", "2**3"),
        (r"1,\! 000", "1,000"),
        (r"1{,}000", "1,000"),
        (r"\pi r", r"\pi r"),
        ("πr", r"\pi r"),
        (r"90^{\circ}", r"90^\circ"),
        ("90°C", r"90^\circ C"),
        (r"a\leq b", r"a\le b"),
    ] {
        assert_eq!(clean(written).as_deref(), Some(expected), "{written}");
    }
}

#[test]
fn what_cannot_be_cleaned_is_none() {
    for text in ["{", "}", "}{", r"\", r"a\", &"{".repeat(100), &"x".repeat(arithmetic::MAX_LENGTH + 1)] {
        assert_eq!(clean(text), None, "{text}");
    }
    // as deep as their length allows, and no overflow
    for part in [r"\sqrt", r"\bm", "^", r"\frac", "_{", r"\text"] {
        let _ = clean(&part.repeat(arithmetic::MAX_LENGTH / part.len()));
    }
}

proptest! {
    #[test]
    fn cleaning_again_changes_nothing(
        text in r"(\\frac|\\sqrt|\\text\{ ?|\\mathbf|\\left|\\\\|\\[,;! ]|\\circ|\*\*|[{}$%^_/*~½√°–²₃]|[-+=,.() ]|[0-9]|[a-zA-Z]|\PC){0,30}",
    ) {
        if let Some(once) = clean(&text) {
            let twice = clean(&once);
            prop_assert_eq!(twice.as_ref(), Some(&once), "{}", text);
        }
    }

    #[test]
    fn plain_numbers_and_letters_stay_as_they_are(text in r"[-+]?[a-z0-9.]{1,12}(, ?[a-z0-9.]{1,8})?") {
        prop_assert_eq!(clean(&text), Some(text));
    }
}
