//! Time to grade one completion of 1 kB by both graders and to reward it, for each task (aim: under 50 microseconds).

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use spg::task::grading::boxed::Unboxed;
use spg::task::{countdown, gsm8k, math, sudoku};

/// Reasoning that fills a completion up to 1,000 bytes in front of its answer.
fn completion(answer: &str) -> String {
    let words = "First 12 * 3 = 36 are left, then \\frac{1}{2} of them, which makes 18 in all. ";
    let tail = format!("\n</reasoning>\n<answer>\n{answer}\n</answer><|eot_id|><|endoftext|>");
    let head = "<reasoning>\n";
    let reasoning: String = words.chars().cycle().take(1000 - head.len() - tail.len()).collect();
    format!("{head}{reasoning}{tail}")
}

fn graders(c: &mut Criterion) {
    let mut group = c.benchmark_group("graders");
    group.throughput(Throughput::Elements(1));

    let text = completion(r"\boxed{18}");
    let reference = gsm8k::Reference { value: Some(18.0), answer: Some("18".into()) };
    let grade = reference.grade(&text);
    assert!(grade.solved() && grade.exact);
    group.bench_function("gsm8k", |b| {
        b.iter(|| (reference.grade(black_box(&text)), reference.reward(black_box(&text))))
    });

    let text = completion(r"\boxed{\left(\dfrac12, 2\sqrt3\right)}");
    let answer = r"\left( \frac{1}{2}, 2\sqrt{3} \right)".to_owned();
    let reference = math::Reference { boxed: answer.clone(), answer };
    let grade = reference.grade(&text, Unboxed::Answer);
    assert!(grade.solved() && grade.exact);
    group.bench_function("math", |b| {
        b.iter(|| (reference.grade(black_box(&text), Unboxed::Answer), reference.reward(black_box(&text))))
    });

    // Evaluation reads the box, training the answer.
    let text = completion("(87 - 85) * 60 / 3") + r"\boxed{(87 - 85) \times 60 \div 3 = 40}";
    let reference = countdown::Reference::new(vec![60, 85, 87, 3], 40);
    let grade = reference.grade(&text);
    assert!(grade.solved() && grade.exact && reference.countdown(&text) == 1.0);
    group.bench_function("countdown", |b| {
        b.iter(|| (reference.grade(black_box(&text)), reference.reward(black_box(&text))))
    });

    let text = completion("1234432121433412");
    let (puzzle, solution) = ("0204032001400402", "1234432121433412");
    let grade = sudoku::grade(puzzle, solution, &text);
    assert!(grade.solved() && grade.exact);
    group.bench_function("sudoku", |b| {
        b.iter(|| {
            let text = black_box(text.as_str());
            (sudoku::grade(puzzle, solution, text), sudoku::reward(puzzle, solution, text))
        })
    });
    group.finish();
}

criterion_group!(benches, graders);
criterion_main!(benches);
