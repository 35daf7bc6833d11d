use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::board::Board;
use super::flow::Flows;
use super::metrics::{self, Published};
use super::rollout::{Observations, RolloutConfig, RolloutVerdict, verdict};
use super::rules::{MINUTE, View, conditions};
use super::signs::Signs;
use super::traffic::Traffic;
use super::transitions::{AlertTransitions, Transitions};
use super::{Alert, AlertsConfig, Surface};
use crate::Error;
use crate::api::Accepted;
use crate::delivery::{Queue, Snapshot};
use crate::layers::{CircuitBreakerHandle, RateLimitHandle, RetryHandle};

/// Is shown each attempt, looks at everything else once a second, and tells what is wrong.
#[derive(Debug)]
pub(crate) struct Monitor {
    alerts: AlertsConfig,
    rollout: RolloutConfig,
    sources: Sources,
    state: Mutex<State>,
    /// Held for a whole look, so that looks are shown in their order. Nothing else takes it, so that a recorder or a
    /// subscriber may ask the client. `None` after the end.
    published: Mutex<Option<Published>>,
}

/// What is looked at.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    pub(crate) queue: Arc<Queue>,
    /// By surface.
    pub(crate) breakers: [CircuitBreakerHandle; Surface::ALL.len()],
    pub(crate) limiter: RateLimitHandle,
    pub(crate) retries: RetryHandle,
}

/// What a look shows as metrics.
pub(super) struct Scene<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) sources: &'a Sources,
    pub(super) traffic: &'a [Traffic; Surface::ALL.len()],
    pub(super) board: &'a Board,
    pub(super) alerts: &'a AlertsConfig,
}

#[derive(Debug)]
struct State {
    traffic: [Traffic; Surface::ALL.len()],
    flows: Flows,
    board: Board,
    transitions: Transitions,
}

/// How often to look: alerts are to be known within a minute, and a look costs microseconds.
const EVERY: Duration = Duration::from_secs(1);

impl Monitor {
    pub(crate) fn new(alerts: AlertsConfig, rollout: RolloutConfig, sources: Sources) -> Self {
        let start = Instant::now();
        let state = State {
            traffic: Surface::ALL.map(|_| Traffic::new(start, alerts.latency)),
            flows: Flows::new(start),
            board: Board::default(),
            transitions: Transitions::new(),
        };
        metrics::describe();
        let monitor = Self {
            alerts,
            rollout,
            sources,
            state: Mutex::new(state),
            published: Mutex::new(Some(Published::default())),
        };
        // Counters exist from the start, at 0.
        monitor.look();
        monitor
    }

    /// Looks again and again until it is aborted. `token_refused` is what probes found of the token.
    pub(crate) async fn run(self: Arc<Self>, mut token_refused: watch::Receiver<bool>) {
        let _ends = Ends(Arc::clone(&self));
        let [mut capture, mut flags] = self.sources.breakers.each_ref().map(CircuitBreakerHandle::subscribe);
        let mut every = interval(EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = every.tick() => {}
                Ok(()) = capture.changed() => {}
                Ok(()) = flags.changed() => {}
                Ok(()) = token_refused.changed() => {
                    let refused = *token_refused.borrow_and_update();
                    self.state().traffic[Surface::Capture as usize].record_token(Instant::now(), refused);
                }
            }
            self.look();
        }
    }

    /// Looks for the last time: nothing fires and nothing is told or shown after that.
    pub(crate) fn end(&self) {
        let mut published = self.published();
        if let Some(mut last) = published.take() {
            self.look_and_show(&mut last);
            last.withdraw();
            self.close();
        }
    }

    fn close(&self) {
        let mut state = self.state();
        state.board = Board::default();
        state.transitions = Transitions::ended();
    }

    fn look(&self) {
        if let Some(published) = self.published().as_mut() {
            self.look_and_show(published);
        }
    }

    fn look_and_show(&self, published: &mut Published) {
        let snapshot = self.sources.queue.snapshot();
        let breakers = self.sources.breakers.each_ref().map(CircuitBreakerHandle::state);
        let now = Instant::now();
        let mut guard = self.state();
        let state = &mut *guard;
        state.flows.record(now, &snapshot);
        let reasons = conditions(
            &self.alerts,
            &View {
                now,
                traffic: &state.traffic,
                breakers,
                lost: state.flows.within(now, MINUTE).all_lost(),
                spool: snapshot.spool,
                waiting: state.flows.waiting(),
                stalled_for: state.flows.stalled_for(now),
            },
        );
        let transitions = state.board.update(now, reasons, &self.alerts);
        let samples = metrics::samples(&Scene {
            snapshot: &snapshot,
            sources: &self.sources,
            traffic: &state.traffic,
            board: &state.board,
            alerts: &self.alerts,
        });
        let told = state.transitions.clone();
        drop(guard);
        published.update(samples);
        transitions.into_iter().for_each(|transition| told.tell(transition));
    }

    /// An attempt to reach a surface has ended.
    pub(super) fn record(&self, surface: Surface, latency: Duration, result: Result<&Accepted, &Error>) {
        self.state().traffic[surface as usize].record(Instant::now(), latency, result);
    }

    pub(crate) fn signs(&self) -> Signs {
        self.state().traffic[Surface::Capture as usize].signs()
    }

    pub(crate) fn alerts(&self) -> Vec<Alert> {
        self.state().board.alerts(Instant::now())
    }

    pub(crate) fn verdict(&self) -> RolloutVerdict {
        let now = Instant::now();
        let state = self.state();
        let traffic = &state.traffic[Surface::Capture as usize];
        let RolloutConfig { window, .. } = self.rollout;
        let (counts, flow) = (traffic.within(now, window), state.flows.within(now, window));
        let seen = Observations {
            alerts: state.board.alerts(now),
            attempts: counts.attempts,
            failed: counts.failed,
            p99: traffic.p99(now, window),
            delivered: flow.delivered,
            lost: flow.lost,
            buried: flow.buried,
        };
        drop(state);
        verdict(&self.rollout, seen)
    }

    pub(crate) fn subscribe(&self) -> AlertTransitions {
        self.state().transitions.subscribe()
    }

    fn published(&self) -> MutexGuard<'_, Option<Published>> {
        self.published.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the monitor with its task, whatever ends that: an abort, the runtime, or a recorder that panics, which is
/// not called again.
struct Ends(Arc<Monitor>);

impl Drop for Ends {
    fn drop(&mut self) {
        if std::thread::panicking() { self.0.close() } else { self.0.end() }
    }
}
