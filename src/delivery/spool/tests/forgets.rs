//! A kernel that takes pages for clean that it could not write: what a file shows after a failed sync is not on disk.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::keeper::{FIRST, Process};
use super::power::{disk, start};
use super::{WIDE, at, drain, put};
use crate::delivery::ledger::Account;
use crate::delivery::queue::{SpoolState, State};
use crate::delivery::spool::changes::{Changes, Held};
use crate::delivery::spool::directory::Directory;
use crate::simulation::{Faults, SimDisk};

const OLD: usize = 5_000;
const NEW: usize = 400;

/// A process finds more events than it reads into memory, and writes others when a sync fails.
struct World {
    disk: SimDisk,
    process: Process,
}

impl World {
    async fn begin(seed: u64) -> Self {
        let disk = disk(seed);
        let before = start(&disk.process(), FIRST);
        before.queue.step(|state| state.set_in_trouble(true));
        before.capture(OLD);
        before.end().await;
        let process = start(&disk.process(), FIRST + 100_000);
        process.wait(|ledger, state, _| state == SpoolState::Ready && ledger.spooled == OLD as u64);
        Self { disk, process }
    }

    /// Returns how many events were delivered.
    fn fail(&self) -> usize {
        for n in 0..NEW {
            let json = format!(r#"{{"n":{n},"pad":"{}"}}"#, "x".repeat(1_000));
            self.process.queue.enter(json.into(), None);
        }
        self.disk.set_faults(Faults { forgets: true, ..Faults::default() });
        let delivered = self.deliver_every_second_batch();
        // All of it is written at once.
        self.process.queue.step(|state| state.set_in_trouble(true));
        self.process.wait(|_, state, _| state == SpoolState::Failing);
        self.disk.set_faults(Faults::default());
        delivered
    }

    /// Many pages of the file change, and hold other events too.
    fn deliver_every_second_batch(&self) -> usize {
        let queue = &self.process.queue;
        queue.step(State::make_due);
        let take = || queue.step(|state| state.take((7, usize::MAX), true));
        let mut delivered = 0;
        let mut kept = Vec::new();
        while let Some(batch) = take() {
            queue.settle(&batch, Account::Delivered);
            delivered += batch.len();
            kept.extend(take());
        }
        kept.iter().for_each(|batch| queue.give_back(batch));
        delivered
    }

    async fn recover(&self, delivered: usize) {
        let all = (OLD + NEW - delivered) as u64;
        self.process.wait(|ledger, state, _| state == SpoolState::Ready && ledger.spooled == all);
        assert_eq!(self.process.capture_durable().await.unwrap(), Ok(()));
    }

    async fn check_after_a_loss_of_power(self, delivered: usize) {
        self.disk.lose_power();
        let next = start(&self.disk.process(), FIRST + 200_000);
        let all = OLD + NEW + 1;
        next.wait(|_, state, _| state == SpoolState::Ready);
        assert_eq!(next.queue.snapshot().spool.and_then(|spool| spool.issue), None);
        next.collect(all - delivered);
        let ledger = next.end().await;
        assert_eq!((ledger.delivered, ledger.dropped.total()), (all as u64, 0), "{ledger:?}");
        self.process.queue.close();
        self.process.queue.abandon();
    }
}

#[tokio::test]
async fn what_is_acknowledged_after_a_failed_sync_survives_a_loss_of_power() {
    let mut worlds = Vec::new();
    for seed in 0..8 {
        worlds.push(World::begin(seed).await);
    }
    let delivered: Vec<usize> = worlds.iter().map(World::fail).collect();
    for (world, delivered) in worlds.into_iter().zip(delivered) {
        world.recover(delivered).await;
        world.check_after_a_loss_of_power(delivered).await;
    }
}

/// A disk that works and fails by turns. Returns what must be there at the end, and what may be.
fn write_in_bad_times(disk: &SimDisk, random: &mut fastrand::Rng) -> (BTreeSet<u64>, BTreeSet<u64>) {
    let directory = Directory::prepare(disk.process(), Path::new("/spool")).unwrap();
    let mut store = directory.open(WIDE).unwrap().store;
    let (mut must, mut may) = (BTreeSet::new(), BTreeSet::new());
    for n in 0..8 {
        disk.set_faults(draw_faults(random));
        let settle: Vec<u64> = must.iter().copied().filter(|_| random.u8(0..3) == 0).collect();
        must.retain(|seq| !settle.contains(seq));
        let changes = Changes { settle, ..put(n * 10..n * 10 + 10) };
        if store.apply(&changes, at(1000), None).is_ok() {
            must.extend(n * 10..n * 10 + 10);
            may.retain(|seq| !changes.settle.contains(seq));
            continue;
        }
        may.extend(changes.put.iter().map(|event| event.seq).chain(changes.settle));
        let held = store.into_held();
        store = loop {
            disk.set_faults(draw_faults(random));
            if let Ok(opened) = directory.open_again(WIDE, held.clone()) {
                assert!(opened.set_aside.is_empty(), "{:?}", opened.set_aside);
                break opened.store;
            }
        };
    }
    (must, may)
}

fn draw_faults(random: &mut fastrand::Rng) -> Faults {
    let fails = (random.u8(0..4) == 0).then_some(ErrorKind::Other);
    Faults { fails, forgets: random.u8(0..3) == 0, ..Faults::default() }
}

#[test]
fn what_was_acknowledged_in_bad_times_survives_a_loss_of_power() {
    for seed in 0..150 {
        let disk = disk(seed);
        let (must, may) = write_in_bad_times(&disk, &mut fastrand::Rng::with_seed(seed));
        disk.set_faults(Faults::default());
        disk.lose_power();
        let directory = Directory::prepare(disk.process(), Path::new("/spool")).unwrap();
        let mut opened = directory.open(WIDE).unwrap();
        assert!(opened.set_aside.is_empty(), "{seed}: {:?}", opened.set_aside);
        let there: BTreeSet<u64> = drain(&mut opened.store).iter().map(|event| event.seq).collect();
        assert!(there.is_superset(&must), "{seed}: {:?}", must.difference(&there));
        assert!(there.is_subset(&(&must | &may)), "{seed}: {:?}", there.difference(&must));
    }
}

#[test]
fn a_process_may_be_killed_and_the_power_fail_while_a_file_is_written_anew() {
    for n in 1.. {
        let disk = disk(n);
        let process = disk.process();
        let directory = Directory::prepare(process.clone(), Path::new("/spool")).unwrap();
        let mut store = directory.open(WIDE).unwrap().store;
        store.apply(&put(0..50), at(1000), None).unwrap();
        disk.set_faults(Faults { forgets: true, ..Faults::default() });
        assert!(store.apply(&Changes { settle: vec![7], ..put(50..60) }, at(1000), None).is_err());
        disk.set_faults(Faults::default());
        drop(store);
        process.kill_at(n);
        let is_open = directory.open_again(WIDE, Held::default()).is_ok();
        disk.lose_power();
        let next = Directory::prepare(disk.process(), Path::new("/spool")).unwrap();
        let mut opened = next.open(WIDE).unwrap();
        let seqs: Vec<u64> = drain(&mut opened.store).iter().map(|event| event.seq).collect();
        assert!(!disk.files().iter().any(|file| file.ends_with("spool-0.new")), "it may be large");
        let (before, after) = ((0..50), (0..60).filter(|seq| *seq != 7));
        assert!(opened.set_aside.is_empty(), "{n}: {:?}", opened.set_aside);
        assert!(seqs.iter().copied().eq(before) || seqs.iter().copied().eq(after), "{n}: {seqs:?}");
        if is_open {
            assert!(n > 15, "{n}");
            break;
        }
    }
}

/// Until an operation that something happens at.
#[derive(Clone, Default)]
struct Fuse(Arc<Mutex<Option<(u64, Happens)>>>);

type Happens = Box<dyn FnOnce() + Send>;

impl Fuse {
    fn disk(&self, seed: u64) -> SimDisk {
        let fuse = self.clone();
        let sleep = move |_| {
            let burnt = fuse.0.lock().unwrap().take_if(|(left, _)| *left == 0);
            match burnt {
                Some((_, happens)) => happens(),
                None => fuse.0.lock().unwrap().iter_mut().for_each(|(left, _)| *left -= 1),
            }
        };
        SimDisk::new(seed, Arc::new(sleep))
    }

