//! The file has one line per question: a checksum and JSON. A line that does not match its checksum is skipped.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;

use crate::flags::cache::{EvaluatedAt, KnownFlags};
use crate::flags::evaluated::Evaluated;

const HEADER: &str = "posthog-health flags 1";

/// The longest file. Answers go in from the latest to the oldest, until it is full.
pub const LONGEST: usize = 32 * 1024 * 1024;

/// The hash that stands for a question. 128 bits, so that two questions do not share one.
pub type Digest = u128;

pub fn digest(host: &str, question: &str) -> Digest {
    let mut hash = Context::new(&SHA256);
    [host, "\0", question].iter().for_each(|part| hash.update(part.as_bytes()));
    hash.finish().as_ref().iter().take(16).fold(0, |digest, byte| digest << 8 | u128::from(*byte))
}

/// What is known of one question.
pub struct Entry {
    digest: Digest,
    flags: Aged,
}

/// Flags, and how long ago each was evaluated.
#[derive(Debug, PartialEq)]
pub struct Aged(BTreeMap<String, (Evaluated, Duration)>);

#[derive(Serialize, Deserialize)]
struct Line {
    question: String,
    flags: Dated,
}

/// Flags, and when each was evaluated, in milliseconds of Unix time.
type Dated = BTreeMap<String, (Evaluated, u64)>;

impl Entry {
    pub fn new(digest: Digest, flags: &KnownFlags, now: Instant) -> Self {
        let aged = flags.iter().map(|(key, (flag, at))| (key.clone(), (flag.clone(), at.age(now))));
        Self { digest, flags: Aged(aged.collect()) }
    }
}

impl Aged {
    pub fn since(self, now: Instant) -> KnownFlags {
        self.0.into_iter().map(|(key, (flag, age))| (key, (flag, EvaluatedAt::ago(age, now)))).collect()
    }

    fn youngest(&self) -> Duration {
        self.0.values().map(|(_, age)| *age).min().unwrap_or(Duration::MAX)
    }
}

/// Writes the file, without flags older than `oldest` and without the oldest questions beyond the bounds.
pub fn encode(mut entries: Vec<Entry>, now: SystemTime, oldest: Duration, persons: usize) -> Vec<u8> {
    entries.retain(|entry| entry.flags.youngest() <= oldest);
    entries.sort_by_key(|entry| entry.flags.youngest());
    let mut content = format!("{HEADER}\n").into_bytes();
    for Entry { digest, flags } in entries.into_iter().take(persons) {
        let flags = flags.0.into_iter().filter(|(_, (flag, age))| *age <= oldest && can_be_read(flag));
        let flags = flags.map(|(key, (flag, age))| (key, (flag, millis(now.checked_sub(age))))).collect();
        // Strings and JSON: nothing in it can fail to serialize.
        let Ok(json) = serde_json::to_string(&Line { question: format!("{digest:032x}"), flags }) else {
            continue;
        };
        if content.len() + json.len() + 10 > LONGEST {
            break;
        }
        content.extend(format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes())).into_bytes());
    }
    content
}

