//! What a run was: versions, command line, seeds, starts, configuration; of several runs, what differs.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::Value;

use super::run_record::RunRecord;
use crate::report::markup::{escaped_line, escaped_text};
use crate::terminal::shell_line;

/// The section.
pub fn section(records: &[RunRecord]) -> String {
    let mut out = String::new();
    if records.len() > 1 {
        out += &differences(records);
    }
    for record in records {
        if records.len() > 1 {
            let _ = write!(out, "<h3>{}</h3>", escaped_line(&record.name));
        }
        out += &provenance(&record.provenance);
        let open = if records.len() == 1 { " open" } else { "" };
        let _ = write!(
            out,
            "<details{open}><summary>Configuration, every key as it was resolved</summary><pre class=\"file\" \
             tabindex=\"0\">{}</pre></details>",
            escaped_text(&record.config_text)
        );
    }
    out
}

fn provenance(run: &Value) -> String {
    if run.is_null() {
        return "<p class=\"empty\">There is no <code>run.json</code>: who made this run is not known.</p>".to_owned();
    }
    let mut out = "<div class=\"scroll\"><table class=\"facts\"><tbody>".to_owned();
    let mut fact = |name: &str, value: String| {
        let _ = write!(out, "<tr><th scope=\"row\">{name}</th><td>{value}</td></tr>");
    };
    let code = |text: &str| format!("<code>{}</code>", escaped_line(text));
    let text = |value: &Value| match value {
        Value::Null => "unknown".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    fact("spg", code(&format!("{} ({})", text(&run["version"]), text(&run["revision"]))));
    fact("command line", code(&arguments(&run["arguments"])));
    if let Some(commit) = run["model_commit"].as_str() {
        fact("commit of the base model", code(commit));
    }
    if let Some(seeds) = run["seeds"].as_object() {
        let seeds: Vec<String> = seeds.iter().map(|(name, seed)| format!("{name} {seed}")).collect();
        fact("seeds", escaped_line(&seeds.join(", ")));
    }
    let starts = run["history"].as_array().into_iter().flatten().chain([run]);
    let resumed: Vec<String> = starts
        .filter(|start| !start["resumed_from_step"].is_null())
        .map(|start| {
            let changed = start["changed"].as_object().into_iter().flatten();
            let changed: String = changed.map(|(key, values)| format!("; {} {}", code(key), change(values))).collect();
            format!(
                "from step {}, spg {}{changed}",
                escaped_line(&text(&start["resumed_from_step"])),
                code(&text(&start["revision"]))
            )
        })
        .collect();
    fact("resumed", if resumed.is_empty() { "never".to_owned() } else { resumed.join("<br>") });
    out + "</tbody></table></div>"
}

/// `old → new`
fn change(values: &Value) -> String {
    let side = |i: usize| escaped_line(&values[i].to_string());
    format!("{} → {}", side(0), side(1))
}

/// A command line as a shell would read it.
fn arguments(list: &Value) -> String {
    shell_line(list.as_array().into_iter().flatten().filter_map(Value::as_str))
}

/// The keys whose values are not the same in all runs.
fn differences(records: &[RunRecord]) -> String {
    let keys: Vec<Vec<(String, String)>> = records.iter().map(|record| flat(&record.config)).collect();
    let names: BTreeSet<&String> = keys.iter().flatten().map(|(key, _)| key).collect();
    let value = |run: &[(String, String)], key: &str| run.iter().find(|(k, _)| k == key).map(|(_, v)| v.clone());
    let mut rows = String::new();
    for name in names {
        let values: Vec<Option<String>> = keys.iter().map(|run| value(run, name)).collect();
        // each run has a folder of its own
        if name == "run.output_dir" || values.windows(2).all(|w| w[0] == w[1]) {
            continue;
        }
        let _ = write!(rows, "<tr><th scope=\"row\"><code>{}</code></th>", escaped_line(name));
        for value in values {
            let _ = write!(rows, "<td>{}</td>", value.map_or_else(String::new, |value| escaped_line(&value)));
        }
        rows += "</tr>";
    }
    if rows.is_empty() {
        return "<p class=\"note\">The configurations are the same.</p>".to_owned();
    }
    let heads: String = records.iter().map(|record| format!("<th>{}</th>", escaped_line(&record.name))).collect();
    format!(
        "<h3>What differs</h3><div class=\"scroll\"><table class=\"facts\"><thead><tr><th>key</th>{heads}</tr></thead>\
         <tbody>{rows}</tbody></table></div>"
    )
}

/// Every key with its whole name, and its value as TOML writes it.
fn flat(table: &toml::Table) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (key, value) in table {
        match value {
            toml::Value::Table(inner) => {
                all.extend(flat(inner).into_iter().map(|(rest, value)| (format!("{key}.{rest}"), value)));
            }
            value => all.push((key.clone(), value.to_string())),
        }
    }
    all
}
