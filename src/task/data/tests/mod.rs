//! The same records from every format.

mod sources;

use std::path::Path;
use std::sync::Arc;

use ::parquet::basic::Compression;
use ::parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int32Type, Int64Type};
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use ::parquet::schema::parser::parse_message_type;
use proptest::prelude::*;
use serde_json::json;

use super::{DataError, read, write};
use crate::task::Record;

/// A record as the tests write it: text, a number, and a list whose numbers may be null; each may be null.
type Fields = (Option<String>, Option<i64>, Option<Vec<Option<i64>>>);

fn record((text, number, numbers): &Fields) -> Record {
    let fields = json!({ "text": text, "number": number, "numbers": numbers });
    serde_json::from_value(fields).unwrap()
}

const SCHEMA: &str = "message rows {
    optional binary text (UTF8);
    optional int64 number;
    optional group numbers (LIST) { repeated group list { optional int64 element; } }
}";

fn writer(path: &Path, schema: &str, compression: Compression) -> SerializedFileWriter<std::fs::File> {
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let properties = Arc::new(WriterProperties::builder().set_compression(compression).build());
    SerializedFileWriter::new(std::fs::File::create(path).unwrap(), schema, properties).unwrap()
}

/// Writes the next column of values that may be null.
fn column<T: ::parquet::data_type::DataType>(
    group: &mut SerializedRowGroupWriter<'_, std::fs::File>,
    values: &[T::T],
    definition: &[i16],
    repetition: Option<&[i16]>,
) {
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<T>().write_batch(values, Some(definition), repetition).unwrap();
    column.close().unwrap();
}

/// Writes records the way the hub does, `group_size` of them a row group.
fn write_parquet(path: &Path, records: &[Fields], group_size: usize, compression: Compression) {
    let mut file = writer(path, SCHEMA, compression);
    for rows in records.chunks(group_size) {
        let mut group = file.next_row_group().unwrap();
        let texts: Vec<ByteArray> = rows.iter().filter_map(|row| Some(row.0.as_ref()?.as_str().into())).collect();
        let there: Vec<i16> = rows.iter().map(|row| i16::from(row.0.is_some())).collect();
        column::<ByteArrayType>(&mut group, &texts, &there, None);
        let numbers: Vec<i64> = rows.iter().filter_map(|row| row.1).collect();
        let there: Vec<i16> = rows.iter().map(|row| i16::from(row.1.is_some())).collect();
        column::<Int64Type>(&mut group, &numbers, &there, None);
        let (mut values, mut definition, mut repetition) = (vec![], vec![], vec![]);
        for row in rows {
            match &row.2 {
                None => (definition.push(0), repetition.push(0)),
                Some(list) if list.is_empty() => (definition.push(1), repetition.push(0)),
                Some(list) => {
                    definition.extend(list.iter().map(|value| 2 + i16::from(value.is_some())));
                    repetition.extend((0..list.len()).map(|i| i16::from(i > 0)));
                    values.extend(list.iter().flatten());
                    ((), ())
                }
            };
        }
        column::<Int64Type>(&mut group, &values, &definition, Some(&repetition));
        group.close().unwrap();
    }
    file.close().unwrap();
}

fn records_of(path: &Path) -> Vec<Record> {
    read(path).unwrap_or_else(|error| panic!("{error}")).into_iter().map(|row| row.record).collect()
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => r#"[a-z"',;\\{}\[\]#\t\r\n \u{feff}\u{e9}\u{1f600}]{1,12}"#,
        1 => Just("[1, 2".to_owned()),
        1 => r"\PC{1,40}",
    ]
}