    fn light(&self, operations: u64, happens: impl FnOnce() + Send + 'static) {
        *self.0.lock().unwrap() = Some((operations, Box::new(happens)));
    }

    fn is_burning(&self) -> bool {
        self.0.lock().unwrap().is_some()
    }
}

/// So that each operation calls what the fuse is in.
fn slow() -> Faults {
    Faults { slow: Duration::from_nanos(1), ..Faults::default() }
}

/// Something happens at each operation of a process that writes its file anew: nothing acknowledged is lost.
fn while_it_is_written_anew(happens: fn(&SimDisk, &Fuse)) {
    for n in 0.. {
        let fuse = Fuse::default();
        let disk = fuse.disk(n);
        let directory = Directory::prepare(disk.process(), Path::new("/spool")).unwrap();
        let mut store = directory.open(WIDE).unwrap().store;
        store.apply(&put(0..50), at(1000), None).unwrap();
        disk.set_faults(Faults { forgets: true, ..slow() });
        assert!(store.apply(&Changes { settle: vec![7], ..put(50..60) }, at(1000), None).is_err());
        disk.set_faults(slow());
        drop(store);
        let (lit, burnt) = (disk.clone(), fuse.clone());
        fuse.light(n, move || happens(&lit, &burnt));
        let mut store = (0..4).find_map(|_| directory.open_again(WIDE, Held::default()).ok()).unwrap().store;
        assert!(!directory.tainted.has(0), "no open file had a failed sync");
        let is_over = fuse.is_burning();
        fuse.0.lock().unwrap().take();
        disk.set_faults(Faults::default());
        store.apply(&put(60..70), at(1000), None).unwrap();
        disk.lose_power();
        let next = Directory::prepare(disk.process(), Path::new("/spool")).unwrap();
        let there: BTreeSet<u64> =
            drain(&mut next.open(WIDE).unwrap().store).iter().map(|event| event.seq).collect();
        let must = (0..50).chain(60..70).filter(|seq| *seq != 7).collect();
        assert!(there.is_superset(&must), "{n}: {:?}", must.difference(&there));
        if is_over {
            assert!(n > 50, "{n}");
            break;
        }
    }
}

#[test]
fn a_sync_may_fail_again_while_a_file_is_written_anew() {
    while_it_is_written_anew(|disk, fuse| {
        disk.set_faults(Faults { forgets: true, ..slow() });
        // One operation later, all is well.
        let disk = disk.clone();
        fuse.light(0, move || disk.set_faults(slow()));
    });
}

#[test]
fn the_kernel_may_need_memory_while_a_file_is_written_anew() {
    while_it_is_written_anew(|disk, _| disk.evict());
}

#[test]
fn a_file_is_not_written_anew_without_room_for_it() {
    let disk = disk(1);
    let directory = Directory::prepare(disk.process(), Path::new("/spool")).unwrap();
    let mut store = directory.open(WIDE).unwrap().store;
    store.apply(&put(0..50), at(1000), None).unwrap();
    disk.set_faults(Faults { forgets: true, ..Faults::default() });
    assert!(store.apply(&put(50..60), at(1000), None).is_err());
    disk.set_faults(Faults { is_full: true, ..Faults::default() });
    let held = store.into_held();
    let error = directory.open_again(WIDE, held.clone()).err().map(|error| error.kind());
    assert_eq!(error, Some(ErrorKind::StorageFull));
    assert!(!disk.files().iter().any(|file| file.ends_with("spool-0.new")));
    disk.set_faults(Faults::default());
    assert!(directory.open_again(WIDE, held).unwrap().store.held.is_superset(&(0..50).collect()));
}
