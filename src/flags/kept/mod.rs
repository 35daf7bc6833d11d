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

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use reqwest::Url;
use tokio::sync::watch;
use tokio::time::{Instant, interval_at, timeout};

use self::format::{Digest, Entry};
use super::config::FlagsConfig;
use super::known::{Known, LastKnownGood};
use crate::aside::aside;
use crate::delivery::SpoolConfig;

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
    /// Held by whoever writes; whether that failed the last time.
    failed: Mutex<bool>,
}

impl Kept {
    pub(crate) fn beside(spool: &SpoolConfig, host: &Url, config: &FlagsConfig) -> Self {
        Self {
            directory: spool.directory().to_owned(),
            host: host.as_str().to_owned(),
            persons: config.persons,
            before: Mutex::default(),
            is_read: watch::Sender::new(false),
            failed: Mutex::default(),
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

    /// Waits until the file was read, for this long at most, all callers together: a disk that hangs delays no more than
    /// the first.
    pub(super) async fn read(&self, limit: Duration) {
        let mut is_read = self.is_read.subscribe();
        if !*is_read.borrow() && timeout(limit, is_read.wait_for(|is_read| *is_read)).await.is_err() {
            self.is_read.send_replace(true);
        }
    }

    /// Reads the file, and then writes it again and again until it is aborted.
    pub(super) async fn run(self: Arc<Self>, known: Arc<LastKnownGood>) {
        let directory = self.directory.clone();
        let read = aside(move || file::read(&directory)).await;
        match read {
            Some(Ok(content)) => {
                let (entries, damaged) = format::decode(&content, SystemTime::now(), known.age());
                if damaged > 0 {
                    tracing::warn!(damaged, "flags that were kept on disk are damaged: forgotten");
                }
                let now = Instant::now();
                *self.before() =
                    entries.into_iter().map(|(digest, flags)| (digest, Arc::new(flags.since(now)))).collect();
            }
            Some(Err(error)) => tracing::warn!("flags that were kept on disk cannot be read: {error}"),
            None => {}
        }
        self.is_read.send_replace(true);
        let mut every = interval_at(Instant::now() + EVERY, EVERY);
        loop {
            every.tick().await;
            Arc::clone(&self).write(Arc::clone(&known)).await;
        }
    }

    /// Writes the file, if something was learned since it was written.
    pub(super) async fn write(self: Arc<Self>, known: Arc<LastKnownGood>) {
        let now = Instant::now();
        let subscriber = tracing::dispatcher::get_default(Clone::clone);
        let span = tracing::Span::current();
        aside(move || {
            tracing::dispatcher::with_default(&subscriber, || span.in_scope(|| self.write_news(&known, now)));
        })
        .await;
    }

    fn write_news(&self, known: &LastKnownGood, now: Instant) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.take_news() {
            return;
        }
        let result = self.write_all(known, now);
        if let Err(error) = &result {
            known.put_news_back();
            if !*failed {
                tracing::warn!("flags cannot be kept on disk: {error}");
            }
        }
        *failed = result.is_err();
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

    fn before(&self) -> MutexGuard<'_, HashMap<Digest, Arc<Known>>> {
        self.before.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::answer::FlagsAnswer;
    use crate::flags::snapshot::Evaluated;

    /// A process that is killed.
    #[tokio::test(start_paused = true)]
    async fn what_was_learned_is_on_disk_within_a_minute() {
        let directory = tempfile::tempdir().unwrap();
        let host = Url::parse("https://us.i.posthog.com").unwrap();
        let open =
            || Arc::new(Kept::beside(&SpoolConfig::at(directory.path()), &host, &FlagsConfig::default()));
        let kept = open();
        let known = Arc::new(LastKnownGood::new(10, Duration::from_secs(3600), Some(Arc::clone(&kept))));
        let running = tokio::spawn(Arc::clone(&kept).run(Arc::clone(&known)));
        kept.read(Duration::from_secs(1)).await;
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
