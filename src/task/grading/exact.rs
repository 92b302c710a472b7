//! Answers as exact numbers: `1,000` is 1000, `\frac{2}{4}` is 0.5, and 0.3333 is not a third.
//!
//! This is for the exact grader, which stands beside the published ones. What it does not read as a number for sure it
//! leaves to the comparison of LaTeX texts.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One as _, Zero as _};

use super::{arithmetic, latex};

/// The largest power of ten, up or down, that a number is multiplied by: enough for every answer, and `1e999999999`
/// must not fill the memory.
pub const MAX_EXPONENT: i64 = 1024;

/// Rewritings that come first, in this order: each of the left is replaced by its right.
const SPELLINGS: [(&str, &str); 26] = [
    (r"\dfrac", r"\frac"),
    (r"\tfrac", r"\frac"),
    (r"\cfrac", r"\frac"),
    (r"\left", ""),
    (r"\right", ""),
    (r"\displaystyle", ""),
    (r"\!", ""),
    ("{,}", ","),
    (r"\,", " "),
    (r"\;", " "),
    (r"\:", " "),
    (r"\ ", " "),
    ("~", " "),
    ("\u{a0}", " "),
    (r"\%", "%"),
    (r"\$", "$"),
    (r"^{\circ}", ""),
    (r"^\circ", ""),
    (r"\degree", ""),
    ("°", ""),
    (r"\(", ""),
    (r"\)", ""),
    ("−", "-"),
    (r"\times", "×"),
    (r"\cdot", "×"),
    ("·", "×"),
];

/// Commands whose argument is words.
const WORDS: [&str; 4] = [r"\text{", r"\mathrm{", r"\mbox{", r"\textrm{"];

/// What stands in front of an answer and its closing brace behind it, without a meaning.
const FRAMES: [&str; 7] = ["{", r"\text{", r"\mathrm{", r"\mbox{", r"\textrm{", r"\textbf{", r"\mathbf{"];

/// Words after a number that make it another number, or say that it is not all of the answer.
const NOT_UNITS: [&str; 19] = [
    "hundred", "thousand", "million", "billion", "trillion", "dozen", "half", "or", "and", "to", "than", "plus",
    "minus", "mod", "base", "pi", "sqrt", "sin", "cos",
];

/// The number that an answer is, and nothing else: a sign, digits, thousands in groups of three, a point, an exponent;
/// `a/b`, `\frac{a}{b}` and mixed numbers; around it a currency sign, a percent sign (`50%` is 0.5), a degree sign, a
/// unit (words after a space or in `\text{..}`), the name in `x = 5`, dollar signs, white space, and a last point.
pub fn value(text: &str) -> Option<BigRational> {
    let number = Number::read(text)?;
    Some(if number.percent { number.value / BigInt::from(100) } else { number.value })
}

/// Whether two answers are the same number; `None` if one of them is no number.
///
/// A percentage is the fraction it stands for, and also the bare number of per cents, because the answer to "what
/// percentage" is written both ways: `50%` equals `0.5` and `50`. Two percentages are equal as they are.
pub fn same_number(a: &str, b: &str) -> Option<bool> {
    let (a, b) = (Number::read(a)?, Number::read(b)?);
    let hundred = BigInt::from(100);
    Some(
        a.value == b.value
            || (a.percent && !b.percent && a.value == &b.value * &hundred)
            || (b.percent && !a.percent && b.value == &a.value * &hundred),
    )
}

/// Whether two answers are the same number, or, if neither is a number, the same LaTeX text by the published rules.
///
/// Those rules cut a text at a unit; here more than a unit is not cut, so that `x\text{ or }y` is not `x`.
pub fn equivalent(a: &str, b: &str) -> bool {
    if let Some(same) = same_number(a, b) {
        return same;
    }
    if Number::read(a).is_some() || Number::read(b).is_some() {
        return false;
    }
    let (a, b) = (without_unit(without_frame(a)).0, without_unit(without_frame(b)).0);
    let cut = |text: &str| text.contains(r"\text{ ");
    if cut(a) || cut(b) { a == b } else { latex::equivalent(a, b) }
}

