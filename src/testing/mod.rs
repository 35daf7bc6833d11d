//! An in-process PostHog for tests, which can be scripted to fail.
//!
//! [`FakePostHog`] listens on a loopback port and answers as PostHog's ingestion hosts do, with the same checks, statuses
//! and texts. It is a server on real sockets, so that your tests run the client that ships: refused connections, resets,
//! truncated answers and hanging servers are real and not mocked. It keeps the requests that it received, and counts events
//! as PostHog would.
//!
//! ```
//! use posthog_health::testing::{FakePostHog, Reply, Route};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let posthog = FakePostHog::start();
//! let body = format!(
//!     r#"{{"api_key": "{}", "batch": [{{"event": "signed up", "distinct_id": "user-1"}}]}}"#,
//!     FakePostHog::TOKEN,
//! );
//! let send = || {
//!     let url = format!("{}/batch/", posthog.url());
//!     reqwest::Client::new().post(url).body(body.clone()).send()
//! };
//!
//! assert_eq!(send().await?.status(), 200);
//! assert_eq!(posthog.events()[0]["event"], "signed up");
//!
//! // The next request meets an overloaded server, the one after that meets PostHog again.
//! posthog.batch().then(Reply::status(503).retry_after("30"));
//! assert_eq!(send().await?.headers()["retry-after"], "30");
//! assert_eq!(send().await?.status(), 200);
//!
//! assert_eq!(posthog.request_count(Route::Batch), 3);
//! assert_eq!(posthog.accepted(), 2);
//! # Ok(())
//! # }
//! ```
//!
//! # Capture V0 and V1
//!
//! The server speaks both of PostHog's capture protocols, and refuses what the real server refuses. V1 has a
//! [verdict](Verdict) for each event, which [`Reply::verdict`] scripts by the event's name, uuid or position, for one request
//! or for all. [`FakePostHog::set_host`] turns the server into a host without V1, or puts a proxy in front that strips headers
//! or lets only known paths through. An event counts once by its uuid, whichever protocol carried it.
//!
//! Bodies compressed with `br` or `zstd`, which PostHog's V1 decodes, get a 415 here.
//!
//! # An outage, scripted
//!
//! Three sources decide an answer, in this order: the replies queued with [`then`](Script::then), each of which answers one
//! request; the standing reply set with [`always`](Script::always); and PostHog's own rules. A request that a scripted
//! [`Reply`] answers never reaches the rules, so its events are not accepted.
//!
//! ```
//! # use posthog_health::testing::{FakePostHog, Reply};
//! # let posthog = FakePostHog::start();
//! posthog.batch().then(Reply::reset()).then(Reply::hang()); // first a blip, …
//! posthog.always(Reply::status(503));                       // … then everything answers 503, …
//! posthog.refuse();                                         // … then nobody listens any more.
//! posthog.recover();                                        // And all is well again.
//! ```
//!
//! A 413 for a body over [`limit_body`](FakePostHog::limit_body) precedes all of these and uses up no reply.
//!
//! # Waiting
//!
//! A test can wait for a request to arrive: [`wait_for_requests`](FakePostHog::wait_for_requests),
//! [`wait_for_distinct`](FakePostHog::wait_for_distinct),
//! [`wait_for_connections_closed`](FakePostHog::wait_for_connections_closed). They never return if the
//! request does not come, so wrap them in a timeout. The server runs on a thread of its own in real time. Under tokio's
//! paused clock, the clock jumps whenever a test waits for the server.

#![allow(
    clippy::expect_used,
    reason = "test support: a broken fixture should fail the test loudly, at the place that needs it"
)]

mod capture;
mod definitions;
mod fake;
mod host;
mod http;
mod reply;
mod request;
mod rules;
mod script;
mod seen;
mod server;
mod shape;
mod state;

pub use capture::{Pick, Verdict};
pub use fake::FakePostHog;
pub use host::Host;
pub use reply::Reply;
pub use request::{Request, Route};
pub use script::Script;
