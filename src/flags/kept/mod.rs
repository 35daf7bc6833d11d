//! What is known of flags, on disk beside the spool: a start in an outage answers as the process before it did.
//!
//! One file, `flags.last-known-good`, is read once at the start, and written as a whole, under another name first, once
//! a minute if something was learned and at shutdown: a process that is killed loses a minute's answers, and no file is
//! ever half written. It is no more than a cache, so whatever is wrong with it costs what is missing.
//!
//! # What is in it
//!
//! For each question (a person, groups, properties) a hash, never the question; and the flags that were answered: keys,
//! variants, payloads, reasons. Whoever can read the file can check a guess about who was asked for, so it is for its
//! owner's eyes alone, as the spool is. Nothing older than the age of last known good, and no more persons than are kept
//! in memory, the latest first, up to 32 MiB.

mod file;
mod format;
#[cfg(test)]
mod fuzz;

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use reqwest::Url;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout_at};

use self::format::{Digest, Entry};
use super::config::FlagsConfig;
use super::known::{Known, LastKnownGood};
use crate::delivery::SpoolConfig;
use crate::rt::detached_thread;
use crate::rt::target;

/// A process that is killed loses what it learned in this time; writing ten megabytes so often is nothing to a disk.
const EVERY: Duration = Duration::from_secs(60);

/// The file, and what was in it at the start.
#[derive(Debug)]
pub(crate) struct Kept {
    directory: PathBuf,
    host: String,
    persons: usize,
    before: Mutex<HashMap<Digest, Arc<Known>>>,
    is_read: watch::Sender<bool>,
    /// Held by whoever reads or writes.
    disk: Mutex<Disk>,
}

#[derive(Debug, Default)]
struct Disk {
    /// Nobody writes before, or what is there would be lost.
    was_read: bool,
    /// The last time that it was written.
    failed: bool,
}

impl Kept {
    pub(crate) fn beside(spool: &SpoolConfig, host: &Url, config: &FlagsConfig) -> Self {
        Self {
            directory: spool.directory().to_owned(),
            host: host.as_str().to_owned(),
            persons: config.persons,
            before: Mutex::default(),
            is_read: watch::Sender::new(false),
            disk: Mutex::default(),
        }
    }

    /// What the process before knew.
    pub(super) fn find(&self, question: &str) -> Option<Arc<Known>> {
        let before = self.before();
        if before.is_empty() {
            return None;
        }
        before.get(&format::digest(&self.host, question)).cloned()
    }

    /// Waits until the file was read, up to the first caller's deadline: a disk that hangs delays no more than the first.
    pub(super) async fn read(&self, deadline: Instant) {
        let mut is_read = self.is_read.subscribe();
        if !*is_read.borrow() && timeout_at(deadline, is_read.wait_for(|is_read| *is_read)).await.is_err() {
            self.is_read.send_replace(true);
        }
    }

    /// Reads the file, and then writes it again and again until it is aborted.
    pub(super) async fn run(self: Arc<Self>, known: Arc<LastKnownGood>) {
        let (kept, age, now) = (Arc::clone(&self), known.age(), Instant::now());
        aside_and_told(move || kept.load(&mut kept.disk(), age, now)).await;
        self.is_read.send_replace(true);
        let mut every = interval_at(Instant::now() + EVERY, EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            Arc::clone(&self).write(Arc::clone(&known)).await;
        }
    }

    /// Writes the file, if something was learned since it was written.
    pub(super) async fn write(self: Arc<Self>, known: Arc<LastKnownGood>) {
        let now = Instant::now();
        aside_and_told(move || self.write_news(&known, now)).await;
    }

    fn load(&self, disk: &mut Disk, age: Duration, now: Instant) {
        if std::mem::replace(&mut disk.was_read, true) {
            return;
        }
        let time = SystemTime::now();
        match file::read(&self.directory) {
            Ok(content) => {
                let (entries, damaged) = format::decode(&content, time, age);
                if damaged > 0 {
                    tracing::warn!(
                        target: target::FLAGS,
                        damaged,
                        "flags that were kept on disk are damaged: forgotten"
                    );
                }
                *self.before() =
                    entries.into_iter().map(|(digest, flags)| (digest, Arc::new(flags.since(now)))).collect();
            }
            Err(error) => tracing::warn!(
                target: target::FLAGS,
                "flags that were kept on disk cannot be read: {error}"
            ),
        }
    }

    fn write_news(&self, known: &LastKnownGood, now: Instant) {
        let mut disk = self.disk();
        if !known.take_news() {
            return;
        }
        self.load(&mut disk, known.age(), now);
        let result = self.write_all(known, now);
        if let Err(error) = &result {
            known.put_news_back();
            if !disk.failed {
                tracing::warn!(target: target::FLAGS, "flags cannot be kept on disk: {error}");
            }
        }
        disk.failed = result.is_err();
    }

