use std::collections::HashMap;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::check::{CheckId, Finding, Findings};

/// Checks that run concurrently, each group in a task of its own.
#[derive(Default)]
pub struct Groups(JoinSet<Findings>);

impl Groups {
    /// Starts checks that share an observation and a time limit.
    pub fn start(
        &mut self,
        ids: &'static [CheckId],
        limit: Duration,
        work: impl Future<Output = Findings> + Send + 'static,
    ) {
        self.0.spawn(async move {
            match timeout(limit, work).await {
                Ok(findings) => findings,
                Err(_) => ids.iter().map(|&id| (id, hangs(limit))).collect(),
            }
        });
    }

    /// Starts a check that has an observation and a time limit of its own.
    pub fn start_one(
        &mut self,
        id: &'static CheckId,
        limit: Duration,
        work: impl Future<Output = Finding> + Send + 'static,
    ) {
        self.start(std::slice::from_ref(id), limit, async move { vec![(*id, work.await)] });
    }

    /// Waits until all have ended, up to the deadline. A check without a result by then is missing from the map.
    pub async fn finish(mut self, deadline: Instant) -> HashMap<CheckId, Finding> {
        let mut found = HashMap::new();
        while let Ok(Some(ended)) = timeout_at(deadline, self.0.join_next()).await {
            found.extend(ended.into_iter().flatten());
        }
        found
    }
}

fn hangs(limit: Duration) -> Finding {
    Finding::fail(
        format!("no result within {} s", limit.as_secs()),
        "something hangs: a disk, a mount, a resolver or a server; look at the checks beside it",
    )
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;
    use crate::preflight::CheckStatus;

    #[tokio::test(start_paused = true)]
    async fn a_check_that_hangs_or_panics_delays_no_other_and_is_reported() {
        let started = Instant::now();
        let mut groups = Groups::default();
        groups.start(&[CheckId::Dns, CheckId::Tcp], Duration::from_secs(4), pending());
        groups.start_one(&CheckId::Clock, Duration::from_secs(60), pending());
        groups.start_one(&CheckId::Tls, Duration::from_secs(4), async { panic!("a defect") });
        groups.start_one(&CheckId::Host, Duration::from_secs(4), async { Finding::pass("well") });
        let found = groups.finish(started + Duration::from_secs(15)).await;
        assert_eq!(started.elapsed(), Duration::from_secs(15));
        assert_eq!(found[&CheckId::Host], Finding::pass("well"));
        for id in [CheckId::Dns, CheckId::Tcp] {
            assert_eq!(found[&id].status, CheckStatus::Fail);
            assert!(found[&id].seen.contains("within 4 s"), "{found:?}");
        }
        assert!(!found.contains_key(&CheckId::Clock) && !found.contains_key(&CheckId::Tls));
    }
}
