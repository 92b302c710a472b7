//! Answers compared exactly: `1,000` is 1000, `\frac{2}{4}` is 0.5, and 0.3333 is not a third.
//!
//! This is for the exact grader, which stands beside the published ones and may be kinder about the spelling of an answer
//! but not about its value. Both answers are cleaned in one way ([`clean`](super::clean)), then read: a name in front, a unit behind, and
//! a number, a list or LaTeX. What is not sure stays LaTeX, and is right only if it is the same.

mod form;
mod parts;
mod rational;
mod unit;

pub use rational::MAX_EXPONENT;

use num_bigint::BigInt;
use num_rational::BigRational;

use super::clean::clean;
use form::form;
use parts::{brackets, items, without_frame, without_name};
use unit::Unit;

/// Lists in lists that are read item by item.
const MAX_DEPTH: usize = 4;

/// The number that an answer is, and nothing else: a sign, digits, thousands in groups of three, a point, an exponent;
/// `a/b`, `\frac{a}{b}`, `½` and mixed numbers; around it the name in `x = 5`, a currency, a unit that is known, a percent
/// sign (`50%` is 0.5), type faces, dollar signs, white space, and a last point.
pub fn value(text: &str) -> Option<BigRational> {
    let answer = Answer::read(text)?;
    let Body::Number(value) = answer.body else { return None };
    Some(if answer.unit.is_some_and(|unit| unit.is_percent()) { value / BigInt::from(100) } else { value })
}

/// Whether two answers are the same number; `None` if one of them is no number.
///
/// A percentage is the fraction it stands for, and also the bare number of per cents, because the answer to "what
/// percentage" is written both ways: `50%` equals `0.5` and `50`. Two percentages are equal as they are. A unit may be
/// left out, but two that differ are two answers: nothing is converted.
pub fn same_number(a: &str, b: &str) -> Option<bool> {
    let (a, b) = (Answer::read(a)?, Answer::read(b)?);
    match (&a.body, &b.body) {
        (Body::Number(_), Body::Number(_)) => Some(a.equals(&b)),
        _ => None,
    }
}

/// Whether two answers are the same number, the same list, or, if they are neither, the same LaTeX.
pub fn equivalent(a: &str, b: &str) -> bool {
    match (Answer::read(a), Answer::read(b)) {
        (Some(a), Some(b)) => a.equals(&b),
        _ => a == b,
    }
}

/// An answer as it is compared.
struct Answer {
    /// The `x` of `x = 5`.
    name: Option<String>,
    unit: Option<Unit>,
    body: Body,
}

enum Body {
    /// Of a percentage the number in front of the sign.
    Number(BigRational),
    /// What stands between commas, with what encloses it.
    List { open: String, close: String, items: Vec<Answer> },
    /// Anything else.
    Latex(String),
}

impl Answer {
    /// `None` for a text that cannot be cleaned.
    fn read(text: &str) -> Option<Self> {
        Some(Self::of_clean(&clean(text)?, MAX_DEPTH))
    }

    fn of_clean(text: &str, depth: usize) -> Self {
        let text = without_frame(text);
        let (name, content) = without_name(text);
        let (value, unit) = unit::split(content);
        let value = without_frame(&value);
        if let Some(number) = rational::read(value) {
            return Self { name, unit, body: Body::Number(number) };
        }
        let list = |open: &str, close: &str, content: &str| -> Option<Body> {
            let items = items(content).filter(|_| depth > 0)?;
            let items = items.into_iter().map(|item| Self::of_clean(item, depth - 1)).collect();
            Some(Body::List { open: open.into(), close: close.into(), items })
        };
        // A name and a unit belong to one item of such a list.
        if let Some(body) = list("", "", text) {
            return Self { name: None, unit: None, body };
        }
        let enclosed = || {
            let (open, content, close) = brackets(value)?;
            list(open, close, content)
        };
        let body = enclosed().unwrap_or_else(|| Body::Latex(form(value)));
        Self { name, unit, body }
    }

    fn equals(&self, other: &Self) -> bool {
        let differ = |(a, b): (&String, &String)| a != b;
        if self.name.as_ref().zip(other.name.as_ref()).is_some_and(differ) {
            return false;
        }
        if self.unit.as_ref().zip(other.unit.as_ref()).is_some_and(|(a, b)| !a.agrees(b)) {
            return false;
        }
        match (&self.body, &other.body) {
            (Body::Number(a), Body::Number(b)) => {
                let percents = |a: &Self, b: &Self| b.unit.is_none() && a.unit.as_ref().is_some_and(Unit::is_percent);
                let hundred = BigInt::from(100);
                a == b || (percents(self, other) && *a == b * &hundred) || (percents(other, self) && *b == a * &hundred)
            }
            (Body::Latex(a), Body::Latex(b)) => a == b,
            (
                Body::List { open: a_open, close: a_close, items: a },
                Body::List { open: b_open, close: b_close, items: b },
            ) => (a_open, a_close, a.len()) == (b_open, b_close, b.len()) && a.iter().zip(b).all(|(a, b)| a.equals(b)),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests;
