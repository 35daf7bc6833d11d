use std::sync::Arc;
use std::task::{Context, Poll};

use tower::{Layer, Service};

use super::breaker::{Closed, Shared};
use super::permit::{Permit, expired, permit};
use super::{CircuitBreakerConfig, CircuitBreakerHandle, CircuitOpen, CircuitState};
use crate::ConfigError;
use crate::layers::gate::{Gate, Gated, GatedFuture, Signal, Waiting};
use crate::layers::{Classify, Verdict, WaitIn};

/// Stops calling a service that fails, and finds out gently when it has recovered.
///
/// The state machine is `failsafe`'s. The failure policy, the gate of the half-open state and the waiting are this layer's.
///
/// ```text
///               failure rate reached
///   ┌────────┐ ─────────────────────────────────► ┌──────┐
///   │ closed │                                    │ open │ ◄──┐ a probe failed:
///   └────────┘ ◄──────────┐                       └──────┘    │ or hung:
///                  probes │                          │ open time over
///               succeeded │   ┌───────────┐          │        │ open for longer
///                         └── │ half open │ ◄────────┘        │
///                             └───────────┘ ──────────────────┘
/// ```
///
/// - **Closed.** Calls pass. The last `window` results of the last `window_time` decide: when at least `min_calls` of them are
///   there and the share of failures reaches the threshold, the breaker opens. The window slides call by call, so a thousand
///   old successes do not hide ten new failures, and recording costs the same however many calls it holds.
/// - **Open.** Calls are rejected with [`CircuitOpen`] at once, or [wait](Self::wait_when_open). The open time starts at
///   1 s and doubles with each failed probe up to 10 s. It is shortened by up to a tenth at random, so that many clients do
///   not probe in step. It never undercuts a `Retry-After` that a failure carried.
/// - **Half open.** `failsafe` alone would admit every call. Here at most `probes` calls are in flight. A probe that is
///   dropped before its end returns its permit. The breaker closes when `successes` probes have succeeded. A failure opens it
///   again, and so does a probe that hangs for `longest_probe`.
///
/// An operator can [force it open or closed](CircuitBreakerHandle::force_open), and [reset](CircuitBreakerHandle::reset) it.
///
/// The [`Verdict`](crate::layers::Verdict) decides what counts: only `Failed` is a failure. `Refused` is a success, because
/// the service is alive. `Throttled` counts as neither, so a breaker never opens on 429s. Results of calls that began in an
/// earlier state are ignored. Slow calls are successes: put a timeout below the breaker, and those that exceed it are
/// failures.
///
/// **A call ends with its response's head.** A body that breaks off or hangs afterwards counts as a success, because the
/// breaker never sees it. If bodies matter, put the layers around a service that reads them, as this crate's own delivery does.
///
/// # Readiness
///
/// The breaker decides before it asks the service whether it is ready, so an open breaker rejects at once, also while the
/// service is busy or hangs. What `poll_ready` decides holds in `call`. A call that is rejected or waits gives back what the
/// service has reserved for it (a permit of `ConcurrencyLimit`, a place in a `Buffer`); the breaker drops the polled service
/// and goes on with a clone. An error of the service's `poll_ready` is a result like that of a call.
///
/// # Defaults
///
/// Half of the last 10 calls within an hour failed, at least 5; open for 1 s doubling to 10 s; 1 probe, of 30 s at most; calls
/// are rejected while open.
/// Each method of [`CircuitBreakerConfig`] gives the reason.
///
/// # Cost
///
/// A call that passes a closed breaker, or is rejected, allocates nothing in the breaker. While the window holds only
/// successes, one more changes nothing and is not recorded, so the calls of a healthy service take no lock and read no clock.
/// While failures are in the window, each result takes the lock, and [some read the clock](CircuitBreakerConfig::window_time).
/// Rejected calls take no lock.
///
/// # Clone
///
/// All services that one layer or its clones produce, and its [handle](CircuitBreakerHandle), share one breaker.
///
/// # Cancel safety
///
/// Dropping a call records nothing and frees its permit. Dropping a waiting call leaves the queue.
///
/// # Time
///
/// The open time runs on `failsafe`'s own clock (`std::time::Instant`), which a paused tokio clock does not steer. In
/// tests, configure milliseconds.
///
/// # Examples
///
/// ```
/// use posthog_health::Error;
/// use posthog_health::layers::{CircuitBreakerConfig, CircuitBreakerLayer, HttpStatus};
/// use tower::{ServiceBuilder, ServiceExt};
///
/// # async fn example(request: reqwest::Request) -> Result<(), Box<dyn std::error::Error>> {
/// let layer = CircuitBreakerLayer::new(CircuitBreakerConfig::default(), HttpStatus::default())?;
/// let breaker = layer.handle();
/// let service = ServiceBuilder::new().layer(layer).map_err(Error::from).service(reqwest::Client::new());
/// println!("{:?}", breaker.state());
/// let response = service.oneshot(request).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct CircuitBreakerLayer<C> {
    gate: BreakerGate,
    classifier: C,
}

