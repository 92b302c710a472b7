//! Work that the engine charges for only when it is done, or not at all: here it is charged before.

use minijinja::value::{Rest, ValueKind, ValueOrKwargs};
use minijinja::{Error, ErrorKind, State, Value, filters};

/// Bytes that one step pays for.
const BYTES_A_STEP: u64 = 64;

/// Levels of a value that is printed; the time grows with their square, over several lines with their cube.
pub(super) const DEEPEST_PRINTED: usize = 100;

/// Charges for what a value holds, as often as it holds it: writing a list of two lists of two lists and so on takes
/// for ever, though it is small where they are all the same.
///
/// # Errors
/// If that is more than may be, or nested too deep.
pub(super) fn charge(state: &State<'_, '_>, value: &Value) -> Result<(), Error> {
    weigh(state, value, DEEPEST_PRINTED)
}

fn weigh(state: &State<'_, '_>, value: &Value, levels: usize) -> Result<(), Error> {
    if !matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::Iterable) {
        return Ok(());
    }
    if levels == 0 {
        return Err(too_deep());
    }
    // what can be looped over but once must not be used up
    if value.kind() == ValueKind::Iterable && value.len().is_none() {
        return Ok(());
    }
    for item in value.try_iter()? {
        state.consume_fuel(1)?;
        weigh(state, &item, levels - 1)?;
        if value.kind() == ValueKind::Map {
            weigh(state, &value.get_item(&item)?, levels - 1)?;
        }
    }
    Ok(())
}

/// The error for a value of more levels than are printed.
pub(super) fn too_deep() -> Error {
    let detail = format!("a value has more than the {DEEPEST_PRINTED} levels that are printed");
    Error::new(ErrorKind::InvalidOperation, detail)
}

/// The engine's filter, for values that it prints in time.
pub(super) fn pprint(state: &State<'_, '_>, value: &Value) -> Result<String, Error> {
    charge(state, value)?;
    Ok(filters::pprint(value))
}

/// The engine's filter, charged for the longest text that may come out.
pub(super) fn format(state: &mut State<'_, '_>, format: &Value, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let values = args.iter().map(|arg| arg.clone().into_value()).collect::<Vec<_>>();
    charge_placeholders(state, format, '%', &values)?;
    filters::format(state, format, args)
}

/// Python's methods, of which `format` is charged for the longest text that may come out.
pub(super) fn method(state: &mut State<'_, '_>, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    if name == "format" {
        charge_placeholders(state, value, '{', args)?;
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args)
}

/// Charges for as many of the longest value as there are placeholders, and for all numbers in the format, which may be
/// widths.
fn charge_placeholders(state: &State<'_, '_>, format: &Value, opens: char, values: &[Value]) -> Result<(), Error> {
    let Some(format) = format.as_str() else { return Ok(()) };
    let mut longest = 0;
    for value in values {
        charge(state, value)?;
        longest = longest.max(longest_text(value));
    }
    let placeholders = format.matches(opens).count() as u64;
    let widths = format
        .split(|c: char| !c.is_ascii_digit())
        .filter(|digits| !digits.is_empty())
        .fold(0u64, |sum, digits| sum.saturating_add(digits.parse().unwrap_or(u64::MAX)));
    state.consume_fuel(placeholders.saturating_mul(longest as u64).saturating_add(widths) / BYTES_A_STEP)
}

/// Bytes of the longest text in a value that has been charged for.
fn longest_text(value: &Value) -> usize {
    match value.kind() {
        ValueKind::String => value.as_str().map_or(0, str::len),
        ValueKind::Seq => value.try_iter().into_iter().flatten().map(|item| longest_text(&item)).max().unwrap_or(0),
        ValueKind::Map => {
            let values = value.try_iter().into_iter().flatten().filter_map(|key| value.get_item(&key).ok());
            values.map(|item| longest_text(&item)).max().unwrap_or(0)
        }
        _ => 0,
    }
}
