//! The last known good of each person, in a file beside the spool: a process that starts in an outage answers as the
//! process before it did.
//!
//! The file, `flags.last-known-good`, is read once at the start. It is written once a minute if something was learned,
//! and at shutdown: as a whole, under another name, which then replaces the old one. A process that is killed therefore
//! loses a minute's answers, and the file is never half written. The file is only a cache, so damage costs what is
//! missing and nothing else.
//!
//! # What is in it
//!
//! For each question (a person, groups, properties) the file has a hash, never the question, and the flags of the answer:
//! keys, variants, payloads, reasons. Whoever can read the file can check a guess about a person, so only its owner may
//! read it, as with the spool. It holds nothing older than the age of last known good, and no more persons than memory
//! does, the latest first, up to 32 MiB.

mod file;
mod format;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::Url;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout_at};
use tracing::Instrument;

use self::format::{Digest, Entry};
use super::cache::{AnswerCache, KnownFlags};
use super::config::FlagsConfig;
use crate::delivery::SpoolConfig;
use crate::rt::simulated::in_process;
use crate::rt::{clock, detached_thread, lock, target};

/// A process that is killed loses what it learned in this time. Ten megabytes a minute are little for any disk.
const WRITE_EVERY: Duration = Duration::from_secs(60);

/// The file, and the answers that were in it at the start.
#[derive(Debug)]
pub struct Persisted {
    /// Its answers go to the file.
    cache: Arc<AnswerCache>,
    /// Set after an answer enters the cache, and cleared before the cache is read for the file. An answer that enters
    /// meanwhile is in the file, or sets it again.
    is_dirty: AtomicBool,
    directory: PathBuf,
    host: String,
    persons: usize,
    max_age: Duration,
    /// Answers of the process before that this one has not asked for again. The file has hashes for questions, so these
    /// cannot go into the cache.
    restored: Mutex<HashMap<Digest, Arc<KnownFlags>>>,
    is_loaded: watch::Sender<bool>,
    /// Locked during each read and write of the file.
    disk: Mutex<Disk>,
    task: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Disk {
    /// The file is not written before it has been read, which would lose its content.
    was_read: bool,
    /// The last write failed. Failures in a row are logged once.
    failed: bool,
}

impl Persisted {
    pub fn new(spool: &SpoolConfig, host: &Url, config: &FlagsConfig, cache: &Arc<AnswerCache>) -> Self {
        Self {
            cache: Arc::clone(cache),
            is_dirty: AtomicBool::new(false),
            directory: spool.directory().to_owned(),
            host: host.as_str().to_owned(),
            persons: config.persons,
            max_age: config.age,
            restored: Mutex::default(),
            is_loaded: watch::Sender::new(false),
            disk: Mutex::default(),
            task: Mutex::default(),
        }
    }

    /// What the process before knew.
    pub fn find(&self, question: &str) -> Option<Arc<KnownFlags>> {
        let restored = lock(&self.restored);
        if restored.is_empty() {
            // Hashing is the dear part, and most processes are here.
            return None;
        }
        restored.get(&format::digest(&self.host, question)).cloned()
    }

    /// The cache has an answer that the file lacks.
    pub fn mark_dirty(&self) {
        self.is_dirty.store(true, Ordering::Release);
    }

    /// Starts the task that reads the file, and then writes it again and again.
    pub fn start(self: &Arc<Self>) {
        let task = tokio::spawn(in_process(Arc::clone(self).run().in_current_span()));
        *lock(&self.task) = Some(task);
    }

    /// Aborts the task, and returns it to be awaited.
    pub fn end(&self) -> Option<JoinHandle<()>> {
        lock(&self.task).take().inspect(JoinHandle::abort)
    }

    /// Waits until the file has been read, up to the deadline. A caller that runs into its deadline ends the waiting for
    /// all later ones, so a disk that hangs delays the first callers and nobody else.
    pub async fn loaded(&self, deadline: Instant) {
        let mut is_loaded = self.is_loaded.subscribe();
        let loaded = is_loaded.wait_for(|is_loaded| *is_loaded);
        if timeout_at(deadline, loaded).await.is_err() {
            self.is_loaded.send_replace(true);
        }
    }

    async fn run(self: Arc<Self>) {
        let (persisted, now) = (Arc::clone(&self), Instant::now());
        detached_thread::run(move || persisted.load(&mut lock(&persisted.disk), now)).await;
        self.is_loaded.send_replace(true);
        let mut every = interval_at(Instant::now() + WRITE_EVERY, WRITE_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            self.write().await;
        }
    }

    /// Writes the file, if something was learned since it was written.
    pub async fn write(self: &Arc<Self>) {
        let (persisted, now) = (Arc::clone(self), Instant::now());
        detached_thread::run(move || persisted.write_if_dirty(now)).await;
    }

    fn load(&self, disk: &mut Disk, now: Instant) {
        if std::mem::replace(&mut disk.was_read, true) {
            return;
        }
        let time = clock::wall();
        match file::read(&self.directory) {
            Ok(content) => {
                let (entries, damaged) = format::decode(&content, time, self.max_age);
                if damaged > 0 {
                    tracing::warn!(target: target::FLAGS, damaged, "flags that were kept on disk are damaged: forgotten");
                }
                *lock(&self.restored) =
                    entries.into_iter().map(|(digest, flags)| (digest, Arc::new(flags.since(now)))).collect();
            }
            Err(error) => {
                tracing::warn!(target: target::FLAGS, "flags that were kept on disk cannot be read: {error}")
            }
        }
    }

    fn write_if_dirty(&self, now: Instant) {
        let mut disk = lock(&self.disk);
        if !self.is_dirty.swap(false, Ordering::Acquire) {
            return;
        }
        self.load(&mut disk, now);
        let result = self.write_all(now);
        if let Err(error) = &result {
            self.mark_dirty();
            if !disk.failed {
                tracing::warn!(target: target::FLAGS, "flags cannot be kept on disk: {error}");
            }
        }
        disk.failed = result.is_err();
    }

    fn write_all(&self, now: Instant) -> io::Result<()> {
        // Collected before they are hashed, because iterating locks the cache.
        let answers: Vec<_> = self.cache.iter().collect();
        let latest: HashMap<Digest, Arc<KnownFlags>> = answers
            .into_iter()
            .map(|(question, flags)| (format::digest(&self.host, &question), flags))
            .collect();
        lock(&self.restored).retain(|digest, _| !latest.contains_key(digest));
        let restored = lock(&self.restored).clone();
        let entries = latest.into_iter().chain(restored);
        let entries = entries.map(|(digest, flags)| Entry::new(digest, &flags, now)).collect();
        let content = format::encode(entries, clock::wall(), self.max_age, self.persons);
        file::write(&self.directory, &content)
    }
}
