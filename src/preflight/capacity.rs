//! Whether the traffic fits into queue and spool. Judgement only.

use super::check::Finding;
use crate::config::Settings;

/// The bytes of an event of ordinary size.
const EVENT: f64 = 600.0;
/// In seconds. An outage this short must fit into memory or on disk, because it ends before anybody has looked.
const SHORT_OUTAGE: f64 = 60.0;

pub fn judge(settings: &Settings, rate: Option<f64>) -> Finding {
    let Some(rate) = rate else {
        return Finding::skipped("the event rate was not named (--event-rate)");
    };
    if !rate.is_finite() || rate <= 0.0 {
        return Finding::fail(
            format!("{rate} events/s are no rate"),
            "name the events per second of a busy day (--event-rate)",
        );
    }
    let limits = &settings.limits;
    let events_per_second = f64::from(settings.rate_limit.rate) * limits.batch_events as f64;
    if rate > events_per_second {
        return Finding::fail(
            format!("{rate} events/s come, {events_per_second:.0} can leave"),
            "raise rate_limit or batch_events",
        );
    }
    let spool_bytes = settings.spool.as_ref().map_or(0, |spool| spool.bytes()) as f64;
    let memory = (limits.events as f64).min(limits.bytes as f64 / EVENT) / rate;
    let disk = spool_bytes / EVENT / rate;
    let seen = format!("at {rate} events/s {memory:.0} s of an outage fit into memory, {disk:.0} s on disk");
    Finding::pass(seen).warn_if(
        memory + disk < SHORT_OUTAGE,
        "raise queue_events and queue_bytes, or give the client a spool: a minute at least",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SpoolConfig;
    use crate::preflight::CheckStatus::{Fail, Pass, Skipped, Warn};

    #[test]
    fn capacity_for_a_minute_of_outage() {
        // Up to 50 requests of 100 events leave per second.
        let mut settings = Settings::default();
        (settings.limits.events, settings.limits.bytes) = (6_000, 1_000_000_000);
        assert_eq!(judge(&settings, None).status, Skipped);
        for none in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(judge(&settings, Some(none)).status, Fail, "{none}");
        }
        assert_eq!(judge(&settings, Some(100.0)).status, Pass);
        assert_eq!(judge(&settings, Some(101.0)).status, Warn);
        settings.limits.bytes = 600 * 5_999;
        assert_eq!(judge(&settings, Some(100.0)).status, Warn);
        settings.spool = Some(SpoolConfig::at("spool").max_bytes(1_000_000_000));
        assert_eq!(judge(&settings, Some(5_000.0)).status, Pass);
        assert_eq!(judge(&settings, Some(5_001.0)).status, Fail);
    }
}