/// A text in the few spellings that are read here; `None` for a text that is too long.
pub(crate) fn plain(text: &str) -> Option<String> {
    if text.len() > arithmetic::MAX_LENGTH {
        return None;
    }
    let mut text = text.to_owned();
    for (from, to) in SPELLINGS {
        if text.contains(from) {
            text = text.replace(from, to);
        }
    }
    Some(text)
}

/// A number as written.
struct Number {
    /// Its value, of a percentage the number in front of the sign.
    value: BigRational,
    percent: bool,
}

impl Number {
    fn read(text: &str) -> Option<Self> {
        let text = plain(text)?;
        let text = without_name(without_frame(&text));
        let (text, unit) = without_unit(text);
        let text = without_frame(text);
        let (text, percent) = match text.strip_suffix('%') {
            Some(text) => (text.trim_end(), true),
            None => (text, unit.is_some_and(|unit| unit.starts_with("percent"))),
        };
        Some(Self { value: signed(text)?, percent })
    }
}

/// Cuts what may stand around an answer: white space, dollar signs, a last point, braces or a type face around all of it.
fn without_frame(mut text: &str) -> &str {
    // What is inside is shorter, so this ends; each round but the last cuts something.
    loop {
        let inner = text.trim_matches(|c: char| c.is_whitespace() || c == '$');
        // an ellipsis says that more digits follow
        let inner = inner.strip_suffix('.').filter(|rest| !rest.ends_with('.')).unwrap_or(inner);
        let open = FRAMES.iter().find_map(|open| inner.strip_prefix(open));
        let inner = match open.and_then(|rest| rest.strip_suffix('}')) {
            Some(content) if !content.contains(['{', '}']) => content,
            _ => inner,
        };
        if inner.len() == text.len() {
            return text;
        }
        text = inner;
    }
}

/// Cuts the name of `x = 5`, `x_1 = 5`, `\theta = 5` or `f(2) = 5`.
fn without_name(text: &str) -> &str {
    let named = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '\\')
            && name.len() <= 12
            && name.chars().all(|c| c.is_ascii_alphanumeric() || r"\_() ".contains(c))
    };
    match text.split_once('=') {
        Some((name, value)) if named(name) => value.trim_start(),
        _ => text,
    }
}

/// Cuts a unit at the end and gives its words: `\text{..}` with a power where it has one, or words after a space.
fn without_unit(text: &str) -> (&str, Option<&str>) {
    let end = text.trim_end_matches(|c: char| c.is_whitespace() || c == '$');
    let powers = ["^2", "^3", "^{2}", "^{3}"].into_iter();
    let end = powers.fold(end, |end, power| end.strip_suffix(power).filter(|e| e.ends_with('}')).unwrap_or(end));
    let in_braces = || {
        let inside = end.strip_suffix('}')?;
        let at = inside.rfind('\\')?;
        let words = WORDS.iter().find_map(|open| inside[at..].strip_prefix(open))?;
        Some((&text[..at], words))
    };
    let after_space = || {
        let at = end.find(|c: char| c.is_alphabetic())?;
        text[..at].ends_with(char::is_whitespace).then(|| (&text[..at], &end[at..]))
    };
    match in_braces().or_else(after_space) {
        Some((value, words)) if !value.trim().is_empty() && is_unit(words) => (value.trim_end(), Some(words.trim())),
        _ => (text, None),
    }
}

/// Whether words are a unit, such as `cm`, `miles per hour` or `dollars a day`: more than one letter each, because `5 x`
/// and `5 i` are no numbers; after the space of `\text{ m}` one will do, as in the published rules.
fn is_unit(words: &str) -> bool {
    let named = |word: &str, name: &&str| {
        word.eq_ignore_ascii_case(name) || word.strip_suffix('s').is_some_and(|one| one.eq_ignore_ascii_case(name))
    };
    let known = |word: &str| NOT_UNITS.iter().any(|name| named(word, name));
    let letter = |word: &str| word.chars().nth(1).is_none();
    words.chars().nth(1).is_some()
        && !words.starts_with("a ")
        && words.chars().all(|c| c.is_alphabetic() || " ./-²³".contains(c))
        && !words.split_whitespace().any(|word| known(word) || (letter(word) && word != "a" && !words.starts_with(' ')))
}

