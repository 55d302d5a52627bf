//! Spans of time and plain counts, as budgets take them.

use super::{NotationError, number};
use std::str::FromStr;

/// Seconds, from `30s`, `10m`, `1h` or `1d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period(pub u32);

impl FromStr for Period {
    type Err = NotationError;

    fn from_str(text: &str) -> Result<Period, NotationError> {
        const LONGEST: u32 = 30 * 24 * 3600;
        let scale = |unit: char| match unit {
            's' => Some(1),
            'm' => Some(60),
            'h' => Some(3600),
            'd' => Some(24 * 3600),
            _ => None,
        };
        let unit = text.chars().next_back().and_then(scale).ok_or(NotationError::Period)?;
        let amount = text.get(..text.len() - 1).and_then(number::<u32>).and_then(|amount| amount.checked_mul(unit));
        amount.filter(|seconds| (1..=LONGEST).contains(seconds)).map(Period).ok_or(NotationError::Period)
    }
}

/// A whole number from 1 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count(pub u64);

impl FromStr for Count {
    type Err = NotationError;

    fn from_str(text: &str) -> Result<Count, NotationError> {
        let count = number::<u32>(text).filter(|count| *count > 0);
        count.map(|count| Count(count.into())).ok_or(NotationError::Count(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_a_number_and_a_unit() {
        for (text, seconds) in [("30s", 30), ("10m", 600), ("1h", 3600), ("30d", 2_592_000)] {
            assert_eq!(text.parse(), Ok(Period(seconds)), "{text}");
        }
        for text in ["", "h", "1", "0s", "31d", "-1h", "+1h", "1.5h", "01h", "1H", "1hour", "1 h", "99999999d", "1ü"] {
            assert!(text.parse::<Period>().is_err(), "{text:?} was taken");
        }
    }

    #[test]
    fn a_count_is_a_whole_number() {
        assert_eq!("10000".parse(), Ok(Count(10_000)));
        for text in ["", "0", "-1", "1k", "01", "4294967296"] {
            assert!(text.parse::<Count>().is_err(), "{text:?} was taken");
        }
    }
}
