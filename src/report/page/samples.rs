//! Completions in tables: those whose reward changed most between two evaluations, and the best and the worst of some
//! phases.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::curves::short;
use super::kept::Kept;
use super::run_record::{RunRecord, Steps};
use crate::report::markup::{escaped_line, escaped_text};

/// Rows of each kind: best and worst of a phase; more and less reward at the end.
const ROWS: usize = 3;
/// Characters of a completion and of a prompt.
const TEXT: usize = 3000;
const PROMPT: usize = 1500;

/// The section.
pub fn section(records: &[RunRecord]) -> String {
    let mut out = String::new();
    for record in records {
        if records.len() > 1 {
            let _ = write!(out, "<h3>{}</h3>", escaped_line(&record.name));
        }
        if record.evaluations.all == 0 && record.rollouts.all == 0 {
            out +=
                "<p class=\"empty\">This run kept no completions: <code>train.log_completions = true</code> does.</p>";
            continue;
        }
        out += &changed(&record.evaluations);
        out += &extremes(&record.rollouts);
    }
    out
}

/// A held-out completion in every evaluation that is shown.
struct Course<'a> {
    first: &'a Kept,
    last: &'a Kept,
    rewards: Vec<Option<f64>>,
    change: f64,
}

/// The held-out completions whose reward differs most between the first and the last evaluation.
fn changed(evaluations: &Steps<Kept>) -> String {
    let (Some((first, old)), Some((last, _))) = (evaluations.shown.first(), evaluations.shown.last()) else {
        return String::new();
    };
    if first == last {
        return String::new();
    }
    let by_place: Vec<HashMap<Place<'_>, &Kept>> = evaluations.shown.iter().map(|(_, kept)| places(kept)).collect();
    let mut all: Vec<Course<'_>> = Vec::new();
    for (place, first) in keyed(old) {
        let Some(last) = by_place.last().and_then(|kept| kept.get(&place)).copied() else { continue };
        let (Some(before), Some(after)) = (first.reward, last.reward) else { continue };
        let rewards = by_place.iter().map(|kept| kept.get(&place).and_then(|kept| kept.reward)).collect();
        all.push(Course { first, last, rewards, change: after - before });
    }
    // a stable sort: equal changes stay in the order of the records
    all.sort_by(|a, b| b.change.total_cmp(&a.change));
    let risen = all.iter().filter(|course| course.change > 0.0).take(ROWS);
    let fallen = all.iter().rev().filter(|course| course.change < 0.0).take(ROWS);
    let (risen, fallen): (Vec<_>, Vec<_>) = (risen.collect(), fallen.collect());
    let count = |up: bool| all.iter().filter(|c| if up { c.change > 0.0 } else { c.change < 0.0 }).count();
    let mut out = format!(
        "<h4>Most changed between steps {first} and {last}</h4><p class=\"note\">Of {} held-out completions {} earn more \
         and {} less.</p>",
        all.len(),
        count(true),
        count(false)
    );
    if risen.is_empty() && fallen.is_empty() {
        return out;
    }
    let _ = write!(
        out,
        "<div class=\"scroll\"><table class=\"samples\"><thead><tr><th>reward</th><th>prompt</th><th>step {first}</th>\
         <th>step {last}</th></tr></thead><tbody>"
    );
    for course in risen.into_iter().chain(fallen) {
        let rewards: Vec<String> = course.rewards.iter().map(|r| r.map_or_else(|| "?".to_owned(), short)).collect();
        let class = if course.change > 0.0 { "up" } else { "down" };
        let _ = write!(
            out,
            "<tr><td><strong class=\"{class}\">{}{}</strong><br><small>{}<br>{}</small></td>{}{}{}</tr>",
            if course.change > 0.0 { "+" } else { "−" },
            short(course.change.abs()),
            rewards.join(" → "),
            escaped_line(&course.first.setting),
            cell(&course.first.prompt, PROMPT),
            cell(&course.first.text, TEXT),
            cell(&course.last.text, TEXT)
        );
    }
    out + "</tbody></table></div>"
}

