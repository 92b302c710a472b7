//! Equivalence of LaTeX answers after the MATH benchmark's usual normalisation: a fixed list of rewritings of the text,
//! not algebra, so `x+1` and `1+x` differ.

use super::number::is_integer;

/// Rewritings that come first, in this order: each of the left is replaced by its right.
const SPELLINGS: [(&str, &str); 10] = [
    ("\n", ""),
    (r"\!", ""),
    (r"\\", r"\"),
    ("tfrac", "frac"),
    ("dfrac", "frac"),
    (r"\left", ""),
    (r"\right", ""),
    (r"^{\circ}", ""),
    (r"^\circ", ""),
    (r"\$", ""),
];

/// Whether two answers are the same after normalisation. Where one of them cannot be normalised they are compared as
/// they are.
pub fn equivalent(a: &str, b: &str) -> bool {
    match (normalise(a), normalise(b)) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

/// The normal form of an answer; `None` for text on which the usual code fails: two units, a root or a fraction of
/// nothing, a slash between things that are not integers.
pub fn normalise(answer: &str) -> Option<String> {
    let mut text = answer.to_owned();
    for (from, to) in SPELLINGS {
        if text.contains(from) {
            text = text.replace(from, to);
        }
    }
    text = without_unit(&text)?.replace(r"\%", "").replace(" .", " 0.").replace("{.", "{0.");
    if text.is_empty() {
        return Some(text);
    }
    if text.starts_with('.') {
        text.insert(0, '0');
    }
    text = with_braced_roots(without_name(&text))?.replace(' ', "");
    text = with_braced_fractions(&text)?;
    if text == "0.5" {
        return Some(r"\frac{1}{2}".into());
    }
    quotient_as_fraction(text)
}

/// Cuts a unit, which is written `\text{ ..}` with a space. Two of them are something else.
fn without_unit(text: &str) -> Option<&str> {
    const UNIT: &str = r"\text{ ";
    match text.split_once(UNIT) {
        Some((_, rest)) if rest.contains(UNIT) => None,
        Some((value, _)) => Some(value),
        None => Some(text),
    }
}

/// Cuts the name of `x = 5`: at most two characters before the only equals sign.
fn without_name(text: &str) -> &str {
    match text.split_once('=') {
        Some((name, value)) if !value.contains('=') && name.chars().count() <= 2 => value,
        _ => text,
    }
}

/// Writes `\sqrt3` as `\sqrt{3}`.
fn with_braced_roots(text: &str) -> Option<String> {
    const ROOT: &str = r"\sqrt";
    let mut parts = text.split(ROOT);
    let mut out = parts.next()?.to_owned();
    for part in parts {
        let first = part.chars().next()?;
        out += ROOT;
        if first == '{' {
            out += part;
        } else {
            push_braced(&mut out, first);
            out += &part[first.len_utf8()..];
        }
    }
    Some(out)
}

/// Writes `\frac12` as `\frac{1}{2}` and `\frac1{23}` as `\frac{1}{23}`. One that ends too early leaves all as it is.
fn with_braced_fractions(text: &str) -> Option<String> {
    const FRACTION: &str = r"\frac";
    let mut parts = text.split(FRACTION);
    let mut out = parts.next()?.to_owned();
    for part in parts {
        let mut chars = part.chars();
        let first = chars.next()?;
        out += FRACTION;
        if first == '{' {
            out += part;
            continue;
        }
        let rest = chars.as_str();
        let Some(second) = chars.next() else { return Some(text.to_owned()) };
        push_braced(&mut out, first);
        if second == '{' {
            out += rest;
        } else {
            push_braced(&mut out, second);
            out += chars.as_str();
        }
    }
    Some(out)
}

fn push_braced(out: &mut String, c: char) {
    out.extend(['{', c, '}']);
}

/// Writes `3/4` as `\frac{3}{4}`, where both are integers in their shortest form.
fn quotient_as_fraction(text: String) -> Option<String> {
    let Some((a, b)) = text.split_once('/') else { return Some(text) };
    if b.contains('/') {
        return Some(text);
    }
    if !is_integer(a) || !is_integer(b) {
        return None;
    }
    Some(if is_shortest(a) && is_shortest(b) { format!(r"\frac{{{a}}}{{{b}}}") } else { text })
}

/// Whether Python prints the integer as it is written here.
fn is_shortest(integer: &str) -> bool {
    let digits = integer.strip_prefix('-').unwrap_or(integer);
    digits.bytes().all(|byte| byte.is_ascii_digit()) && (integer == "0" || !digits.starts_with('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_answer_are_equivalent() {
        let same = [
            (r"\frac{1}{2}", "0.5"),
            (r"\frac12", ".5"),
            (r"\dfrac{3}{4}", "3/4"),
            (r"\tfrac 34", r"\frac{3}{4}"),
            (r"\frac1{72}", r"\frac{1}{72}"),
            (r"-1/2", r"\frac{-1}{2}"),
            (r"\sqrt3", r"\sqrt{3}"),
            (r"2\sqrt5+\sqrt{6}", r"2\sqrt{5}+\sqrt6"),
            (r"\left( 1, 2 \right)", "(1,2)"),
            (r"90^\circ", "90"),
            (r"90^{\circ}", "90"),
            (r"12\text{ cm}", "12"),
            (r"40\%", "40"),
            (r"\$5", "5"),
            ("x = 7", "7"),
            ("k=7", "7"),
            ("1\n0", "10"),
            (r"1\!0", "10"),
            (r"{.25}", "{0.25}"),
            (r"\\pi", r"\pi"),
            ("", r"\!"),
        ];
        for (a, b) in same {
            assert!(equivalent(a, b) && equivalent(b, a), "{a} and {b}: {:?} and {:?}", normalise(a), normalise(b));
        }
    }

    #[test]
    fn other_answers_are_not() {
        let different = [
            ("1", "2"),
            ("0.50", "0.5"),
            ("1,000", "1000"),
            ("x+1", "1+x"),
            ("abc=7", "7"),
            ("x=y=7", "7"),
            (r"12\text{cm}", "12"),
            (r"\frac{72}1", r"\frac{72}{1}"),
            ("02/4", r"\frac{2}{4}"),
            ("1/2/3", r"\frac{1}{2}/3"),
            (r"\sqrt 3", r"\sqrt{3}"),
        ];
        for (a, b) in different {
            assert!(!equivalent(a, b), "{a} and {b}: {:?} and {:?}", normalise(a), normalise(b));
        }
    }

    #[test]
    fn what_cannot_be_normalised_is_compared_as_it_is() {
        for odd in [r"1\text{ a}\text{ b}", r"\sqrt", r"2\frac", "x/2", "/", "1/"] {
            assert_eq!(normalise(odd), None, "{odd}");
            assert!(equivalent(odd, odd));
            assert!(!equivalent(odd, &format!("{odd} ")));
        }
        assert_eq!(normalise(r"\frac1").as_deref(), Some(r"\frac1"));
        assert_eq!(normalise("1_0/2").as_deref(), Some("1_0/2"));
    }
}
