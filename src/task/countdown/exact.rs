//! The exact grader of Countdown: what an expression is made of and what it is worth, without a tolerance.

use num_bigint::BigInt;
use num_rational::BigRational;

use crate::task::grading::arithmetic;
use crate::task::grading::clean::{clean, has_one_character_fraction};

/// Whether an answer is an expression that uses each of `numbers` (sorted) exactly once and has the value `target`.
///
/// LaTeX and Unicode operators, dashes and fractions are read as plain ones. Of an equation the left side is the
/// expression, and every other side must be worth the target too. A decimal is one number, so `1.5` does not use 1 and 5.
pub fn reaches(answer: &str, numbers: &[i64], target: &BigRational) -> bool {
    let Some(text) = plain(answer) else { return false };
    let expression = text.split('=').next().unwrap_or_default();
    uses(expression, numbers) && text.split('=').all(|side| arithmetic::evaluate(side.trim()).as_ref() == Ok(target))
}

/// The answer in the spelling that [`arithmetic`] reads, if it can be written so.
fn plain(answer: &str) -> Option<String> {
    // `½` is a number of its own: it uses neither 1 nor 2.
    if has_one_character_fraction(answer) {
        return None;
    }
    let text = clean(answer)?.replace('÷', "/").replace(['×', '·'], "*");
    let (fractions, joints) = (text.matches(r"\frac{").count(), text.matches("}{").count());
    if fractions != joints {
        return None;
    }
    // Braces that belong to no fraction stay, and no expression has any.
    Some(text.replace(r"\frac{", "((").replace("}{", ")/(").replace('}', "))"))
}

/// Whether the numbers written in an expression are those given, which are sorted.
///
/// A minus where a number is due may be the sign of the number behind it, or turn one that is given without a sign; a
/// minus between two operands is none: `5 - 3` uses 3 and not -3, `5 + (-3)` may use either.
fn uses(expression: &str, numbers: &[i64]) -> bool {
    let literals = literals(expression);
    // One more than there are numbers is enough to see that there are too many.
    let used: Option<Vec<(BigRational, bool)>> = literals
        .take(numbers.len().saturating_add(1))
        .map(|(literal, minus)| arithmetic::evaluate(literal).ok().map(|value| (value, minus)))
        .collect();
    let Some(mut used) = used else { return false };
    let mut given: Vec<(BigRational, bool)> = numbers
        .iter()
        .map(|&n| (BigRational::from_integer(BigInt::from(n).magnitude().clone().into()), n < 0))
        .collect();
    // Of equal magnitudes those with a minus come last on both sides, so a given one meets a minus if there are enough.
    used.sort_unstable();
    given.sort_unstable();
    used.len() == given.len()
        && used.iter().zip(&given).all(|((a, minus), (b, negative))| a == b && (*minus || !negative))
}

