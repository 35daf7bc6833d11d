//! Whether the traffic fits. Judgement only.

use super::check::Finding;
use crate::config::Reviewed;

/// Where events can wait, and how fast they leave.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    events: f64,
    bytes: f64,
    spool_bytes: f64,
    events_per_second: f64,
}

/// An event of ordinary size.
const EVENT: f64 = 600.0;
/// What must fit into memory or on disk: an outage that is over before somebody has looked.
const SHORT_OUTAGE: f64 = 60.0;

impl Room {
    pub(super) fn of(reviewed: &Reviewed) -> Self {
        let limits = &reviewed.limits;
        Self {
            events: limits.events as f64,
            bytes: limits.bytes as f64,
            spool_bytes: reviewed.spool.as_ref().map_or(0, |spool| spool.bytes()) as f64,
            events_per_second: f64::from(reviewed.rate_limit.rate) * limits.batch_events as f64,
        }
    }
}

pub(super) fn judge(room: &Room, rate: Option<f64>) -> Finding {
    let Some(rate) = rate else {
        return Finding::skipped("the event rate was not named (--event-rate)");
    };
    if !rate.is_finite() || rate <= 0.0 {
        return Finding::fail(
            format!("{rate} events/s are no rate"),
            "name the events per second of a busy day (--event-rate)",
        );
    }
    if rate > room.events_per_second {
        return Finding::fail(
            format!("{rate} events/s come, {:.0} can leave", room.events_per_second),
            "raise rate_limit or batch_events",
        );
    }
    let memory = room.events.min(room.bytes / EVENT) / rate;
    let disk = room.spool_bytes / EVENT / rate;
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
    fn room_for_a_minute_and_a_way_out() {
        let room = Room { events: 6_000.0, bytes: 1e9, spool_bytes: 0.0, events_per_second: 5_000.0 };
        assert_eq!(judge(&room, None).status, Skipped);
        for none in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(judge(&room, Some(none)).status, Fail, "{none}");
        }
        assert_eq!(judge(&room, Some(100.0)).status, Pass);
        assert_eq!(judge(&room, Some(101.0)).status, Warn);
        assert_eq!(judge(&Room { bytes: 600.0 * 5_999.0, ..room }, Some(100.0)).status, Warn);
        assert_eq!(judge(&Room { spool_bytes: 1e9, ..room }, Some(5_000.0)).status, Pass);
        assert_eq!(judge(&Room { spool_bytes: 1e9, ..room }, Some(5_001.0)).status, Fail);
    }
}
