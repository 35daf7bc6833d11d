//! What PostHog does meanwhile.

use std::time::{Duration, Instant};

use fastrand::Rng;
use posthog_health::testing::{FakePostHog, Reply};
use tokio::time::sleep;

use crate::{callers, is_over, seconds};

/// Whether PostHog may throw away what it takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    Allowed,
    Never,
}

/// One fault after the other, each for up to half a simulated minute, and times in which all is well between them.
pub(crate) async fn play(server: &FakePostHog, mut rng: Rng, length: Duration, loss: Loss) {
    let started = Instant::now();
    while !is_over(started, length) {
        fault(server, &mut rng, loss);
        sleep(rng.u32(1..=30) * seconds(1)).await;
        if rng.bool() {
            end(server);
            sleep(rng.u32(1..=30) * seconds(1)).await;
        }
    }
}

/// All is well: outage, tokens, limits.
pub(crate) fn end(server: &FakePostHog) {
    callers::TOKENS.iter().for_each(|token| server.know_token(token));
    server.limit_quota(false);
    server.limit_body(20 << 20);
    server.reject_events_named(&[]);
    server.recover();
}

fn fault(server: &FakePostHog, rng: &mut Rng, loss: Loss) {
    let reply = reply(rng, loss);
    match rng.u32(..16) {
        0..5 => server.always(reply),
        5..9 => {
            let script = if rng.bool() { server.batch() } else { server.flags() };
            if rng.bool() {
                script.always(reply);
            } else {
                (0..rng.u32(1..20)).fold(script, |script, _| script.then(self::reply(rng, loss)));
            }
        }
        9 => server.refuse(),
        10 => server.accept(),
        11 => server.revoke_token(callers::TOKENS[rng.usize(..callers::TOKENS.len())]),
        12 => server.forget_token(callers::TOKENS[rng.usize(..callers::TOKENS.len())]),
        13 => server.limit_body(rng.usize(200..20_000)),
        14 => server.reject_events_named(&["poison", "large"]),
        _ => server.limit_quota(loss == Loss::Allowed),
    }
}

/// None that says that events were taken, and takes none.
fn reply(rng: &mut Rng, loss: Loss) -> Reply {
    const STATUSES: [u16; 16] =
        [301, 302, 400, 401, 402, 403, 404, 408, 413, 418, 422, 429, 429, 500, 503, 503];
    const HINTS: [&str; 6] =
        ["0", "1", "30", "99999999999999999999", "soon", "Sun, 06 Nov 1994 08:49:37 GMT"];
    const BODIES: [&str; 4] = ["", "1", "{\"status\":", "{\"flags\":{\"a\":{}}}"];
    let status = Reply::status(STATUSES[rng.usize(..STATUSES.len())]);
    let reply = match rng.u32(..14) {
        0..4 => status,
        4..6 => status.retry_after(HINTS[rng.usize(..HINTS.len())]),
        6 => Reply::hang(),
        7 => Reply::hang_after_headers(),
        8 => Reply::close(),
        9 => Reply::reset(),
        10 => {
            if rng.bool() {
                Reply::reset_mid_body()
            } else {
                Reply::truncated_body()
            }
        }
        11 => Reply::html(),
        12 => {
            let reply = Reply::normal().body(BODIES[rng.usize(..BODIES.len())]);
            // Over its quota it would say nothing of that, as old hosts do, and nobody could know.
            if loss == Loss::Never { reply } else { Reply::normal() }
        }
        _ => Reply::normal(),
    };
    let delays = [Duration::ZERO, seconds(1), seconds(9), seconds(12)];
    reply.delayed(delays[rng.usize(..delays.len())])
}
