//! The bounds that the oracle tolerates, each with its derivation. None is longer than the longest configured pause and 60 s,
//! but for the search for a bad event: one that provokes a Retry-After keeps to each, and one that fails like others waits for
//! a minute more.

use std::time::Duration;

use super::config::Config;

/// How often the oracle looks between two steps.
pub const LOOK: Duration = Duration::from_secs(5);

/// Beyond the longest configured pause: the requests that find out that PostHog is well again (one of each of the pauses
/// of retry, breaker and limiter, each at most as long as the longest), and the queue's backlog at the limiter's rate.
const GRACE: Duration = Duration::from_secs(60);

/// A world that is well delivers everything within this time. If there are bad events, it accepts something within this time,
/// and ends their search within this time more: a batch fails three times, and six halvings take a request's timeout and 5 s
/// each.
pub fn liveness(config: &Config) -> Duration {
    config.longest_pause() + GRACE
}

/// An event that provokes a Retry-After puts each attempt of its batch off for as long, up to its cap: three failures and six
/// halvings, and one that proves nothing for want of others.
pub fn hinted(config: &Config) -> Duration {
    10 * PROVOKED_RETRY_AFTER.min(config.settings().longest_retry_after)
}

/// A batch that fails while more than one in ten others fail, in the minute before, may fail by chance. It is searched when it fails
/// again, a minute later at most.
pub const BY_CHANCE: Duration = Duration::from_secs(60);

/// The Retry-After that a bad event provokes with its 503.
pub const PROVOKED_RETRY_AFTER: Duration = Duration::from_secs(60);

/// The most events and bytes in memory. With a spool, those that are on disk and under way or read back take no room of new ones,
/// by the changelog: a batch for each attempt, and one that is read back in each of the two lanes.
pub fn memory(config: &Config) -> (u64, u64) {
    let settings = config.settings();
    let batches = if config.spool.is_some() { settings.in_flight as u64 + 2 } else { 0 };
    (
        settings.queue_events as u64 + batches * settings.batch_events as u64,
        settings.queue_bytes as u64 + batches * settings.batch_bytes as u64,
    )
}

/// What a body has beside the events, by which batches are bounded. V1's form of an event has options more.
pub fn envelope(events: usize, is_v1: bool) -> usize {
    1_000 + if is_v1 { events * r#","options":{}"#.len() } else { 0 }
}

/// Health names a trouble this long after it began to show. The client gives up the disk after 2 s and retries it every 2 s, a
/// request fails after its timeout, and the next look comes after [`LOOK`].
pub fn named(config: &Config) -> Duration {
    config.settings().request_timeout + Duration::from_secs(15)
}

/// An alert may fire this long after its cause: High Latency looks back 5 min, an alert resolves 5 min after its condition
/// has ceased to hold, or after the next success, which the longest pause may delay.
pub fn alert_remembers(config: &Config) -> Duration {
    config.longest_pause() + Duration::from_secs(2 * 300 + 60)
}

/// Health remembers losses and dead letters for a minute.
pub const NEWS: Duration = Duration::from_secs(60);

/// A kill costs a write-ahead spool on a working disk the events of 5 ms and of one write, by the documentation. A write takes
/// a few operations.
pub const WRITTEN_AHEAD: Duration = Duration::from_millis(100);

/// The next process may not know the counts of this time before a kill, because the note beside the file is up to 20 ms old.
pub const UNNOTED: Duration = Duration::from_millis(100);
/// The same before a loss of power. The counts in the file are up to 10 s old, and the commit takes its time.
pub const UNCOUNTED: Duration = Duration::from_secs(11);

/// The file takes up to 2.6 times its events while it is written to, by the documentation, and redb begins with a few MiB.
pub const FILE_FACTOR: f64 = 2.6;
pub const FILE_BASE: u64 = 8 << 20;
/// Dead letters are in the file too, by default up to these bytes.
pub const DEAD_LETTER_BYTES: u64 = 16 << 20;

/// The first retry of a batch, by PostHog's contract for SDKs.
pub const FIRST_RETRY: Duration = Duration::from_millis(100);

/// Acceptances and failures of this time belong together.
pub const OTHERS: Duration = Duration::from_secs(50);

/// An event that is too old is not read back. It has the time at which its hook has returned. A dead letter does not expire, and
/// is as new as one that is captured when a person replays it, by the documentation.
pub const EXPIRES: Duration = Duration::from_secs(2);

/// While PostHog accepts, events wait for their linger period, and for a request of the slots that is given up. The rest is
/// for the rate limit and for a disk that is given up after 2 s.
pub fn prompt(config: &Config) -> Duration {
    let settings = config.settings();
    settings.linger + settings.request_timeout + Duration::from_secs(15)
}

/// A durable capture waits for one write, or until the disk is given up after 2 s.
pub const DURABLE: Duration = Duration::from_secs(15);

/// The directory is searched every 10 s, and a spool that fails is tried again after 2 s.
pub const SEARCHED: Duration = Duration::from_secs(25);

/// With less room than this in the spool, nobody searches.
pub const ROOM: u64 = 128 << 10;

/// In trouble, an event is on disk 2 s after it is due, within 250 ms and one write more. So a kill does not lose it.
pub fn spilled(config: &Config) -> Duration {
    config.settings().linger + Duration::from_secs(4)
}

/// Batches halve down to single events, eight refusals and their short pauses, and parts are tried again after a minute at
/// most.
pub const HELD_UP: Duration = Duration::from_secs(120);

/// A flipped byte costs the events of one page, 4 KiB. An event has 200 bytes or more.
pub const DAMAGED: usize = 20;

/// The longest time without a process, and until the next one writes the counts.
pub const TAKES_NOTE: Duration = Duration::from_secs(45);
