//! What the server saw, and waiting for it.

use std::collections::HashMap;

use serde_json::Value;

use super::fake::FakePostHog;
use super::request::{Request, Route};
use super::shape;
use super::state::Totals;

impl FakePostHog {
    /// Every request so far, in order of arrival.
    ///
    /// One is added as soon as its body has been read, before its answer is sent. What was not HTTP is not among them.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.lock().requests.clone()
    }

    /// How many requests came to this route.
    pub fn request_count(&self, route: Route) -> usize {
        self.shared.totals().requests(route)
    }

    /// The accepted events as they were sent, in order, repeated ones repeated; none from requests whose body was
    /// [not kept](Self::keep_bodies).
    pub fn events(&self) -> Vec<Value> {
        let requests = self.requests();
        let accepted = requests.iter().filter(|request| request.accepted);
        accepted.flat_map(|request| shape::events(&request.body)).collect()
    }

    /// How many events were accepted, repeated ones included.
    pub fn accepted(&self) -> usize {
        self.shared.totals().accepted
    }

    /// How many different uuids were accepted; events without one are not counted.
    pub fn distinct(&self) -> usize {
        self.shared.totals().distinct
    }

    /// How often each uuid was accepted, keyed by its usual lower-case form.
    pub fn uuid_counts(&self) -> HashMap<String, usize> {
        let state = self.shared.lock();
        let counts = state.uuids.iter();
        counts.map(|(uuid, count)| (shape::format_uuid(*uuid), *count)).collect()
    }

    /// How many `/flags/` requests PostHog would bill: those it evaluates.
    pub fn billable_flag_requests(&self) -> usize {
        self.shared.totals().billable
    }

    /// How many connections are open now.
    pub fn open_connections(&self) -> usize {
        self.shared.totals().open
    }

    /// How many connections were ever accepted.
    pub fn connections_accepted(&self) -> usize {
        self.shared.totals().connections
    }

    /// Waits until at least `count` requests came to this route; for ever, if they never come.
    pub async fn wait_for_requests(&self, route: Route, count: usize) {
        self.wait(|totals| totals.requests(route) >= count).await;
    }

    /// Waits until at least `count` different uuids were accepted; for ever, if they never are.
    pub async fn wait_for_distinct(&self, count: usize) {
        self.wait(|totals| totals.distinct >= count).await;
    }

    /// Waits until no connection is open; for ever, if a client holds on to one.
    pub async fn wait_for_connections_closed(&self) {
        self.wait(|totals| totals.open == 0).await;
    }

    async fn wait(&self, reached: impl Fn(&Totals) -> bool) {
        let mut totals = self.shared.subscribe();
        let reached = totals.wait_for(reached).await;
        reached.expect("the sender lives as long as the server");
    }
}
