//! Expressions over given numbers, each used once: finding one that reaches a target, and drawing a random one.
//!
//! Both go the same way: two of the terms are joined by an operator until one term is left.

use std::cmp::Reverse;

use num_rational::Ratio;
use num_traits::{CheckedAdd as _, CheckedDiv as _, CheckedMul as _, CheckedSub as _, Zero as _};

use crate::config::{COUNTDOWN_LARGEST_NUMBER, COUNTDOWN_MOST_NUMBERS};
use crate::rng::Rng;

/// Values are exact. With at most [`COUNTDOWN_MOST_NUMBERS`] numbers up to [`MAX_NUMBER`] no fraction comes near 2^127.
type Exact = Ratio<i128>;

/// The largest number that a search is made for.
const MAX_NUMBER: i64 = COUNTDOWN_LARGEST_NUMBER as i64;

/// Part of an expression.
#[derive(Clone, Debug)]
struct Term {
    value: Exact,
    text: String,
    /// How tightly the outermost operator binds.
    binds: u8,
}

/// Which values may occur on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Values {
    /// Positive integers, as people calculate.
    Natural,
    /// Any.
    Rational,
}

/// An expression that uses every number once and has the value `target`: always the same one for the same numbers,
/// in whatever order they are given. Expressions over positive integers are tried first.
///
/// `None` if there is none, if there are more than [`COUNTDOWN_MOST_NUMBERS`] numbers, or if one is larger than [`MAX_NUMBER`].
pub fn solve(numbers: &[i64], target: i64) -> Option<String> {
    if numbers.len() > COUNTDOWN_MOST_NUMBERS || numbers.iter().any(|n| n.abs() > MAX_NUMBER) {
        return None;
    }
    let mut terms = terms(numbers);
    terms.sort_by_key(|term| Reverse(term.value));
    let target = Exact::from_integer(target.into());
    [Values::Natural, Values::Rational].into_iter().find_map(|values| search(&terms, &target, values))
}

/// A random expression through positive integers that uses every number once, and its value. `None` if two of the terms
/// make nothing positive, or the value is too large for an `i64`.
pub fn random(numbers: &[i64], rng: &mut Rng) -> Option<(String, i64)> {
    let mut terms = terms(numbers);
    while terms.len() > 1 {
        let a = terms.swap_remove(rng.below(terms.len()));
        let b = terms.swap_remove(rng.below(terms.len()));
        let joined = joins(&a, &b, Values::Natural);
        // Of positive terms there always is the sum.
        terms.push(joined.get(rng.below(joined.len().max(1)))?.clone());
    }
    let term = terms.pop()?;
    Some((term.text, i64::try_from(term.value.to_integer()).ok()?))
}

fn terms(numbers: &[i64]) -> Vec<Term> {
    let term = |&n: &i64| Term { value: Exact::from_integer(n.into()), text: n.to_string(), binds: 3 };
    numbers.iter().map(term).collect()
}

fn search(terms: &[Term], target: &Exact, values: Values) -> Option<String> {
    if let [term] = terms {
        return (term.value == *target).then(|| term.text.clone());
    }
    for i in 0..terms.len() {
        for j in i + 1..terms.len() {
            let others = terms.iter().enumerate().filter(|&(k, _)| k != i && k != j).map(|(_, term)| term.clone());
            let mut rest: Vec<Term> = others.collect();
            for joined in joins(&terms[i], &terms[j], values) {
                rest.push(joined);
                if let Some(found) = search(&rest, target, values) {
                    return Some(found);
                }
                rest.pop();
            }
        }
    }
    None
}

/// Two terms joined by every operator, in a fixed order; what does not commute, both ways round.
fn joins(a: &Term, b: &Term, values: Values) -> Vec<Term> {
    let (x, y) = (&a.value, &b.value);
    let quotient = |x: &Exact, y: &Exact| if y.is_zero() { None } else { x.checked_div(y) };
    [
        ('+', a, b, x.checked_add(y)),
        ('-', a, b, x.checked_sub(y)),
        ('-', b, a, y.checked_sub(x)),
        ('*', a, b, x.checked_mul(y)),
        ('/', a, b, quotient(x, y)),
        ('/', b, a, quotient(y, x)),
    ]
    .into_iter()
    .filter_map(|(op, left, right, value)| {
        let value = value?;
        let allowed = values == Values::Rational || (value.is_integer() && value > Exact::zero());
        allowed.then(|| join(left, op, right, value))
    })
    .collect()
}

