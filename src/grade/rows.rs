//! Files of completions: JSON lines, or one JSON object with a list `generations`. A line is a completion, or a row of
//! a samples file with all completions of a record.

mod filters;

use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value};

use crate::config::Benchmark;
use crate::task::Record;
use crate::task::data::json;
use filters::Filters;

/// What the prompts of the published evaluation end with, so that the completions begin after it.
pub const PREFILL: &str = "<reasoning>";

/// A completion and the record it belongs to.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Where it stands in its file, such as `line 3`.
    pub place: String,
    /// The completion, special tokens included.
    pub completion: String,
    /// The fields of the record, in the task's own names.
    pub record: Record,
    /// Whether the row is of the published form (`question` and `ground_truth`), whose prompts end with [`PREFILL`].
    pub published: bool,
}

/// The rows of a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// Every completion once.
    pub rows: Vec<Row>,
    /// Lines left out because they hold the completions of another line again, under another filter of
    /// lm-evaluation-harness: a filter reads the answer, and here the grader does.
    pub repeated: usize,
}

/// Reads the rows of a file's content.
///
/// # Errors
/// Naming the line (or the place in the list) of the first row that cannot be read.
pub fn parse(task: Benchmark, content: &[u8]) -> Result<Rows> {
    let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
    if let Some(list) = published_list(content) {
        let mut rows = Vec::new();
        for (i, value) in list.into_iter().enumerate() {
            let place = format!("generations[{i}]");
            rows.extend(read(task, &place, value).with_context(|| place)?);
        }
        return Ok(Rows { rows, repeated: 0 });
    }
    let (mut rows, mut repeated, mut filters) = (Vec::new(), 0, Filters::default());
    for (i, line) in content.split(|&byte| byte == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let place = format!("line {}", i + 1);
        let value = json::parse_line(line).map_err(anyhow::Error::msg).with_context(|| place.clone())?;
        if filters.repeat(&value) {
            repeated += 1;
        } else {
            rows.extend(read(task, &place, value).with_context(|| place)?);
        }
    }
    Ok(Rows { rows, repeated })
}

/// The list of the published form, if the content is that: an object over one line or several.
fn published_list(content: &[u8]) -> Option<Vec<Value>> {
    let first = content.split(|&byte| byte == b'\n').find(|line| !line.trim_ascii().is_empty())?;
    // A first line that is an object without a list ends the question; nothing else is read twice.
    let whole = match std::str::from_utf8(first).ok().and_then(|line| json::parse(line).ok()) {
        Some(value) => value,
        None => json::parse(std::str::from_utf8(content).ok()?).ok()?,
    };
    match whole {
        Value::Object(mut fields) => match fields.remove("generations") {
            Some(Value::Array(list)) => Some(list),
            _ => None,
        },
        _ => None,
    }
}

fn read(task: Benchmark, place: &str, value: Value) -> Result<Vec<Row>> {
    let Value::Object(mut fields) = value else { bail!("not a JSON object") };
    if let (Some(Value::Object(_)), Some(_)) = (fields.get("doc"), fields.get("resps")) {
        return responses(place, &fields["doc"], &fields["resps"]);
    }
    let completion = match fields.remove("completion").or_else(|| fields.remove("generations")) {
        Some(Value::String(completion)) => completion,
        Some(_) => bail!("the completion is not a string"),
        None => {
            let names: Vec<&str> = fields.keys().map(String::as_str).collect();
            bail!("no field `completion` (the fields: {})", names.join(", "))
        }
    };
    let published = fields.contains_key("question") && fields.contains_key("ground_truth");
    if published {
        name_fields(task, &mut fields)?;
    }
    Ok(vec![Row { place: place.to_owned(), completion, record: Record::from(fields), published }])
}

/// The rows of a record `doc` with the list `resps`: for each request the list of its completions.
fn responses(place: &str, doc: &Value, resps: &Value) -> Result<Vec<Row>> {
    let record = Record::from(doc.as_object().cloned().unwrap_or_default());
    let requests = resps.as_array().context("resps is not a list of lists of completions")?;
    let mut rows = Vec::new();
    for completions in requests {
        for completion in completions.as_array().context("resps is not a list of lists of completions")? {
            let place = format!("{place}, response {}", rows.len() + 1);
            let Value::String(completion) = completion else { bail!("response {} is not a string", rows.len() + 1) };
            rows.push(Row { place, completion: completion.clone(), record: record.clone(), published: false });
        }
    }
    Ok(rows)
}

/// Gives what the published form packs into `question` and `ground_truth` the names that the task uses.
fn name_fields(task: Benchmark, fields: &mut Map<String, Value>) -> Result<()> {
    match task {
        Benchmark::Gsm8k | Benchmark::Math => {}
        Benchmark::Countdown => {
            let (numbers, target) = match fields["ground_truth"].as_array().map(Vec::as_slice) {
                Some([numbers, target]) => (numbers.clone(), target.clone()),
                _ => bail!("the ground_truth of a countdown row is not a list of numbers and a target"),
            };
            fields.insert("numbers".into(), numbers);
            fields.insert("target".into(), target);
        }
        Benchmark::Sudoku => {
            let question = fields["question"].as_str().unwrap_or_default();
            let Some(puzzle) = puzzle_in(question) else { bail!("no puzzle of 16 digits in the question") };
            let puzzle = Value::from(puzzle);
            fields.insert("solution".into(), fields["ground_truth"].clone());
            fields.insert("puzzle".into(), puzzle);
        }
    }
    Ok(())
}

