use posthog_rs::{Event, RequestContext};

use super::admit::admit_names;
use super::json::{DEEPEST, dismantle, is_deeper};
use super::ledger::DropReason;
use super::typed_event::TypedEvent;

/// What can be captured: an [`Event`] of the SDK's, or a [`TypedEvent`], which any `Serialize` type becomes by
/// [`TypedEvent::new`]. All else does not compile, and the compiler names these two:
///
/// ```compile_fail,E0277
/// # fn example(posthog: &posthog_health::PostHog) {
/// posthog.capture("order placed"); // the trait bound `AnyEvent: From<&str>` is not satisfied
/// # }
/// ```
#[derive(Debug)]
pub struct AnyEvent(pub(crate) Kind);

#[derive(Debug)]
pub enum Kind {
    Sdk(Event),
    Typed(TypedEvent),
}

impl AnyEvent {
    /// With what the context says where the event says nothing itself.
    pub(crate) fn within(mut self, context: &RequestContext) -> Self {
        match &mut self.0 {
            Kind::Sdk(event) => context.apply_to_event(event),
            Kind::Typed(event) => event.apply(context),
        }
        self
    }

    /// Refuses what PostHog would reject, as far as that is known before the event is encoded.
    pub(crate) fn admitted(&self) -> Result<(), DropReason> {
        match &self.0 {
            Kind::Sdk(event) => admit_names(event.event_name(), event.distinct_id()),
            Kind::Typed(event) => event.admitted(),
        }
    }

    /// Drops an event that nobody has looked into: its values may be nested deeper than the stack has room to drop them.
    pub(crate) fn discard(self) {
        if let Kind::Sdk(event) = self.0
            && is_deep(&event)
        {
            discard_deep(event);
        }
    }
}

/// Whether a value is nested deeper than PostHog reads, so that to drop it by recursion may take more stack than there is.
pub fn is_deep(event: &Event) -> bool {
    event.properties().values().any(|value| is_deeper(value, DEEPEST))
}

/// Drops an event without recursion.
#[cold]
pub fn discard_deep(mut event: Event) {
    let names: Vec<_> = event.properties().keys().cloned().collect();
    names.iter().filter_map(|name| event.remove_prop(name)).for_each(dismantle);
}

impl From<Event> for AnyEvent {
    #[inline]
    fn from(event: Event) -> Self {
        Self(Kind::Sdk(event))
    }
}

impl From<TypedEvent> for AnyEvent {
    #[inline]
    fn from(event: TypedEvent) -> Self {
        Self(Kind::Typed(event))
    }
}
