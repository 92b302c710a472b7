//! GSM8K: word problems whose answer is a number. Training rewards and grader; both follow the published d1 and SPG code.

mod format;
mod settings;

pub use format::{soft_format, strict_format, xmlcount};
pub(super) use settings::{task, worked};

use serde_json::Value;

use super::grading::declared::declared;
use super::grading::{boxed, exact, number};
use super::tags::{first_answer, loose_answer};
use super::{Grade, Record, Result, Reward, TaskError, record};

/// What the answer of a record is.
#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    /// The number that evaluation compares with; a few published rows have none, and nothing is right there.
    pub value: Option<f64>,
    /// The text that training compares with; it is there if and only if there is an answer at all.
    pub answer: Option<String>,
}

impl Reference {
    /// Reads `ground_truth` (a number, as JSON or as text, or null) and `answer` (a number, or text of which the part after
    /// `####` counts, as in the dataset). One of them is enough.
    ///
    /// # Errors
    /// If both are missing or one of them holds something else.
    pub fn from_record(record: &Record) -> Result<Self> {
        let answer = record.optional_answer("answer")?;
        let answer = answer.as_deref().map(final_answer);
        let (value, written) = match (record.value("ground_truth"), answer) {
            (Ok(Value::Null), _) => (None, None),
            (Ok(found), _) => {
                let number = as_number(found).ok_or_else(|| TaskError::bad_field("ground_truth", "a number", found))?;
                (Some(number), as_written(found))
            }
            (Err(_), Some(answer)) => {
                let expected = || TaskError::bad_field("answer", "text that ends in a number", &Value::from(answer));
                (Some(number_in_answer(answer).ok_or_else(expected)?), None)
            }
            (Err(missing), None) => return Err(missing),
        };
        Ok(Self { value, answer: answer.map(str::to_owned).or(written) })
    }

    /// The evaluation grade of a completion as decoded, special tokens included.
    pub fn grade(&self, completion: &str) -> Grade {
        let answer = extract(completion);
        let correct = usize::from(answer.is_some() && answer == self.value);
        let exact = self.exact(completion);
        Grade { answer: answer.map(|answer| answer.to_string()), correct, out_of: 1, exact }
    }

    /// Whether the answer that a completion declares is the same number exactly.
    pub fn exact(&self, completion: &str) -> bool {
        let Some(value) = self.value else { return false };
        // The text is exact where it says the same: of an integer above 2^53 the value keeps only the first digits.
        let as_written = self.answer.clone().filter(|answer| number_in_answer(answer) == Some(value));
        let reference = as_written.unwrap_or_else(|| value.to_string());
        declared(completion).is_some_and(|answer| exact::same_number(answer, &reference) == Some(true))
    }

    /// The training reward of a completion that ends before its first end token.
    pub fn reward(&self, completion: &str) -> Reward {
        let answer = self.answer.as_deref();
        Reward::of([
            ("xmlcount", xmlcount(completion)),
            ("soft_format", soft_format(completion)),
            ("strict_format", strict_format(completion)),
            ("int", int(completion)),
            ("correctness", answer.map_or(0.0, |answer| correctness(completion, answer))),
        ])
    }
}

/// The part of a dataset's solution that follows `####`; any other text as it is.
fn final_answer(solution: &str) -> &str {
    solution.split("####").nth(1).unwrap_or(solution).trim()
}

/// The part of a dataset's solution that comes before `####`.
fn reasoning(solution: &str) -> &str {
    solution.split("####").next().unwrap_or_default().trim()
}

fn number_in_answer(answer: &str) -> Option<f64> {
    number::parse(&answer.replace([',', '$'], ""))
}

/// A number as the dataset writes it: `18.0` is 18, and an integer keeps all of its digits.
fn as_written(value: &Value) -> Option<String> {
    match value {
        // `Display` writes 18.0 as 18, which is how the dataset writes it.
        Value::Number(number) => Some(record::digits(number)),
        Value::String(text) => Some(plain_digits(text)),
        _ => None,
    }
}

