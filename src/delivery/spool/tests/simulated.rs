//! The spool's threads in a simulation, on a real disk that answers at once.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::super::config::SpoolConfig;
use super::super::thread::Spool;
use crate::config::Settings;
use crate::delivery::Ledger;
use crate::delivery::queue::{Queue, State};
use crate::rt::clock;
use crate::rt::simulated::{Process, Simulation, run};
use crate::{Error, ErrorKind};

const SECOND: Duration = Duration::from_secs(1);
const BEGIN: Duration = Duration::from_secs(1_700_000_000);

fn simulate<T>(seed: u64, work: impl AsyncFnOnce(&Simulation) -> T) -> T {
    run(seed, SystemTime::UNIX_EPOCH + BEGIN, work)
}

fn start(process: &Process, directory: &tempfile::TempDir) -> (Arc<Queue>, Spool) {
    let since = clock::wall().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let queue = Arc::new(Queue::new(Settings::default().limits, since.as_nanos() as u64, None));
    let config = SpoolConfig::at(directory.path()).min_free_disk(0);
    let spool = process.enter(|| Spool::start(&queue, config));
    (queue, spool)
}

async fn capture_durable(queue: &Queue) {
    let (waiter, told) = oneshot::channel();
    queue.enter(br#"{"event":"e"}"#[..].into(), Some(waiter));
    told.await.unwrap().unwrap();
}

/// Ends a process in order.
async fn end(queue: &Queue, spool: &Spool) {
    queue.close();
    queue.stored().await;
    queue.abandon();
    timeout(SECOND, spool.ended()).await.unwrap();
}

/// What can be seen over a minute, with an end of the process or a kill in its middle.
fn history(seed: u64, is_killed: bool) -> String {
    let directory = tempfile::tempdir().unwrap();
    simulate(seed, async |simulation| {
        let mut log = String::new();
        let mut note = |queue: &Queue| {
            let snapshot = queue.snapshot();
            log += &format!("{:?} {:?} {:?}\n", clock::wall(), snapshot.ledger, snapshot.spool);
        };
        let process = simulation.process();
        let (queue, spool) = start(&process, &directory);
        for pause in [0, 3, 20, 500] {
            capture_durable(&queue).await;
            note(&queue);
            sleep(Duration::from_millis(pause)).await;
        }
        if is_killed {
            process.kill();
        } else {
            end(&queue, &spool).await;
        }
        assert!(process.is_over());
        sleep(SECOND).await;
        let process = simulation.process();
        let (queue, _spool) = start(&process, &directory);
        for _ in 0..30 {
            sleep(SECOND).await;
            note(&queue);
        }
        assert_eq!(queue.look(State::ledger).spooled, 4);
        log
    })
}

const DAY: Duration = Duration::from_secs(24 * 3600);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// Leaves an event for the next process, in memory at first or on disk, and lets the clock jump meanwhile. Returns the
/// ledger of the next process.
fn jump(by: Duration, waits_on_disk: bool) -> Ledger {
    let directory = tempfile::tempdir().unwrap();
    run(1, SystemTime::UNIX_EPOCH + YEAR * 3, async |simulation| {
        let process = simulation.process();
        let (queue, spool) = start(&process, &directory);
        sleep(SECOND).await;
        queue.step(|state| state.set_in_trouble(waits_on_disk));
        queue.enter("{}".into(), None);
        sleep(SECOND).await;
        simulation.jump(by, true);
        // A spool that holds nothing goes by the time on the wall again.
        sleep(SECOND * 20).await;
        queue.step(|state| state.set_in_trouble(true));
        sleep(SECOND).await;
        // Whatever is written next looks for what is too old.
        capture_durable(&queue).await;
        end(&queue, &spool).await;

        let (queue, _spool) = start(&simulation.process(), &directory);
        sleep(SECOND).await;
        capture_durable(&queue).await;
        queue.ledger()
    })
}

/// A machine without a battery booted in 1973, and its clock was set while an event waited.
#[test]
fn a_clock_that_was_years_behind_makes_no_event_old() {
    for waits_on_disk in [false, true] {
        let ledger = jump(YEAR * 53, waits_on_disk);
        assert_eq!((ledger.spooled, ledger.dropped.total()), (3, 0), "{ledger}");
    }
}

#[test]
fn a_clock_that_was_days_behind_makes_no_event_in_memory_old() {
    let ledger = jump(DAY * 30, false);
    assert_eq!((ledger.spooled, ledger.dropped.total()), (3, 0), "{ledger}");
}

/// The clock was more than a year behind, and is set before a process finds a spool that is damaged.
#[test]
fn a_damaged_file_from_before_a_jump_of_the_clock_is_not_old() {
    let directory = tempfile::tempdir().unwrap();
    run(1, SystemTime::UNIX_EPOCH + YEAR * 3, async |simulation| {
        let process = simulation.process();
        let (queue, _spool) = start(&process, &directory);
        sleep(SECOND).await;
        queue.step(|state| state.set_in_trouble(true));
        capture_durable(&queue).await;
        process.kill();
        let file = directory.path().join("spool-0.redb");
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[..4096].fill(0xff);
        std::fs::write(&file, bytes).unwrap();
        simulation.jump(DAY * 400, true);

        let (queue, _spool) = start(&simulation.process(), &directory);
        sleep(SECOND).await;
        capture_durable(&queue).await;
        let ledger = queue.ledger();
        assert_eq!((ledger.spooled, ledger.dropped.total()), (2, 0), "{ledger}");
    });
}

/// Prepares a queue, removes its files as a clean-up job might, kills the process, and looks at the queue of the next one.
fn look_after_removal<T>(prepare: impl AsyncFnOnce(&Queue), look: impl FnOnce(&Queue) -> T) -> T {
    let directory = tempfile::tempdir().unwrap();
    simulate(1, async |simulation| {
        let process = simulation.process();
        let (queue, _spool) = start(&process, &directory);
        sleep(SECOND).await;
        prepare(&queue).await;
        for name in ["spool-0.redb", "spool-0.lock"] {
            std::fs::remove_file(directory.path().join(name)).unwrap();
        }
        sleep(SECOND * 30).await;
        process.kill();

        let (queue, _spool) = start(&simulation.process(), &directory);
        sleep(SECOND).await;
        look(&queue)
    })
}

/// Memory still has the dead letters.
#[test]
fn dead_letters_outlive_files_that_are_removed() {
    let prepare = async |queue: &Queue| {
        queue.enter("{}".into(), None);
        queue.step(State::make_due);
        let batch = queue.step(|state| state.take((10, 1_000), false)).unwrap();
        queue.dead_letter(batch[0].dead_letter(&Error::new(ErrorKind::BadRequest)));
        sleep(SECOND).await;
    };
    look_after_removal(prepare, |queue| assert_eq!(queue.dead_letters().len(), 1, "{}", queue.ledger()));
}

/// Neither a pause nor a task of the client tells the spool that the event waits.
#[test]
fn an_acknowledged_event_outlives_files_that_are_removed() {
    look_after_removal(capture_durable, |queue| {
        assert_eq!(queue.ledger().spooled, 1, "{}", queue.ledger());
    });
}

#[test]
fn one_seed_has_one_history() {
    for seed in 0..10 {
        for is_killed in [false, true] {
            assert_eq!(history(seed, is_killed), history(seed, is_killed), "seed {seed}");
        }
    }
}
