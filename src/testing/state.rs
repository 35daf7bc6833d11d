//! What the server's thread and the test share.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use tokio::sync::watch;

use super::reply::{Answer, Outgoing};
use super::request::{Request, Route};
use super::rules::{Effect, Rules, Verdict};
use super::script::Plans;

const DEFAULT_BODY_LIMIT: usize = 20 * 1024 * 1024;

pub(super) struct Shared {
    state: Mutex<State>,
    totals: watch::Sender<Totals>,
}

pub(super) struct State {
    pub(super) rules: Rules,
    pub(super) plans: Plans,
    pub(super) body_limit: usize,
    pub(super) keep_bodies: bool,
    /// Seconds that the server's clock is ahead.
    pub(super) clock_ahead: i64,
    pub(super) requests: Vec<Request>,
    pub(super) uuids: HashMap<u128, usize>,
}

/// Every count, in the channel that waiting tests watch.
#[derive(Clone, Copy, Default)]
pub(super) struct Totals {
    requests: [usize; Route::COUNT],
    pub(super) accepted: usize,
    pub(super) distinct: usize,
    pub(super) billable: usize,
    pub(super) open: usize,
    pub(super) connections: usize,
}

/// An open connection, counted while it lives.
pub(super) struct Open(Arc<Shared>);

impl Shared {
    pub(super) fn new(token: &str, secret_key: &str) -> Self {
        let rules = Rules {
            tokens: HashSet::from([token.to_owned()]),
            revoked: HashSet::new(),
            secret_keys: HashSet::from([secret_key.to_owned()]),
            over_quota: false,
            rejected_names: HashSet::new(),
            personal_keys: HashMap::new(),
            flags: BTreeMap::new(),
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

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn totals(&self) -> Totals {
        *self.totals.borrow()
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Totals> {
        self.totals.subscribe()
    }

    pub(super) fn connection(self: &Arc<Self>) -> Open {
        self.totals.send_modify(|totals| {
            totals.open += 1;
            totals.connections += 1;
        });
        Open(Arc::clone(self))
    }

    /// Decides on a request, records it, and says what to send.
    pub(super) fn handle(&self, mut request: Request) -> Outgoing {
        let mut state = self.lock();
        let reply = state.plans.next(request.route);
        let Verdict { answer, effect } = match reply.status {
            Some(status) => Answer::empty(status).into(),
            None => state.rules.judge(&request),
        };
        let mut outgoing = reply.dress(answer);
        outgoing.answer.date(SystemTime::now(), state.clock_ahead);
        let shown = outgoing.delivery.shows_status();
        request.status = shown.then_some(outgoing.answer.status);
        self.record(&mut state, request, &effect);
        outgoing
    }

    /// Records a request whose body is too large, and says what to send.
    pub(super) fn handle_too_large(&self, mut request: Request) -> Answer {
        request.status = Some(413);
        self.record(&mut self.lock(), request, &Effect::default());
        Answer::text(413, "request body is too large")
    }

    /// The record first, then the totals: whoever was woken by a total finds the record complete.
    fn record(&self, state: &mut State, mut request: Request, effect: &Effect) {
        let route = request.route;
        request.accepted = !effect.accepted.is_empty();
        if !state.keep_bodies {
            request.body = Bytes::new();
        }
        state.requests.push(request);
        for uuid in effect.accepted.iter().flatten() {
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
    pub(super) fn requests(&self, route: Route) -> usize {
        self.requests[route.index()]
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.totals.send_modify(|totals| totals.open -= 1);
    }
}
