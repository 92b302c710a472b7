//! The same records from every format.

mod sources;

use std::path::Path;
use std::sync::Arc;

use ::parquet::basic::Compression;
use ::parquet::data_type::{
    ByteArray, ByteArrayType, DoubleType, FixedLenByteArray, FixedLenByteArrayType, Int32Type, Int64Type, Int96,
    Int96Type,
};
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use ::parquet::schema::parser::parse_message_type;
use proptest::prelude::*;
use serde_json::{Value, json};

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
            Just(Compression::GZIP(Default::default())), Just(Compression::BROTLI(Default::default())),
            Just(Compression::LZ4), Just(Compression::LZ4_RAW),
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

/// The records of a file with one row group, or the error, without the file's name.
fn read_columns(
    schema: &str,
    write: impl Fn(&mut SerializedRowGroupWriter<'_, std::fs::File>),
) -> Result<Value, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    let mut file = writer(&path, schema, Compression::SNAPPY);
    let mut group = file.next_row_group().unwrap();
    write(&mut group);
    group.close().unwrap();
    file.close().unwrap();
    match read(&path) {
        Ok(rows) => Ok(rows.into_iter().map(|row| Value::Object(row.record.fields().clone())).collect()),
        Err(error) => Err(error.to_string().replace(&path.display().to_string(), "a.parquet")),
    }
}

#[test]
fn timestamps_are_text_in_every_unit_and_zone() {
    let schema = "message rows {
        optional int64 ns (TIMESTAMP(NANOS, false));
        optional int64 ns_utc (TIMESTAMP(NANOS, true));
        optional int64 us (TIMESTAMP(MICROS, true));
        optional int64 ms (TIMESTAMP(MILLIS, false));
        optional int64 old (TIMESTAMP_MILLIS);
        optional int64 time (TIME(NANOS, true));
        optional int64 time_us (TIME(MICROS, false));
        optional int32 time_ms (TIME(MILLIS, false));
        optional int96 hive;
        optional group list (LIST) { repeated group list { optional int64 element (TIMESTAMP(NANOS, true)); } }
        optional group inner { optional int96 hive; }
    }";
    let (ns, time) = (1_704_067_200_123_456_789, 3_723_000_000_004);
    let hive = || {
        let mut value = Int96::new();
        value.set_data((time & 0xffff_ffff) as u32, (time >> 32) as u32, 2_460_311);
        value
    };
    let rows = read_columns(schema, |group| {
        for value in [ns, ns, ns / 1_000, ns / 1_000_000, ns / 1_000_000, time, time / 1_000] {
            column::<Int64Type>(group, &[value], &[1, 0], None);
        }
        column::<Int32Type>(group, &[3_723_000], &[1, 0], None);
        column::<Int96Type>(group, &[hive()], &[1, 0], None);
        column::<Int64Type>(group, &[ns, ns], &[3, 2, 3, 0], Some(&[0, 1, 1, 0]));
        column::<Int96Type>(group, &[hive()], &[1, 2], None);
    });
    let utc = "2024-01-01 00:00:00.123456789 +00:00";
    let first = json!({
        "ns": "2024-01-01 00:00:00.123456789",
        "ns_utc": utc,
        "us": "2024-01-01 00:00:00.123456 +00:00",
        "ms": "2024-01-01 00:00:00.123",
        "old": "2024-01-01 00:00:00.123 +00:00",
        "time": "01:02:03.000000004",
        "time_us": "01:02:03.000000",
        "time_ms": "01:02:03.000",
        "hive": "2024-01-01 01:02:03.000000004",
        "list": [utc, null, utc],
        "inner": { "hive": null },
    });
    let rows = rows.unwrap();
    assert_eq!(rows[0], first);
    assert_eq!(rows[1]["inner"]["hive"], first["hive"]);
    assert!(rows[1].as_object().unwrap().iter().all(|(name, value)| name == "inner" || value.is_null()));
}

