use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake};
use std::thread::{self, Thread};
use std::time;

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

#[cfg(feature = "error-tracking")]
/// The same for a thread that is outside of any runtime, for work that needs none. `None` at the deadline.
pub fn block_within<T>(deadline: time::Instant, mut work: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(thread::current())).into();
    loop {
        if let Poll::Ready(done) = work.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(done);
        }
        let left = deadline.saturating_duration_since(time::Instant::now());
        if left.is_zero() {
            return None;
        }
        thread::park_timeout(left);
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::pin::pin;
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

    #[test]
    fn a_thread_without_a_runtime_waits_too() {
        let hour = time::Instant::now() + Duration::from_secs(3600);
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let sends = thread::spawn(move || sender.send(7));
        assert_eq!(block_within(hour, pin!(receiver)), Some(Ok(7)));
        sends.join().unwrap().unwrap();
        assert_eq!(block_within(time::Instant::now(), pin!(pending::<()>())), None);
    }
}
