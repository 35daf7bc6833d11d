//! A simulated service, which is one process with a client.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::panic::resume_unwind;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout};

use super::config::Config;
use super::disk::ProcessDisk;
use super::plan::{EventKind, Make, Patience};
use super::posthog::{Wire, token};
use super::world::{Durable, Observed, World, id_in};
use crate::api::simulated::reached_by;
use crate::rt::{clock, lock, simulated, thread};
use crate::{AnyEvent, CredentialSource, Event, PostHog, TypedEvent};

/// Where the simulated disk has the spool.
const DIRECTORY: &str = "/simulated/spool";
/// Where a later version of the crate leaves a file.
pub const NEWER_FILE: &str = "/simulated/spool/spool-9.redb";

/// How long a hook blocks.
pub const BLOCKS: Duration = Duration::from_secs(1);

pub struct Service {
    pub number: usize,
    pub client: PostHog,
    pub process: simulated::Process,
    pub disk: Arc<ProcessDisk>,
    pub world: World,
    /// For the hook, which the client owns.
    handle: Handle,
}

type Handle = Arc<Mutex<Option<PostHog>>>;

impl Service {
    pub fn start(world: &World, process: simulated::Process, disk: Arc<ProcessDisk>) -> Self {
        let (number, config) = {
            let mut state = world.lock();
            state.processes.push(Observed { started: Some(Instant::now()), ..Observed::default() });
            let number = state.processes.len() - 1;
            state.note(format_args!("process {number} starts"));
            (number, state.config.clone())
        };
        let wire = Arc::new(Wire { world: world.clone(), process: number, disk: Arc::clone(&disk) });
        let handle = Handle::default();
        let start = || build(world, number, &config, &handle);
        let client = process.enter(|| reached_by(wire, || disk.enter(start)));
        *lock(&handle) = Some(client.clone());
        Self { number, client, process, disk, world: world.clone(), handle }
    }

    /// Nothing of the process is left.
    pub fn is_gone(&self) -> bool {
        !self.disk.is_alive()
    }

    /// The events that are dead letters.
    pub fn letters(&self) -> Vec<usize> {
        self.client.dead_letters().iter().filter_map(|letter| id_in(&letter.event)).collect()
    }

    /// Captures an event, on a thread of its own if a hook is going to block.
    pub fn capture(&self, make: Make) {
        let kind = self.effective(make.kind);
        if kind != EventKind::HookBlocks {
            let (id, event) = self.make(kind, make, Durable::No);
            self.client.capture(event);
            return self.captured(id);
        }
        let (world, number, client) = (self.world.clone(), self.number, self.client.clone());
        let (id, event) = self.make(kind, make, Durable::No);
        let captures = move || {
            client.capture(event);
            world.lock().captured(id, clock::wall());
            world.note(format_args!("a thread of process {number} has captured event {id}"));
        };
        // Without a thread nothing is captured, and the ledger's count tells.
        let _ = self.process.enter(|| thread::spawn("caller", captures));
    }

    /// Captures an event and waits until it is on disk.
    pub fn capture_durably(
        &self,
        make: Make,
        patience: Option<Patience>,
    ) -> impl Future<Output = ()> + use<> {
        let kind = match self.effective(make.kind) {
            // It would block the runtime.
            EventKind::HookBlocks => EventKind::Good,
            kind => kind,
        };
        let (id, event) = self.make(kind, make, Durable::Waits);
        let (client, world) = (self.client.clone(), self.world.clone());
        async move {
            // Captured in the first poll.
            let mut waits = Box::pin(polled(client.capture_durable(event), patience));
            let first = poll_fn(|context| Poll::Ready(waits.as_mut().poll(context))).await;
            world.lock().captured(id, clock::wall());
            let result = match first {
                Poll::Ready(result) => result,
                Poll::Pending => waits.await,
            };
            let mut state = world.lock();
            state.note(format_args!("event {id} on disk: {result:?}"));
            state.events[id].durable = match result {
                Some(Ok(())) => Durable::OnDisk,
                Some(Err(_)) => Durable::Refused,
                None => Durable::GivenUp,
            };
            if result == Some(Ok(())) {
                state.events[id].stored_at = Some(Instant::now());
            }
        }
    }

    fn captured(&self, id: usize) {
        self.world.lock().captured(id, clock::wall());
    }

    /// Returns the kind of the event under this configuration.
    fn effective(&self, kind: EventKind) -> EventKind {
        use EventKind::*;
        let state = self.world.lock();
        let settings = state.config.settings();
        match kind {
            HookChanges | HookDrops | HookPanics | HookCaptures | HookBlocks | NotEncodable
                if !state.config.has_hook =>
            {
                Good
            }
            // Too much for a machine that runs many seeds.
            Giant if settings.queue_bytes > 4 << 20 => Good,
            Oversize if settings.event_bytes >= settings.queue_bytes => Giant,
            kind => kind,
        }
    }

