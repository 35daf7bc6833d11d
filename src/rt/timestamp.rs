use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Writes times as RFC 3339 in UTC, to the microsecond. It remembers the text of the latest second, because of times that
/// come in order only the fraction differs.
#[derive(Debug, Default)]
pub struct Timestamps {
    second: Duration,
    text: Vec<u8>,
}

impl Timestamps {
    /// Appends `at` to `out`. A time before 1970 is written as 1970, a time after 9999 as the end of 9999.
    pub fn write(&mut self, out: &mut Vec<u8>, at: SystemTime) {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).min(LAST);
        let second = Duration::from_secs(since.as_secs());
        if self.text.is_empty() || self.second != second {
            self.second = second;
            self.text.clear();
            // Neither the clamped time nor the vector can fail.
            let _ = write!(self.text, "{}", humantime::format_rfc3339_micros(UNIX_EPOCH + second));
        }
        out.extend_from_slice(&self.text);
        let mut micros = since.subsec_micros();
        for digit in out.iter_mut().rev().skip(1).take(6) {
            *digit = b'0' + (micros % 10) as u8;
            micros /= 10;
        }
    }
}

/// Returns `at` as text, without a memory of earlier times.
pub fn timestamp(at: SystemTime) -> String {
    let mut text = Vec::new();
    Timestamps::default().write(&mut text, at);
    String::from_utf8_lossy(&text).into_owned()
}

/// The last microsecond that a year of four digits can express.
const LAST: Duration = Duration::new(253_402_300_799, 999_999_000);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_broken_clock_does_not_panic() {
        assert_eq!(timestamp(UNIX_EPOCH - Duration::from_secs(1)), "1970-01-01T00:00:00.000000Z");
        assert_eq!(
            timestamp(UNIX_EPOCH + Duration::from_secs(300_000_000_000)),
            "9999-12-31T23:59:59.999999Z"
        );
    }

    proptest! {
        #[test]
        fn what_is_remembered_changes_nothing(times in prop::collection::vec((0u64..5, 0u32..1_000_000_000), 1..50)) {
            let mut timestamps = Timestamps::default();
            for (second, nanos) in times {
                let at = UNIX_EPOCH + Duration::new(1_700_000_000 + second, nanos);
                let mut text = Vec::new();
                timestamps.write(&mut text, at);
                let expected = humantime::format_rfc3339_micros(at).to_string();
                prop_assert_eq!(String::from_utf8(text).unwrap(), expected);
            }
        }
    }
}
