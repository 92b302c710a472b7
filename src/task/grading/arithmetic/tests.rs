//! Tests of exact arithmetic.

use proptest::prelude::*;

use super::*;

fn ratio(numerator: i64, denominator: i64) -> BigRational {
    BigRational::new(numerator.into(), denominator.into())
}

#[test]
fn values_are_exact() {
    let cases = [
        ("1/3 + 1/3 + 1/3", ratio(1, 1)),
        ("0.1 + 0.2", ratio(3, 10)),
        ("7 / 2 * 2", ratio(7, 1)),
        ("2 - 3 - 4", ratio(-5, 1)),
        ("8 / 4 / 2", ratio(1, 1)),
        ("2 + 3 * 4", ratio(14, 1)),
        ("(2 + 3) * 4", ratio(20, 1)),
        ("-2 * 3", ratio(-6, 1)),
        ("2 * -3 + 1", ratio(-5, 1)),
        ("-(1 - 2) - -3", ratio(4, 1)),
        ("--4", ratio(4, 1)),
        ("+4 - +1", ratio(3, 1)),
        ("2--3", ratio(5, 1)),
        ("5. + .5", ratio(11, 2)),
        ("05.50", ratio(11, 2)),
        ("00 + 0", ratio(0, 1)),
        (" \t(1\n+\r2) \n", ratio(3, 1)),
        ("1/99999999999999999999 * 99999999999999999999", ratio(1, 1)),
        ("99999999999999999999*99999999999999999999 - 99999999999999999998*100000000000000000000", ratio(1, 1)),
    ];
    for (text, value) in cases {
        assert_eq!(evaluate(text), Ok(value), "{text:?}");
    }
}

/// An expression and its value, put together from the leaves up; none where it divides by zero.
fn expression() -> impl Strategy<Value = (String, Option<BigRational>)> {
    let leaf = (0..1000i64, 0..3u32).prop_map(|(digits, decimals)| {
        let power = 10i64.pow(decimals);
        let text = match decimals {
            0 => digits.to_string(),
            _ => format!("{}.{:0width$}", digits / power, digits % power, width = decimals as usize),
        };
        (text, Some(ratio(digits, power)))
    });
    leaf.prop_recursive(5, 20, 2, |inner| {
        (inner.clone(), inner, 0..5u8).prop_map(|((a, x), (b, y), op)| match op {
            0 => (format!("({a}+{b})"), x.zip(y).map(|(x, y)| x + y)),
            1 => (format!("({a} - {b})"), x.zip(y).map(|(x, y)| x - y)),
            2 => (format!("({a})*({b})"), x.zip(y).map(|(x, y)| x * y)),
            3 => (format!("( ({a})/({b}) )"), x.zip(y).filter(|(_, y)| !y.is_zero()).map(|(x, y)| x / y)),
            _ => (format!("(-({a}))"), x.map(|x| -x)),
        })
    })
}

proptest! {
    #[test]
    fn any_expression_has_the_value_of_its_parts((text, value) in expression()) {
        prop_assume!(text.len() <= MAX_LENGTH);
        prop_assert_eq!(evaluate(&text), value.ok_or(ArithmeticError::DivisionByZero), "{}", text);
    }

    #[test]
    fn any_text_is_evaluated_or_refused(text in r"([-+*/(). 0-9\n]|\PC){0,60}") {
        let _ = evaluate(&text);
    }
}

#[test]
fn what_is_not_arithmetic_is_refused() {
    let wrong = [
        "2**3",
        "9**9**9",
        "7//2",
        "2 3",
        "2(3)",
        "(2)(3)",
        "()",
        "2)",
        "1,2",
        "x",
        "2x",
        "05",
        "1.2.3",
        ".",
        "1e5",
        "* 2",
        "1\n+2",
        "2 × 3",
        "\u{202e}1+2",
        "1\u{a0}+2",
        "1\0",
        "1_0",
        "2+)",
    ];
    for text in wrong {
        assert!(matches!(evaluate(text), Err(ArithmeticError::Unexpected { .. })), "{text:?}: {:?}", evaluate(text));
    }
    assert_eq!(evaluate(" 2 $"), Err(ArithmeticError::Unexpected { at: 3 }));
    for text in ["", " ", "1 +", "-", "(1", "((1)"] {
        assert_eq!(evaluate(text), Err(ArithmeticError::Unfinished), "{text:?}");
    }
    for text in ["1/0", "1/(2-2)", "0/0", "1/0.0"] {
        assert_eq!(evaluate(text), Err(ArithmeticError::DivisionByZero), "{text:?}");
    }
}

#[test]
fn length_and_nesting_are_limited() {
    let nested = |depth: usize| format!("{}1{}", "(".repeat(depth), ")".repeat(depth));
    assert_eq!(evaluate(&nested(MAX_DEPTH)), Ok(ratio(1, 1)));
    assert_eq!(evaluate(&nested(MAX_DEPTH + 1)), Err(ArithmeticError::TooDeep));
    assert_eq!(evaluate(&nested(10_000)), Err(ArithmeticError::TooLong));
    assert!(evaluate(&"-".repeat(MAX_LENGTH)).is_err());
    assert_eq!(evaluate(&"9".repeat(1_000_000)), Err(ArithmeticError::TooLong));
    assert!(evaluate(&"9".repeat(MAX_LENGTH)).is_ok());
}

#[test]
fn close_values_are_less_than_a_hundred_thousandth_apart() {
    let one = ratio(1, 1);
    assert!(close(&one, &ratio(1_000_009, 1_000_000)) && close(&ratio(999_991, 1_000_000), &one));
    assert!(!close(&one, &ratio(100_001, 100_000)));
}
