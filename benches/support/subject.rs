//! Both clients as one: each with its runtime, to be called from plain threads.

use std::time::Duration;

use posthog_health::posthog_rs::{Client, ClientOptionsBuilder, client};
use posthog_health::testing::FakePostHog;
use posthog_health::{Event, PostHog, PostHogBuilder};
use tokio::runtime::Runtime;

use super::{ours, theirs};

pub(crate) trait Subject: Sync {
    /// All by default but the bound of the queue.
    fn start(server: &FakePostHog, queue_events: usize) -> Self
    where
        Self: Sized;

    fn disabled() -> Self
    where
        Self: Sized;

    fn capture(&self, event: Event);

    fn flush(&self);

    /// Of a healthy client.
    fn end(self: Box<Self>);
}

pub(crate) struct Ours {
    runtime: Runtime,
    pub(crate) client: PostHog,
}

impl Ours {
    pub(crate) fn of(builder: PostHogBuilder) -> Self {
        let runtime = runtime();
        let inside = runtime.enter();
        let client = builder.build().expect("a good configuration");
        drop(inside);
        Self { runtime, client }
    }
}

impl Subject for Ours {
    fn start(server: &FakePostHog, queue_events: usize) -> Self {
        Self::of(ours(server).queue_events(queue_events))
    }

    fn disabled() -> Self {
        Self::of(PostHog::builder(FakePostHog::TOKEN).disabled(true))
    }

    fn capture(&self, event: Event) {
        self.client.capture(event);
    }

    fn flush(&self) {
        self.runtime.block_on(self.client.flush()).expect("a healthy server");
    }

    fn end(self: Box<Self>) {
        self.runtime.block_on(self.client.shutdown(Duration::from_secs(5)));
    }
}

pub(crate) struct Theirs {
    runtime: Runtime,
    client: Client,
}

impl Subject for Theirs {
    fn start(server: &FakePostHog, queue_events: usize) -> Self {
        let runtime = runtime();
        let client = runtime.block_on(theirs(server, queue_events));
        Self { runtime, client }
    }

    fn disabled() -> Self {
        let mut options = ClientOptionsBuilder::default();
        options.api_key(FakePostHog::TOKEN.to_owned()).disabled(true);
        let runtime = runtime();
        let client = runtime.block_on(client(options.build().expect("complete options")));
        Self { runtime, client }
    }

    fn capture(&self, event: Event) {
        self.client.capture(event);
    }

    fn flush(&self) {
        self.runtime.block_on(self.client.flush());
    }

    fn end(self: Box<Self>) {
        self.runtime.block_on(self.client.shutdown());
    }
}

fn runtime() -> Runtime {
    Runtime::new().expect("a runtime")
}