#[test]
fn numbers_of_a_column_keep_their_digits() {
    let schema = "message rows {
        required int64 u (INTEGER(64, false));
        required int64 i;
        required fixed_len_byte_array(16) d (DECIMAL(38, 3));
        required int64 whole (DECIMAL(18, 0));
        required int32 small (DECIMAL(3, 3));
        required fixed_len_byte_array(16) id (UUID);
    }";
    let big = -123_456_789_012_345_678_901_234_567_890_i128;
    let rows = read_columns(schema, |group| {
        column::<Int64Type>(group, &[-1, 9_007_199_254_740_993], &[0; 2], None);
        column::<Int64Type>(group, &[i64::MIN, 9_007_199_254_740_993], &[0; 2], None);
        let bytes = |value: i128| FixedLenByteArray::from(value.to_be_bytes().to_vec());
        column::<FixedLenByteArrayType>(group, &[bytes(big), bytes(5)], &[0; 2], None);
        column::<Int64Type>(group, &[700, -7], &[0; 2], None);
        column::<Int32Type>(group, &[-12, 0], &[0; 2], None);
        column::<FixedLenByteArrayType>(group, &[bytes(0x0123_4567 << 96), bytes(-1)], &[0; 2], None);
    });
    let expected = json!([
        { "u": u64::MAX, "i": i64::MIN, "d": "-123456789012345678901234567.890", "whole": "700", "small": "-0.012",
          "id": "01234567-0000-0000-0000-000000000000" },
        { "u": 9_007_199_254_740_993_u64, "i": 9_007_199_254_740_993_u64, "d": "0.005", "whole": "-7", "small": "0.000",
          "id": "ffffffff-ffff-ffff-ffff-ffffffffffff" },
    ]);
    assert_eq!(rows, Ok(expected));
}

#[test]
fn of_two_columns_of_a_name_none_wins() {
    let numbers = |group: &mut SerializedRowGroupWriter<'_, std::fs::File>| {
        column::<Int64Type>(group, &[1], &[0], None);
        column::<Int64Type>(group, &[2], &[0], None);
    };
    let error = read_columns("message rows { required int64 q; required int64 q; }", numbers).unwrap_err();
    assert_eq!(error, "a.parquet: two columns are named `q`: rename one of them");
    let nested = "message rows { required group a { required int64 q; required int64 q; } }";
    assert_eq!(
        read_columns(nested, numbers).unwrap_err(),
        "a.parquet: two columns are named `a.q`: rename one of them"
    );
    let fine = "message rows { required int64 q; required group a { required int64 q; } }";
    assert_eq!(read_columns(fine, numbers), Ok(json!([{ "q": 1, "a": { "q": 2 } }])));
}

#[test]
fn of_two_entries_of_a_key_none_wins() {
    let schema = "message rows {
        required group m (MAP) { repeated group key_value { required binary key (UTF8); required int64 value; } }
    }";
    let read = |keys: [&str; 3]| {
        read_columns(schema, |group| {
            let keys: Vec<ByteArray> = keys.iter().map(|&key| key.into()).collect();
            column::<ByteArrayType>(group, &keys, &[1; 3], Some(&[0, 0, 1]));
            column::<Int64Type>(group, &[1, 2, 3], &[1; 3], Some(&[0, 0, 1]));
        })
    };
    assert_eq!(read(["a", "a", "b"]), Ok(json!([{ "m": { "a": 1 } }, { "m": { "a": 2, "b": 3 } }])));
    assert_eq!(read(["a", "a", "a"]).unwrap_err(), "a.parquet, row 2: column `m`: a map has the key `a` twice");
}

#[test]
fn a_list_of_the_oldest_form_is_not_wrapped_once_too_often() {
    let schema = "message rows {
        required group plain (LIST) { repeated int64 element (TIME(NANOS, false)); }
        repeated int64 bare;
        required group pairs (LIST) { repeated group array { required int64 a; required int64 b; } }
        required group lists (LIST) { repeated group array (LIST) { repeated int64 array; } }
        required group pairs_of_one (LIST) { repeated group x_tuple { required int64 a; } }
    }";
    let rows = read_columns(schema, |group| {
        for deep in [1, 1, 1, 1, 2, 1] {
            column::<Int64Type>(group, &[1, 2], &[deep, deep, 0], Some(&[0, 1, 0]));
        }
    });
    let first = json!({
        "plain": ["00:00:00.000000001", "00:00:00.000000002"],
        "bare": [1, 2],
        "pairs": [{ "a": 1, "b": 1 }, { "a": 2, "b": 2 }],
        "lists": [[1], [2]],
        "pairs_of_one": [{ "a": 1 }, { "a": 2 }],
    });
    let second = json!({ "plain": [], "bare": [], "pairs": [], "lists": [], "pairs_of_one": [] });
    assert_eq!(rows, Ok(json!([first, second])));
}

#[test]
fn an_interval_is_named_and_not_called_damage() {
    let error = read_columns("message rows { required fixed_len_byte_array(12) i (INTERVAL); }", |group| {
        column::<FixedLenByteArrayType>(group, &[vec![0; 12].into()], &[0], None);
    });
    let reason = "a.parquet: column `i` holds intervals, which are not read: drop it, or write text";
    assert_eq!(error.unwrap_err(), reason);
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
    assert!(error.ends_with("a.parquet, row 2: column `day`: no calendar or clock has Date(2147483647)"), "{error}");
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
