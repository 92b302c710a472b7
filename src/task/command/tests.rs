//! Small shell programs on the other end: good ones, and one for each way to go wrong.

use std::path::Path;
use std::time::Duration;

use super::*;

/// Long enough for any machine.
const PATIENT: Duration = Duration::from_secs(60);
/// What a program in these tests does with a request it has no quarrel with.
const FINE: &str = r#"echo '{"reward": 1}'"#;

fn shell(script: &str, time_limit: Duration) -> RewardCommand {
    RewardCommand::new(["sh", "-c", script].map(String::from).to_vec(), time_limit)
}

/// A program that leaves a mark in `starts` when it starts and then does `each` with every line, which is in `$line`,
/// with its number in `$n`.
fn looping(dir: &Path, each: &str, time_limit: Duration) -> RewardCommand {
    let dir = dir.display();
    let script = format!("cd '{dir}'; printf x >> starts; n=0; while read -r line; do n=$((n+1)); {each}; done");
    shell(&script, time_limit)
}

fn starts(dir: &Path) -> usize {
    std::fs::read(dir.join("starts")).unwrap().len()
}

/// Scores completions, all with the same prompt and record.
fn score(command: &RewardCommand, completions: &[&str]) -> Result<Vec<Answer>> {
    let record = Record::from([("word", "lamp".to_owned())]);
    let requests: Vec<_> =
        completions.iter().map(|completion| Request { prompt: "backwards", completion, record: &record }).collect();
    command.score(&requests, &Stop::default())
}

fn rewards(answers: Vec<Answer>) -> Vec<f64> {
    answers.into_iter().map(|answer| answer.reward).collect()
}

#[track_caller]
fn fails(command: &RewardCommand, completions: &[&str]) -> (CommandError, String) {
    let error = score(command, completions).unwrap_err();
    let text = error.to_string();
    (error, text)
}

#[test]
fn one_process_answers_all_batches_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let command = looping(dir.path(), r#"echo "{\"reward\": $n, \"parts\": {\"half\": 0.5, \"b\": -1}}""#, PATIENT);
    assert!(!dir.path().join("starts").exists());
    assert_eq!(score(&command, &[]), Ok(vec![]));
    assert_eq!(rewards(score(&command, &["a", "b", "c"]).unwrap()), [1.0, 2.0, 3.0]);
    command.check(&Stop::default()).unwrap();
    let answers = score(&command, &["a", "b"]).unwrap();
    assert_eq!(answers[0].parts, [("half".to_owned(), 0.5), ("b".to_owned(), -1.0)]);
    assert_eq!(rewards(answers), [4.0, 5.0]);
    assert_eq!(starts(dir.path()), 1);
}

