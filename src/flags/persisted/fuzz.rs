//! The persisted file, whoever has written to it.

use std::time::{Duration, UNIX_EPOCH};

use bolero::check;
use tokio::time::Instant;

use super::format::{Entry, decode, encode};
use crate::flags::answer::FlagsAnswer;
use crate::flags::cache::EvaluatedAt;
use crate::fuzz::ROUNDS;

const OLDEST: Duration = Duration::from_secs(24 * 3600);

/// Lines. A line that begins with `#` gets its checksum here.
#[test]
fn file() {
    check!(name = "file").with_iterations(ROUNDS).for_each(|input: &[u8]| {
        let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let mut content = b"posthog-health flags 1".to_vec();
        for line in input.split(|byte| *byte == b'\n') {
            content.push(b'\n');
            if let Some(json) = line.strip_prefix(b"#") {
                content.extend(format!("{:08x} ", crc32fast::hash(json)).into_bytes());
                content.extend(json);
            } else {
                content.extend(line);
            }
        }
        let (entries, damaged) = decode(&content, now, OLDEST);
        assert!(entries.len() + damaged <= content.split(|byte| *byte == b'\n').count());
        let again = entries
            .into_iter()
            .map(|(digest, flags)| Entry::new(digest, &flags.since(Instant::now()), Instant::now()));
        let again: Vec<_> = again.collect();
        let persons = again.len();
        let file = encode(again, now, OLDEST, usize::MAX);
        let (read, damaged) = decode(&file, now, OLDEST);
        assert_eq!((read.len(), damaged), (persons, 0), "{}", String::from_utf8_lossy(&file));
    });
}

/// Every answer of PostHog's can be read again.
#[test]
fn answer() {
    check!(name = "answer").with_iterations(ROUNDS).for_each(|input: &[u8]| {
        let Ok(answer) = FlagsAnswer::read(input) else { return };
        let now = Instant::now();
        let at = EvaluatedAt::ago(Duration::ZERO, now);
        let known = answer.flags.into_iter().map(|(key, flag)| (key, (flag, at))).collect();
        let file = encode(vec![Entry::new(7, &known, now)], UNIX_EPOCH, OLDEST, 1);
        let (read, damaged) = decode(&file, UNIX_EPOCH, OLDEST);
        assert_eq!(damaged, 0, "{}", String::from_utf8_lossy(&file));
        assert!(read.len() <= 1);
    });
}