/// The 16 digits that a question begins with, or has after `Sudoku puzzle: `.
fn puzzle_in(question: &str) -> Option<&str> {
    let digits = |text: &'_ str| text.get(..16).is_some_and(|cells| cells.bytes().all(|byte| byte.is_ascii_digit()));
    let after = || question.split("Sudoku puzzle: ").skip(1).find(|rest| digits(rest));
    let puzzle = if digits(question) { Some(question) } else { after() };
    puzzle.map(|text| &text[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(task: Benchmark, content: &str) -> Result<Vec<Row>, String> {
        parse(task, content.as_bytes()).map(|found| found.rows).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn lines_and_lists_give_the_same_rows() {
        let lines = "\u{feff}{\"question\": \"?\", \"completion\": \"a\", \"ground_truth\": 1}\r\n\n\
                     {\"question\": \"!\", \"generations\": \"b\", \"ground_truth\": 2}\n";
        let list = r#"[{"question": "?", "generations": "a", "ground_truth": 1},
                       {"question": "!", "generations": "b", "ground_truth": 2}]"#;
        let expected = rows(Benchmark::Gsm8k, lines).unwrap();
        assert_eq!(expected.len(), 2);
        assert!(expected.iter().all(|row| row.published));
        let one_line = list.replace('\n', "");
        let dump = format!("{{\n  \"metrics\": {{\"wall_time\": NaN}},\n  \"generations\": {list}\n}}\n");
        for content in
            [format!("{{\"generations\": {one_line}}}"), format!("{{\"generations\": {one_line}}}\n\n"), dump]
        {
            let found = rows(Benchmark::Gsm8k, &content).unwrap();
            for (found, expected) in found.iter().zip(&expected) {
                assert_eq!((&found.completion, &found.record), (&expected.completion, &expected.record), "{content}");
            }
            assert_eq!(found.len(), 2);
        }
        assert_eq!(rows(Benchmark::Gsm8k, r#"{"generations": []}"#), Ok(vec![]));
        assert_eq!(rows(Benchmark::Gsm8k, "\n \n"), Ok(vec![]));
    }

    #[test]
    fn published_rows_get_the_tasks_field_names() {
        let countdown = r#"{"question": "?", "completion": "", "ground_truth": [[3, 4], 7]}"#;
        let row = rows(Benchmark::Countdown, countdown).unwrap().remove(0);
        assert_eq!(row.record.value("target").unwrap(), &Value::from(7));
        for question in ["0204032001400402 solve", "Solve it.\\nSudoku puzzle: 0204032001400402\\n"] {
            let sudoku = format!(r#"{{"question": "{question}", "completion": "", "ground_truth": "1"}}"#);
            let row = rows(Benchmark::Sudoku, &sudoku).unwrap().remove(0);
            assert_eq!((row.record.text("puzzle"), row.record.text("solution")), (Ok("0204032001400402"), Ok("1")));
        }
        let own = r#"{"puzzle": "0", "completion": "", "question": "?"}"#;
        assert!(!rows(Benchmark::Sudoku, own).unwrap()[0].published);
    }

    #[test]
    fn a_row_of_a_samples_file_is_a_row_for_each_response() {
        let line = r#"{"doc_id": 4, "doc": {"puzzle": "0", "solution": "1"}, "target": "1", "resps": [["a", "b"]]}"#;
        let found = rows(Benchmark::Sudoku, &format!("{line}\n{line}\n")).unwrap();
        let places: Vec<(&str, &str)> = found.iter().map(|r| (r.place.as_str(), r.completion.as_str())).collect();
        assert_eq!(
            places,
            [
                ("line 1, response 1", "a"),
                ("line 1, response 2", "b"),
                ("line 2, response 1", "a"),
                ("line 2, response 2", "b")
            ]
        );
        assert!(
            found.iter().all(|r| !r.published && r.record.text("solution") == Ok("1") && r.record.fields().len() == 2)
        );
        let refused =
            |resps: &str| rows(Benchmark::Sudoku, &format!(r#"{{"doc": {{}}, "resps": {resps}}}"#)).unwrap_err();
        assert_eq!(refused(r#""a""#), "line 1: resps is not a list of lists of completions");
        assert_eq!(refused(r#"["a"]"#), "line 1: resps is not a list of lists of completions");
        assert_eq!(refused(r#"[["a", 5]]"#), "line 1: response 2 is not a string");
        // a record may have a field of that name
        assert_eq!(rows(Benchmark::Math, r#"{"doc": "text", "completion": "a"}"#).unwrap().len(), 1);
    }

    #[test]
    fn a_broken_row_is_named() {
        let good = r#"{"completion": "a"}"#;
        let message = |line: &str| rows(Benchmark::Gsm8k, &format!("{good}\n\n{line}\n{good}")).unwrap_err();
        assert_eq!(message("{"), "line 3: not JSON: EOF while parsing an object at column 1");
        assert_eq!(message("[1]"), "line 3: not a JSON object");
        assert_eq!(message(r#"{"text": "a", "b": 1}"#), "line 3: no field `completion` (the fields: text, b)");
        assert_eq!(message(r#"{"completion": 5}"#), "line 3: the completion is not a string");
        let binary = [good.as_bytes(), b"\n{\"completion\": \"\xff\"}"].concat();
        let message = |error: anyhow::Error| format!("{error:#}");
        assert_eq!(message(parse(Benchmark::Math, &binary).unwrap_err()), "line 2: not UTF-8 after byte 16");
        let list = rows(Benchmark::Math, r#"{"generations": [{"generations": "a"}, 5]}"#).unwrap_err();
        assert_eq!(list, "generations[1]: not a JSON object");
        let question = r#"{"question": "?", "completion": "", "ground_truth": 5}"#;
        assert!(
            rows(Benchmark::Countdown, question).unwrap_err().starts_with("line 1: the ground_truth of a countdown")
        );
        assert!(rows(Benchmark::Sudoku, question).unwrap_err().starts_with("line 1: no puzzle"));
    }
}
