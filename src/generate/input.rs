//! Prompts from the command line, a file or standard input.

use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;

use crate::config::PromptSource;
use crate::text::Message;

/// The roles that templates know.
const ROLES: [&str; 3] = ["system", "user", "assistant"];

/// A line of a file: a prompt, or a conversation.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    prompt: Option<String>,
    messages: Option<Vec<Message>>,
}

/// What is to be completed, a conversation each; `system` goes before those without a system message.
///
/// # Errors
/// Names the file and line that cannot be read.
pub fn conversations(source: &PromptSource, system: Option<&str>) -> Result<Vec<Vec<Message>>> {
    let mut all = match source {
        PromptSource::Text(text) => vec![vec![Message::user(text)]],
        PromptSource::File(path) => {
            let (name, text) = read(path)?;
            let lines = match path.as_os_str() == "-" {
                true => text.trim_start().starts_with('{'),
                false => path.extension().is_some_and(|extension| extension == "jsonl"),
            };
            if lines { from_lines(&name, &text)? } else { vec![vec![Message::user(text.trim_end_matches('\n'))]] }
        }
    };
    ensure!(!all.is_empty(), "there is no prompt");
    if let Some(system) = system {
        for turns in all.iter_mut().filter(|turns| turns.iter().all(|turn| turn.role != "system")) {
            turns.insert(0, Message { role: "system".into(), content: system.into() });
        }
    }
    Ok(all)
}

/// The file's name for messages, and its text.
fn read(path: &Path) -> Result<(String, String)> {
    if path.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
        return Ok(("standard input".into(), text));
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok((path.display().to_string(), text))
}

fn from_lines(name: &str, text: &str) -> Result<Vec<Vec<Message>>> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let turns = |(i, line): (usize, &str)| -> Result<Vec<Message>> {
        let parsed = || -> Result<Vec<Message>> {
            let Line { prompt, messages } = serde_json::from_str(line)?;
            let turns = match (prompt, messages) {
                (Some(prompt), None) => vec![Message::user(prompt)],
                (None, Some(turns)) => turns,
                _ => bail!("give either `prompt` or `messages`"),
            };
            if let Some(turn) = turns.iter().find(|turn| !ROLES.contains(&turn.role.as_str())) {
                bail!("the role {:?} is none of {}", turn.role, ROLES.join(", "));
            }
            ensure!(turns.last().is_some_and(|turn| turn.role == "user"), "the last turn must be the user's");
            Ok(turns)
        };
        parsed().with_context(|| format!("{name}, line {}", i + 1))
    };
    lines.map(turns).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str, system: Option<&str>) -> Result<Vec<Vec<Message>>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        conversations(&PromptSource::File(path), system)
    }

    fn turn(role: &str, content: &str) -> Message {
        Message { role: role.into(), content: content.into() }
    }

    #[test]
    fn a_file_is_one_prompt_or_a_line_each() {
        let text = "{\"prompt\": \"a\"}\n\n{\"messages\": [{\"role\": \"system\", \"content\": \"s\"}, \
                    {\"role\": \"user\", \"content\": \"b\"}]}\n";
        let all = file("a.jsonl", text, Some("x")).unwrap();
        assert_eq!(all, [vec![turn("system", "x"), turn("user", "a")], vec![turn("system", "s"), turn("user", "b")]]);
        assert_eq!(file("a.txt", "two\nlines\n", None).unwrap(), [vec![turn("user", "two\nlines")]]);
    }

    #[test]
    fn a_line_that_says_something_else_is_named() {
        for (line, reason) in [
            ("{\"prompt\": \"a\", \"messages\": []}", "either"),
            ("{}", "either"),
            ("{\"promt\": \"a\"}", "promt"),
            ("{\"messages\": [{\"role\": \"tool\", \"content\": \"b\"}]}", "tool"),
            ("{\"messages\": [{\"role\": \"assistant\", \"content\": \"b\"}]}", "the user's"),
            ("{\"messages\": []}", "the user's"),
            ("no JSON", "expected"),
        ] {
            let error = file("a.jsonl", &format!("{{\"prompt\": \"a\"}}\n{line}\n"), None).expect_err(line);
            let text = format!("{error:#}");
            assert!(text.contains("a.jsonl, line 2") && text.contains(reason), "{text}");
        }
        assert!(file("a.jsonl", "\n", None).is_err());
    }
}
