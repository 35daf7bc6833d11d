use std::sync::Arc;

use tokio::time::Instant;

use super::bucket::{Bucket, Wait};
use crate::layers::Verdict;
use crate::layers::gated::Pass;

/// The right to make one call.
#[derive(Debug)]
pub struct Token {
    pub bucket: Arc<Bucket>,
    pub is_scout: bool,
}

impl Token {
    #[inline]
    fn end_scouting(&mut self) {
        if std::mem::take(&mut self.is_scout) {
            self.bucket.scout_is_back();
        }
    }
}

impl Pass for Token {
    #[inline]
    fn settle(&mut self, verdict: Verdict) {
        self.bucket.settle(verdict);
        self.end_scouting();
    }
}

impl Drop for Token {
    #[inline]
    fn drop(&mut self) {
        self.end_scouting();
    }
}

/// Waits for a token.
pub(super) async fn token(bucket: Arc<Bucket>) -> Token {
    let started = Instant::now();
    loop {
        // Registered before asking, so that a scout that comes back in between is not missed.
        let scout_back = Arc::clone(&bucket.scout_back).notified_owned();
        tokio::pin!(scout_back);
        scout_back.as_mut().enable();
        match bucket.take() {
            Ok(token) => {
                bucket.count_wait(started.elapsed());
                return token;
            }
            Err(Wait::For(time)) => tokio::time::sleep(time).await,
            Err(Wait::ForScout) => scout_back.await,
        }
    }
}
