//! What the thread does that alone touches our file.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::changes::Held;
use super::clock::Clock;
use super::config::{SpoolConfig, SpoolMode};
use super::directory::{Directory, Opened};
use super::disk::Disk;
use super::store::Store;
use super::takeover::Takeover;
use crate::delivery::queue::{Queue, Read, SpoolIssue, SpoolWork, State};
use crate::rt::{self, Episode, target};

pub struct Keeper {
    queue: Arc<Queue>,
    config: SpoolConfig,
    disk: Arc<dyn Disk>,
    directory: Option<Arc<Directory>>,
    /// Our slot, once we had one.
    slot: Option<u32>,
    /// The next `seq` for events that are taken over.
    next_seq: u64,
    /// What is on disk and in memory, while the file is closed.
    held: Held,
    failing: Episode,
    /// A failure was logged, so the recovery is to be logged too.
    failure_is_logged: bool,
}

/// How long a spool that fails is left alone.
const PAUSE: Duration = Duration::from_secs(2);
/// How often to search for files that processes left behind, and to check whether ours may shrink.
const SEARCH_EVERY: Duration = Duration::from_secs(10);

impl Keeper {
    pub fn new(queue: Arc<Queue>, config: SpoolConfig, disk: Arc<dyn Disk>) -> Self {
        Self {
            queue,
            config,
            disk,
            directory: None,
            slot: None,
            next_seq: 0,
            held: Held::default(),
            failing: Episode::default(),
            failure_is_logged: false,
        }
    }

    pub fn run(mut self) {
        while let Err(error) = self.work() {
            self.queue.spool_failed(SpoolIssue::of(&error));
            if self.failing.begins(rt::clock::now()) {
                self.failure_is_logged = true;
                tracing::warn!(target: target::SPOOL, "the spool fails, events stay in memory: {error}");
            }
            if self.rest() {
                return;
            }
        }
    }

    /// Opens the spool and serves the queue until that ends or the disk fails.
    fn work(&mut self) -> io::Result<()> {
        let queue = Arc::clone(&self.queue);
        let round = queue.disk_round();
        let directory = match &self.directory {
            Some(directory) => Arc::clone(directory),
            None => Arc::new(Directory::prepare(Arc::clone(&self.disk), &self.config.directory)?),
        };
        self.directory = Some(Arc::clone(&directory));
        let (mut store, mut takeover) = match self.slot {
            None => self.open(&directory)?,
            Some(_) => self.open_again(&directory)?,
        };
        drop(round);
        if std::mem::take(&mut self.failure_is_logged) {
            tracing::info!(target: target::SPOOL, "the spool works again");
        }
        let result = self.serve(&directory, &mut store, &mut takeover);
        self.held = store.into_held();
        self.next_seq = takeover.next_seq;
        result
    }

    fn open(&mut self, directory: &Directory) -> io::Result<(Store, Takeover)> {
        let bounds = self.config.bounds;
        let first_seq = self.queue.look(State::first_seq);
        let mut opened = directory.open(bounds)?;
        let mut left_behind = Vec::new();
        while opened.contents.last >= Some(first_seq) {
            // The clock was set back, so the events in the file would not come before ours.
            let next = directory.open(bounds)?;
            left_behind.push(std::mem::replace(&mut opened, next));
        }
        self.slot = Some(opened.slot);
        let next_seq = opened.contents.last.map_or(first_seq / 2, |last| last + 1);
        let mut takeover = Takeover::new(opened.slot, next_seq);
        // If there are more, they are found later.
        if let Some(left_behind) = left_behind.pop() {
            takeover.begin(&self.queue, left_behind);
        }
        self.report(self.notice(&opened).or(directory.has_newer().then_some(SpoolIssue::Newer)));
        let write_ahead = self.config.mode == SpoolMode::WriteAhead;
        drop(self.queue.step(|state| state.spool_opened(opened.contents, opened.store.fill(), write_ahead)));
        Ok((opened.store, takeover))
    }

    fn open_again(&mut self, directory: &Directory) -> io::Result<(Store, Takeover)> {
        let opened = directory.open_again(self.config.bounds, self.held.clone())?;
        let slot = opened.slot;
        self.slot = Some(slot);
        let letters: BTreeSet<_> = opened.contents.dead.iter().map(|(seq, _)| *seq).collect();
        let has = |seq| opened.store.held.contains(&seq);
        self.queue.step(|state| state.spool_recovered(has, |seq| letters.contains(&seq)));
        self.report(self.notice(&opened).or(directory.has_newer().then_some(SpoolIssue::Newer)));
        Ok((opened.store, Takeover::new(slot, self.next_seq)))
    }

