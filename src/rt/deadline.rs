use tokio::time::{Instant, timeout_at};

/// Drives `work` until it is done or the deadline passes, and returns true if it is done. With `None` there is no deadline.
pub async fn within(deadline: Option<Instant>, work: impl Future<Output = ()>) -> bool {
    match deadline {
        Some(deadline) => timeout_at(deadline, work).await.is_ok(),
        None => {
            work.await;
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_hangs_is_left_at_the_deadline() {
        let begun = Instant::now();
        let deadline = begun + Duration::from_secs(5);
        assert!(within(Some(deadline), ready(())).await);
        assert!(within(None, ready(())).await);
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert!(!within(Some(deadline), pending()).await);
        assert_eq!(begun.elapsed(), Duration::from_secs(5));
    }
}
