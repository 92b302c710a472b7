//! MATH: competition problems whose answer is a LaTeX text. Training rewards and grader; both follow the published d1
//! and SPG code.

mod settings;

pub(super) use settings::task;

use std::borrow::Cow;

use super::grading::boxed::{self, LastBox, Unboxed};
use super::grading::declared::declared;
use super::grading::{exact, latex};
use super::tags::{ANSWER, END_OF_ANSWER, after, before_any, first_answer};
use super::{Grade, Record, Result, Reward, TaskError};

/// What the answer of a record is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The answer that evaluation compares with.
    pub answer: String,
    /// The answer that training compares with: the one in the box of the solution, where there is a solution.
    pub boxed: String,
}

impl Reference {
    /// Reads `ground_truth` (or `answer`, the dataset's name for it; text or a number) and `solution`, whose last box
    /// counts. One of them is enough.
    ///
    /// # Errors
    /// If there is no answer in any of them, or one holds something else.
    pub fn from_record(record: &Record) -> Result<Self> {
        let solution = record.optional_text("solution")?;
        let in_solution = solution.and_then(|solution| boxed::last(solution).content());
        let given = match record.optional_answer("ground_truth")? {
            Some(answer) => Some(answer),
            None => record.optional_answer("answer")?,
        };
        let Some(answer) = given.or(in_solution.map(Cow::Borrowed)) else {
            let solution = if solution.is_some() { "no box in `solution`" } else { "no `solution`" };
            return Err(TaskError::NoAnswer { solution, present: record.field_names() });
        };
        let boxed = in_solution.map_or_else(|| answer.clone().into_owned(), str::to_owned);
        Ok(Self { answer: answer.into_owned(), boxed })
    }

    /// The evaluation grade of a completion as decoded, special tokens included.
    pub fn grade(&self, completion: &str, unboxed: Unboxed) -> Grade {
        let answer = extract(completion, unboxed);
        let correct = usize::from(answer.is_some_and(|answer| latex::equivalent(answer, &self.answer)));
        Grade { answer: answer.map(str::to_owned), correct, out_of: 1, exact: self.exact(completion) }
    }

    /// Whether the answer that a completion declares is the same number or, where it is none, equivalent.
    pub fn exact(&self, completion: &str) -> bool {
        declared(completion).is_some_and(|answer| exact::equivalent(answer, &self.answer))
    }

    /// The training reward of a completion that ends before its first end token.
    pub fn reward(&self, completion: &str) -> Reward {
        Reward::of([("correctness", correctness(completion, &self.boxed)), ("format", format(completion))])
    }
}

/// The answer that evaluation reads: what the last box holds. If that is nothing, or the box stays open, the first
/// closed answer; without any box what `unboxed` says, the whole completion where there is no answer.
pub fn extract(completion: &str, unboxed: Unboxed) -> Option<&str> {
    let answer = || first_answer(completion).map(str::trim);
    let found = match (boxed::last(completion), unboxed) {
        (LastBox::Absent, Unboxed::Answer) => Some(answer().unwrap_or(completion)),
        (LastBox::Absent, Unboxed::WholeText) => Some(completion),
        (LastBox::Open, _) => None,
        (LastBox::Content(content), _) => Some(content),
    };
    found.filter(|text| !text.is_empty()).or_else(answer).or(found)
}

/// 2 if what the last box holds is equivalent to the answer; without a closed box, if the whole completion is.
pub fn correctness(completion: &str, answer: &str) -> f64 {
    let found = boxed::last(completion).content().unwrap_or(completion);
    if latex::equivalent(found, answer) { 2.0 } else { 0.0 }
}

