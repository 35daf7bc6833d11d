use posthog_rs::{Event, RequestContext};

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
pub struct AnyEvent(pub(super) Kind);

#[derive(Debug)]
pub(super) enum Kind {
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
