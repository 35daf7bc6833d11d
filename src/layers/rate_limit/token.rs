use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use super::RateLimitExceeded;
use super::bucket::{Bucket, now};
use super::sync::sleep_until;
use crate::layers::Verdict;
use crate::layers::gate::Pass;

/// The right to make one call.
#[derive(Debug)]
pub struct Token {
    pub bucket: Arc<Bucket>,
    /// Since when it is the scout, if it is one.
    pub scout: Option<Instant>,
    /// Until when an idle handle keeps it.
    pub good_until: Option<Instant>,
}

/// How long an idle handle keeps its token. Calls with older tokens would exceed the rate.
const RESERVED: Duration = Duration::from_secs(1);

impl Token {
    #[inline]
    fn end_scouting(&mut self) {
        if let Some(since) = self.scout.take() {
            self.bucket.scout_is_back(since);
        }
    }
}

impl Pass for Token {
    #[inline]
    fn settle(&mut self, verdict: Verdict) {
        self.bucket.settle(verdict);
        self.end_scouting();
    }

    fn park(&mut self) {
        self.good_until.get_or_insert_with(|| now() + RESERVED);
    }

    fn unpark(&mut self) -> bool {
        self.is_current()
    }

    fn is_current(&self) -> bool {
        self.good_until.is_none_or(|until| now() < until)
    }
}

impl Drop for Token {
    #[inline]
    fn drop(&mut self) {
        self.end_scouting();
    }
}

/// A place in line, which is given up when it is dropped.
struct Place {
    bucket: Arc<Bucket>,
    ticket: Option<u64>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.bucket.leave(ticket);
        }
    }
}

/// Waits for a token, but not for longer than that.
pub async fn token(bucket: Arc<Bucket>, longest: Option<Duration>) -> Result<Token, RateLimitExceeded> {
    let started = now();
    let deadline = longest.and_then(|longest| started.checked_add(longest));
    let mut place = Place { bucket, ticket: None };
    let mut sleep = pin!(sleep_until(started.into()));
    poll_fn(|cx| {
        loop {
            let no_token = match place.bucket.turn(&mut place.ticket, Some(cx.waker())) {
                Ok(token) => {
                    place.bucket.count_wait(now().saturating_duration_since(started));
                    return Poll::Ready(Ok(token));
                }
                Err(no_token) => no_token,
            };
            if deadline.is_some_and(|deadline| no_token.at > deadline || now() >= deadline) {
                return Poll::Ready(Err(no_token.into()));
            }
            let due = deadline.map_or(no_token.due, |deadline| deadline.min(no_token.due));
            sleep.as_mut().reset(due.into());
            ready!(sleep.as_mut().poll(cx));
        }
    })
    .await
}