/// 0.5 for an answer, closed or not, and 0.5 if there is a box in it, else 0.25. Where there is no answer the box may be
/// anywhere.
pub fn format(completion: &str) -> f64 {
    let answer = after(completion, ANSWER).map(|rest| before_any(rest, &[ANSWER, END_OF_ANSWER]).unwrap_or(rest));
    let block = if answer.is_some() { 1.0 } else { 0.0 };
    let boxed = if answer.unwrap_or(completion).contains(r"\boxed") { 1.0 } else { 0.5 };
    0.5 * (block + boxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(json: &str) -> Result<Reference> {
        Reference::from_record(&serde_json::from_str(json).unwrap())
    }

    #[test]
    fn the_answer_is_the_last_box_else_the_first_block() {
        let boxed = |text| extract(text, Unboxed::Answer);
        assert_eq!(boxed(r"\boxed{1} \boxed{\frac{1}{2}} <answer>3</answer>"), Some(r"\frac{1}{2}"));
        assert_eq!(boxed(r"\boxed{1} \boxed{2 <answer> 3 </answer><answer>4</answer>"), Some("3"));
        assert_eq!(boxed(r"\boxed{}<answer>3</answer>"), Some("3"));
        assert_eq!(boxed(r"\boxed{}"), Some(""));
        assert_eq!(boxed(r"\boxed{1"), None);
        assert_eq!(extract(r"\boxed{1}<answer>3</answer>", Unboxed::WholeText), Some("1"));
        // without any box
        assert_eq!(boxed("so <answer> 5 </answer>"), Some("5"));
        assert_eq!(boxed("so 5"), Some("so 5"));
        assert_eq!(boxed(""), Some(""));
        let text = "so <answer>5</answer>";
        assert_eq!(extract(text, Unboxed::WholeText), Some(text));
    }

    #[test]
    fn a_reference_comes_from_any_of_three_fields() {
        let both = |answer: &str, boxed: &str| Ok(Reference { answer: answer.into(), boxed: boxed.into() });
        assert_eq!(reference(r#"{"ground_truth": "7"}"#), both("7", "7"));
        assert_eq!(reference(r#"{"answer": "7"}"#), both("7", "7"));
        assert_eq!(reference(r#"{"solution": "so \\boxed{7} or $\\boxed{8}$."}"#), both("8", "8"));
        assert_eq!(reference(r#"{"ground_truth": "7", "solution": "\\boxed{07}"}"#), both("7", "07"));
        assert_eq!(reference(r#"{"ground_truth": "7", "solution": "no box"}"#), both("7", "7"));
        let message = |json: &str| reference(json).unwrap_err().to_string();
        assert!(message(r#"{"ground_truth": [7]}"#).contains("is not a string but [7]"));
    }

    #[test]
    fn a_record_without_a_box_was_said_to_lack_another_field() {
        let message = |json: &str| reference(json).unwrap_err().to_string();
        assert_eq!(
            message(r#"{"problem": "?", "solution": "no box"}"#),
            "a record has no answer: no box in `solution`, no `answer`, no `ground_truth` (its fields: problem, solution)"
        );
        assert!(message(r#"{"solution": "open \\boxed{5"}"#).contains("no box in `solution`"));
        assert!(message(r#"{"problem": "?"}"#).contains("no `solution`, no `answer`"));
    }

    #[test]
    fn an_integer_answer_was_refused() {
        let five = reference(r#"{"problem": "?", "answer": 5}"#).unwrap();
        assert_eq!((five.answer.as_str(), five.boxed.as_str()), ("5", "5"));
        let grade = five.grade(r"\boxed{5}", Unboxed::Answer);
        assert!(grade.solved() && grade.exact);
        for (json, right, wrong) in [
            (r#"{"ground_truth": 9007199254740993}"#, r"\boxed{9007199254740993}", r"\boxed{9007199254740992}"),
            (r#"{"answer": 0.25, "solution": "so \\boxed{\\frac14}"}"#, r"\boxed{1/4}", r"\boxed{0.26}"),
            (r#"{"answer": -7}"#, r"\boxed{-7}", r"\boxed{7}"),
        ] {
            let reference = reference(json).unwrap();
            assert!(reference.exact(right) && !reference.exact(wrong), "{json}");
        }
    }

    #[test]
    fn the_exact_verdict_is_on_what_is_declared() {
        let half = reference(r#"{"ground_truth": "\\frac12"}"#).unwrap();
        let grade = |text| half.grade(text, Unboxed::Answer);
        for text in [r"\boxed{0.50}", "<answer> 2/4 </answer>", r"\boxed{50\%}"] {
            assert!(grade(text).exact && !grade(text).solved(), "{text}");
        }
        // the published rules read the text around an open box, and all of a text without a box
        for text in ["0.5", r"\boxed{0.5}<|eot_id|>\boxed{1}"] {
            assert_ne!(grade(text).exact, grade(text).solved(), "{text}");
        }
        assert!(!grade(r"\boxed{0.5000001}").exact && !grade("").exact);
    }

    #[test]
    fn grades_and_rewards() {
        let half = reference(r#"{"ground_truth": "\\frac12"}"#).unwrap();
        let solved = |text, unboxed| half.grade(text, unboxed).solved();
        for unboxed in [Unboxed::Answer, Unboxed::WholeText] {
            assert!(solved(r"\boxed{1/2}<|eot_id|>", unboxed));
            assert!(solved(r"\boxed{<answer>0.5</answer>", unboxed));
            assert!(solved("0.5", unboxed));
        }
        assert!(solved("<answer>0.5</answer>", Unboxed::Answer));
        assert!(!solved("<answer>0.5</answer>", Unboxed::WholeText));
        assert_eq!((correctness("1/2", "0.5"), correctness(r"\boxed{1/2", "0.5")), (2.0, 0.0));
        assert_eq!(
            half.reward(r"<answer>\boxed{0.5}</answer>").parts,
            Reward::of([("correctness", 2.0), ("format", 1.0)]).parts
        );
        assert_eq!(
            half.reward("<answer>0.5</answer>").parts,
            Reward::of([("correctness", 0.0), ("format", 0.75)]).parts
        );
        assert_eq!(half.reward(r"\boxed{0.5}").parts, Reward::of([("correctness", 2.0), ("format", 0.5)]).parts);
        assert_eq!(
            half.reward(r"<answer>so</answer>\boxed{0.5}").parts,
            Reward::of([("correctness", 2.0), ("format", 0.75)]).parts
        );
        assert_eq!(half.reward("").parts, Reward::of([("correctness", 0.0), ("format", 0.25)]).parts);
    }
}
