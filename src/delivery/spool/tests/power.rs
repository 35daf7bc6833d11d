//! The directory and its files on a simulated disk: what was acknowledged survives.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::keeper::{FIRST, Process};
use super::{WIDE, at, drain, put, seqs, stored};
use crate::delivery::spool::changes::Changes;
use crate::delivery::spool::config::SpoolConfig;
use crate::delivery::spool::directory::{Directory, Opened};
use crate::delivery::spool::thread::Spool;
use crate::simulation::{ProcessDisk, SimDisk};

pub fn disk(seed: u64) -> SimDisk {
    SimDisk::new(seed, Arc::new(|_| {}))
}

fn open(process: &Arc<ProcessDisk>) -> io::Result<Opened> {
    Directory::prepare(Arc::clone(process) as _, Path::new("/spool"))?.open(WIDE)
}

/// Writes chunks of ten events, and settles half of each with the next one. Returns how many chunks were acknowledged.
fn write(process: &Arc<ProcessDisk>) -> u64 {
    let Ok(Opened { mut store, .. }) = open(process) else { return 0 };
    let chunk = |n: u64| Changes {
        settle: (n.saturating_sub(1) * 10..).take(if n == 0 { 0 } else { 5 }).collect(),
        ..put(n * 10..n * 10 + 10)
    };
    (0..CHUNKS).take_while(|n| store.apply(&chunk(*n), at(1000), None).is_ok()).count() as u64
}

const CHUNKS: u64 = 4;

fn check(disk: &SimDisk, acknowledged: u64, context: u64) {
    let mut opened = open(&disk.process()).unwrap();
    assert!(opened.set_aside.is_empty(), "{context}: {:?}", opened.set_aside);
    let events = drain(&mut opened.store);
    assert!(events.iter().all(|event| *event == stored(event.seq, 1000)));
    let is = |chunks: u64| {
        let expected = (0..chunks * 10).filter(|n| n % 10 >= 5 || n / 10 + 1 == chunks);
        seqs(&events).into_iter().eq(expected)
    };
    assert!(is(acknowledged) || is(acknowledged + 1), "{context}: {acknowledged}, {:?}", seqs(&events));
}

#[test]
fn what_was_acknowledged_survives_a_kill_in_the_middle_of_any_mutation_and_a_loss_of_power() {
    for power in [false, true] {
        for n in 1.. {
            let disk = disk(n);
            let process = disk.process();
            process.kill_at(n);
            let acknowledged = write(&process);
            let is_alive = process.is_alive();
            assert_eq!(is_alive, acknowledged == CHUNKS && disk.mutations() < n);
            process.kill();
            if power {
                disk.lose_power();
            }
            check(&disk, acknowledged, n);
            if is_alive {
                assert!(n > 50, "{n}");
                break;
            }
        }
    }
}

#[test]
fn two_processes_have_a_slot_each_and_a_killed_ones_is_free() {
    let disk = disk(1);
    let (a, b) = (disk.process(), disk.process());
    let directory = |process: &Arc<ProcessDisk>| {
        Directory::prepare(Arc::clone(process) as _, Path::new("/spool")).unwrap()
    };
    let (first, second) = (directory(&a), directory(&b));
    let mut opened = first.open(WIDE).unwrap();
    assert_eq!((opened.slot, second.open(WIDE).unwrap().slot), (0, 1));
    opened.store.apply(&put(0..10), at(1000), None).unwrap();
    assert!(second.adopt(1, WIDE).unwrap().is_none(), "its process lives");
    a.kill();
    let mut adopted = second.adopt(1, WIDE).unwrap().unwrap();
    assert_eq!(drain(&mut adopted.store).len(), 10);
    assert!(opened.store.apply(&put(10..20), at(1000), None).is_err());
}

/// The spool of a whole process, whose disk a thread was given.
pub fn start(process: &ProcessDisk, first_seq: u64) -> Process {
    let config = SpoolConfig::at("/spool").min_free_disk(0);
    process.enter(|| Process::start_by(first_seq, |queue| Spool::start(queue, config)))
}

#[tokio::test]
async fn a_spool_uses_the_disk_of_the_thread_that_starts_it() {
    let disk = disk(1);
    let process = disk.process();
    let first = start(&process, FIRST);
    assert_eq!(first.capture_durable().await.unwrap(), Ok(()));
    disk.lose_power();
    let next = start(&disk.process(), FIRST + 10_000);
    next.deliver(1);
    assert_eq!(next.end().await.dropped.total(), 0);
    assert!(!Path::new("/spool").exists());
    first.queue.close();
    first.queue.abandon();
}
