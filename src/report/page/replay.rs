//! The denoising replay: what the script needs to show it, and the elements it works on.

use serde_json::{Value, json};

use super::run_record::RunRecord;
use crate::report::Replay;
use crate::terminal::{shown, shown_in_line, shown_json};

/// The program.
pub const SCRIPT: &str = include_str!("replay.js");
/// Tokens of a canvas that is replayed.
const MOST_TOKENS: usize = 4096;
/// Characters of a prompt.
const PROMPT: usize = 4000;

const PLAYER: &str = include_str!("replay.html");

/// The section.
pub fn section(records: &[RunRecord]) -> String {
    let runs: Vec<Value> = records.iter().filter_map(run).collect();
    if runs.is_empty() {
        return "<p class=\"empty\">No completions to replay: <code>train.log_completions = true</code> keeps how the first \
                ones of every evaluation were denoised.</p>"
            .to_owned();
    }
    let data = Value::from(runs).to_string();
    format!("{PLAYER}<script type=\"application/json\" id=\"replay-data\">{}</script>", in_script(&data))
}

fn run(record: &RunRecord) -> Option<Value> {
    let step = |(step, replays): &(usize, Vec<Replay>)| {
        let replays: Vec<Value> = replays.iter().filter(|r| r.pieces.len() <= MOST_TOKENS).map(replay).collect();
        (!replays.is_empty()).then(|| json!({ "step": step, "replays": replays }))
    };
    let steps: Vec<Value> = record.replays.shown.iter().filter_map(step).collect();
    (!steps.is_empty()).then(|| json!({ "name": shown_in_line(&record.name), "steps": steps }))
}

fn replay(replay: &Replay) -> Value {
    let prompt: String = replay.prompt.chars().take(PROMPT).collect();
    json!({
        "setting": shown_in_line(&replay.setting),
        "remasking": replay.remasking,
        "prompt": shown(&prompt),
        "reward": replay.reward,
        "length": replay.length,
        "pieces": replay.pieces.iter().map(|piece| shown(piece)).collect::<Vec<_>>(),
        "commits": replay.commits,
    })
}

/// JSON in which no text can end the script around it.
fn in_script(json: &str) -> String {
    shown_json(json).replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}
