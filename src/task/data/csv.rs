//! CSV and TSV with a line of column names.

use std::path::Path;

use ::csv::{ByteRecord, Error, ErrorKind, Position, ReaderBuilder, StringRecord};
use serde_json::{Error as JsonError, Map, Value};

use super::{DataError, Result, Row, exact, json};
use crate::task::Record;

/// Reads the rows below the line of names. The place of a row is the line it begins in.
pub fn read(path: &Path, content: &[u8], delimiter: u8) -> Result<Vec<Row>> {
    let mut reader = ReaderBuilder::new().delimiter(delimiter).from_reader(content);
    let mut lines = Lines { content, byte: 0, line: 1 };
    let names = reader.headers().map_err(|error| refused(path, &mut lines, &error))?.clone();
    for (i, name) in names.iter().enumerate() {
        if names.iter().take(i).any(|earlier| earlier == name) {
            return Err(DataError::row(path, "line 1", format!("two columns are named `{name}`")));
        }
    }
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| refused(path, &mut lines, &error))?;
        lines.go_to(record.position());
        let place = lines.place();
        match to_record(&names, &record) {
            Ok(record) => rows.push(Row { place, record }),
            Err(reason) => return Err(DataError::row(path, place, reason)),
        }
    }
    // An open quote would take the rest of the file into one cell without an error.
    if is_open(&content[lines.byte..], delimiter) {
        return Err(DataError::row(path, lines.place(), "a quote (\") is opened and not closed"));
    }
    Ok(rows)
}

/// The line of a record. The library counts blank lines, and half of a line's end, to the record that follows them.
struct Lines<'a> {
    content: &'a [u8],
    byte: usize,
    line: usize,
}

impl Lines<'_> {
    fn go_to(&mut self, position: Option<&Position>) {
        let Some(rest) = position.and_then(|at| self.content.get(usize::try_from(at.byte()).ok()?..)) else { return };
        let blank = rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let byte = self.content.len() - rest.len() + blank;
        let passed = self.content.get(self.byte..byte).unwrap_or_default();
        self.line += passed.iter().filter(|&&byte| byte == b'\n').count();
        self.byte = byte;
    }

    fn place(&self) -> String {
        format!("line {}", self.line)
    }
}

fn to_record(names: &StringRecord, cells: &StringRecord) -> Result<Record, String> {
    let field = |(name, text): (&str, &str)| match cell(text) {
        Ok(value) => Ok((name.to_owned(), value)),
        Err(error) => Err(format!("column `{name}`: {}", json::reason(&error))),
    };
    Ok(Record::from(names.iter().zip(cells).map(field).collect::<Result<Map<_, _>, _>>()?))
}

/// What a cell holds: a list or an object if it is one in JSON, else its text, which is empty for an empty cell. An
/// object with a key twice is an error.
pub(super) fn cell(text: &str) -> Result<Value, JsonError> {
    match text.as_bytes().first() {
        Some(b'[' | b'{') => {
            exact::parse(text).or_else(|error| if error.is_data() { Err(error) } else { Ok(text.into()) })
        }
        _ => Ok(text.into()),
    }
}

/// Whether a row that follows the last one would become part of it.
fn is_open(last: &[u8], delimiter: u8) -> bool {
    let records = |content: &[u8]| {
        let mut builder = ReaderBuilder::new();
        builder.has_headers(false).flexible(true).delimiter(delimiter);
        let mut reader = builder.from_reader(content);
        let mut record = ByteRecord::new();
        let mut count = 0;
        while matches!(reader.read_byte_record(&mut record), Ok(true)) {
            count += 1;
        }
        count
    };
    records(&[last, b"\nx\n"].concat()) == records(last)
}

fn refused(path: &Path, lines: &mut Lines, error: &Error) -> DataError {
    lines.go_to(error.position());
    let reason = match error.kind() {
        ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("its number of cells is {len}, of columns {expected_len}")
        }
        ErrorKind::Utf8 { err, .. } => format!("cell {} is not UTF-8", err.field() + 1),
        _ => error.to_string(),
    };
    DataError::row(path, lines.place(), reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(content: &[u8]) -> Result<Vec<(String, String)>, String> {
        let show = |row: &Row| (row.place.clone(), serde_json::to_string(&row.record).unwrap());
        read(Path::new("a.csv"), content, b',')
            .map(|rows| rows.iter().map(show).collect())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn cells_are_text_or_lists_and_an_empty_cell_is_no_null() {
        let rows = parse("\u{feff}numbers,target,note\r\n\"[3, 4]\",7,\r\n\r\n[x,\"a \"\"b\"\"\nc\",{}\r\n".as_bytes())
            .unwrap();
        let expected = [
            ("line 2", r#"{"numbers":[3,4],"target":"7","note":""}"#),
            ("line 4", r#"{"numbers":"[x","target":"a \"b\"\nc","note":{}}"#),
        ];
        assert_eq!(rows, expected.map(|(place, text)| (place.to_owned(), text.to_owned())));
        assert_eq!(parse(b"a,b\n\"\",\n").unwrap()[0].1, r#"{"a":"","b":""}"#);
        let rows = read(Path::new("a.tsv"), b"a\tb\n1,2\t3\n", b'\t').unwrap();
        assert_eq!(rows[0].record.text("a"), Ok("1,2"));
        assert_eq!(parse(b""), Ok(vec![]));
        assert_eq!(parse(b"a,b"), Ok(vec![]));
    }

    #[test]
    fn broken_rows_are_named() {
        assert_eq!(
            parse(b"a,b\n1,2\n\n\n1,2,3\n").unwrap_err(),
            "a.csv, line 5: its number of cells is 3, of columns 2"
        );
        assert_eq!(
            parse(b"a,b\n\"x\ny\",2\n1\n").unwrap_err(),
            "a.csv, line 4: its number of cells is 1, of columns 2"
        );
        assert_eq!(parse(b"a,b\n1,2\n1,\xff\n").unwrap_err(), "a.csv, line 3: cell 2 is not UTF-8");
        assert_eq!(parse(b"a,\xff\n1,2\n").unwrap_err(), "a.csv, line 1: cell 2 is not UTF-8");
        assert_eq!(parse(b"a,b,a\n").unwrap_err(), "a.csv, line 1: two columns are named `a`");
    }

    #[test]
    fn numbers_in_a_list_keep_their_digits_and_keys_stand_once() {
        let rows = parse(b"a\n\"[123456789012345678901, 18446744073709551615]\"\n").unwrap();
        assert_eq!(rows[0].1, r#"{"a":["123456789012345678901",18446744073709551615]}"#);
        let error = parse(b"a,b\n1,\"{\"\"k\"\": 1, \"\"k\"\": 2}\"\n").unwrap_err();
        assert_eq!(error, "a.csv, line 2: column `b`: an object has the key `k` twice at line 1 column 12");
    }

    #[test]
    fn an_open_quote_does_not_swallow_the_file() {
        let error = "a.csv, line 3: a quote (\") is opened and not closed";
        assert_eq!(parse(b"a,b\n1,2\n1,\"2\n3,4\n").unwrap_err(), error);
        assert_eq!(parse(b"\"a\n1\n").unwrap_err(), "a.csv, line 1: a quote (\") is opened and not closed");
        for fine in ["a\n\"1\"", "a\n\"1\"\n", "a\n5\" pipe\n", "a\n\"x\"\"\"\n", "a\n1\n\n\n"] {
            assert_eq!(parse(fine.as_bytes()).map(|rows| rows.len()), Ok(1), "{fine}");
        }
    }
}
