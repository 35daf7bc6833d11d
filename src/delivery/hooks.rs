//! The user's `before_send` hooks.

use std::cell::Cell;
use std::fmt;

use posthog_rs::Event;

use super::ledger::DropReason;
use crate::rt::foreign;

/// Changes or drops an event before it is encoded.
pub type Hook = Box<dyn Fn(Event) -> Option<Event> + Send + Sync>;

thread_local! {
    /// Whether a hook runs on this thread.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Hooks in the order in which an event meets them. They run on the thread that captures, under no lock, and several
/// threads may be in one at a time.
#[derive(Default)]
pub struct Hooks(Vec<Hook>);

impl Hooks {
    pub fn push(&mut self, hook: Hook) {
        self.0.push(hook);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The event as the hooks leave it, or why it is dropped.
    pub fn run(&self, mut event: Event) -> Result<Event, DropReason> {
        let _inside = Inside::enter();
        for hook in &self.0 {
            event = match foreign::call(|| hook(event)) {
                Ok(Some(changed)) => changed,
                Ok(None) => return Err(DropReason::BeforeSend),
                Err(foreign::Panicked) => return Err(DropReason::HookPanicked),
            };
        }
        Ok(event)
    }
}

/// Whether this thread is inside a hook: an event that is captured there would meet the same hook again, without end.
pub fn is_inside() -> bool {
    INSIDE.try_with(Cell::get).unwrap_or(false)
}

struct Inside;

impl Inside {
    fn enter() -> Self {
        let _ = INSIDE.try_with(|inside| inside.set(true));
        Self
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let _ = INSIDE.try_with(|inside| inside.set(false));
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hooks").field(&self.0.len()).finish()
    }
}
