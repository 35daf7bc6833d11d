use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::firing::FiringAlerts;
use super::metrics::{self, Published};
use super::rollout::{Observations, RolloutConfig, RolloutVerdict, verdict};
use super::rules::{View, conditions};
use super::sources::Sources;
use super::summary::Summary;
use super::throughput::Throughput;
use super::traffic::Traffic;
use super::transitions::{AlertTransitions, Transitions};
use super::{Alert, AlertsConfig, Surface};
use crate::api::{Accepted, Current};
use crate::layers::CircuitBreakerHandle;
use crate::rt::{Heartbeat, lock};
use crate::{Error, ErrorKind};

/// Records each attempt, samples the other parts of the client once a second, and evaluates the alerts.
#[derive(Debug)]
pub struct Monitor {
    alerts: AlertsConfig,
    rollout: RolloutConfig,
    sources: Sources,
    state: Mutex<State>,
    /// Locked while a sample is taken and published, so that samples are published in order. Nothing else takes this lock,
    /// so that a recorder or a log subscriber may call the client. `None` after the end.
    published: Mutex<Option<Published>>,
    heartbeat: Heartbeat,
}

#[derive(Debug)]
struct State {
    /// One for each surface.
    traffic: [Traffic; Surface::ALL.len()],
    throughput: Throughput,
    firing: FiringAlerts,
    transitions: Transitions,
    /// What was forgiven up to the last sample.
    forgiven: [u64; ErrorKind::ALL.len()],
}

/// An alert must be noticed within a minute, and a sample costs microseconds.
const SAMPLE_PERIOD: Duration = Duration::from_secs(1);

impl Monitor {
    pub fn new(alerts: AlertsConfig, rollout: RolloutConfig, sources: Sources) -> Self {
        let start = Instant::now();
        let state = State {
            traffic: Surface::ALL.map(|_| Traffic::new(start, alerts.latency)),
            throughput: Throughput::new(start),
            firing: FiringAlerts::default(),
            transitions: Transitions::new(),
            forgiven: Default::default(),
        };
        metrics::describe();
        let monitor = Self {
            alerts,
            rollout,
            sources,
            state: Mutex::new(state),
            published: Mutex::new(Some(Published::default())),
            heartbeat: Heartbeat::new(start),
        };
        // All counters exist from the start, at 0: a rate over a counter that appears later misses its first increment.
        monitor.sample();
        monitor
    }

    /// Samples until the task is aborted. `token_refused` carries what health probes found out about the token.
    pub async fn run(self: Arc<Self>, mut token_refused: watch::Receiver<bool>) {
        let _end = EndOnDrop(Arc::clone(&self));
        let [mut capture, mut flags] = self.sources.breakers.each_ref().map(CircuitBreakerHandle::subscribe);
        let mut every = interval(SAMPLE_PERIOD);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // A breaker may open and close within a second: a change is sampled at once, or its alert would be missed.
            // The interval ticks seldom, and each turn does the same but for the last one's note.
            tokio::select! {
                biased;
                _ = every.tick() => {}
                Ok(()) = token_refused.changed() => {
                    let refused = *token_refused.borrow_and_update();
                    lock(&self.state).traffic[Surface::Capture as usize].record_token(Instant::now(), refused);
                }
                Ok(()) = capture.changed() => {}
                Ok(()) = flags.changed() => {}
            }
            self.heartbeat.beat();
            self.sample();
        }
    }

    /// Whether nobody drives it, so that no alert can fire. It wakes by itself, more often than a heartbeat is due.
    pub fn is_silent(&self) -> bool {
        self.heartbeat.is_silent(Instant::now(), || ())
    }

    /// Takes the last sample. Afterwards no alert fires, and nothing is announced or published.
    pub fn end(&self) {
        let mut published = lock(&self.published);
        if let Some(mut last) = published.take() {
            self.sample_into(&mut last);
            last.withdraw();
            self.close();
        }
    }

    fn close(&self) {
        let mut state = lock(&self.state);
        state.firing = FiringAlerts::default();
        state.transitions = Transitions::ended();
    }

    fn sample(&self) {
        if let Some(published) = lock(&self.published).as_mut() {
            self.sample_into(published);
        }
    }

    fn sample_into(&self, published: &mut Published) {
        // The queue and the breakers have locks of their own: they are read before ours is taken.
        let snapshot = self.sources.queue.snapshot();
        let breakers = self.sources.breakers.each_ref().map(CircuitBreakerHandle::state);
        let all_forgiven = self.sources.forgiven.totals();
        let now = Instant::now();
        let mut guard = lock(&self.state);
        let State { traffic, throughput, firing, transitions, forgiven } = &mut *guard;
        for kind in ErrorKind::ALL {
            let new = all_forgiven[kind as usize] - forgiven[kind as usize];
            if new > 0 {
                traffic[Surface::Capture as usize].forgive(now, kind, new);
            }
        }
        *forgiven = all_forgiven;
        throughput.record(now, &snapshot, self.sources.forgiven.waiting());
        let view = View { now, snapshot: &snapshot, breakers, traffic, throughput };
        let changes = firing.update(now, conditions(&self.alerts, &view), &self.alerts);
        let samples = metrics::samples(&view, &self.sources, firing, &self.alerts);
        let transitions = transitions.clone();
        // Recorders and log subscribers are foreign code: they run without our lock.
        drop(guard);
        published.update(samples);
        changes.into_iter().for_each(|change| transitions.send(change));
    }

    /// Records an attempt to reach a surface that has ended.
    pub fn record(&self, surface: Surface, latency: Duration, result: Result<&Accepted, &Error>) {
        lock(&self.state).traffic[surface as usize].record(Instant::now(), latency, result);
    }

    /// Summarizes the traffic to the capture endpoint.
    pub fn summary(&self) -> Summary {
        lock(&self.state).traffic[Surface::Capture as usize].summary.clone()
    }

    /// The capture protocol in use.
    pub fn capture(&self) -> Current {
        self.sources.protocols.current()
    }

    /// When PostHog last said that it updates no person for an event.
    pub fn without_person(&self) -> Option<Instant> {
        self.sources.verdicts.without_person()
    }

    pub fn alerts(&self) -> Vec<Alert> {
        lock(&self.state).firing.alerts(Instant::now())
    }

    pub fn verdict(&self) -> RolloutVerdict {
        let now = Instant::now();
        let state = lock(&self.state);
        let traffic = &state.traffic[Surface::Capture as usize];
        let window = self.rollout.window;
        let (attempts, events) = (traffic.within(now, window), state.throughput.within(now, window));
        let seen = Observations {
            alerts: state.firing.alerts(now),
            attempts: attempts.about_posthog(),
            failed: attempts.failed(),
            p99: traffic.p99(now, window),
            delivered: events.delivered,
            lost: events.lost,
            dead_lettered: events.dead_lettered,
        };
        drop(state);
        verdict(&self.rollout, self.alerts.latency, seen)
    }

    pub fn subscribe(&self) -> AlertTransitions {
        lock(&self.state).transitions.subscribe()
    }
}

/// Ends the monitor with its task, whether that was aborted, its runtime ended, or a recorder panicked. A recorder that
/// panicked is not called again.
struct EndOnDrop(Arc<Monitor>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        if std::thread::panicking() { self.0.close() } else { self.0.end() }
    }
}