#[test]
fn strange_texts_arrive_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let command = looping(dir.path(), &format!(r#"printf '%s\n' "$line" >> seen; {FINE}"#), PATIENT);
    let texts = ["", "a\0b", "two\nlines\r\n\u{2028}\u{85}", "\u{fffd} \u{1f600} \\ \"quoted\" '$n' \u{7f}\t "];
    score(&command, &texts).unwrap();
    let seen = std::fs::read_to_string(dir.path().join("seen")).unwrap();
    for (line, completion) in seen.lines().zip(texts) {
        let expected = serde_json::json!({"prompt": "backwards", "completion": completion, "record": {"word": "lamp"}});
        assert_eq!(serde_json::from_str::<serde_json::Value>(line).unwrap(), expected);
    }
    assert_eq!(seen.lines().count(), texts.len());
}

#[test]
fn a_request_of_a_megabyte_gets_through() {
    let dir = tempfile::tempdir().unwrap();
    let command = looping(dir.path(), r#"echo "{\"reward\": ${#line}}""#, PATIENT);
    let answers = score(&command, &[&"x".repeat(1 << 20)]).unwrap();
    assert!(answers[0].reward > f64::from(1 << 20));
}

#[test]
fn a_program_that_dies_once_is_asked_again() {
    let dir = tempfile::tempdir().unwrap();
    let each = r#"case $line in *cherry*) [ -e died ] || { touch died; exit 7; };; esac; echo "{\"reward\": $n}""#;
    let command = looping(dir.path(), each, PATIENT);
    let answers = score(&command, &["apple", "banana", "cherry", "date"]).unwrap();
    assert_eq!(rewards(answers), [1.0, 2.0, 1.0, 2.0]);
    assert_eq!(starts(dir.path()), 2);
}

#[test]
fn a_program_that_dies_twice_on_a_request_is_an_error_with_its_last_words() {
    let dir = tempfile::tempdir().unwrap();
    let each = format!("case $line in *cherry*) echo 'no cherries here' >&2; exit 7;; esac; {FINE}");
    let command = looping(dir.path(), &each, PATIENT);
    let (error, text) = fails(&command, &["apple", "banana", "cherry\n", "date"]);
    let CommandError::Died { request: 3, completion, status, stderr } = error else { panic!("{text}") };
    assert_eq!((completion.as_str(), status.as_str()), ("cherry\\n", "exit status: 7"));
    assert_eq!(stderr, ["no cherries here"]);
    assert!(text.contains("request 3 ") && text.contains("`cherry\\n`") && text.contains("\n  no cherries here"));
    assert_eq!(starts(dir.path()), 2);
    assert_eq!(rewards(score(&command, &["apple"]).unwrap()), [1.0]);
    assert_eq!(starts(dir.path()), 3);
}

#[test]
fn half_an_answer_is_none() {
    let command = shell(r#"read -r line; printf '{"reward": 1'"#, PATIENT);
    let (error, text) = fails(&command, &["apple"]);
    assert!(matches!(error, CommandError::Died { request: 1, .. }), "{text}");
    let command = shell(r#"read -r line; exec >&-; sleep 60"#, PATIENT);
    let (_, text) = fails(&command, &["apple"]);
    assert!(text.contains("it closed its standard output but did not exit"), "{text}");
}

#[test]
fn a_program_that_ends_between_batches_is_started_again() {
    let dir = tempfile::tempdir().unwrap();
    let command = looping(dir.path(), &format!("{FINE}; [ $n -lt 2 ] || exit"), PATIENT);
    for _ in 0..3 {
        assert_eq!(rewards(score(&command, &["a", "b"]).unwrap()), [1.0, 1.0]);
    }
    assert_eq!(starts(dir.path()), 3);
}

#[test]
fn a_late_answer_is_asked_for_again() {
    let dir = tempfile::tempdir().unwrap();
    let each = r#"case $line in *cherry*) [ -e late ] || { touch late; sleep 100; };; esac; echo "{\"reward\": $n}""#;
    let command = looping(dir.path(), each, Duration::from_secs(3));
    let answers = score(&command, &["apple", "cherry", "date"]).unwrap();
    assert_eq!(rewards(answers), [1.0, 1.0, 2.0]);
    assert_eq!(starts(dir.path()), 2);
}

#[test]
fn an_answer_that_is_late_twice_is_an_error_that_names_the_key() {
    let command = shell("read -r line; sleep 100; echo '{\"reward\": 1}'", Duration::from_millis(150));
    let (error, text) = fails(&command, &["apple"]);
    let limit = Duration::from_millis(150);
    assert_eq!(error, CommandError::Late { request: 1, completion: "apple".into(), limit });
    assert!(text.contains("within 0.15 s") && text.contains("task.custom.reward_command.time_limit_seconds"), "{text}");
}

#[test]
fn the_time_limit_covers_writing() {
    let command = shell("sleep 100", Duration::from_millis(150));
    let (error, text) = fails(&command, &[&"x".repeat(1 << 20)]);
    assert!(matches!(error, CommandError::Late { request: 1, .. }), "{text}");
}

#[test]
fn a_wrong_answer_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let command = looping(dir.path(), "[ $n = 2 ] && echo 'loading model' || echo '{\"reward\": 1}'", PATIENT);
    let (error, text) = fails(&command, &["apple", "banana"]);
    assert!(matches!(error, CommandError::BadAnswer { request: 2, .. }));
    assert!(text.contains("request 2 ") && text.contains("`loading model`: it is not JSON"), "{text}");
    // The next batch has a process of its own.
    assert_eq!(rewards(score(&command, &["apple"]).unwrap()), [1.0]);
    assert_eq!(starts(dir.path()), 2);
}

#[test]
fn a_huge_line_is_refused() {
    let command = shell("read -r line; head -c 3000000 /dev/zero | tr '\\0' x; sleep 100", PATIENT);
    let (error, text) = fails(&command, &["apple"]);
    let CommandError::BadAnswer { request: 1, line, reason } = error else { panic!("{text}") };
    assert_eq!(reason, "it is longer than 1 MiB");
    assert!(line.len() < 200 && line.ends_with("xxx..."), "{line}");
}

#[test]
fn two_lines_for_one_request_void_the_batch() {
    let dir = tempfile::tempdir().unwrap();
    for row in 1..=3 {
        for extra in [r#"{"reward": 5}"#, "extra"] {
            // One write, as from a language that fills a buffer first.
            let each = format!(r#"if [ $n = {row} ]; then printf '{{"reward": 1}}\n{extra}\n'; else {FINE}; fi"#);
            let (error, text) = fails(&looping(dir.path(), &each, PATIENT), &["apple", "banana", "cherry"]);
            assert_eq!(error, CommandError::Unasked { line: extra.into() });
            assert!(text.contains(&format!("printed a line nobody asked for: `{extra}`")), "{text}");
        }
    }
}

#[test]
fn a_batch_waits_for_an_answer_too_many() {
    let command = shell(&format!("read -r line; {FINE}; sleep 0.2; {FINE}; sleep 100"), PATIENT);
    let command = RewardCommand { grace: PATIENT, ..command };
    let (error, _) = fails(&command, &["apple"]);
    assert_eq!(error, CommandError::Unasked { line: r#"{"reward": 1}"#.into() });
}

#[test]
fn a_line_between_batches_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let each = format!("{FINE}; while [ ! -e go ]; do sleep 0.01; done; {FINE}; touch gone");
    let command = looping(dir.path(), &each, PATIENT);
    score(&command, &["apple"]).unwrap();
    std::fs::write(dir.path().join("go"), "").unwrap();
    assert!(pipes::wait_until(PATIENT, || dir.path().join("gone").exists()));
    // The line is written; the reading thread may still need a moment.
    std::thread::sleep(Duration::from_millis(50));
    let error = score(&command, &["banana"]).unwrap_err();
    assert!(matches!(error, CommandError::Unasked { .. }), "{error}");
}

#[test]
fn a_program_that_does_not_start_is_named_with_its_key() {
    let command = RewardCommand::new(vec!["no/such/program".into(), "x".into()], PATIENT);
    for text in [command.check(&Stop::default()).unwrap_err().to_string(), fails(&command, &["a"]).1] {
        assert!(text.starts_with("task.custom.reward_command.command: cannot start `no/such/program`: "), "{text}");
        assert!(text.contains("PATH"), "{text}");
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("reward.sh");
    std::fs::write(&path, FINE).unwrap();
    let text =
        RewardCommand::new(vec![path.display().to_string()], PATIENT).check(&Stop::default()).unwrap_err().to_string();
    assert!(text.contains("chmod +x"), "{text}");
    assert_eq!(RewardCommand::new(vec![], PATIENT).check(&Stop::default()), Err(CommandError::Empty));
}

#[test]
fn check_notices_a_program_that_ends_or_talks_at_once() {
    let (status, stderr) = ("exit status: 2".to_owned(), vec!["no such file".to_owned()]);
    let script = "echo no such file >&2; exit 2";
    let error = shell(script, PATIENT).watch(PATIENT, &Stop::default()).unwrap_err();
    assert!(error.to_string().contains("ended before it was asked anything (exit status: 2)"), "{error}");
    assert_eq!(error, CommandError::Exited { command: format!("sh -c {script}"), status, stderr });
    let error = shell("echo hello; sleep 100", PATIENT).watch(PATIENT, &Stop::default()).unwrap_err();
    assert_eq!(error, CommandError::Unasked { line: "hello".into() });
}

/// Neither running nor a zombie that its parent has not waited for. A zombie that was left to the init process is its
/// affair, which `orphan` allows for.
#[cfg(unix)]
fn gone(pid: &str, orphan: bool) -> bool {
    // SAFETY: signal 0 only asks.
    let exists = unsafe { libc::kill(pid.trim().parse().unwrap(), 0) } == 0;
    let zombie =
        || std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).is_ok_and(|stat| stat.contains(") Z "));
    !exists || orphan && zombie()
}

#[cfg(unix)]
#[test]
fn nothing_outlives_the_command() {
    let dir = tempfile::tempdir().unwrap();
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    // One that ends when its standard input does, and leaves a child behind; one that ignores everything it can.
    let polite =
        format!("echo $$ > pid; sleep 1000 & echo $! > child; while read -r line; do {FINE}; done; echo bye > end");
    let stubborn = format!("trap '' HUP INT TERM; {polite}; while :; do sleep 1; done");
    for script in [polite, stubborn] {
        let command = shell(&format!("cd '{}'; {script}", dir.path().display()), PATIENT);
        score(&command, &["apple"]).unwrap();
        let (pid, child) = (read("pid"), read("child"));
        assert!(!gone(&pid, false) && !gone(&child, true));
        // SAFETY: only asks. Ctrl-C must not reach it with us.
        let group = |id: libc::pid_t| unsafe { libc::getpgid(id) };
        assert_ne!(group(pid.trim().parse().unwrap()), group(0));
        drop(command);
        assert!(gone(&pid, false));
        assert!(pipes::wait_until(PATIENT, || gone(&child, true)));
    }
}

#[cfg(unix)]
#[test]
fn a_program_is_told_to_end_before_it_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let script = format!("cd '{}'; while read -r line; do {FINE}; done; echo bye > end", dir.path().display());
    let mut process = Process::start(&shell(&script, PATIENT).launch).unwrap();
    assert!(matches!(process.ask(b"{}\n".to_vec(), PATIENT, &Stop::default()), Ok(Reply::Line(_))));
    assert_eq!(process.end(PATIENT), "exit status: 0");
    assert!(dir.path().join("end").exists());
}

#[cfg(unix)]
#[test]
fn a_program_that_signals_its_group_ends_alone() {
    let dir = tempfile::tempdir().unwrap();
    // As scripts do to take their children with them.
    let script = format!("trap 'trap - TERM; kill 0' EXIT; read -r line; {FINE}; sleep 1000 & echo $! > child; exit");
    let command = shell(&format!("cd '{}'; {script}", dir.path().display()), PATIENT);
    for _ in 0..2 {
        assert_eq!(rewards(score(&command, &["apple"]).unwrap()), [1.0]);
        let child = dir.path().join("child");
        assert!(pipes::wait_until(PATIENT, || std::fs::read_to_string(&child).is_ok_and(|pid| !pid.is_empty())));
        let pid = std::fs::read_to_string(child).unwrap();
        assert!(pipes::wait_until(PATIENT, || gone(&pid, true)));
    }
}

#[test]
fn a_stop_does_not_wait_for_an_answer_that_is_due() {
    let dir = tempfile::tempdir().unwrap();
    let command = looping(dir.path(), "touch asked; sleep 100", PATIENT);
    let stop = Stop::default();
    let record = Record::from([("word", "lamp".to_owned())]);
    let request = Request { prompt: "", completion: "apple", record: &record };
    let (error, waited) = std::thread::scope(|scope| {
        let scoring = scope.spawn(|| command.score(&[request; 3], &stop).unwrap_err());
        assert!(pipes::wait_until(PATIENT, || dir.path().join("asked").exists()));
        let asked = Instant::now();
        stop.request();
        (scoring.join().unwrap(), asked.elapsed())
    });
    assert!(waited < Duration::from_secs(5), "{waited:?}");
    assert_eq!(starts(dir.path()), 1, "nobody is asked again");
    // What decides the exit code finds the marker however deep it is.
    let error = anyhow::Error::from(crate::task::TaskError::from(error)).context("cannot reward the completions");
    assert!(error.chain().any(|cause| cause.is::<crate::signal::Interrupted>()), "{error:?}");
    assert!(matches!(command.check(&stop), Err(CommandError::Interrupted(_))));
}

#[test]
fn a_flood_of_messages_does_not_hold_up_the_answers() {
    let dir = tempfile::tempdir().unwrap();
    let flood = "yes 'a message that nobody needs' | head -n 300000 >&2; head -c 3000000 /dev/zero >&2";
    let command = looping(dir.path(), &format!("{flood}; {FINE}"), PATIENT);
    assert_eq!(rewards(score(&command, &["apple", "banana"]).unwrap()), [1.0, 1.0]);
    assert_eq!(starts(dir.path()), 1);
}

#[test]
fn a_panic_elsewhere_does_not_lock_the_command() {
    let dir = tempfile::tempdir().unwrap();
    let command = looping(dir.path(), FINE, PATIENT);
    std::thread::scope(|scope| {
        let holder = scope.spawn(|| {
            let _slot = command.process.lock().unwrap();
            panic!("on purpose");
        });
        assert!(holder.join().is_err());
    });
    assert!(command.process.is_poisoned());
    assert_eq!(rewards(score(&command, &["apple"]).unwrap()), [1.0]);
}
