//! What the exact grader once took for right or wrong, and is not.

use super::*;

#[track_caller]
fn all_equal(pairs: &[(&str, &str)]) {
    for (a, b) in pairs {
        assert!(equivalent(a, b) && equivalent(b, a), "{a} is not {b}");
    }
}

#[track_caller]
fn none_equal(pairs: &[(&str, &str)]) {
    for (a, b) in pairs {
        assert!(!equivalent(a, b) && !equivalent(b, a), "{a} is {b}");
    }
}

#[test]
fn any_word_after_a_number_passed_for_a_unit() {
    for word in [
        "tenths",
        "thirds",
        "halves",
        "quarters",
        "hundredths",
        "half",
        "half-dozen",
        "dozen",
        "pairs",
        "score",
        "million",
        "squared",
        "cubed",
        "factorial",
        "choose two",
        "divided by two",
        "over four",
        "times x",
        "to the fifth",
        "plus",
        "negative",
        "or more",
        "repeating",
        "log",
        "ln",
        "sin",
        "mod",
        "gcd",
        "theta",
        "pi",
        "sigma",
        "i",
        "x",
        "a",
        "basis points",
        "squared meters",
        "billion dollars",
        "less",
        "more",
        "whole",
        "nonsense",
        "of them",
        "per",
    ] {
        assert_eq!(value(&format!("3 {word}")), None, "{word}");
        assert_eq!(value(&format!(r"3\text{{ {word}}}")), None, "{word}");
        assert!(!equivalent(&format!("3 {word}"), "3"), "{word}");
    }
    for unit in [
        "apples",
        "books",
        "children",
        "hours",
        "sq. ft.",
        "cm^2",
        "km/h",
        "m/s",
        "m/s^2",
        "miles per hour",
        "dollars a day",
        "cents each",
        "USD",
        "€",
        "¢",
        "%",
        "per cent",
        "percentage points",
        "degrees Celsius",
        "°F",
        "fluid ounces",
        "cups of flour",
        "chocolate chip cookies",
        "red marbles",
        "more apples",
        "sheets per month",
        "kilowatt-hours",
        "lbs.",
        "years old",
        "feet tall",
        "MB",
        "units^2",
        "square units",
        "p.m.",
        "times",
        "ways",
        "light-years",
        "in total",
        "a.m.",
    ] {
        assert_eq!(value(&format!("3 {unit}")).map(|v| v > ratio(0, 1)), Some(true), "{unit}");
        assert!(equivalent(&format!("3 {unit}"), "3"), "{unit}");
    }
    // letters alone are units only as words
    assert_eq!((value(r"5\text{ m}"), value(r"5\text{m}"), value("5 m")), (Some(ratio(5, 1)), Some(ratio(5, 1)), None));
}

#[test]
fn two_different_units_were_equal() {
    none_equal(&[
        ("3 hours", "3 minutes"),
        (r"3 \text{ cm}", r"3\text{ m}"),
        ("3 dollars", "3 cents"),
        ("$3", "3 cents"),
        ("$3", "€3"),
        ("3 radians", r"3^\circ"),
        ("20 °C", "20 °F"),
        (r"50\%", "50 apples"),
        ("3 apples", "3 oranges"),
        ("3 red marbles", "3 blue marbles"),
        (r"12\text{ cm}", r"12\text{ cm}^2"),
        ("60 miles", "60 miles per hour"),
        ("18 dollars per hour", "18 dollars per day"),
        (r"2\pi\text{ cm}", r"2\pi\text{ m}"),
        ("(1 cm, 2 cm)", "(1 cm, 2 m)"),
        // nothing is converted
        ("60 minutes", "1 hour"),
        ("5 am", "5 pm"),
    ]);
    all_equal(&[
        ("3 hr", "3 hours"),
        (r"5\text{ ft}^2", "5 square feet"),
        ("5 cm²", r"5\,\mathrm{cm}^{2}"),
        ("5 cubic meters", r"5 \text{ m}^3"),
        ("$5 per day", "5 dollars a day"),
        ("5 km/h", "5 kilometers per hour"),
        ("USD 5", "$5"),
        ("¥5", "5 yen"),
        ("£5", "5 pounds"),
        ("20 °C", r"20^\circ"),
        ("3 duck eggs", "3 eggs"),
        ("3 cups of flour", "3 cups"),
        ("50%", "50 percent"),
        ("3 children", "3 child"),
    ]);
}

