use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// A metric. Its name is stable.
#[derive(Debug)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    unit: Unit,
    /// The description that recorders show to people.
    what: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Describes all metrics to the recorder.
pub fn describe() {
    for Metric { name, kind, unit, what } in TABLE {
        match kind {
            Kind::Counter => describe_counter!(*name, *unit, *what),
            Kind::Gauge => describe_gauge!(*name, *unit, *what),
            Kind::Histogram => describe_histogram!(*name, *unit, *what),
        }
    }
}

macro_rules! metrics {
    ($($id:ident $name:literal $kind:ident $unit:ident $what:literal)*) => {
        $(pub const $id: &Metric =
            &Metric { name: $name, kind: Kind::$kind, unit: Unit::$unit, what: $what };)*

        const TABLE: &[&Metric] = &[$($id,)*];
    };
}

// The one table of metrics. `docs/metrics.md` has the same for people, and a test compares the two.
metrics! {
    EVENTS_CAPTURED "posthog_events_captured_total" Counter Count "Events captured, or taken over from an earlier process"
    EVENTS_DELIVERED "posthog_events_delivered_total" Counter Count "Events that PostHog took"
    EVENTS_DROPPED "posthog_events_dropped_total" Counter Count "Events that were dropped, by reason"
    EVENTS_QUEUED "posthog_events_queued" Gauge Count "Events in memory only, waiting or under way"
    EVENTS_SPOOLED "posthog_events_spooled" Gauge Count "Events on disk"
    EVENTS_DEAD_LETTERED "posthog_events_dead_lettered" Gauge Count "Events that PostHog will not take"
    UNMERGEABLE_ALIASES "posthog_unmergeable_aliases_total" Counter Count "Aliases with an id that PostHog refuses to merge"
    DISTINCT_IDS_CUT "posthog_distinct_ids_cut_total" Counter Count "Distinct ids that were cut to 200 bytes"
    EVENT_VERDICTS "posthog_event_verdicts_total" Counter Count "What capture V1 said of events, by verdict"
    CAPTURE_WARNINGS "posthog_capture_warnings_total" Counter Count "Events that PostHog took with a warning, by warning"
    CAPTURE_PROTOCOL "posthog_capture_protocol" Gauge Count "1 for the capture protocol in use, 0 for the other"
    ATTEMPTS "posthog_attempts_total" Counter Count "Requests with events, by what came of them"
    FAILED_ATTEMPTS "posthog_failed_attempts_total" Counter Count "What the alerts count, by cause"
    SLOW_ATTEMPTS "posthog_slow_attempts_total" Counter Count "Attempts slower than High Latency allows"
    FAILURES_SINCE_SUCCESS "posthog_failures_since_success" Gauge Count "What went wrong since the last success, by cause"
    ATTEMPT_DURATION_SECONDS "posthog_attempt_duration_seconds" Histogram Seconds "How long an attempt took"
    BATCH_EVENTS "posthog_batch_events" Histogram Count "Events in a batch"
    BATCH_BYTES "posthog_batch_bytes" Histogram Bytes "JSON of a batch's events, before compression"
    RETRIES "posthog_retries_total" Counter Count "Attempts after the first of a batch"
    RATE_LIMIT_WAITS "posthog_rate_limit_waits_total" Counter Count "Attempts that waited for a token"
    RATE_LIMIT_WAIT_SECONDS "posthog_rate_limit_wait_seconds_total" Counter Seconds "How long they waited, all together"
    RATE_LIMIT_PAUSED "posthog_rate_limit_paused" Gauge Count "1 from where PostHog asks for fewer requests until it answers"
    CIRCUIT_BREAKER_STATE "posthog_circuit_breaker_state" Gauge Count "1 for the present state, 0 for the others"
    CIRCUIT_BREAKER_TRANSITIONS "posthog_circuit_breaker_transitions_total" Counter Count "State changes, by the new state"
    QUEUE_EVENTS "posthog_queue_events" Gauge Count "Events in memory"
    QUEUE_CAPACITY_EVENTS "posthog_queue_capacity_events" Gauge Count "The bound on them"
    QUEUE_BYTES "posthog_queue_bytes" Gauge Bytes "Bytes of the events in memory"
    QUEUE_CAPACITY_BYTES "posthog_queue_capacity_bytes" Gauge Bytes "The bound on them"
    SPOOL_BYTES "posthog_spool_bytes" Gauge Bytes "Bytes of the events on disk"
    SPOOL_CAPACITY_BYTES "posthog_spool_capacity_bytes" Gauge Bytes "The bound on them"
    SPOOL_FILE_BYTES "posthog_spool_file_bytes" Gauge Bytes "Bytes of the spool's file"
    SPOOL_STATE "posthog_spool_state" Gauge Count "1 for the present state, 0 for the others"
    PROBES "posthog_probes_total" Counter Count "Health probes, by what they found"
    PROBE_DURATION_SECONDS "posthog_probe_duration_seconds" Histogram Seconds "How long a health probe took"
    ALERT_FIRING "posthog_alert_firing" Gauge Count "1 while the alert fires"
    HEALTH_INFO "posthog_health_info" Gauge Count "1, with the versions of what runs here"
}
