//! The command: files in, a table or JSON out, and a file of details where wanted.

use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::{Rows, Tally, judge, parse_rows, table};
use crate::config::GradeRequest;
use crate::error::Usage;
use crate::files::write_whole;
use crate::report::{print_json, print_result};

/// Grades all files of a request, then prints the accuracy of each and of all.
///
/// # Errors
/// A file that cannot be read or has no rows; a row that is broken, with its file and line; a details file that is one
/// of the inputs or cannot be written.
pub fn run(request: &GradeRequest) -> Result<()> {
    check(request)?;
    let mut details = String::new();
    let mut files = Vec::new();
    let mut total = Tally::default();
    for path in &request.files {
        let name = path.display().to_string();
        let content = read(path).with_context(|| format!("cannot read {name}"))?;
        let Rows { rows, repeated } = parse_rows(request.task, &content).with_context(|| name.clone())?;
        if rows.is_empty() {
            bail!("{name} has no completions");
        }
        if repeated > 0 {
            tracing::info!(
                "{name}: {repeated} lines repeat completions under another filter; each completion counts once"
            );
        }
        let mut tally = Tally::default();
        for (i, row) in rows.iter().enumerate() {
            let verdict = judge(request.task, row, request.prefill.as_deref())
                .with_context(|| format!("{name}: {}", row.place))?;
            tally.add(&verdict);
            if request.details.is_some() {
                details += &verdict.details(&name, i + 1).to_string();
                details.push('\n');
            }
        }
        total += tally;
        files.push((name, tally));
    }
    if let Some(path) = &request.details {
        write_whole(path, details.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
    }
    match request.json {
        true => print_json(&as_json(&files, &total)),
        false => print_result(&table::render(&files, &total)),
    }
}

fn check(request: &GradeRequest) -> Result<()> {
    if request.files.iter().filter(|path| is_stdin(path)).count() > 1 {
        return Err(Usage("standard input (-) can be read only once".into()).into());
    }
    let same = |a: &Path, b: &Path| matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b);
    if let Some(out) = &request.details
        && request.files.iter().any(|file| same(file, out))
    {
        return Err(Usage(format!("--details {} would overwrite one of the files to grade", out.display())).into());
    }
    if let Some(out) = request.details.as_deref().filter(|out| !request.force && out.is_file()) {
        return Err(Usage(format!("--details {} is there already: --force replaces it", out.display())).into());
    }
    Ok(())
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    if !is_stdin(path) {
        return std::fs::read(path);
    }
    let mut content = Vec::new();
    std::io::stdin().lock().read_to_end(&mut content)?;
    Ok(content)
}

fn as_json(files: &[(String, Tally)], total: &Tally) -> String {
    let file = |(name, tally): &(String, Tally)| {
        let mut value = json!({ "file": name });
        if let (Value::Object(all), Value::Object(counts)) = (&mut value, tally.as_json()) {
            all.extend(counts);
        }
        value
    };
    json!({ "total": total.as_json(), "files": files.iter().map(file).collect::<Vec<_>>() }).to_string()
}
