//! Event files of runs that go on: which events are left, and in what order.

use super::event::{Field, fields, payloads};
use super::*;

fn row(step: usize) -> Row {
    let mut row = Row::new(step);
    row.set("reward", step as f64 / 8.0);
    row
}

/// Step, names and values.
pub(crate) type EventRow = (u64, Vec<(String, f32)>);

/// The rows that the event files of a run hold, file after file.
pub(crate) fn events(run: &Path) -> Vec<Vec<EventRow>> {
    let of = |path: &PathBuf| {
        let bytes = std::fs::read(path).expect("a file");
        assert_eq!(payloads(&bytes).last().map(|(_, end)| end), Some(bytes.len()), "whole records only");
        let first = payloads(&bytes).next().expect("a record").0;
        assert!(fields(first).any(|field| field == Some((3, Field::Bytes(b"brain.Event:2")))), "{}", path.display());
        payloads(&bytes).filter_map(|(payload, _)| row_of(payload)).collect()
    };
    files(&folder(run)).expect("a folder").iter().map(of).collect()
}

/// The row of an event, if it is that of one.
fn row_of(payload: &[u8]) -> Option<EventRow> {
    let all: Vec<(u64, Field<'_>)> = fields(payload).map(|field| field.expect("a field")).collect();
    let summary =
        all.iter().find_map(|field| if let (5, Field::Bytes(summary)) = field { Some(summary) } else { None })?;
    let step = all.iter().find_map(|field| if let (2, Field::Varint(step)) = field { Some(*step) } else { None });
    let value = |field: Option<(u64, Field<'_>)>| {
        let Some((1, Field::Bytes(value))) = field else { panic!("{field:?}") };
        let parts: Vec<(u64, Field<'_>)> = fields(value).map(|field| field.expect("a field")).collect();
        let [(1, Field::Bytes(tag)), (2, Field::Bits32(bits))] = parts[..] else { panic!("{parts:?}") };
        (String::from_utf8(tag.to_vec()).expect("text"), f32::from_bits(bits))
    };
    Some((step.expect("a step"), fields(summary).map(value).collect()))
}

/// The steps of all events, file after file.
fn steps(run: &Path) -> Vec<Vec<u64>> {
    events(run).iter().map(|rows| rows.iter().map(|&(step, _)| step).collect()).collect()
}

fn written(run: &Path, steps: impl Iterator<Item = usize>) {
    let mut events = EventFile::new(run);
    steps.for_each(|step| events.append(&row(step)).expect("written"));
    events.sync().expect("written");
}

#[test]
fn a_resumed_run_has_every_event_once_whatever_was_lost_or_too_much() {
    let dir = tempfile::tempdir().expect("a folder");
    let run = dir.path();
    let rows: Vec<Row> = [0, 1, 2, 2, 3, 4].map(row).to_vec();
    written(run, [0, 1, 2, 2, 3].into_iter());
    // later steps are cut, and both rows of one step stay
    let mut events = EventFile::resume(run, 2, &rows[..4]).expect("resumed");
    assert_eq!(steps(run), [[0, 1, 2, 2]]);
    events.append(&rows[4]).expect("written");
    // what the files lack is added: a row that was not written before the end, or all of them
    drop(EventFile::resume(run, 4, &rows).expect("resumed"));
    assert_eq!(steps(run), [vec![0, 1, 2, 2], vec![3], vec![4]]);
    // a start that has nothing to write leaves no file behind, and neither does one of which nothing is left
    drop(EventFile::resume(run, 2, &rows[..4]).expect("resumed"));
    assert_eq!(steps(run), [[0, 1, 2, 2]]);
    discard(run);
    drop(EventFile::resume(run, 4, &rows).expect("resumed"));
    assert_eq!(steps(run), [[0, 1, 2, 2, 3, 4]]);
}

#[test]
fn what_follows_a_damaged_event_is_written_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let run = dir.path();
    let rows: Vec<Row> = (0..6).map(row).collect();
    for torn in [1, 20] {
        discard(run);
        written(run, 0..3);
        written(run, 3..6);
        let first = &files(&folder(run)).expect("files")[0];
        let bytes = std::fs::read(first).expect("a file");
        std::fs::write(first, &bytes[..bytes.len() - torn]).expect("cut");
        drop(EventFile::resume(run, 5, &rows).expect("resumed"));
        assert_eq!(steps(run), [vec![0, 1], vec![2, 3, 4, 5]], "{torn} bytes less");
    }
}

#[test]
fn files_of_others_are_left_alone_and_names_are_in_order() {
    let dir = tempfile::tempdir().expect("a folder");
    let run = dir.path();
    std::fs::create_dir(folder(run)).expect("a folder");
    // a clock that was ahead, and what is none of ours
    let ahead = folder(run).join("events.out.tfevents.9000000000.elsewhere.1.0");
    std::fs::write(&ahead, [event::version(1.0), event::scalars(1.0, &row(1))].concat()).expect("written");
    std::fs::write(folder(run).join("notes.txt"), "mine").expect("written");
    written(run, [2].into_iter());
    assert_eq!(steps(run), [vec![1], vec![2]]);
    let names: Vec<PathBuf> = files(&folder(run)).expect("files");
    assert!(names.is_sorted() && names[0] == ahead, "{names:?}");
    cut(run, 0).expect("cut");
    assert_eq!(std::fs::read_dir(folder(run)).expect("a folder").count(), 1);
    assert_eq!(cut(&run.join("nowhere"), 0).expect("no folder, no events"), 0);
}

#[test]
fn values_keep_their_names_and_words_are_left_out() {
    let mut row = row(3);
    row.set("phase", "train").set("loss", f64::INFINITY).set("n", 7);
    let record = event::scalars(12.5, &row);
    let (payload, _) = payloads(&record).next().expect("a record");
    assert!(fields(payload).any(|field| field == Some((1, Field::Bits64(12.5_f64.to_bits())))));
    let (step, values) = row_of(payload).expect("a row");
    let shown: Vec<String> = values.iter().map(|(name, value)| format!("{name} {value}")).collect();
    assert_eq!((step, shown), (3, ["reward 0.375", "loss NaN", "n 7"].map(str::to_owned).to_vec()));
}
