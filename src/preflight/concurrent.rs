use std::collections::HashMap;
use std::pin::Pin;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::check::{CheckId, Finding, Findings};

/// Checks that share an observation and a time limit.
pub struct Group {
    ids: &'static [CheckId],
    limit: Duration,
    work: Pin<Box<dyn Future<Output = Findings> + Send>>,
}

impl Group {
    pub fn new(
        ids: &'static [CheckId],
        limit: Duration,
        work: impl Future<Output = Findings> + Send + 'static,
    ) -> Self {
        Self { ids, limit, work: Box::pin(work) }
    }
}

/// Runs all groups concurrently, each in a task of its own and within its limit, the whole until the deadline. A check
/// without a result by then is missing from the map.
pub async fn run_concurrently(groups: Vec<Group>, deadline: Instant) -> HashMap<CheckId, Finding> {
    let mut tasks = JoinSet::new();
    for Group { ids, limit, work } in groups {
        tasks.spawn(async move {
            match timeout(limit, work).await {
                Ok(findings) => findings,
                Err(_) => ids.iter().map(|&id| (id, hangs(limit))).collect(),
            }
        });
    }
    let mut found = HashMap::new();
    while let Ok(Some(ended)) = timeout_at(deadline, tasks.join_next()).await {
        found.extend(ended.into_iter().flatten());
    }
    found
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
        let groups = vec![
            Group::new(&[CheckId::Dns, CheckId::Tcp], Duration::from_secs(4), pending()),
            Group::new(&[CheckId::Clock], Duration::from_secs(60), pending()),
            Group::new(&[CheckId::Tls], Duration::from_secs(4), async { panic!("a defect") }),
            Group::new(&[CheckId::Host], Duration::from_secs(4), async {
                vec![(CheckId::Host, Finding::pass("well"))]
            }),
        ];
        let found = run_concurrently(groups, started + Duration::from_secs(15)).await;
        assert_eq!(started.elapsed(), Duration::from_secs(15));
        assert_eq!(found[&CheckId::Host], Finding::pass("well"));
        for id in [CheckId::Dns, CheckId::Tcp] {
            assert_eq!(found[&id].status, CheckStatus::Fail);
            assert!(found[&id].seen.contains("within 4 s"), "{found:?}");
        }
        assert!(!found.contains_key(&CheckId::Clock) && !found.contains_key(&CheckId::Tls));
    }
}
