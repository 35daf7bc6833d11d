use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake};
use std::thread::{self, Thread};
use std::time::Instant;

/// Blocks this thread until the future is ready or the deadline passes. `None` at the deadline, which leaves the future to
/// another call.
///
/// For threads outside of any runtime, and for futures that need none.
pub fn block_within<T>(deadline: Instant, mut future: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(thread::current())).into();
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(value);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        thread::park_timeout(left);
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::pin::pin;
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;

    #[test]
    fn a_thread_waits_without_a_runtime_and_not_beyond_the_deadline() {
        let hour = Instant::now() + Duration::from_secs(3600);
        let (sender, receiver) = oneshot::channel();
        let sends = thread::spawn(move || sender.send(7));
        assert_eq!(block_within(hour, pin!(receiver)), Some(Ok(7)));
        sends.join().unwrap().unwrap();
        assert_eq!(block_within(Instant::now(), pin!(pending::<()>())), None);
    }
}
