//! Clock skew by the server's `Date`.

use std::time::{Duration, SystemTime};

use super::check::Finding;

/// When a request was sent, how long it took, and what the server's clock said in between.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub sent: SystemTime,
    pub took: Duration,
    pub server: SystemTime,
}

/// PostHog corrects the times of events by `sent_at`, if a request arrives at once. Signatures, caches and replays are not
/// corrected.
const LARGEST: f64 = 30.0;

pub fn judge(samples: &[Sample]) -> Finding {
    // The quickest answer is the most precise.
    let Some(best) = samples.iter().min_by_key(|sample| sample.took) else {
        return Finding::skipped("no answer with a Date");
    };
    let ahead = ahead(best);
    let doubt = best.took.as_secs_f64() / 2.0 + 0.5;
    let seen = match ahead {
        _ if ahead.abs() <= doubt => "in step with the server's, as far as a Date can tell".to_owned(),
        ahead if ahead > 0.0 => format!("{ahead:.0} s ahead of the server's"),
        ahead => format!("{:.0} s behind the server's", -ahead),
    };
    Finding::pass(seen).warn_if(
        ahead.abs() - doubt > LARGEST,
        "let NTP set the clock (chrony, systemd-timesyncd, the hypervisor's)",
    )
}

/// The seconds that this machine's clock is ahead, within half a second and half of the round trip. A `Date` is cut to
/// whole seconds.
fn ahead(sample: &Sample) -> f64 {
    let here = since_1970(sample.sent) + sample.took.as_secs_f64() / 2.0;
    here - (since_1970(sample.server) + 0.5)
}

fn since_1970(at: SystemTime) -> f64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::CheckStatus::{Pass, Skipped, Warn};

    fn sample(server_minus_here: f64, took: f64) -> Sample {
        let sent = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let server = 1_000_000.0 + server_minus_here;
        Sample {
            sent,
            took: Duration::from_secs_f64(took),
            server: SystemTime::UNIX_EPOCH + Duration::from_secs_f64(server),
        }
    }

    #[test]
    fn warns_above_thirty_seconds_either_way_beyond_doubt() {
        // The server's second lasts from its Date to a second later, the answer comes at once.
        for (server, status) in [(0.0, Pass), (30.0, Pass), (31.0, Warn), (-31.0, Pass), (-32.0, Warn)] {
            assert_eq!(judge(&[sample(server, 0.0)]).status, status, "{server}");
        }
        // Half of two seconds on the way is doubt, and so much of it is in the middle already.
        assert_eq!(judge(&[sample(32.0, 2.0)]).status, Pass);
        assert_eq!(judge(&[sample(34.0, 2.0)]).status, Warn);
        assert_eq!(judge(&[]).status, Skipped);
    }

    #[test]
    fn the_quickest_answer_decides_and_the_side_is_told() {
        let finding = judge(&[sample(500.0, 3.0), sample(60.0, 0.0)]);
        assert_eq!(finding.seen, "60 s behind the server's");
        assert_eq!(judge(&[sample(-60.0, 0.0)]).seen, "60 s ahead of the server's");
        assert_eq!(judge(&[sample(0.0, 0.0)]).seen, "in step with the server's, as far as a Date can tell");
    }
}
