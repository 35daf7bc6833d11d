use std::sync::Arc;

use posthog_rs::{Event, RequestContext};
use serde_json::Value;

use super::admit::is_unmergeable;
use super::encode::{Encoded, Encoder};
use super::event::AnyEvent;
use super::hooks::is_inside;
use super::ledger::DropReason;
use super::queue::{Queue, State, Waiter};
use crate::rt::clock;

/// The way into the queue: everything that captures goes through here.
///
/// An event is encoded on the thread that captures it, once. An event that entered as it is would be some thirty pieces of
/// memory, made on one thread and freed on another; its bytes are one slice.
#[derive(Debug)]
pub struct Producer {
    pub queue: Arc<Queue>,
    encoder: Encoder,
}

impl Producer {
    pub fn new(queue: Arc<Queue>, encoder: Encoder) -> Self {
        Self { queue, encoder }
    }

    /// Encodes an event, with what the request context of this task adds, and lets it in, or drops it. Never blocks: the
    /// lock is held to move a few bytes, and no longer.
    pub fn capture(&self, event: impl Into<AnyEvent>) {
        self.enter(event.into(), RequestContext::current, None);
    }

    /// The same for an event that has its request context already.
    pub fn capture_as_is(&self, event: impl Into<AnyEvent>) {
        self.enter(event.into(), || None, None);
    }

    /// Takes note of an alias that merges nothing. Only PostHog's page of ingestion warnings would tell.
    pub fn note_alias(&self, event: &Event) {
        let merges = [Some(event.distinct_id()), event.properties().get("alias").and_then(Value::as_str)];
        if event.event_name() == "$create_alias" && merges.into_iter().flatten().any(is_unmergeable) {
            self.queue.step(State::note_unmergeable);
        }
    }

    /// Captures an event and tells when it is on disk, or why it was dropped instead.
    #[cfg(feature = "spool")]
    pub async fn capture_durable(&self, event: impl Into<AnyEvent>) -> Result<(), DropReason> {
        let (waiter, told) = tokio::sync::oneshot::channel();
        self.enter(event.into(), RequestContext::current, Some(waiter));
        let mut waits = Waits { queue: &self.queue, told };
        (&mut waits.told).await.unwrap_or(Err(DropReason::Shutdown))
    }

    /// Whether an event that this thread captures would meet the hook again that the thread is in. A client without hooks
    /// takes what others' hooks capture: nothing comes round again.
    pub fn is_inside_hook(&self) -> bool {
        self.encoder.has_hooks() && is_inside()
    }

    pub fn enter(
        &self,
        event: AnyEvent,
        context: impl FnOnce() -> Option<RequestContext>,
        waiter: Option<Waiter>,
    ) {
        // What the queue would refuse at any size is not encoded: a full queue must not cost the caller more than one
        // that has room.
        let refused = self.queue.look(State::refuses_all);
        let inside = self.is_inside_hook().then_some(DropReason::InsideHook);
        if let Some(reason) = refused.filter(|reason| *reason != DropReason::QueueFull).or(inside) {
            event.discard();
            return self.queue.refuse(reason, waiter);
        }
        let event = match context() {
            Some(context) => event.within(&context),
            None => event,
        };
        // An event that can never enter is counted as what it is, and not as one too many.
        if let Some(reason) = event.admitted().err().or(refused) {
            event.discard();
            return self.queue.refuse(reason, waiter);
        }
        let captured_at = clock::wall();
        match self.encoder.encode(event, captured_at) {
            Ok(Encoded { json, is_id_cut }) => {
                if is_id_cut {
                    self.queue.step(State::note_cut_id);
                }
                self.queue.enter(json, waiter);
            }
            Err(reason) => self.queue.refuse(reason, waiter),
        }
    }
}

/// A wait for the disk. If it is given up, the queue forgets it, because the disk may hang.
#[cfg(feature = "spool")]
struct Waits<'a> {
    queue: &'a Queue,
    told: tokio::sync::oneshot::Receiver<Result<(), DropReason>>,
}

#[cfg(feature = "spool")]
impl Drop for Waits<'_> {
    fn drop(&mut self) {
        // Empty and open: neither told nor given up by the queue.
        if matches!(self.told.try_recv(), Err(tokio::sync::oneshot::error::TryRecvError::Empty)) {
            self.told.close();
            self.queue.step(|state| state.spool.forget_cancelled());
        }
    }
}
