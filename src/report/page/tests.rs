//! Reports of made-up run folders: nothing of a run is obeyed, whatever is missing is said, and nothing grows without end.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::document::html;
use super::run_record::{Limits, RunRecord};
use super::{spread, write};
use crate::config::{Remasking, ReportRequest};
use crate::report::completions::{CompletionFolder, CompletionTable, Values};
use crate::report::{Commit, Origin, Replay};
use crate::task::Reward;

/// What a completion could do to a page.
const HOSTILE: &str =
    "</script><script>alert(1)</script><img src=http://x/ onerror=alert(1)>\"'&<!--\u{202e}\u{1b}[2J\0";

/// The folder of a run with these lines of metrics.
fn run_in(dir: &Path, lines: &[String]) -> PathBuf {
    std::fs::create_dir_all(dir).expect("a folder");
    let config = "[run]\nseed = 7\noutput_dir = \"x\"\n[task.sudoku]\n[algorithm.spg]\n[train]\nmax_steps = 4\n";
    std::fs::write(dir.join("config.toml"), config).expect("written");
    std::fs::write(dir.join("run.json"), r#"{"command": "train", "version": "0", "arguments": ["spg", "a b"]}"#)
        .expect("written");
    std::fs::write(dir.join("metrics.jsonl"), lines.concat()).expect("written");
    dir.to_owned()
}

fn update(step: usize, reward: &str) -> String {
    format!("{{\"step\":{step},\"reward\":{reward},\"loss\":null,\"learning_rate\":1e-6}}\n")
}

fn evaluation(step: usize, reward: f64) -> String {
    format!(
        "{{\"step\":{step},\"eval/greedy/items\":8,\"eval/greedy/accuracy\":{reward},\"eval/greedy/accuracy_stderr\":0.02,\
         \"eval/greedy/reward\":{reward}}}\n"
    )
}

fn keep(run: &Path, step: usize, texts: &[&str], rewards: &[f64]) {
    let folder = CompletionFolder::of(run);
    let all: Vec<Reward> = rewards.iter().map(|&reward| Reward::of([("sudoku", reward)])).collect();
    let column = |text: &dyn Fn(usize) -> String| Values::Text((0..texts.len()).map(text).collect());
    for origin in [Origin::Rollout, Origin::Evaluation] {
        let table = CompletionTable::new(origin, step, texts.len())
            .with("setting", column(&|_| "greedy".to_owned()))
            .with("prompt", column(&|i| format!("prompt {i} {HOSTILE}")))
            .with("completion", column(&|i| texts[i].to_owned()))
            .with_rewards(all.iter());
        folder.write(&table).expect("written");
    }
    let replay = Replay {
        setting: HOSTILE.to_owned(),
        remasking: Remasking::LowConfidence,
        prompt: HOSTILE.to_owned(),
        reward: None,
        length: 2,
        pieces: [HOSTILE, "é", "</s>"].map(str::to_owned).to_vec(),
        commits: vec![Commit::new(1, 0, 0.987_654), Commit::new(0, 1, 0.5)],
    };
    folder.write_replays(step, &[replay]).expect("written");
}

fn page(run: &Path) -> String {
    html(&[RunRecord::read(run, HOSTILE.to_owned(), Limits::of(1)).expect("a run")])
}

fn request(dirs: &[&Path], out: Option<&Path>) -> ReportRequest {
    ReportRequest { dirs: dirs.iter().map(|dir| dir.to_path_buf()).collect(), out: out.map(Path::to_owned) }
}

fn refusal(dirs: &[&Path], out: Option<&Path>) -> String {
    format!("{:#}", write(&request(dirs, out)).expect_err("refused"))
}

#[test]
fn nothing_that_a_run_wrote_is_obeyed() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = run_in(folder.path(), &[evaluation(0, 0.5), update(1, "0.5"), evaluation(4, 0.75)]);
    let name = HOSTILE.replace('\0', "").replace('"', "\\\"").replace('\u{1b}', "");
    std::fs::write(run.join("config.toml"), format!("[run]\nnote = \"{name}\"\n")).expect("written");
    keep(&run, 0, &[HOSTILE, "b"], &[0.0, 1.0]);
    keep(&run, 4, &["a", HOSTILE], &[1.0, 0.0]);
    let page = page(&run);
    assert_eq!(page.matches("<script").count(), 2, "the data and the program");
    assert_eq!(page.matches("</script").count(), 2);
    assert!(!page.contains("<img") && !page.contains("<!--"));
    for obeyed in ['\u{202e}', '\u{1b}', '\0'] {
        assert!(!page.contains(obeyed), "{obeyed:?}");
    }
    // no element asks for anything
    for request in [" src=", " href=\"h", "url(", "@import", " style=", " onclick="] {
        let outside = page.replace("&gt;", "").replace("src=http", "");
        assert!(!outside.contains(request), "{request}");
    }
    let data = page.split("id=\"replay-data\">").nth(1).and_then(|rest| rest.split("</script>").next()).expect("data");
    let data: Value = serde_json::from_str(data).expect("JSON");
    let replay = &data[0]["steps"][1]["replays"][0];
    assert_eq!(replay["pieces"][0], crate::terminal::shown(HOSTILE).as_ref());
    assert_eq!(replay["commits"], serde_json::json!([[1, 0, 0.9877], [0, 1, 0.5]]));
}