fn join(left: &Term, op: char, right: &Term, value: Exact) -> Term {
    let binds = if matches!(op, '+' | '-') { 1 } else { 2 };
    // `a - (b - c)` and `a / (b * c)` need their parentheses, `a + (b - c)` does not.
    let right_binds = if matches!(op, '-' | '/') { binds + 1 } else { binds };
    let operand = |term: &Term, least: u8| match term.binds < least || term.text.starts_with('-') {
        true => format!("({})", term.text),
        false => term.text.clone(),
    };
    Term { value, text: format!("{}{op}{}", operand(left, binds), operand(right, right_binds)), binds }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rng::{Key, Purpose};
    use crate::task::countdown::Reference;

    fn reaches(expression: &str, numbers: &[i64], target: i64) -> bool {
        Reference::new(numbers.to_vec(), target).countdown(&format!("<answer>{expression}</answer>")) == 1.0
    }

    #[test]
    fn a_solution_is_written_with_few_parentheses_and_does_not_depend_on_the_order() {
        assert_eq!(solve(&[3, 7, 2], 17).as_deref(), Some("3+7*2"));
        assert_eq!(solve(&[2, 3, 7], 17).as_deref(), Some("3+7*2"));
        assert_eq!(solve(&[9, 4, 5], 10).as_deref(), Some("9+5-4"));
        assert_eq!(solve(&[10, 4, 1], 7).as_deref(), Some("1+10-4"));
        assert_eq!(solve(&[5, 2, 7], 21).as_deref(), Some("7*(5-2)"));
        // only through fractions
        assert!(reaches(&solve(&[8, 3, 8, 3], 24).unwrap(), &[8, 3, 8, 3], 24));
        assert_eq!(solve(&[1, 1, 1], 50), None);
        assert_eq!(solve(&[1; COUNTDOWN_MOST_NUMBERS + 1], 6), None);
        assert_eq!(solve(&[MAX_NUMBER + 1, 1], MAX_NUMBER), None);
        assert_eq!(solve(&[-3, 5], -15).as_deref(), Some("5*(-3)"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_random_expression_has_the_value_it_says_and_can_be_found_again(
            seed: u64, numbers in prop::collection::vec(1i64..100, 2..=4),
        ) {
            let (expression, value) = random(&numbers, &mut Key::new(seed, Purpose::Record).rng()).unwrap();
            prop_assert!(reaches(&expression, &numbers, value), "{expression} = {value}");
            let solution = solve(&numbers, value).unwrap();
            prop_assert!(reaches(&solution, &numbers, value), "{solution} = {value}");
        }

        #[test]
        fn the_solvers_own_demonstrations_were_graded_wrong(
            numbers in prop::collection::vec(-30i64..=30, 1..=4), target in -60i64..=60,
        ) {
            if let Some(solution) = solve(&numbers, target) {
                let reference = Reference::new(numbers.clone(), target);
                prop_assert!(reference.exact(&format!("<answer>{solution}</answer>")), "{solution} = {target} over {numbers:?}");
                if numbers.iter().all(|n| *n >= 0) {
                    prop_assert!(reaches(&solution, &numbers, target), "{solution} = {target}");
                }
            }
        }

        #[test]
        fn extreme_numbers_do_not_overflow(numbers in prop::collection::vec(MAX_NUMBER - 9..=MAX_NUMBER, 2..=3)) {
            prop_assert_eq!(solve(&numbers, i64::MAX), None);
        }
    }

    #[test]
    fn nothing_is_drawn_where_nothing_positive_can_be_made() {
        assert!(random(&[0, 0], &mut Key::new(0, Purpose::Record).rng()).is_none());
    }
}
