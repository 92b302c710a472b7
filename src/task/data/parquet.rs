//! Parquet, row by row.

mod shape;
mod time;
mod value;

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::vec;

use ::parquet::basic::{Compression, Type as Physical};
use ::parquet::column::reader::ColumnReader;
use ::parquet::data_type::Int96;
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::ParquetMetaData;
use ::parquet::file::reader::{FileReader as _, RowGroupReader, SerializedFileReader};

use super::{DataError, Result, Row};
use crate::foreign::guarded;
use crate::task::Record;
use value::Converter;

/// Characters of the library's message.
const LONGEST_REASON: usize = 200;

/// Reads all rows; what becomes of their values says [`Converter`].
///
/// # Errors
/// A file that is damaged; a column that stands twice, and one of a type or compression that is not read; a value that
/// JSON cannot hold. The row is named where it is one.
pub fn read(path: &Path) -> Result<Vec<Row>> {
    let file = File::open(path).map_err(|error| DataError::io(path, "read", &error))?;
    let mut rows = Vec::new();
    let result = guarded(|| read_rows(file, &mut rows));
    let damaged = |reason: &str| match rows.len() {
        0 => DataError::file(path, format!("not a parquet file that can be read: {reason}")),
        read => DataError::row(path, format!("row {}", read + 1), format!("the file is damaged: {reason}")),
    };
    match result {
        Ok(Ok(bytes)) => {
            for (column, count) in bytes {
                let file = path.display();
                tracing::warn!(
                    "{file}: {count} values of the column `{column}` are bytes that are no text: read as null"
                );
            }
            Ok(rows)
        }
        Ok(Err(Refused::File(reason))) => Err(DataError::file(path, reason)),
        Ok(Err(Refused::Row(reason))) => Err(DataError::row(path, format!("row {}", rows.len() + 1), reason)),
        // It may quote the whole value that it cannot read.
        Ok(Err(Refused::Library(error))) => {
            Err(damaged(&error.to_string().chars().take(LONGEST_REASON).collect::<String>()))
        }
        Err(panicked) => Err(damaged(&panicked.to_string())),
    }
}

enum Refused {
    File(String),
    Row(String),
    Library(ParquetError),
}

impl From<ParquetError> for Refused {
    fn from(error: ParquetError) -> Self {
        Self::Library(error)
    }
}

/// Reads all rows, and counts by column the values that are null for being no text.
fn read_rows(file: File, rows: &mut Vec<Row>) -> Result<impl IntoIterator<Item = (String, usize)> + use<>, Refused> {
    let reader = SerializedFileReader::new(file)?;
    let shapes = shape::of_rows(reader.metadata().file_metadata().schema()).map_err(Refused::File)?;
    refuse_compression(reader.metadata()).map_err(Refused::File)?;
    let mut converter = Converter::default();
    for i in 0..reader.num_row_groups() {
        let group = reader.get_row_group(i)?;
        converter.int96 = int96(group.as_ref())?;
        for fields in group.get_row_iter(None)? {
            let record = Record::from(converter.object(&fields?, &shapes).map_err(Refused::Row)?);
            rows.push(Row { place: format!("row {}", rows.len() + 1), record });
        }
    }
    Ok(converter.bytes)
}

fn refuse_compression(metadata: &ParquetMetaData) -> Result<(), String> {
    for column in metadata.row_groups().iter().flat_map(|group| group.columns()) {
        if let Some(name) = unknown_compression(column.compression()) {
            let column = column.column_path();
            return Err(format!(
                "column `{column}` is compressed with {name}: write the file with zstd, snappy or gzip"
            ));
        }
    }
    Ok(())
}

/// The name of a compression that the library cannot undo.
fn unknown_compression(compression: Compression) -> Option<&'static str> {
    match compression {
        Compression::LZO => Some("LZO"),
        _ => None,
    }
}

/// All values of the INT96 columns of a row group, by the columns' numbers.
fn int96(group: &dyn RowGroupReader) -> Result<HashMap<usize, vec::IntoIter<Int96>>, ParquetError> {
    let mut found = HashMap::new();
    let metadata = group.metadata();
    let rows = usize::try_from(metadata.num_rows()).unwrap_or(0);
    for (i, column) in metadata.columns().iter().enumerate().filter(|(_, c)| c.column_type() == Physical::INT96) {
        let ColumnReader::Int96ColumnReader(mut reader) = group.get_column_reader(i)? else { continue };
        let (mut definition, mut repetition, mut values) = (Vec::new(), Vec::new(), Vec::new());
        let descriptor = column.column_descr();
        let definition = (descriptor.max_def_level() > 0).then_some(&mut definition);
        let repetition = (descriptor.max_rep_level() > 0).then_some(&mut repetition);
        reader.read_records(rows, definition, repetition, &mut values)?;
        found.insert(i, values.into_iter());
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lzo_is_named() {
        assert_eq!(unknown_compression(Compression::LZO), Some("LZO"));
        assert_eq!(unknown_compression(Compression::BROTLI(Default::default())), None);
    }
}
