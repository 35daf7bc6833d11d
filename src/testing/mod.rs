//! A PostHog of your own, in process, that can be told to fail.
//!
//! [`FakePostHog`] listens on a loopback port and answers as PostHog's ingestion hosts do: the same checks, the same
//! statuses, the same texts. It is a server on real sockets, so that what is tested is the client that ships: refused
//! connections, resets, truncated answers and hanging servers are the real thing, not a mock's idea of them. It keeps
//! what it received, and counts what PostHog would count.
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
//! # An outage, scripted
//!
//! Three things decide an answer, in this order: the replies queued with [`then`](Script::then), each good for one
//! request; the standing reply set with [`always`](Script::always); PostHog's own rules. A request that a scripted
//! [`Reply`] answers never reaches those rules, so that its events are not accepted.
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
//! A 413 for a body over [`limit_body`](FakePostHog::limit_body) comes before all of these and uses up no reply.
//!
//! # Waiting
//!
//! A test that must see a request arrive waits for it: [`wait_for_requests`](FakePostHog::wait_for_requests),
//! [`wait_for_distinct`](FakePostHog::wait_for_distinct),
//! [`wait_for_connections_closed`](FakePostHog::wait_for_connections_closed). They wait for ever if it never comes: wrap
//! them in a timeout. The server keeps real time on a thread of its own; a test under tokio's paused clock sees that clock
//! jump whenever it waits for the server.

#![allow(
    clippy::expect_used,
    reason = "test support: a broken fixture should fail the test loudly, at the place that needs it"
)]

mod definitions;
mod fake;
mod http;
mod reply;
mod request;
mod rules;
mod script;
mod seen;
mod server;
mod shape;
mod state;

pub use fake::FakePostHog;
pub use reply::Reply;
pub use request::{Request, Route};
pub use script::Script;