/// Whether the payload can be read back at its place in a line. The JSON parser goes 128 levels deep.
fn can_be_read(flag: &Evaluated) -> bool {
    flag.payload.as_ref().is_none_or(|payload| depth(payload) <= 120)
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(values) => 1 + values.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// Reads a file, and counts its damaged lines. A file of another format counts as one damaged line.
pub fn decode(content: &[u8], now: SystemTime, oldest: Duration) -> (HashMap<Digest, Aged>, usize) {
    let mut lines = content.split(|byte| *byte == b'\n');
    if lines.next() != Some(HEADER.as_bytes()) {
        return (HashMap::new(), usize::from(!content.is_empty()));
    }
    let (mut entries, mut damaged) = (HashMap::new(), 0);
    for line in lines.filter(|line| !line.is_empty()) {
        let Some((digest, flags)) = parse(line) else {
            damaged += 1;
            continue;
        };
        let aged = flags.into_iter().map(|(key, (flag, at))| (key, (flag, age(at, now))));
        let aged: BTreeMap<_, _> = aged.filter(|(_, (_, age))| *age <= oldest).collect();
        if !aged.is_empty() {
            entries.insert(digest, Aged(aged));
        }
    }
    (entries, damaged)
}

fn parse(line: &[u8]) -> Option<(Digest, Dated)> {
    let (sum, json) = line.split_at_checked(8)?;
    let json = json.strip_prefix(b" ")?;
    let sum = u32::from_str_radix(std::str::from_utf8(sum).ok()?, 16).ok()?;
    let Line { question, flags } =
        (crc32fast::hash(json) == sum).then(|| serde_json::from_slice(json).ok())??;
    Some((Digest::from_str_radix(&question, 16).ok()?, flags))
}

fn millis(time: Option<SystemTime>) -> u64 {
    let since = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The age of a flag. A time in the future means that the clock was set back, and counts as now.
fn age(at: u64, now: SystemTime) -> Duration {
    UNIX_EPOCH
        .checked_add(Duration::from_millis(at))
        .and_then(|at| now.duration_since(at).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
    }

    fn entry(digest: Digest, flags: &[(&str, u64)]) -> Entry {
        let flag =
            Evaluated { enabled: true, payload: Some(json!({"a": [1, "\n"]})), ..Evaluated::default() };
        let flags =
            flags.iter().map(|(key, age)| ((*key).to_owned(), (flag.clone(), Duration::from_secs(*age))));
        Entry { digest, flags: Aged(flags.collect()) }
    }

    #[test]
    fn written_flags_are_read_with_their_age_at_that_time() {
        let entries = vec![entry(1, &[("a", 10), ("b", 0)]), entry(2, &[("a", 7)])];
        let file = encode(entries, at(100), DAY, 10);
        let (read, damaged) = decode(&file, at(160), DAY);
        assert_eq!((read.len(), damaged), (2, 0));
        assert_eq!(read[&1], entry(1, &[("a", 70), ("b", 60)]).flags);
        assert_eq!(decode(&file, at(0), DAY).0[&2], entry(2, &[("a", 0)]).flags, "a clock that was set back");
        assert_eq!(
            decode(&file, at(100), Duration::from_secs(5)).0,
            HashMap::from([(1, entry(1, &[("b", 0)]).flags)])
        );
    }

    #[test]
    fn the_latest_persons_stay() {
        let entries = (0..10).map(|n| entry(n, &[("a", 10 - n as u64)])).collect();
        let (read, _) = decode(&encode(entries, at(0), DAY, 3), at(0), DAY);
        assert_eq!(std::collections::BTreeSet::from_iter(read.into_keys()), [7, 8, 9].into());
        let old = vec![entry(1, &[("a", 2), ("b", 8)]), entry(2, &[("a", 9)])];
        let (read, _) = decode(&encode(old, at(0), Duration::from_secs(5), 3), at(0), DAY);
        assert_eq!(read, HashMap::from([(1, entry(1, &[("a", 2)]).flags)]));
    }

    #[test]
    fn a_payload_that_nests_too_deep_to_be_read_costs_its_flag_alone() {
        let mut entry = entry(1, &[("a", 1), ("b", 1)]);
        let (flag, _) = entry.flags.0.get_mut("a").unwrap();
        flag.payload = serde_json::from_str(&format!("{}{}", "[".repeat(127), "]".repeat(127))).unwrap();
        let (read, damaged) = decode(&encode(vec![entry], at(0), DAY, 1), at(0), DAY);
        assert_eq!((damaged, read), (0, HashMap::from([(1, self::entry(1, &[("b", 1)]).flags)])));
    }

    #[test]
    fn another_format_is_no_file_of_ours() {
        for content in ["posthog-health flags 2\nwhatever", "\n", "x", "posthog-health flags 1"] {
            let is_ours = content == HEADER;
            assert_eq!(decode(content.as_bytes(), at(0), DAY), (HashMap::new(), usize::from(!is_ours)));
        }
        assert_eq!(decode(b"", at(0), DAY), (HashMap::new(), 0));
    }

    #[test]
    fn questions_and_hosts_are_told_apart() {
        let digests =
            [("a", "b"), ("a", "c"), ("b", "b"), ("ab", "")].map(|(host, question)| digest(host, question));
        assert_eq!(HashMap::from(digests.map(|digest| (digest, ()))).len(), 4);
        assert_eq!(digest("a", "b"), digest("a", "b"));
    }

    proptest! {
        /// A byte that changed costs a person, and never makes another answer.
        #[test]
        fn damage_is_noticed(at_byte in 0_usize..300, with in 1_u8..=255) {
            let entries = || vec![entry(1, &[("a", 1)]), entry(2, &[("b", 2)])];
            let mut file = encode(entries(), at(0), DAY, 10);
            let at_byte = at_byte % file.len();
            file[at_byte] ^= with;
            let (read, damaged) = decode(&file, at(0), DAY);
            prop_assert!(damaged > 0 || read.len() == 2);
            for entry in entries() {
                prop_assert!(read.get(&entry.digest).is_none_or(|flags| *flags == entry.flags));
            }
            prop_assert!(read.len() <= 2);
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut file = format!("{HEADER}\n").into_bytes();
            file.extend(bytes);
            decode(&file, at(0), DAY);
        }
    }
}
