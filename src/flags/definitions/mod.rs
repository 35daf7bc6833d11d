//! The definitions of all flags, for local evaluation: fetched when flags are first asked for, and polled from then on.

mod poller;
mod stack;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinHandle;

use self::poller::Poller;
use self::stack::DefinitionsStack;
pub use self::stack::definitions_stack;
use crate::credentials::{Credentials, SecretKey};
use crate::rt::lock;
use crate::rt::simulated::in_process;

/// Owns the poller and its task.
#[derive(Debug)]
pub struct Definitions(Mutex<Polling>);

#[derive(Debug)]
struct Polling {
    /// `None` after the end, because it holds connections.
    poller: Option<Arc<Poller>>,
    task: Option<JoinHandle<()>>,
}

impl Definitions {
    pub fn new(stack: DefinitionsStack, keys: &Arc<Credentials<SecretKey>>, poll_interval: Duration) -> Self {
        let poller = Poller::new(stack, Arc::clone(keys), poll_interval);
        Self(Mutex::new(Polling { poller: Some(Arc::new(poller)), task: None }))
    }

    /// Starts polling, unless it runs already, and returns the poller. `None` after the end.
    pub fn start_polling(&self) -> Option<Arc<Poller>> {
        let mut polling = lock(&self.0);
        let poller = Arc::clone(polling.poller.as_ref()?);
        // A task that is finished ended with its runtime, because polling itself does not end.
        if polling.task.as_ref().is_none_or(JoinHandle::is_finished) {
            polling.task = Some(tokio::spawn(in_process(Arc::clone(&poller).poll())));
        }
        Some(poller)
    }

    /// Ends polling, for good. Returns the aborted task.
    pub fn end(&self) -> Option<JoinHandle<()>> {
        let mut polling = lock(&self.0);
        polling.poller = None;
        polling.task.take().inspect(JoinHandle::abort)
    }
}
