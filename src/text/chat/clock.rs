//! The date in a chat template, as Python's `strftime` writes it.

use std::fmt::Write as _;

use chrono::NaiveDateTime;
use chrono::format::{Item, StrftimeItems};
use minijinja::{Error, ErrorKind};

/// A local time in a format of Python. It has no time zone there: `%z` and `%Z` are empty.
///
/// # Errors
/// A format that is not known, which Python would leave to the system.
pub(super) fn strftime(time: NaiveDateTime, format: &str) -> Result<String, Error> {
    // microseconds in Python, nanoseconds in chrono
    let format = format.replace("%f", "%6f").replace("%z", "").replace("%Z", "");
    let refused = || Error::new(ErrorKind::InvalidOperation, format!("strftime_now does not know {format:?}"));
    let items: Vec<Item<'_>> = StrftimeItems::new(&format).collect();
    if items.contains(&Item::Error) {
        return Err(refused());
    }
    let mut text = String::new();
    write!(text, "{}", time.format_with_items(items.into_iter())).map_err(|_| refused())?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected texts are those of Python's `datetime.strftime`.
    #[test]
    fn dates_are_those_of_python() {
        let time = chrono::NaiveDate::from_ymd_opt(2024, 7, 6).unwrap().and_hms_micro_opt(15, 4, 9, 1234).unwrap();
        for (format, expected) in [
            ("%d %b %Y", "06 Jul 2024"),
            ("%A, %B %-d, %Y at %I:%M:%S %p", "Saturday, July 6, 2024 at 03:04:09 PM"),
            ("%Y-%m-%dT%H:%M:%S.%f%z", "2024-07-06T15:04:09.001234"),
            ("%a %e %j %U %W %w %u %y %% %x %X", "Sat  6 188 26 27 6 6 24 % 07/06/24 15:04:09"),
            ("%c|%F %T|%Z", "Sat Jul  6 15:04:09 2024|2024-07-06 15:04:09|"),
        ] {
            assert_eq!(strftime(time, format).unwrap(), expected, "{format}");
        }
        assert!(strftime(time, "%Q").unwrap_err().to_string().contains("\"%Q\""));
    }
}
