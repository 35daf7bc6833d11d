//! Compares `docs/defaults.md` with the defaults in the code.
#![cfg(feature = "spool")]

use std::time::Duration;

use super::super::settings::MIB;
use super::{Enrichment, PostHogBuilder, Settings};
use crate::credentials::CredentialSource;
use crate::delivery::SpoolConfig;
use crate::layers::CircuitBreakerConfig;
use crate::monitor::{AlertName, AlertsConfig};

#[test]
fn the_page_tells_each_default_as_it_is() {
    let builder = PostHogBuilder::new("phc_abc");
    let Settings { retry, circuit_breaker, rate_limit, alerts, rollout, flags, .. } = &builder.settings;
    let breaker = CircuitBreakerConfig::default();
    assert_eq!(circuit_breaker, &breaker);
    assert_eq!(flags.circuit_breaker, breaker);
    let PostHogBuilder { host, allow_insecure_http, disabled, settings, .. } = &builder;
    let Enrichment { hooks, is_server, geoip } = &builder.enrichment;
    assert!(hooks.is_empty());
    let own = format!(
        "host: {host:?}, allow_insecure_http: {allow_insecure_http}, disabled: {disabled}, before_send: None, \
         is_server: {is_server}, geoip: {geoip}, {settings:?}"
    );
    let sections = [
        ("PostHogBuilder", own),
        ("CredentialSource", format!("check_every: {:?}", CredentialSource::fixed("phc_abc").check_every)),
        ("RetryConfig", format!("{retry:?}")),
        ("CircuitBreakerConfig", format!("{breaker:?}")),
        ("RateLimitConfig", format!("{rate_limit:?}")),
        ("FlagsConfig", format!("{flags:?}")),
        ("AlertsConfig", format!("{alerts:?}")),
        ("RolloutConfig", format!("{rollout:?}")),
        ("SpoolConfig", format!("{:?}", SpoolConfig::at("spool"))),
    ];
    let mut compared = 0;
    for (section, defaults) in sections {
        let rows = PAGE.split(&format!("\n## {section}\n")).nth(1).unwrap().split("\n## ").next().unwrap();
        for row in rows.lines().filter(|line| line.starts_with("| `")) {
            let cells: Vec<_> = row.split(" | ").collect();
            let (setting, told) = (cells[0].trim_matches(['|', ' ', '`']), cells[1]);
            if IN_WORDS.contains(&setting) {
                continue;
            }
            let fields = FIELDS.iter().find(|(of, name, _)| (*of, *name) == (section, setting));
            let itself = [setting];
            let fields = fields.map_or(&itself[..], |(.., fields)| fields);
            let real: Vec<_> = fields.iter().map(|field| value(&defaults, field)).collect();
            let told: Vec<_> = told.split(", ").map(as_debug).collect();
            assert_eq!(told, real, "{section}: {setting}");
            compared += 1;
        }
    }
    assert!(compared > 50, "the page was read: {compared}");
}

#[test]
fn the_page_tells_which_alerts_wake_somebody() {
    let alerts = format!("{:?}", AlertsConfig::default());
    let severities = alerts.split("severities: [").nth(1).unwrap().split(", ");
    let urgent = AlertName::all().zip(severities).filter(|(_, severity)| severity.starts_with("Some(P1)"));
    let urgent: Vec<_> = urgent.map(|(alert, _)| format!("`{}`", alert.code())).collect();
    let row = format!("\n| `severity` | P1 for {}, P2 for the others |", urgent.join(", "));
    assert!(PAGE.contains(&row), "{row}");
}

const PAGE: &str = include_str!("../../../docs/defaults.md");

/// Told in words, or by a link to a section of their own.
const IN_WORDS: [&str; 14] = [
    "name",
    "successes",
    "credentials",
    "retry",
    "circuit_breaker",
    "rate_limit",
    "alerts",
    "rollout",
    "flags",
    "local_evaluation",
    "error_tracking",
    "severity",
    "off",
    "spool",
];

/// The fields of a setting whose name is not theirs.
const FIELDS: &[(&str, &str, &[&str])] = &[
    ("PostHogBuilder", "queue_events", &["limits: events"]),
    ("PostHogBuilder", "queue_bytes", &["limits: bytes"]),
    ("PostHogBuilder", "dead_letter_events", &["dead_letters: events"]),
    ("PostHogBuilder", "dead_letter_bytes", &["dead_letters: bytes"]),
    ("RetryConfig", "backoff", &["base", "cap"]),
    ("RetryConfig", "budget", &["share"]),
    ("CircuitBreakerConfig", "open_time", &["open_time", "longest_open_time"]),
    ("RateLimitConfig", "pause", &["pause", "longest_pause"]),
    ("FlagsConfig", "last_known_good", &["persons", "age"]),
    ("AlertsConfig", "api_down", &["failures"]),
    ("AlertsConfig", "high_latency", &["latency"]),
    ("AlertsConfig", "rate_limited", &["throttled"]),
    ("AlertsConfig", "auth_failures", &["unauthorized"]),
    ("AlertsConfig", "losing_events", &["lost"]),
    ("AlertsConfig", "stalled", &["stalled_after"]),
    ("RolloutConfig", "min_attempts", &["attempts"]),
    ("RolloutConfig", "max_error_rate", &["error_rate"]),
    ("RolloutConfig", "max_losses", &["losses"]),
    ("SpoolConfig", "max_bytes", &["bytes"]),
    ("SpoolConfig", "max_age", &["age"]),
    ("SpoolConfig", "min_free_disk", &["min_free"]),
];

/// A field's value in what `Debug` shows; `a: b` is the field `b` in `a`.
fn value<'a>(shown: &'a str, field: &str) -> &'a str {
    let found = field.split(": ").try_fold(shown, |rest, name| {
        let mut places = rest.match_indices(name).map(|(at, name)| (&rest[..at], &rest[at + name.len()..]));
        let place = places
            .find(|(before, after)| (before.is_empty() || before.ends_with(' ')) && after.starts_with(": "));
        place.map(|(_, after)| &after[2..])
    });
    let value = found.unwrap_or_else(|| panic!("no {field} in {shown}"));
    value.split([',', ' ']).next().unwrap()
}

/// What the page says, as `Debug` would.
fn as_debug(told: &str) -> String {
    let word = match told {
        "yes" => "true",
        "no" => "false",
        "none" => "None",
        word => word,
    };
    let Some((number, unit)) = word.split_once(' ') else { return word.replace(',', "") };
    let number: f64 = number.parse().unwrap();
    let seconds = |each: f64| format!("{:?}", Duration::from_secs_f64(number * each));
    match unit {
        "%" => format!("{:?}", number / 100.0),
        "ms" => seconds(0.001),
        "s" => seconds(1.0),
        "min" => seconds(60.0),
        "h" => seconds(3_600.0),
        "days" => seconds(86_400.0),
        "MB" => (number * 1e6).to_string(),
        "MiB" => (number * MIB as f64).to_string(),
        "GiB" => (number * 1024.0 * MIB as f64).to_string(),
        _ => panic!("an unknown unit: {told}"),
    }
}
