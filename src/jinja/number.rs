//! Floating-point numbers as Python writes them.

use minijinja::Value;
use minijinja::formatting::{FormatStyle, format};
use minijinja::value::ValueKind;

/// Python's text of a float, such as `1e+16`; nothing for other values.
pub(super) fn as_python(value: &Value) -> Option<String> {
    let is_float = value.kind() == ValueKind::Number && !value.is_integer();
    if is_float { format(FormatStyle::StrFormat, "{}", std::slice::from_ref(value)).ok() } else { None }
}