/// A magnitude with its sign, before or after a currency sign.
fn signed(text: &str) -> Option<BigRational> {
    let text = without_currency(text);
    match text.strip_prefix(['+', '-']) {
        Some(rest) => {
            let value = magnitude(without_currency(rest))?;
            Some(if text.starts_with('-') { -value } else { value })
        }
        None => magnitude(text),
    }
}

fn without_currency(text: &str) -> &str {
    text.trim_start().trim_start_matches(['$', '€', '£']).trim_start()
}

fn magnitude(text: &str) -> Option<BigRational> {
    if let Some((whole, arguments)) = text.split_once(r"\frac") {
        let (numerator, rest) = argument(arguments)?;
        let (denominator, rest) = argument(rest)?;
        return if rest.is_empty() { fraction(whole.trim(), numerator, denominator) } else { None };
    }
    if let Some((numerator, denominator)) = text.split_once('/') {
        let (numerator, denominator) = (numerator.trim(), denominator.trim());
        let (whole, numerator) = numerator.rsplit_once(' ').unwrap_or(("", numerator));
        return fraction(whole.trim(), numerator, denominator);
    }
    if let Some((mantissa, power)) = text.split_once('×') {
        let exponent = power.trim().strip_prefix("10^")?;
        let braced = exponent.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        return decimal(mantissa.trim(), parse_exponent(braced.unwrap_or(exponent))?);
    }
    match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => decimal(mantissa, parse_exponent(exponent)?),
        None => decimal(text, 0),
    }
}

/// An argument of `\frac`, in braces or a digit, and what follows it.
fn argument(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    match text.strip_prefix('{') {
        Some(rest) => rest.split_once('}').map(|(content, rest)| (content.trim(), rest)),
        None => text.starts_with(|c: char| c.is_ascii_digit()).then(|| text.split_at(1)),
    }
}

/// `numerator / denominator`, or with a `whole` number in front a mixed number, whose fraction is a proper one: any
/// other might be meant as a product.
fn fraction(whole: &str, numerator: &str, denominator: &str) -> Option<BigRational> {
    let part = |text: &str| match text.strip_prefix('-') {
        Some(rest) => decimal(rest, 0).map(|value| -value),
        None => decimal(text, 0),
    };
    let (above, below) = (part(numerator)?, part(denominator)?);
    if below.is_zero() {
        return None;
    }
    let quotient = above / below;
    if whole.is_empty() {
        return Some(quotient);
    }
    let natural = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    let mixed = [whole, numerator, denominator].into_iter().all(natural) && quotient < BigRational::one();
    if mixed { Some(decimal(whole, 0)? + quotient) } else { None }
}

fn parse_exponent(text: &str) -> Option<i64> {
    let text = text.trim();
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let exponent: i64 =
        if digits.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok()? } else { return None };
    (exponent.abs() <= MAX_EXPONENT).then_some(exponent)
}

/// Digits, with or without groups of thousands, and decimals, times a power of ten.
fn decimal(text: &str, exponent: i64) -> Option<BigRational> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let only_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let whole = match whole.contains([',', ' ']) {
        true => without_groups(whole)?,
        false => whole.to_owned(),
    };
    if (whole.is_empty() && decimals.is_empty()) || !only_digits(&whole) || !only_digits(decimals) {
        return None;
    }
    let digits: BigInt = (whole + decimals).parse().ok()?;
    let exponent = exponent - i64::try_from(decimals.len()).ok()?;
    let power = BigInt::from(10).pow(u32::try_from(exponent.unsigned_abs()).ok()?);
    Some(if exponent < 0 { BigRational::new(digits, power) } else { BigRational::from_integer(digits * power) })
}

/// The digits of `1,000,000` or `1 000 000`: one to three, the first of them not 0, then groups of three.
fn without_groups(text: &str) -> Option<String> {
    let separator = if text.contains(',') { ',' } else { ' ' };
    let mut groups = text.split(separator);
    let first = groups.next()?;
    let well_formed = (1..=3).contains(&first.len()) && !first.starts_with('0') && groups.all(|group| group.len() == 3);
    well_formed.then(|| text.replace(separator, ""))
}

#[cfg(test)]
mod tests;
