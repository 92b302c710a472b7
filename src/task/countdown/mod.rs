//! Countdown: reach a target with some numbers, each used once. Training reward and grader; both follow the published d1
//! and SPG code, except that expressions are evaluated exactly and by a grammar of their own, where Python's `eval`
//! could be kept busy for ever.

mod exact;
pub mod expression;
mod problems;
mod settings;

pub use problems::{Exhausted, ProblemMaker};
pub(super) use settings::task;
pub use settings::{LazySolver, made};

use num_bigint::BigInt;
use num_rational::BigRational;
use serde_json::Value;

use super::grading::boxed::{self, LastBox, Unboxed};
use super::grading::declared::declared;
use super::grading::{arithmetic, number};
use super::tags::{first_answer, last_answer};
use super::{Grade, Record, Result, Reward, TaskError};

/// What a record asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    numbers: Vec<i64>,
    target: BigRational,
}

/// What evaluation makes of a completion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The text that was taken for an expression.
    pub expression: String,
    /// Its value, if it uses the numbers exactly once each and has one.
    pub value: Option<BigRational>,
    /// Whether that is the target.
    pub correct: bool,
}

impl Reference {
    /// The numbers to use and the target to reach.
    pub fn new(mut numbers: Vec<i64>, target: i64) -> Self {
        numbers.sort_unstable();
        Self { numbers, target: BigRational::from_integer(BigInt::from(target)) }
    }

    /// Reads `numbers` (a list of integers) and `target` (an integer).
    ///
    /// # Errors
    /// If one is missing or holds something else.
    pub fn from_record(record: &Record) -> Result<Self> {
        Ok(Self::new(numbers(record)?, target(record)?))
    }

    /// What evaluation makes of a completion as decoded, special tokens included.
    pub fn attempt(&self, completion: &str, unboxed: Unboxed) -> Attempt {
        let expression = extract(completion, unboxed);
        let value = self.value(&expression);
        let correct = value.as_ref().is_some_and(|value| arithmetic::close(value, &self.target));
        Attempt { expression, value, correct }
    }

    /// The evaluation grade of a completion as decoded, special tokens included.
    pub fn grade(&self, completion: &str) -> Grade {
        let Attempt { expression, correct, .. } = self.attempt(completion, Unboxed::Answer);
        let exact = self.exact(completion);
        Grade { answer: Some(expression), correct: usize::from(correct), out_of: 1, exact }
    }

    /// Whether the expression that a completion declares uses the numbers exactly once each and is the target exactly.
    pub fn exact(&self, completion: &str) -> bool {
        declared(completion).is_some_and(|answer| exact::reaches(answer, &self.numbers, &self.target))
    }

    /// The training reward of a completion that ends before its first end token.
    pub fn reward(&self, completion: &str) -> Reward {
        Reward::of([("countdown", self.countdown(completion))])
    }

    /// 1 if the last closed answer reaches the target, 0.1 for any other, 0 where there is none.
    pub fn countdown(&self, completion: &str) -> f64 {
        let Some(answer) = last_answer(completion) else { return 0.0 };
        match self.value(answer.trim()) {
            Some(value) if arithmetic::close(&value, &self.target) => 1.0,
            _ => 0.1,
        }
    }

    /// The value of an expression that uses the numbers exactly once each. A decimal counts as the two integers around
    /// its point, as in the reference.
    fn value(&self, expression: &str) -> Option<BigRational> {
        // One more than there are numbers is enough to see that there are too many.
        let used = number::digit_runs(expression).take(self.numbers.len() + 1);
        let mut used: Vec<i64> = used.collect::<Option<_>>()?;
        used.sort_unstable();
        if used == self.numbers { arithmetic::evaluate(expression).ok() } else { None }
    }
}

/// The numbers of a record.
fn numbers(record: &Record) -> Result<Vec<i64>> {
    let found = record.value("numbers")?;
    let numbers: Option<Vec<i64>> = found.as_array().and_then(|list| list.iter().map(as_integer).collect());
    numbers.ok_or_else(|| TaskError::bad_field("numbers", "a list of integers", found))
}

