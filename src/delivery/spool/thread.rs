use std::io;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use super::config::SpoolConfig;
use super::disk::{Disk, current};
use super::keeper::Keeper;
use crate::delivery::queue::{Queue, SpoolIssue};
use crate::rt::thread::{Thread, spawn};
use crate::rt::{lock, target};

/// A handle to the spool's two threads: one asks the disk, and the other notices when the disk does not answer.
#[derive(Debug)]
pub struct Spool {
    has_ended: watch::Receiver<()>,
    watcher: Mutex<Option<Thread>>,
}

impl Spool {
    pub fn start(queue: &Arc<Queue>, config: SpoolConfig) -> Self {
        Self::start_on(current(), queue, config)
    }

    pub fn start_on(disk: Arc<dyn Disk>, queue: &Arc<Queue>, config: SpoolConfig) -> Self {
        queue.step(|state| state.spool.expect(config.bounds.bytes));
        let (alive, has_ended) = watch::channel(());
        let keeper = Keeper::new(Arc::clone(queue), config, disk);
        let ended = Ended(Arc::clone(queue));
        let asks = move || {
            let _ended = ended;
            keeper.run();
        };
        let watched = Arc::clone(queue);
        let watches = move || {
            let _alive = alive;
            let Ok(disk) = spawn("posthog-health-disk", asks).inspect_err(|error| give_up(&watched, error))
            else {
                return;
            };
            let log = || {
                tracing::warn!(
                    target: target::SPOOL,
                    "the spool's disk does not answer: events are sent from memory meanwhile"
                );
            };
            if watched.watch_disk(log) {
                // It ends in a moment.
                disk.join();
            }
            // Otherwise the disk hangs, and its thread is left behind.
        };
        let watcher = spawn("posthog-health-spool", watches).inspect_err(|error| give_up(queue, error)).ok();
        Self { has_ended, watcher: Mutex::new(watcher) }
    }

    /// Resolves when the queue has ended, the rest of its events is written and the threads have ended, or when a disk that
    /// hangs is left behind with its thread.
    pub async fn ended(&self) {
        // The wait ends with an error once the sender is dropped.
        let _ = self.has_ended.clone().changed().await;
        let watcher = lock(&self.watcher).take();
        if let Some(watcher) = watcher {
            // The thread has dropped its sender, so the join is short.
            watcher.join();
        }
    }
}

fn give_up(queue: &Queue, error: &io::Error) {
    tracing::warn!(
        target: target::SPOOL,
        "the spool's thread cannot be started, events stay in memory: {error}"
    );
    queue.spool_failed(SpoolIssue::Io);
}

/// Reports the end of the thread that asks the disk, and a panic that ended it, so that no caller waits for it.
struct Ended(Arc<Queue>);

impl Drop for Ended {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.spool_failed(SpoolIssue::Io);
        }
        self.0.disk_ended();
    }
}
