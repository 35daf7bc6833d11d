use tokio::time::{Instant, timeout_at};

/// Works until the deadline (`None`: as long as it takes). Tells whether it was done by then.
pub(crate) async fn within(deadline: Option<Instant>, work: impl Future<Output = ()>) -> bool {
    match deadline {
        Some(deadline) => timeout_at(deadline, work).await.is_ok(),
        None => {
            work.await;
            true
        }
    }
}