/// The number in a text as JSON would have it; an integer keeps all of its digits here, too.
fn plain_digits(text: &str) -> String {
    let text = text.replace([',', '$'], "");
    let text = text.trim();
    let natural = text.strip_prefix('-').unwrap_or(text);
    match number::parse(text) {
        Some(value) if natural.starts_with('0') || !natural.bytes().all(|byte| byte.is_ascii_digit()) => {
            value.to_string()
        }
        _ => text.to_owned(),
    }
}

fn as_number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => number_in_answer(text),
        _ => None,
    }
}

/// The number that evaluation reads: of the first box on one line that has a number, else of the first closed answer
/// (its last number), else of whatever stands where an answer should (its last number).
pub fn extract(completion: &str) -> Option<f64> {
    let whole = |text: &str| number::parse(text);
    let last = |text: &str| whole(text).or_else(|| number::written_in(text).next_back());
    boxed::on_one_line(completion)
        .find_map(|content| whole(content).or_else(|| number::written_in(content).next()))
        .or_else(|| first_answer(completion).and_then(last))
        .or_else(|| last(loose_answer(completion)))
}

/// 0.5 if the answer is digits only.
pub fn int(completion: &str) -> f64 {
    let answer = loose_answer(completion).trim();
    if !answer.is_empty() && answer.bytes().all(|byte| byte.is_ascii_digit()) { 0.5 } else { 0.0 }
}