/// The numbers of an expression without their signs, and whether a minus stands before them where a number is due.
fn literals(expression: &str) -> impl Iterator<Item = (&str, bool)> {
    let of_number = |c: char| c.is_ascii_digit() || c == '.';
    let mut from = 0;
    std::iter::from_fn(move || {
        let start = from + expression[from..].find(of_number)?;
        let end = expression[start..].find(|c| !of_number(c)).map_or(expression.len(), |length| start + length);
        // What stands before it down to the number or parenthesis before.
        let operators = expression[from..start].trim_end();
        let minus = operators.strip_suffix('-').map(str::trim_end).is_some_and(|operand| match operand.is_empty() {
            true => from == 0,
            false => operand.ends_with(['+', '-', '*', '/', '(']),
        });
        from = end;
        Some((&expression[start..end], minus))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(answer: &str, numbers: &[i64], target: i64) -> bool {
        reaches(answer, numbers, &BigRational::from_integer(target.into()))
    }

    #[test]
    fn an_expression_is_read_in_latex_and_with_its_value() {
        for answer in [
            "3 + 7 * 2",
            r"3 + 7 \times 2",
            r"$3 + 7 \cdot 2 = 17$",
            "3 + 7 * 2 = 3 + 14 = 17.0",
            r"\left(3 + (7 × 2)\right)",
            "3.0 + 7 * 2",
        ] {
            assert!(reached(answer, &[2, 3, 7], 17), "{answer}");
        }
        for answer in ["3 + 7 * 2 = 18", "3 + 7 * 2 =", "17 = 3 + 7 * 2", "x = 3 + 7 * 2", "3 + 7 * 2 is right", "17"] {
            assert!(!reached(answer, &[2, 3, 7], 17), "{answer}");
        }
    }

    #[test]
    fn fractions_are_quotients() {
        assert!(reached(r"\frac{60}{3} \cdot 2", &[2, 3, 60], 40));
        assert!(reached(r"\dfrac{\frac{60}{3}}{2 + 2}", &[2, 2, 3, 60], 5));
        assert!(reached("{60} / 3", &[3, 60], 20));
        for answer in [r"\frac{60}{3}{2}", r"\frac{60}", r"60}{3", r"\frac603"] {
            assert!(!reached(answer, &[3, 60], 20) && !reached(answer, &[2, 3, 60], 10), "{answer}");
        }
    }

    #[test]
    fn negative_numbers_could_never_be_used() {
        for (answer, numbers, target) in [
            ("5*(-3)", vec![-3, 5], -15),
            ("-3 + 5", vec![-3, 5], 2),
            ("5 + -3", vec![-3, 5], 2),
            ("5 - (-3)", vec![-3, 5], 8),
            ("5--3", vec![-3, 5], 8),
            ("-3-(-3)", vec![-3, -3], 0),
            ("3 + (-3)", vec![-3, 3], 0),
            (r"\frac{-6}{-3}", vec![-6, -3], 2),
            // a minus that turns a number is an operator, as ever
            ("-3 + 5", vec![3, 5], 2),
            ("(-7)", vec![-7], -7),
        ] {
            let mut numbers = numbers;
            numbers.sort_unstable();
            assert!(reached(answer, &numbers, target), "{answer} with {numbers:?}");
        }
        for (answer, numbers, target) in [
            // the minus is an operator, and 3 is not given
            ("5 - 3", vec![-3, 5], 2),
            ("-(3) + 5", vec![-3, 5], 2),
            ("3 - 3", vec![-3, 3], 0),
            ("5 * 3", vec![-3, 5], 15),
            ("-3 * 5", vec![-3, -5], -15),
            ("(2)-3", vec![-3, 2], -1),
        ] {
            let mut numbers = numbers;
            numbers.sort_unstable();
            assert!(!reached(answer, &numbers, target), "{answer} with {numbers:?}");
        }
    }

    #[test]
    fn operators_beyond_ascii_were_refused() {
        for (answer, numbers, target) in [
            ("(3+7)∗2", [2, 3, 7], 20),
            ("6∕3*2", [2, 3, 6], 4),
            ("6÷3×2", [2, 3, 6], 4),
            ("6⁄3⋅2", [2, 3, 6], 4),
            ("6·3·2", [2, 3, 6], 36),
            ("7–2–3", [2, 3, 7], 2),
            ("7−2—3", [2, 3, 7], 2),
            ("（7＋2）＊3＝27", [2, 3, 7], 27),
            ("7\u{a0}+\u{2009}2+3", [2, 3, 7], 12),
            ("**7 + 2 + 3**", [2, 3, 7], 12),
            ("７+2+3", [2, 3, 7], 12),
        ] {
            assert!(reached(answer, &numbers, target), "{answer}");
        }
        // powers, and a fraction that uses no number of its own
        for (answer, numbers, target) in [("2**3", [2, 3], 8), ("2³", [2, 3], 8), ("½", [1, 2], 0), ("6½", [2, 6], 3)]
        {
            assert!(!reached(answer, &numbers, target), "{answer}");
        }
        assert!(!reaches("½", &[1, 2], &BigRational::new(1.into(), 2.into())));
    }

    #[test]
    fn values_and_numbers_are_exact() {
        // the published rules take 1e-5 for nothing and a decimal for two integers
        assert!(!reached("100001/100000", &[100_000, 100_001], 1));
        assert!(!reached("1.5 * 2", &[1, 2, 5], 3));
        assert!(reached("1 / 3 * 3", &[1, 3, 3], 1));
        for answer in ["9**9**9", "1/(3-3)", "1 + 3", "1 + 3 + 3", "", "="] {
            assert!(!reached(answer, &[1, 3, 3], 1), "{answer}");
        }
    }
}
