//! The exact grader of Countdown: what an expression is made of and what it is worth, without a tolerance.

use num_bigint::BigInt;
use num_rational::BigRational;

use crate::task::grading::{arithmetic, exact};

/// Whether an answer is an expression that uses each of `numbers` (sorted) exactly once and has the value `target`.
///
/// LaTeX operators and fractions are read as plain ones. Of an equation the left side is the expression, and every
/// other side must be worth the target too. A decimal is one number, so `1.5` does not use 1 and 5.
pub fn reaches(answer: &str, numbers: &[i64], target: &BigRational) -> bool {
    let Some(text) = plain(answer) else { return false };
    let expression = text.split('=').next().unwrap_or_default();
    uses(expression, numbers) && text.split('=').all(|side| arithmetic::evaluate(side.trim()).as_ref() == Ok(target))
}

/// The answer in the spelling that [`arithmetic`] reads, if it can be written so.
fn plain(answer: &str) -> Option<String> {
    let text = exact::plain(answer)?.replace(r"\div", "/").replace('÷', "/").replace('×', "*");
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '$');
    let (fractions, joints) = (text.matches(r"\frac{").count(), text.matches("}{").count());
    if fractions != joints {
        return None;
    }
    // Braces that belong to no fraction stay, and no expression has any.
    Some(text.replace(r"\frac{", "((").replace("}{", ")/(").replace('}', "))"))
}

/// Whether the numbers written in an expression are those given, which are sorted.
fn uses(expression: &str, numbers: &[i64]) -> bool {
    let literals = expression.split(|c: char| !c.is_ascii_digit() && c != '.').filter(|literal| !literal.is_empty());
    // One more than there are numbers is enough to see that there are too many.
    let used: Result<Vec<BigRational>, _> =
        literals.take(numbers.len().saturating_add(1)).map(arithmetic::evaluate).collect();
    let Ok(mut used) = used else { return false };
    used.sort_unstable();
    used.into_iter().eq(numbers.iter().map(|&n| BigRational::from_integer(BigInt::from(n))))
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
        for answer in [r"\frac{60}{3}{2}", r"{60} / 3", r"\frac{60}", r"60}{3", r"\frac603"] {
            assert!(!reached(answer, &[3, 60], 20) && !reached(answer, &[2, 3, 60], 10), "{answer}");
        }
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