fn fields() -> impl Strategy<Value = Fields> {
    let list = prop::collection::vec(prop::option::of(any::<i64>()), 0..4);
    (prop::option::of(text()), prop::option::of(any::<i64>()), prop::option::of(list))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn all_formats_give_the_same_records(
        rows in prop::collection::vec(fields(), 1..12),
        group_size in 1usize..6,
        compression in prop_oneof![
            Just(Compression::UNCOMPRESSED), Just(Compression::SNAPPY), Just(Compression::ZSTD(Default::default())),
        ],
    ) {
        let dir = tempfile::tempdir().unwrap();
        let expected: Vec<Record> = rows.iter().map(record).collect();
        let path = |name: &str| dir.path().join(name);
        write_parquet(&path("a.parquet"), &rows, group_size, compression);
        prop_assert_eq!(&records_of(&path("a.parquet")), &expected);
        write(&path("a.jsonl"), &expected, false).unwrap();
        prop_assert_eq!(&records_of(&path("a.jsonl")), &expected);
        std::fs::write(path("a.json"), serde_json::to_string_pretty(&expected).unwrap()).unwrap();
        prop_assert_eq!(&records_of(&path("a.json")), &expected);
    }

    #[test]
    fn csv_gives_back_text_and_lists_and_empty_text_for_nulls(rows in prop::collection::vec(fields(), 1..12)) {
        let dir = tempfile::tempdir().unwrap();
        let expected: Vec<Record> = rows
            .into_iter()
            .map(|(text, _, list)| record(&(text, None, list)))
            .collect();
        let path = dir.path().join("a.csv");
        let written = write(&path, &expected, false);
        // A text such as `[]` is the one thing CSV cannot hold.
        prop_assume!(written.is_ok());
        let empty = |record: &Record| {
            let fields = record.fields().iter();
            let fields = fields.map(|(name, value)| (name.clone(), if value.is_null() { "".into() } else { value.clone() }));
            Record::from(fields.collect::<serde_json::Map<_, _>>())
        };
        prop_assert_eq!(records_of(&path), expected.iter().map(empty).collect::<Vec<_>>());
    }

    #[test]
    fn damaged_parquet_is_an_error_or_other_records(at in 0.0..1.0f64, byte in any::<u8>(), cut in any::<bool>()) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.parquet");
        let rows = [(Some("a text".to_owned()), Some(3), Some(vec![Some(1), None])), (None, Some(4), None)];
        write_parquet(&path, &rows, 2, Compression::SNAPPY);
        let mut content = std::fs::read(&path).unwrap();
        let at = (content.len() as f64 * at) as usize;
        if cut {
            content.truncate(at);
        } else {
            content[at] = byte;
        }
        std::fs::write(&path, &content).unwrap();
        match read(&path) {
            Ok(_) => prop_assert!(!cut),
            Err(error) => prop_assert!(error.to_string().starts_with(&path.display().to_string()), "{}", error),
        }
    }
}

#[test]
fn parquet_types_become_json() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.PARQUET");
    let schema = "message rows {
        optional binary bytes;
        optional double level;
        optional int32 day (DATE);
        optional int32 price (DECIMAL(5, 2));
        optional group inner { optional int64 a; }
    }";
    let mut file = writer(&path, schema, Compression::UNCOMPRESSED);
    let mut group = file.next_row_group().unwrap();
    column::<ByteArrayType>(&mut group, &["\u{e9}".into(), vec![0xffu8].into()], &[1, 1], None);
    column::<DoubleType>(&mut group, &[0.5, f64::NAN], &[1, 1], None);
    column::<Int32Type>(&mut group, &[19_723], &[1, 0], None);
    column::<Int32Type>(&mut group, &[1234], &[1, 0], None);
    column::<Int64Type>(&mut group, &[7], &[2, 1], None);
    group.close().unwrap();
    file.close().unwrap();
    let first = json!({ "bytes": "\u{e9}", "level": 0.5, "day": "2024-01-01", "price": "12.34", "inner": { "a": 7 } });
    let second = json!({ "bytes": null, "level": null, "day": null, "price": null, "inner": { "a": null } });
    let expected = [first, second].map(|fields| serde_json::from_value::<Record>(fields).unwrap());
    assert_eq!(records_of(&path), expected);
    assert_eq!(read(&path).unwrap()[1].place, "row 2");
}

#[test]
fn a_date_that_no_calendar_has_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    let mut file = writer(&path, "message rows { optional int32 day (DATE); }", Compression::UNCOMPRESSED);
    let mut group = file.next_row_group().unwrap();
    column::<Int32Type>(&mut group, &[0, i32::MAX], &[1, 1], None);
    group.close().unwrap();
    file.close().unwrap();
    let error = read(&path).unwrap_err().to_string();
    assert!(
        error.ends_with("a.parquet, row 2: the file is damaged: it holds what the reader does not expect"),
        "{error}"
    );
}

#[test]
fn files_are_told_by_their_names() {
    let error = read(Path::new("data/train.txt")).unwrap_err().to_string();
    let endings = ".parquet, .jsonl, .ndjson, .json, .csv or .tsv";
    assert_eq!(error, format!("data/train.txt: the name of a data file ends in {endings}"));
    for name in ["no/such.parquet", "no/such.jsonl", "no/such.csv"] {
        let error = read(Path::new(name)).unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot read {name}: ")), "{error}");
    }
}

#[test]
fn a_file_is_written_whole_and_not_over_another() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.csv");
    let records = [Record::from([("a", "1".to_owned())]), Record::from([("b", "x\ny".to_owned())])];
    write(&path, &records, false).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "a,b\n1,\n,\"x\ny\"\n");
    assert_eq!(write(&path, &records, false), Err(DataError::Exists(path.clone())));
    write(&path, &records[..1], true).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "a\n1\n");
    let unfit = write(&path, &[Record::from([("a", "[1]".to_owned())])], true).unwrap_err().to_string();
    assert!(
        unfit.ends_with("a.csv, row 1: field `a` is text that CSV would give back as JSON: write .jsonl"),
        "{unfit}"
    );
    assert!(write(&dir.path().join("a.parquet"), &records, false).is_err());
    assert!(
        write(&dir.path().join("no/a.jsonl"), &records, false).unwrap_err().to_string().starts_with("cannot write")
    );
    // Nothing is left behind.
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}
