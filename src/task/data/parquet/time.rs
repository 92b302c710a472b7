//! Instants, days and times of day as text.

use chrono::{DateTime, Utc};

const SECONDS_A_DAY: i64 = 86_400;

/// The day of 1970-01-01 in the count of INT96 instants.
const JULIAN_DAY_OF_1970: i64 = 2_440_588;

/// What times are counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Thousandths of a second.
    Millis,
    /// Millionths.
    Micros,
    /// Milliardths.
    Nanos,
}

impl Unit {
    /// Decimals of a second.
    fn digits(self) -> usize {
        match self {
            Unit::Millis => 3,
            Unit::Micros => 6,
            Unit::Nanos => 9,
        }
    }

    /// Whole seconds, and the nanoseconds that are left.
    fn split(self, count: i64) -> (i64, u32) {
        let (per_second, nanos) = match self {
            Unit::Millis => (1_000, 1_000_000),
            Unit::Micros => (1_000_000, 1_000),
            Unit::Nanos => (1_000_000_000, 1),
        };
        // Below 10^9, so within the u32.
        (count.div_euclid(per_second), (count.rem_euclid(per_second) * nanos) as u32)
    }
}

/// An instant, such as `2024-01-01 12:00:00.000 +00:00`; without the last part if the zone is not known. None if no
/// calendar has it.
pub fn timestamp(count: i64, unit: Unit, utc: bool) -> Option<String> {
    let (seconds, nanos) = unit.split(count);
    Some(written(DateTime::from_timestamp(seconds, nanos)?, unit, utc))
}

/// An instant of an INT96 column: nanoseconds of the day in the first two words, the Julian day in the third.
pub fn int96([low, high, day]: [u32; 3]) -> Option<String> {
    let (seconds, nanos) = Unit::Nanos.split(i64::try_from((u64::from(high) << 32) | u64::from(low)).ok()?);
    let days = i64::from(day) - JULIAN_DAY_OF_1970;
    Some(written(DateTime::from_timestamp(days * SECONDS_A_DAY + seconds, nanos)?, Unit::Nanos, false))
}

fn written(instant: DateTime<Utc>, unit: Unit, utc: bool) -> String {
    let format = match unit {
        Unit::Millis => "%Y-%m-%d %H:%M:%S%.3f",
        Unit::Micros => "%Y-%m-%d %H:%M:%S%.6f",
        Unit::Nanos => "%Y-%m-%d %H:%M:%S%.9f",
    };
    format!("{}{}", instant.format(format), if utc { " +00:00" } else { "" })
}

/// A day, such as `2024-01-01`, by its number from 1970-01-01. None if no calendar has it.
pub fn date(days: i32) -> Option<String> {
    Some(DateTime::from_timestamp(i64::from(days) * SECONDS_A_DAY, 0)?.format("%Y-%m-%d").to_string())
}

/// A time of day, such as `12:00:00.000`. None if no day has it.
pub fn time_of_day(count: i64, unit: Unit) -> Option<String> {
    let (seconds, nanos) = unit.split(count);
    if !(0..SECONDS_A_DAY).contains(&seconds) {
        return None;
    }
    let digits = unit.digits();
    let fraction = format!("{nanos:09}");
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    Some(format!("{hours:02}:{minutes:02}:{:02}.{}", seconds % 60, &fraction[..digits]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nanoseconds_are_no_bare_number() {
        let ns = 1_704_067_200_123_456_789;
        assert_eq!(timestamp(ns, Unit::Nanos, false).unwrap(), "2024-01-01 00:00:00.123456789");
        assert_eq!(timestamp(ns / 1000, Unit::Micros, true).unwrap(), "2024-01-01 00:00:00.123456 +00:00");
        assert_eq!(timestamp(-1, Unit::Millis, true).unwrap(), "1969-12-31 23:59:59.999 +00:00");
        assert_eq!(timestamp(i64::MIN, Unit::Nanos, true).unwrap(), "1677-09-21 00:12:43.145224192 +00:00");
        assert_eq!(timestamp(i64::MAX, Unit::Millis, true), None);
        assert_eq!(time_of_day(3_723_000_000_004, Unit::Nanos).unwrap(), "01:02:03.000000004");
        assert_eq!(time_of_day(86_399_999, Unit::Millis).unwrap(), "23:59:59.999");
        assert_eq!((time_of_day(-1, Unit::Millis), time_of_day(86_400_000, Unit::Millis)), (None, None));
        assert_eq!((date(19_723).unwrap(), date(i32::MAX)), ("2024-01-01".to_owned(), None));
    }

    #[test]
    fn an_instant_of_96_bits_keeps_its_nanoseconds() {
        let nanos: u64 = 3_723_000_000_004;
        let words = |day| [(nanos & 0xffff_ffff) as u32, (nanos >> 32) as u32, day];
        assert_eq!(int96(words(2_460_311)).unwrap(), "2024-01-01 01:02:03.000000004");
        assert_eq!(int96([u32::MAX; 3]), None);
    }
}
