//! What the columns of a parquet file hold. The library's row reader knows only the older annotations: of nanoseconds, of
//! local time and of UUIDs it gives the bare number or bytes.

use ::parquet::basic::{ConvertedType, LogicalType, Repetition, TimeUnit, Type as Physical};
use ::parquet::schema::types::Type;

use super::time::Unit;

/// What a column, or a part of one, holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A value.
    Leaf(Kind),
    /// Named parts.
    Group(Vec<(String, Shape)>),
    /// A list of these.
    List(Box<Shape>),
    /// A list of the oldest form, whose child is this list: the row reader gives a list that holds it, or nothing.
    OldList(Box<Shape>),
    /// Entries of keys and values.
    Map(Box<Shape>, Box<Shape>),
}

/// How a value is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// As the library gives it.
    Plain,
    /// An instant, counted from 1970.
    Timestamp {
        /// What is counted.
        unit: Unit,
        /// Whether it is UTC, not the time of some unnamed place.
        utc: bool,
    },
    /// A time of day.
    Time(Unit),
    /// An instant as Hive and old Spark write it, in the leaf column of this number.
    Int96(usize),
    /// 16 bytes.
    Uuid,
}

/// The shape of a file's rows.
///
/// # Errors
/// Names the column that stands twice, or whose type cannot be read.
pub fn of_rows(schema: &Type) -> Result<Vec<(String, Shape)>, String> {
    Builder { leaves: 0, path: Vec::new() }.group(schema)
}

struct Builder<'a> {
    /// Leaf columns that are passed.
    leaves: usize,
    path: Vec<&'a str>,
}

impl<'a> Builder<'a> {
    fn group(&mut self, group: &'a Type) -> Result<Vec<(String, Shape)>, String> {
        let mut shapes: Vec<(String, Shape)> = Vec::new();
        for field in group.get_fields() {
            let shape = self.field(field)?;
            if shapes.iter().any(|(name, _)| name == field.name()) {
                self.path.push(field.name());
                return Err(format!("two columns are named `{}`: rename one of them", self.path.join(".")));
            }
            shapes.push((field.name().to_owned(), shape));
        }
        Ok(shapes)
    }

    /// Lists and maps are told as the row reader tells them.
    fn field(&mut self, field: &'a Type) -> Result<Shape, String> {
        self.path.push(field.name());
        let info = field.get_basic_info();
        let shape = if field.is_primitive() {
            Shape::Leaf(self.leaf(field)?)
        } else {
            match (info.converted_type(), field.get_fields()) {
                (ConvertedType::LIST, [repeated]) if is_element(repeated) => {
                    Shape::OldList(Box::new(self.field(repeated)?))
                }
                (ConvertedType::LIST, [repeated]) => match repeated.get_fields() {
                    [element] => Shape::List(Box::new(self.field(element)?)),
                    _ => Shape::Group(self.group(field)?),
                },
                (ConvertedType::MAP | ConvertedType::MAP_KEY_VALUE, [entry]) if entry.is_group() => {
                    match entry.get_fields() {
                        [key, value] => Shape::Map(Box::new(self.field(key)?), Box::new(self.field(value)?)),
                        [key] => Shape::List(Box::new(self.field(key)?)),
                        _ => Shape::Group(self.group(field)?),
                    }
                }
                _ => Shape::Group(self.group(field)?),
            }
        };
        self.path.pop();
        let repeated = info.has_repetition() && info.repetition() == Repetition::REPEATED;
        Ok(if repeated { Shape::List(Box::new(shape)) } else { shape })
    }

    fn leaf(&mut self, field: &Type) -> Result<Kind, String> {
        let info = field.get_basic_info();
        let number = self.leaves;
        self.leaves += 1;
        Ok(match (field.get_physical_type(), info.logical_type_ref(), info.converted_type()) {
            (_, _, ConvertedType::INTERVAL) => {
                let column = self.path.join(".");
                return Err(format!("column `{column}` holds intervals, which are not read: drop it, or write text"));
            }
            (Physical::INT96, _, _) => Kind::Int96(number),
            (_, Some(LogicalType::Timestamp(instant)), _) => {
                Kind::Timestamp { unit: counted(&instant.unit), utc: instant.is_adjusted_to_u_t_c }
            }
            (_, Some(LogicalType::Time(time)), _) => Kind::Time(counted(&time.unit)),
            (_, Some(LogicalType::Uuid), _) => Kind::Uuid,
            (_, _, ConvertedType::TIMESTAMP_MILLIS) => Kind::Timestamp { unit: Unit::Millis, utc: true },
            (_, _, ConvertedType::TIMESTAMP_MICROS) => Kind::Timestamp { unit: Unit::Micros, utc: true },
            (_, _, ConvertedType::TIME_MILLIS) => Kind::Time(Unit::Millis),
            (_, _, ConvertedType::TIME_MICROS) => Kind::Time(Unit::Micros),
            _ => Kind::Plain,
        })
    }
}

/// Whether the only child of a list is its element, as programs wrote it before there was a rule, and as the row reader
/// tells it.
fn is_element(repeated: &Type) -> bool {
    if repeated.is_primitive() {
        return true;
    }
    let info = repeated.get_basic_info();
    let is_list = info.logical_type_ref() == Some(&LogicalType::List) || info.converted_type() == ConvertedType::LIST;
    let is_repeated = |child: &Type| child.get_basic_info().repetition() == Repetition::REPEATED;
    match repeated.get_fields() {
        [child] if is_list || is_repeated(child) => false,
        [_] => repeated.name() == "array" || repeated.name().ends_with("_tuple"),
        _ => true,
    }
}

fn counted(unit: &TimeUnit) -> Unit {
    match unit {
        TimeUnit::MILLIS => Unit::Millis,
        TimeUnit::MICROS => Unit::Micros,
        TimeUnit::NANOS => Unit::Nanos,
    }
}
