//! Whether the traffic fits into queue and spool. Judgement only.

use super::check::Finding;
use crate::config::Settings;

/// How many events can wait, and how fast they leave.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    events: f64,
    bytes: f64,
    spool_bytes: f64,
    events_per_second: f64,
}

/// The bytes of an event of ordinary size.
const EVENT: f64 = 600.0;
/// The seconds of an outage that must fit into memory or on disk: those that end before somebody has looked.
const SHORT_OUTAGE: f64 = 60.0;

impl Capacity {
    pub fn of(settings: &Settings) -> Self {
        let limits = &settings.limits;
        Self {
            events: limits.events as f64,
            bytes: limits.bytes as f64,
            spool_bytes: settings.spool.as_ref().map_or(0, |spool| spool.bytes()) as f64,
            events_per_second: f64::from(settings.rate_limit.rate) * limits.batch_events as f64,
        }
    }
}

pub fn judge(capacity: &Capacity, rate: Option<f64>) -> Finding {
    let Some(rate) = rate else {
        return Finding::skipped("the event rate was not named (--event-rate)");
    };
    if !rate.is_finite() || rate <= 0.0 {
        return Finding::fail(
            format!("{rate} events/s are no rate"),
            "name the events per second of a busy day (--event-rate)",
        );
    }
    if rate > capacity.events_per_second {
        return Finding::fail(
            format!("{rate} events/s come, {:.0} can leave", capacity.events_per_second),
            "raise rate_limit or batch_events",
        );
    }
    let memory = capacity.events.min(capacity.bytes / EVENT) / rate;
    let disk = capacity.spool_bytes / EVENT / rate;
    let seen = format!("at {rate} events/s {memory:.0} s of an outage fit into memory, {disk:.0} s on disk");
    if memory + disk < SHORT_OUTAGE {
        return Finding::warn(
            seen,
            "raise queue_events and queue_bytes, or give the client a spool: a minute at least",
        );
    }
    Finding::pass(seen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::CheckStatus::{Fail, Pass, Skipped, Warn};

    #[test]
    fn capacity_for_a_minute_of_outage() {
        let capacity = Capacity { events: 6_000.0, bytes: 1e9, spool_bytes: 0.0, events_per_second: 5_000.0 };
        assert_eq!(judge(&capacity, None).status, Skipped);
        for none in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(judge(&capacity, Some(none)).status, Fail, "{none}");
        }
        assert_eq!(judge(&capacity, Some(100.0)).status, Pass);
        assert_eq!(judge(&capacity, Some(101.0)).status, Warn);
        assert_eq!(judge(&Capacity { bytes: 600.0 * 5_999.0, ..capacity }, Some(100.0)).status, Warn);
        assert_eq!(judge(&Capacity { spool_bytes: 1e9, ..capacity }, Some(5_000.0)).status, Pass);
        assert_eq!(judge(&Capacity { spool_bytes: 1e9, ..capacity }, Some(5_001.0)).status, Fail);
    }
}