    fn make(&self, kind: EventKind, make: Make, durable: Durable) -> (usize, AnyEvent) {
        let mut state = self.world.lock();
        let settings = state.config.settings();
        let size = match kind {
            EventKind::Oversize => settings.event_bytes + 100,
            EventKind::Giant => settings.queue_bytes + 100,
            _ => make.size as usize,
        };
        state.coverage.event(kind);
        let (id, uuid) = state.captures(self.number, kind, clock::wall(), durable);
        drop(state);
        let name = match kind {
            EventKind::NoName => "",
            EventKind::HookChanges => "hook changes",
            EventKind::HookDrops => "hook drops",
            EventKind::HookPanics => "hook panics",
            EventKind::HookCaptures => "hook captures",
            EventKind::HookBlocks => "hook blocks",
            _ => "event",
        };
        let person =
            if kind == EventKind::NoDistinctId { String::new() } else { format!("person-{}", id % 50) };
        let text = "x".repeat(size);
        if make.is_typed {
            let typed = match kind {
                EventKind::NotEncodable => TypedEvent::new(name, &person, &unreadable()),
                _ => TypedEvent::new(name, &person, &BTreeMap::from([("text", &text)])),
            };
            if let Ok(typed) = typed {
                return (id, typed.with_uuid(uuid).into());
            }
        }
        let mut event = Event::new(name.to_owned(), person);
        event.set_uuid(uuid);
        let property = if kind == EventKind::TooDeep { deep() } else { Value::String(text) };
        // A value is always JSON.
        let _ = event.insert_prop("text", property);
        (id, event.into())
    }
}

/// Nothing of it is left, as when the system ends a process.
impl Drop for Service {
    fn drop(&mut self) {
        lock(&self.handle).take();
        self.world.lock().processes[self.number].is_over = true;
        self.disk.kill();
        self.process.kill();
    }
}

/// JSON that a hook cannot be shown.
fn unreadable() -> BTreeMap<&'static str, Box<RawValue>> {
    let raw = RawValue::from_string("1e999".into()).ok();
    raw.map(|raw| ("text", raw)).into_iter().collect()
}

fn deep() -> Value {
    (0..300).fold(Value::Null, |inner, _| Value::Array(vec![inner]))
}

fn build(world: &World, number: usize, config: &Config, handle: &Handle) -> PostHog {
    let provides = world.clone();
    let source = CredentialSource::provider(move || {
        let mut state = provides.lock();
        let token = token(state.token);
        state.coverage.count("life", "the provider is asked");
        async move { Ok::<_, std::convert::Infallible>(token) }
    });
    let source =
        if config.has_provider { source } else { CredentialSource::fixed(token(world.lock().token)) };
    let mut builder = config.builder(source, DIRECTORY);
    if config.has_hook {
        let (world, handle) = (world.clone(), Arc::clone(handle));
        builder = builder.before_send(move |event| hook(&world, number, &handle, event));
    }
    #[expect(clippy::expect_used, reason = "a plan draws only configurations that build")]
    let client = builder.build().expect("a valid configuration");
    client
}

fn hook(world: &World, number: usize, handle: &Handle, mut event: Event) -> Option<Event> {
    match event.event_name() {
        "hook changes" => {
            let _ = event.insert_prop("changed", true);
        }
        "hook drops" => return None,
        // Without the message on stderr.
        "hook panics" => resume_unwind(Box::new("as the plan says")),
        "hook captures" => {
            let (id, uuid) = world.lock().captures(number, EventKind::InsideHook, clock::wall(), Durable::No);
            let mut other = Event::new("event", "person");
            other.set_uuid(uuid);
            if let Some(client) = lock(handle).clone() {
                client.capture(other);
            }
            world.lock().captured(id, clock::wall());
        }
        "hook blocks" => simulated::sleep(BLOCKS),
        _ => {}
    }
    Some(event)
}

/// Drives a future as long as the caller has patience. `None` if it is dropped then.
pub async fn polled<T>(future: impl Future<Output = T>, patience: Option<Patience>) -> Option<T> {
    let mut future = pin!(future);
    let mut left = match patience {
        None => return Some(future.await),
        Some(Patience::Time(time)) => return timeout(time, future).await.ok(),
        Some(Patience::Polls(polls)) => polls,
    };
    poll_fn(|context| {
        let poll = future.as_mut().poll(context).map(Some);
        left = left.saturating_sub(1);
        if poll.is_pending() && left == 0 { Poll::Ready(None) } else { poll }
    })
    .await
}