/// Setting, prompt, and which of the completions of both.
type Place<'a> = (&'a str, &'a str, usize);

fn keyed(kept: &[Kept]) -> Vec<(Place<'_>, &Kept)> {
    let mut counts: HashMap<(&str, &str), usize> = HashMap::new();
    let mut all = Vec::with_capacity(kept.len());
    for kept in kept {
        let (setting, prompt) = (kept.setting.as_str(), kept.prompt.as_str());
        let count = counts.entry((setting, prompt)).or_default();
        *count += 1;
        all.push(((setting, prompt, *count), kept));
    }
    all
}

fn places(kept: &[Kept]) -> HashMap<Place<'_>, &Kept> {
    keyed(kept).into_iter().collect()
}

/// The best and the worst completions of some phases.
fn extremes(rollouts: &Steps<Kept>) -> String {
    let mut out = String::new();
    if rollouts.shown.is_empty() {
        return out;
    }
    let _ = write!(
        out,
        "<h4>Best and worst in training</h4><p class=\"note\">{} of {} phases; the others are in the run's \
         <code>completions/</code>.</p>",
        rollouts.shown.len(),
        rollouts.all
    );
    let ends = [0, rollouts.shown.len() - 1];
    for (i, (step, kept)) in rollouts.shown.iter().enumerate() {
        let mut ranked: Vec<&Kept> = kept.iter().filter(|kept| kept.reward.is_some()).collect();
        let reward = |kept: &Kept| kept.reward.unwrap_or(f64::NAN);
        ranked.sort_by(|a, b| reward(b).total_cmp(&reward(a)));
        let mean = ranked.iter().map(|kept| reward(kept)).sum::<f64>() / ranked.len() as f64;
        let open = if ends.contains(&i) { " open" } else { "" };
        let _ = write!(
            out,
            "<details{open}><summary>Step {step}: {} completions, mean reward {}</summary>",
            kept.len(),
            if ranked.is_empty() { "unknown".to_owned() } else { short(mean) }
        );
        out += "<div class=\"scroll\"><table class=\"samples\"><thead><tr><th></th><th>reward</th><th>advantage</th>\
                <th>prompt</th><th>completion</th></tr></thead><tbody>";
        let ranked = distinct(&ranked);
        let best = ranked.len().div_ceil(2).min(ROWS);
        let worst = (ranked.len() - best).min(ROWS);
        let rows = ranked[..best].iter().map(|row| ("best", row));
        for (name, (kept, count)) in rows.chain(ranked[ranked.len() - worst..].iter().map(|row| ("worst", row))) {
            let times = if *count > 1 { format!("<br><small>{count} times</small>") } else { String::new() };
            let _ = write!(
                out,
                "<tr><th scope=\"row\" class=\"{name}\">{name}{times}</th><td class=\"number\">{}</td>\
                 <td class=\"number\">{}</td>{}{}</tr>",
                short(reward(kept)),
                kept.advantage.map(short).unwrap_or_default(),
                cell(&kept.prompt, PROMPT),
                cell(&kept.text, TEXT)
            );
        }
        out += "</tbody></table></div></details>";
    }
    out
}

/// Each completion of a prompt once, and how often it is there.
fn distinct<'a>(kept: &[&'a Kept]) -> Vec<(&'a Kept, usize)> {
    let mut places: HashMap<(&str, &str), usize> = HashMap::new();
    let mut found: Vec<(&Kept, usize)> = Vec::new();
    for kept in kept {
        let place = *places.entry((&kept.prompt, &kept.text)).or_insert(found.len());
        match found.get_mut(place) {
            Some((_, count)) => *count += 1,
            None => found.push((kept, 1)),
        }
    }
    found
}

/// A cell with as much of a text as a report shows.
fn cell(text: &str, most: usize) -> String {
    let (shown, left) = match text.char_indices().nth(most) {
        Some((end, _)) => (&text[..end], text[end..].chars().count()),
        None => (text, 0),
    };
    let more = if left > 0 { format!("<small> … {left} more characters</small>") } else { String::new() };
    format!("<td><pre tabindex=\"0\">{}</pre>{more}</td>", escaped_text(shown))
}
