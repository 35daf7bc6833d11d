use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::oneshot;

use super::*;
use crate::rt::thread::{Wake, spawn};
use crate::rt::{clock, lock};

const HOUR: Duration = Duration::from_secs(3600);
const BEGIN: SystemTime = SystemTime::UNIX_EPOCH;

/// What a mutex guards, and the wake-up of who waits for a change.
#[derive(Default)]
struct Shared<T> {
    value: Mutex<T>,
    wake: Wake,
}

impl<T> Shared<T> {
    fn change(&self, change: impl FnOnce(&mut T)) {
        change(&mut lock(&self.value));
        self.wake.notify_one();
    }

    /// Waits until it is so, or for as long as that.
    fn wait(&self, longest: Duration, is_so: impl Fn(&T) -> bool) {
        let until = clock::now() + longest;
        let mut value = lock(&self.value);
        while !is_so(&value) && clock::now() < until {
            value = self.wake.wait(&self.value, value, until - clock::now());
        }
    }
}

fn start(work: impl FnOnce() + Send + 'static) {
    spawn("simulated", work).unwrap();
}

/// Two threads and a task write a log, and wake each other.
fn interleaving(seed: u64) -> String {
    run(seed, BEGIN, async |_| {
        let log = Arc::new(Shared::<String>::default());
        let (left, mut ends) = (Arc::new(Shared::<u32>::default()), Vec::new());
        for name in ['a', 'b'] {
            let (log, left) = (Arc::clone(&log), Arc::clone(&left));
            let (ended, end) = oneshot::channel();
            ends.push(end);
            start(move || {
                for _ in 0..10 {
                    log.change(|log| log.push(name));
                    left.change(|left| *left += 1);
                    let millis = Duration::from_millis(fastrand::u64(0..2));
                    left.wait(millis, |left| *left > 15);
                }
                let _ = ended.send(());
            });
        }
        for _ in 0..10 {
            lock(&log.value).push('.');
            tokio::task::yield_now().await;
        }
        for end in ends {
            end.await.unwrap();
        }
        lock(&log.value).clone()
    })
}

#[test]
fn a_seed_decides_who_runs() {
    let all: Vec<_> = (0..20).map(interleaving).collect();
    assert!((0..20).all(|seed| interleaving(seed) == all[seed as usize]), "{all:?}");
    assert!(all.iter().any(|other| *other != all[0]), "{all:?}");
}

#[test]
fn simulations_run_beside_each_other() {
    let alone: Vec<_> = (0..8).map(interleaving).collect();
    let beside: Vec<_> = (0..8).map(|seed| std::thread::spawn(move || interleaving(seed))).collect();
    assert_eq!(beside.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>(), alone);
}

#[test]
fn an_hour_of_sleep_takes_no_time() {
    let begun = Instant::now();
    run(1, BEGIN, async |simulation| {
        let (sender, slept) = oneshot::channel();
        start(move || {
            let begun = clock::now();
            sleep(HOUR);
            let _ = sender.send(clock::now() - begun);
        });
        tokio::time::sleep(HOUR / 2).await;
        assert_eq!(clock::wall(), BEGIN + HOUR / 2, "tasks run on");
        assert_eq!(slept.await, Ok(HOUR));
        simulation.jump(HOUR, true);
        assert_eq!(clock::wall(), BEGIN + 2 * HOUR);
        simulation.jump(HOUR / 2, false);
        assert_eq!(clock::wall(), BEGIN + 3 * HOUR / 2);
    });
    assert!(begun.elapsed() < HOUR);
}

#[test]
fn a_wait_ends_in_time_unless_somebody_notifies() {
    run(1, BEGIN, async |_| {
        for notified_after in [HOUR / 2, 2 * HOUR] {
            let shared = Arc::new(Shared::<bool>::default());
            let (sender, waited) = oneshot::channel();
            let waits = Arc::clone(&shared);
            start(move || {
                let begun = clock::now();
                waits.wait(HOUR, |is_done| *is_done);
                let _ = sender.send(clock::now() - begun);
            });
            tokio::time::sleep(notified_after).await;
            shared.change(|is_done| *is_done = true);
            assert_eq!(waited.await, Ok(HOUR.min(notified_after)));
        }
        let forever = Arc::new(Shared::<()>::default());
        start(move || forever.wait(HOUR * 24 * 365 * 100, |()| false));
        tokio::time::sleep(HOUR).await;
    });
}