    fn write_all(&self, known: &LastKnownGood, now: Instant) -> io::Result<()> {
        // Hashed after the cache was left alone.
        let answers: Vec<_> = known.answers().collect();
        let latest: HashMap<Digest, Arc<Known>> = answers
            .into_iter()
            .map(|(question, flags)| (format::digest(&self.host, &question), flags))
            .collect();
        self.before().retain(|digest, _| !latest.contains_key(digest));
        let before = self.before().clone();
        let entries = latest.into_iter().chain(before).map(|(digest, flags)| Entry::new(digest, &flags, now));
        let content = format::encode(entries.collect(), SystemTime::now(), known.age(), self.persons);
        file::write(&self.directory, &content)
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn before(&self) -> MutexGuard<'_, HashMap<Digest, Arc<Known>>> {
        self.before.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Aside, with log lines that name the client.
async fn aside_and_told(work: impl FnOnce() + Send + 'static) {
    let subscriber = tracing::dispatcher::get_default(Clone::clone);
    let span = tracing::Span::current();
    detached_thread::run(move || tracing::dispatcher::with_default(&subscriber, || span.in_scope(work)))
        .await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::answer::FlagsAnswer;
    use crate::flags::evaluated::Evaluated;

    fn kept(directory: &std::path::Path) -> Arc<Kept> {
        let host = Url::parse("https://us.i.posthog.com").unwrap();
        Arc::new(Kept::beside(&SpoolConfig::at(directory), &host, &FlagsConfig::default()))
    }

    fn known(kept: &Arc<Kept>, person: &str) -> Arc<LastKnownGood> {
        let known = Arc::new(LastKnownGood::new(10, Duration::from_secs(3600), Some(Arc::clone(kept))));
        let answer =
            FlagsAnswer { flags: [("a".to_owned(), Evaluated::default())].into(), ..FlagsAnswer::default() };
        known.learn(&Arc::from(person), &answer, Instant::now());
        known
    }

    /// A disk that was full.
    #[tokio::test]
    async fn what_could_not_be_written_is_written_later() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("spool");
        std::fs::write(&place, "taken").unwrap();
        let kept = kept(&place);
        let known = known(&kept, "kim");
        Arc::clone(&kept).write(Arc::clone(&known)).await;
        assert!(kept.disk().failed);
        std::fs::remove_file(&place).unwrap();
        Arc::clone(&kept).write(known).await;
        assert!(!kept.disk().failed && place.join("flags.last-known-good").exists());
    }

    /// A process that ends before the file was read.
    #[tokio::test]
    async fn what_was_not_read_yet_is_not_lost() {
        let directory = tempfile::tempdir().unwrap();
        for person in ["kim", "lee"] {
            let kept = kept(directory.path());
            Arc::clone(&kept).write(known(&kept, person)).await;
        }
        let next = kept(directory.path());
        next.load(&mut next.disk(), Duration::from_secs(3600), Instant::now());
        assert!(next.find("kim").is_some() && next.find("lee").is_some());
    }

    /// A process that is killed.
    #[tokio::test(start_paused = true)]
    async fn what_was_learned_is_on_disk_within_a_minute() {
        let directory = tempfile::tempdir().unwrap();
        let open = || kept(directory.path());
        let kept = open();
        let known = Arc::new(LastKnownGood::new(10, Duration::from_secs(3600), Some(Arc::clone(&kept))));
        let running = tokio::spawn(Arc::clone(&kept).run(Arc::clone(&known)));
        kept.read(Instant::now() + Duration::from_secs(1)).await;
        let answer =
            FlagsAnswer { flags: [("a".to_owned(), Evaluated::default())].into(), ..FlagsAnswer::default() };
        known.learn(&Arc::from("kim"), &answer, Instant::now());
        let file = directory.path().join("flags.last-known-good");
        let begun = Instant::now();
        while !file.exists() {
            tokio::time::sleep(Duration::from_secs(1)).await;
            // The disk is real, and its thread.
            std::thread::yield_now();
        }
        assert!(begun.elapsed() >= Duration::from_secs(59));
        running.abort();

        let next = open();
        let reading = tokio::spawn(Arc::clone(&next).run(Arc::clone(&known)));
        next.is_read.subscribe().wait_for(|is_read| *is_read).await.unwrap();
        assert_eq!(next.find("kim").unwrap().keys().collect::<Vec<_>>(), ["a"]);
        assert!(next.find("lee").is_none());
        reading.abort();
    }
}
