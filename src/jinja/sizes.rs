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
    // the engine itself asks whether there is fuel for the widths
    let placeholders = format.as_str().map_or(0, |text| text.matches('%').count());
    charge_placeholders(state, placeholders, 0, &values)?;
    filters::format(state, format, args)
}

/// Python's methods, of which `format` is charged for the longest text that may come out.
pub(super) fn method(state: &mut State<'_, '_>, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    if name == "format"
        && let Some(format) = value.as_str()
    {
        let (placeholders, widths) = placeholders(format);
        charge_placeholders(state, placeholders, widths, args)?;
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args)
}

/// Charges for as many of the longest value as there are placeholders, and for `widths` bytes.
fn charge_placeholders(
    state: &State<'_, '_>,
    placeholders: usize,
    widths: usize,
    values: &[Value],
) -> Result<(), Error> {
    let mut longest = 0;
    for value in values {
        charge(state, value)?;
        longest = longest.max(longest_text(value));
    }
    let bytes = placeholders.saturating_mul(longest).saturating_add(widths);
    state.consume_fuel(bytes as u64 / BYTES_A_STEP)
}

/// The placeholders of Python's `format`, and the sum of all numbers in them, which may be widths. Numbers elsewhere, and
/// in braces that are doubled to be written, ask for nothing.
fn placeholders(format: &str) -> (usize, usize) {
    let (mut count, mut depth) = (0, 0usize);
    let mut inside = String::new();
    for c in format.replace("{{", "").chars() {
        match c {
            '{' => (count, depth) = (count + 1, depth + 1),
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        inside.push(if depth > 0 { c } else { ' ' });
    }
    let numbers = inside.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
    (count, numbers.map(|digits| digits.parse().unwrap_or(usize::MAX)).fold(0, usize::saturating_add))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_in_placeholders_are_widths() {
        assert_eq!(placeholders("10000000000 of {}, {{\"a\": 7000}}, {0:>5}, {:{}.9}"), (4, 5 + 9));
        assert_eq!(placeholders("{:99999999999999999999}{:1}"), (2, usize::MAX));
    }
}
