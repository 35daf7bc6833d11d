//! The state that the server's thread and the test share.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use tokio::sync::watch;
use uuid::Uuid;

use super::capture::v1;
use super::reply::{Answer, Outgoing};
use super::request::{Request, Route};
use super::rules::{Decision, Effect, Rules};
use super::script::Plans;

const DEFAULT_BODY_LIMIT: usize = 20 * 1024 * 1024;

pub struct Shared {
    state: Mutex<State>,
    totals: watch::Sender<Totals>,
}

pub struct State {
    pub rules: Rules,
    pub plans: Plans,
    pub body_limit: usize,
    pub keep_bodies: bool,
    /// Seconds that the server's clock is ahead.
    pub clock_ahead: i64,
    pub requests: Vec<Request>,
    pub uuids: HashMap<Uuid, usize>,
}

/// Every count, in the channel that waiting tests watch.
#[derive(Clone, Copy, Default)]
pub struct Totals {
    requests: [usize; Route::COUNT],
    pub accepted: usize,
    pub distinct: usize,
    pub billable: usize,
    pub open: usize,
    pub connections: usize,
}

/// A guard that counts an open connection.
pub struct Open(Arc<Shared>);

impl Shared {
    pub fn new(token: &str, secret_key: &str) -> Self {
        let rules = Rules {
            tokens: HashSet::from([token.to_owned()]),
            secret_keys: HashSet::from([secret_key.to_owned()]),
            ..Rules::default()
        };
        let state = State {
            rules,
            plans: Plans::default(),
            body_limit: DEFAULT_BODY_LIMIT,
            keep_bodies: true,
            clock_ahead: 0,
            requests: Vec::new(),
            uuids: HashMap::new(),
        };
        Self { state: Mutex::new(state), totals: watch::Sender::default() }
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn totals(&self) -> Totals {
        *self.totals.borrow()
    }

    pub fn subscribe(&self) -> watch::Receiver<Totals> {
        self.totals.subscribe()
    }

    pub fn connection(self: &Arc<Self>) -> Open {
        self.totals.send_modify(|totals| {
            totals.open += 1;
            totals.connections += 1;
        });
        Open(Arc::clone(self))
    }

    /// The largest body for this path, in bytes on the wire.
    pub fn body_limit(&self, path: &str) -> usize {
        let limit = self.lock().body_limit;
        match Route::of(path) {
            Route::CaptureV1 => limit.min(v1::BODY_LIMIT),
            _ => limit,
        }
    }

    /// Decides on a request, records it, and returns what to send.
    pub fn handle(&self, mut request: Request) -> Outgoing {
        let mut state = self.lock();
        let mut reply = state.plans.next(request.route);
        if reply.is_normal()
            && let Some(provoked) = state.rules.provoked(&request)
        {
            reply = provoked.clone();
        }
        let Decision { answer, effect } = match reply.status {
            Some(status) => Answer::empty(status).into(),
            None => state.rules.judge(&request, &reply),
        };
        let mut outgoing = reply.apply_to(answer);
        outgoing.answer.date(SystemTime::now(), state.clock_ahead);
        let shown = outgoing.delivery.shows_status();
        request.status = shown.then_some(outgoing.answer.status);
        self.record(&mut state, request, &effect);
        outgoing
    }

    /// Records a request whose body is too large, and returns the answer.
    pub fn handle_too_large(&self, mut request: Request) -> Answer {
        request.status = Some(413);
        let answer = match request.route {
            Route::CaptureV1 => v1::too_large(),
            _ => Answer::text(413, "request body is too large"),
        };
        self.record(&mut self.lock(), request, &Effect::default());
        answer
    }

    /// Writes the record before the totals, so that a test that a total wakes up finds the record complete.
    fn record(&self, state: &mut State, mut request: Request, effect: &Effect) {
        let route = request.route;
        if state.keep_bodies {
            request.accepted = effect.accepted.iter().map(|(position, _)| *position).collect();
        } else {
            request.body = Bytes::new();
        }
        state.requests.push(request);
        for uuid in effect.accepted.iter().filter_map(|(_, uuid)| uuid.as_ref()) {
            *state.uuids.entry(*uuid).or_default() += 1;
        }
        self.totals.send_modify(|totals| {
            totals.requests[route.index()] += 1;
            totals.accepted += effect.accepted.len();
            totals.distinct = state.uuids.len();
            totals.billable += usize::from(effect.billable);
        });
    }
}

impl Totals {
    pub fn requests(&self, route: Route) -> usize {
        self.requests[route.index()]
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.totals.send_modify(|totals| totals.open -= 1);
    }
}