#[test]
fn what_is_killed_runs_no_further() {
    run(1, BEGIN, async |simulation| {
        let (count, dropped) = (Arc::new(AtomicUsize::new(0)), Arc::new(()));
        let process = simulation.process();
        let counts = |guard: Arc<()>, how: fn()| {
            let count = Arc::clone(&count);
            move || {
                let _guard = guard;
                // A thread and a task that are started in a process are in it too.
                let counts = Arc::clone(&count);
                tokio::spawn(in_process(async move {
                    loop {
                        counts.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(HOUR).await;
                    }
                }));
                loop {
                    count.fetch_add(1, Ordering::Relaxed);
                    how();
                }
            }
        };
        let wait = || Shared::<()>::default().wait(HOUR, |()| false);
        let sleep_and_wait = || {
            sleep(HOUR);
            Shared::<()>::default().wait(HOUR, |()| false);
        };
        process.enter(|| {
            start(counts(Arc::clone(&dropped), wait));
            let inner = counts(Arc::clone(&dropped), sleep_and_wait);
            start(move || start(inner));
        });
        let mut task = process.enter(|| tokio::spawn(in_process(std::future::pending::<()>())));
        tokio::time::sleep(10 * HOUR).await;
        assert!(!process.is_over());
        process.kill();
        assert!(process.is_over() && process.is_killed());
        assert_eq!(Arc::strong_count(&dropped), 1, "the threads unwound");
        let counted = count.load(Ordering::Relaxed);
        assert!(counted > 30, "{counted}");
        tokio::time::sleep(10 * HOUR).await;
        assert_eq!(count.load(Ordering::Relaxed), counted);
        process.enter(|| assert!(spawn("late", || ()).is_err()));
        assert!(tokio::time::timeout(HOUR, &mut task).await.is_err());
    });
}

#[test]
fn a_thread_may_kill_its_own_process() {
    run(1, BEGIN, async |simulation| {
        let process = simulation.process();
        let (sender, killed) = oneshot::channel();
        let kills = process.clone();
        process.enter(|| {
            start(move || {
                kills.kill();
                let _ = sender.send(());
                Shared::<()>::default().wait(HOUR, |()| false);
                unreachable!("it waits no more");
            });
        });
        killed.await.unwrap();
        assert!(process.is_over());
    });
}

#[test]
fn threads_are_joined() {
    run(1, BEGIN, async |_| {
        let (sender, order) = oneshot::channel();
        let outer = spawn("outer", move || {
            let begun = clock::now();
            spawn("inner", || sleep(HOUR)).unwrap().join();
            let _ = sender.send(clock::now() - begun);
        });
        assert_eq!(order.await, Ok(HOUR));
        outer.unwrap().join();
        spawn("at once", || ()).unwrap().join();
    });
}

#[test]
#[should_panic(expected = "a bug")]
fn a_panic_of_a_thread_is_one_of_the_simulation() {
    run(1, BEGIN, async |_| {
        start(|| panic!("a bug"));
        tokio::time::sleep(HOUR).await;
    });
}

#[test]
fn no_thread_is_left() {
    let name = "left-behind";
    run(1, BEGIN, async |simulation| {
        let nowhere = || {
            sleep(HOUR);
            Shared::<()>::default().wait(HOUR, |()| false);
        };
        spawn(name, nowhere).unwrap();
        simulation.process().enter(|| spawn(name, nowhere).unwrap());
        // What a task drops at the end starts no thread either.
        struct Starts;
        impl Drop for Starts {
            fn drop(&mut self) {
                assert!(spawn("left-behind", || ()).is_err());
            }
        }
        let starts = Starts;
        tokio::spawn(async move {
            let _starts = starts;
            std::future::pending::<()>().await;
        });
        tokio::time::sleep(HOUR / 2).await;
        assert_eq!(threads(name), if cfg!(target_os = "linux") { 2 } else { 0 });
    });
    assert_eq!(threads(name), 0);
}

/// How many threads of the program have that name, where the system tells.
fn threads(name: &str) -> usize {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else { return 0 };
    let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|found| found.trim_end() == name).count()
}