/// The target of a record; it may be text, as all cells of a CSV file are.
fn target(record: &Record) -> Result<i64> {
    let found = record.value("target")?;
    let written = || found.as_str().and_then(|text| text.trim().parse().ok());
    as_integer(found).or_else(written).ok_or_else(|| TaskError::bad_field("target", "an integer", found))
}

/// An integer, which may be written as `3.0`: tables of other programs do that.
fn as_integer(value: &Value) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0; // 2^53: up to here every integer is an f64
    let whole = |number: f64| (number.fract() == 0.0 && number.abs() <= EXACT).then_some(number as i64);
    value.as_i64().or_else(|| value.as_f64().and_then(whole))
}

/// The text that evaluation takes for an expression: what the last box holds; if that stays open, the first closed
/// answer; without any box what `unboxed` says; the whole completion where there is no answer. LaTeX operators are read
/// as plain ones, and of an equation the left side is taken.
pub fn extract(completion: &str, unboxed: Unboxed) -> String {
    let answer = || first_answer(completion).map_or(completion, str::trim);
    let text = match (boxed::last(completion), unboxed) {
        (LastBox::Content(content), _) => content,
        (LastBox::Open, _) | (LastBox::Absent, Unboxed::Answer) => answer(),
        (LastBox::Absent, Unboxed::WholeText) => completion,
    };
    let text = text.replace(r"\div", "/").replace(r"\times", "*").replace(r"\cdot", "*");
    left_side(&text).map(str::to_owned).unwrap_or(text)
}

