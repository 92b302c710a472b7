//! From the fields of a row to JSON.

use std::collections::{BTreeMap, HashMap};
use std::vec;

use ::parquet::data_type::{ByteArray, Decimal, Int96};
use ::parquet::record::{Field, Row as Fields};
use num_bigint::{BigInt, Sign};
use serde_json::{Map, Value};

use super::shape::{Kind, Shape};
use super::time::{self, Unit};
use crate::files::hex;

/// Turns rows into JSON. Numbers, truth values, lists and nulls are what they are in JSON, structs and maps are objects;
/// dates, times, UUIDs and decimals are text; bytes are text if they are UTF-8, and else null, as are numbers that are
/// none.
#[derive(Default)]
pub struct Converter<'s> {
    /// The values of INT96 columns by their number among the leaves, of which the library gives only milliseconds.
    pub int96: HashMap<usize, vec::IntoIter<Int96>>,
    /// How many values of a column are bytes that are no text.
    pub bytes: BTreeMap<String, usize>,
    /// The names that lead to the value at hand.
    path: Vec<&'s str>,
}

impl<'s> Converter<'s> {
    /// The fields of a row, or of a part of one.
    ///
    /// # Errors
    /// Names the column whose value no type of JSON can hold.
    pub fn object(&mut self, fields: &Fields, shapes: &'s [(String, Shape)]) -> Result<Map<String, Value>, String> {
        let mut object = Map::new();
        // The row reader gives the fields of the schema in their order.
        for ((_, field), (name, shape)) in fields.get_column_iter().zip(shapes) {
            self.path.push(name);
            object.insert(name.clone(), self.value(field, shape)?);
            self.path.pop();
        }
        Ok(object)
    }

    fn value(&mut self, field: &Field, shape: &'s Shape) -> Result<Value, String> {
        Ok(match (field, shape) {
            (Field::Null, _) => Value::Null,
            (Field::Group(fields), Shape::Group(shapes)) => Value::Object(self.object(fields, shapes)?),
            (Field::ListInternal(list), Shape::List(shape)) => {
                list.elements().iter().map(|element| self.value(element, shape)).collect::<Result<_, _>>()?
            }
            (Field::ListInternal(list), Shape::OldList(shape)) => match list.elements() {
                [] => Value::Array(Vec::new()),
                [whole] => self.value(whole, shape)?,
                _ => return Err(self.problem("it is not of the type that the file says")),
            },
            (Field::MapInternal(map), Shape::Map(keys, values)) => {
                let mut object = Map::new();
                for (key, field) in map.entries() {
                    let name = match self.value(key, keys)? {
                        Value::String(text) => text,
                        other => other.to_string(),
                    };
                    if object.contains_key(&name) {
                        return Err(self.problem(&format!("a map has the key `{name}` twice")));
                    }
                    object.insert(name, self.value(field, values)?);
                }
                Value::Object(object)
            }
            (leaf, Shape::Leaf(kind)) => self.leaf(leaf, *kind)?,
            _ => return Err(self.problem("it is not of the type that the file says")),
        })
    }

    fn leaf(&mut self, field: &Field, kind: Kind) -> Result<Value, String> {
        let text = match (field, kind) {
            (Field::Long(v) | Field::TimestampMillis(v) | Field::TimestampMicros(v), Kind::Timestamp { unit, utc }) => {
                time::timestamp(*v, unit, utc)
            }
            (Field::TimestampMillis(_), Kind::Int96(leaf)) => {
                let next = self.int96.get_mut(&leaf).and_then(Iterator::next);
                next.and_then(|words| time::int96(words.data().try_into().ok()?))
            }
            (Field::TimeMillis(v), _) => time::time_of_day(i64::from(*v), Unit::Millis),
            (Field::Long(v) | Field::TimeMicros(v), Kind::Time(unit)) => time::time_of_day(*v, unit),
            (Field::Date(days), _) => time::date(*days),
            (Field::Decimal(decimal), _) => Some(written(decimal)),
            (Field::Bytes(bytes), Kind::Uuid) => uuid(bytes),
            _ => return self.plain(field),
        };
        text.map(Value::String).ok_or_else(|| self.problem(&format!("no calendar or clock has {field:?}")))
    }

    fn plain(&mut self, field: &Field) -> Result<Value, String> {
        Ok(match field {
            Field::Bool(v) => (*v).into(),
            Field::Byte(v) => (*v).into(),
            Field::Short(v) => (*v).into(),
            Field::Int(v) => (*v).into(),
            Field::Long(v) => (*v).into(),
            Field::UByte(v) => (*v).into(),
            Field::UShort(v) => (*v).into(),
            Field::UInt(v) => (*v).into(),
            Field::ULong(v) => (*v).into(),
            Field::Float16(v) => v.to_f64().into(),
            Field::Float(v) => (*v).into(),
            Field::Double(v) => (*v).into(),
            Field::Str(v) => v.as_str().into(),
            Field::Bytes(v) => match std::str::from_utf8(v.data()) {
                Ok(text) => text.into(),
                Err(_) => {
                    *self.bytes.entry(self.path.join(".")).or_default() += 1;
                    Value::Null
                }
            },
            _ => return Err(self.problem("it is not of the type that the file says")),
        })
    }

    fn problem(&self, reason: &str) -> String {
        format!("column `{}`: {reason}", self.path.join("."))
    }
}

/// A decimal number with all its digits.
fn written(decimal: &Decimal) -> String {
    let (sign, digits) = BigInt::from_signed_bytes_be(decimal.data()).into_parts();
    let scale = usize::try_from(decimal.scale()).unwrap_or(0);
    let digits = format!("{:0>width$}", digits.to_string(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let point = if scale > 0 { "." } else { "" };
    format!("{}{whole}{point}{fraction}", if sign == Sign::Minus { "-" } else { "" })
}

fn uuid(bytes: &ByteArray) -> Option<String> {
    let hex = hex(&<[u8; 16]>::try_from(bytes.data()).ok()?);
    Some([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"))
}