    /// Logs damage and losses that were found. Returns the issue that needs a person.
    fn notice(&self, opened: &Opened) -> Option<SpoolIssue> {
        for file in &opened.set_aside {
            tracing::warn!(
                target: target::SPOOL,
                file = %file.path.display(),
                taken_over = file.salvaged,
                problem = file.problem,
                "a spool file is damaged: set aside"
            );
        }
        let lost = opened.contents.crashed;
        if lost > 0 {
            tracing::warn!(
                target: target::SPOOL,
                lost,
                "a process ended without shutdown: what it had in memory only is lost"
            );
        }
        (!opened.set_aside.is_empty()).then_some(SpoolIssue::Damaged)
    }

    /// Tells the queue what a person should look at, if anything.
    fn report(&self, issue: Option<SpoolIssue>) {
        self.queue.step(|state| state.spool.noticed(issue));
    }

    fn serve(
        &self,
        directory: &Arc<Directory>,
        store: &mut Store,
        takeover: &mut Takeover,
    ) -> io::Result<()> {
        let mut search_at = rt::clock::now();
        let last_write = (store.fill().events > 0).then_some(store.state.at);
        let mut clock = Clock::after(last_write, rt::clock::wall(), search_at);
        loop {
            let now = rt::clock::now();
            if store.fill().events == 0 {
                clock = Clock::after(None, rt::clock::wall(), now);
            }
            if now >= search_at {
                search_at = now + SEARCH_EVERY;
                let round = self.queue.disk_round();
                directory.check_is_in_place()?;
                if store.compact_if_worth_it()? {
                    self.queue.step(|state| state.spool.measured(store.fill()));
                }
                drop(round);
                if !self.queue.is_closed() {
                    takeover.search(&self.queue, directory, store);
                }
            }
            if let Some(found) = takeover.poll() {
                if let Some(issue) = found.and_then(|found| self.notice(found)) {
                    self.report(Some(issue));
                }
                let round = self.queue.disk_round();
                let has_newer = directory.has_newer();
                drop(round);
                self.queue.step(|state| state.spool.noticed_newer(has_newer));
            }
            let waits = !takeover.has_found() || self.queue.is_closed();
            let longest = if waits { search_at.saturating_duration_since(now) } else { Duration::ZERO };
            match self.queue.next_work(longest) {
                Some(work) if work.is_last => {
                    self.take(work, store, directory, &clock)?;
                    takeover.end(&self.queue);
                    return Ok(());
                }
                Some(work) => self.take(work, store, directory, &clock)?,
                None => {}
            }
            if takeover.has_found() && !self.queue.is_closed() {
                let _round = self.queue.disk_round();
                takeover.step(&self.queue, store, directory, &clock)?;
            }
        }
    }

    /// Does one round of work, and reports to the queue what came of it.
    fn take(
        &self,
        mut work: SpoolWork,
        store: &mut Store,
        directory: &Directory,
        clock: &Clock,
    ) -> io::Result<()> {
        let round = self.queue.disk_round();
        store.release(&work.released);
        let (system, now) = (rt::clock::wall(), rt::clock::now());
        let process = self.queue.look(|state| state.spool.clock());
        let lead = process.map_or(0, |process| clock.ahead_of(process, now));
        let time = clock.now(system, now);
        let mut applied = None;
        let mut write_and_read = || {
            if let Some(changes) = &mut work.changes {
                changes.put.iter_mut().for_each(|event| event.at = event.at.saturating_add_signed(lead));
                let done = store.apply(changes, time, directory.free())?;
                // Nobody finds what is written to a file without a name.
                directory.check_is_in_place()?;
                applied = Some(done);
            }
            let mut events =
                work.load.map_or(Ok(Vec::new()), |(events, bytes)| store.load(events, bytes, time))?;
            events.iter_mut().for_each(|event| event.at = event.at.saturating_sub_signed(lead));
            Ok(events)
        };
        let (events, result) = match write_and_read() {
            Ok(events) => (events, Ok(())),
            Err(error) => (Vec::new(), Err(error)),
        };
        if let Some(note) = work.note
            && let Err(error) = directory.note_counts(&store.note(note))
        {
            tracing::debug!(target: target::SPOOL, "the counts cannot be noted: {error}");
        }
        drop(round);
        let read = Read { events, is_all: store.is_read_to_the_end };
        self.queue.finish_work(work, applied, read, store.fill());
        result
    }

    /// Waits a pause. Returns whether the queue ended meanwhile.
    fn rest(&self) -> bool {
        let until = rt::clock::now() + PAUSE;
        loop {
            let left = until.saturating_duration_since(rt::clock::now());
            match self.queue.next_work(left) {
                Some(work) if work.is_last => return true,
                None if left.is_zero() => return false,
                // A takeover that has ended calls, and is of no interest now.
                Some(_) | None => {}
            }
        }
    }
}
