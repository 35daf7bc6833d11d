//! The ways to be away.

use posthog_health::testing::{FakePostHog, Reply};

pub(crate) struct Fault {
    pub(crate) name: String,
    /// `None`: nobody listens.
    reply: Option<Reply>,
}

impl Fault {
    pub(crate) const NAMES: [&str; 5] = ["503", "429", "hang", "close", "refuse"];

    pub(crate) fn named(name: &str) -> Self {
        let reply = match name {
            "503" => Some(Reply::status(503)),
            "429" => Some(Reply::status(429)),
            "hang" => Some(Reply::hang()),
            "close" => Some(Reply::close()),
            "refuse" => None,
            other => panic!("--fault is one of {:?}, not {other}", Self::NAMES),
        };
        Self { name: name.to_owned(), reply }
    }

    pub(crate) fn strike(&self, server: &FakePostHog) {
        match &self.reply {
            Some(reply) => server.always(reply.clone()),
            None => server.refuse(),
        }
    }

    /// The requirement speaks of a minute and of a PostHog that answers. One that hangs holds up the SDK, which sends
    /// one request at a time.
    pub(crate) fn must_be_a_tenth(&self, outage: usize) -> bool {
        outage >= 60 && matches!(self.name.as_str(), "503" | "429" | "close")
    }

    /// Refused ones are seen by nobody.
    pub(crate) fn seen(&self, requests: usize) -> String {
        self.reply.as_ref().map_or("not seen".to_owned(), |_| requests.to_string())
    }
}