#[test]
fn what_is_missing_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let empty = page(&run_in(folder.path(), &[]));
    for text in ["No held-out evaluation yet", "No figures yet", "train.log_completions = true", "not finished"] {
        assert!(empty.contains(text), "{text}");
    }
    let one = page(&run_in(folder.path(), &[evaluation(0, 0.5)]));
    assert!(one.contains("start, best, end") && one.contains("50.0\u{202f}%") && one.contains("± 2.0"), "{one}");
    let mut lines = vec![evaluation(0, 0.5), update(1, "null"), update(2, "0.25"), evaluation(2, 0.75)];
    lines.push(evaluation(4, 0.625));
    let text = page(&run_in(folder.path(), &lines));
    for row in [">start<", ">best<", ">end<", "75.0\u{202f}%"] {
        assert!(text.contains(row), "{row}");
    }
    assert!(!text.contains("NaN") && !text.contains(">loss<"), "what was never a number is no curve");
    std::fs::remove_file(folder.path().join("run.json")).expect("removed");
    assert!(page(folder.path()).contains("who made this run is not known"));
}

#[test]
fn the_completions_that_changed_most_come_first() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = run_in(folder.path(), &[]);
    keep(&run, 0, &["same", "was fair", "was bad", "was good"], &[0.5, 0.25, 0.0, 1.0]);
    keep(&run, 4, &["same", "is fair", "is good", "is bad"], &[0.5, 0.5, 0.75, 0.5]);
    let page = page(&run);
    assert!(page.contains("Of 4 held-out completions 2 earn more and 1 less"), "{page}");
    let place = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text}"));
    assert!(place("+0.75") < place("was bad") && place("was bad") < place("is good"));
    assert!(place("is good") < place("+0.25") && place("+0.25") < place("is fair"));
    assert!(place("is fair") < place("−0.5") && place("−0.5") < place("was good"));
}

#[test]
fn large_runs_have_small_reports() {
    let folder = tempfile::tempdir().expect("a folder");
    let lines: Vec<String> =
        (1..60_000).map(|step| update(step, &format!("{}", (step * 7919 % 1000) as f64))).collect();
    let run = run_in(folder.path(), &lines);
    let long = "1234 ".repeat(20_000);
    for step in 1..40 {
        keep(&run, step, &[&long, "a"], &[step as f64, 0.0]);
    }
    let page = page(&run);
    assert!(page.len() < 500_000, "{}", page.len());
    assert!(page.contains("97000 more characters") && page.contains("6 of 39 phases"));
}

