//! No text whatever makes a grader fail, hang or slow down.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use crate::config::Benchmark;
use crate::task::data::json;
use crate::task::grader::Grader;
use crate::task::grading::boxed::Unboxed;
use crate::task::{Record, Reward, countdown, gsm8k, math, sudoku};

/// Runs every grader and every reward on a text.
fn grade_all(text: &str) {
    let number = gsm8k::Reference { value: Some(18.0), answer: Some("18".into()) };
    let latex = math::Reference { answer: r"\frac12".into(), boxed: text.into() };
    let target = countdown::Reference::new(vec![9, 9, 9], 27);
    let (puzzle, solution) = ("0204032001400402", "1234432121433412");
    for (grade, reward) in [
        (number.grade(text), number.reward(text)),
        (latex.grade(text, Unboxed::Answer), latex.reward(text)),
        (target.grade(text), target.reward(text)),
        (sudoku::grade(puzzle, solution, text), sudoku::reward(puzzle, solution, text)),
    ] {
        assert!(grade.correct <= grade.out_of);
        assert!(reward.total.is_finite());
    }
}

/// Completions that the exact grader once judged wrongly, with the verdict that a careful reader gives.
#[test]
fn every_exact_verdict_that_was_wrong_is_right() {
    let cases = include_str!("../../../tests/fixtures/grading/exact.jsonl");
    let mut wrong = Vec::new();
    for line in cases.lines() {
        let case: Record = serde_json::from_value(json::parse_line(line.as_bytes()).unwrap()).unwrap();
        let task = match case.text("task").unwrap() {
            "gsm8k" => Benchmark::Gsm8k,
            "math" => Benchmark::Math,
            _ => Benchmark::Countdown,
        };
        let grade = Grader::Benchmark(task).grade(&case, case.text("completion").unwrap(), &Reward::default()).unwrap();
        if grade.exact != case.value("exact").unwrap().as_bool().unwrap() {
            wrong.push(line);
        }
    }
    assert!(cases.lines().count() >= 44 && wrong.is_empty(), "{}", wrong.join("\n"));
}

proptest! {
    #[test]
    fn any_text_is_graded(text in r"\PC{0,200}") {
        grade_all(&text);
    }

    #[test]
    fn any_mixture_of_what_graders_look_for_is_graded(
        text in r"(</?reasoning>|</?answer>|\n|\\boxed ?|\\fbox|\{|\}|\$|\\frac|\\sqrt|\\text\{ |\\times|=|/|[-+*().]|[0-9]{1,20}|_|x = |```|<\|eot_id\|>|[\x00-\x7f]|\PC){0,60}",
    ) {
        grade_all(&text);
        grade_all(&format!(r"\boxed{{{text}}}"));
        grade_all(&format!("<reasoning>{text}</answer>"));
    }
}

#[test]
fn odd_texts_are_graded() {
    for text in [
        "9**9**9",
        "\0\0<answer>\0</answer>",
        "\u{202e}<answer>\u{5d0}81\u{202c}</answer>",
        "<answer>\u{661}\u{668}</answer>",
        "\u{fffd}\u{feff}\\boxed{\u{1f937}\u{200d}}",
    ] {
        grade_all(text);
        grade_all(&format!(r"\boxed{{{text}}}"));
    }
}

#[test]
fn grading_is_linear_in_the_text() {
    let nested = |n: usize| format!("{}9{}", "(".repeat(n), ")".repeat(n));
    let mut texts = vec![nested(10_000), nested(500_000), "9".repeat(1_000_000), "9+".repeat(500_000)];
    for part in [
        r"\boxed{",
        r"\boxed ",
        "{",
        "}",
        r"\boxed{9}",
        "\\boxed{9\n",
        "<answer>",
        "</answer>",
        "</reasoning>",
        "</reasoning> ",
        "</reasoning><answer>",
        "</reasoning>\n<answer>",
        "\n<answer>\n",
        "=",
        " =",
        "9=",
        "9 = 9",
        r"\frac",
        r"\frac1",
        r"\sqrt",
        r"\sqrt1",
        r"\text{ ",
        "/",
        "-",
        "_",
        "9_",
        "\\\\",
        " .",
        "`",
        "**",
        "**9",
        r"\,",
        "½",
        "√(",
        " cm",
        "$",
        "9,",
        "\0",
        "\u{202e}",
        "é",
    ] {
        texts.push(part.repeat(1_000_000 / part.len()));
    }
    for text in texts {
        for whole in
            [text.clone(), format!(r"<reasoning>\boxed{{{text}}}"), format!("<reasoning>{text}<answer>{text}</answer>")]
        {
            let started = Instant::now();
            grade_all(&whole);
            // Far more than a megabyte takes, far less than its square.
            assert!(started.elapsed() < Duration::from_secs(20), "{:?}...", whole.chars().take(40).collect::<String>());
        }
    }
}
