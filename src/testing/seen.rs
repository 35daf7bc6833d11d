//! The requests that the server received, and waiting for them.

use std::collections::HashMap;

use serde_json::Value;

use super::capture;
use super::fake::FakePostHog;
use super::request::{Request, Route};
use super::state::Totals;

impl FakePostHog {
    /// Returns every request so far, in order of arrival.
    ///
    /// Its [route](Request::route) tells the capture protocol of its events. V1's request id, attempt and time are
    /// [headers](Request::header); `created_at` is in [`json`](Request::json).
    ///
    /// A request is added when its body has been read, before its answer is sent. Input that is not HTTP is left out.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.lock().requests.clone()
    }

    /// Returns the number of requests to this route.
    pub fn request_count(&self, route: Route) -> usize {
        self.shared.totals().requests(route)
    }

    /// Returns the accepted events of both capture protocols as they were sent, in order and with duplicates. Events of
    /// requests whose body was [not kept](Self::keep_bodies) are left out.
    pub fn events(&self) -> Vec<Value> {
        let mut accepted = Vec::new();
        for request in self.requests() {
            let mut events = capture::events(&request.body);
            accepted.extend(
                request.accepted.iter().filter_map(|&position| events.get_mut(position).map(Value::take)),
            );
        }
        accepted
    }

    /// Returns the number of accepted events, including duplicates.
    pub fn accepted(&self) -> usize {
        self.shared.totals().accepted
    }

    /// Returns the number of distinct accepted uuids. Events without a uuid do not count.
    pub fn distinct(&self) -> usize {
        self.shared.totals().distinct
    }

    /// Returns how often each uuid was accepted, keyed by its hyphenated lower-case form.
    pub fn uuid_counts(&self) -> HashMap<String, usize> {
        let state = self.shared.lock();
        state.uuids.iter().map(|(uuid, count)| (uuid.to_string(), *count)).collect()
    }

    /// Returns the number of `/flags/` requests that PostHog would bill, because they evaluate flags.
    pub fn billable_flag_requests(&self) -> usize {
        self.shared.totals().billable
    }

    /// Returns the number of open connections.
    pub fn open_connections(&self) -> usize {
        self.shared.totals().open
    }

    /// Returns the number of connections accepted so far.
    pub fn connections_accepted(&self) -> usize {
        self.shared.totals().connections
    }

    /// Waits until at least `count` requests to this route have arrived. Never returns if they do not come.
    pub async fn wait_for_requests(&self, route: Route, count: usize) {
        self.wait(|totals| totals.requests(route) >= count).await;
    }

    /// Waits until at least `count` distinct uuids were accepted. Never returns if they are not.
    pub async fn wait_for_distinct(&self, count: usize) {
        self.wait(|totals| totals.distinct >= count).await;
    }

    /// Waits until no connection is open. Never returns while a client keeps one.
    pub async fn wait_for_connections_closed(&self) {
        self.wait(|totals| totals.open == 0).await;
    }

    async fn wait(&self, reached: impl Fn(&Totals) -> bool) {
        let mut totals = self.shared.subscribe();
        let reached = totals.wait_for(reached).await;
        reached.expect("the sender lives as long as the server");
    }
}
