use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::watch;

use super::config::SpoolConfig;
use super::directory::Directory;
use super::keeper::Keeper;
use crate::delivery::queue::{Queue, SpoolIssue};
use crate::rt::target;

/// A handle to the spool's thread.
#[derive(Debug)]
pub struct Spool {
    has_ended: watch::Receiver<()>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Spool {
    pub fn start(queue: &Arc<Queue>, config: SpoolConfig) -> Self {
        Self::start_in(None, queue, config)
    }

    /// In that directory, or in the configuration's.
    pub fn start_in(directory: Option<Arc<Directory>>, queue: &Arc<Queue>, config: SpoolConfig) -> Self {
        queue.step(|state| state.spool.expect(config.bounds.bytes));
        let (alive, has_ended) = watch::channel(());
        let keeper = Keeper::new(Arc::clone(queue), config, directory);
        let (span, subscriber) = (tracing::Span::current(), tracing::dispatcher::get_default(Clone::clone));
        let guard = Guard(Arc::clone(queue));
        let thread = std::thread::Builder::new().name("posthog-health-spool".into()).spawn(move || {
            let _guard = guard;
            tracing::dispatcher::with_default(&subscriber, || span.in_scope(|| keeper.run()));
            drop(alive);
        });
        let thread = thread.inspect_err(|error| {
            tracing::warn!(
                target: target::SPOOL,
                "the spool's thread cannot be started, events stay in memory: {error}"
            );
            queue.spool_failed(SpoolIssue::Io);
        });
        Self { has_ended, thread: Mutex::new(thread.ok()) }
    }

    /// Resolves when the queue has ended, the rest of its events is written and the thread has ended.
    pub async fn ended(&self) {
        // The wait ends with an error once the sender is dropped.
        let _ = self.has_ended.clone().changed().await;
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // The thread has dropped its sender, so the join is short.
            let _ = thread.join();
        }
    }
}

/// Reports a panic of the thread, so that no caller waits for it.
struct Guard(Arc<Queue>);

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.spool_failed(SpoolIssue::Io);
        }
    }
}
