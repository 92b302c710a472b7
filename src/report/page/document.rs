//! The frame of a report: head, policy, style, summary, sections.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use super::held_out::{self, Evaluated};
use super::run_record::RunRecord;
use super::{about, curves, replay, samples};
use crate::report::markup::escaped_line;
use crate::runtime;

/// What says of a file that it is a report of this program.
pub const MARK: &str = "<meta name=\"generator\" content=\"spg report";

const STYLE: &str = include_str!("style.css");
/// Figures that the summary of one run shows of every setting.
const TILES: [&str; 2] = ["accuracy", "solved"];
/// Settings that it shows.
const TILED_SETTINGS: usize = 2;

/// The page.
pub fn html(records: &[RunRecord]) -> String {
    let title = escaped_line(&title(records));
    // only this style and this script, by their hashes; no request whatever
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
        digest(STYLE),
        digest(replay::SCRIPT)
    );
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n{MARK} of spg {}\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n",
        runtime::VERSION
    );
    let _ = write!(out, "<header><h1>{title}</h1>{}</header>\n<main>\n", summary(records));
    let sections = [
        ("held-out", "Held-out figures", held_out::section(records)),
        ("curves", "Curves", curves::section(records)),
        ("replay", "Denoising, step by step", replay::section(records)),
        ("samples", "Completions", samples::section(records)),
        ("run", if records.len() == 1 { "Run" } else { "Runs" }, about::section(records)),
    ];
    out += "<nav aria-label=\"sections\">";
    for (id, name, _) in &sections {
        let _ = write!(out, "<a href=\"#{id}\">{name}</a>");
    }
    out += "</nav>\n";
    for (id, name, text) in &sections {
        let _ = write!(out, "<section id=\"{id}\"><h2>{name}</h2>\n{text}</section>\n");
    }
    let _ = write!(
        out,
        "</main>\n<footer>Written by spg {}. This file is complete: it loads nothing.</footer>\n<script>{}</script>\n\
         </body>\n</html>\n",
        escaped_line(runtime::VERSION),
        replay::SCRIPT
    );
    out
}

fn title(records: &[RunRecord]) -> String {
    match records {
        [record] => record.name.clone(),
        _ => format!("{} runs compared", records.len()),
    }
}

/// What a run is, in a line, and where its held-out figures went.
fn summary(records: &[RunRecord]) -> String {
    let mut out = String::new();
    for (i, record) in records.iter().enumerate() {
        let name = match records.len() {
            1 => String::new(),
            _ => format!("<strong>{}</strong> ", escaped_line(&record.name)),
        };
        let swatch = if records.len() > 1 { crate::report::Chart::swatch(i) } else { String::new() };
        let _ = write!(out, "<p class=\"lead\">{swatch}{name}{}</p>", line(record));
    }
    if let [record] = records {
        out += &tiles(record);
    }
    out
}

fn line(record: &RunRecord) -> String {
    let text = |key: &str| record.key(key).and_then(toml::Value::as_str).map(escaped_line);
    let command = record.command().unwrap_or("train");
    let mut parts = vec![format!("spg {}", escaped_line(command))];
    if let Some(method) = record.choice("algorithm").filter(|_| command == "train") {
        parts.push(escaped_line(method));
    }
    parts.extend(record.choice("task").map(escaped_line));
    parts.extend(text("model.name_or_path"));
    parts.extend(record.key("run.seed").map(|seed| format!("seed {seed}")));
    let total = record.key("train.max_steps").and_then(toml::Value::as_integer);
    let step = record.step();
    parts.push(match total {
        Some(total) if total > step as i64 => format!("<strong>step {step} of {total}, not finished</strong>"),
        _ => format!("{step} updates"),
    });
    parts.join(" · ")
}

/// First and last figures in large type.
fn tiles(record: &RunRecord) -> String {
    let mut tiles = String::new();
    for setting in held_out::settings(std::slice::from_ref(record)).into_iter().take(TILED_SETTINGS) {
        let all = Evaluated::all(record, setting);
        let (Some(first), Some(last)) = (all.first(), all.last()) else { continue };
        for figure in TILES {
            let (Some(before), Some(after)) = (first.shown(figure), last.shown(figure)) else { continue };
            let from = if all.len() > 1 { format!("<small>from {before}</small>") } else { String::new() };
            let _ = write!(
                tiles,
                "<div class=\"tile\"><span>{figure}, {}</span><b>{after}</b>{from}</div>",
                escaped_line(setting)
            );
        }
    }
    if tiles.is_empty() { tiles } else { format!("<div class=\"tiles\">{tiles}</div>") }
}

/// The SHA-256 of a text in base64, as a policy names it.
fn digest(text: &str) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let letters = |bytes: &[u8]| {
        let word = bytes.iter().fold(0u32, |word, &byte| word << 8 | u32::from(byte)) << (8 * (3 - bytes.len()));
        let letter = |i: usize| match i <= bytes.len() {
            true => char::from(LETTERS[(word >> (18 - 6 * i)) as usize & 63]),
            false => '=',
        };
        [0, 1, 2, 3].map(letter)
    };
    Sha256::digest(text).chunks(3).flat_map(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_other_programs() {
        // printf abc | openssl dgst -sha256 -binary | base64
        assert_eq!(digest("abc"), "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
    }
}