#[test]
fn latex_spaces_and_braces_made_a_right_answer_wrong() {
    all_equal(&[
        (r"(1,\,2)", "(1,2)"),
        (r"(1,\quad 2)", "(1,2)"),
        ("(1,\u{2009}2)", "(1,2)"),
        (r"2\,\pi", r"2\pi"),
        (r"\bigl( 1,\ 2 \bigr)", "(1,2)"),
        (r"\displaystyle\frac{\pi}{2}", r"\frac{\pi}{2}"),
        (r"\sqrt 3", r"\sqrt{3}"),
        ("√13", r"\sqrt{13}"),
        ("√(x+1)", r"\sqrt{x+1}"),
        ("x^{2}", "x^2"),
        ("x²", "x^2"),
        ("1010_{2}", "1010_2"),
        ("{x}+{1}", "x+1"),
        (r"\theta = \frac{\pi}{2}", r"\frac{\pi}{2}"),
        ("11111111100", r"11,\! 111,\! 111,\! 100"),
        (r"2 \cdot x", "2x"),
        (r"\begin{pmatrix} 1/5 \\ 2 \end{pmatrix}", r"\begin{pmatrix}\frac15\\2\end{pmatrix}"),
    ]);
    none_equal(&[
        ("x^{12}", "x^12"),
        (r"\sqrt 13", r"\sqrt{13}"),
        ("(1 2,3)", "(12,3)"),
        ("4{10}", "410"),
        (r"0.\overline{3}5", r"0.\overline{35}"),
        (r"a \times b", r"a \cdot b"),
        ("(2,1)", "(1,2)"),
    ]);
}

#[test]
fn currencies_dashes_fractions_and_bold_type_made_a_right_answer_wrong() {
    for (text, expected) in [
        ("18 €", ratio(18, 1)),
        ("18€", ratio(18, 1)),
        ("¥18", ratio(18, 1)),
        (r"\pounds 18", ratio(18, 1)),
        ("18 ₹", ratio(18, 1)),
        ("US$18", ratio(18, 1)),
        ("USD 1000", ratio(1000, 1)),
        ("1000 EUR", ratio(1000, 1)),
        ("Rs. 500", ratio(500, 1)),
        ("–18", ratio(-18, 1)),
        ("—18", ratio(-18, 1)),
        ("‑$18", ratio(-18, 1)),
        ("½", ratio(1, 2)),
        ("1½", ratio(3, 2)),
        ("2 ¾", ratio(11, 4)),
        ("1⁄2", ratio(1, 2)),
        ("**18**", ratio(18, 1)),
        ("**18** eggs", ratio(18, 1)),
        (r"\textbf{18}", ratio(18, 1)),
        (r"\[18\]", ratio(18, 1)),
        ("(18)", ratio(18, 1)),
        ("１８", ratio(18, 1)),
        ("= 18", ratio(18, 1)),
    ] {
        assert_eq!(value(text), Some(expected), "{text}");
    }
    all_equal(&[("−x", "-x"), ("x – 1", "x-1"), ("2π", r"2\pi"), ("(−∞, 3]", r"(-\infty,3]")]);
    for text in ["5–8", "2**3", "$5 €", "18 $ 3", "5 MM", "[18]", r"\{18\}"] {
        assert_eq!(value(text), None, "{text}");
    }
}

#[test]
fn a_slash_was_not_a_fraction() {
    all_equal(&[
        ("a/b", r"\frac{a}{b}"),
        (r"\pi/2", r"\frac{\pi}{2}"),
        (r"2\pi/3", r"\frac{2\pi}{3}"),
        ("(a+b)/2", r"\frac{a+b}{2}"),
        ("(x+1)/(x-1)", r"\frac{x+1}{x-1}"),
        (r"\sqrt3/2", r"\frac{\sqrt{3}}{2}"),
        ("x^2/y^{10}", r"\frac{x^2}{y^{10}}"),
        ("-a/b + c", r"-\frac{a}{b}+c"),
        (r"\frac{-a}{b}", r"-\frac{a}{b}"),
        ("(1/2, 3)", r"\left(\frac12, 3\right)"),
    ]);
    none_equal(&[
        ("b/a", r"\frac{a}{b}"),
        ("1/2x", r"\frac{1}{2x}"),
        ("1/2x", r"\frac{1}{2}x"),
        ("a+b/c", r"\frac{a+b}{c}"),
        (r"\sin x/2", r"\frac{\sin x}{2}"),
        (r"\frac{-a+b}{c}", r"-\frac{a+b}{c}"),
    ]);
}

#[test]
fn a_letter_and_a_set_were_not_what_they_are_in_brackets() {
    all_equal(&[
        ("C", r"\text{(C)}"),
        ("(C)", r"\textbf{(C)}"),
        ("C.", r"\mathrm{C}"),
        ("[-2,7]", r"x \in [-2,7]"),
        ("[-2, 7)", "x∈[-2,7)"),
        (r"\{1, 2\}", r"x\in\{1,2\}"),
        ("x=2, y=3", "2, 3"),
        ("(0.5, 1)", r"(\frac12, 1)"),
    ]);
    none_equal(&[
        ("C", r"\text{(D)}"),
        ("c", r"\text{(C)}"),
        ("(-2,7)", r"x \in [-2,7]"),
        ("(1,2)", "(1,2]"),
        ("x = 5", "y = 5"),
        ("3, 5, 7", "5"),
        ("n=1,2,3", "3"),
        ("(0,1.5)", "(0,1)"),
        (r"\{5\}", "5"),
    ]);
}
