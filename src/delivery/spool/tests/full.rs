//! A disk without room, in a simulation.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tokio::time::sleep;

use crate::config::Settings;
use crate::delivery::queue::Queue;
use crate::delivery::spool::config::SpoolConfig;
use crate::delivery::spool::thread::Spool;
use crate::rt::simulated::{self, run};
use crate::simulation::{Faults, SimDisk};

const SECOND: Duration = Duration::from_secs(1);

/// Each attempt opens the file anew and searches for others, and the search calls when it ends.
#[test]
fn a_dead_letter_that_has_no_room_on_disk_is_tried_every_two_seconds() {
    run(1, SystemTime::UNIX_EPOCH + SECOND * 1_700_000_000, async |simulation| {
        // A disk that is slow sleeps once an operation.
        let operations = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&operations);
        let sleeps = move |time| {
            counted.fetch_add(1, Ordering::Relaxed);
            simulated::sleep(time);
        };
        let disk = SimDisk::new(1, Arc::new(sleeps));
        let queue = Arc::new(Queue::new(Settings::default().limits, 1 << 60, None));
        let config = SpoolConfig::at("/spool").min_free_disk(0);
        let start = || disk.process().enter(|| Spool::start(&queue, config));
        let _spool = simulation.process().enter(start);
        sleep(SECOND).await;

        disk.set_faults(Faults { is_full: true, slow: SECOND / 1_000, ..Faults::default() });
        let too_large = vec![b'x'; queue.look(|state| state.limits.event_bytes) + 1];
        queue.enter(too_large.into(), None);
        sleep(SECOND * 10).await;
        let operations = operations.load(Ordering::Relaxed);
        assert!((100..1_000).contains(&operations), "{operations}");
        assert_eq!(queue.ledger().dead_lettered, 1);
    });
}