impl<C> CircuitBreakerLayer<C> {
    /// Makes a new, closed breaker.
    ///
    /// # Errors
    ///
    /// When a value of `config` is zero, absurd, or does not fit the others.
    pub fn new(config: CircuitBreakerConfig, classifier: C) -> Result<Self, ConfigError> {
        config.validate()?;
        let gate = BreakerGate { shared: Arc::new(Shared::new(config)), wait_in: None };
        Ok(Self { gate, classifier })
    }

    /// Makes calls wait while the breaker is open, until they may probe the service or the breaker closes. [`WaitIn`] has the
    /// trade-offs. By default calls fail at once, for callers that have something better to do than wait.
    #[must_use]
    pub fn wait_when_open(mut self, wait_in: WaitIn) -> Self {
        self.gate.wait_in = Some(wait_in);
        self
    }

    /// Returns a handle that reads the breaker's state, and lets an operator decide it.
    pub fn handle(&self) -> CircuitBreakerHandle {
        CircuitBreakerHandle { shared: Arc::clone(&self.gate.shared) }
    }
}

impl<S, C: Clone> Layer<S> for CircuitBreakerLayer<C> {
    type Service = CircuitBreaker<S, C>;

    fn layer(&self, service: S) -> Self::Service {
        CircuitBreaker { gated: Gated::new(service, self.gate.clone(), self.classifier.clone()) }
    }
}

/// A service behind a circuit breaker, made by [`CircuitBreakerLayer`].
///
/// Its errors are those of the service, into which a [`CircuitOpen`] must be convertible. `tower::BoxError` and
/// [`Error`](crate::Error) are such errors.
#[derive(Clone, Debug)]
pub struct CircuitBreaker<S, C> {
    gated: Gated<S, BreakerGate, C>,
}

impl<S, C, Req> Service<Req> for CircuitBreaker<S, C>
where
    S: Service<Req> + Clone,
    S::Error: From<CircuitOpen>,
    C: Classify<S::Response, S::Error> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = GatedFuture<S, BreakerGate, C, Req>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.gated.poll_ready(cx)
    }

    // `always`, as in `GatedFuture::poll`.
    #[inline(always)]
    fn call(&mut self, request: Req) -> Self::Future {
        self.gated.call(request)
    }
}

/// The breaker as a gate, with what becomes of calls while it is open.
#[derive(Clone, Debug)]
pub struct BreakerGate {
    shared: Arc<Shared>,
    /// `None`: they are rejected.
    wait_in: Option<WaitIn>,
}

impl Gate for BreakerGate {
    type Pass = Permit;
    type Rejected = CircuitOpen;

    #[inline]
    fn decides_in_call(&self) -> bool {
        self.shared.state() == CircuitState::Closed
    }

    #[inline]
    fn pass(&self) -> Result<Permit, CircuitOpen> {
        self.shared.admit().map_err(Closed::into)
    }

    fn wait_in(&self) -> Option<WaitIn> {
        self.wait_in
    }

    fn wait(&self) -> Waiting<Self> {
        let permit = permit(Arc::clone(&self.shared));
        Box::pin(async move { Ok(permit.await) })
    }

    fn changed(&self, pass: Option<&Permit>) -> Option<Signal> {
        Some(Box::pin(expired(Arc::clone(&self.shared), pass.map(|permit| permit.phase))))
    }

    fn observe(&self, verdict: Verdict) {
        self.shared.observe(verdict);
    }

    fn count_rejected(&self) {
        self.shared.count_rejected();
    }
}
