//! One client's server, and what became of it.

use std::time::{Duration, Instant};

use posthog_health::testing::{FakePostHog, Request, Route};

use crate::client::{During, Warm};
use crate::fault::Fault;
use crate::support::process::Process;
use crate::support::server;

pub(crate) struct Side {
    pub(crate) server: FakePostHog,
    captured: usize,
    /// What it sent, and what its process took, in the outage.
    pub(crate) requests: usize,
    pub(crate) cpu: Duration,
    pub(crate) memory: u64,
    recovered: Instant,
    pub(crate) ledger: String,
}

pub(crate) fn run(role: &str, fault: &Fault, outage: usize, queue: usize) -> Side {
    let server = server();
    let mut client =
        Process::start(role, &[("--server", &server.url()), ("--seconds", &outage), ("--queue", &queue)]);
    let Warm = client.told();
    fault.strike(&server);
    let before = server.request_count(Route::Batch);
    client.tell("go on");
    let During { captured, cpu, memory } = client.told();
    let requests = server.request_count(Route::Batch) - before;
    server.recover();
    let recovered = Instant::now();
    client.tell("flush");
    let ledger = client.told();
    Side { server, captured, requests, cpu, memory, recovered, ledger }
}

impl Side {
    pub(crate) fn lost(&self) -> usize {
        self.captured - self.server.distinct()
    }

    pub(crate) fn duplicates(&self) -> usize {
        self.server.accepted() - self.server.distinct()
    }

    /// After the recovery.
    pub(crate) fn deliveries(&self) -> Vec<Duration> {
        let delivered = |request: &Request| {
            let accepted = request.route == Route::Batch && request.status == Some(200);
            accepted.then(|| request.at.checked_duration_since(self.recovered)).flatten()
        };
        self.server.requests().iter().filter_map(delivered).collect()
    }
}
