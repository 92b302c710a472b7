//! Readings and comparisons with known results, and that no text is too much.

use std::time::{Duration, Instant};

use num_traits::One as _;
use proptest::prelude::*;

use super::*;
use crate::task::grading::arithmetic;

mod faults;

fn ratio(numerator: i64, denominator: i64) -> BigRational {
    BigRational::new(numerator.into(), denominator.into())
}

#[test]
fn numbers_have_their_exact_value() {
    let cases = [
        ("1,000", ratio(1000, 1)),
        ("1,234,567.50", ratio(12_345_675, 10)),
        (r"1{,}000", ratio(1000, 1)),
        (r"10\,000", ratio(10_000, 1)),
        (r"1,\!000", ratio(1000, 1)),
        ("1/2", ratio(1, 2)),
        ("0.5", ratio(1, 2)),
        (".50", ratio(1, 2)),
        (r"\frac{1}{2}", ratio(1, 2)),
        (r"-\dfrac12", ratio(-1, 2)),
        (r"\frac{-3}{4}", ratio(-3, 4)),
        (r"\frac{1.5}{3}", ratio(1, 2)),
        (r"\frac 1{72}", ratio(1, 72)),
        (r"1\frac{1}{2}", ratio(3, 2)),
        ("-1 1/2", ratio(-3, 2)),
        ("50%", ratio(1, 2)),
        (r"12.5\%", ratio(1, 8)),
        (r"40\text{ percent}", ratio(2, 5)),
        ("$5", ratio(5, 1)),
        (r"\$5.00", ratio(5, 1)),
        (r"-\$1,250", ratio(-1250, 1)),
        ("€ -3", ratio(-3, 1)),
        ("$5$", ratio(5, 1)),
        (r"\(5\)", ratio(5, 1)),
        ("1e3", ratio(1000, 1)),
        ("2.5E-1", ratio(1, 4)),
        (r"1.2 \times 10^{3}", ratio(1200, 1)),
        (r"6 \cdot 10^-1", ratio(3, 5)),
        ("-0", ratio(0, 1)),
        ("−7", ratio(-7, 1)),
        ("007", ratio(7, 1)),
        (" 18.\n", ratio(18, 1)),
        ("x = 7", ratio(7, 1)),
        (r"$\theta=90^\circ$", ratio(90, 1)),
        ("f(2) = 5", ratio(5, 1)),
        (r"12\text{ cm}^2", ratio(12, 1)),
        (r"12\,\mathrm{cm}", ratio(12, 1)),
        (r"\text{ 12 }", ratio(12, 1)),
        (r"\textbf{12}", ratio(12, 1)),
        ("240 sheets per month", ratio(240, 1)),
        ("$130 dollars", ratio(130, 1)),
        ("5 times", ratio(5, 1)),
        ("18 dollars a day", ratio(18, 1)),
        (r"3\text{ m}", ratio(3, 1)),
        (
            "10000000000000000000000000001/10000000000000000000000000000 ",
            BigRational::one() + ratio(1, 10_i64.pow(14)) * ratio(1, 10_i64.pow(14)),
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(value(text), Some(expected), "{text:?}");
    }
}

#[test]
fn what_is_not_a_number_for_sure_is_none() {
    for text in [
        "",
        " ",
        ".",
        "-",
        "$",
        "%",
        "1,00",
        "1000,000",
        "0,123",
        "1,2",
        "1 2",
        "12 34",
        "1.2.3",
        "1/0",
        "1/2/3",
        "/2",
        r"\frac{1}{0}",
        r"\frac{1}",
        r"\frac1",
        r"\frac{1}{2}x",
        r"2\frac{3}{2}",
        r"x\frac{1}{2}",
        "1.5 1/2",
        "e",
        "2e",
        "1e",
        "1e1025",
        "1e-1025",
        "1e999999999",
        "1e99999999999999999999",
        r"2 \times 3",
        "10^3",
        "2^{10}",
        "1+1",
        "5x",
        "5 x",
        "5 i",
        r"5\text{i}",
        r"5\mathbf{ij}",
        r"3\pi",
        "3 pi",
        r"\sqrt{4}",
        r"1011_2",
        "0.333...",
        r"0.\overline{3}",
        "5 million",
        "5 Millions",
        "5 plus x",
        "5 times y",
        "5 cos",
        "5 a",
        r"5\text{ million}",
        r"2\text{ dozen eggs}",
        r"5\text{ or }6",
        r"5\text{ or more}",
        "3 hours 20 minutes",
        "(1, 2)",
        "2x = 3",
        "x = y = 3",
        "x = 2, y = 3",
        r"\frac{a}{b} = 3",
        "it is 5",
        "٣",
        "inf",
        "nan",
        "0x10",
        "1_0",
        "--5",
        "5!",
    ] {
        assert_eq!(value(text), None, "{text:?}");
    }
}

#[test]
fn a_percentage_is_a_fraction_and_a_number_of_per_cents() {
    for (a, b, same) in [
        ("50%", "0.5", true),
        ("50%", "50", true),
        (r"50\%", r"\frac12", true),
        ("50%", "50.0%", true),
        ("50%", "5000%", false),
        ("0.5%", "0.5", true),
        ("50%", "5", false),
    ] {
        assert_eq!((same_number(a, b), same_number(b, a)), (Some(same), Some(same)), "{a} and {b}");
    }
    assert_eq!(same_number("50%", "half"), None);
}

#[test]
fn answers_are_equivalent_as_numbers_else_as_latex() {
    let same = [
        ("0.50", r"\frac{2}{4}"),
        ("58,500", "58500"),
        (r"\$36", "36.00"),
        (r"\left( 1, 2 \right)", "(1,2)"),
        (r"$2\sqrt3$", r"2\sqrt{3}"),
        (r"\text{Evelyn}", "Evelyn"),
        (r"x^2\text{ cm}", "x^2"),
        ("1011_2", "1011_2"),
    ];
    for (a, b) in same {
        assert!(equivalent(a, b) && equivalent(b, a), "{a} and {b}");
    }
    let different = [
        ("0.3333", r"\frac13"),
        ("1000.000000001", "1000"),
        ("9007199254740993", "9007199254740992"),
        ("x+1", "1+x"),
        // the published rules, which cut all white space and everything after a unit, take these for the same
        ("1 1/2", "11/2"),
        ("1 2", "12"),
        (r"5\text{ or }6", "5"),
        (r"5\text{ million}", "5"),
        (r"x\text{ or }y", "x"),
    ];
    for (a, b) in different {
        assert!(!equivalent(a, b) && !equivalent(b, a), "{a} and {b}");
    }
}

proptest! {
    #[test]
    fn every_way_to_write_a_fraction_is_the_same_number(a in -9999i64..9999, b in 1i64..9999, k in 1i64..99) {
        let expected = Some(ratio(a, b));
        for text in [
            format!("{a}/{b}"),
            format!(r"\frac{{{a}}}{{{b}}}"),
            format!(r"$x = \dfrac{{{}}}{{{}}}$", a * k, b * k),
            format!(r"{} / {}\text{{ km}}", a * k, b * k),
        ] {
            prop_assert_eq!(value(&text), expected.clone(), "{}", text);
        }
    }

    #[test]
    fn decimals_and_thousands_are_exact(whole in 0i64..10_000_000_000, cents in 0i64..100, negative: bool) {
        let digits = whole.to_string();
        let grouped = digits.as_bytes().rchunks(3).rev().map(|g| std::str::from_utf8(g).unwrap()).collect::<Vec<_>>();
        let sign = if negative { "-" } else { "" };
        let expected = ratio(whole * 100 + cents, if negative { -100 } else { 100 });
        for text in [format!("{sign}{whole}.{cents:02}"), format!("{sign}${}.{cents:02}", grouped.join(","))] {
            prop_assert_eq!(value(&text), Some(expected.clone()), "{}", text);
        }
    }

    #[test]
    fn any_text_is_read_or_not_and_equivalent_to_itself(
        text in r"(\\frac|\\text\{ ?|\\times 10\^|\\left|\{|\}|\$|%|=|/|[-+,.e ]|[0-9]{1,9}|x|[a-z ]{0,6}|\PC){0,30}",
    ) {
        let _ = value(&text);
        prop_assert!(equivalent(&text, &text), "{}", text);
    }

    #[test]
    fn equality_has_no_direction_and_is_not_lost_by_cleaning(a in answer(), b in answer()) {
        prop_assert_eq!(equivalent(&a, &b), equivalent(&b, &a), "{} and {}", a, b);
        let clean = clean(&a).unwrap_or_else(|| a.clone());
        prop_assert!(equivalent(&a, &clean), "{} and {}", a, clean);
    }

    #[test]
    fn a_known_unit_never_changes_the_number(n in -9999i64..9999, unit in prop::sample::select(vec!["cm", "hours", "apples", "€", "USD"])) {
        prop_assert_eq!(value(&format!("{n} {unit}")), Some(ratio(n, 1)));
        let other = (n + 1).to_string();
        prop_assert!(!equivalent(&format!("{n} {unit}"), &other), "{n} {unit}");
    }
}

/// Short texts of few parts, so that two of them are often the same answer.
fn answer() -> impl Strategy<Value = String> {
    let parts = vec![
        "1",
        "2",
        "12",
        "x",
        "/",
        "-",
        "–",
        r"\frac{1}{2}",
        "½",
        r"\pi",
        "(",
        ")",
        ",",
        " ",
        r"\,",
        "$",
        "€",
        "%",
        " cm",
        " m",
        "=",
        "{",
        "}",
        "^2",
        "^{2}",
        r"\text{ cm}",
        r"\text{(C)}",
        "C",
        " hours",
        " per ",
        "**",
        r"\sqrt 3",
        "0.5",
    ];
    prop::collection::vec(prop::sample::select(parts), 0..6).prop_map(|parts| parts.concat())
}

#[test]
fn long_texts_and_large_exponents_take_no_time() {
    let started = Instant::now();
    for part in ["9", ".", "{", "}", "$", "(", "-", "=", "x", " ", "9,", "999,", r"\frac", r"\text{ ", "e9", "^2", "é"]
    {
        for text in [part.repeat(arithmetic::MAX_LENGTH / part.len()), part.repeat(1_000_000 / part.len())] {
            let _ = value(&text);
            assert!(equivalent(&text, &text), "{part}");
        }
    }
    assert_eq!(value("1e1024"), Some(BigRational::from_integer(BigInt::from(10).pow(1024))));
    // Far more than all of them take.
    assert!(started.elapsed() < Duration::from_secs(20));
}
