//! Numbers as people write them, exactly.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One as _, Zero as _};

/// The largest power of ten, up or down, that a number is multiplied by: enough for every answer, and `1e999999999`
/// must not fill the memory.
pub const MAX_EXPONENT: i64 = 1024;

/// The number that a clean text is, and nothing else: a sign, digits, thousands in groups of three, a point, an
/// exponent; `a/b`, `\frac{a}{b}` and mixed numbers.
pub(super) fn read(text: &str) -> Option<BigRational> {
    match text.strip_prefix(['+', '-']) {
        Some(rest) => {
            let value = magnitude(rest.trim_start())?;
            Some(if text.starts_with('-') { -value } else { value })
        }
        None => magnitude(text),
    }
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
    if let Some((mantissa, power)) = text.split_once(['×', '·', '*']) {
        let exponent = power.trim().strip_prefix("10^")?;
        let braced = exponent.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        return decimal(mantissa.trim(), parse_exponent(braced.unwrap_or(exponent))?);
    }
    match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => decimal(mantissa, parse_exponent(exponent)?),
        None => decimal(text, 0),
    }
}

/// An argument of `\frac` and what follows it.
fn argument(text: &str) -> Option<(&str, &str)> {
    let (content, rest) = text.strip_prefix('{')?.split_once('}')?;
    Some((content.trim(), rest))
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
