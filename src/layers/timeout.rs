//! The time for one attempt.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep};
use tower::timeout::error::Elapsed;
use tower::{BoxError, Layer, Service};

/// Ends calls that take too long, with the error of [`tower::timeout`].
///
/// tower's makes a timer for each call, which reads the clock. This one makes a timer only for a call that is not done when it is
/// first polled, and the time begins then.
#[derive(Clone, Copy, Debug)]
pub struct TimeoutLayer {
    time: Duration,
}

impl TimeoutLayer {
    pub fn new(time: Duration) -> Self {
        Self { time }
    }
}

impl<S> Layer<S> for TimeoutLayer {
    type Service = Timeout<S>;

    fn layer(&self, service: S) -> Self::Service {
        Timeout { service, time: self.time }
    }
}

/// A service whose calls end in time, made by [`TimeoutLayer`].
#[derive(Clone, Debug)]
pub struct Timeout<S> {
    service: S,
    time: Duration,
}

impl<S, Req> Service<Req> for Timeout<S>
where
    S: Service<Req>,
    S::Error: Into<BoxError>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = TimeoutFuture<S::Future>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.service.poll_ready(cx).map_err(Into::into)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        TimeoutFuture { future: self.service.call(request), time: self.time, timer: None }
    }
}

pin_project! {
    /// The response of a [`Timeout`].
    pub struct TimeoutFuture<F> {
        #[pin]
        future: F,
        time: Duration,
        #[pin]
        timer: Option<Sleep>,
    }
}

impl<F, Res, Err> Future for TimeoutFuture<F>
where
    F: Future<Output = Result<Res, Err>>,
    Err: Into<BoxError>,
{
    type Output = Result<Res, BoxError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Poll::Ready(result) = this.future.poll(cx) {
            return Poll::Ready(result.map_err(Into::into));
        }
        if this.timer.is_none() {
            this.timer.set(Some(sleep(*this.time)));
        }
        if let Some(timer) = this.timer.as_pin_mut() {
            ready!(timer.poll(cx));
        }
        Poll::Ready(Err(Elapsed::new().into()))
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::time::Instant;
    use tokio_test::{assert_pending, assert_ready, task};
    use tower::{ServiceExt, service_fn};

    use super::*;
    use crate::Error;

    const TIME: Duration = Duration::from_secs(1);

    fn timeout<S>(service: S) -> Timeout<S> {
        TimeoutLayer::new(TIME).layer(service)
    }

    /// There is no runtime, so a timer would panic.
    #[test]
    fn a_call_that_is_done_at_once_makes_no_timer() {
        let service = timeout(service_fn(|n: u32| ready(Ok::<_, Error>(n))));
        assert_eq!(assert_ready!(task::spawn(service.oneshot(7)).poll()).unwrap(), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_takes_longer_ends_in_time() {
        let started = Instant::now();
        let service = timeout(service_fn(|()| pending::<Result<(), Error>>()));
        let error = service.oneshot(()).await.unwrap_err();
        assert!(error.is::<Elapsed>(), "{error}");
        // The resolution of tokio's timer is a millisecond.
        assert!(
            (TIME..TIME + Duration::from_millis(2)).contains(&started.elapsed()),
            "{:?}",
            started.elapsed()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_done_in_time_is_left_alone() {
        let service = timeout(service_fn(|()| async {
            tokio::time::sleep(TIME - Duration::from_millis(10)).await;
            Err::<(), _>(BoxError::from("its own error"))
        }));
        assert_eq!(service.oneshot(()).await.unwrap_err().to_string(), "its own error");
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_begins_at_the_first_poll_and_goes_on_at_the_next() {
        let mut service = timeout(service_fn(|()| pending::<Result<(), Error>>()));
        let mut call = task::spawn(service.call(()));
        tokio::time::advance(2 * TIME).await;
        assert_pending!(call.poll());
        tokio::time::advance(TIME / 2).await;
        assert_pending!(call.poll());
        tokio::time::advance(TIME).await;
        assert!(call.is_woken());
        assert!(assert_ready!(call.poll()).is_err());
    }
}