/// 2 if the answer is the reference answer, letter by letter.
pub fn correctness(completion: &str, answer: &str) -> f64 {
    if loose_answer(completion).trim() == answer { 2.0 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(json: &str) -> Result<Reference> {
        Reference::from_record(&serde_json::from_str(json).unwrap())
    }

    #[test]
    fn the_number_is_looked_for_in_order() {
        let cases = [
            // boxes: the first with a number, the first number in it
            (r"\boxed{18}", Some(18.0)),
            (r"\boxed{...} \boxed{} \boxed{x} \boxed{4, 6}", Some(4.0)),
            (r"\boxed{7,000{ feet}}", Some(7.0)),
            (r"\boxed{-$10}", Some(10.0)),
            (r"\boxed{12\text{ min}}<answer>3</answer>", Some(12.0)),
            (r"\boxed{nonsense}<answer>3</answer>", Some(3.0)),
            ("\\boxed{3\n}<answer>it is 4 or 5.</answer>", Some(5.0)),
            (r"\boxed{1e2}", Some(100.0)),
            // the first closed answer, then whatever is there
            ("<answer>1 of 2</answer><answer>3</answer>", Some(2.0)),
            ("<answer>none</answer><answer>3", Some(3.0)),
            ("5 <answer>none</answer>", None),
            ("2 + 3 = 5\n</answer><|eot_id|> 6", Some(5.0)),
            ("2 + 3 = 5", Some(5.0)),
            ("no number", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(extract(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_reference_is_a_number_or_the_datasets_answer() {
        let both = |value: f64, answer: &str| Ok(Reference { value: Some(value), answer: Some(answer.into()) });
        assert_eq!(reference(r#"{"ground_truth": 18.0}"#), both(18.0, "18"));
        assert_eq!(reference(r#"{"ground_truth": "1,250"}"#), both(1250.0, "1250"));
        assert_eq!(reference(r#"{"answer": "so 2 * 625\n#### 1,250"}"#), both(1250.0, "1,250"));
        assert_eq!(reference(r#"{"answer": "2.50", "ground_truth": 2.5}"#), both(2.5, "2.50"));
        assert_eq!(reference(r#"{"ground_truth": null}"#), Ok(Reference { value: None, answer: None }));
        let message = |json| reference(json).unwrap_err().to_string();
        assert_eq!(message(r#"{"question": "?"}"#), "a record has no field `ground_truth` (its fields: question)");
        assert_eq!(message(r#"{"ground_truth": [1]}"#), "field `ground_truth` of a record is not a number but [1]");
        assert!(message(r#"{"answer": "many"}"#).starts_with("field `answer` of a record is not text that ends"));
    }

    #[test]
    fn without_a_reference_nothing_is_right() {
        let none = Reference { value: None, answer: None };
        assert!(!none.grade("no number").solved() && !none.grade(r"\boxed{1}").solved());
        assert_eq!(none.reward("<answer></answer>").total, 0.0);
        let nan = Reference { value: Some(1.0), answer: None };
        assert!(!nan.grade(r"\boxed{nan}").solved());
    }

    #[test]
    fn the_exact_verdict_is_on_a_number_that_is_declared_and_nothing_else() {
        let thousands = reference(r#"{"answer": "so\n#### 43,500"}"#).unwrap();
        let grade = |text: &str| thousands.grade(text);
        for text in [r"\boxed{43,500}", r"\boxed{\$43{,}500.00}", "<answer>\n4.35e4\n</answer>", r"\boxed{87000/2}"] {
            assert!(grade(text).exact, "{text}");
        }
        for text in ["43500", "<answer>43500", r"\boxed{43500", "<answer>it is 43500</answer>", r"\boxed{43500, 1}"] {
            assert!(grade(text).solved() && !grade(text).exact, "{text}");
        }
        assert!(!grade(r"\boxed{43,501}").exact && !grade(r"\boxed{x}").exact);
        // of these two an f64 makes one
        let large = reference(r#"{"answer": "9007199254740993"}"#).unwrap();
        let near = large.grade(r"\boxed{9007199254740992}");
        assert!(near.solved() && !near.exact && large.grade(r"\boxed{9007199254740993}").exact);
        let decimal = reference(r#"{"ground_truth": 0.1}"#).unwrap();
        assert!(decimal.grade(r"\boxed{1/10}").exact && decimal.grade(r"\boxed{10\%}").exact);
        let none = Reference { value: None, answer: None };
        assert!(!none.grade(r"\boxed{1}").exact);
    }

    #[test]
    fn an_integer_lost_its_last_digits_on_the_way_through_a_float() {
        for json in [
            r#"{"ground_truth": 9007199254740993}"#,
            r#"{"ground_truth": "9,007,199,254,740,993"}"#,
            r#"{"answer": 9007199254740993}"#,
            r#"{"answer": "so\n#### 9007199254740993"}"#,
        ] {
            let reference = reference(json).unwrap();
            let exact = |text: &str| reference.grade(text).exact;
            assert!(exact(r"\boxed{9007199254740993}") && !exact(r"\boxed{9007199254740992}"), "{json}");
            assert_eq!(reference.reward("<answer>9007199254740992</answer>").parts[4].1, 0.0, "{json}");
        }
        let largest = reference(r#"{"ground_truth": 18446744073709551615}"#).unwrap();
        assert!(largest.exact(r"\boxed{18446744073709551615}") && !largest.exact(r"\boxed{18446744073709551616}"));
    }

    #[test]
    fn an_integer_answer_was_refused() {
        let five = reference(r#"{"answer": 5}"#).unwrap();
        assert_eq!(five, Reference { value: Some(5.0), answer: Some("5".into()) });
        assert!(five.grade(r"\boxed{5}").solved() && five.exact(r"\boxed{5}"));
        assert_eq!(reference(r#"{"answer": 2.50}"#).unwrap().answer.as_deref(), Some("2.5"));
        let record = serde_json::from_str(r#"{"question": "?", "answer": 5}"#).unwrap();
        assert_eq!(worked(&record), Ok(("5".into(), "5".into())));
    }

    #[test]
    fn the_parts_of_a_perfect_completion() {
        let reference = reference(r#"{"ground_truth": 18}"#).unwrap();
        let reward = reference.reward("<reasoning>\n9 * 2\n</reasoning>\n<answer>\n18\n</answer>\n");
        assert_eq!(
            reward,
            Reward::of([
                // four tags, less the 13 characters after the third
                ("xmlcount", 0.5 - 13.0 * 0.001),
                // its lines are one each, so the soft form, which has no line breaks inside, does not match
                ("soft_format", 0.0),
                ("strict_format", 0.5),
                ("int", 0.5),
                ("correctness", 2.0),
            ])
        );
        assert!(reference.grade("<answer>18.0</answer>").solved());
        assert_eq!(reference.reward("<answer>18.0</answer>").total, 0.0);
        assert_eq!(reference.reward("<answer>$18</answer>").total, 0.0);
        assert_eq!(int("<answer></answer>"), 0.0);
    }
}