/// The left side of the first equation: characters of arithmetic right before an `=` that a number, a point or a space
/// follows.
fn left_side(text: &str) -> Option<&str> {
    let of_expression = |byte: &u8| byte.is_ascii_digit() || b"+-*/() ".contains(byte);
    let of_number = |byte: &u8| byte.is_ascii_digit() || b". ".contains(byte);
    let bytes = text.as_bytes();
    text.match_indices('=').find_map(|(at, _)| {
        let length = bytes[..at].iter().rev().take_while(|byte| of_expression(byte)).count();
        let stated = length > 0 && bytes.get(at + 1).is_some_and(of_number);
        stated.then(|| text[at - length..at].trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_expression_is_what_stands_before_the_result() {
        let cases = [
            (r"\boxed{1 + 2}", "1 + 2"),
            (r"\boxed{1 \times 2 \cdot 3 \div 4}", "1 * 2 * 3 / 4"),
            (r"\boxed{1 + 2 = 3}", "1 + 2"),
            (r"\boxed{x= 1 + 2 = 3}", "1 + 2"),
            // the space after a name is an expression already, as in the reference
            (r"\boxed{x = 1 + 2 = 3}", ""),
            (r"\boxed{1 + 2=x}", "1 + 2=x"),
            (r"\boxed{1 +2=}", "1 +2="),
            (r"\boxed{1 +2= }", "1 +2"),
            (r"\boxed{=3}", "=3"),
            (r"\boxed{é 1+2=3}", "1+2"),
            (r"\boxed{}<answer>1</answer>", ""),
            ("\\boxed{1 <answer>\n (2+1) \n</answer>", "(2+1)"),
            (r"\boxed{1", r"\boxed{1"),
        ];
        for (text, expected) in cases {
            assert_eq!(extract(text, Unboxed::Answer), expected, "{text:?}");
            assert_eq!(extract(text, Unboxed::WholeText), expected, "{text:?}");
        }
        for (text, answer, whole) in [
            ("<answer> 1 </answer>", "1", "<answer> 1 </answer>"),
            ("so 1+2 = 3 <answer>2+1</answer>", "2+1", "1+2"),
            ("so 1+2 = 3 <answer>2+1", "1+2", "1+2"),
        ] {
            assert_eq!(extract(text, Unboxed::Answer), answer, "{text:?}");
            assert_eq!(extract(text, Unboxed::WholeText), whole, "{text:?}");
        }
    }

    #[test]
    fn every_number_is_used_once() {
        let reference = Reference::new(vec![3, 1, 3], 7);
        let solved = |expression: &str| reference.grade(&format!(r"\boxed{{{expression}}}")).solved();
        assert!(solved("3 + 3 + 1") && solved("(3+1) + 3 = 7") && solved("3--3+1"));
        for wrong in ["6 + 1", "3 + 4", "3 + 3 + 1 + 0", "3 + 1", "3 + 3 * 1", "3 + 3 + 01", "3 + 3 + 1 x", ""] {
            assert!(!solved(wrong), "{wrong}");
        }
        let attempt = |text| reference.attempt(text, Unboxed::Answer);
        assert_eq!(attempt(r"\boxed{3 + 3 * 1}").value, Some(BigRational::from_integer(6.into())));
        assert_eq!(attempt(r"\boxed{3 + 4}").value, None);
        assert!(attempt("<answer>3+3+1</answer>").correct);
    }

    #[test]
    fn values_are_exact_and_nothing_hangs() {
        let third = Reference::new(vec![1, 3, 3], 1);
        assert!(third.grade(r"\boxed{1 / 3 * 3}").solved());
        assert!(!third.grade(r"\boxed{1 / (3 - 3)}").solved());
        assert!(!Reference::new(vec![9, 9, 9], 1).grade(r"\boxed{9**9**9}").solved());
        assert_eq!(Reference::new(vec![9, 9, 9], 1).countdown("<answer>9**9**9</answer>"), 0.1);
        // a decimal is two integers
        assert!(!Reference::new(vec![1, 5], 1).grade(r"\boxed{1.5}").solved());
        assert_eq!(Reference::new(vec![1, 5, 2], 3).countdown("<answer>1.5 * 2</answer>"), 1.0);
    }

    #[test]
    fn the_exact_verdict_is_on_the_declared_expression() {
        let reference = Reference::new(vec![48, 96, 26], 74);
        let exact = |text: &str| reference.grade(text).exact;
        assert!(exact("<answer>\n96 - 48 + 26\n</answer>") && exact(r"\boxed{96 - 48 + 26 = 74}<|eot_id|>"));
        for text in ["96 - 48 + 26", r"\boxed{96 - 48 + 26 = 75}", r"\boxed{96 - 48 + 26", "<answer>74</answer>", ""] {
            assert!(!exact(text), "{text}");
        }
    }

    #[test]
    fn the_reward_takes_the_last_closed_answer_only() {
        let reference = Reference::new(vec![1, 2], 3);
        assert_eq!(reference.countdown("<answer>1</answer><answer> 1+2 </answer>"), 1.0);
        assert_eq!(reference.countdown("<answer>1+2</answer><answer>1</answer>"), 0.1);
        assert_eq!(reference.countdown(r"<answer>\boxed{1+2}</answer>"), 0.1);
        assert_eq!(reference.countdown("<answer>1+2=3</answer>"), 0.1);
        assert_eq!(reference.countdown(r"\boxed{1+2}<answer>1+2"), 0.0);
    }

    #[test]
    fn a_record_needs_both_fields() {
        let read = |json: &str| Reference::from_record(&serde_json::from_str(json).unwrap());
        assert_eq!(read(r#"{"numbers": [3, 1.0], "target": 4}"#), Ok(Reference::new(vec![1, 3], 4)));
        let message = |json: &str| read(json).unwrap_err().to_string();
        assert!(message(r#"{"numbers": [1]}"#).contains("no field `target`"));
        assert_eq!(
            message(r#"{"numbers": [1, "2"], "target": 3}"#),
            r#"field `numbers` of a record is not a list of integers but [1,"2"]"#
        );
        assert!(
            message(r#"{"numbers": [], "target": 0.5}"#).contains("`target` of a record is not an integer but 0.5")
        );
        assert!(message(r#"{"numbers": "1", "target": 3}"#).contains("not a list of integers"));
        assert_eq!(read(r#"{"numbers": [3, 1], "target": " 4"}"#), read(r#"{"numbers": [3, 1], "target": 4}"#));
        assert!(message(r#"{"numbers": [1], "target": "four"}"#).contains("is not an integer"));
    }
}