#[test]
fn folders_and_files_that_will_not_do_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path();
    let (one, two) = (run_in(&dir.join("sweep/one"), &[]), run_in(&dir.join("sweep/two"), &[update(1, "0.5")]));
    assert!(refusal(&[&dir.join("nothing")], None).contains("nothing is not a folder"));
    assert!(refusal(&[dir], None).contains("is no run folder: neither it nor a folder in it holds a config.toml"));
    assert!(refusal(&[&one, &two], None).contains("add --out FILE"));
    assert!(refusal(&[&one, &one], Some(&dir.join("x.html"))).contains("one is named twice"));

    write(&request(&[&dir.join("sweep")], None)).expect("the runs of a folder");
    let both = std::fs::read_to_string(dir.join("sweep/report.html")).expect("written");
    assert!(both.contains("2 runs compared") && both.contains("The configurations are the same"));
    std::fs::write(one.join("config.toml"), "[run]\nseed = 8\n").expect("written");
    write(&request(&[&dir.join("sweep")], None)).expect("a report is renewed");
    let both = std::fs::read_to_string(dir.join("sweep/report.html")).expect("written");
    assert!(both.contains("<code>run.seed</code></th><td>8</td><td>7</td>"), "{both}");

    let notes = dir.join("notes.html");
    std::fs::write(&notes, "mine").expect("written");
    assert!(refusal(&[&one], Some(&notes)).contains("notes.html is there already and is no report of spg: remove it"));
    assert_eq!(std::fs::read_to_string(&notes).expect("a file"), "mine");

    for (file, content, said) in [
        ("metrics.jsonl", "{\"step\":1}\n{\"st\n{\"step\":2}\n", "metrics.jsonl:2: not a line of metrics"),
        ("config.toml", "a = ", "config.toml is damaged"),
        ("run.json", "{", "run.json is damaged"),
        ("completions/eval_00001.parquet", "PAR1", "eval_00001.parquet: remove it"),
        ("completions/replay_00001.json", "[{}]", "replay_00001.json is damaged: remove it"),
    ] {
        let run = run_in(&dir.join(format!("damaged/{}", file.replace('/', "-"))), &[]);
        std::fs::create_dir_all(run.join("completions")).expect("a folder");
        std::fs::write(run.join(file), content).expect("written");
        let refused = refusal(&[&run], None);
        assert!(refused.contains(said), "{refused}");
        assert!(!run.join("report.html").exists());
        // at the end of a run it is a warning
        super::renew(&run);
    }
}

#[test]
fn a_run_without_a_figure_lent_its_colour_to_the_next() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |name: &str, lines: &[String]| {
        let dir = run_in(&folder.path().join(name), lines);
        RunRecord::read(&dir, name.to_owned(), Limits::of(2)).expect("a run")
    };
    let page = html(&[run("one", &[evaluation(0, 0.5)]), run("two", &[update(1, "0.25"), update(2, "0.5")])]);
    let chart = page.split("<figcaption>Training reward<").nth(1).and_then(|rest| rest.split("</figure>").next());
    let chart = chart.expect("a chart");
    let colours = |text: &str| (text.contains("#D55E00"), text.contains("#0072B2"));
    assert_eq!(colours(chart), (true, false), "{chart}");
    assert!(chart.contains("<span>two</span>") && !chart.contains("<span>one</span>"), "{chart}");
}

#[test]
fn a_spread_holds_both_ends() {
    for (len, most) in [(0, 3), (1, 3), (3, 3), (10, 3), (100, 7), (5, 1), (5, 0)] {
        let chosen = spread(len, most);
        assert_eq!(chosen.len(), len.min(most));
        assert!(chosen.windows(2).all(|w| w[0] < w[1]));
        assert!(most < 2 || len == 0 || (chosen[0], chosen[chosen.len() - 1]) == (0, len - 1));
    }
}
